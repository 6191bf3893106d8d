//! Runs one command to its end, for those who want to know whether it succeeded: `exec` probes, `exec` drains.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::news::{Family, Role};
use super::reap::{Pid, kill_group};
use super::spawn::SpawnRequest;
use crate::vocab::{End, Signal, human};

/// A command that runs. Dropped before its end, its process group is killed.
struct Running {
    pid: Pid,
    family: Family,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not reaped yet, so the pid still is its own.
        if self.family.borrow().role(self.pid).is_some() {
            let _ = kill_group(self.pid, Signal::KILL);
        }
    }
}

/// Runs a command; the error says why that was no success. Its process group is killed when it takes longer than `limit`,
/// or when this is dropped.
pub(super) async fn run(
    request: SpawnRequest,
    family: Family,
    limit: Duration,
) -> Result<(), String> {
    let (sender, end) = oneshot::channel();
    let spawned = family.borrow_mut().spawn(request, Role::Command(sender));
    let running = Running { pid: spawned.map_err(|error| error.to_string())?, family };
    let end = timeout(limit, end).await;
    drop(running);
    match end {
        Ok(Ok(End::Code(0))) => Ok(()),
        Ok(Ok(end)) => Err(format!("its command {end}")),
        Ok(Err(_)) => Err("its command was lost".to_owned()),
        Err(_) => Err(format!("its command had not ended after {}", human(limit))),
    }
}
