//! Tests the stop of a real Envoy whose admin drains nothing: it refuses the calls, is closed, or
//! never answers. The kernel then counts the requests.

use std::net::TcpStream;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::support::client::{Client, RequestResult};
use crate::support::real_envoy::RealEnvoy;
use crate::support::{Duration, LONG, Running, Signal, in_parallel, ms};

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
    assert_eq!(request.went, RequestResult::Answered { closes: false }, "{}", drainit.record());
    drop(client);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_took(request.over, ms(0)..SOON)
        .assert_line("drain router: .*no request in flight; connections 1 at the start, 0 ")
        .assert_line(COUNTED);
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
        ("answered 403 Forbidden", refuses, false),
        ("no such file or directory", has_none, false),
        ("its admin had not answered when the drain was over", has_none, true),
    ];
    in_parallel(rows.into_iter().flat_map(|row| [(row, true), (row, false)]), |(row, asks)| {
        let (why, change, hangs) = row;
        let readiness = "exec: ['true']";
        let envoy = RealEnvoy { change, readiness, ..patient() };
        let Some((drainit, address)) = envoy.start() else { return };
        drainit.wait_until("Envoy listens", || TcpStream::connect(address).is_ok());
        let _hangs = hangs.then(|| UnixListener::bind(drainit.path("admin.sock")).unwrap());
        let client = Client::new(address);
        if asks {
            return stop_with_a_request(drainit, client);
        }
        let ended = drainit.stop();
        ended.assert_code(0).assert_stopped_within(ms(3000)..SOON);
        ended.assert_line(why).assert_line(COUNTED);
    });
}
