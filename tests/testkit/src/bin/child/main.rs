//! The process that drainit supervises in tests: `child NAME STEP…`.
//!
//! It runs the steps in order and then waits for a signal. Handlers are installed before the first
//! step. Every step and signal is recorded in the event log. On SIGTERM, SIGINT and SIGQUIT it exits with 0,
//! unless `on=SIGNAL:…` (see [`signals`]) sets another action.
//!
//! | step | action |
//! |---|---|
//! | `print=TEXT` `eprint=TEXT` | writes a line to stdout or stderr |
//! | `raw=TEXT` | writes to stdout without a newline |
//! | `lines=N,TEXT` | writes N lines `TEXT 0`, `TEXT 1`, …, each in two pieces |
//! | `elines=N,TEXT` | the same on stderr |
//! | `flood` | writes lines to stdout forever |
//! | `sleep=MS` | sleeps |
//! | `await=PATH` | waits until PATH exists |
//! | `touch=PATH` | creates a file |
//! | `unix=PATH` `tcp=ADDRESS` | listens |
//! | `share=PATH` | as `unix`, or records `in use`; records `lost` if another socket took PATH |
//! | `audit=TEXT` | records TEXT, the time of the fork, and whatever it should not have inherited |
//! | `show=PATH` | records the content of a file |
//! | `http=ADDRESS,N[,STATUS]` | answers N requests with STATUS (503), all others with 200 |
//! | `notify=TEXT` | sends TEXT to `NOTIFY_SOCKET`; `OWN` in TEXT stands for its PID |
//! | `swamp=TEXT` | sends TEXT to `NOTIFY_SOCKET` forever |
//! | `forge=TEXT` | sends TEXT to every notify socket of its drainit in /proc/net/unix; waits for a socket |
//! | `report=PATH` | writes its arguments, environment, ids and descriptors as JSON |
//! | `group` | makes itself the leader of a new process group |
//! | `spawn=NAME,STEP,…` | starts a child in the same process group; in its steps, `;` stands for `,` |
//! | `daemon=NAME,STEP,…` | starts a grandchild in its own session, which becomes an orphan |
//! | `storm=N` | leaves N orphans that all end at the same time |
//! | `torrent=N` | leaves N orphans in quick succession; waits until they have ended |
//! | `horde=N` | leaves N orphans that wait for SIGTERM |
//! | `relay=MICROSECONDS,PATH` | leaves a chain of orphans; PATH is locked while one lives |
//! | `hog=N` | allocates N MiB of memory and keeps it |
//! | `refuse=N PROGRAM ARGS…` | the only step: runs PROGRAM; system call N fails (see [`refuse`]) |
//! | `record=N` | the only step: prints `got M.` for each signal M, exits with 0 after signal N |
//! | `exit=CODE` `die=SIGNAL` | ends |
//!
//! If it is called by the name of a program in the gateway's image, it acts as that program (see
//! [`stand_in`]).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod orphans;
mod refuse;
mod report;
mod servers;
mod signals;
mod stand_in;
mod talk;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::exit;
use std::thread::sleep;
use std::time::Duration;

use nix::unistd::{Pid, setpgid};
use testkit::event::{Event, now};

/// The time after which this process ends, in case a failed test has left it behind. No test takes
/// longer.
const LONGEST_LIFE: Duration = Duration::from_secs(60);

