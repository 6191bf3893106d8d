//! The rows about signals that PID 1 gets.

use std::time::{Duration, Instant};

use libc::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2};

use super::{ordinary, stops};
use crate::room::{GRACE, Init, Puppet, Room, SOON, START, Setup, poll_until};
use crate::verdict::{Outcome, check, fail};
use crate::wire::NoLine;
use crate::{proc, sys};

/// How often a race is tried: often, but for an init that starts slowly only for a while.
const RACES: usize = 20;
const FEW: usize = 3;
const WHILE: Duration = Duration::from_secs(15);
/// A mistake of an init shows within this time.
const MISTAKE: Duration = Duration::from_millis(500);

pub(super) fn reaps_while_stopping(init: &Init) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    room.signal(SIGTERM);
    puppet.must_get(SIGTERM, "the child")?;
    puppet.ask("orphan puppet");
    let mut orphan = room.puppet()?;
    orphan.ask("exit 0");
    room.must_reap(orphan.pid, "an orphan")
}

pub(super) fn term_child(init: &Init) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    stops(&mut room, &mut puppet)
}

pub(super) fn outlives_child(init: &Init) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    room.signal(SIGTERM);
    room.must_stay(2 * MISTAKE, "SIGTERM, and did not wait for its child")?;
    check(puppet.lives(), || "the child was killed within a second of SIGTERM".to_owned())
}

pub(super) fn term_group(init: &Init) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    puppet.ask("child puppet");
    let mut member = room.puppet()?;
    room.signal(SIGTERM);
    puppet.must_get(SIGTERM, "the child")?;
    room.settle();
    // Either the whole group gets the signal, or the init ends the rest of the group after the
    // child.
    if member.has_got(SIGTERM)? {
        return Ok(());
    }
    puppet.ask("exit 0");
    member.must_get(SIGTERM, "another process of the child's group")
}

pub(super) fn term_while_starting(init: &Init) -> Outcome {
    // While sigtimedwait(2) waits for a signal, the kernel shows the signal as not blocked. By
    // then, the child exists.
    let handles = |pid, field| proc::has(proc::signals(pid, field), SIGTERM);
    race(init, |pid| handles(pid, "SigBlk") || handles(pid, "SigCgt") || proc::has_child(pid))
}

pub(super) fn term_first_millisecond(init: &Init) -> Outcome {
    race(init, proc::has_child)
}

/// Sends SIGTERM to PID 1 as soon as a condition holds.
fn race(init: &Init, holds: impl Fn(i32) -> bool) -> Outcome {
    let began = Instant::now();
    for attempt in 1..=RACES {
        if attempt > FEW && began.elapsed() > WHILE {
            break;
        }
        let mut room = Room::open(init, Setup::default(), "plain")?;
        let until = Instant::now() + START;
        // Before its exec, PID 1 is still a part of the probe.
        while proc::program(room.pid).is_none_or(|path| path == init.probe) || !holds(room.pid) {
            if Instant::now() > until || proc::state(room.pid).is_none_or(|state| state == 'Z') {
                return fail(format!(
                    "the init handled no SIGTERM, or started no child, within {} s{}",
                    START.as_secs(),
                    room.last_words()
                ));
            }
            std::hint::spin_loop();
        }
        room.signal(SIGTERM);
        if room.end(SOON).is_none() {
            return fail(format!(
                "the container still ran {} s after SIGTERM (attempt {attempt})",
                SOON.as_secs()
            ));
        }
    }
    Ok(())
}

pub(super) fn stop_signals(init: &Init) -> Outcome {
    for signal in [SIGINT, SIGQUIT] {
        let (room, mut puppet) = ordinary(init)?;
        room.signal(signal);
        let either = [signal, SIGTERM].map(|signal| format!("signal {signal}"));
        puppet.hear_any(&either, SOON).or_else(|why| missed(signal, &why))?;
    }
    Ok(())
}

fn missed(signal: i32, why: &NoLine) -> Outcome<String> {
    let name = proc::signal_name(signal);
    fail(match why {
        NoLine::Ended => format!("the child was killed when the init got {name}"),
        NoLine::Late => {
            format!("the child got no signal within {} s when the init got {name}", SOON.as_secs())
        }
    })
}

pub(super) fn user_signals(init: &Init) -> Outcome {
    all_pass(init, &[SIGHUP, SIGUSR1, SIGUSR2])
}

pub(super) fn realtime_signals(init: &Init) -> Outcome {
    all_pass(init, &[37, 50, 64])
}

/// Fails unless the init passes each of these signals.
fn all_pass(init: &Init, signals: &[i32]) -> Outcome {
    let mut missing = Vec::new();
    for signal in signals {
        let (room, mut puppet) = ordinary(init)?;
        room.signal(*signal);
        if !gets(&room, &mut puppet, *signal) {
            missing.push(proc::signal_name(*signal));
        }
    }
    check(missing.is_empty(), || format!("the child did not get: {}", missing.join(", ")))
}

/// Whether the puppet gets the signal by the time that the init has handled it, and half a second
/// more.
fn gets(room: &Room, puppet: &mut Puppet, signal: i32) -> bool {
    room.settle();
    puppet.hear_any(&[format!("signal {signal}")], 2 * MISTAKE).is_ok()
}

pub(super) fn second_term(init: &Init) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    room.signal(SIGTERM);
    puppet.must_get(SIGTERM, "the child")?;
    room.settle();
    room.signal(SIGTERM);
    room.must_stay(MISTAKE, "a second SIGTERM")?;
    check(puppet.lives(), || "a second SIGTERM killed the child".to_owned())?;
    puppet.ask("exit 0");
    room.must_end(SOON, "the end of its child").map(drop)
}

pub(super) fn term_while_forking(init: &Init) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    puppet.answer("storm")?;
    room.signal(SIGTERM);
    puppet.must_get(SIGTERM, "the child")?;
    puppet.ask("exit 0");
    room.must_end(GRACE, "the end of its child").map(drop)
}

pub(super) fn stopped_child(init: &Init) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    let _ = sys::kill(puppet.pid, SIGSTOP);
    poll_until(Instant::now() + SOON, || proc::state(puppet.pid) == Some('T'));
    room.settle();
    room.must_stay(MISTAKE, "SIGSTOP for its child")?;
    let _ = sys::kill(puppet.pid, SIGCONT);
    room.must_stay(MISTAKE, "SIGCONT for its child")?;
    check(puppet.lives(), || "the child was killed after it had been stopped".to_owned())?;
    check(!puppet.has_got(SIGTERM)?, || {
        "the child got SIGTERM after it had been stopped".to_owned()
    })
}
