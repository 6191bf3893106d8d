//! Probes a process that is ready, as its `liveness` says: one task for each instance.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};

use crate::config::Probe;
use crate::core::event::Event;
use crate::envoy::ready::check_alive;
use crate::supervisor::message::{Message, MessageSender};
use crate::supervisor::readiness::probe::{LastFailure, RunCommand, attempt};
use crate::types::{ProcessId, harmless};

/// The times of the probes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) start_period: Duration,
    /// The pause before each probe.
    pub(crate) interval: Duration,
    /// The limit of one probe.
    pub(crate) timeout: Duration,
}

/// The instance of a process to probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instance {
    pub(crate) process: ProcessId,
    pub(crate) number: u32,
}

/// Probes until it is dropped.
pub(crate) struct LivenessWatch {
    task: AbortHandle,
}

impl LivenessWatch {
    /// Begins to probe; sends the result of each probe, after its reason in `failure`.
    pub(crate) fn begin(
        instance: Instance,
        probe: Probe,
        pace: Pace,
        failure: LastFailure,
        sender: MessageSender,
        run: Rc<RunCommand>,
    ) -> Self {
        let task = spawn_local(async move {
            sleep(pace.start_period).await;
            loop {
                sleep(pace.interval).await;
                let began = Instant::now();
                let result = probe_once(&probe, pace.timeout, &run).await;
                // A pause of the container has stopped the process, too.
                if result.is_err() && began.elapsed() > pace.timeout * 3 / 2 {
                    continue;
                }
                let is_alive = result.is_ok();
                *failure.borrow_mut() = result.err().map(|why| harmless(&why).into_owned());
                let Instance { process, number } = instance;
                let event = Event::LivenessProbed { process, is_alive };
                // Fails only when the event loop has ended.
                let _ = sender.send(Message::OfInstance { process, instance: number, event });
            }
        });
        Self { task: task.abort_handle() }
    }
}

impl Drop for LivenessWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every kind of probe keeps the limit.
async fn probe_once(probe: &Probe, limit: Duration, run: &Rc<RunCommand>) -> Result<(), String> {
    match probe {
        Probe::Envoy(admin) => {
            check_alive(admin, limit).await.map_err(|why| format!("{admin}: {why}"))
        }
        _ => attempt(probe, limit, &**run).await,
    }
}
