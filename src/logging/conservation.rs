//! Writes random output of processes to faulty readers, and counts the lines. Each line must come
//! out once, whole and in order, or be counted as lost. Each lost line must be reported once.
//!
//! A test that fails prints the seed. `DRAINIT_LOG_SEED=42` plays seed 42 alone.

use std::collections::HashMap;
use std::fs;
use std::io::{PipeWriter, Write};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollTimeout;
use regex_lite::Regex;
use serde_json::Value;

use crate::keys::LogFormat;
use crate::language::mask::LONGEST;
use crate::logging::Output;
use crate::logging::capture::{OutputCapture, WriteEnds};
use crate::logging::file::OpenLogFile;
use crate::logging::last_lines::{LAST_LINE_LENGTH, LAST_LINES, text};
use crate::logging::split::{LONGEST_LINE, LineForm};
use crate::logging::writer::{BOUND, Sink, StreamWriter};
use crate::testing::block_on;
use crate::testing::random::Random;
use crate::testing::temp_dir::TempDir;
use crate::types::{Stream, harmless};

const TRIALS: u64 = 120;
/// The number of trials that run at the same time. A trial mostly waits, so several can run.
const THREADS: u64 = 4;
/// A time limit that is far longer than a trial.
const LONG: Duration = Duration::from_secs(30);

/// A reader of the output that reads slowly, pauses, fails and goes away.
#[derive(Clone)]
struct Reader(Arc<(Mutex<Read>, Condvar)>);

struct Read {
    random: Random,
    got: Vec<u8>,
    faults: Faults,
    /// While `got` is at least this long, the reader pauses. [`Reader::go_on`] ends the pauses.
    pauses_at: usize,
    is_closed: bool,
    /// The number of lines that [`Sink::report_dropped`] has reported, if the reader takes such
    /// reports.
    reported: Option<u64>,
    /// Whether a write has failed since the last report about dropped lines.
    has_failed: bool,
    /// The number of reports with a wrong reason. A report must give a failed write as the reason
    /// if a write has failed since the last report, and only then.
    bad_reports: usize,
    /// The number of wrong writes: a write must be whole lines of at most 4 KiB together, or one
    /// longer line.
    bad_slices: usize,
}

impl Read {
    fn reports(&mut self, says_failed: bool) {
        let has_failed = std::mem::take(&mut self.has_failed);
        self.bad_reports += usize::from(has_failed != says_failed);
    }
}

/// How often each fault happens: `n` means at one write in `n`, and 0 means never.
#[derive(Clone, Copy, Default)]
struct Faults {
    short: u64,
    full: u64,
    again: u64,
    slow: u64,
    closes: u64,
}

impl Reader {
    fn new(random: &mut Random, faults: Faults, pauses: bool) -> Self {
        let pauses = pauses || random.one_in(3);
        let read = Read {
            random: Random(1 + random.below(u64::MAX)),
            got: Vec::new(),
            faults,
            pauses_at: if pauses { random.below(200_000) as usize } else { usize::MAX },
            is_closed: false,
            reported: random.one_in(2).then_some(0),
            has_failed: false,
            bad_reports: 0,
            bad_slices: 0,
        };
        Self(Arc::new((Mutex::new(read), Condvar::new())))
    }

    fn go_on(&self) {
        self.0.0.lock().unwrap().pauses_at = usize::MAX;
        self.0.1.notify_all();
    }
}

