use std::io::{PipeReader, Read, Write};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::fstat;

use crate::language::mask::LONGEST;
use crate::logging::capture::*;
use crate::logging::last_lines::LAST_LINES;
use crate::testing::block_on;

struct Rig {
    output: Arc<Output>,
    stdout: PipeReader,
    stderr: PipeReader,
}

impl Rig {
    fn new() -> Self {
        let (stdout, stdout_end) = pipe().unwrap();
        let (stderr, stderr_end) = pipe().unwrap();
        Self { output: Output::new(stdout_end, stderr_end), stdout, stderr }
    }

    fn open(&self, form: LineForm) -> (Rc<OutputCapture>, WriteEnds) {
        OutputCapture::open(self.output.clone(), [form.clone(), form], None, None).unwrap()
    }

    /// Returns everything that was written. The caller must have dropped all other references to
    /// the output.
    fn texts(self) -> (String, String) {
        let Self { output, mut stdout, mut stderr } = self;
        drop(output);
        let stdout = thread::spawn(move || text_of(&mut stdout));
        (stdout.join().unwrap(), text_of(&mut stderr))
    }
}

fn text_of(reader: &mut PipeReader) -> String {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

// holds: S72
#[test]
fn pump_reads_last_lines_without_waiting() {
    let rig = Rig::new();
    block_on(async {
        let (log, mut ends) = rig.open(LineForm::prefix("p"));
        for number in 0..100 {
            writeln!(ends.stdout, "line {number}").unwrap();
        }
        ends.stderr.write_all(&[b'x'; 600]).unwrap();
        ends.stderr.write_all(b"\r\nbye \xff").unwrap();
        // There was no await since the lines were written, so the task has not read them yet.
        log.pump();
        let last = log.last_lines();
        assert_eq!(last.len(), LAST_LINES);
        assert_eq!(last[0], "line 82");
        assert_eq!(last[17], "line 99");
        assert_eq!(last[18], "x".repeat(LONGEST));
        assert_eq!(last[19], "bye \u{FFFD}");
        drop(ends);
        log.pump();
        log.finished().await;
        assert_eq!(log.last_lines(), last);
    });
    let (stdout, _) = rig.texts();
    assert_eq!(stdout.lines().count(), 100, "each line is written once");
}

#[test]
fn finish_reads_nothing_after_the_limit() {
    let rig = Rig::new();
    block_on(async {
        let (log, mut ends) = rig.open(LineForm::Plain);
        ends.stdout.write_all(b"line\n").unwrap();
        log.finish(|| false);
        assert_eq!(log.last_lines(), [""; 0]);
        log.finish(|| true);
        assert_eq!(log.last_lines(), ["line"]);
    });
}

#[test]
fn task_of_ended_process_does_not_wait_for_room() {
    let rig = Rig::new();
    block_on(async {
        let (log, mut ends) = rig.open(LineForm::Plain);
        rig.output.push_process(Stream::Stdout, &b"x\n".repeat(400_000));
        // The thread of the output hangs in its write now, so the next lines stay in the queue.
        assert!(!rig.output.flush(Duration::from_millis(50)));
        rig.output.push_process(Stream::Stdout, &b"x\n".repeat(400_000));
        ends.stdout.write_all(b"last\n").unwrap();
        drop(ends);
        yield_now().await;
        log.finish(|| true);
        while Rc::strong_count(&log) > 1 {
            yield_now().await;
        }
    });
}

#[test]
fn ended_pipe_is_closed() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let rig = Rig::new();
    block_on(async {
        let before = open();
        let captures: Vec<_> = (0..100)
            .map(|number| {
                let (log, mut ends) = rig.open(LineForm::Plain);
                ends.stdout.write_all(b"last\n").unwrap();
                drop(ends);
                if number % 2 == 0 {
                    log.pump();
                }
                log
            })
            .collect();
        for log in &captures {
            log.finished().await;
            while Rc::strong_count(log) > 1 {
                yield_now().await;
            }
        }
        // Other tests may open descriptors at the same time.
        assert!(open() < before + 100, "{} of {before}", open());
    });
}

#[test]
fn the_pipes_are_closed_on_exec_and_belong_to_the_user() {
    let rig = Rig::new();
    block_on(async {
        let user = User { uid: 12_345, gid: 54_321, groups: Vec::new() };
        let forms = [LineForm::Plain, LineForm::Plain];
        let (_, ends) = OutputCapture::open(rig.output.clone(), forms, Some(&user), None).unwrap();
        for end in [&ends.stdout, &ends.stderr] {
            assert_eq!(fcntl(end, FcntlArg::F_GETFD).unwrap(), 1, "FD_CLOEXEC");
            if Uid::effective().is_root() {
                let stat = fstat(end).unwrap();
                assert_eq!((stat.st_uid, stat.st_gid), (12_345, 54_321));
            }
            assert_eq!(fstat(end).unwrap().st_mode & 0o777, 0o622);
        }
    });
}

// holds: S251
#[test]
fn each_long_read_leaves_a_turn_to_the_event_loop() {
    const PIPES: usize = 20;
    const READS: usize = 4;
    let rig = Rig::new();
    let turns = block_on(async {
        let mut line = vec![b'x'; 4095];
        line.push(b'\n');
        let open = || {
            // With a pattern, drainit reads even if the output has no room for the lines.
            let (output, pattern) = (rig.output.clone(), Regex::new("never").unwrap());
            let forms = [LineForm::Plain, LineForm::Plain];
            let (log, mut ends) = OutputCapture::open(output, forms, None, Some(pattern)).unwrap();
            let size = i32::try_from(READS * CHUNK).unwrap();
            fcntl(&ends.stdout, FcntlArg::F_SETPIPE_SZ(size)).unwrap();
            ends.stdout.write_all(&line.repeat(READS * CHUNK / line.len())).unwrap();
            log
        };
        let logs: Vec<_> = (0..PIPES).map(|_| open()).collect();
        let mut turns = 0;
        while !logs.iter().all(|log| log.is_finished()) {
            yield_now().await;
            turns += 1;
        }
        turns
    });
    assert!(turns >= PIPES * (READS - 1), "{turns} turns");
}
