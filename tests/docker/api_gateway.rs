//! Tests that `examples/api-gateway` keeps, line by line, the contract of the bash entrypoint that
//! it replaces. The containers have an unprivileged user, a read-only root, a real Envoy as the
//! Router, and stand-ins for the Policy Engine and the Python Executor at their real paths.

mod gateway;

use std::os::unix::fs::PermissionsExt;

use gateway::{
    ADMIN, ENGINE, POLICY_ENGINE, PYTHON_EXECUTOR, ROUTER, Setup, assert_variables, given,
};

use crate::support::docker_gateway::BOOTSTRAP;
use crate::support::*;

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

    let processes = [PYTHON_EXECUTOR, POLICY_ENGINE, ROUTER].map(|part| gateway.process(part));
    let variables = [
        ("XDS_SERVER_HOST", "gateway-controller"),
        ("XDS_SERVER_PORT", "18000"),
        ("LOG_LEVEL", "info"), // set, but empty
        ("ROUTER_ADMIN_ENABLED", "true"),
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
    let health = ["/usr/local/bin/drainit", "health", "--timeout", "20s"];
    assert_eq!(gateway.container.succeed(&health).trim(), "ready");
    let until = std::time::Instant::now() + LONG * 2;
    while gateway.container.health() != "healthy" {
        assert!(std::time::Instant::now() < until, "{}", gateway.container.health());
        thread::sleep(ms(50));
    }
    let after: Vec<_> = gateway.container.processes().iter().map(|process| process.pid).collect();
    assert!(processes.iter().all(|process| after.contains(&process.pid)), "a process has ended");

    let ended = gateway.stop();
    ended.assert_code(0).assert_stopped_in_order(&["policy-engine", "python-executor"]);
    ended.assert_lines_in_order(&[
        "router: draining",
        "router: drain over",
        "router: exited",
        "policy-engine: sending SIGTERM",
    ]);
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
    let starts = [
        "python-executor: ready",
        "policy-engine: started",
        "policy-engine: ready",
        "router: started",
    ];
    ended.assert_lines_in_order(&starts);
}

#[test]
fn a_gateway_without_registry_and_tcp_admin_drains_over_a_private_admin() {
    let Some(setup) = Setup::new() else { return };
    assert!(!BOOTSTRAP.contains("admin:"));
    // Leaves sockets, as an earlier run would. A stand-in can bind its socket only after drainit
    // has removed the old socket.
    for name in ["python-executor.sock", "policy-engine.sock"] {
        leave_socket(setup.sockets.path(name));
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
    let processes = [POLICY_ENGINE, ROUTER].map(|part| gateway.process(part));
    assert_variables(&processes, &variables);
    let ports: Vec<_> = processes[1].listening().into_iter().map(|(_, port)| port).collect();
    let router = &processes[1].command;
    let admin = "pipe: {path: /var/run/api-platform/router-admin.sock, mode: 384} # 0600";
    assert!(router.contains(&format!("error_level: 500 admin: address: {admin}")), "{router}");
    assert!(router.ends_with("--log-level warning --concurrency 1"), "{router}");
    let admin = gateway.sockets.path("router-admin.sock");
    assert_eq!(fs::symlink_metadata(&admin).unwrap().permissions().mode() & 0o777, 0o600);
    // Envoy has read the override.
    let (_, info) = get_unix(&admin, "/server_info").unwrap();
    assert!(info.contains(r#""xds": "ctl:28000""#), "{info}");
    assert!(ports.contains(&8080) && !ports.contains(&9901), "{ports:?}");
    assert!(!gateway.sockets.path("python-executor.sock").exists());

    gateway.container.signal("TERM");
    gateway.container.await_line(&said::draining("router"));
    for _ in 0..10 {
        assert_eq!(Client::new(address).get().0, HELLO);
    }
    assert_eq!(gateway.container.wait(), 0);
    assert_eq!(fs::read_dir(gateway.sockets.root()).unwrap().count(), 0);
    let ended = gateway.wait();
    ended.assert_line("python-executor: left out").assert_no_event("python-executor", "");
    ended.assert_line(said::NO_CONNECTION_LEFT).assert_no_line("warning: router");
    assert_eq!(given(&ended, "policy-engine"), ["-xds-server", "ctl:28001"]);
}

#[test]
fn the_debug_variant_has_a_debugger_no_python_and_sixty_seconds() {
    let Some(setup) = Setup::new() else { return };
    // The stand-in of dlv needs 10.5 s to start. The image without dlv allows only 10 s.
    let engine =
        "--env=POLICY_ENGINE_STEPS=sleep=10500 unix=/var/run/api-platform/policy-engine.sock";
    let options = [engine, ADMIN, SHORT_DRAIN];
    let image = &setup.images.debug;
    let gateway = setup.start_image(image, &options, &["--pol.log-format", "text"]);
    gateway.await_served();
    let ended = gateway.stop();
    ended.assert_code(0).assert_no_line("python-executor").assert_no_event("python-executor", "");
    // dlv passes these arguments on to the Policy Engine.
    let xds = ["-xds-server", "gateway-controller:18001", "--log-format", "text"];
    assert_eq!(given(&ended, "policy-engine"), xds);
    ended.assert_line(r"policy-engine: ready after 1[0-9]");
    ended.assert_lines_in_order(&["router: draining", "stop router: ", "stop policy-engine: "]);
}