impl Sink for Reader {
    fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        let read = self.0.0.lock().unwrap();
        let paused = |read: &mut Read| read.got.len() >= read.pauses_at;
        let mut read = self.0.1.wait_while(read, paused).unwrap();
        let Faults { short, full, again, slow, closes } = read.faults;
        let mut happens = |odds| odds > 0 && read.random.one_in(odds);
        if happens(slow) {
            thread::sleep(Duration::from_micros(200));
        }
        let (is_short, is_full) = (happens(short), happens(full));
        let (is_busy, closes) = (happens(again), happens(closes));
        read.is_closed |= closes;
        if read.is_closed || is_full {
            // A line that a failed write has cut is lost. This reader drops the part that it has
            // got. Otherwise the next line would continue this part.
            let whole = read.got.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            read.got.truncate(whole);
            read.has_failed = true;
            return Err(if read.is_closed { Errno::EPIPE } else { Errno::ENOSPC });
        }
        if is_busy {
            return Err(if read.random.one_in(2) { Errno::EAGAIN } else { Errno::EINTR });
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let is_good = bytes.ends_with(b"\n") && (bytes.len() <= 4096 || lines == 1);
        read.bad_slices += usize::from(!is_good);
        if read.got.last().is_none_or(|byte| *byte == b'\n')
            && let Some((_, was_unread)) = dropped_in(bytes)
        {
            read.reports(!was_unread);
        }
        let length = bytes.len() as u64;
        let taken = if is_short { 1 + read.random.below(length) } else { length } as usize;
        read.got.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn wait_for_room(&self, _: PollTimeout) -> nix::Result<bool> {
        let is_cut = self.0.0.lock().unwrap().random.one_in(4);
        if is_cut { Err(Errno::EINTR) } else { Ok(true) }
    }

    fn report_dropped(&self, lines: u64, why: Option<Errno>) -> bool {
        let mut read = self.0.0.lock().unwrap();
        read.reported = read.reported.map(|before| before + lines);
        if read.reported.is_some() {
            read.reports(why.is_some());
        }
        read.reported.is_some()
    }

    fn counts(&self) -> bool {
        true
    }
}

/// Where the lines go.
enum Target {
    Readers([Reader; 2]),
    File(TempDir),
}

/// The output of a process on one stream: its bytes, and the lines in these bytes.
struct Written {
    process: usize,
    stream: Stream,
    bytes: Vec<u8>,
    lines: Vec<Vec<u8>>,
}

/// Makes the bytes of a random line. Most lines are short. Some lines are longer than a slice of
/// the writer, or than [`LONGEST_LINE`].
fn line(random: &mut Random, id: &str) -> Vec<u8> {
    const PARTS: [&[u8]; 8] = [
        b"text ",
        b"\0",
        b"\xff\xfe",
        b"\r",
        b"\x1b[31m",
        "\u{1F980}".as_bytes(),
        b"\xc2\x9b",
        b"\"\\",
    ];
    let long = LONGEST_LINE as u64;
    let length = match random.below(60) {
        0 => long - 4 + random.below(8),
        1 => 2 * long + random.below(long),
        2..8 => random.below(9000),
        _ => random.below(120),
    };
    let mut line = id.as_bytes().to_vec();
    let fill = PARTS[random.below(8) as usize];
    while (line.len() as u64) < length {
        match random.below(4) {
            0 => line.extend_from_slice(PARTS[random.below(8) as usize]),
            1 => line.extend_from_slice(random.below(u64::MAX).to_string().as_bytes()),
            _ => line.extend_from_slice(&fill.repeat(4)),
        }
    }
    line
}

/// The pieces of a line that is too long, cut between two characters.
fn pieces(mut line: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while line.len() > LONGEST_LINE {
        let mut cut = LONGEST_LINE;
        while cut > LONGEST_LINE - 3 && line[cut] & 0xC0 == 0x80 {
            cut -= 1;
        }
        if line[cut] & 0xC0 == 0x80 {
            cut = LONGEST_LINE;
        }
        pieces.push(line[..cut].to_vec());
        line = &line[cut..];
    }
    pieces.push(line.to_vec());
    pieces
}

impl Written {
    fn new(random: &mut Random, process: usize, stream: Stream, size: u64, blanks: bool) -> Self {
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        while (bytes.len() as u64) < size {
            let is_blank = blanks && random.one_in(10);
            let id = format!("{process} {stream} {} ", lines.len());
            let line = if is_blank { Vec::new() } else { line(random, &id) };
            bytes.extend_from_slice(&line);
            lines.extend(pieces(&line));
            let is_last = (bytes.len() as u64) >= size && random.one_in(2) && !line.is_empty();
            bytes.extend((!is_last).then_some(b'\n'));
        }
        Self { process, stream, bytes, lines }
    }
}

/// Writes on a thread of its own as a process does: in pieces of any size, and waiting while the
/// pipe is full. The thread returns the write end of the pipe.
fn write_in_pieces(
    mut end: PipeWriter,
    bytes: Vec<u8>,
    mut random: Random,
) -> JoinHandle<PipeWriter> {
    let most = [bytes.len() as u64 / 50, 3000, 70_000][random.below(3) as usize];
    thread::spawn(move || {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, left) = rest.split_at((1 + random.below(most) as usize).min(rest.len()));
            end.write_all(piece).unwrap();
            rest = left;
        }
        end
    })
}

