//! Drains under way, one per process, of any kind. Envoy's is in [`envoy`].

pub(crate) mod envoy;
pub(crate) mod target;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::Method;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};

use crate::config::{Drain, DrainMethod, DrainStrategy, HttpMethod, HttpTarget};
use crate::http::{RequestError, status};
use crate::os::clock;
use crate::os::spawn::SpawnRequest;
use crate::supervisor::drain::envoy::EnvoyDrain;
use crate::supervisor::drain::target::DrainTarget;
use crate::supervisor::launch::StartError;
use crate::supervisor::message::SharedChildren;
use crate::supervisor::run_command;

/// A failed request is retried for this long.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A drain under way.
pub(crate) enum RunningDrain {
    Envoy(Rc<EnvoyDrain>, AbortHandle),
    /// A request or a command.
    Task(AbortHandle),
    /// The process got a signal, and reports the end of the drain itself.
    Signalled,
}

/// The core ends a drain when its time is over. When both are late, a task must not say first that
/// there was no answer.
const AFTER_THE_END: Duration = Duration::from_secs(60);

impl RunningDrain {
    /// Begins to drain the process. `command` makes the request for an `exec`.
    pub(crate) fn begin(
        drain: &Drain,
        target: DrainTarget,
        children: &SharedChildren,
        command: impl FnOnce(&[String]) -> Result<SpawnRequest, StartError>,
    ) -> Self {
        let limit = target.longest + AFTER_THE_END;
        match &drain.method {
            DrainMethod::Envoy {
                admin,
                fail_healthcheck,
                strategy,
                until,
                exit_at,
                direction,
                ignore_listeners,
            } => {
                let drainer = Rc::new(EnvoyDrain {
                    min_until: clock::now() + target.min,
                    longest: target.longest,
                    stays_ready: Cell::new(target.stays_ready && *fail_healthcheck),
                    spreads: Cell::new(*strategy == DrainStrategy::Gradual),
                    again: Notify::new(),
                    target,
                    admin: admin.clone(),
                    fail_healthcheck: *fail_healthcheck,
                    until: *until,
                    exit_at: exit_at.unwrap_or_default().into(),
                    direction: direction.unwrap_or_default(),
                    ignored: ignore_listeners.clone().unwrap_or_default(),
                    uncounted: OnceCell::new(),
                    epoch: Cell::default(),
                    is_closed: Cell::default(),
                    accepted: Cell::default(),
                    awaited: Cell::new(1),
                    late_call: RefCell::default(),
                    is_answered: Cell::default(),
                    is_over: Cell::default(),
                });
                let task = spawn_local(Rc::clone(&drainer).run());
                Self::Envoy(drainer, task.abort_handle())
            }
            DrainMethod::Http { method, target: http_target } => {
                let (method, http_target) = (*method, http_target.clone());
                let task = spawn_local(async move {
                    let result = send_request(method, &http_target, limit).await;
                    target.ended(result, "its drain request");
                });
                Self::Task(task.abort_handle())
            }
            DrainMethod::Exec(words) => {
                let (request, children) = (command(words), Rc::clone(children));
                let task = spawn_local(async move {
                    let result = match request {
                        Ok(request) => run_command::run(request, children, limit)
                            .await
                            .map_err(|failure| failure.why),
                        Err(error) => Err(error.to_string()),
                    };
                    target.ended(result, "its drain");
                });
                Self::Task(task.abort_handle())
            }
            DrainMethod::Signal(signal) | DrainMethod::Notify(signal) => {
                target.signal(*signal);
                Self::Signalled
            }
        }
    }

    /// Fails the health check of an Envoy that has stayed good so far.
    pub(crate) fn unready(&self) {
        if let Self::Envoy(drainer, _) = self {
            drainer.unready();
        }
    }

    /// Ends the part of a gradual drain in which Envoy asks only some of its clients to leave.
    pub(crate) fn tell_all(&self) {
        if let Self::Envoy(drainer, _) = self {
            drainer.tell_all();
        }
    }

    /// Closes the listeners of an Envoy.
    pub(crate) fn close(&self) {
        match self {
            Self::Envoy(drainer, _) => {
                spawn_local(Rc::clone(drainer).close());
            }
            Self::Task(_) | Self::Signalled => {}
        }
    }

    /// The process has ended, perhaps after its drain.
    pub(crate) fn process_ended(&self) {
        if let Self::Envoy(drainer, _) = self {
            drainer.process_ended();
        }
    }

    /// Ends the drain: the core no longer waits for it.
    pub(crate) fn end(&self) {
        match self {
            Self::Envoy(drainer, task) => {
                task.abort();
                drainer.end();
            }
            Self::Task(task) => task.abort(),
            Self::Signalled => {}
        }
    }
}

/// Retries the request until it is accepted; waits for the answer within `limit`.
async fn send_request(
    method: HttpMethod,
    target: &HttpTarget,
    limit: Duration,
) -> Result<(), RequestError> {
    let method = match method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Get => Method::GET,
        HttpMethod::Delete => Method::DELETE,
    };
    let began = Instant::now();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        // A refusal is retried, and what was accepted must not be sent again: the body does not matter.
        let error = match status(&target.address, method.clone(), &target.path, left).await {
            Ok(status) if status.is_success() => return Ok(()),
            Ok(status) => RequestError::Status(status),
            Err(error) => error,
        };
        if began.elapsed() + RETRY_PAUSE > RETRY.min(limit) {
            return Err(error);
        }
        sleep(RETRY_PAUSE).await;
    }
}
