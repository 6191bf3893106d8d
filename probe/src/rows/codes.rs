//! The rows about the exit code of the container.

use libc::{SIGABRT, SIGKILL, SIGTERM};

use super::ordinary;
use crate::room::{Init, Room, Setup};
use crate::verdict::Outcome;
use crate::{proc, sys};

pub(super) fn exit_code(init: &Init) -> Outcome {
    for code in [0, 7, 255] {
        let (mut room, mut puppet) = ordinary(init)?;
        puppet.ask(&format!("exit {code}"));
        room.must_exit(code, &format!("the end of its child with code {code}"))?;
    }
    Ok(())
}

pub(super) fn signal_code(init: &Init) -> Outcome {
    [SIGABRT, SIGTERM].into_iter().try_for_each(|signal| dies(init, signal))
}

pub(super) fn realtime_code(init: &Init) -> Outcome {
    [37, 64].into_iter().try_for_each(|signal| dies(init, signal))
}

fn dies(init: &Init, signal: i32) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    puppet.ask(&format!("die {signal}"));
    room.must_exit(128 + signal, &format!("the end of its child by {}", proc::signal_name(signal)))
}

pub(super) fn killed_child(init: &Init) -> Outcome {
    let (mut room, puppet) = ordinary(init)?;
    let _ = sys::kill(puppet.pid, SIGKILL);
    room.must_exit(137, "SIGKILL for its child")
}

pub(super) fn no_program(init: &Init) -> Outcome {
    for (program, code) in [("/nonexistent/program", 127), ("/dev/null", 126)] {
        let mut room = Room::open_with(init, Setup::default(), |_| vec![program.to_owned()])?;
        room.must_exit(code, &format!("a start of {program}"))?;
    }
    Ok(())
}