/// A line of the output without its time, for a comparison.
fn key(form: LogFormat, line: &[u8]) -> Vec<u8> {
    if form == LogFormat::Text {
        return line.to_vec();
    }
    let mut line: Value = serde_json::from_slice(line).expect("a line is no JSON");
    let time = line["time"].take();
    assert_eq!(time.as_str().map(str::len), Some(24), "{line}");
    line.to_string().into_bytes()
}

/// Reads drainit's own line about dropped lines. Returns the number of dropped lines, and whether
/// the reason is that nobody has read the stream. `None` for any other line.
fn dropped_in(line: &[u8]) -> Option<(u64, bool)> {
    let text = String::from_utf8_lossy(line);
    let (before, why) = text.split_once(" dropped because ")?;
    let number = before.strip_suffix(" was").or(before.strip_suffix(" were"))?;
    let number = number.strip_suffix(" line").or(number.strip_suffix(" lines"))?;
    let number = number.rsplit([' ', '"']).next()?.parse().ok()?;
    Some((number, why.contains("was not read")))
}

struct Trial {
    written: Vec<Written>,
    own: [Vec<Vec<u8>>; 2],
    format: LogFormat,
    /// Whether lines in the text format have a prefix.
    has_prefix: bool,
    output: Arc<Output>,
    target: Target,
    /// Whether lines of processes may be lost. There are three reasons: a write fails; a process
    /// has a pattern or keeps its pipes open; or drainit waits only briefly for a reader during the
    /// shutdown.
    may_lose: bool,
    has_faults: bool,
    is_much: bool,
}

impl Trial {
    fn form(&self, one: &Written) -> LineForm {
        let name = format!("p{}", one.process);
        match (self.format, self.has_prefix) {
            (LogFormat::Json, _) => LineForm::json(&name, one.stream),
            (_, true) => LineForm::prefix(&format!("{name} {}", one.stream)),
            (_, false) => LineForm::Plain,
        }
    }

    /// The form that a line of the process must have in the output.
    fn expected(&self, one: &Written, line: &[u8]) -> Vec<u8> {
        let (process, stream) = (one.process, one.stream);
        match (self.format, self.has_prefix) {
            (LogFormat::Json, _) => {
                let message = String::from_utf8_lossy(line);
                let members = serde_json::json!({
                    "time": null, "process": format!("p{process}"), "stream": stream.to_string(), "message": message,
                });
                members.to_string().into_bytes()
            }
            (_, true) => [format!("[p{process} {stream}] ").as_bytes(), line].concat(),
            (_, false) => line.to_vec(),
        }
    }

