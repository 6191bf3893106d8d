//! Tests a drain that is requested by `drainit drain` or `POST /drain`. The drain stops no process,
//! and a later shutdown does not repeat it.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::drain::admin_faults::ONCE;
use crate::support::*;

fn status(drainit: &Running) -> Value {
    let (_, body) = get_unix(&drainit.path("control.sock"), "/status").unwrap();
    serde_json::from_str(&body).unwrap()
}

// holds: C111, C112, C113, C120, C122, C124, C845
#[test]
fn drain_waits_for_all_stops_nothing_and_sigterm_continues_from_there() {
    let admin = Admin::tcp(2);
    let Some(rig) = Rig::new() else { return };
    let config = "
        shutdown: {grace_period: 20s, reserve: 1s}
        control: {socket: DIR/control.sock}
        processes:
          engine: {command: [CHILD, engine]}
          router:
            command: [CHILD, router]
            depends_on: [engine]
            drain: {envoy: {admin: 'http://ADMIN', time: 8s, min: 200ms}}
        ";
    let drainit = rig.start_ready(&config.replace("ADMIN", &admin.address().to_string()));
    drainit.wait_for_start(&["engine", "router"]);
    let [config, socket] =
        ["drainit.yaml", "control.sock"].map(|name| drainit.path(name).display().to_string());
    let assert_all_alive = || {
        for name in ["engine", "router"] {
            let is_stopped = drainit.record().event(name, "got SIGTERM").is_some();
            assert!(!is_stopped, "{name} was asked to end:\n{}", drainit.record());
        }
    };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| drainit.exec(&["drain", "-c", &config]));
        admin.wait_for(ONCE[1]);
        drainit.wait_until("draining", || status(&drainit)["phase"] == "draining");
        assert_eq!(get_unix(&drainit.path("control.sock"), "/readyz").unwrap().0, 503);
        thread::sleep(ms(400));
        assert!(!waiting.is_finished(), "clients are still there");
        admin.set_connections(0);
        let said = waiting.join().unwrap();
        said.assert(0, "s: no connection left\n");
        let is_all = said.stdout.starts_with("router: drain over after ") && said.stderr.is_empty();
        assert!(is_all, "{said:?}");
    });
    assert_eq!(status(&drainit)["phase"], "drained");
    assert_eq!(status(&drainit)["processes"][1]["state"], "ready", "{}", status(&drainit));
    assert_all_alive();

    // A second request finds the router drained already.
    let said = drainit.exec(&["drain", "--socket", &socket]);
    said.assert(0, "s ago, and is over\n");
    assert!(said.stdout.starts_with("the drain was requested "), "{said:?}");
    assert_all_alive();

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
    let config = "
        processes:
          engine: {command: [CHILD, engine]}
          early:
            command: [CHILD, early]
            drain: {signal: {signal: USR1, time: 8s}}
          router:
            command: [CHILD, router, 'on=USR1:exit:0:300']
            on_exit: ignore
            drain: {signal: {signal: USR1, time: 8s}}
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    // `early` is drained and stopped before the request, so the answer does not report this drain.
    drainit.exec(&["stop", "early"]).assert(0, "");
    let said = drainit.exec(&["drain"]);
    said.assert(0, "early: not drained, because it is stopped\nrouter: drain over after ");
    said.assert(0, "the process has ended\n");
    assert_eq!(said.stdout.lines().count(), 2, "{said:?}");
    drainit.stop();
}

// holds: C99, C125
#[test]
fn a_drain_or_reload_before_readiness_is_refused() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start("processes: {a: {command: [CHILD, a], readiness: {file: DIR/ready}}}");
    drainit.wait_for_start(&["a"]);
    let said = drainit.exec(&["drain"]);
    said.assert(1, "refuses to drain: not everything is ready yet");
    said.assert(1, "; not ready: a (starting: ");
    let refused = "not every process has been ready yet; not ready: a (starting: ";
    drainit.exec(&["reload"]).assert(1, refused);
    drainit.stop().assert_code(0);
}

/// The way in which a fake supervisor treats a connection.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Reads the request, answers with this head and this body, and closes the connection.
    Says(&'static str, &'static str),
    /// Closes the connection without reading, which resets it.
    Resets,
    /// Sends nothing for longer than the timeout of a request.
    Stalls,
}

