//! The program that drainit and its peers run in the bench. Another instance of this program reads
//! what drainit or the peer writes. The program is small and static.
//!
//! With the argument `go=PATH`, the program first waits until PATH exists. With `cpu=N`, the
//! program runs on CPU N. A line has 156 bytes.
//!
//! | command | action |
//! |---|---|
//! | `start PROGRAM` | runs a program and exits as it does: the smallest possible init in Rust |
//! | `idle` | waits for a signal, which ends it |
//! | `serve NAME LOG [OPTION…]` | listens; logs its start, SIGTERM and end (see below) |
//! | `lines COUNT AT_ONCE` | writes lines at full speed, AT_ONCE per write; waits for a signal |
//! | `count COUNT` | reads these lines, and prints the time at which it has COUNT |
//! | `paced COUNT RATE` | writes lines with their time of writing, RATE per second |
//! | `waited COUNT` | reads these lines, and prints their latencies |
//! | `mixed ID COUNT` | writes lines of many lengths, each in two pieces; waits for a signal |
//! | `whole COUNT` | reads the lines of many such writers, and prints how many were whole |
//! | `torrent COUNT` | leaves COUNT orphans at full speed, prints the time to reap them; waits |
//! | `spawn COUNT LOG` | starts and stops COUNT of `serve`: the cost of fork and exec alone |
//!
//! The options of `serve`: with `socket=PATH`, it listens on this Unix socket; with `notify=FD`, it
//! writes to this descriptor when it is ready; with `take=MS`, its end takes MS milliseconds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, exit};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_timerslack;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork, setpgid};

/// The length of a line of the `lines` and `paced` writers, with its newline.
const LINE: usize = 156;
/// The seconds after which this process ends, in case a killed bench has left it behind. No bench
/// runs longer than this.
const LONGEST_LIFE: u32 = 600;
/// The number of chains of orphans that run at the same time.
const CHAINS: u32 = 4;

fn main() {
    alarm::set(LONGEST_LIFE);
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| args[place].parse::<u64>().unwrap();
    let option = |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name));
    if let Some(cpu) = option("cpu=") {
        run_on(cpu.parse().unwrap());
    }
    while option("go=").is_some_and(|path| !Path::new(path).exists()) {
        sleep(Duration::from_millis(1));
    }
    match args.first().map(String::as_str) {
        Some("start") => exit(Command::new(&args[1]).status().unwrap().code().unwrap_or(1)),
        Some("idle") => wait_for_a_signal(),
        Some("serve") => serve(&args[1], &args[2], option),
        Some("lines") => lines(number(1), number(2)),
        Some("paced") => paced(number(1), number(2)),
        Some("count") => count(number(1)),
        Some("waited") => waited(usize::try_from(number(1)).unwrap()),
        Some("mixed") => mixed(number(1), number(2)),
        Some("whole") => whole(number(1)),
        Some("torrent") => torrent(u32::try_from(number(1)).unwrap()),
        Some("spawn") => spawn(number(1), &args[2]),
        _ => panic!("usage: see the head of benches/peers/child.rs"),
    }
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

fn serve<'a>(name: &str, log: &str, option: impl Fn(&str) -> Option<&'a str>) {
    let mut log = OpenOptions::new().append(true).create(true).open(log).unwrap();
    let mut note =
        |what: &str| log.write_all(format!("{name} {what} {}\n", now()).as_bytes()).unwrap();
    let term = hold_term();
    note("start");
    let _listener = option("socket=").map(|path| {
        let _ = std::fs::remove_file(path);
        UnixListener::bind(path).unwrap()
    });
    if let Some(fd) = option("notify=") {
        std::fs::write(format!("/proc/self/fd/{fd}"), "\n").unwrap();
    }
    term.wait().unwrap();
    note("term");
    if let Some(time) = option("take=") {
        sleep(Duration::from_millis(time.parse().unwrap()));
    }
    note("end");
}

fn lines(count: u64, at_once: u64) {
    let mut line = [b'x'; LINE];
    line[LINE - 1] = b'\n';
    let block = line.repeat(usize::try_from(at_once).unwrap());
    let mut out = standard_output();
    for _ in 0..count / at_once {
        out.write_all(&block).unwrap();
    }
    wait_for_a_signal();
}

/// Reads lines. Once `wanted` lines have come, prints their number and reads on, so that no writer
/// blocks.
fn count(wanted: u64) {
    let mut buffer = vec![0; 1 << 16];
    let (mut seen, mut is_printed) = (0, false);
    loop {
        let count = stdin().read(&mut buffer).unwrap();
        if count == 0 {
            return;
        }
        seen += buffer[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
        if seen >= wanted && !is_printed {
            println!("{seen}");
            is_printed = true;
        }
    }
}

fn paced(count: u64, rate: u64) {
    // Makes sleeps end on time, not up to 50 µs later.
    set_timerslack(1).unwrap();
    let mut out = standard_output();
    let began = Instant::now();
    for number in 0..count {
        let due = Duration::from_nanos(number * 1_000_000_000 / rate);
        if let Some(rest) = due.checked_sub(began.elapsed()) {
            sleep(rest);
        }
        out.write_all(format!("{:<width$}\n", now(), width = LINE - 1).as_bytes()).unwrap();
    }
}

/// Calls `each` with every line of standard input, without its newline.
fn read_lines(mut each: impl FnMut(&[u8])) {
    let mut rest = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = stdin().read(&mut buffer).unwrap();
        if count == 0 {
            return;
        }
        rest.extend_from_slice(&buffer[..count]);
        let mut begin = 0;
        while let Some(length) = rest[begin..].iter().position(|byte| *byte == b'\n') {
            each(&rest[begin..begin + length]);
            begin += length + 1;
        }
        rest.drain(..begin);
    }
}

