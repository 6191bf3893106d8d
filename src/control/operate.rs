//! The endpoints of drainit's own commands, which exist only on the control socket: `/v1/status`,
//! `/v1/kill`, `/v1/stop`, `/v1/start`, `/v1/restart`, `/v1/reload` and `/v1/shutdown`.
//!
//! The version is part of the path. A request with another version gets an answer that says so.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Response, StatusCode};

use crate::control::answer::Asked;
use crate::control::connections::{Caller, ConnectionStage};
use crate::control::status::{ProcessStatus, Status};
use crate::control::{
    Followers, Looks, Outcome, SupervisorHandle, TEXT, json, nobody, refuse, response,
};
use crate::core::event::Request;
use crate::journal::state::ProcessState;
use crate::language::written::as_written;
use crate::os::{Peer, clock};
use crate::types::Signal;
use crate::types::suggest::{list, nearest, shortened};

/// The prefix of the paths, with the version of this protocol.
pub(crate) const PREFIX: &str = "/v1/";

/// The parameter of a request for a shutdown that does not wait for its end.
pub(crate) const NO_WAIT: &str = "no_wait";

/// An answer that is ready, or that comes when the operation is done.
pub(crate) enum Answered {
    Now(Response<Full<Bytes>>),
    Later(Outcome),
    /// The answers to a request, and the processes that follow it.
    Asked(Asked, Vec<Outcome>, Followers),
    /// The status, with the looks at some processes.
    Looked(Box<Status>, Looks),
}

impl Answered {
    /// Waits until the operation is done. The operation continues even if the client does not wait.
    pub(crate) async fn response(self, supervisor: &dyn SupervisorHandle) -> Response<Full<Bytes>> {
        let gone = |_| Err("drainit exited before the request was done".to_owned());
        match self {
            Self::Now(response) => response,
            Self::Looked(mut now, looks) => {
                for (slot, look) in looks.await {
                    let mut all = now.processes.iter_mut();
                    if let Some(process) = all.find(|process| process.slot == slot) {
                        (process.recent_lines, process.listens) = (look.lines, look.listens);
                    }
                }
                json(&*now, |_| {})
            }
            Self::Later(outcome) => match outcome.await.unwrap_or_else(gone) {
                Ok(text) => response(StatusCode::OK, TEXT, as_written(&text).into_owned()),
                Err(why) => {
                    response(StatusCode::CONFLICT, TEXT, as_written(&why).into_owned() + "\n")
                }
            },
            Self::Asked(mut asked, outcomes, followers) => {
                let outcomes = async {
                    let mut results = Vec::new();
                    for outcome in outcomes {
                        results.push(outcome.await.unwrap_or_else(gone));
                    }
                    results
                };
                let results;
                (results, asked.followers) = tokio::join!(outcomes, followers);
                json(&asked.answer(results, supervisor), |_| {})
            }
        }
    }
}

