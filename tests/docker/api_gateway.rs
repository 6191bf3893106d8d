//! The contract of the bash entrypoint that `examples/api-gateway` replaces, line by line, and the
//! faults of that script. Each is tested in a container with an unprivileged user and a read-only
//! root, with a real Envoy as the Router and stand-ins for the Policy Engine and the Python
//! Executor at their real paths. In one container the Policy Engine is that of
//! `examples/policy-engine`, and requests go through it.
//!
//! `runs` runs the containers at the same time; this file has the assertions.

mod faults;
mod runs;
mod scenarios;

use std::time::Duration;

use runs::{once, seen};

const SOCKETS: &str = "/var/run/api-platform";

#[test]
fn every_variable_has_its_default_and_reaches_every_child() {
    let Some(run) = seen("usual") else { return };
    for (name, value) in [
        ("GATEWAY_CONTROLLER_HOST", "gateway-controller"),
        ("XDS_SERVER_HOST", "gateway-controller"),
        ("ROUTER_XDS_PORT", "18000"),
        ("XDS_SERVER_PORT", "18000"),
        ("POLICY_ENGINE_XDS_PORT", "18001"),
        ("LOG_LEVEL", "info"), // set, but empty
        ("GOMAXPROCS", "2"),
        ("ROUTER_CONCURRENCY", "0"),
        ("APIP_GW_POLICY_ENGINE_METRICS_ENABLED", "true"),
        ("APIP_GW_ROUTER_RE2_MAX_PROGRAM_SIZE", "400"),
        ("PYTHON_POLICY_WORKERS", "4"),
        ("PYTHON_POLICY_MAX_CONCURRENT", "100"),
        ("PYTHON_POLICY_TIMEOUT", "30"),
        ("ROUTER_ADMIN_ENABLED", "true"), // set
        ("ROUTER_ADMIN_HOST", "127.0.0.1"),
        ("ROUTER_ADMIN_PORT", "9901"),
        ("ROUTER_DRAIN_TIME_SECONDS", "15"),
        ("PYTHON_EXECUTOR_SOCKET", "/var/run/api-platform/python-executor.sock"),
    ] {
        for process in ["python-executor", "policy-engine", "router"] {
            assert_eq!(run.variable(process, name), value, "{name} of {process}");
        }
    }
}

#[test]
fn what_the_container_sets_wins_except_what_is_derived_or_fixed() {
    let Some(run) = seen("plain") else { return };
    for (name, value) in [
        ("GATEWAY_CONTROLLER_HOST", "ctl"),
        ("XDS_SERVER_HOST", "ctl"),
        ("XDS_SERVER_PORT", "28000"),
        ("LOG_LEVEL", "warning"),
        ("ROUTER_ADMIN_ENABLED", "false"), // the default
        ("PYTHON_EXECUTOR_SOCKET", "/var/run/api-platform/python-executor.sock"),
    ] {
        for process in ["policy-engine", "router"] {
            assert_eq!(run.variable(process, name), value, "{name} of {process}");
        }
    }
    assert_eq!(run.given("policy-engine"), ["-xds-server", "ctl:28001"]);
}

#[test]
fn a_variable_can_be_taken_away_from_one_process() {
    let Some(run) = seen("usual") else { return };
    assert_eq!(run.variable("policy-engine", "PYTHON_EXECUTOR_LISTEN"), "/elsewhere");
    assert!(!run.has_variable("python-executor", "PYTHON_EXECUTOR_LISTEN"), "{run}");
}

#[test]
fn arguments_go_where_their_prefix_says_with_their_values() {
    let Some(run) = seen("usual") else { return };
    let envoy = run.command("router");
    assert!(envoy.ends_with("--component-log-level admin:critical"), "{envoy}");
    assert_eq!(
        run.given("policy-engine"),
        ["-xds-server", "gateway-controller:18001", "--log-format", "text"]
    );
    let socket = format!("{SOCKETS}/python-executor.sock");
    let python = ["/app/python-executor/main.py", "--listen", &socket, "--workers=8"];
    assert_eq!(run.given("python-executor"), python);
}

