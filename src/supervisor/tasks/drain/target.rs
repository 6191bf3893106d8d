//! The process that is being drained, and the reports of its drain to the core, the log and the
//! shutdown report.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::core::connections::watch::Asked;
use crate::core::envoy::dialogue::DrainOutput;
use crate::os::on_thread::Share;
use crate::supervisor::tasks::looker::Looker;
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
    pub(crate) looker: Rc<Looker>,
    /// The lines that the drain has written into the log.
    pub(crate) logged: RefCell<Logged>,
}

/// The lines that a drain has written into the log, each with the number of times.
#[derive(Default)]
pub(crate) struct Logged(BTreeMap<String, u32>);

impl Logged {
    /// Counts a line. Returns whether it is new.
    fn is_new(&mut self, line: &str) -> bool {
        let count = self.0.entry(line.to_owned()).or_default();
        *count += 1;
        *count == 1
    }

    /// Says how often each repeated line would have been written.
    fn repeated(self) -> impl Iterator<Item = String> {
        let repeated = self.0.into_iter().filter(|(_, count)| *count > 1);
        repeated.map(|(line, count)| format!("{count} times during its drain: {line}"))
    }
}

impl Drop for DrainTarget {
    /// When the drain is over, writes the repeated lines.
    fn drop(&mut self) {
        for repeated in self.logged.take().repeated() {
            tracing::warn!("{}: {repeated}", self.name);
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
        if self.logged.borrow_mut().is_new(&what) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_line_is_written_once_and_counted() {
        let mut logged = Logged::default();
        let lines = ["b fails", "a fails", "c fails", "a fails", "c fails", "a fails"];
        let new = lines.map(|line| logged.is_new(line));
        assert_eq!(new, [true, true, true, false, false, false]);
        let repeated: Vec<_> = logged.repeated().collect();
        let of = |times, line| format!("{times} times during its drain: {line}");
        assert_eq!(repeated, [of(3, "a fails"), of(2, "c fails")]);
    }
}
