//! Runs the command of an `exec` probe or an `exec` drain to its end.

use std::time::Duration;

use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};
use tokio::time::timeout;

use crate::os::Pid;
use crate::os::kill::kill_group;
use crate::os::spawn::SpawnRequest;
use crate::supervisor::message::{Role, SharedChildren};
use crate::types::{End, Signal, harmless, human};

/// A running command; dropping it kills its process group.
struct Running {
    pid: Pid,
    end: Receiver<End>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The sender is in the table of children as long as the pid is not reaped.
        if self.end.try_recv() == Err(TryRecvError::Empty) {
            let _ = kill_group(self.pid, Signal::KILL);
        }
    }
}

/// Runs a command; the error says why it failed. Kills its process group after `limit`, or when
/// this is dropped.
pub(crate) async fn run(
    request: SpawnRequest,
    children: SharedChildren,
    limit: Duration,
) -> Result<(), String> {
    let (sender, end) = oneshot::channel();
    let spawned = children.borrow_mut().spawn(request, Role::Command(sender));
    let mut running =
        Running { pid: spawned.map_err(|error| harmless(&error.to_string()).into_owned())?, end };
    match timeout(limit, &mut running.end).await {
        Ok(Ok(End::Code(0))) => Ok(()),
        Ok(Ok(end)) => Err(format!("its command {end}")),
        Ok(Err(_)) => Err("its command was lost".to_owned()),
        Err(_) => Err(format!("its command had not ended after {}", human(limit))),
    }
}