#[test]
fn other_arguments_are_refused_and_nothing_is_started() {
    for (args, says) in [
        (&["--workers=8"][..], "`--workers=8` is claimed by no process"),
        (&["--rtr.x", "1", "stray"], "`stray` is claimed by no process"),
        (&["--py.socket=/x"], "`--py.socket=/x` is refused"),
        (&["--py.listen", "/x"], "`--py.listen` is refused"),
    ] {
        let Some(finished) = once(&[], args) else { return };
        // The script exits with 1; drainit exits with 2 for wrong usage.
        assert_eq!(finished.code, 2, "{args:?}: {}", finished.output);
        assert!(finished.output.contains(says), "{}", finished.output);
        assert!(!finished.output.contains(": started"), "{}", finished.output);
    }
}

#[test]
fn the_override_has_its_variables_and_the_admin_over_tcp_only_if_enabled() {
    let Some(run) = seen("usual") else { return };
    let envoy = run.command("router");
    let begins = "/usr/local/bin/envoy -c /etc/envoy/envoy.yaml --config-yaml # The config that";
    assert!(envoy.starts_with(begins), "{envoy}");
    for part in [
        "xds: \"gateway-controller:18000\", price: \"5$\"",
        "error_level: 400 admin:",
        "socket_address: {address: \"127.0.0.1\", port_value: 9901}",
        "--log-level info --concurrency 0 ",
    ] {
        assert!(envoy.contains(part), "no {part:?} in {envoy}");
    }
    assert!(!envoy.contains("pipe:"), "{envoy}");
    // The admin shows that Envoy has read both parts.
    let Some(other) = seen("second-term") else { return };
    other.assert_line("the admin on port 9905 says \"xds\": \"gateway-controller:18000\"");
    let Some(run) = seen("plain") else { return };
    let envoy = run.command("router");
    assert!(envoy.contains("\"ctl:28000\"") && !envoy.contains("socket_address:"), "{envoy}");
    let admin = "pipe: {path: /var/run/api-platform/router-admin.sock, mode: 384} # 0600";
    assert!(envoy.contains(&format!("error_level: 500 admin: address: {admin}")), "{envoy}");
    assert!(envoy.ends_with("--log-level warning --concurrency 1"), "{envoy}");
}

#[test]
fn the_python_executor_starts_only_if_there_is_a_registry() {
    let Some(run) = seen("plain") else { return };
    run.assert_line("python-executor: left out").assert_no_event("python-executor", "");
    let Some(run) = seen("usual") else { return };
    let order = [
        "python-executor: ready",
        "policy-engine: started",
        "policy-engine: ready",
        "router: started",
    ];
    run.assert_lines_in_order(&order);
}

#[test]
fn stale_sockets_are_removed_before_the_start_and_all_after_the_end() {
    let Some(run) = seen("plain") else { return };
    // The stand-in could not have bound its socket if that of an earlier run were still there.
    run.assert_line("policy-engine: ready after");
    run.assert_line("no python-executor.sock while it runs");
    run.assert_line("left in the directory of the sockets: nothing");
}

#[test]
fn lines_have_the_prefix_of_their_process_and_stay_on_their_stream() {
    let Some(run) = seen("usual") else { return };
    for (text, stdout) in
        [("[pol] engine-out", true), ("[pol] engine-err", false), ("[pye] python-out", true)]
    {
        let (on, off) =
            if stdout { (&run.stdout, &run.stderr) } else { (&run.stderr, &run.stdout) };
        assert!(on.lines().any(|line| line == text), "no {text:?}:\n{run}");
        assert!(!off.contains(text), "{text:?} is on the other stream, too:\n{run}");
    }
    assert!(run.stderr.lines().any(|line| line.starts_with("[rtr] [")), "no line of Envoy:\n{run}");
    let known = ["[drainit] ", "[rtr] ", "[pol] ", "[pye] "];
    for line in run.stdout.lines().chain(run.stderr.lines()) {
        assert!(known.iter().any(|prefix| line.starts_with(prefix)), "whose is {line:?}?");
    }
}

