//! Begins and ends the drain of a process. [`envoy`] has the drain of an Envoy, and [`connections`]
//! has the drain of a server whose connections the kernel counts.

pub(crate) mod connections;
pub(crate) mod envoy;
pub(crate) mod target;

use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use crate::core::connections::watch::Asked;
use crate::core::envoy::dialogue::DrainOutput;
use crate::http::{HttpError, build, send};
use crate::keys::{Drain, DrainMethod, Header, HttpDrain, HttpMethod};
use crate::load::at_start;
use crate::local_task::LocalTask;
use crate::os::on_thread::on_thread;
use crate::os::spawn::SpawnRequest;
use crate::supervisor::children::{Rest, Starter};
use crate::supervisor::launch::StartError;
use crate::supervisor::tasks::drain::target::DrainTarget;
use crate::supervisor::tasks::run_command;

/// drainit repeats a failed drain request until the requests have failed for this long. In a shorter
/// drain, the last attempt comes shortly before the end of the drain. The log and the report can
/// then still get the error.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The pause after an answer whose status is not `until`. The pause is short compared with a drain
/// of seconds.
const UNTIL_PAUSE: Duration = Duration::from_millis(500);

/// A drain under way. Its task carries out the drain.
pub(crate) struct RunningDrain {
    sender: UnboundedSender<DrainCommand>,
    counts: bool,
    _task: LocalTask,
}

/// A command of the core for a drain under way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DrainCommand {
    /// Makes an Envoy fail its health check, if its drain has not done so yet.
    Unready,
    /// Closes the listeners, if the process is an Envoy. A drain that counts connections then
    /// counts them once more.
    Close,
    /// Ends the drain, because the core no longer waits for it. Work that [`Self::Close`] has begun
    /// continues.
    End,
}

/// Asks the process to drain, and returns the outcome.
type Ask = Pin<Box<dyn Future<Output = Asked>>>;

/// Waits until the work is done, and removes it. Without work, waits for ever.
async fn done<F: Future + Unpin>(work: &mut Option<F>) -> F::Output {
    let Some(under_way) = work else { return pending().await };
    let output = under_way.await;
    *work = None;
    output
}

/// A task gives up its request or command this long after the drain must be over. Usually the core
/// ends the drain and the task before that. The margin is large, so that a task does not report a
/// missing answer before the core acts, even if drainit runs late.
const AFTER_THE_END: Duration = Duration::from_secs(60);

impl RunningDrain {
    /// Begins to drain the process. For an `exec` drain, `command` turns the command of the drain
    /// into a [`SpawnRequest`].
    pub(crate) fn begin(
        drain: &Drain,
        target: DrainTarget,
        starter: Starter,
        command: impl FnOnce(&[String]) -> Result<SpawnRequest, StartError>,
    ) -> Self {
        let (sender, received) = unbounded_channel();
        let counting = drain.method.counting().cloned();
        let target = Rc::new(target);
        let asked = Rc::clone(&target);
        let limit = target.longest + AFTER_THE_END;
        let share = target.share();
        let ask: Option<Ask> = match &drain.method {
            DrainMethod::Envoy(keys) => {
                let task = LocalTask::of(share, envoy::drain(target, keys.clone(), received));
                return Self { sender, counts: true, _task: task };
            }
            DrainMethod::Connections(_) => None,
            DrainMethod::Http(http) => {
                let (http, longest) = (http.clone(), target.longest);
                // The value of a header field can be in a file on a file system that hangs. The
                // time limit for reading the file is shorter than the drain, so that the report can
                // name the file.
                let reading = RETRY.min(longest / 2);
                let retrying = RETRY.min(longest.saturating_sub(RETRY_PAUSE));
                Some(Box::pin(async move {
                    let result = send_request(&http, reading, retrying, limit).await;
                    asked.outcome_of(result, "its drain request")
                }))
            }
            DrainMethod::Exec(exec) => {
                let request = command(&exec.command);
                Some(Box::pin(async move {
                    let result = match request {
                        Ok(request) => run_command::run(request, starter, Rest::Lives, limit)
                            .await
                            .map_err(|failure| failure.why.full().to_owned()),
                        Err(error) => Err(error.to_string()),
                    };
                    asked.outcome_of(result, "its drain")
                }))
            }
            DrainMethod::Signal(signal) | DrainMethod::Notify(signal) => {
                let signal = signal.signal;
                Some(Box::pin(async move { asked.signal(signal).await }))
            }
        };
        let counts = counting.is_some();
        let task = match counting {
            Some(counting) => {
                LocalTask::of(share, connections::drain(target, counting, ask, received))
            }
            None => LocalTask::of(share, without_counts(target, ask, received)),
        };
        Self { sender, counts, _task: task }
    }

    /// Whether the drain counts the connections of its process.
    pub(crate) fn counts(&self) -> bool {
        self.counts
    }

    pub(crate) fn command(&self, command: DrainCommand) {
        // The send fails only if the drain is over.
        let _ = self.sender.send(command);
    }
}

/// Drains a process whose connections drainit does not count.
async fn without_counts(
    target: Rc<DrainTarget>,
    mut ask: Option<Ask>,
    mut commands: UnboundedReceiver<DrainCommand>,
) {
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => if let None | Some(DrainCommand::End) = command { return },
            asked = done(&mut ask) => target.report(match asked {
                Asked::Drained => DrainOutput::Drained,
                asked => DrainOutput::Answered { accepted: asked == Asked::Accepted },
            }),
        }
    }
}

/// Sends the request until it is accepted, or until the requests have failed for `retrying`. Reads the
/// headers within `reading`, and waits for the answer within `limit`.
async fn send_request(
    http: &HttpDrain,
    reading: Duration,
    retrying: Duration,
    limit: Duration,
) -> Result<(), String> {
    let began = Instant::now();
    let (target, headers) = (&http.url, headers(&http.headers, reading).await?);
    let method = match http.method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Get => Method::GET,
        HttpMethod::Delete => Method::DELETE,
    };
    let request = build(&target.address, method, &target.path);
    let mut request = request.map_err(|error| error.to_string())?;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            request.headers_mut().insert(name, value);
        }
    }
    let mut failing_since = began;
    loop {
        let left = limit.saturating_sub(began.elapsed());
        // A failed request is sent again. With the key `until`, an answered request is sent again,
        // too, as long as the status is not this key's value.
        let error = match (send(&target.address, request.clone(), left).await, http.until) {
            (Ok(status), Some(until)) if status.as_u16() == until => return Ok(()),
            (Ok(_), Some(_)) => {
                sleep(UNTIL_PAUSE).await;
                failing_since = Instant::now();
                continue;
            }
            (Ok(status), None) if status.is_success() => return Ok(()),
            (Ok(status), None) => HttpError::Status(status),
            (Err(error), _) => error,
        };
        if failing_since.elapsed() + RETRY_PAUSE > retrying {
            return Err(error.to_string());
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Reads the header fields, for at most `limit`, because a value can be in a file whose file system
/// hangs.
async fn headers(headers: &[Header], limit: Duration) -> Result<Vec<(String, String)>, String> {
    if headers.is_empty() {
        return Ok(Vec::new());
    }
    let headers = headers.to_vec();
    let read = on_thread(limit, move || at_start::headers(&headers)).await;
    read.unwrap_or_else(|why| Err(format!("its header fields cannot be read: {why}")))
}