/// Answers a request of an operator. `path` is the part after [`PREFIX`].
pub(crate) fn answer<B>(
    request: &hyper::Request<B>,
    path: &str,
    caller: &Caller,
    stage: &ConnectionStage,
    supervisor: &dyn SupervisorHandle,
) -> Answered {
    let Caller::Socket(peer) = caller else {
        let reason = "only the control socket answers this request; `drainit status` and similar \
                      commands use that socket\n";
        return Answered::Now(response(StatusCode::FORBIDDEN, TEXT, reason.to_owned()));
    };
    let (method, query) = (request.method(), request.uri().query().unwrap_or_default());
    let allowed = match path {
        "status" => Method::GET,
        "kill" | "stop" | "start" | "restart" | "shutdown" => Method::POST,
        "reload" if *method == Method::GET => Method::GET,
        "reload" => Method::POST,
        _ => return Answered::Now(unknown_path(request.uri().path())),
    };
    if *method != allowed {
        return Answered::Now(refuse(if allowed == Method::GET { "GET" } else { "POST" }));
    }
    if path == "reload" {
        return reload(method, query, *peer, stage, supervisor);
    }
    if path == "shutdown" {
        return shutdown(query, *peer, stage, supervisor);
    }
    let mut now = supervisor.status();
    let query = match Query::parse(path, query, &now) {
        Ok(query) => query,
        Err(reason) => return bad(reason),
    };
    let operation = match path {
        "status" => {
            let mut starting = Vec::new();
            for place in query.processes {
                let process = &mut now.processes[place];
                if process.state == ProcessState::Ready {
                    continue; // it has recovered from its last failure
                }
                process.last_lines.clone_from(&process.tally.last_lines);
                starting.extend((process.state == ProcessState::Starting).then_some(process.slot));
            }
            return match starting.is_empty() {
                true => Answered::Now(json(&now, |_| {})),
                false => Answered::Looked(Box::new(now), supervisor.look(&starting)),
            };
        }
        "kill" => return kill(&query, &now, *peer, supervisor),
        "stop" => Request::Stop,
        "start" => Request::Start,
        _ => Request::Restart,
    };
    if query.processes.is_empty() {
        return bad(match query.has_pattern {
            true => {
                format!(
                    "there is nothing to {path}: these processes are left out or have completed"
                )
            }
            false => format!("name the processes to {path}"),
        });
    }
    if !stage.last() {
        return Answered::Now(busy());
    }
    let mut named: Vec<_> = query.named(&now).collect();
    if !query.has_pattern {
        // Requests follow the order of the start, because a restart waits only for dependencies
        // whose restart was requested before.
        named.sort_by_key(|process| process.rank);
    }
    let names: Vec<_> = named.into_iter().map(|process| process.name.clone()).collect();
    let Peer { pid, uid } = *peer;
    tracing::info!("{path} of {} requested by pid {pid} (uid {uid})", shortened(&names));
    let is_restart = operation == Request::Restart;
    // For a request with a pattern, drainit restarts one process after the other, so that the
    // remaining processes keep serving.
    let in_turn = is_restart && query.has_pattern;
    let followers = match is_restart {
        true => supervisor.followers(names.clone(), in_turn),
        false => nobody(),
    };
    let asked = Asked { request: Some(operation), names, began: clock::now(), ..Asked::default() };
    let ask = |names: &[String]| supervisor.request(names.to_vec(), operation);
    let outcomes = match in_turn {
        true => vec![ask(&asked.names)],
        false => asked.names.chunks(1).map(ask).collect(),
    };
    Answered::Asked(asked, outcomes, followers)
}

/// GET answers what a reload would do. POST does the reload.
fn reload(
    method: &Method,
    query: &str,
    peer: Peer,
    stage: &ConnectionStage,
    supervisor: &dyn SupervisorHandle,
) -> Answered {
    if !query.is_empty() {
        return bad(format!("unknown parameter: {query:?}"));
    }
    if !stage.last() {
        return Answered::Now(busy());
    }
    if *method == Method::GET {
        return Answered::Later(supervisor.plan_reload());
    }
    let Peer { pid, uid } = peer;
    tracing::info!("reload requested by pid {pid} (uid {uid})");
    let asked = Asked { began: clock::now(), ..Asked::default() };
    Answered::Asked(asked, vec![supervisor.reload()], nobody())
}

/// Begins the shutdown. With the parameter `no_wait`, or if too many operations are waiting, answers
/// at once.
fn shutdown(
    query: &str,
    peer: Peer,
    stage: &ConnectionStage,
    supervisor: &dyn SupervisorHandle,
) -> Answered {
    if !["", NO_WAIT].contains(&query) {
        return bad(format!("unknown parameter: {query:?}"));
    }
    let Peer { pid, uid } = peer;
    tracing::info!("shutdown requested by pid {pid} (uid {uid})");
    let outcome = supervisor.shutdown(peer);
    match query == NO_WAIT || !stage.last() {
        true => Answered::Now(response(StatusCode::OK, TEXT, "the shutdown has begun\n")),
        false => Answered::Later(outcome),
    }
}

/// Refuses a path that this version of drainit does not know, but that another version may know.
pub(crate) fn unknown_path(path: &str) -> Response<Full<Bytes>> {
    let version = env!("CARGO_PKG_VERSION");
    let body =
        format!("this is drainit {version}, which speaks {PREFIX} and does not know {path}\n");
    response(StatusCode::NOT_FOUND, TEXT, body)
}

fn bad(reason: String) -> Answered {
    Answered::Now(response(StatusCode::BAD_REQUEST, TEXT, reason + "\n"))
}

fn busy() -> Response<Full<Bytes>> {
    let reason = "too many operations are waiting; try again later\n";
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, reason.to_owned())
}

/// The parameters of a request.
#[derive(Default)]
struct Query {
    /// Indices into the processes of the status.
    processes: Vec<usize>,
    has_pattern: bool,
    signal: Option<Signal>,
}

