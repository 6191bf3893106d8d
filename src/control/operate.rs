//! The endpoints of drainit's own commands, over the control socket only: `/v1/status`, `/v1/logs`,
//! `/v1/kill`, `/v1/stop`, `/v1/start`, `/v1/restart` and `/v1/reload`.
//!
//! The version is part of the path: another one is answered with a line that says so.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tokio::sync::oneshot;
use tracing::Level;

use crate::control::connections::{Caller, Stage};
use crate::control::status::{ProcessStatus, Status};
use crate::control::{SupervisorHandle, TEXT, refuse, response, status};
use crate::core::event::Request;
use crate::logging::Output;
use crate::logging::format::own_line;
use crate::logging::recent::{Follower, Owner};
use crate::os::private_socket::Peer;
use crate::types::suggest::{list, nearest};
use crate::types::{Signal, Stream};

/// The prefix of the paths, with the version of this protocol.
pub(crate) const PREFIX: &str = "/v1/";

/// Processes whose lines drainit does not have, separated by commas.
pub(crate) const INHERITED: &str = "drainit-inherited";

/// The name of drainit's own lines, unless a process has it.
const OWN: &str = "drainit";

/// An answer, at once or when the operation is done.
pub(crate) enum Answered {
    Now(Response<AnswerBody>),
    Later(Vec<oneshot::Receiver<Result<(), String>>>),
    /// With a text.
    TextLater(oneshot::Receiver<Result<String, String>>, &'static str),
}

impl Answered {
    /// Waits until the operation is done. It goes on where the client does not wait.
    pub(crate) async fn response(self) -> Response<AnswerBody> {
        let gone = || "drainit has ended before that was done".to_owned();
        match self {
            Self::Now(response) => response,
            Self::TextLater(outcome, content_type) => {
                match outcome.await.unwrap_or_else(|_| Err(gone())) {
                    Ok(text) => response(StatusCode::OK, content_type, text),
                    Err(reason) => response(StatusCode::CONFLICT, TEXT, reason + "\n"),
                }
            }
            Self::Later(outcomes) => {
                let mut failures = Vec::new();
                for outcome in outcomes {
                    if let Err(reason) = outcome.await.unwrap_or_else(|_| Err(gone())) {
                        failures.push(reason);
                    }
                }
                // Equal where one process holds up several others.
                failures.dedup();
                if failures.is_empty() {
                    response(StatusCode::OK, TEXT, "done\n".to_owned())
                } else {
                    response(StatusCode::CONFLICT, TEXT, failures.join("; ") + "\n")
                }
            }
        }
    }
}

/// Answers a request of an operator; `path` is that after [`PREFIX`].
pub(crate) fn answer<B>(
    request: &hyper::Request<B>,
    path: &str,
    caller: &Caller,
    stage: &Stage,
    supervisor: &dyn SupervisorHandle,
) -> Answered {
    let Caller::Socket(peer) = caller else {
        let reason = "this is taken over the control socket only (`drainit status` and the like ask there)\n";
        return Answered::Now(response(StatusCode::FORBIDDEN, TEXT, reason.to_owned()));
    };
    let (method, query) = (request.method(), request.uri().query().unwrap_or_default());
    let allowed = match path {
        "status" | "logs" => Method::GET,
        "kill" | "stop" | "start" | "restart" => Method::POST,
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
    let now = supervisor.status();
    let query = match Query::parse(query, &now) {
        Ok(query) if query.own && path != "logs" => return bad(unknown_process(OWN, &now)),
        Ok(query) => query,
        Err(reason) => return bad(reason),
    };
    let operation = match path {
        "status" => return Answered::Now(status(&now)),
        "logs" => return Answered::Now(logs(query, &now, stage, supervisor)),
        "kill" => return kill(&query, &now, *peer, supervisor),
        "stop" => Request::Stop,
        "start" => Request::Start,
        _ => Request::Restart,
    };
    if query.processes.is_empty() {
        return bad(format!("name the processes to {path}"));
    }
    if !stage.last() {
        return Answered::Now(busy());
    }
    let names: Vec<_> = query.named(&now).map(|process| process.name.clone()).collect();
    let Peer { pid, uid } = *peer;
    tracing::info!("{path} of {} requested by pid {pid} (uid {uid})", names.join(", "));
    // Copies are restarted one after the other, so that the others serve.
    let mut asked = Vec::new();
    for copies in query.processes {
        let names = copies.into_iter().map(|place| now.processes[place].name.clone());
        match operation {
            Request::Restart => asked.push(supervisor.request(names.collect(), operation)),
            _ => asked.extend(names.map(|name| supervisor.request(vec![name], operation))),
        }
    }
    Answered::Later(asked)
}

/// GET: what a reload would do. POST: does it.
fn reload(
    method: &Method,
    query: &str,
    peer: Peer,
    stage: &Stage,
    supervisor: &dyn SupervisorHandle,
) -> Answered {
    let mut paths = Vec::new();
    let mut is_json = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("config", path)) if *method == Method::GET => match decoded(path) {
                Some(path) => paths.push(path),
                None => return bad(format!("no path: {path:?}")),
            },
            Some(("format", "json")) if *method == Method::GET => is_json = true,
            _ => return bad(format!("unknown parameter: {pair:?}")),
        }
    }
    if !stage.last() {
        return Answered::Now(busy());
    }
    if *method == Method::GET {
        let content_type = if is_json { "application/json" } else { TEXT };
        return Answered::TextLater(supervisor.plan_reload(paths, is_json), content_type);
    }
    let Peer { pid, uid } = peer;
    tracing::info!("reload requested by pid {pid} (uid {uid})");
    Answered::TextLater(supervisor.reload(), TEXT)
}

