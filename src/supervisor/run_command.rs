//! Runs one command to its end, for those who want to know whether it succeeded: `exec` probes, `exec` drains.

use std::time::Duration;

use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};
use tokio::time::timeout;

use crate::os::Pid;
use crate::os::kill::kill_group;
use crate::os::spawn::SpawnRequest;
use crate::supervisor::message::{Family, Role};
use crate::types::{End, Signal, harmless, human};

/// A command that runs. Dropped before its end, its process group is killed.
struct Running {
    pid: Pid,
    end: Receiver<End>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Who would tell is in the table of children, so it is not reaped, and the pid still is its
        // own.
        if self.end.try_recv() == Err(TryRecvError::Empty) {
            let _ = kill_group(self.pid, Signal::KILL);
        }
    }
}

/// Runs a command; the error says why that was no success. Its process group is killed when it takes longer than `limit`,
/// or when this is dropped.
pub(crate) async fn run(
    request: SpawnRequest,
    family: Family,
    limit: Duration,
) -> Result<(), String> {
    let (sender, end) = oneshot::channel();
    let spawned = family.borrow_mut().spawn(request, Role::Command(sender));
    let mut running =
        Running { pid: spawned.map_err(|error| harmless(&error.to_string()).into_owned())?, end };
    match timeout(limit, &mut running.end).await {
        Ok(Ok(End::Code(0))) => Ok(()),
        Ok(Ok(end)) => Err(format!("its command {end}")),
        Ok(Err(_)) => Err("its command was lost".to_owned()),
        Err(_) => Err(format!("its command had not ended after {}", human(limit))),
    }
}
