//! Hands listening sockets to a child as its descriptors from 3 on (sd_listen_fds(3)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use crate::os::sys;

/// The first descriptor that is handed over.
const FIRST: i32 = 3;

/// Prepares `command`. The result has to live until the child was started.
///
/// The numbers from 3 on are in use here until then: std makes a pipe by which the child reports a
/// failed exec, and the pipe must not have the number of a socket of the child.
pub(super) fn hand_over(command: &mut Command, sockets: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
    let (Some(first), Ok(count)) = (sockets.first(), i32::try_from(sockets.len())) else {
        return Ok(Vec::new());
    };
    let above = FIRST.saturating_add(count);
    let mut kept = Vec::new();
    for socket in sockets {
        kept.push(sys::duplicate(socket, above)?);
    }
    let moves = kept.iter().map(AsRawFd::as_raw_fd).zip(FIRST..).collect();
    loop {
        let next = sys::duplicate(first, FIRST)?;
        let is_above = next.as_raw_fd() >= above;
        kept.push(next);
        if is_above {
            break;
        }
    }
    sys::move_descriptors(command, moves);
    Ok(kept)
}
