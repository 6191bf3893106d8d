//! Tests `drainit health`, which exec probes and Docker's HEALTHCHECK run.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use crate::support::*;

/// Returns the exit code and the output of `drainit health`.
pub(super) fn health(args: &[&str]) -> (i32, String) {
    ask("health", args)
}

/// Returns the exit code and the output of a command that asks a running drainit.
fn ask(command: &str, args: &[&str]) -> (i32, String) {
    let mut drainit = Command::new(env!("CARGO_BIN_EXE_drainit"));
    drainit.env_remove("DRAINIT_CONFIG").arg(command).args(args).stdin(Stdio::null());
    let output = drainit.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

// holds: C3, C127, C129, C130, C131, C132, C134
#[test]
fn health_follows_readyz_from_the_start_to_the_end() {
    let address = free_address();
    let Some(rig) = Rig::new() else { return };
    let config = "
        control: {listen: 'ADDRESS', socket: DIR/control.sock}
        shutdown: {readiness_delay: 60s, grace_period: 90s}
        processes:
          a:
            command: [CHILD, a, 'await=${MUST:?set it}', touch=DIR/a]
            readiness: {file: DIR/a, timeout: 60s}
        ";
    // The entrypoint exported the variable `MUST`, but the probe does not have this variable.
    let rig = rig.env("MUST", "DIR/go");
    let drainit = rig.start(&config.replace("ADDRESS", &address.to_string()));
    drainit.wait_for_start(&["a"]);
    let path = |name: &str| drainit.path(name).display().to_string();
    let (config, socket) = (path("drainit.yaml"), path("control.sock"));
    let (http, unix) = (format!("http://{address}"), format!("unix:{socket}"));
    // All ways to address drainit give the same answer.
    let assert_all = |code: i32, says: &str| {
        for args in [["-c", &config], ["--socket", &socket], ["--url", &http], ["--url", &unix]] {
            let (got, said) = health(&[&args[..], &["--timeout", "20s"]].concat());
            assert_eq!(got, code, "{args:?}: {said}");
            assert!(said.starts_with(says) && said.lines().count() == 1, "{args:?}: {said}");
        }
        let (live, said) = health(&["-c", &config, "--live", "--timeout", "20s"]);
        assert_eq!((live, said.as_str()), (0, "ok\n"));
    };
    assert_all(1, "not ready: a (");
    drainit.touch("go");
    drainit.wait_for_line(said::ALL_READY);
    assert_all(0, "ready");
    assert_eq!(health(&["--url", &format!("{http}/livez"), "--timeout", "20s"]).1, "ok\n");
    let (code, said) = health(&["--url", &format!("{http}/nothing"), "--timeout", "20s"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with(&format!("{http}/nothing: 404 Not Found")), "{said}");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line("stopping: ");
    assert_all(1, "shutting down: ");
    drainit.signal_again(Signal::SIGINT);
    drainit.wait_exit(LONG).assert_code(0);
    let (code, said) = health(&["--socket", &socket]);
    assert_eq!(code, 1);
    assert!(said.starts_with(&format!("{unix}:/readyz: ")) && said.lines().count() == 1, "{said}");
}

// holds: C133
#[test]
fn health_does_not_wait_for_a_supervisor_that_does_not_answer() {
    let dir = TempDir::for_everybody();
    let path = dir.path("silent.sock");
    let _listens = UnixListener::bind(&path).unwrap();
    let began = Instant::now();
    let (code, said) = health(&["--socket", path.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(said.ends_with("no answer within 1s\n"), "{said}");
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    assert!(health(&["--socket", path.to_str().unwrap(), "--timeout", "10ms"]).1.contains("10ms"));
}

// holds: C126, C134, C651, C652
#[test]
fn wrong_addresses_and_configs_have_separate_codes() {
    let dir = TempDir::for_everybody();
    dir.write("off.yaml", "control: {socket: off}\nprocesses: {a: {command: [a]}}\n");
    dir.write("wrong.yaml", "control: {sockt: /a.sock}\n");
    dir.write("unset.yaml", "control: {socket: '${UNSET:?set it}/a'}\n");
    dir.write("empty.yaml", "control: {socket: '/nonexistent/${UNSET}a'}\n");
    for (args, code, says) in [
        ("-c DIR/off.yaml", 78, "`control: {socket: off}`"),
        ("-c DIR/wrong.yaml", 78, "wrong.yaml:1: unknown key `sockt` in `control`; see `drainit"),
        ("-c DIR/unset.yaml", 78, "`control` uses `UNSET`, which is not set here: if it is for"),
        ("-c DIR/empty.yaml", 1, "`control.socket`; `control` uses `UNSET`"),
        ("-c DIR/missing.yaml", 78, "missing.yaml` does not exist; see `drainit check`"),
        ("--socket DIR/nobody.sock", 1, "/nobody.sock"),
        ("--scoket /x", 2, "unexpected argument"),
    ] {
        let args = args.replace("DIR", &dir.root().display().to_string());
        let args: Vec<_> = args.split(' ').collect();
        for command in ["health", "drain"] {
            let (got, said) = ask(command, &args);
            assert_eq!(got, code, "{command} {args:?}: {said}");
            assert!(said.contains(says), "{command} {args:?}: {said}");
        }
    }
    for (args, says) in [
        (&["--url", "https://127.0.0.1/"][..], "no TLS"),
        (&["--timeout", "0"], "longer than 0"),
        (&["--socket", "/x", "--url", "http://127.0.0.1:1"], "cannot be used with"),
    ] {
        let (got, said) = health(args);
        assert!(got == 2 && said.contains(says), "{args:?}: {said}");
    }
}

// holds: C128
#[test]
fn health_waits_until_everything_is_ready() {
    let Some(rig) = Rig::new() else { return };
    let socket = rig.path("control.sock").display().to_string();
    let (code, said) = health(&["--socket", &socket, "--wait", "50ms"]);
    assert!(code == 1 && said.contains("another `control.socket` (after 50ms)"), "{said}");
    // Asks before drainit runs, while it starts, and when it is ready.
    let asking = thread::spawn(move || health(&["--socket", &socket, "--wait", "60s"]));
    let config = "
        control: {socket: DIR/control.sock}
        processes:
          a: {command: [CHILD, a, sleep=300, touch=DIR/a], readiness: {file: DIR/a}}
        ";
    let drainit = rig.start(config);
    assert_eq!(asking.join().unwrap(), (0, "ready\n".to_owned()));
    drainit.exec(&["health", "--wait", "10s"]).assert(0, "ready");
    drainit.stop().assert_code(0);
}

// holds: C802
#[test]
fn a_wait_keeps_the_reason_when_the_last_answer_is_late() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let asking = thread::spawn(move || health(&["--url", &url, "--wait", "500ms"]));
    let mut first = server.accept().unwrap().0;
    assert!(first.read(&mut [0; 4096]).unwrap() > 0);
    let answer = "HTTP/1.1 503 Unavailable\r\nContent-Length: 12\r\n\r\nnot ready: a";
    first.write_all(answer.as_bytes()).unwrap();
    // Nobody answers the second question, which waits in the queue of the listener.
    let (code, said) = asking.join().unwrap();
    assert_eq!((code, said.as_str()), (1, "not ready: a (after 500ms)\n"));
}