/// A path with `%XX` for every byte that a query cannot hold.
fn decoded(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(OsString::from_vec(bytes).into())
}

/// Refuses a path that this version of drainit does not know; another one may.
pub(crate) fn unknown_path(path: &str) -> Response<AnswerBody> {
    let version = env!("CARGO_PKG_VERSION");
    let body =
        format!("this is drainit {version}, which speaks {PREFIX} and does not know {path}\n");
    response(StatusCode::NOT_FOUND, TEXT, body)
}

fn bad(reason: String) -> Answered {
    Answered::Now(response(StatusCode::BAD_REQUEST, TEXT, reason + "\n"))
}

fn busy() -> Response<AnswerBody> {
    let reason = "too many others wait for an operation or follow the logs; try again later\n";
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, reason.to_owned())
}

/// The parameters of a request.
#[derive(Default)]
struct Query {
    /// For each name indices into the processes of the status: one, or those of its copies.
    processes: Vec<Vec<usize>>,
    /// The names as they were given.
    names: Vec<String>,
    /// [`OWN`] is named among the processes, and none of them has that name.
    own: bool,
    signal: Option<Signal>,
    lines: Option<usize>,
    follow: bool,
}

impl Query {
    /// Names of processes need no escapes: they consist of letters, digits, `_`, `-` and `.`.
    fn parse(text: &str, now: &Status) -> Result<Self, String> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "process" => {
                    let all = now.processes.iter().enumerate();
                    let copies = all.filter(|(_, p)| p.is_copy_of(value)).map(|(place, _)| place);
                    match now.processes.iter().position(|p| p.is_named(value)) {
                        Some(place) => query.add(vec![place]),
                        None => match copies.collect::<Vec<_>>() {
                            copies if !copies.is_empty() => query.add(copies),
                            _ if value == OWN => {
                                query.own = true;
                                continue;
                            }
                            _ => return Err(unknown_process(value, now)),
                        },
                    }
                    query.names.push(value.to_owned());
                }
                "signal" => {
                    let signal = Signal::parse(value);
                    query.signal = Some(signal.ok_or_else(|| format!("no signal: {value:?}"))?);
                }
                "lines" => {
                    query.lines = Some(value.parse().map_err(|_| format!("no number: {value:?}"))?);
                }
                "follow" => query.follow = true,
                _ => return Err(format!("unknown parameter: {key:?}")),
            }
        }
        Ok(query)
    }

    /// Adds what a name means. What is named twice is meant once.
    fn add(&mut self, copies: Vec<usize>) {
        let is_within = |some: &[usize], all: &[usize]| some.iter().all(|one| all.contains(one));
        if !self.processes.iter().any(|all| is_within(&copies, all)) {
            self.processes.retain(|some| !is_within(some, &copies));
            self.processes.push(copies);
        }
    }

    /// The processes that are named, or are copies of one that is.
    fn named<'a>(&'a self, now: &'a Status) -> impl Iterator<Item = &'a ProcessStatus> {
        self.processes.iter().flatten().map(|place| &now.processes[*place])
    }
}