#[test]
fn term_drains_the_router_then_stops_one_after_the_other_and_ends_with_0() {
    let Some(run) = seen("usual") else { return };
    run.assert_code(0).assert_stopped_in_order();
    run.assert_lines_in_order(&[
        "SIGTERM received",
        "router: draining, at least 5s, at most 15s",
        "router: drain over",
    ]);
}

#[test]
fn requests_go_through_a_real_policy_engine_and_its_executor_until_the_router_is_gone() {
    let Some(run) = seen("real-engine") else { return };
    run.assert_code(0).assert_line("/refused: 403 refused by policy");
    run.assert_line("served while it drains: 10");
    run.assert_line("what takes eight seconds: HTTP/1.1 200 OK");
    run.assert_lines_in_order(&[
        "router: draining",
        "router: exited with code 0",
        "policy-engine: SIGTERM",
        "policy-engine: exited with code 0",
        "python-executor: SIGTERM",
    ]);
    run.assert_line("[pol] policy engine is done, ");
}

#[test]
fn int_and_quit_stop_it_as_term_does() {
    for name in ["int", "quit"] {
        let Some(run) = seen(name) else { return };
        run.assert_code(0).assert_stopped_in_order();
        run.assert_line(&format!("SIG{} received", name.to_uppercase()));
    }
}

#[test]
fn it_drains_over_a_private_admin_where_none_is_enabled() {
    let Some(run) = seen("plain") else { return };
    run.assert_line("the mode of router-admin.sock: 600");
    run.assert_line("port 8080 is open: true").assert_line("port 9901 is open: false");
    run.assert_line("served while it drains: 10");
    run.assert_lines_in_order(&[
        "router: draining, at least 5s, at most 15s",
        "no connection left",
        "router: exited with code 0",
    ]);
    run.assert_code(0).assert_no_line("warning: router");
}

#[test]
fn an_admin_of_the_images_own_gives_way_to_the_one_that_drains() {
    let Some(run) = seen("int") else { return };
    run.assert_line("port 9907 is open: false").assert_line("no connection left");
}

#[test]
fn a_drain_time_of_0_turns_the_drain_off() {
    let Some(run) = seen("ignores-term") else { return };
    run.assert_no_line("router: drain");
}

#[test]
fn the_health_check_needs_neither_shell_nor_curl() {
    let Some(run) = seen("usual") else { return };
    run.assert_line("HEALTHCHECK says healthy");
    run.assert_line("drainit health: 0 ready");
    let Some(run) = seen("never-ready") else { return };
    run.assert_line("drainit health: 1 not ready: python-executor");
    run.assert_line("drainit health --live: 0 ok");
}

#[test]
fn it_runs_unprivileged_with_a_read_only_root() {
    let Some(run) = seen("usual") else { return };
    let given = run.report("policy-engine");
    assert_eq!((given["uid"].as_u64(), given["gid"].as_u64()), (Some(10001), Some(10001)));
    run.assert_line("init: /usr/local/bin/drainit run");
}

#[test]
fn the_debug_variant_has_a_debugger_no_python_and_sixty_seconds() {
    let Some(run) = seen("debug") else { return };
    run.assert_code(0).assert_no_event("python-executor", "").assert_no_line("python-executor");
    assert_eq!(
        run.given("policy-engine"),
        ["-xds-server", "gateway-controller:18001", "--log-format", "text"],
        "through dlv"
    );
    // The stand-in of dlv starts more slowly than the limit of the other variant allows.
    let ready = run.duration("policy-engine: ready after ");
    assert!(ready > Duration::from_secs(10), "{ready:?}");
    run.assert_lines_in_order(&["router: draining", "stop router: ", "stop policy-engine: "]);
}
