//! Tests the preflight checks of a real Envoy's drain, while it is healthy and while it drains.

use testkit::envoy::TESTED;

use crate::support::*;

const WARNING: &str = r"^\[drainit\] .* warning: router: ";

// holds: C388
#[test]
fn mistakes_are_reported_before_the_drain() {
    in_parallel(TESTED, |version| {
        let envoy = RealEnvoy {
            version,
            drain: "time: 3s, fail_healthcheck: false",
            ..RealEnvoy::default()
        };
        let envoy = RealEnvoy {
            change: |config| {
                config["stats_config"] = serde_json::json!({"stats_matcher":
                    {"exclusion_list": {"patterns": [
                        {"safe_regex": {"regex": r"listener\.[^a].*\.downstream_cx_active"}},
                        {"suffix": "upgrades_active"}]}}});
            },
            ..envoy
        };
        let Some((drainit, _)) = envoy.start() else { return };
        for finding in [
            r"its drain is too slow: Envoy spreads it over 10m \(--drain-time-s\), so at most 0.5 % of the responses",
            r"Envoy has no statistic listener\.\*\.downstream_cx_active and downstream_pre_cx_active, so its drain cannot end early and always takes 3s",
            r"Envoy has no statistic http\.\*\.downstream_cx_upgrades_active, so its reports do not say how many requests",
        ] {
            drainit.wait_for_line(&format!("{WARNING}{finding}"));
        }
    });
}

// holds: C387
#[test]
fn preflight_tries_paths_with_their_queries_and_changes_nothing() {
    // An older Envoy does not start with `allow_paths`.
    in_parallel(TESTED.into_iter().filter(|version| *version >= "1.37"), |version| {
        let envoy = RealEnvoy {
            version,
            change: |config| {
                config["admin"]["allow_paths"] = serde_json::json!([
                    {"exact": "/ready"}, {"exact": "/server_info"}, {"exact": "/listeners"},
                    {"exact": "/drain_listeners"}, {"exact": "/drain_listeners?graceful"}, {"exact": "/healthcheck/fail"}, {"exact": "/stats"},
                ]);
            },
            ..RealEnvoy::default()
        };
        let Some((drainit, address)) = envoy.start() else { return };
        drainit.wait_for_line(&format!(
            r"{WARNING}its drain will fail: its admin does not allow /drain_listeners\?graceful&skip_exit, /stats\?filter=…; extend `admin"
        ));
        let (status, ready) = get_unix(&drainit.path("admin.sock"), "/ready").unwrap();
        assert!(status == 200 && ready.contains("LIVE"), "{status} {ready}");
        Client::connected(address);
    });
}

// holds: S43
#[test]
fn a_listener_that_ignores_the_drain_is_reported_during_the_drain() {
    in_parallel(TESTED, |version| {
        let envoy = RealEnvoy {
            version,
            flags: "--drain-time-s 1000000",
            drain: "time: 4s, min: 500ms",
            change: |config| {
                config["static_resources"]["listeners"][0]["drain_type"] = "MODIFY_ONLY".into();
            },
            ..RealEnvoy::default()
        };
        let Some((drainit, address)) = envoy.start() else { return };
        let mut client = Client::new(address);
        client.request(0);
        let ended = thread::scope(|scope| {
            drainit.signal(Signal::SIGTERM);
            scope.spawn(move || {
                // The listener ignores healthcheck/fail, so its drain is gradual and hardly any
                // response closes its connection.
                while client.request(40).went == STAYS {}
            });
            drainit.wait_exit(LONG)
        });
        let complaint =
            "[0-9]+ requests since the drain began, and no connection was closed: .*MODIFY_ONLY";
        ended.assert_code(0).assert_line(&format!("{WARNING}{complaint}"));
        ended.assert_line(&format!("Z   router: {complaint}"));
    });
}

// holds: C785, S440
#[test]
fn a_healthy_envoy_gets_no_warning_even_without_a_listener() {
    in_parallel(TESTED, |version| {
        let whole = RealEnvoy { version, ..RealEnvoy::default() };
        let empty = RealEnvoy {
            change: |config| {
                config["static_resources"]["listeners"] = serde_json::json!([]);
            },
            ..whole.clone()
        };
        let internal = RealEnvoy {
            change: |config| {
                let extension = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
                config["bootstrap_extensions"] = serde_json::json!([{"name": "internal", "typed_config":
                    {"@type": format!("type.googleapis.com/{extension}")}}]);
                let listener = &mut config["static_resources"]["listeners"][0];
                listener["internal_listener"] = serde_json::json!({});
                listener.as_object_mut().unwrap().remove("address");
            },
            ..whole.clone()
        };
        for (has_clients, envoy) in [(true, whole), (false, empty), (false, internal)] {
            let Some((drainit, _)) = envoy.start() else { return };
            drainit.wait_for_line("nothing speaks against its drain");
            let advice = "router: its --drain-time-s of 600 leaves idle connections and WebSockets";
            let is_advised = drainit.record().line(advice).is_some();
            assert_eq!(is_advised, has_clients && version >= "1.40", "{}", drainit.record());
            let record = drainit.record();
            let took = r"^\[drainit\] [^ ]*Z router: Envoy lists its statistics in [0-9.]+m?s$";
            assert!(record.line(took).is_some(), "{record}");
            assert!(drainit.record().line(WARNING).is_none(), "{}", drainit.record());
            let ended = drainit.stop();
            ended.assert_code(0).assert_no_line(r"\[error\]");
            // On a busy machine, an answer of Envoy may come late. Only a warning about that is
            // permitted.
            let warnings = ended.record.lines.iter().filter(|line| line.text.contains("warning: "));
            let others = warnings.filter(|line| !line.text.contains("no answer within"));
            assert_eq!(others.count(), 0, "{}", ended.record);
        }
    });
}
