//! Joins a process to its readiness probe: one task a life, which ends with the life or with the news that it is ready.

use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};

use super::child_log::ChildLog;
use super::command;
use super::launch;
use super::news::Sender;
use super::news::{Family, News};
use super::probe::{LastFailure, wait_ready};
use crate::config::schema::{Probe, Process, Readiness};

/// How long one run of an `exec` probe may take.
const EXEC_LIMIT: Duration = Duration::from_secs(10);

/// What a process of which kind is seen by.
pub(super) struct Subject {
    pub(super) process: Process,
    pub(super) readiness: Readiness,
    pub(super) log: Option<Rc<ChildLog>>,
}

/// A probe under way; dropping it ends it.
pub(super) struct Watch {
    task: AbortHandle,
}

impl Watch {
    /// Begins to look; sends `ready` once. Why it has not been ready yet is kept in `failure`.
    pub(super) fn begin(
        subject: Subject,
        base: Rc<[(OsString, OsString)]>,
        family: Family,
        sender: Sender,
        failure: LastFailure,
        ready: News,
    ) -> Self {
        let task = spawn_local(async move {
            let Subject { process, readiness, log } = subject;
            match (&readiness.probe, log) {
                (Probe::Log(_), Some(log)) => log.matched().await,
                (probe, _) => {
                    let run = move |command: &[String]| -> Pin<Box<dyn Future<Output = Result<(), String>>>> {
                        let request = launch::probe(command, &process, &base);
                        Box::pin(command::run(request, Rc::clone(&family), EXEC_LIMIT))
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
