//! Tests which listeners of a real Envoy are drained, and whose connections count.

use testkit::envoy::TESTED;

use crate::support::*;

/// Adds a listener `egress` on 127.0.0.2, with the port and the routes of the first listener.
fn add_egress(config: &mut Value) {
    let listeners = config["static_resources"]["listeners"].as_array_mut().unwrap();
    let mut egress = listeners[0].clone();
    egress["name"] = "egress".into();
    egress["address"]["socket_address"]["address"] = "127.0.0.2".into();
    let manager = &mut egress["filter_chains"][0]["filters"][0]["typed_config"];
    manager["stat_prefix"] = "egress".into();
    listeners.push(egress);
}

/// A sidecar: the first listener is inbound, the second one outbound.
fn sidecar(config: &mut Value) {
    add_egress(config);
    let listeners = &mut config["static_resources"]["listeners"];
    listeners[0]["traffic_direction"] = "INBOUND".into();
    listeners[1]["traffic_direction"] = "OUTBOUND".into();
}

fn egress_of(address: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], address.port()))
}

// holds: C385
#[test]
fn the_egress_of_a_sidecar_works_while_the_ingress_is_drained() {
    in_parallel(TESTED, |version| {
        let envoy = RealEnvoy {
            version,
            flags: "--concurrency 2 --drain-strategy immediate",
            drain: "time: 9s, min: 5s, direction: inbound",
            change: sidecar,
            ..RealEnvoy::default()
        };
        let Some((drainit, address)) = envoy.start() else { return };
        let [mut inbound, mut old] = [address, egress_of(address)].map(Client::connected);
        let asked = drainit.signal(Signal::SIGTERM);
        drainit.wait_for_line(&said::draining("router"));
        // Envoy answers this request half a second later, so that drainit's call to begin the drain
        // comes before the answer.
        assert_eq!(inbound.request(500).went, CLOSES);
        let mut new = Client::new(egress_of(address));
        for egress in [&mut old, &mut new] {
            assert_eq!((egress.request(500).went, egress.request(0).went), (STAYS, STAYS));
        }
        // The two connections of the egress stay open, and drainit does not wait for them.
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0).assert_took(asked, ms(5000)..ms(8500));
        ended.assert_line(said::NO_CONNECTION_LEFT);
        ended.assert_line(
            "connections 1 at the start, 0 at the end, 0 new; requests [12] completed",
        );
    });
}

// holds: C386, C643
#[test]
fn a_scraper_does_not_hold_a_drain() {
    let by_name = RealEnvoy {
        drain: "time: 9s, min: 1s, ignore_listeners: [egress]",
        change: add_egress,
        ..RealEnvoy::default()
    };
    let by_prefix = RealEnvoy {
        drain: "time: 9s, min: 1s, ignore_listeners: [of.scraper]",
        change: |config| {
            add_egress(config);
            config["static_resources"]["listeners"][1]["stat_prefix"] = "of.scraper".into();
        },
        ..RealEnvoy::default()
    };
    for envoy in [by_name, by_prefix] {
        let Some((drainit, address)) = envoy.start() else { return };
        let _scraper = Client::connected(egress_of(address));
        let ended = drainit.stop();
        ended.assert_code(0).assert_stopped_within(ms(1000)..ms(8000));
        ended.assert_line(said::NO_CONNECTION_LEFT).assert_no_line("no such listener");
    }
}

// holds: C644
#[test]
fn the_requests_of_a_listener_that_is_ignored_count() {
    let envoy = RealEnvoy {
        drain: "time: 9s, min: 500ms, until: requests, ignore_listeners: [egress]",
        change: add_egress,
        ..RealEnvoy::default()
    };
    let Some((drainit, address)) = envoy.start() else { return };
    let mut client = Client::new(egress_of(address));
    let ended = thread::scope(|scope| {
        let request = scope.spawn(|| client.request(3000));
        let active = "/stats?filter=egress.downstream_rq_active";
        drainit.wait_until("in flight", || {
            let said = get_unix(&drainit.path("admin.sock"), active);
            said.is_ok_and(|(_, stats)| stats.contains("rq_active: 1"))
        });
        drainit.signal(Signal::SIGTERM);
        assert_eq!(request.join().unwrap().went, CLOSES);
        drainit.wait_exit(LONG)
    });
    ended.assert_code(0).assert_line("drain over after [^;]*no request in flight");
}

// holds: C880, C881
#[test]
fn exec_drains_a_lone_envoy_as_a_config_does() {
    let envoy =
        RealEnvoy { flags: "--drain-strategy immediate", change: sidecar, ..RealEnvoy::default() };
    let options = ["--drain-direction", "inbound", "--readiness", "20s"];
    let variables = [
        ("DRAINIT_DRAIN_TIME", "9s"),
        ("DRAINIT_DRAIN_MIN", "1s"),
        ("DRAINIT_DRAIN_EXIT_AT", "1"),
        ("DRAINIT_GRACE_PERIOD", "25s"),
    ];
    let Some((drainit, address)) = envoy.start_alone(&options, &variables) else { return };
    drainit.wait_for_line("envoy: ready after");
    let [_inbound, mut egress] = [address, egress_of(address)].map(Client::connected);
    let asked = drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line("draining for");
    assert_eq!(egress.request(500).went, STAYS);
    // One inbound connection stays open, as `--drain-exit-at` allows.
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_took(asked, ms(1000)..ms(8000));
    ended.assert_line("connections 1 at the start");
}
