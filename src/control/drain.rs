//! `POST /drain`: begins a drain that stops nothing, and says which processes are not drained.

use hyper::{Method, Request, StatusCode};

use crate::control::connections::Caller;
use crate::control::status::{ProcessStatus, Status};
use crate::control::{Reply, SupervisorHandle, refuse, text};
use crate::journal::state::{ContainerPhase, ProcessState};
use crate::types::{harmless, human};

/// Answers 403 over TCP, because the address of a TCP client does not prove who asks: a mesh, a
/// port-forward and a misconfigured gateway all connect from this machine.
///
/// Over the control socket, answers 409 while not everything is ready yet, and otherwise 202: this
/// request begins the drain, or the drain or a shutdown has already begun. `drainit drain` prints
/// an answer with 202 without the first line.
pub(super) fn answer<B>(
    request: &Request<B>,
    caller: &Caller,
    supervisor: &dyn SupervisorHandle,
) -> Reply {
    if request.method() != Method::POST {
        return refuse("POST");
    }
    if !matches!(caller, Caller::Socket(_)) {
        let body = "a drain cannot be requested over TCP, only over the control socket, which \
                    `drainit drain` uses\n";
        return text(StatusCode::FORBIDDEN, body);
    }
    let now = supervisor.status().with_full_texts();
    if now.phase == ContainerPhase::Starting {
        let body = format!(
            "not everything is ready yet, so no process is drained; {}\n",
            now.not_ready_reason()
        );
        return text(StatusCode::CONFLICT, body);
    }
    supervisor.drain();
    let body = "draining; /status tells when it is over\n".to_owned();
    text(StatusCode::ACCEPTED, body + &earlier(&now) + &undrained(&now))
}

/// A line that says when the drain or the shutdown began, if it began before this request.
fn earlier(now: &Status) -> String {
    let Some(shutdown) = &now.shutdown else { return String::new() };
    let since = human(shutdown.elapsed);
    match (shutdown.is_held, now.phase) {
        (false, _) => format!("the shutdown began {since} ago, and has its own drain\n"),
        (true, ContainerPhase::Drained) => {
            format!("the drain was requested {since} ago, and is over\n")
        }
        (true, _) => format!("the drain was requested {since} ago\n"),
    }
}

/// A line for each process that has a drain, but is not drained because it does not serve.
fn undrained(now: &Status) -> String {
    use ProcessState::{Failed, Restarting, Starting, Stopped, Waiting};
    let is_left_out = |process: &&ProcessStatus| {
        process.inner.has_drain
            && process.drain.is_none()
            && matches!(process.state, Waiting | Starting | Restarting | Stopped | Failed)
    };
    let line = |process: &ProcessStatus| {
        let why = process.message.as_ref().filter(|_| process.state != Stopped);
        let why = why.map(|why| format!(": {}", harmless(why))).unwrap_or_default();
        format!("{}: not drained, because it is {}{why}\n", process.name, process.state.name())
    };
    now.current().filter(is_left_out).map(line).collect()
}
