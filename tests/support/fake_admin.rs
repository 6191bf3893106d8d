//! An Envoy admin that fails as a test says, and records its requests. By default, it first answers
//! like a healthy admin, and records nothing, until drainit has verified the drain. With
//! [`Admin::faulty_throughout`], it fails and records from the start.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use testkit::event::now;

use super::LONG;

/// The answer to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Answers 200; `/stats` returns the connections set by [`Admin::set_connections`].
    Ok,
    /// Answers 200 after this many milliseconds.
    Late(u64),
    /// Answers with this status.
    Status(u16),
    /// Sends an endless body.
    Endless,
    /// Closes the connection without an answer.
    Close,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The time at which the request was read.
    pub(crate) at: Duration,
    /// The request line, as `METHOD /path?query`.
    pub(crate) what: String,
    /// The header fields, a line each.
    pub(crate) head: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    /// For each path (without a query): its answers. Each answer is used once, and then the last
    /// answer is repeated.
    answers: HashMap<String, Vec<Answer>>,
    active: u64,
    accepted: u64,
    /// Whether drainit has verified the healthy Envoy. From then on, the admin misbehaves.
    is_verified: bool,
}

/// A fake admin that listens until the test program ends.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    state: Arc<(Mutex<State>, Condvar)>,
    address: Option<SocketAddr>,
}

impl Admin {
    /// Starts an admin on TCP that reports this many connections.
    pub(crate) fn tcp(connections: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let admin = Self::with(connections, listener.local_addr().ok());
        let serving = admin.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serving.begin(stream.try_clone(), stream);
            }
        });
        admin
    }

    /// Starts an admin on a Unix socket that reports this many connections.
    pub(crate) fn unix(connections: u64, path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let admin = Self::with(connections, None);
        let serving = admin.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serving.begin(stream.try_clone(), stream);
            }
        });
        admin
    }

    fn with(connections: u64, address: Option<SocketAddr>) -> Self {
        let state = State { active: connections, accepted: connections, ..State::default() };
        Self { state: Arc::new((Mutex::new(state), Condvar::new())), address }
    }

    /// Returns the TCP address of the admin.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    /// Sets the answers to requests for this path, in order; the last one is repeated.
    pub(crate) fn answer(self, path: &str, answers: &[Answer]) -> Self {
        self.lock().answers.insert(path.to_owned(), answers.to_vec());
        self
    }

    /// Sets the answer to every request.
    pub(crate) fn answer_all(mut self, answer: Answer) -> Self {
        for path in ["/drain_listeners", "/healthcheck/fail", "/stats", "/server_info"] {
            self = self.answer(path, &[answer]);
        }
        self
    }

    /// Makes the admin misbehave from the start.
    pub(crate) fn faulty_throughout(self) -> Self {
        self.lock().is_verified = true;
        self
    }

    /// Waits until drainit has verified the healthy Envoy.
    #[track_caller]
    pub(crate) fn wait_verified(&self) {
        self.wait("verification", |state| state.is_verified.then_some(()));
    }

    /// Sets the number of open connections and returns the time.
    pub(crate) fn set_connections(&self, active: u64) -> Duration {
        let mut state = self.lock();
        state.accepted += active.saturating_sub(state.active);
        state.active = active;
        now()
    }

    /// Returns all requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// Returns all POST requests so far.
    pub(crate) fn posts(&self) -> Vec<String> {
        let posts = self.seen().into_iter().map(|seen| seen.what);
        posts.filter(|what| what.starts_with("POST")).collect()
    }

    /// Waits for a request and returns its time.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str) -> Duration {
        let find = |state: &State| Some(state.seen.iter().find(|seen| seen.what == what)?.at);
        self.wait(what, find)
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, find: impl Fn(&State) -> Option<T>) -> T {
        let until = Instant::now() + LONG;
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&state) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what}: {:?}", state.seen);
            state =
                self.state.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the requests of one connection on a separate thread.
    fn begin<S: Read + Write + Send + 'static>(&self, reader: io::Result<S>, writer: S) {
        let (Ok(reader), serving) = (reader, self.clone()) else { return };
        thread::spawn(move || serving.serve(reader, writer));
    }

    /// Answers the requests of one connection.
    fn serve(&self, reader: impl Read, mut writer: impl Write) -> Option<()> {
        let mut lines = BufReader::new(reader).lines();
        loop {
            let first = lines.next()?.ok()?;
            let mut head = Vec::new();
            loop {
                match lines.next()?.ok()? {
                    line if line.is_empty() => break,
                    line => head.push(line),
                }
            }
            let what = first.rsplit_once(' ')?.0;
            let path = what.split(['?', ' ']).nth(1)?;
            let (answer, stats) = {
                let mut state = self.lock();
                // The record begins when drainit has verified the healthy Envoy, or with the first
                // POST, which begins the drain.
                let counts = state.is_verified || what.starts_with("POST");
                if counts {
                    state.seen.push(Seen { at: now(), what: what.to_owned(), head });
                }
                state.is_verified = counts || path == "/listeners";
                self.state.1.notify_all();
                let stats = stats(state.active, state.accepted);
                let answer = match state.answers.get_mut(path).filter(|_| counts) {
                    Some(answers) if answers.len() > 1 => answers.remove(0),
                    Some(answers) => answers.first().copied()?,
                    None => Answer::Ok,
                };
                (answer, stats)
            };
            let body = match path {
                "/stats" => stats.as_str(),
                "/server_info" => SERVER_INFO,
                "/listeners" => "listener_0::0.0.0.0:8080\n",
                _ => "OK\n",
            };
            let is_call = ["/drain_listeners", "/healthcheck/fail"].contains(&path);
            match answer {
                Answer::Ok if is_call && what.starts_with("GET") => {
                    writer.write_all(response(405, "POST required.").as_bytes()).ok()?;
                }
                Answer::Ok => writer.write_all(response(200, body).as_bytes()).ok()?,
                Answer::Late(milliseconds) => {
                    thread::sleep(Duration::from_millis(milliseconds));
                    writer.write_all(response(200, body).as_bytes()).ok()?;
                }
                Answer::Status(status) => {
                    writer.write_all(response(status, "no\n").as_bytes()).ok()?;
                }
                Answer::Close => return None,
                Answer::Endless => {
                    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                    writer.write_all(head.as_bytes()).ok()?;
                    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
                    loop {
                        writer.write_all(chunk.as_bytes()).ok()?;
                    }
                }
            }
        }
    }
}