    /// Checks what came out of one descriptor or of the log file, and the counters.
    fn check(&self, streams: &[Stream], got: &[u8], reported: Option<u64>) {
        let writer = self.output.writer(streams[0]);
        let sources = self.written.iter().filter(|one| streams.contains(&one.stream));
        let of_processes = sources
            .map(|one| one.lines.iter().map(|line| self.expected(one, line)).collect::<Vec<_>>());
        let of_drainit = streams.iter().map(|stream| {
            self.own[*stream as usize].iter().map(|line| key(self.format, line)).collect()
        });
        let sources: Vec<Vec<_>> = of_processes.chain(of_drainit).collect();
        let mut places: HashMap<&[u8], Vec<(usize, usize)>> = HashMap::new();
        for (source, lines) in sources.iter().enumerate() {
            for (place, line) in lines.iter().enumerate() {
                places.entry(line).or_default().push((source, place));
            }
        }
        let processes = 0..sources.len() - streams.len();
        let (mut next, mut came) = (vec![0; sources.len()], vec![0; sources.len()]);
        let (mut count, mut in_reports) = (0, 0);
        for line in got.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").expect("the last line is not whole");
            let key = key(self.format, line);
            let shown = || String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
            match places.get(key.as_slice()) {
                Some(known) => {
                    let is_next = |(source, place): &&(usize, usize)| *place >= next[*source];
                    let found = known.iter().find(is_next);
                    let (source, place) =
                        found.unwrap_or_else(|| panic!("twice or out of order: {}", shown()));
                    next[*source] = place + 1;
                    came[*source] += 1;
                    count += 1;
                }
                None => {
                    let (lines, was_unread) =
                        dropped_in(line).unwrap_or_else(|| panic!("nobody wrote: {}", shown()));
                    in_reports += lines;
                    assert!(was_unread || self.has_faults, "nothing has failed: {}", shown());
                }
            }
        }
        let all: usize = sources.iter().map(Vec::len).sum();
        let lost = writer.lost();
        let missing: usize = processes.map(|source| sources[source].len() - came[source]).sum();
        assert_eq!(all as u64, count + lost, "lines in = lines out ({count}) + lost ({lost})");
        assert!(self.may_lose || missing == 0, "a slow reader costs {missing} lines of processes");
        if let Some(reported) = reported {
            let reports = reported + in_reports + writer.unwritten();
            assert_eq!(reports, lost, "each lost line is reported once");
        }
    }
}

