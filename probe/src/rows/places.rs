//! The rows about places in which an init must work, and about idleness.

use std::time::{Duration, Instant};

use super::{furnished, ordinary, stops, works};
use crate::proc;
use crate::room::{Init, SOON, Setup, poll_until};
use crate::verdict::{Outcome, check, skip};

/// The limit on processes and threads of one user, which leaves room for an init with threads.
const TASKS: u64 = 64;
/// How long an idle init is watched.
const WATCH: Duration = Duration::from_secs(3);

pub(super) fn any_uid(init: &Init) -> Outcome {
    place(init, Setup { other_user: true, ..Setup::default() })
}

pub(super) fn read_only_root(init: &Init) -> Outcome {
    place(init, Setup { read_only: true, ..Setup::default() })
}

pub(super) fn no_proc(init: &Init) -> Outcome {
    place(init, Setup { without_proc: true, ..Setup::default() })
}

fn place(init: &Init, setup: Setup) -> Outcome {
    let (mut room, mut puppet) = furnished(init, setup)?;
    works(&mut room, &mut puppet)
}

pub(super) fn pids_limit(init: &Init) -> Outcome {
    let setup = Setup { other_user: true, tasks: Some(TASKS), ..Setup::default() };
    let (mut room, mut puppet) = furnished(init, setup)?;
    let started: u64 = puppet.answer("fill")?.parse().unwrap_or(0);
    if started > TASKS {
        return skip("the kernel does not limit the processes of this user");
    }
    stops(&mut room, &mut puppet)
}

pub(super) fn idle(init: &Init) -> Outcome {
    let (mut room, _puppet) = ordinary(init)?;
    // The work of the start may take a while. An init that is never still is judged all the same.
    let quiet = Duration::from_secs(1);
    poll_until(Instant::now() + SOON, || {
        let before = proc::switches(room.pid);
        room.end(quiet);
        proc::switches(room.pid) == before
    });
    let before = proc::switches(room.pid);
    room.must_stay(WATCH, "a while without events")?;
    let count = proc::switches(room.pid).saturating_sub(before);
    check(count == 0, || format!("{count} wake-ups in {} s", WATCH.as_secs()))
}
