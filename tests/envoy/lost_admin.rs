//! Tests the stop of a real Envoy whose admin drains nothing: it refuses the calls, is closed, never
//! answers, or is somebody else. The kernel then counts the requests.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;

use crate::support::*;

/// The longest time that a drain may take after its last request, even on a busy machine. This time
/// is far shorter than the `time` of the drain.
const SOON: Duration = ms(9000);
const COUNTED: &str = "router: its admin did not drain it, so the kernel counted its requests";

/// An Envoy whose drain may last far longer than a test.
fn patient() -> RealEnvoy {
    let (drain, shutdown) = ("time: 60s, min: 3s", "grace_period: 80s, reserve: 2s");
    RealEnvoy { drain, shutdown, ..RealEnvoy::default() }
}

/// Stops Envoy while a request of 6 s is in flight, and asserts that the request is answered.
#[track_caller]
fn stop_with_a_request(drainit: Running, mut client: Client) {
    client.send(6000).unwrap();
    drainit.signal(Signal::SIGTERM);
    let request = client.receive();
    assert_eq!(request.went, STAYS, "{}", drainit.record());
    drop(client);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_took(request.over, ms(0)..SOON)
        .assert_line("drain router: .*no request in flight; connections 1 at the start, 0 ")
        .assert_line(COUNTED);
}

/// Answers every request with 200 and a text that is none of Envoy's.
fn answer_all(listener: UnixListener) {
    for client in listener.incoming().flatten() {
        let mut lines = BufReader::new(&client).lines().map_while(Result::ok);
        if lines.by_ref().find(String::is_empty).is_some() {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            let _ = (&client).write_all(answer.as_bytes());
        }
    }
}

// holds: S49, S50, S700, S702
#[test]
fn the_last_request_ends_the_drain_of_an_envoy_whose_admin_drains_nothing() {
    let refuses: fn(&mut Value) = |config| {
        config["admin"]["allow_paths"] = json!([{"prefix": "/ready"}, {"prefix": "/stats"}]);
    };
    let has_none: fn(&mut Value) = |config| {
        config.as_object_mut().unwrap().remove("admin");
    };
    let rows = [
        ("answered 403 Forbidden", refuses, None),
        ("no such file or directory", has_none, None),
        ("its admin had not answered when the drain was over", has_none, Some(false)),
        ("answered something else than asked for \\(hello\\)", has_none, Some(true)),
    ];
    in_parallel(rows.into_iter().flat_map(|row| [(row, true), (row, false)]), |(row, asks)| {
        let (why, change, other) = row;
        let readiness = "exec: ['true']";
        let envoy = RealEnvoy { change, readiness, ..patient() };
        let Some((drainit, address)) = envoy.start() else { return };
        drainit.wait_until("Envoy listens", || TcpStream::connect(address).is_ok());
        // Another program listens at the address of the admin, and answers or does not answer.
        let listener = other.map(|_| UnixListener::bind(drainit.path("admin.sock")).unwrap());
        if let (Some(true), Some(listener)) = (other, &listener) {
            let listener = listener.try_clone().unwrap();
            thread::spawn(move || answer_all(listener));
        }
        let client = Client::new(address);
        if asks {
            return stop_with_a_request(drainit, client);
        }
        let ended = drainit.stop();
        ended.assert_code(0).assert_stopped_within(ms(3000)..SOON);
        ended.assert_line(why).assert_line(COUNTED);
    });
}

// holds: S704, S705
#[test]
fn an_admin_that_a_failed_hot_restart_has_closed_is_reported_and_not_probed() {
    let envoy = RealEnvoy {
        is_hot: true,
        flags: "--concurrency 2 --parent-shutdown-time-s 2",
        readiness: "http: 'unix:DIR/admin.sock:/ready', timeout: 10s",
        keys: "    update: hot-restart\n    \
               liveness: {http: 'unix:DIR/admin.sock:/ready', interval: 20ms, retries: 1}",
        ..patient()
    };
    let Some((drainit, address)) = envoy.start() else { return };
    // The new epoch closes the admin of the old one, and then waits for a control plane that does
    // not run. Meanwhile its own `/ready` answers 503.
    let mut config: Value =
        serde_json::from_slice(&fs::read(drainit.path("envoy.json")).unwrap()).unwrap();
    add_control_plane(&mut config, "lds", ([127, 0, 0, 1], 1).into(), "0s");
    drainit.write("envoy.json", config.to_string());
    drainit.exec(&["restart", "router"]).assert(1, "did not become ready within 10s");
    let why = "the failed hot restart has closed its admin for good";
    drainit.wait_for_line(&format!(
        "error: router: {why}.*`drainit start router`; its liveness is not probed any more"
    ));
    drainit.exec(&["status"]).assert(0, "closed its admin for good");
    drainit.exec(&["health"]).assert(0, &format!("ready; note: router: {why}"));
    let warnings = drainit.processes(&["router"])[0]["warnings"].to_string();
    assert!(warnings.contains(why), "{warnings}");
    // The request takes as long as 50 probes of the liveness.
    assert_eq!(Client::new(address).request(1000).went, STAYS);
    stop_with_a_request(drainit, Client::new(address));
    let _ = fs::remove_file(format!("/dev/shm/envoy_shared_memory_{}0", address.port()));
}