/// Plays the trial of a seed.
fn play(seed: u64) {
    let random = &mut Random::of_seed(seed);
    // At times, the processes write much more than drainit queues, and nobody reads for a while.
    let is_much = random.one_in(16);
    let most = [2000, 20_000, 90_000][random.below(3) as usize];
    let is_json = !is_much && random.one_in(3);
    let format = if is_json { LogFormat::Json } else { LogFormat::Text };
    let has_prefix = random.one_in(2);
    let blanks = has_prefix || format == LogFormat::Json;
    let mut written = Vec::new();
    for process in 0..if is_much { 4 } else { 1 + random.below(4) as usize } {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let size = match stream {
                Stream::Stdout if is_much => 500_000,
                _ if random.one_in(4) => 0,
                _ => random.below(most),
            };
            written.push(Written::new(random, process, stream, size, blanks));
        }
    }
    let mut faults = Faults::default();
    if is_much {
        // The descriptor may break while processes wait for room.
        faults.closes = [0, 20][random.below(2) as usize];
    } else if random.one_in(2) {
        let mut odds =
            |of: [u64; 3]| if random.one_in(2) { of[random.below(3) as usize] } else { 0 };
        faults = Faults {
            short: odds([2, 5, 50]),
            full: odds([3, 20, 200]),
            again: odds([2, 10, 50]),
            slow: odds([5, 20, 50]),
            closes: odds([30, 300, 3000]),
        };
    }
    let is_file = !is_much && random.one_in(4);
    let (output, target) = if is_file {
        let dir = TempDir::new();
        (Output::file(OpenLogFile::open(&dir.path("app.log")).unwrap()), Target::File(dir))
    } else {
        let json = Arc::new(AtomicBool::new(false));
        let readers = [(); 2].map(|()| Reader::new(random, faults, is_much));
        let writer = |stream: Stream| {
            let reader = readers[stream as usize].clone();
            StreamWriter::new(stream, Box::new(reader), Arc::clone(&json))
        };
        let (stdout, stderr) = (writer(Stream::Stdout), writer(Stream::Stderr));
        let output = Output { stdout, stderr, json, is_shared: false, in_colour: false };
        (Arc::new(output), Target::Readers(readers))
    };
    output.set_format(format);
    let has_faults = faults.full > 0 || faults.closes > 0;
    let mut trial = Trial {
        written,
        own: [Vec::new(), Vec::new()],
        format,
        has_prefix,
        output,
        target,
        may_lose: has_faults,
        has_faults,
        is_much,
    };
    block_on(trial.run(random));
    assert!(trial.output.flush(LONG), "the last lines are not written");
    match &trial.target {
        Target::Readers(readers) => {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let mut read = readers[stream as usize].0.0.lock().unwrap();
                let reported = read.reported.unwrap_or_default();
                trial.check(&[stream], &read.got, Some(reported));
                assert!(read.bad_slices == 0 || faults.short > 0, "a write cuts lines");
                read.faults = Faults::default();
                drop(read);
                // The queue is empty, so a line of any length fits. While nobody reads, at least one
                // of three such lines is dropped.
                let long = [&[b'x'; 2 * BOUND][..], b"last\n"].concat();
                trial.output.push(stream, &long);
                assert!(trial.output.flush(LONG), "the last line is not written");
                readers[stream as usize].0.0.lock().unwrap().pauses_at = 0;
                (0..3).for_each(|_| trial.output.push(stream, &long));
                readers[stream as usize].go_on();
                trial.output.push(stream, b"end\n");
                assert!(trial.output.flush(LONG), "the last line is not written");
                let read = readers[stream as usize].0.0.lock().unwrap();
                // A report about dropped lines may follow the line `last`.
                let has_last = read.got.windows(5).any(|end| end == b"last\n");
                assert_eq!(has_last, !read.is_closed, "a full disk has room again");
                assert_eq!(read.bad_reports, 0, "the reason for dropped lines");
            }
        }
        Target::File(dir) => {
            let rotated = (0..).map(|number| dir.path(&format!("app.log.{number}")));
            let mut all: Vec<u8> =
                rotated.map_while(|path| fs::read(path).ok()).flatten().collect();
            all.extend(fs::read(dir.path("app.log")).unwrap_or_default());
            let streams = [Stream::Stdout, Stream::Stderr];
            trial.check(&streams, &all, None);
        }
    }
}

