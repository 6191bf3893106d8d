//! The rows about a terminal.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use libc::{SIGINT, SIGQUIT, SIGTSTP, SIGWINCH};

use super::furnished;
use crate::room::{Init, Puppet, Room, Setup, Streams};
use crate::sys;
use crate::verdict::{Outcome, check, skip};

fn with_terminal(init: &Init) -> Outcome<(Room, Puppet)> {
    furnished(init, Setup { streams: Streams::Terminal, ..Setup::default() })
}

pub(super) fn foreground(init: &Init) -> Outcome {
    let (_room, mut puppet) = with_terminal(init)?;
    let said = puppet.answer("foreground")?;
    let (foreground, own) = said.rsplit_once(' ').unwrap_or_default();
    check(foreground == own, || {
        format!("the foreground group is {foreground}, and the child's group is {own}")
    })
}

pub(super) fn keys(init: &Init) -> Outcome {
    let (room, mut puppet) = with_terminal(init)?;
    let Some(terminal) = &room.terminal else { return skip("there is no terminal") };
    let mut terminal = File::from(terminal.try_clone()?);
    for (key, signal) in [(b"\x03", SIGINT), (b"\x1a", SIGTSTP), (b"\x1c", SIGQUIT)] {
        terminal.write_all(key)?;
        puppet.must_get(signal, "the child")?;
    }
    Ok(())
}

pub(super) fn size(init: &Init) -> Outcome {
    let (room, mut puppet) = with_terminal(init)?;
    let Some(terminal) = &room.terminal else { return skip("there is no terminal") };
    sys::resize(terminal.as_fd(), 50, 132)?;
    puppet.must_get(SIGWINCH, "the child")
}
