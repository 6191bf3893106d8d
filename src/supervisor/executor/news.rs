//! Handles the news of the current instance of a process: the reports of its probes, its drain and
//! its notify socket.

use std::time::Duration;

use crate::core::envoy::dialogue::DrainOutput;
use crate::core::event::{Event, Load};
use crate::supervisor::executor::Executor;
use crate::supervisor::message::News;
use crate::supervisor::readiness::SILENT;
use crate::types::suggest::shortened;
use crate::types::{ProcessId, human};

impl Executor {
    /// Keeps the part of the news that the status and the log need, and returns the event for the
    /// core.
    pub(super) fn news(&mut self, process: ProcessId, news: News) -> Option<Event> {
        if let News::Probed(Err(_)) = &news
            && self.ignores_probe(process)
        {
            return None;
        }
        let journal = &mut self.processes.journal;
        let history = journal.of_mut(process);
        match news {
            News::Event(Event::Ready(_)) => {
                let slot = &mut self.processes.slots[process];
                let (current, wanted) = (&mut slot.instance, &slot.definition.process);
                // A process may send READY=1 more than once. Only the first message counts.
                if std::mem::replace(&mut current.is_ready, true) {
                    return None;
                }
                // With a readiness probe, `failure` is the last failure of this probe, which is
                // outdated now. Otherwise `failure` may be a `STATUS=` of the process, which stays.
                let has_probe = current.readiness.take().is_some() && !wanted.tells_readiness();
                if has_probe || history.failure.as_deref() == Some(SILENT) {
                    history.failure = None;
                }
                history.message = None;
                return Some(Event::Ready(process));
            }
            News::Event(event) => return Some(event),
            News::Probed(result) => {
                let is_alive = result.is_ok();
                history.unhealthy = result.err();
                return Some(Event::LivenessProbed { process, is_alive });
            }
            News::Unhealthy(why) => {
                history.unhealthy = Some(why);
                return Some(Event::Unhealthy(process));
            }
            News::Drain(output) => {
                return Some(match output {
                    DrainOutput::Sampled { began, load, traffic, moment } => {
                        journal.traffic(began, process, traffic, moment);
                        Event::DrainSample { process, load }
                    }
                    DrainOutput::Unknown => {
                        journal.traffic_unknown(process);
                        Event::DrainSample { process, load: Load::default() }
                    }
                    DrainOutput::Answered { accepted } => {
                        Event::DrainAnswered { process, accepted }
                    }
                    DrainOutput::Drained => Event::Drained(process),
                    DrainOutput::NothingToDrain => Event::NothingToDrain(process),
                    DrainOutput::ListenersClosed => Event::ListenersClosed(process),
                    DrainOutput::Ask(_)
                    | DrainOutput::Look
                    | DrainOutput::Witness
                    | DrainOutput::Warn(_)
                    | DrainOutput::Log(_) => return None,
                });
            }
            News::ProbeFailed(why) => journal.not_ready(process, why),
            News::NotReady(why) => history.failure = Some(why),
            News::DrainSignal { signal, reply } => {
                self.look_at_signal(process, signal);
                let sent = self.pid(process).map(|pid| self.children.signal(pid, signal));
                let sent = sent.transpose().map(drop).map_err(|error| error.to_string());
                // The send fails only if the drain is over.
                let _ = reply.send(sent);
            }
            News::Admin { is_closed } => self.admin_seen(process, is_closed),
            News::DrainRisks(risks) => history.drain_warnings = Some(risks.into()),
            News::Loaded => self.loaded(process),
            News::Late(after) => self.late(process, after),
            News::TakesOver { pid, handle } => self.take_main(process, pid, handle),
        }
        None
    }

    /// Says why a process is not ready yet, and which processes wait for it.
    fn late(&self, process: ProcessId, after: Duration) {
        let journal = &self.processes.journal;
        let why = journal.of(process).failure.as_deref();
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let (name, waiting) = (journal.names.of(process), self.waiting_for(process));
        let after = human(after);
        match self.processes.machine().state().process(process).oneshot {
            false => tracing::info!("{name}: not ready after {after}{why}{waiting}"),
            // A oneshot may take any time, so only a wait of others is news.
            true if waiting.is_empty() => {}
            true => tracing::info!("{name}: not complete after {after}{waiting}"),
        }
    }

    /// The processes that wait for this process, as the end of a line; empty if there are none.
    pub(super) fn waiting_for(&self, process: ProcessId) -> String {
        let waiting = self.processes.machine().state().waiting_for(process);
        let names: Vec<_> = waiting.iter().map(|id| self.processes.journal.names.of(*id)).collect();
        match names.len() {
            0 => String::new(),
            1 => format!("; {} waits for it", names[0]),
            _ => format!("; {} wait for it", shortened(&names)),
        }
    }
}
