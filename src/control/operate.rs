//! The endpoints of drainit's own commands, which exist only on the control socket: `/v1/status`,
//! `/v1/drain`, `/v1/kill`, `/v1/stop`, `/v1/start`, `/v1/restart`, `/v1/reload` and `/v1/shutdown`.
//!
//! The version is part of the path. A request with another version gets an answer that says so.

use hyper::{Method, StatusCode};

use crate::control::answer::Asked;
use crate::control::connections::{Caller, ConnectionStage};
use crate::control::status::{ProcessStatus, Status};
use crate::control::{
    Answering, Followers, JSON, Outcome, Reply, SupervisorHandle, at_once, json, nobody, refuse,
    response, text,
};
use crate::core::event::Request;
use crate::journal::state::ProcessState;
use crate::language::written::as_written;
use crate::os::{Peer, clock};
use crate::types::suggest::{list, nearest, shortened};
use crate::types::{Signal, Time};

/// The prefix of the paths, with the version of this protocol.
pub(crate) const PREFIX: &str = "/v1/";

/// The parameter of a request for a shutdown that does not wait for its end.
pub(crate) const NO_WAIT: &str = "no_wait";

/// The answer to a client that cannot wait for the end of the shutdown.
const UNSERVED: &str = "the shutdown has begun, but too many operations are waiting, so this \
                        command cannot say how the container ends; see the container's log, or its \
                        exit code\n";

/// The answer to a request, or the `Err` that refuses the request.
type Answered<'a> = Result<Answering<'a>, Answering<'a>>;

/// Answers a request of an operator. `path` is the part after [`PREFIX`]. The operation continues
/// even if the client does not wait for the reply.
pub(crate) fn answer<'a, B>(
    request: &hyper::Request<B>,
    path: &str,
    caller: &Caller,
    stage: &'a ConnectionStage,
    supervisor: &'a dyn SupervisorHandle,
) -> Answering<'a> {
    let Caller::Socket(peer) = *caller else {
        let reason = "only the control socket answers this request; `drainit status` and similar \
                      commands use that socket\n";
        return at_once(text(StatusCode::FORBIDDEN, reason));
    };
    let (method, query) = (request.method(), request.uri().query().unwrap_or_default());
    let allowed = match path {
        "status" | "drain" => "GET",
        "reload" if *method == Method::GET => "GET",
        "kill" | "stop" | "start" | "restart" | "reload" | "shutdown" => "POST",
        _ => return at_once(unknown_path(request.uri().path())),
    };
    if method.as_str() != allowed {
        return at_once(refuse(allowed));
    }
    let operator = Operator { peer, began: clock::now(), stage, supervisor };
    let answered = match path {
        "reload" => operator.reload(method, query),
        "shutdown" => operator.shutdown(query),
        _ => operator.of_processes(path, query),
    };
    answered.unwrap_or_else(|refusal| refusal)
}

/// An operator on a connection. The methods answer the operator's requests.
struct Operator<'a> {
    peer: Peer,
    /// The time of the request.
    began: Time,
    stage: &'a ConnectionStage,
    supervisor: &'a dyn SupervisorHandle,
}

