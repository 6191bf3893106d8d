//! Tests a drain that is requested by `drainit drain` or `POST /drain`. The drain stops no process,
//! and a later shutdown does not repeat it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::Value;

use crate::drain::admin_faults::ONCE;
use crate::support::http::{free_address, get_unix};
use crate::support::said;
use crate::support::temp_dir::TempDir;
use crate::support::{Admin, Rig, Running, in_parallel, ms};

/// The config of a router with a drain, its dependency, and both kinds of control address.
const CONFIG: &str = "
shutdown: {grace_period: 20s, reserve: 1s}
control: {socket: DIR/control.sock, listen: 'LISTEN'}
processes:
  engine: {command: [CHILD, engine, await=DIR/engine-fails, exit=9]}
  router:
    command: [CHILD, router, 'on=USR1:exit:0:300']
    depends_on: [engine]
    stop_grace_period: 1s
    drain: {DRAIN}
";

fn start_with(drain: &str) -> Option<Running> {
    let config = CONFIG.replace("DRAIN", drain).replace("LISTEN", &free_address().to_string());
    let drainit = Rig::new()?.start_ready(&config);
    drainit.wait_for_start(&["engine", "router"]);
    Some(drainit)
}

fn start(admin: &Admin, times: &str) -> Option<Running> {
    let address = admin.address();
    start_with(&format!("envoy: {{admin: 'http://{address}', {times}}}"))
}

