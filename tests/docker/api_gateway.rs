//! Tests that `examples/api-gateway` keeps, line by line, the contract of the bash entrypoint that
//! it replaces. The containers have an unprivileged user, a read-only root, a real Envoy as the
//! Router, and stand-ins for the Policy Engine and the Python Executor at their real paths.

mod gateway;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use gateway::{
    ADMIN, ENGINE, Setup, assert_lines_in_order, assert_stopped_in_order, assert_variables, given,
    once,
};

use crate::support::client::Client;
use crate::support::docker_gateway::BOOTSTRAP;
use crate::support::http::get_unix;
use crate::support::said;
use crate::support::{LONG, Stream, leave_socket, ms};

const SOCKETS: &str = "/var/run/api-platform";
const HELLO: &str = "hello from the gateway\n";
/// A drain that is longer than Envoy's delayed close.
const SHORT_DRAIN: &str = "--env=ROUTER_DRAIN_TIME_SECONDS=2";

#[test]
fn each_process_gets_defaults_arguments_signals_and_a_prefix() {
    let Some(setup) = Setup::new() else { return };
    let options = [
        "--env=POLICY_ENGINE_STEPS=print=engine-out eprint=engine-err unix=/var/run/api-platform/policy-engine.sock",
        "--env=PYTHON_EXECUTOR_STEPS=print=python-out on=TERM:say:bye unix=/var/run/api-platform/python-executor.sock",
        "--env=LOG_LEVEL=",
        "--env=PYTHON_EXECUTOR_LISTEN=/elsewhere",
        "--health-interval=1s",
        ADMIN,
    ];
    let args = "--pol.log-format text --rtr.component-log-level admin:critical --py.workers=8";
    let gateway = setup.start(&options, &args.split(' ').collect::<Vec<_>>());
    gateway.await_served();

    let processes = [gateway.python(), gateway.engine(), gateway.router()];
    let variables = [
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
        ("ROUTER_HTTP_PORT", "8080"),
        ("POLICY_ENGINE_ADMIN_PORT", "9002"),
        ("PYTHON_EXECUTOR_SOCKET", "/var/run/api-platform/python-executor.sock"),
    ];
    assert_variables(&processes, &variables);
    let [python, _, router] = &processes;
    let own = fs::read_to_string(format!("/proc/{}/environ", python.pid)).unwrap();
    assert!(
        !own.contains("PYTHON_EXECUTOR_LISTEN"),
        "the process must not have the variable: {own}"
    );
    let begins = "/usr/local/bin/envoy -c /etc/envoy/envoy.yaml --config-yaml # The config that";
    assert!(router.command.starts_with(begins), "{router:?}");
    assert!(router.command.ends_with("--component-log-level admin:critical"), "{router:?}");
    for part in [
        "xds: \"gateway-controller:18000\", price: \"5$\"",
        "error_level: 400 admin:",
        "socket_address: {address: \"127.0.0.1\", port_value: 9901}",
        "--log-level info --concurrency 0 ",
    ] {
        assert!(router.command.contains(part), "no {part:?} in {router:?}");
    }
    assert!(!router.command.contains("pipe:"), "{router:?}");

    for name in ["HUP", "USR2", "USR1"] {
        gateway.container.signal(name);
    }
    gateway.container.await_line("SIGUSR1");
    assert_eq!(gateway.health(&[]), (0, "ready".to_owned()));
    let until = std::time::Instant::now() + LONG * 2;
    while gateway.container.health() != "healthy" {
        assert!(std::time::Instant::now() < until, "{}", gateway.container.health());
        thread::sleep(ms(50));
    }
    let after: Vec<_> = gateway.container.processes().iter().map(|process| process.pid).collect();
    assert!(processes.iter().all(|process| after.contains(&process.pid)), "a process has ended");

    let ended = gateway.stop("TERM");
    assert_stopped_in_order(&ended);
    ended
        .assert_line("router: draining for at least 5s and at most 15s")
        .assert_line(said::NO_CONNECTION_LEFT);
    let xds = ["-xds-server", "gateway-controller:18001", "--log-format", "text"];
    assert_eq!(given(&ended, "policy-engine"), xds);
    let socket = format!("{SOCKETS}/python-executor.sock");
    let python = ["/app/python-executor/main.py", "--listen", &socket, "--workers=8"];
    assert_eq!(given(&ended, "python-executor"), python);
    let report = ended.report("policy-engine.json");
    assert_eq!((&report["uid"], &report["gid"]), (&10001.into(), &10001.into()));
    ended
        .assert_no_event("policy-engine", "got SIGUSR1")
        .assert_no_event("policy-engine", "got SIGHUP");
    assert_eq!(ended.lines_of(Stream::Stdout, "pol"), ["engine-out"]);
    assert_eq!(ended.lines_of(Stream::Stderr, "pol"), ["engine-err"]);
    // drainit also passes on the last line of an output, which has no newline here.
    assert_eq!(ended.lines_of(Stream::Stdout, "pye"), ["python-out", "bye"]);
    ended.assert_line(r"^\[rtr\] .*SIGUSR1");
    let known = ["[drainit] ", "[ent] ", "[rtr] ", "[pol] ", "[pye] "];
    let is_known = |text: &str| known.iter().any(|prefix| text.starts_with(prefix));
    assert!(ended.record.lines.iter().all(|line| is_known(&line.text)), "{}", ended.record);
    let ready = "python-executor: ready";
    assert_lines_in_order(
        &ended,
        &[ready, "policy-engine: started", "policy-engine: ready", "router: started"],
    );
}

