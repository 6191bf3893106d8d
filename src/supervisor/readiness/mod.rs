//! Joins a process to its readiness probe: one task a life, which ends with the life or with the message that it is ready.

pub mod notify;
pub mod probe;

use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};

use crate::config::{Probe, Process, Readiness};
use crate::logging::capture::OutputCapture;
use crate::supervisor::launch;
use crate::supervisor::message::MessageSender;
use crate::supervisor::message::{Family, Message};
use crate::supervisor::readiness::probe::{LastFailure, wait_ready};
use crate::supervisor::run_command;

/// How long one run of an `exec` probe may take.
const EXEC_LIMIT: Duration = Duration::from_secs(10);

/// What a process of which kind is seen by.
pub(crate) struct ReadinessTarget {
    pub(crate) process: Process,
    pub(crate) readiness: Readiness,
    pub(crate) log: Option<Rc<OutputCapture>>,
}

/// A probe under way; dropping it ends it.
pub(crate) struct Watch {
    task: AbortHandle,
}

impl Watch {
    /// Begins to look; sends `ready` once. Why it has not been ready yet is kept in `failure`.
    pub(crate) fn begin(
        subject: ReadinessTarget,
        base: Rc<[(OsString, OsString)]>,
        family: Family,
        sender: MessageSender,
        failure: LastFailure,
        ready: Message,
    ) -> Self {
        let task = spawn_local(async move {
            let ReadinessTarget { process, readiness, log } = subject;
            match (&readiness.probe, log) {
                (Probe::Log(_), Some(log)) => log.matched().await,
                (probe, _) => {
                    let run = move |command: &[String]| -> Pin<Box<dyn Future<Output = Result<(), String>>>> {
                        let request = launch::probe(command, &process, &base);
                        Box::pin(run_command::run(request, Rc::clone(&family), EXEC_LIMIT))
                    };
                    wait_ready(probe, readiness.interval, &failure, &run).await;
                }
            }
            let _ = sender.send(ready);
        });
        Self { task: task.abort_handle() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
