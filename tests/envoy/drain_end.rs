//! Tests the end of the drain of a real Envoy, which is as early as is safe, and never later than
//! `time`.

use std::io::{Read, Write};
use std::net::TcpStream;

use testkit::envoy::TESTED;

use crate::support::*;

/// The longest time that a drain may take if the test expects an early end, even on a busy machine.
/// This time is shorter than the drain's `time`.
const LATE: Duration = ms(8000);
/// The size of a response, in bytes, which does not fit into socket buffers.
const BODY: usize = 4 * 1024 * 1024;

// holds: S231
#[test]
fn an_envoy_that_is_not_live_is_stopped_at_once() {
    in_parallel(TESTED, |version| {
        let envoy = RealEnvoy {
            version,
            drain: "time: 8s, min: 8s",
            readiness: "unix: DIR/admin.sock",
            // Envoy waits for a control plane that does not run.
            change: |config| add_control_plane(config, "lds", ([127, 0, 0, 1], 1).into(), "0s"),
            ..RealEnvoy::default()
        };
        let Some((drainit, _)) = envoy.start() else { return };
        let ended = drainit.stop();
        ended
            .assert_code(0)
            .assert_stopped_within(ms(0)..ms(6000))
            .assert_line("drain router: .*it was not live, so nothing was in flight")
            .assert_no_line("unknown")
            .assert_no_line("warning: .*drain");
    });
}

/// A client that keeps its connection, or has sent nothing yet, holds the drain only with `until:
/// connections`.
// holds: S176, C383
#[test]
fn idle_connections_hold_a_drain_unless_only_requests_count() {
    let with_filter: fn(&mut Value) = |config| {
        let filter = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        config["static_resources"]["listeners"][0]["listener_filters"] = json!([
            {"name": "tls", "typed_config": {"@type": format!("type.googleapis.com/{filter}")}},
        ]);
    };
    for (drain, change, asks, least, why) in [
        ("time: 2s, min: 1s", None, true, 2000, "1 connection still open"),
        ("time: 2s, min: 1s", Some(with_filter), false, 2000, "1 connection still open"),
        (
            "time: 9s, min: 1s, until: requests",
            None,
            true,
            1000,
            "no request in flight; connections 1 at the start, 1 (at the end|when last seen)",
        ),
    ] {
        let change = change.unwrap_or(|_| {});
        let Some((drainit, address)) =
            (RealEnvoy { drain, change, ..RealEnvoy::default() }).start()
        else {
            return;
        };
        let mut client = Client::new(address);
        let _silent = (!asks).then(|| TcpStream::connect(address).unwrap());
        if asks {
            assert_eq!(client.request(0).went, STAYS);
        }
        drainit.stop().assert_code(0).assert_stopped_within(ms(least)..LATE).assert_line(why);
    }
}

pub(super) fn has_request(drainit: &Running) -> bool {
    let stats = "/stats?filter=gateway.downstream_rq_active";
    get_unix(&drainit.path("admin.sock"), stats).unwrap().1.contains("rq_active: 1")
}

// holds: S185
#[test]
fn requests_that_come_after_the_drain_are_waited_for_before_the_stop() {
    in_parallel(TESTED, |version| {
        let drain = "time: 20s, min: 500ms, until: requests";
        let shutdown = "grace_period: 40s, reserve: 2s";
        let envoy = RealEnvoy { version, drain, shutdown, ..RealEnvoy::default() };
        let Some((drainit, address)) = envoy.start() else { return };
        let mut client = Client::connected(address);
        drainit.exec(&["drain"]).assert(0, "");
        drainit.wait_for_line("drain over after .*: no request in flight");
        let ended = thread::scope(|scope| {
            let late = scope.spawn(|| client.request(4000));
            drainit.wait_until("in flight", || has_request(&drainit));
            drainit.signal(Signal::SIGTERM);
            assert_eq!(late.join().unwrap().went, CLOSES);
            drainit.wait_exit(LONG)
        });
        ended.assert_code(0).assert_line("router: in use again, 1 request still in flight");
        ended.assert_line("requests 1 completed, 0 (cut|in flight when last seen)");
    });
}

// holds: S177
#[test]
fn until_requests_waits_for_a_response_that_a_client_still_reads() {
    in_parallel(TESTED, |version| {
        let envoy = RealEnvoy {
            version,
            drain: "time: 6s, min: 1s, until: requests",
            change: |config| {
                let listener = &mut config["static_resources"]["listeners"][0];
                // The small SO_SNDBUF keeps most of the response in Envoy.
                listener["socket_options"] =
                    serde_json::json!([{"level": 1, "name": 7, "int_value": 65536}]);
                let routes =
                    &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"];
                routes["max_direct_response_body_size_bytes"] = BODY.into();
                routes["virtual_hosts"][0]["routes"][0] = json!({"match": {"prefix": "/"},
                    "direct_response": {"status": 200, "body": {"inline_string": "x".repeat(BODY)}}});
            },
            ..RealEnvoy::default()
        };
        let Some((drainit, address)) = envoy.start() else { return };
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
        client.read_exact(&mut [0; 20]).unwrap();
        let ended = drainit.stop();
        ended
            .assert_code(0)
            .assert_stopped_within(ms(6000)..LONG)
            .assert_line("1 request still in flight");
        ended.assert_line("requests 0 completed, 1 (cut|in flight when last seen)");
    });
}
