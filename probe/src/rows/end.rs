//! The rows about processes that outlive the child of the init.

use libc::SIGTERM;

use super::ordinary;
use crate::room::{GRACE, Init, Puppet, Room};
use crate::verdict::Outcome;

pub(super) fn survivor_term(init: &Init) -> Outcome {
    let (mut room, mut survivor) = survived(init)?;
    survivor.must_get(SIGTERM, "the process that outlived the child")?;
    survivor.ask("exit 0");
    room.must_end(GRACE, "the end of its child").map(drop)
}

pub(super) fn survivor_bounded(init: &Init) -> Outcome {
    let (mut room, _survivor) = survived(init)?;
    room.must_end(GRACE, "the end of its child").map(drop)
}

/// A process in its own session, whose relative, the child of the init, ends now.
fn survived(init: &Init) -> Outcome<(Room, Puppet)> {
    let (mut room, mut puppet) = ordinary(init)?;
    puppet.ask("orphan session");
    let survivor = room.puppet()?;
    puppet.ask("exit 0");
    Ok((room, survivor))
}