impl Does {
    fn to(self, mut stream: UnixStream) {
        match self {
            Self::Says(head, body) => {
                let head = head.replace("LENGTH", &body.len().to_string());
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all((head + body).as_bytes());
            }
            Self::Resets => {}
            Self::Stalls => thread::sleep(ms(2300)),
        }
    }
}

/// Runs `drainit drain --socket` against a server that treats its first connections as `does` says,
/// in order, and all further connections as `then` says. If `then` is `None`, the server ends.
fn drain_against(does: Vec<Does>, then: Option<Does>) -> Said {
    let dir = TempDir::for_everybody();
    let path = dir.path("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for does in does.into_iter().chain(then.into_iter().cycle()) {
            does.to(listener.accept().unwrap().0);
        }
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_drainit"));
    command.arg("drain").arg("--socket").arg(path).stdin(Stdio::null());
    Said::of(command.output().unwrap())
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: LENGTH\r\n\r\n";
const ACCEPTS: Does = Does::Says("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", "");
const FAILS: Does = Does::Says("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "");
const CLOSES: Does = Does::Says("", "");
/// Closes the connection in the middle of the answer.
const BREAKS: Does = Does::Says("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", "{\"phase\":");
const DRAINING: Does =
    Does::Says(OK, r#"{"phase":"draining","shutdown":{"deadline_in_seconds":60}}"#);
const SHORT: Does =
    Does::Says(OK, r#"{"phase":"draining","shutdown":{"deadline_in_seconds":0.1}}"#);
const OVERDUE: Does =
    Does::Says(OK, r#"{"phase":"draining","shutdown":{"deadline_in_seconds":0.0}}"#);
const STOPPING: Does =
    Does::Says(OK, r#"{"phase":"stopping","shutdown":{"deadline_in_seconds":0.0}}"#);
const DRAINED: Does = Does::Says(OK, r#"{"phase":"drained"}"#);

// holds: C123, C124, C125, C515
#[test]
fn a_failed_poll_ends_no_drain_and_a_supervisor_that_does_not_answer_is_an_error_in_time() {
    use Does::{Resets, Says, Stalls};
    let mut cases = Vec::new();
    let nonsense = ["{}", "no JSON", ""].map(|body| Says(OK, body));
    for wrong in [CLOSES, Resets, BREAKS, Stalls, FAILS].into_iter().chain(nonsense) {
        cases.push((vec![ACCEPTS, DRAINING, wrong, wrong, DRAINED], None, ""));
    }
    // If its request for the drain fails, the command repeats the request.
    for wrong in [CLOSES, Resets, Stalls] {
        cases.push((vec![wrong, wrong, ACCEPTS, DRAINED], None, ""));
    }
    // A supervisor that ends after the request counts as drained. The socket file exists, but no
    // process listens on it, as after a SIGKILL.
    for last in [DRAINING, CLOSES, Resets, BREAKS] {
        cases.push((vec![ACCEPTS, last], None, ""));
    }
    // The drain is over when the supervisor stops processes.
    cases.push((vec![ACCEPTS, SHORT], Some(STOPPING), ""));
    cases.push((vec![CLOSES], None, "connection refused"));
    // The client does not repeat the request forever.
    cases.push((vec![], Some(CLOSES), "cannot be reached"));
    for (then, says) in [
        (Resets, "the progress of the drain cannot be read: "),
        (CLOSES, "cannot be read: closed the connection"),
        (FAILS, "cannot be read: answered 503"),
        (Stalls, "cannot be read: no answer within 2s"),
        (OVERDUE, "the drain takes longer than the grace period"),
    ] {
        cases.push((vec![ACCEPTS, SHORT], Some(then), says));
    }
    in_parallel(cases, |(does, then, says)| {
        let said = drain_against(does.clone(), then);
        let is_right = match says {
            "" => said.code == 0 && said.stderr.is_empty(),
            says => said.code == 1 && said.stderr.contains(says),
        };
        assert!(is_right, "{does:?}, then {then:?}: {said:?}");
    });
}