impl<'a> Operator<'a> {
    /// Answers a request about processes.
    fn of_processes(&self, path: &str, query: &str) -> Answered<'a> {
        let now = self.supervisor.status().with_full_texts();
        let query = Query::parse(path, query, &now).map_err(bad)?;
        let operation = match path {
            "status" => return Ok(self.status(&query, now)),
            "drain" => {
                let drains = as_written(&self.supervisor.drains()).into_owned();
                return Ok(at_once(text(StatusCode::OK, drains)));
            }
            "kill" => return self.kill(&query, &now),
            "stop" => Request::Stop,
            "start" => Request::Start,
            _ => Request::Restart,
        };
        if query.processes.is_empty() {
            return Err(bad(match query.has_pattern {
                true => format!(
                    "there is nothing to {path}: these processes are left out or have completed"
                ),
                false => format!("name the processes to {path}"),
            }));
        }
        self.may_last()?;
        let mut named: Vec<_> = query.named(&now).collect();
        if !query.has_pattern {
            // Requests follow the order of the start, because a restart waits only for dependencies
            // whose restart was requested before.
            named.sort_by_key(|process| process.inner.rank);
        }
        let names: Vec<_> = named.into_iter().map(|process| process.name.clone()).collect();
        self.log(&format!("{path} of {}", shortened(&names)));
        let is_restart = operation == Request::Restart;
        // For a request with a pattern, drainit restarts one process after the other, so that the
        // remaining processes keep serving.
        let in_turn = is_restart && query.has_pattern;
        let followers = match is_restart {
            true => self.supervisor.followers(names.clone(), in_turn),
            false => nobody(),
        };
        let ask = |names: &[String]| self.supervisor.request(names.to_vec(), operation);
        let outcomes = match in_turn {
            true => vec![ask(&names)],
            false => names.chunks(1).map(ask).collect(),
        };
        Ok(self.when_done(Some(operation), names, outcomes, followers))
    }

    /// The status, with the last lines of the named processes that are not ready, and with a look at
    /// those that are starting.
    fn status(&self, query: &Query, mut now: Status) -> Answering<'a> {
        let mut starting = Vec::new();
        for place in &query.processes {
            let process = &mut now.processes[*place];
            if process.state == ProcessState::Ready {
                continue; // it has recovered from its last failure
            }
            process.last_lines.clone_from(&process.inner.tally.last_lines);
            starting
                .extend((process.state == ProcessState::Starting).then_some(process.inner.slot));
        }
        if starting.is_empty() {
            return at_once(response(StatusCode::OK, JSON, json(&now)));
        }
        let looks = self.supervisor.look(&starting);
        Box::pin(async move {
            for (slot, look) in looks.await {
                let mut all = now.processes.iter_mut();
                if let Some(process) = all.find(|process| process.inner.slot == slot) {
                    (process.recent_lines, process.listens) = (look.lines, look.listens);
                }
            }
            response(StatusCode::OK, JSON, json(&now))
        })
    }

    /// GET answers what a reload would do. POST does the reload.
    fn reload(&self, method: &Method, query: &str) -> Answered<'a> {
        if !query.is_empty() {
            return Err(bad(format!("unknown parameter: {query:?}")));
        }
        self.may_last()?;
        if *method == Method::GET {
            return Ok(Box::pin(told(self.supervisor.plan_reload())));
        }
        self.log("reload");
        Ok(self.when_done(None, Vec::new(), vec![self.supervisor.reload()], nobody()))
    }

    /// Begins the shutdown. With the parameter `no_wait`, answers at once. If too many operations are
    /// waiting, the shutdown begins too, but the client gets an error, because drainit will not tell
    /// this client how the container ends.
    fn shutdown(&self, query: &str) -> Answered<'a> {
        if !["", NO_WAIT].contains(&query) {
            return Err(bad(format!("unknown parameter: {query:?}")));
        }
        self.log("shutdown");
        let outcome = self.supervisor.shutdown(self.peer);
        if query == NO_WAIT {
            return Ok(at_once(text(StatusCode::OK, "the shutdown has begun\n")));
        }
        if !self.stage.last() {
            return Err(at_once(text(StatusCode::SERVICE_UNAVAILABLE, UNSERVED)));
        }
        Ok(Box::pin(told(outcome)))
    }

    fn kill(&self, query: &Query, now: &Status) -> Answered<'a> {
        let signal = query.signal.ok_or_else(|| bad("name a signal".to_owned()))?;
        if query.processes.is_empty() {
            return Err(bad(match query.has_pattern {
                true => "none of these processes is running".to_owned(),
                false => "name the processes to signal".to_owned(),
            }));
        }
        let conflict = |reason: String| at_once(text(StatusCode::CONFLICT, reason));
        // If one of the processes does not run, no process gets the signal.
        let targets = query.named(now).map(|process| {
            // Until a new instance runs, the signal goes to the previous instance, which is ending.
            let ProcessStatus { name, state, .. } = process;
            let runs = |one: &&ProcessStatus| one.name == *name && one.start.pid.is_some();
            let target = Some(process).filter(runs).or_else(|| now.processes.iter().find(runs));
            target.ok_or_else(|| format!("{name} is not running: it is {}\n", state.name()))
        });
        let targets: Vec<_> = targets.collect::<Result<_, _>>().map_err(conflict)?;
        let mut sent = String::new();
        for ProcessStatus { name, start, inner, .. } in targets {
            self.supervisor
                .signal(inner.slot, signal)
                .map_err(|error| conflict(format!("{name}: cannot send {signal}: {error}\n")))?;
            self.log(&format!("{name}: {signal} sent,"));
            let pid = start.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
            sent.push_str(&format!("{name}: {signal} sent{pid}\n"));
        }
        Ok(at_once(text(StatusCode::OK, sent)))
    }

    /// Records that the answer waits for an operation. Refuses the request if too many operations
    /// are waiting.
    fn may_last(&self) -> Result<(), Answering<'a>> {
        let reason = "too many operations are waiting; try again later\n";
        let busy = || at_once(text(StatusCode::SERVICE_UNAVAILABLE, reason));
        self.stage.last().then_some(()).ok_or_else(busy)
    }

    fn log(&self, what: &str) {
        let Peer { pid, uid } = self.peer;
        tracing::info!("{what} requested by pid {pid} (uid {uid})");
    }

    /// Answers when the requests for single processes, or the reload, are done. `request` is `None`
    /// for a reload.
    fn when_done(
        &self,
        request: Option<Request>,
        names: Vec<String>,
        outcomes: Vec<Outcome>,
        followers: Followers,
    ) -> Answering<'a> {
        let (began, supervisor) = (self.began, self.supervisor);
        // A process starts with the config that drainit has read, and not with that in the files.
        let starts = matches!(request, Some(Request::Start | Request::Restart));
        let change = starts.then(|| supervisor.has_config_changed());
        Box::pin(async move {
            let outcomes = async {
                let mut results = Vec::new();
                for outcome in outcomes {
                    results.push(result(outcome).await);
                }
                results
            };
            let change = async {
                match change {
                    Some(change) => change.await,
                    None => false,
                }
            };
            let (results, followers, is_config_changed) = tokio::join!(outcomes, followers, change);
            let asked = Asked { request, names, began, followers, is_config_changed };
            response(StatusCode::OK, JSON, json(&asked.answer(results, supervisor)))
        })
    }
}

