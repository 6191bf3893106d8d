//! The drains under way, one a process, whatever their kind. Envoy's is in [`crate::supervisor::drain::envoy`].

pub mod envoy;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::Method;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};

use crate::config::{Drain, DrainMethod, HttpMethod, HttpTarget};
use crate::core::event::Event;
use crate::http::{RequestError, request};
use crate::os::Pid;
use crate::os::clock;
use crate::os::kill::kill;
use crate::os::spawn::SpawnRequest;
use crate::report::Report;
use crate::supervisor::drain::envoy::Drainer;
use crate::supervisor::message::MessageSender;
use crate::supervisor::message::{Family, Message};
use crate::supervisor::run_command;
use crate::types::{ProcessId, Signal, harmless};

/// How long a request that is refused is tried again.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// What the answer to a drain request may hold.
const MAX_REPLY: usize = 64 * 1024;

/// A drain under way.
pub(crate) enum RunningDrain {
    Envoy(Rc<Drainer>, AbortHandle),
    /// A request or a command.
    Task(AbortHandle),
    /// The process was told, and answers by itself.
    Told,
}

/// Whose drain it is, and whom it tells.
pub(crate) struct DrainTarget {
    pub(crate) process: ProcessId,
    /// The shortest and the longest wait, as the core has granted them.
    pub(crate) min: Duration,
    pub(crate) longest: Duration,
    pub(crate) name: String,
    pub(crate) pid: Pid,
    pub(crate) sender: MessageSender,
    pub(crate) report: Rc<RefCell<Report>>,
}

impl RunningDrain {
    /// Tells the process. `command` makes the request for an `exec`.
    pub(crate) fn begin(
        drain: &Drain,
        subject: DrainTarget,
        family: &Family,
        command: impl FnOnce(&[String]) -> Result<SpawnRequest, String>,
    ) -> Self {
        let limit = subject.longest;
        match &drain.method {
            DrainMethod::Envoy { admin, fail_healthcheck, until } => {
                let drainer = Rc::new(Drainer {
                    min_until: clock::now() + subject.min,
                    longest: subject.longest,
                    again: Notify::new(),
                    subject,
                    admin: admin.clone(),
                    fail_healthcheck: *fail_healthcheck,
                    until: *until,
                    epoch: Cell::default(),
                    is_closed: Cell::default(),
                    told: Cell::default(),
                    is_over: Cell::default(),
                });
                let task = spawn_local(Rc::clone(&drainer).run());
                Self::Envoy(drainer, task.abort_handle())
            }
            DrainMethod::Http { method, target } => {
                let (method, target) = (*method, target.clone());
                let task = spawn_local(async move {
                    let result = ask(method, &target, limit).await;
                    subject.ended(result.map_err(|error| format!("its drain request: {error}")));
                });
                Self::Task(task.abort_handle())
            }
            DrainMethod::Exec(words) => {
                let (request, family) = (command(words), Rc::clone(family));
                let task = spawn_local(async move {
                    let result = match request {
                        Ok(request) => run_command::run(request, family, limit).await,
                        Err(reason) => Err(reason),
                    };
                    subject.ended(result.map_err(|reason| format!("its drain: {reason}")));
                });
                Self::Task(task.abort_handle())
            }
            DrainMethod::Signal(signal) | DrainMethod::Notify(signal) => {
                subject.signal(*signal);
                Self::Told
            }
        }
    }

    /// Makes it refuse new connections, where that can be done.
    pub(crate) fn close(&self) {
        if let Self::Envoy(drainer, _) = self {
            spawn_local(Rc::clone(drainer).close());
        }
    }

    /// Nobody waits for it any longer.
    pub(crate) fn end(&self) {
        match self {
            Self::Envoy(drainer, task) => {
                task.abort();
                drainer.end();
            }
            Self::Task(task) => task.abort(),
            Self::Told => {}
        }
    }
}

impl DrainTarget {
    /// Tells the core.
    pub(crate) fn send(&self, event: Event) {
        // The loop has ended where nobody receives; then nothing matters any more.
        let _ = self.sender.send(Message::Event(event));
    }

    /// Something is not as it should be: a line in the log, and one in the report.
    pub(crate) fn complain(&self, what: &str) {
        let line = format!("{}: {}", self.name, harmless(what));
        tracing::warn!("{line}");
        self.report.borrow_mut().remark(line);
    }

    /// The call or command that drains it has ended.
    fn ended(&self, result: Result<(), String>) {
        match result {
            Ok(()) => self.send(Event::Drained(self.process)),
            Err(reason) => {
                self.complain(&reason);
                self.send(Event::DrainAnswered { process: self.process, accepted: false });
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let accepted = match kill(self.pid, signal) {
            Ok(_) => true,
            Err(error) => {
                self.complain(&format!("cannot be told to drain by {signal}: {error}"));
                false
            }
        };
        self.send(Event::DrainAnswered { process: self.process, accepted });
    }
}

/// Sends the request until somebody takes it; then waits for its answer, as long as the drain may last.
async fn ask(method: HttpMethod, target: &HttpTarget, limit: Duration) -> Result<(), RequestError> {
    let method = match method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Get => Method::GET,
        HttpMethod::Delete => Method::DELETE,
    };
    let began = Instant::now();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        let answer = request(&target.address, method.clone(), &target.path, left, MAX_REPLY).await;
        match answer.and_then(|response| response.into_success()) {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() + RETRY_PAUSE > RETRY.min(limit) => return Err(error),
            Err(_) => sleep(RETRY_PAUSE).await,
        }
    }
}
