//! The rows that the child of the init judges, from what it finds.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::proc;
use crate::room::{SOON, poll_until};
use crate::start::Start;
use crate::sys;
use crate::verdict::{Outcome, check, skip};

pub(super) fn double_fork(program: &str, _: &Start) -> Outcome {
    orphans(program, 1)
}

pub(super) fn thousand_ends(program: &str, _: &Start) -> Outcome {
    orphans(program, 1000)
}

/// Makes orphans, which end at the same time when their common stdin is closed.
fn orphans(program: &str, count: usize) -> Outcome {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let mut nursery = Command::new(program);
    nursery.args(["nursery", &count.to_string()]).stdin(reader).stdout(Stdio::piped());
    let mut child = nursery.spawn()?;
    // Otherwise the command would keep the pipe open for reading.
    drop(nursery);
    let lines = child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
    let pids: Vec<i32> = lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).collect();
    child.wait()?;
    drop(writer);
    if pids.len() < count {
        return skip(format!("only {} of {count} processes could be started", pids.len()));
    }
    let left = || pids.iter().filter(|pid| sys::kill(**pid, 0).is_ok()).count();
    poll_until(Instant::now() + SOON, || left() == 0);
    let left = left();
    check(left == 0, || {
        format!("{left} of {count} orphans were still zombies {} s after their end", SOON.as_secs())
    })
}

pub(super) fn no_leaked_descriptor(_: &str, start: &Start) -> Outcome {
    let Some(open) = &start.descriptors else { return skip("/proc is missing") };
    let more: Vec<_> =
        open.iter().filter(|(fd, _)| *fd > 2).map(|(fd, to)| format!("{fd} ({to})")).collect();
    check(more.is_empty(), || format!("the child also got {}", more.join(", ")))
}

pub(super) fn signal_mask(_: &str, start: &Start) -> Outcome {
    let Some(set) = start.blocked else { return skip("/proc is missing") };
    check(set == 0, || format!("blocked: {}", proc::list(set)))
}

pub(super) fn signal_dispositions(_: &str, start: &Start) -> Outcome {
    let Some(set) = start.ignored else { return skip("/proc is missing") };
    check(set == 0, || format!("ignored: {}", proc::list(set)))
}