impl Query {
    /// Parses the parameters. Names of processes need no escapes, because they consist of letters,
    /// digits, `_`, `-` and `.`. A pattern skips processes for which the request would do nothing.
    fn parse(path: &str, text: &str, now: &Status) -> Result<Self, String> {
        // Only a pattern has a `*`.
        let mut query = Self { has_pattern: text.contains('*'), ..Self::default() };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "process" => {
                    let is_pattern = value.ends_with('*');
                    let named = |process: &ProcessStatus| process.is_named(value);
                    if !now.processes.iter().any(named) {
                        return Err(unknown_process(value, now));
                    }
                    let is_meant = |process: &ProcessStatus| {
                        named(process) && (!is_pattern || concerns(path, process))
                    };
                    let all = now.processes.iter().enumerate();
                    let meant = all.filter(|(_, process)| is_meant(process));
                    query.add(meant.map(|(place, _)| place));
                }
                "signal" => {
                    let signal = Signal::parse(value);
                    query.signal = Some(signal.ok_or_else(|| format!("not a signal: {value:?}"))?);
                }
                _ => return Err(format!("unknown parameter: {key:?}")),
            }
        }
        Ok(query)
    }

    /// Adds the processes that a name or a pattern selects, each only once.
    fn add(&mut self, meant: impl Iterator<Item = usize>) {
        for one in meant {
            if !self.processes.contains(&one) {
                self.processes.push(one);
            }
        }
    }

    /// The selected processes.
    fn named<'a>(&'a self, now: &'a Status) -> impl Iterator<Item = &'a ProcessStatus> {
        self.processes.iter().map(|place| &now.processes[*place])
    }
}

/// Whether a request with a pattern includes this process. A signal concerns only processes that
/// run. A start or restart does not concern processes that the config leaves out (`only_if`,
/// `profiles`) or that have completed, such as a migration.
fn concerns(path: &str, process: &ProcessStatus) -> bool {
    match path {
        "kill" => process.pid.is_some(),
        "start" | "restart" => !matches!(process.state, ProcessState::Skipped | ProcessState::Done),
        _ => true,
    }
}

fn unknown_process(name: &str, now: &Status) -> String {
    let names = || now.current().map(|process| process.name.as_str());
    let pattern = format!("{name}-*");
    if now.current().any(|process| process.is_named(&pattern)) {
        return format!("there is no process `{name}`; did you mean `{pattern}`?");
    }
    match nearest(name, names()) {
        Some(near) => format!("there is no process `{name}`; did you mean `{near}`?"),
        // A long list of names would hide the reason.
        None if now.current().count() > 20 => {
            format!("there is no process `{name}`; `drainit status` lists all")
        }
        None => format!("there is no process `{name}`; there are {}", list(names())),
    }
}

fn kill(query: &Query, now: &Status, peer: Peer, supervisor: &dyn SupervisorHandle) -> Answered {
    let Some(signal) = query.signal else { return bad("name a signal".to_owned()) };
    if query.processes.is_empty() {
        return bad(match query.has_pattern {
            true => "none of these processes is running".to_owned(),
            false => "name the processes to signal".to_owned(),
        });
    }
    // If one of the processes does not run, no process gets the signal.
    let mut targets = Vec::new();
    for process in query.named(now) {
        // Until a new instance runs, the signal goes to the previous instance, which is ending.
        let runs = |one: &&ProcessStatus| one.name == process.name && one.pid.is_some();
        match Some(process).filter(runs).or_else(|| now.processes.iter().find(runs)) {
            Some(target) => targets.push(target),
            None => {
                let ProcessStatus { name, state, .. } = process;
                let reason = format!("{name} is not running: it is {}\n", state.name());
                return Answered::Now(response(StatusCode::CONFLICT, TEXT, reason));
            }
        }
    }
    let mut sent = String::new();
    for ProcessStatus { name, slot, pid: target, .. } in targets {
        let Peer { pid, uid } = peer;
        if let Err(error) = supervisor.signal(*slot, signal) {
            let reason = format!("{name}: cannot send {signal}: {error}\n");
            return Answered::Now(response(StatusCode::CONFLICT, TEXT, reason));
        }
        tracing::info!("{name}: {signal} sent, requested by pid {pid} (uid {uid})");
        let target = target.map(|target| format!(", pid {target}"));
        sent.push_str(&format!("{name}: {signal} sent{}\n", target.unwrap_or_default()));
    }
    Answered::Now(response(StatusCode::OK, TEXT, sent))
}