const SERVER_INFO: &str = r#"{"state":"LIVE","command_line_options":
    {"drain_time":"600s","drain_strategy":"Immediate","concurrency":2}}"#;

fn response(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Said So\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Formats the statistics as Envoy does for `/stats?format=json`, with those of the admin's own
/// listener, which drainit must not count.
fn stats(active: u64, accepted: u64) -> String {
    let stat = |name: &str, value: u64| format!(r#"{{"name":"{name}","value":{value}}}"#);
    let all = [
        stat("listener.admin.downstream_cx_active", 1),
        stat("listener.admin.main_thread.downstream_cx_active", 1),
        stat("listener.admin.downstream_cx_total", 7),
        stat("listener.admin.downstream_pre_cx_active", 0),
        stat("listener.0.0.0.0_8080.downstream_cx_active", active),
        stat("listener.0.0.0.0_8080.downstream_cx_total", accepted),
        stat("listener.0.0.0.0_8080.downstream_pre_cx_active", 0),
        stat("http.ingress_http.downstream_rq_active", 0),
        stat("http.ingress_http.downstream_rq_total", accepted),
        stat("http.ingress_http.downstream_cx_drain_close", 0),
        stat("http.ingress_http.downstream_cx_tx_bytes_buffered", 0),
        stat("http.ingress_http.downstream_cx_upgrades_active", 0),
        stat("http.ingress_http.downstream_cx_upgrades_total", 0),
    ];
    format!(r#"{{"stats":[{}]}}"#, all.join(","))
}
