//! Handles the news of the current instance of a process: the reports of its probes, its drain and
//! its notify socket.

use std::time::Duration;

use crate::core::envoy::dialogue::DrainOutput;
use crate::core::event::{Event, Load};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::News;
use crate::supervisor::tasks::drain::target::DrainNews;
use crate::supervisor::tasks::readiness::notify::NotifyNews;
use crate::supervisor::tasks::readiness::{ReadinessNews, SILENT};
use crate::types::suggest::shortened;
use crate::types::{ProcessId, Reason, human};

impl Executor {
    /// Keeps the part of the news that the status and the log need, and returns the event for the
    /// core. Ignores the news of an instance that is not the current one.
    pub(crate) fn on_news(
        &mut self,
        process: ProcessId,
        instance: u32,
        news: News,
    ) -> Option<Event> {
        if !self.is_current(process, instance) {
            return None;
        }
        match news {
            News::Readiness(news) => return self.on_readiness(process, news),
            News::Notify(news) => return self.on_notify(process, news),
            News::Liveness(result) => return self.on_liveness(process, result),
            News::Drain(news) => return self.on_drain(process, news),
            News::TimeToEnd(time) => return Some(Event::TimeToEnd { process, time }),
            News::Admin { is_closed } => self.on_admin_seen(process, is_closed),
            News::DrainRisks(risks) => {
                self.processes.history(process).drain_warnings = Some(risks.into());
            }
            News::Loaded { below } => self.on_loaded(process, &below),
        }
        None
    }

    fn on_readiness(&mut self, process: ProcessId, news: ReadinessNews) -> Option<Event> {
        match news {
            ReadinessNews::Failed(why) => self.processes.journal.not_ready(process, why),
            ReadinessNews::Late(after) => self.on_late(process, after),
            ReadinessNews::Ready => return self.on_ready(process),
            ReadinessNews::NotLive(why) => {
                self.processes.history(process).checks.failure = Some(why);
                return Some(Event::NotLive(process));
            }
        }
        None
    }

    fn on_ready(&mut self, process: ProcessId) -> Option<Event> {
        let history = self.processes.journal.of_mut(process);
        let slot = &mut self.processes.slots[process];
        let (current, wanted) = (&mut slot.instance, &slot.definition.process);
        // A process may send READY=1 more than once. Only the first message counts.
        if std::mem::replace(&mut current.is_ready, true) {
            return None;
        }
        // With a readiness probe, `failure` is the last failure of this probe, which is outdated
        // now. Otherwise `failure` may be a `STATUS=` of the process, which stays.
        let has_probe = current.readiness.take().is_some() && !wanted.tells_readiness();
        if has_probe || history.checks.failure == Some(SILENT.into()) {
            history.checks.failure = None;
        }
        history.end.message = None;
        Some(Event::Ready(process))
    }

    fn on_notify(&mut self, process: ProcessId, news: NotifyNews) -> Option<Event> {
        let history = self.processes.history(process);
        match news {
            NotifyNews::NotReady(why) => history.checks.failure = Some(why),
            NotifyNews::Ready => return self.on_ready(process),
            NotifyNews::Drained => return Some(Event::Drained(process)),
            NotifyNews::Extends(by) => return Some(Event::TimeoutExtended { process, by }),
            NotifyNews::TakesOver { pid, handle } => self.take_main(process, pid, handle),
            NotifyNews::Unhealthy(why) => {
                history.checks.unhealthy = Some(why);
                return Some(Event::Unhealthy(process));
            }
        }
        None
    }

    fn on_liveness(&mut self, process: ProcessId, result: Result<(), Reason>) -> Option<Event> {
        if result.is_err() && self.ignores_probe(process) {
            return None;
        }
        let is_alive = result.is_ok();
        self.processes.history(process).checks.unhealthy = result.err();
        Some(Event::LivenessProbed { process, is_alive })
    }

    fn on_drain(&mut self, process: ProcessId, news: DrainNews) -> Option<Event> {
        let journal = &mut self.processes.journal;
        match news {
            DrainNews::Output(output) => Some(match output {
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
                DrainOutput::Ask(_)
                | DrainOutput::Look
                | DrainOutput::Witness
                | DrainOutput::Warn(_)
                | DrainOutput::Log(_) => return None,
            }),
            DrainNews::Signal { signal, reply } => {
                self.look_at_signal(process, signal);
                let sent = self.pid(process).map(|pid| self.children.signal(pid, signal));
                let sent = sent.transpose().map(drop).map_err(|error| error.to_string());
                // The send fails only if the drain is over.
                let _ = reply.send(sent);
                None
            }
            DrainNews::Remark(line) => {
                self.processes.remark(&line);
                None
            }
        }
    }

    /// Says why a process is not ready yet, and which processes wait for it.
    fn on_late(&self, process: ProcessId, after: Duration) {
        let journal = &self.processes.journal;
        let why = journal.of(process).checks.failure.as_ref();
        let why = why.map(|why| format!(": {}", why.full())).unwrap_or_default();
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
