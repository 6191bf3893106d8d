//! The process that is being drained, and the reports of its drain to the core, the log and the
//! shutdown report.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::core::connections::watch::Asked;
use crate::core::envoy::dialogue::DrainOutput;
use crate::os::on_thread::Share;
use crate::supervisor::tasks::drain::serving::Serving;
use crate::types::{ProcessId, Signal, harmless};

/// The news of a drain.
pub(crate) enum DrainNews {
    Output(DrainOutput),
    /// The signal that asks the process to drain. `reply` gets the outcome.
    Signal {
        signal: Signal,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// A line for the report of the shutdown.
    Remark(String),
}

/// The process to drain, and the places to which its drain reports.
pub(crate) struct DrainTarget {
    pub(crate) process: ProcessId,
    pub(crate) tell: Box<dyn Fn(DrainNews)>,
    /// The shortest duration of the drain, which is at most `longest`.
    pub(crate) min: Duration,
    pub(crate) longest: Duration,
    /// Whether Envoy's health check succeeds until
    /// [`DrainCommand::Unready`](super::DrainCommand::Unready).
    pub(crate) stays_ready: bool,
    pub(crate) name: String,
    pub(crate) serving: Serving,
    /// The lines that the drain has written into the log, each with the number of times.
    pub(crate) logged: RefCell<BTreeMap<String, u32>>,
}

impl Drop for DrainTarget {
    /// When the drain is over, says how often each repeated line would have been written.
    fn drop(&mut self) {
        for (what, count) in self.logged.take().into_iter().filter(|(_, count)| *count > 1) {
            tracing::warn!("{}: {count} times during its drain: {what}", self.name);
        }
    }
}

impl DrainTarget {
    /// The [`Share`] whose threads the drain uses.
    pub(super) fn share(&self) -> Share {
        Share::Stop(Some(self.process))
    }

    /// Adds a warning to the log and to the shutdown report.
    pub(crate) fn warn(&self, what: &str) {
        let line = format!("{}: {}", self.name, harmless(what));
        tracing::warn!("{line}");
        (self.tell)(DrainNews::Remark(line));
    }

    /// Writes a line into the log. A line that comes again is counted, and not written.
    fn log(&self, what: String) {
        let mut logged = self.logged.borrow_mut();
        let count = logged.entry(what.clone()).or_insert(0_u32);
        *count += 1;
        if *count == 1 {
            tracing::warn!("{}: {what}", self.name);
        }
    }

    /// The outcome of the request or command that drains the process.
    pub(super) fn outcome_of<E: Display>(&self, result: Result<(), E>, what: &str) -> Asked {
        match result {
            Ok(()) => Asked::Drained,
            Err(error) => {
                self.warn(&format!("{what}: {error}"));
                Asked::Failed
            }
        }
    }

    /// Passes on what a drain reports.
    pub(super) fn report(&self, output: DrainOutput) {
        match output {
            DrainOutput::Warn(what) => self.warn(&what),
            DrainOutput::Log(what) => self.log(what),
            output => (self.tell)(DrainNews::Output(output)),
        }
    }

    /// Asks the process, by a signal, to drain.
    pub(super) async fn signal(&self, signal: Signal) -> Asked {
        let (reply, sent) = oneshot::channel();
        (self.tell)(DrainNews::Signal { signal, reply });
        match sent.await {
            Ok(Err(error)) => {
                self.warn(&format!("cannot be asked to drain by {signal}: {error}"));
                Asked::Failed
            }
            // Nobody replies (`Err`) if the process has ended.
            Ok(Ok(())) | Err(_) => Asked::Accepted,
        }
    }
}