fn unknown_process(name: &str, now: &Status) -> String {
    let names = || now.current().map(|process| process.name.as_str());
    match nearest(name, names()) {
        Some(near) => format!("there is no process `{name}`; did you mean `{near}`?"),
        // A hundred names would bury the reason.
        None if now.current().count() > 20 => {
            format!("there is no process `{name}`; `drainit status` names all")
        }
        None => format!("there is no process `{name}`; there are {}", list(names())),
    }
}

fn kill(query: &Query, now: &Status, peer: Peer, supervisor: &dyn SupervisorHandle) -> Answered {
    let Some(signal) = query.signal else { return bad("name a signal".to_owned()) };
    if query.processes.is_empty() {
        return bad("name the processes to signal".to_owned());
    }
    // All or none.
    let mut targets = Vec::new();
    for process in query.named(now) {
        // Until a new instance runs, the one that ends before it.
        let runs = |one: &&ProcessStatus| one.identity == process.identity && one.pid.is_some();
        match Some(process).filter(runs).or_else(|| now.processes.iter().find(runs)) {
            Some(target) => targets.push(target),
            None => {
                let ProcessStatus { name, state, .. } = process;
                let reason = format!("{name} does not run: it is {}\n", state.name());
                return Answered::Now(response(StatusCode::CONFLICT, TEXT, reason));
            }
        }
    }
    for ProcessStatus { name, slot, .. } in targets {
        let Peer { pid, uid } = peer;
        if let Err(error) = supervisor.signal(*slot, signal) {
            let reason = format!("{name}: cannot send {signal}: {error}\n");
            return Answered::Now(response(StatusCode::CONFLICT, TEXT, reason));
        }
        tracing::info!("{name}: {signal} sent, requested by pid {pid} (uid {uid})");
    }
    Answered::Now(response(StatusCode::OK, TEXT, "sent\n".to_owned()))
}

fn logs(
    query: Query,
    now: &Status,
    stage: &Stage,
    supervisor: &dyn SupervisorHandle,
) -> Response<AnswerBody> {
    let of_all = query.processes.is_empty() && !query.own;
    let inherit = |process: &&ProcessStatus| !supervisor.is_captured(process.slot);
    let named = || query.named(now);
    let inherited: Vec<_> = if of_all {
        now.current().filter(inherit).collect()
    } else {
        named().filter(inherit).collect()
    };
    let names = || inherited.iter().map(|process| process.name.as_str());
    if !of_all && !query.own && inherited.len() == named().count() {
        let reason = format!(
            "drainit has no lines of {}: without `log` in the config the output goes past drainit, straight to the \
             container's (`docker logs`, `kubectl logs`)\n",
            list(names())
        );
        return response(StatusCode::CONFLICT, TEXT, reason);
    }
    let owners: Option<Vec<Owner>> = (!of_all).then(|| {
        named().map(|process| Some(process.identity)).chain(query.own.then_some(None)).collect()
    });
    let output = supervisor.output();
    let body = if query.follow {
        if !stage.last() {
            return busy();
        }
        let follower = output.recent().follow(owners, query.names.clone(), query.lines);
        AnswerBody::Lines(Lines { follower, output: Arc::clone(output) })
    } else {
        let lines = output.recent().last(owners.as_deref(), query.lines);
        AnswerBody::Whole(Full::new(lines.into()))
    };
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    // As many as fit into a head.
    let names: Vec<_> = names().take(20).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(","))
        && !names.is_empty()
    {
        headers.insert(HeaderName::from_static(INHERITED), names);
    }
    answer
}

/// The body of an answer.
pub(crate) enum AnswerBody {
    Whole(Full<Bytes>),
    /// Lines as they come, without an end.
    Lines(Lines),
}

pub(crate) struct Lines {
    follower: Follower,
    output: Arc<Output>,
}

impl Lines {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Bytes> {
        self.follower.poll_next(context).map(|piece| {
            let mut lines = piece.lines;
            if piece.dropped > 0 {
                let were = if piece.dropped == 1 { "line was" } else { "lines were" };
                let message = format!(
                    "{} {were} dropped because `drainit logs -f` was not read",
                    piece.dropped
                );
                let (format, now) = (self.output.format(), SystemTime::now());
                lines.extend(own_line(format, Stream::Stderr, Level::WARN, now, &message));
            }
            lines.into()
        })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(context),
            Self::Lines(lines) => lines.poll(context).map(|lines| Some(Ok(Frame::data(lines)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(whole) if whole.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Lines(_) => SizeHint::default(),
        }
    }
}