/// Runs `drainit drain` with these arguments; `DIR` is the directory of the test.
fn drain(drainit: &Running, args: &[&str]) -> Output {
    let dir = drainit.path("");
    let args = args.iter().map(|arg| arg.replace("DIR/", &dir.display().to_string()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_drainit"));
    command.arg("drain").args(args).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn assert_drains(drainit: &Running, args: &[&str]) -> String {
    let output = drain(drainit, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{}", drainit.record());
    String::from_utf8(output.stdout).unwrap()
}

fn status(drainit: &Running) -> Value {
    let (_, body) = get_unix(&drainit.path("control.sock"), "/status").unwrap();
    serde_json::from_str(&body).unwrap()
}

#[track_caller]
fn assert_all_alive(drainit: &Running) {
    for name in ["engine", "router"] {
        let is_stopped = drainit.record().event(name, "got SIGTERM").is_some();
        assert!(!is_stopped, "{name} was asked to end:\n{}", drainit.record());
    }
}

// holds: C111, C112, C113, C120, C122, C124, C845
#[test]
fn drain_waits_for_all_stops_nothing_and_sigterm_continues_from_there() {
    let admin = Admin::tcp(2);
    let Some(drainit) = start(&admin, "time: 8s, min: 200ms") else { return };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| assert_drains(&drainit, &["-c", "DIR/drainit.yaml"]));
        admin.wait_for(ONCE[1]);
        drainit.wait_until("draining", || status(&drainit)["phase"] == "draining");
        assert_eq!(get_unix(&drainit.path("control.sock"), "/readyz").unwrap().0, 503);
        thread::sleep(ms(400));
        assert!(!waiting.is_finished(), "clients are still there");
        admin.set_connections(0);
        let said = waiting.join().unwrap();
        assert!(said.starts_with("router: drain over after "), "{said}");
        assert!(said.ends_with("s: no connection left\n"), "{said}");
    });
    assert_eq!(status(&drainit)["phase"], "drained");
    assert_eq!(status(&drainit)["processes"][1]["state"], "ready", "{}", status(&drainit));
    assert_all_alive(&drainit);

    // A second request finds the router drained already.
    let said = assert_drains(&drainit, &["--socket", "DIR/control.sock"]);
    let earlier = said.lines().next().unwrap();
    assert!(earlier.starts_with("the drain was requested "), "{said}");
    assert!(earlier.ends_with("s ago, and is over"), "{said}");
    assert_all_alive(&drainit);

    let ended = drainit.stop();
    ended
        .assert_code(0)
        .assert_stopped_within(ms(0)..ms(6000))
        .assert_stopped_in_order(&["router", "engine"])
        .assert_line("drain requested; nothing is stopped yet")
        .assert_line(said::STOPPING)
        .assert_line("drain router: .*connections 2 at the start, 0 at the end")
        .assert_gone("control.sock");
    assert_eq!(admin.posts(), ONCE);
}

// holds: C845
#[test]
fn a_process_that_ends_during_the_drain_has_a_line() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(
        "
        control: {socket: DIR/control.sock}
        processes:
          engine: {command: [CHILD, engine]}
          early:
            command: [CHILD, early, 'on=USR1:exit:0', 'on=TERM:exit:0']
            drain: {signal: {signal: USR1, time: 8s}}
          router:
            command: [CHILD, router, 'on=USR1:exit:0:300']
            on_exit: ignore
            drain: {signal: {signal: USR1, time: 8s}}
        ",
    );
    // `early` is drained and stopped before the request, so the answer does not report this drain.
    drainit.exec(&["stop", "early"]).assert(0, "");
    let said = assert_drains(&drainit, &["--socket", "DIR/control.sock"]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert_eq!(lines[0], "early: not drained, because it is stopped", "{said}");
    assert!(lines[1].starts_with("router: drain over after "), "{said}");
    assert!(said.ends_with("the process has ended\n"), "{said}");
    drainit.stop();
}

// holds: C99, C125
#[test]
fn a_request_before_readiness_is_refused() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        control: {socket: DIR/control.sock}
        processes: {a: {command: [CHILD, a], readiness: {file: DIR/ready}}}
        ",
    );
    drainit.wait_for_start(&["a"]);
    let output = drain(&drainit, &["--socket", "DIR/control.sock"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refuses to drain: not everything is ready yet"), "{said}");
    assert!(said.contains("; not ready: a (starting: "), "{said}");
    drainit.stop().assert_code(0);
}

/// The way in which a fake supervisor treats a connection.
#[derive(Clone, Copy, Debug)]
enum Does {
    Accepts,
    Says(&'static str),
    /// Reads the request, and closes the connection without an answer.
    Closes,
    /// Closes the connection without reading, which resets it.
    Resets,
    /// Closes the connection in the middle of the answer.
    Breaks,
    /// Sends nothing for longer than the timeout of a request.
    Stalls,
    /// Answers 503.
    Fails,
}

impl Does {
    fn to(self, mut stream: UnixStream) {
        let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let answer = match self {
            Self::Resets => return,
            Self::Accepts => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
            Self::Says(status) => head(status.len()) + status,
            Self::Closes => String::new(),
            Self::Breaks => head(1000) + "{\"phase\":",
            Self::Stalls => {
                thread::sleep(ms(2300));
                return;
            }
            Self::Fails => "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// Runs `drainit drain --socket` against a server that treats its first connections as `does` says,
/// in order, and all further connections as `then` says. If `then` is `None`, the server ends.
/// Returns the exit code and stderr.
fn drain_against(does: &[Does], then: Option<Does>) -> (i32, String) {
    let dir = TempDir::new();
    let path = dir.join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut client = ask(&path);
    // Returns the next connection, or `None` once the client has ended.
    let mut next = || loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return Some(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        if client.try_wait().unwrap().is_some() {
            return None;
        }
        thread::sleep(ms(5));
    };
    for does in does {
        next().into_iter().for_each(|stream| does.to(stream));
    }
    if let Some(does) = then {
        std::iter::from_fn(&mut next).for_each(|stream| does.to(stream));
    }
    drop(listener);
    let output = client.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn ask(path: &Path) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drainit"));
    command.args(["drain", "--socket", path.to_str().unwrap()]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

const DRAINING: Does = Does::Says(r#"{"phase":"draining","shutdown":{"deadline_in_seconds":60}}"#);
const SHORT: Does = Does::Says(r#"{"phase":"draining","shutdown":{"deadline_in_seconds":0.1}}"#);
const OVERDUE: Does = Does::Says(r#"{"phase":"draining","shutdown":{"deadline_in_seconds":0.0}}"#);
const STOPPING: Does = Does::Says(r#"{"phase":"stopping","shutdown":{"deadline_in_seconds":0.0}}"#);
const DRAINED: Does = Does::Says(r#"{"phase":"drained"}"#);

// holds: C123, C124, C125, C515
#[test]
fn a_failed_poll_ends_no_drain_and_a_supervisor_that_does_not_answer_is_an_error_in_time() {
    use Does::*;
    const UNREAD: &str = "the progress of the drain cannot be read: ";
    let mut cases = Vec::new();
    for wrong in [Closes, Resets, Breaks, Stalls, Fails, Says("{}"), Says("no JSON"), Says("")] {
        cases.push((vec![Accepts, DRAINING, wrong, wrong, DRAINED], None, ""));
    }
    // If its request for the drain fails, the command repeats the request.
    for wrong in [Closes, Resets, Stalls] {
        cases.push((vec![wrong, wrong, Accepts, DRAINED], None, ""));
    }
    // A supervisor that ends after the request counts as drained. The socket file exists, but no
    // process listens on it, as after a SIGKILL.
    for last in [DRAINING, Closes, Resets, Breaks] {
        cases.push((vec![Accepts, last], None, ""));
    }
    // The drain is over when the supervisor stops processes.
    cases.push((vec![Accepts, SHORT], Some(STOPPING), ""));
    cases.push((vec![Closes], None, "connection refused"));
    // The client does not repeat the request forever.
    cases.push((vec![], Some(Closes), "cannot be reached"));
    for (then, says) in [
        (Resets, UNREAD),
        (Closes, "cannot be read: closed the connection"),
        (Fails, "cannot be read: answered 503"),
        (Stalls, "cannot be read: no answer within 2s"),
        (OVERDUE, "the drain takes longer than the grace period"),
    ] {
        cases.push((vec![Accepts, SHORT], Some(then), says));
    }
    in_parallel(cases, |(does, then, says)| {
        let (code, said) = drain_against(&does, then);
        let is_right = match says {
            "" => code == 0 && said.is_empty(),
            says => code == 1 && said.contains(says),
        };
        assert!(is_right, "{does:?}, then {then:?}: {code} {said}");
    });
}