fn main() {
    let args = stand_in::command_line();
    let given = report::Given::at_start(&args);
    let mut args = args.into_iter();
    let name = args.next().expect("usage: child NAME STEP...");
    let mut steps: Vec<String> = args.collect();
    if steps.first().is_some_and(|step| step == "detach") {
        return orphans::detach(&name, &steps[1..]);
    }
    if let Some(parent) = steps.first().and_then(|step| step.strip_prefix("orphaned=")) {
        orphans::orphaned(parent.parse().unwrap());
        steps.remove(0);
    }
    if let Some(last) = steps.first().and_then(|step| step.strip_prefix("record=")) {
        return signals::record(last.parse().unwrap());
    }
    if let Some(call) = steps.first().and_then(|step| step.strip_prefix("refuse=")) {
        return refuse::run(call.parse().unwrap(), &steps[1..]);
    }
    let me = Me { name };
    me.note("start");
    let (handlers, steps): (Vec<_>, Vec<_>) =
        steps.into_iter().partition(|step| step.starts_with("on="));
    signals::install(&me, &handlers);
    for step in &steps {
        run(&me, &given, step);
    }
    sleep(LONGEST_LIFE);
    exit(99);
}

fn run(me: &Me, given: &report::Given, step: &str) {
    let (verb, rest) = step.split_once('=').unwrap_or((step, ""));
    match verb {
        "print" => talk::stdout(format!("{rest}\n").as_bytes()),
        "eprint" => talk::stderr(format!("{rest}\n").as_bytes()),
        "raw" => talk::stdout(rest.as_bytes()),
        "lines" => talk::lines(rest, talk::stdout),
        "elines" => talk::lines(rest, talk::stderr),
        "flood" => talk::flood(me),
        "sleep" => sleep(milliseconds(rest)),
        "await" => {
            while !Path::new(rest).exists() {
                sleep(Duration::from_millis(1));
            }
        }
        "touch" => drop(File::create(rest).unwrap()),
        "unix" => servers::unix(rest),
        "tcp" => servers::tcp(rest),
        "http" => servers::http(rest),
        "share" if !servers::share(rest) => return me.note("in use"),
        "share" => {}
        "audit" => return me.note(&format!("audit {rest} {}", given.audit())),
        "show" => return me.note(&format!("shows {}", std::fs::read_to_string(rest).unwrap())),
        "notify" => servers::notify(rest),
        "swamp" => servers::swamp(rest),
        "forge" => servers::forge(rest),
        "report" => given.write(rest),
        "group" => setpgid(Pid::this(), Pid::this()).unwrap(),
        "spawn" => orphans::spawn(rest),
        "daemon" => orphans::daemon(rest),
        "storm" => orphans::storm(rest.parse().unwrap()),
        "torrent" => orphans::torrent(me, rest.parse().unwrap()),
        "horde" => orphans::horde(rest.parse().unwrap()),
        "relay" => {
            let (micros, path) = rest.split_once(',').unwrap();
            orphans::relay(micros.parse().unwrap(), path);
        }
        "hog" => hog(rest.parse().unwrap()),
        "exit" => me.end(rest.parse().unwrap()),
        "die" => signals::die(me, rest),
        // Arguments of the container that drainit passes on (`args.prefix`) are not steps.
        _ if step.starts_with('-') => {}
        _ => {}
    }
    if !step.starts_with("print") {
        me.note(verb);
    }
}

/// Writes to each page, so that the kernel has to allocate it.
fn hog(mebibytes: usize) {
    for _ in 0..mebibytes {
        std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

fn milliseconds(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap())
}

/// This process, with its name in the event log.
#[derive(Clone, Debug)]
struct Me {
    name: String,
}

impl Me {
    /// Records an event, if there is an event log.
    fn note(&self, what: &str) {
        let Some(path) = std::env::var_os(testkit::event::LOG_VARIABLE) else { return };
        let pid = std::process::id().cast_signed();
        let event = Event { at: now(), name: self.name.clone(), pid, what: what.to_owned() };
        if let Ok(mut log) = OpenOptions::new().append(true).open(path) {
            let _ = log.write_all(format!("{event}\n").as_bytes());
        }
    }

    /// Records the end of this process, and exits.
    fn end(&self, code: i32) -> ! {
        servers::lost().inspect(|path| self.note(&format!("lost {path}")));
        self.note(&format!("exit {code}"));
        exit(code)
    }
}
