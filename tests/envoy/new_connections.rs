//! Tests new connections while a real Envoy is drained: they are served until the drain is over,
//! and refused afterwards.

use testkit::envoy::{DEFAULT, TESTED};

use crate::support::*;

/// Asserts that new connections are served until the drain is over. By default, Envoy closes its
/// listeners after `--drain-time-s`, here long before `min` is over.
fn assert_served_until_drained(version: &'static str, drain: &'static str) {
    let flags = "--concurrency 2 --drain-time-s 1";
    let envoy = RealEnvoy { version, flags, drain, ..RealEnvoy::default() };
    let Some((drainit, address)) = envoy.start() else { return };
    let (mut served_late, mut went) = (0, Vec::new());
    thread::scope(|scope| {
        let draining = scope.spawn(|| drainit.exec(&["drain"]));
        let began = drainit.wait_for_line("router: draining for at least 5s").at;
        // Clients connect until long after Envoy's own drain time of 1 s, and stop well before
        // `min` is over.
        while now() < began + ms(3500) {
            let asked = now();
            match Client::new(address).request(0).went {
                answer if answer.is_answered() => {
                    served_late += u32::from(asked > began + ms(1100))
                }
                lost => went.push((now() - began, lost)),
            }
            thread::sleep(ms(50));
        }
        draining.join().unwrap().assert(0, "");
    });
    assert!(served_late > 0 && went.is_empty(), "{version}: {served_late} served, but {went:?}");
    // The requested drain is over and stops nothing: Envoy is still running, and refuses
    // connections.
    let went = Client::new(address).request(0).went;
    assert_eq!(went, RequestResult::Refused, "{}", drainit.record());
    drainit.stop().assert_code(0).assert_line(said::NO_CONNECTION_LEFT);
}

// holds: S24, S29
#[test]
fn a_short_drain_time_of_envoy_refuses_no_connection_within_min() {
    const ALL_AT_ONCE: &str = "time: 8s, min: 5s";
    const GRADUAL: &str = "time: 8s, min: 5s, fail_healthcheck: false";
    let cases =
        TESTED.map(|version| (version, ALL_AT_ONCE)).into_iter().chain([(DEFAULT, GRADUAL)]);
    in_parallel(cases, |(version, drain)| assert_served_until_drained(version, drain));
}

/// Makes Envoy accept no connection, as when it is overloaded.
fn accept_none(config: &mut Value) {
    let admin = config["admin"]["address"]["pipe"]["path"].as_str().unwrap();
    let pressure = admin.replace("admin.sock", "pressure");
    fs::write(&pressure, "0.99").unwrap();
    let kind = "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig";
    let (name, threshold) = ("envoy.resource_monitors.injected_resource", json!({"value": 0.9}));
    config["overload_manager"] = json!({
        "refresh_interval": "0.05s",
        "resource_monitors": [{"name": name, "typed_config": {
            "@type": format!("type.googleapis.com/{kind}"), "filename": pressure,
        }}],
        "actions": [{"name": "envoy.overload_actions.stop_accepting_connections",
                     "triggers": [{"name": name, "threshold": threshold}]}],
    });
}

// holds: S763
#[test]
fn connections_that_envoy_does_not_accept_are_waited_for_and_reported() {
    let envoy = RealEnvoy { change: accept_none, ..RealEnvoy::default() };
    let Some((drainit, address)) = envoy.start() else { return };
    drainit.wait_until("overload", || {
        let path = "/stats?filter=stop_accepting_connections.active";
        let stats = get_unix(&drainit.path("admin.sock"), path);
        stats.is_ok_and(|(_, stats)| stats.contains("active: 1"))
    });
    let mut clients: Vec<_> = (0..5).map(|_| Client::new(address)).collect();
    clients.iter_mut().for_each(|client| client.send(0).unwrap());
    let ended = drainit.stop();
    ended.assert_stopped_within(ms(3000)..ms(9000));
    ended.assert_line(
        "drain router: .*connections 5 at the start, 5 (at the end|when last seen .*), 0 new; requests 0 completed, 5 (cut|in flight)",
    );
}
