//! The control endpoints: what a kubelet asks, before, during and at the end.

use std::thread;

use serde_json::Value;

use crate::support::http::{free_address, get, get_unix, request};
use crate::support::{LONG, Rig, Signal, ms};

#[test]
fn readyz_follows_readiness_and_turns_at_t0_before_anything_is_stopped() {
    let address = free_address();
    let Some(rig) = Rig::new() else { return };
    let config = "
        control: {listen: 'ADDRESS', socket: DIR/control.sock}
        shutdown: {readiness_delay: 700ms}
        processes:
          a: {command: [CHILD, a, await=DIR/go, touch=DIR/a], readiness: {file: DIR/a}}
          b: {command: [CHILD, b], depends_on: [a]}
        ";
    let drainit = rig.start(&config.replace("ADDRESS", &address.to_string()));
    drainit.wait_for_start(&["a"]);
    let status = |path: &str| get(address, path).map_or(0, |(status, _)| status);
    assert_eq!((status("/livez"), status("/readyz")), (200, 503));
    let (_, reason) = get(address, "/readyz").unwrap();
    assert!(reason.contains('a'), "{reason}");

    drainit.touch("go");
    drainit.wait_for_start(&["b"]);
    drainit.wait_until("ready", || status("/readyz") == 200);
    assert_eq!(get_unix(&drainit.path("control.sock"), "/readyz").unwrap().0, 200);

    let t0 = drainit.signal(Signal::SIGTERM);
    let unready = drainit.wait_until("unready", || status("/readyz") != 200);
    assert_eq!((status("/readyz"), status("/livez")), (503, 200));
    assert!(unready - t0 < ms(500), "{:?}", unready - t0);
    assert!(drainit.record().event("b", "got SIGTERM").is_none());
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_stopped_in_order(&["b", "a"]).assert_gone("control.sock");
    let told = ended.event("b", "got SIGTERM").at - t0;
    assert!(told >= ms(700), "asked after {told:?}:\n{}", ended.record);
}

#[test]
fn status_tells_how_each_process_is() {
    let address = free_address();
    let Some(rig) = Rig::new() else { return };
    let config = "
        control: {listen: 'ADDRESS'}
        processes:
          done: {type: oneshot, command: [CHILD, done, exit=0]}
          out: {command: [CHILD, out], only_if: {path_exists: DIR/none}}
          up: {command: [CHILD, up, 'on=TERM:exit:0:600'], depends_on: [done]}
          failed: {command: [CHILD, failed, exit=4], on_exit: ignore}
          hangs: {command: [CHILD, hangs], readiness: {unix: DIR/never.sock}}
        ";
    let drainit = rig.start(&config.replace("ADDRESS", &address.to_string()));
    drainit.wait_for_start(&["up", "hangs"]);
    drainit.wait_for_line("failed: exited with code 4");
    let status = || -> Value { serde_json::from_str(&get(address, "/status").unwrap().1).unwrap() };
    let now = status();
    let state = |now: &Value, name: &str| {
        let processes = now["processes"].as_array().unwrap();
        let found = processes.iter().find(|process| process["name"] == name).unwrap();
        found["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(now["ready"], false, "{now}");
    for (name, expected) in [
        ("done", "done"),
        ("out", "skipped"),
        ("up", "ready"),
        ("failed", "failed"),
        ("hangs", "starting"),
    ] {
        assert_eq!(state(&now, name), expected, "{name}: {now}");
    }
    let (code, metrics) = get(address, "/metrics").unwrap();
    assert!(code == 200 && metrics.contains("drainit_process_up{process=\"up\"} 1"), "{metrics}");
    assert_eq!(get(address, "/nothing").unwrap().0, 404);
    assert_eq!(request(address, "POST", "/status").unwrap().0, 405);

    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_event("up", "got SIGTERM");
    let now = status();
    assert_eq!(state(&now, "up"), "stopping", "{now}");
    assert!(now["shutdown"].is_object(), "{now}");
    drainit.wait_exit(LONG).assert_code(0);
}

#[test]
fn a_port_in_use_is_found_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config =
        format!("control: {{listen: '{address}'}}\nprocesses: {{a: {{command: [CHILD, a]}}}}");
    Rig::not_init()
        .run(&config)
        .assert_code(78)
        .assert_line(&format!("control.listen {address}: address already in use"))
        .assert_no_event("a", "start");
}

#[test]
fn clients_that_ask_badly_cost_nothing() {
    use std::io::Write;
    let address = free_address();
    let Some(rig) = Rig::new() else { return };
    let config =
        format!("control: {{listen: '{address}'}}\nprocesses: {{a: {{command: [CHILD, a]}}}}");
    let drainit = rig.start(&config);
    drainit.wait_for_start(&["a"]);
    // Silent, unfinished, endless and nonsense.
    let mut held = Vec::new();
    for text in ["", "GET /livez HTT", "\0\0\0\r\n\r\n"] {
        for _ in 0..10 {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let _ = stream.write_all(text.as_bytes());
            held.push(stream);
        }
    }
    let mut endless = std::net::TcpStream::connect(address).unwrap();
    thread::spawn(
        move || while endless.write_all(b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").is_ok() {},
    );
    assert_eq!(get(address, "/livez").unwrap().0, 200);
    let asked = drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0).assert_took(asked, ms(0)..ms(1500));
}
