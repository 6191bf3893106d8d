//! The process that is being drained, and the reports of its drain to the core, the log and the
//! shutdown report.

use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use crate::core::connections::watch::Asked;
use crate::core::envoy::dialogue::DrainOutput;
use crate::core::event::{Event, Load};
use crate::os::Pid;
use crate::os::on_thread::Share;
use crate::supervisor::drain::connections::Serving;
use crate::supervisor::message::InstanceSender;
use crate::supervisor::status::StatusBoard;
use crate::types::{Signal, harmless};

/// The process to drain, and the places to which its drain reports.
pub(crate) struct DrainTarget {
    pub(crate) instance: InstanceSender,
    /// The shortest duration of the drain, which is at most `longest`.
    pub(crate) min: Duration,
    pub(crate) longest: Duration,
    /// Whether Envoy's health check succeeds until
    /// [`DrainCommand::Unready`](super::DrainCommand::Unready).
    pub(crate) stays_ready: bool,
    pub(crate) name: String,
    pub(crate) pid: Pid,
    pub(crate) serving: Serving,
    pub(crate) status_board: Rc<StatusBoard>,
}

impl DrainTarget {
    /// The [`Share`] whose threads the drain uses.
    pub(super) fn share(&self) -> Share {
        Share::Stop(Some(self.instance.process))
    }

    /// Adds a warning to the log and to the shutdown report.
    pub(crate) fn warn(&self, what: &str) {
        let line = format!("{}: {}", self.name, harmless(what));
        tracing::warn!("{line}");
        self.status_board.remark(&line);
    }

    /// The outcome of the request or command that drains the process.
    pub(super) fn ended<E: Display>(&self, result: Result<(), E>, what: &str) -> Asked {
        match result {
            Ok(()) => Asked::Drained,
            Err(error) => {
                self.warn(&format!("{what}: {error}"));
                Asked::Failed
            }
        }
    }

    /// Passes on what a dialogue reports.
    pub(super) fn report(&self, output: DrainOutput) {
        let process = self.instance.process;
        let mut journal = self.status_board.journal.borrow_mut();
        let event = match output {
            DrainOutput::Ask(_) | DrainOutput::Look => return,
            DrainOutput::Sampled { began, load, traffic, moment } => {
                journal.traffic(began, process, traffic, moment);
                Event::DrainSample { process, load }
            }
            DrainOutput::Unknown => {
                journal.traffic_unknown(process);
                Event::DrainSample { process, load: Load::default() }
            }
            DrainOutput::Answered { accepted } => Event::DrainAnswered { process, accepted },
            DrainOutput::Drained => Event::Drained(process),
            DrainOutput::NothingToDrain => Event::NothingToDrain(process),
            DrainOutput::ListenersClosed => Event::ListenersClosed(process),
            DrainOutput::Warn(what) => {
                drop(journal);
                return self.warn(&what);
            }
            DrainOutput::Log(what) => return tracing::warn!("{}: {what}", self.name),
        };
        drop(journal);
        self.instance.send(event);
    }

    /// Asks the process to drain by a signal.
    pub(super) fn signal(&self, signal: Signal) -> Asked {
        let signalled = self.status_board.children.borrow().signal(self.pid, signal);
        match signalled {
            Ok(_) => Asked::Accepted,
            Err(error) => {
                self.warn(&format!("cannot be asked to drain by {signal}: {error}"));
                Asked::Failed
            }
        }
    }
}