impl Trial {
    /// Lets all processes write all of their output.
    async fn run(&mut self, random: &mut Random) {
        let mut logs: Vec<(Rc<OutputCapture>, Option<usize>)> = Vec::new();
        let mut staying = Vec::new();
        for pair in self.written.chunks(2) {
            // Until a line has matched, a process with a pattern does not wait for room.
            let lines = &pair[0].lines;
            let place = random.below(1 + lines.len() as u64) as usize;
            let wanted = (!self.is_much && random.one_in(5)).then_some(place);
            let pattern = wanted.map(|at| format!("^{} {} {at} ", pair[0].process, Stream::Stdout));
            self.may_lose |= pattern.is_some();
            let pattern = pattern.map(|pattern| Regex::new(&pattern).unwrap());
            let forms = [self.form(&pair[0]), self.form(&pair[1])];
            let (log, ends) =
                OutputCapture::open(Arc::clone(&self.output), forms, None, pattern).unwrap();
            let WriteEnds { stdout, stderr } = ends;
            // A process that drainit does not wait for may keep its pipes open.
            let stays = random.one_in(8);
            self.may_lose |= stays;
            for (one, end) in pair.iter().zip([stdout, stderr]) {
                let random = Random(1 + random.below(u64::MAX));
                let writing = write_in_pieces(end, one.bytes.clone(), random);
                staying.extend(stays.then(|| (Rc::clone(&log), writing)));
            }
            logs.push((log, wanted));
        }
        let shutdown = random.one_in(2).then(|| random.below(40));
        let is_brief = !self.is_much && random.one_in(2);
        let patience = if is_brief { Duration::from_millis(3) } else { LONG };
        self.may_lose |= shutdown.is_some() && patience < LONG;
        let goes_on = if self.is_much { 59 } else { random.below(60) };
        let mut rotated = 0;
        for step in 0..60 {
            if shutdown == Some(step) {
                self.output.stop_waiting(patience);
            }
            match &self.target {
                Target::Readers(readers) if step == goes_on => {
                    if self.is_much {
                        // In this time, all processes write until they must wait for the reader.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    readers.iter().for_each(Reader::go_on);
                }
                Target::File(dir) if random.one_in(10) => {
                    let moved = dir.path(&format!("app.log.{rotated}"));
                    rotated += i32::from(fs::rename(dir.path("app.log"), moved).is_ok());
                }
                _ => {}
            }
            if random.one_in(3) {
                let stream = [Stream::Stdout, Stream::Stderr][random.below(2) as usize];
                let own = &mut self.own[stream as usize];
                let message = format!("own {stream} {} ", own.len());
                let size = [10, 3000, 100_000][random.below(3) as usize];
                let message = format!("{message}{}", "o".repeat(random.below(size) as usize));
                let now = std::time::SystemTime::now();
                let level = tracing::Level::INFO;
                let line =
                    crate::logging::format::own_line(self.format, stream, level, now, &message);
                self.output.push(stream, &line);
                own.push(line[..line.len() - 1].to_vec());
            }
            if random.one_in(8) {
                logs[random.below(logs.len() as u64) as usize].0.pump();
            }
            if random.one_in(3) {
                tokio::time::sleep(Duration::from_micros(random.below(300))).await;
            }
            tokio::task::yield_now().await;
        }
        for (_, writing) in &staying {
            while !writing.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        staying.iter().for_each(|(log, _)| log.finish(|| true));
        let is_staying = |log| staying.iter().any(|(other, _)| Rc::ptr_eq(log, other));
        for (log, _) in &logs {
            if !is_staying(log) {
                log.finished().await;
            }
        }
        for ((log, wanted), pair) in logs.iter().zip(self.written.chunks(2)) {
            let begin = |at: usize| format!("{} {} {at} ", pair[0].process, Stream::Stdout);
            let is_there = |at: usize| {
                let begin = begin(at);
                pair[0].lines.iter().any(|line| line.starts_with(begin.as_bytes()))
            };
            assert_eq!(log.has_matched(), wanted.is_some_and(is_there), "the pattern of a line");
            let [out, err] = pair else { unreachable!() };
            if out.lines.is_empty() || err.lines.is_empty() {
                let all: Vec<_> = out.lines.iter().chain(&err.lines).collect();
                let last = all[all.len().saturating_sub(LAST_LINES)..].iter();
                let last = last.map(|line| &line[..line.len().min(LAST_LINE_LENGTH)]);
                let shown = |line| harmless(&text(line)).chars().take(LONGEST).collect();
                let last: Vec<String> = last.map(shown).collect();
                assert_eq!(log.last_lines(), last, "the last lines for a failure");
            }
        }
    }
}

// holds: C437, C438, C439, C449
#[test]
fn every_line_comes_out_once_or_is_counted_as_lost() {
    let only = std::env::var("DRAINIT_LOG_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let play_all = |from| {
        for seed in only.map_or(from..TRIALS, |seed| seed..seed + 1).step_by(THREADS as usize) {
            if let Err(why) = std::panic::catch_unwind(|| play(seed)) {
                eprintln!("seed {seed}: DRAINIT_LOG_SEED={seed} plays it again");
                std::panic::resume_unwind(why);
            }
        }
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|from| drop(scope.spawn(move || play_all(from))));
    });
}
