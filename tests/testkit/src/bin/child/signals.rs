//! Handles signals. Each signal is recorded with the processes that are alive at that moment, and
//! then handled as `on=SIGNAL:…` says:
//!
//! - `on=TERM:ignore`
//! - `on=TERM:exit:CODE:MS`: exits with CODE after MS milliseconds
//! - `on=TERM:linger:MS`: exits with 3 after at most MS milliseconds, in each process after a different time
//! - `on=TERM:say:TEXT`: writes TEXT to stdout without a newline, and exits with 0
//! - `on=TERM:print:TEXT`: writes a line to stdout, and continues
//! - `on=TERM:touch:PATH`: creates a file

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use signal_hook::iterator::Signals;

use super::{Me, milliseconds, talk};
use testkit::event::{Event, LOG_VARIABLE};

const HANDLED: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTERM,
];

/// Whether a signal has arrived, which need not have been handled yet.
static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Installs the handlers, then records `handling`.
pub(crate) fn install(me: &Me, handlers: &[String]) {
    let handlers: BTreeMap<Signal, String> = handlers
        .iter()
        .map(|handler| {
            let (signal, act) = handler.trim_start_matches("on=").split_once(':').unwrap();
            (format!("SIG{signal}").parse().unwrap(), act.to_owned())
        })
        .collect();
    let mut signals = Signals::new(HANDLED.map(|signal| signal as i32)).unwrap();
    for signal in HANDLED {
        signal_hook::flag::register(signal as i32, Arc::clone(&ASKED)).unwrap();
    }
    let me = me.clone();
    me.note("handling");
    thread::spawn(move || {
        for number in signals.forever() {
            let signal = Signal::try_from(number).unwrap();
            me.note(&format!("got {signal} alive:{}", others_alive(&me)));
            act(&me, signal, handlers.get(&signal).map_or("", String::as_str));
        }
    });
}

fn act(me: &Me, signal: Signal, act: &str) {
    let mut words = act.splitn(3, ':');
    let (verb, first, second) =
        (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or("0"));
    match verb {
        "ignore" => {}
        "exit" => {
            thread::sleep(milliseconds(second));
            me.end(first.parse().unwrap());
        }
        "linger" => {
            let most: u64 = first.parse().unwrap();
            thread::sleep(Duration::from_millis(u64::from(std::process::id()) * 7919 % most));
            me.end(3);
        }
        "say" => {
            talk::stdout(first.as_bytes());
            me.end(0);
        }
        "print" => talk::stdout(format!("{first}\n").as_bytes()),
        "touch" => drop(fs::File::create(first).unwrap()),
        "" if matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) => me.end(0),
        _ => {}
    }
}

/// The names of the processes in the event log that still exist, including zombies, joined with
/// `+`.
fn others_alive(me: &Me) -> String {
    let log = std::env::var_os(LOG_VARIABLE).and_then(|path| fs::read_to_string(path).ok());
    let log = log.unwrap_or_default();
    let mut names: Vec<_> = log
        .lines()
        .filter_map(Event::parse)
        .filter(|event| event.what == "start" && event.name != me.name)
        .filter(|event| Path::new(&format!("/proc/{}", event.pid)).exists())
        .map(|event| event.name)
        .collect();
    names.sort();
    names.dedup();
    names.join("+")
}

/// Sends this process a signal that ends or stops it. After the first signal from outside, the
/// process does not suspend itself, because the SIGCONT that would continue it may already have
/// come.
pub(crate) fn die(me: &Me, signal: &str) {
    if signal == "STOP" && ASKED.load(Ordering::SeqCst) {
        return;
    }
    me.note(&format!("die {signal}"));
    raise(format!("SIG{signal}").parse().unwrap()).unwrap();
}

/// Prints every received signal, including those that the C library reserves, until signal `last`.
#[allow(unsafe_code)] // safe functions do not support the reserved signals
pub(crate) fn record(last: i64) {
    use nix::libc;
    let (all, no_set, no_info) =
        (u64::MAX, std::ptr::null_mut::<u64>(), std::ptr::null_mut::<u8>());
    // SAFETY: the set is valid to read and eight bytes long, like the kernel's.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const all, no_set, 8) };
    talk::stdout(b"ready.\n");
    let limit = libc::timespec { tv_sec: 60, tv_nsec: 0 };
    loop {
        // SAFETY: the set and the timeout are valid to read, and nothing is written.
        let number = unsafe {
            let (set, limit) = (&raw const all, &raw const limit);
            libc::syscall(libc::SYS_rt_sigtimedwait, set, no_info, limit, 8)
        };
        talk::stdout(format!("got {number}.\n").as_bytes());
        // An error, such as the timeout, also ends the loop.
        if number == last || number < 0 {
            return;
        }
    }
}
