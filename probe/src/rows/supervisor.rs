//! The rows that only a supervisor of several processes can pass.

use libc::SIGTERM;

use super::ordinary;
use crate::room::{GRACE, Init, Room, Setup, puppet};
use crate::verdict::{Outcome, check, fail};

pub(super) fn restart(init: &Init) -> Outcome {
    let (mut room, mut first) = ordinary(init)?;
    first.ask("exit 1");
    room.puppet().map(drop)
}

pub(super) fn stop_bound(init: &Init) -> Outcome {
    let (mut room, _deaf) = ordinary(init)?;
    room.signal(SIGTERM);
    room.must_end(GRACE, "SIGTERM").map(drop)
}

pub(super) fn order(init: &Init) -> Outcome {
    let mut room = Room::open_with(init, Setup::default(), |socket| {
        let (mut words, second) = (puppet(init, socket, "first"), puppet(init, socket, "second"));
        words.push("--".to_owned());
        words.extend(second);
        words
    })?;
    let (mut first, mut second) = (room.puppet()?, room.puppet()?);
    if (first.role.as_str(), second.role.as_str()) != ("first", "second") {
        return fail(format!("{} started before {}", first.role, second.role));
    }
    room.signal(SIGTERM);
    second.must_get(SIGTERM, "the second child")?;
    room.settle();
    check(!first.has_got(SIGTERM)?, || {
        "the first child got SIGTERM while the second one still ran".to_owned()
    })?;
    second.ask("exit 0");
    first.must_get(SIGTERM, "the first child")?;
    first.ask("exit 0");
    room.must_end(GRACE, "the end of its children").map(drop)
}