fn waited(wanted: usize) {
    let mut times = Vec::new();
    read_lines(|line| {
        let text = line
            .len()
            .checked_sub(LINE - 1)
            .and_then(|prefix| std::str::from_utf8(&line[prefix..]).ok());
        // Skips the lines of the init itself, which contain no time.
        if let Some(written) = text.and_then(|text| text.trim().parse::<u128>().ok()) {
            times.push(now() - written);
        }
        if times.len() == wanted {
            times.sort_unstable();
            let microseconds = |part: usize| times[(wanted - 1) * part / 1000] / 1000;
            println!("{} {} {}", microseconds(500), microseconds(990), microseconds(1000));
            times.push(0);
        }
    });
}

/// Returns a length from 20 to about 6,000 bytes, so some writes are longer than PIPE_BUF and not
/// atomic.
fn length_of(id: u64, number: u64) -> usize {
    let mut hash = (id << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    usize::try_from(if hash.is_multiple_of(8) { 20 + hash / 8 % 6000 } else { 20 + hash / 8 % 300 })
        .unwrap()
}

fn text_of(id: u64, number: u64) -> String {
    format!("{id} {number} {}", "abcdefgh".repeat(length_of(id, number) / 8))
}

fn mixed(id: u64, count: u64) {
    let mut out = standard_output();
    for number in 0..count {
        let line = text_of(id, number) + "\n";
        let (first, second) = line.split_at(line.len() / 2);
        out.write_all(first.as_bytes()).unwrap();
        out.write_all(second.as_bytes()).unwrap();
    }
    // The writer does not exit, because some inits might not read the last lines of a process that
    // has ended.
    wait_for_a_signal();
}

/// Prints three numbers: how many of the expected `count` lines arrived whole and in order; how
/// many of them are missing; and how many lines arrived broken or out of order.
fn whole(count: u64) {
    let mut next = HashMap::<u64, u64>::new();
    let (mut good, mut broken) = (0, 0);
    read_lines(|line| {
        let line = String::from_utf8_lossy(line);
        let (prefix, text) = line.split_once("] ").unwrap_or(("", &line));
        let mut parts = text.splitn(3, ' ').map(str::parse::<u64>);
        let (Some(Ok(id)), Some(Ok(number))) = (parts.next(), parts.next()) else {
            // Without the text of a writer, the line comes from the init itself and is not broken.
            broken += u64::from(line.contains("abcdefgh"));
            return;
        };
        let expected = next.entry(id).or_default();
        let prefix_fits = prefix.is_empty() || prefix == format!("[p{id}");
        if *expected == number && prefix_fits && text == text_of(id, number) {
            good += 1;
        } else {
            broken += 1;
        }
        *expected = number + 1;
    });
    println!("{good} {} {broken}", count - good);
}

fn torrent(count: u32) {
    let began = Instant::now();
    let group = orphans(count, CHAINS);
    // A process belongs to its group until it is reaped, so the group ends with the last reap.
    while killpg(group, None).is_ok() {
        sleep(Duration::from_micros(50));
    }
    println!("{}", began.elapsed().as_nanos());
    stdout().flush().unwrap();
    wait_for_a_signal();
}

fn spawn(count: u64, log: &str) {
    let me = std::env::current_exe().unwrap();
    let mut children: Vec<_> = (0..count)
        .map(|number| {
            Command::new(&me).args(["serve", &format!("p{number}"), log]).spawn().unwrap()
        })
        .collect();
    wait_for_a_signal();
    for child in &children {
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    }
    for child in &mut children {
        child.wait().unwrap();
    }
    exit(0);
}

/// Blocks SIGTERM, which then stays pending until it is read.
fn hold_term() -> SigSet {
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    term.thread_block().unwrap();
    term
}

fn wait_for_a_signal() {
    hold_term().wait().unwrap();
}

/// Runs on this CPU, or on any CPU if the machine does not have it.
fn run_on(cpu: usize) {
    let mut set = CpuSet::new();
    let _ = set.set(cpu).and_then(|()| sched_setaffinity(Pid::this(), &set));
}

/// Standard output without std's line buffer.
fn standard_output() -> File {
    File::from(stdout().as_fd().try_clone_to_owned().unwrap())
}

/// Starts chains of processes, each of which forks the next process and ends. All processes are in
/// the returned group.
#[allow(unsafe_code)]
fn orphans(count: u32, chains: u32) -> Pid {
    let end = |code| -> ! {
        // SAFETY: ends a process that has no thread and no buffer.
        unsafe { libc::_exit(code) }
    };
    // SAFETY: the forked processes only fork, set their group and end.
    let fork = || unsafe { fork() };
    if let ForkResult::Parent { child: leader } = fork().unwrap() {
        let _ = setpgid(leader, leader);
        waitpid(leader, None).unwrap();
        return leader;
    }
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    for _ in 0..chains {
        if matches!(fork(), Ok(ForkResult::Child)) {
            for _ in 1..count / chains {
                // If a fork fails, the chain ends early, and the measured time is too short.
                match fork() {
                    Ok(ForkResult::Child) => {}
                    Ok(ForkResult::Parent { .. }) => end(0),
                    Err(_) => end(1),
                }
            }
            end(0);
        }
    }
    end(0)
}
