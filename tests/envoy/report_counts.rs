//! Compares the counts of the report with those of the clients of a real Envoy.

use std::io::{Read, Write};
use std::net::TcpStream;

use testkit::envoy;

use crate::support::*;

/// Opens a WebSocket that the server closes after this many milliseconds.
fn web_socket(address: SocketAddr, lasts: u64) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let fields = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    write!(stream, "GET /{lasts} HTTP/1.1\r\n{fields}").unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    stream
}

/// Sleeps until `offset` after `from`, so that no request begins or ends close to T0 or the end.
fn at(from: Duration, offset: Duration) {
    thread::sleep((from + offset).saturating_sub(now()));
}

/// Asserts that the counts match exactly: every request is far from the two moments at which
/// drainit counts.
#[track_caller]
fn assert_exact(version: &'static str) {
    // The drain takes its whole time, so the two moments are seconds apart.
    let envoy = RealEnvoy { version, drain: "time: 8s, min: 500ms", ..RealEnvoy::default() };
    let Some((drainit, address)) = envoy.start() else { return };
    let connected =
        |number| -> Vec<_> { (0..number).map(|_| Client::connected(address)).collect() };
    let (mut idle, slow) = (connected(10), connected(20));
    let mut requests: Vec<Request> = Vec::new();
    let (ended, still_open) = thread::scope(|scope| {
        // These requests are in flight at T0, and are answered during the drain, which closes their
        // connections.
        let slow: Vec<_> =
            slow.into_iter().map(|mut client| scope.spawn(move || client.request(4500))).collect();
        // The server closes three WebSockets, the client closes two, and one is cut.
        let closed_by_server = [3000; 3].map(|lasts| web_socket(address, lasts));
        let closed_by_client = [60_000; 2].map(|lasts| web_socket(address, lasts));
        let cut = web_socket(address, 60_000);
        thread::sleep(ms(500));
        let t0 = drainit.signal(Signal::SIGTERM);
        // These connections are opened during the drain. Some requests would outlast the drain.
        at(t0, ms(500));
        let new: Vec<_> =
            (0..15).map(|_| scope.spawn(|| Client::new(address).request(0))).collect();
        let new_upgrade = web_socket(address, 2000);
        at(t0, ms(1800));
        let long: Vec<_> =
            (0..7).map(|_| scope.spawn(|| Client::new(address).request(60_000))).collect();
        at(t0, ms(5500));
        let still_open =
            idle.iter_mut().filter_map(|client| (!client.is_closed()).then_some(())).count();
        drop(closed_by_client);
        let ended = drainit.wait_exit(LONG);
        drop((closed_by_server, cut, new_upgrade));
        requests
            .extend(slow.into_iter().chain(new).chain(long).map(|thread| thread.join().unwrap()));
        (ended, still_open as u64)
    });
    ended.assert_code(0).assert_line(said::TIME_IS_OVER).assert_no_line(r"\[drainit\].* warning: ");
    let [completed, cut] = [CLOSES, RequestResult::Cut]
        .map(|went| requests.iter().filter(|request| request.went == went).count() as u64);
    assert_eq!((completed, cut), (20 + 15, 7), "{}", ended.record);
    // If the machine is too busy for the last count, the report contains the previous count.
    let (at_start, at_end, new) = (30 + 6, still_open + cut + 1, 15 + 7 + 1);
    let (cut, upgrades) = (cut + 1, 3 + 2 + 1);
    ended.assert_line(&format!(
        "connections {at_start} at the start, {at_end} (at the end|when last seen .* before the end), {new} new; \
         requests {completed} completed, {cut} (cut|in flight when last seen); upgrades {upgrades} ended",
    ));
}

// holds: S132, S133, S134
#[test]
fn every_request_is_counted_once() {
    in_parallel(envoy::TESTED, assert_exact);
}

// holds: S583
#[test]
fn a_web_socket_that_envoy_closes_is_no_completed_request() {
    let envoy = RealEnvoy {
        flags: "--concurrency 2 --drain-time-s 4",
        drain: "time: 20s, min: 500ms",
        shutdown: "grace_period: 30s, reserve: 2s",
        change: |config| {
            let listener = &mut config["static_resources"]["listeners"][0];
            let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
            manager["drain_timeout"] = "1s".into();
        },
        ..RealEnvoy::default()
    };
    let Some((drainit, address)) = envoy.start() else { return };
    let _web_sockets = [60_000; 5].map(|lasts| web_socket(address, lasts));
    let counts = "connections 5 at the start, 0 (at the end|when last seen .*), 0 new; requests 0 completed, 0 (cut|in flight when last seen); upgrades 5 ended";
    drainit.stop().assert_code(0).assert_line(&format!("no connection left; {counts}"));
}