/// Answers with the text of an operation, once the operation is done.
async fn told(outcome: Outcome) -> Reply {
    match result(outcome).await {
        Ok(said) => text(StatusCode::OK, as_written(&said).into_owned()),
        Err(why) => text(StatusCode::CONFLICT, as_written(&why).into_owned() + "\n"),
    }
}

async fn result(outcome: Outcome) -> Result<String, String> {
    let gone = |_| Err("drainit exited before the request was done".to_owned());
    outcome.await.unwrap_or_else(gone)
}

/// Refuses a path that this version of drainit does not know, but that another version may know.
pub(crate) fn unknown_path(path: &str) -> Reply {
    let version = env!("CARGO_PKG_VERSION");
    let body =
        format!("this is drainit {version}, which speaks {PREFIX} and does not know {path}\n");
    text(StatusCode::NOT_FOUND, body)
}

fn bad(reason: String) -> Answering<'static> {
    at_once(text(StatusCode::BAD_REQUEST, reason + "\n"))
}

/// The parameters of a request.
#[derive(Default)]
struct Query {
    /// Indices into the processes of the status, each only once.
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
                    for (place, process) in now.processes.iter().enumerate() {
                        if is_meant(process) && !query.processes.contains(&place) {
                            query.processes.push(place);
                        }
                    }
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
        "kill" => process.start.pid.is_some(),
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