#[test]
fn a_gateway_without_registry_and_tcp_admin_drains_over_a_private_admin() {
    let Some(setup) = Setup::new() else { return };
    assert!(!BOOTSTRAP.contains("admin:"));
    // Leaves sockets, as an earlier run would. A stand-in can bind its socket only after drainit
    // has removed the old socket.
    for name in ["python-executor.sock", "policy-engine.sock"] {
        leave_socket(setup.sockets.join(name));
    }
    let options = [
        ENGINE,
        "--tmpfs=/app/python-executor",
        "--env=GATEWAY_CONTROLLER_HOST=ctl",
        "--env=ROUTER_XDS_PORT=28000",
        "--env=POLICY_ENGINE_XDS_PORT=28001",
        "--env=LOG_LEVEL=warning",
        "--env=ROUTER_CONCURRENCY=1",
        "--env=APIP_GW_ROUTER_RE2_MAX_PROGRAM_SIZE=500",
        "--env=PYTHON_EXECUTOR_SOCKET=/elsewhere",
    ];
    let gateway = setup.start(&options, &[]);
    let address = gateway.await_served();
    let variables = [
        ("GATEWAY_CONTROLLER_HOST", "ctl"),
        ("XDS_SERVER_HOST", "ctl"),
        ("XDS_SERVER_PORT", "28000"),
        ("LOG_LEVEL", "warning"),
        ("ROUTER_ADMIN_ENABLED", "false"), // the default
        ("PYTHON_EXECUTOR_SOCKET", "/var/run/api-platform/python-executor.sock"),
    ];
    assert_variables(&[gateway.engine(), gateway.router()], &variables);
    let router = gateway.router().command;
    let admin = "pipe: {path: /var/run/api-platform/router-admin.sock, mode: 384} # 0600";
    assert!(router.contains(&format!("error_level: 500 admin: address: {admin}")), "{router}");
    assert!(router.ends_with("--log-level warning --concurrency 1"), "{router}");
    let admin = gateway.sockets.join("router-admin.sock");
    assert_eq!(fs::symlink_metadata(&admin).unwrap().permissions().mode() & 0o777, 0o600);
    // Envoy has read the override.
    let (_, info) = get_unix(&admin, "/server_info").unwrap();
    assert!(info.contains(r#""xds": "ctl:28000""#), "{info}");
    assert!(gateway.ports().contains(&8080) && !gateway.ports().contains(&9901));
    assert!(!gateway.sockets.join("python-executor.sock").exists());

    gateway.container.signal("TERM");
    gateway.container.await_line(&said::draining("router"));
    for _ in 0..10 {
        assert_eq!(Client::new(address).get().0, HELLO);
    }
    assert_eq!(gateway.container.wait(), 0);
    assert_eq!(fs::read_dir(gateway.sockets.path()).unwrap().count(), 0);
    let ended = gateway.wait();
    ended.assert_line("python-executor: left out").assert_no_event("python-executor", "");
    ended.assert_line(said::NO_CONNECTION_LEFT).assert_no_line("warning: router");
    assert_eq!(given(&ended, "policy-engine"), ["-xds-server", "ctl:28001"]);
}

#[test]
fn other_arguments_are_refused_and_nothing_is_started() {
    for (args, says) in [
        (&["--workers=8"][..], "`--workers=8` is claimed by no process"),
        (&["--rtr.x", "1", "stray"], "`stray` is claimed by no process"),
        (&["--py.socket=/x"], "`--py.socket=/x` is refused"),
        (&["--py.listen", "/x"], "`--py.listen` is refused"),
    ] {
        let Some(finished) = once(args) else { return };
        // For wrong usage, drainit exits with 2, and the bash script with 1.
        assert_eq!(finished.code, 2, "{args:?}: {}", finished.output);
        assert!(finished.output.contains(says), "{}", finished.output);
        assert!(!finished.output.contains(": started"), "{}", finished.output);
    }
}

#[test]
fn a_socket_that_never_appears_stops_the_others_and_the_log_says_why() {
    let Some(setup) = Setup::new() else { return };
    let python =
        "--env=PYTHON_EXECUTOR_STEPS=await=/out/go unix=/var/run/api-platform/python-executor.sock";
    let gateway = setup.start(&["--env=POLICY_ENGINE_STEPS=sleep=60000", python], &[]);
    gateway.container.await_line("python-executor: started");
    let (code, said) = gateway.health(&[]);
    assert!(code == 1 && said.contains("not ready: python-executor"), "{code} {said}");
    assert_eq!(gateway.health(&["--live"]), (0, "ok".to_owned()));
    gateway.out.write("go", "");
    let ended = gateway.wait();
    ended.assert_code(1).assert_no_line("router: started");
    ended.assert_line("api-platform/policy-engine.sock: no such file or directory");
    let stops =
        ["policy-engine: not ready after 10", "stop policy-engine: ", "stop python-executor: "];
    assert_lines_in_order(&ended, &stops);
}

#[test]
fn the_debug_variant_has_a_debugger_no_python_and_sixty_seconds() {
    let Some(setup) = Setup::new() else { return };
    // The stand-in of dlv needs 10.5 s to start. The image without dlv allows only 10 s.
    let engine =
        "--env=POLICY_ENGINE_STEPS=sleep=10500 unix=/var/run/api-platform/policy-engine.sock";
    let options = [engine, ADMIN, SHORT_DRAIN];
    let gateway = setup.start_debug(&options, &["--pol.log-format", "text"]);
    gateway.await_served();
    let ended = gateway.stop("TERM");
    ended.assert_code(0).assert_no_line("python-executor").assert_no_event("python-executor", "");
    // dlv passes these arguments on to the Policy Engine.
    let xds = ["-xds-server", "gateway-controller:18001", "--log-format", "text"];
    assert_eq!(given(&ended, "policy-engine"), xds);
    ended.assert_line(r"policy-engine: ready after 1[0-9]");
    assert_lines_in_order(&ended, &["router: draining", "stop router: ", "stop policy-engine: "]);
}
