//! Tests that each value of the example in the documentation is read as the documentation says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::keys::{
    Account, Address, DrainMethod, EnvoyDrain, LogFormat, LogMode, Probe, StartCondition,
};
use crate::load::testing::{load, variables};
use crate::types::{ProcessId, Signal};

const EXAMPLE: &str = r#"
env:                                    # defaults: used where the environment has none; exported to every process
  ROUTER_ADMIN_HOST: 127.0.0.1
  ROUTER_ADMIN_PORT: "9901"
  ROUTER_DRAIN_TIME_SECONDS: "15"

shutdown:
  grace_period: ${TERMINATION_GRACE_PERIOD_SECONDS:-30}   # the pod's; the whole shutdown is fitted into it
  reserve: 2s                           # kept free at its end
  readiness_delay: 0s                   # /readyz answers 503 this long before the drain begins
  signals: [TERM, INT, QUIT]            # these stop the container; a second one cuts waits short, a third kills

control:
  listen: 127.0.0.1:9902                # /livez /readyz /status /metrics, POST /drain; off unless set
  socket: /run/drainit.sock             # drainit's own CLI; off unless set

processes:
  python-executor:
    command: [python3, /app/python-executor/main.py, --listen, /var/run/gw/python-executor.sock]
    only_if: {path_exists: /app/python-executor/python_policy_registry.py}
    args: {prefix: "--py.", refuse: [socket, listen]}
    sockets: [/var/run/gw/python-executor.sock]      # removed before the start and after the end
    readiness: {unix: /var/run/gw/python-executor.sock, timeout: 15s}
    log: {prefix: pye}

  policy-engine:
    command: [/app/policy-engine, -xds-server, "${GATEWAY_CONTROLLER_HOST:-gateway-controller}:18001"]
    depends_on: [python-executor]
    args: {prefix: "--pol."}
    readiness: {unix: /var/run/gw/policy-engine.sock, timeout: 10s}
    stop_signal: TERM
    stop_grace_period: 10s              # then KILL; unset: up to 10 s of what the deadline leaves
    log: {prefix: pol}

  router:
    command: [envoy, -c, /etc/envoy/envoy.yaml]
    depends_on: {policy-engine: {condition: ready}}  # started | ready | completed
    args: {prefix: "--rtr."}
    environment: {GOMAXPROCS: "2"}
    working_dir: /
    user: "10001:10001"
    restart: "no"                       # no | on-failure | always, with restart_delay and restart_max
    on_exit: shutdown                   # shutdown | ignore: what its unasked end means for the container
    readiness: {http: "http://127.0.0.1:9901/ready", interval: 100ms, timeout: 30s}
    forward_signals: [USR1]             # Envoy reopens its logs
    drain:
      envoy:
        admin: http://${ROUTER_ADMIN_HOST}:${ROUTER_ADMIN_PORT}   # or unix:/run/envoy-admin.sock
        time: ${ROUTER_DRAIN_TIME_SECONDS}   # the longest wait; 0 turns draining off
        min: 5s                         # the shortest, while endpoint removal spreads; cut to time where that is shorter
        fail_healthcheck: true          # also POST /healthcheck/fail, so that every response closes
    log: {prefix: rtr}
"#;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// holds: S2, C81, C82, C85, C92, C602
#[test]
fn values_outside_of_processes_are_read() {
    let loaded = load(&[EXAMPLE], &[]).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.env.len(), 3);
    let shutdown = &config.shutdown;
    assert_eq!((shutdown.grace_period, shutdown.reserve), (seconds(30), seconds(2)));
    assert_eq!((shutdown.readiness_delay, shutdown.window()), (seconds(0), seconds(28)));
    let shorter = [("TERMINATION_GRACE_PERIOD_SECONDS", "10")];
    assert_eq!(load(&[EXAMPLE], &shorter).unwrap().config.shutdown.window(), seconds(8));
    assert_eq!(shutdown.signals, [Signal::TERM, Signal::INT, Signal::QUIT]);
    assert_eq!(config.control.listen, Some("127.0.0.1:9902".parse().unwrap()));
    assert_eq!(config.control.socket.path(), Some(Path::new("/run/drainit.sock")));
    assert_eq!(config.logging.format, LogFormat::Text);
    let names: Vec<_> = config.processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["python-executor", "policy-engine", "router"]);
    assert_eq!(loaded.graph.order, [ProcessId(0), ProcessId(1), ProcessId(2)]);
    assert_eq!(loaded.graph.dependents, [vec![ProcessId(1)], vec![ProcessId(2)], vec![]]);
}

// holds: C168, C380
#[test]
fn values_of_processes_are_read() {
    let config = load(&[EXAMPLE], &[]).unwrap().config;
    let [python, _, router] = &config.processes[..] else { panic!("{:?}", config.processes) };
    let socket = PathBuf::from("/var/run/gw/python-executor.sock");
    assert_eq!(python.command[3], "/var/run/gw/python-executor.sock");
    assert!(python.only_if.is_some() && python.args.is_some());
    assert_eq!(python.sockets, std::slice::from_ref(&socket));
    let readiness = python.readiness.as_ref().unwrap();
    assert!(matches!(&readiness.probe, Probe::Unix(path) if *path == socket));
    assert_eq!((readiness.interval, readiness.timeout), (Duration::from_millis(100), seconds(15)));
    assert_eq!(python.log.mode, LogMode::Prefix("pye".to_owned()));

    assert_eq!(router.depends_on[0].process, "policy-engine");
    assert_eq!(router.depends_on[0].condition, StartCondition::Ready);
    assert_eq!(variables(router), ["GOMAXPROCS=2"]);
    assert_eq!(router.user, Some(Account::Written("10001:10001".to_owned())));
    assert_eq!(router.forward_signals, [Signal::USR1]);
    let drain = router.drain.as_ref().unwrap();
    assert_eq!((drain.time, drain.min), (seconds(15), seconds(5)));
    let DrainMethod::Envoy(EnvoyDrain { admin, fail_healthcheck, .. }) = &drain.method else {
        panic!()
    };
    assert_eq!(*admin, Address::Tcp("127.0.0.1:9901".parse().unwrap()));
    assert!(fail_healthcheck);
}

// holds: C45, C79, C136, C470, C613
#[test]
fn the_environment_overrides_the_defaults() {
    let environment = [
        ("ROUTER_ADMIN_PORT", "9000"),
        ("ROUTER_DRAIN_TIME_SECONDS", "3"),
        ("ROUTER_ADMIN_HOST", ""),
        ("TERMINATION_GRACE_PERIOD_SECONDS", "60"),
        ("GATEWAY_CONTROLLER_HOST", "ctl"),
        ("DRAINIT_LOG_FORMAT", "json"),
    ];
    let config = load(&[EXAMPLE], &environment).unwrap().config;
    // The container's variable is set but empty. It counts as unset, so `env` gives the value.
    assert_eq!(config.env, [("ROUTER_ADMIN_HOST".to_owned(), "127.0.0.1".to_owned())]);
    assert_eq!(config.shutdown.grace_period, seconds(60));
    assert_eq!(config.processes[1].command[2], "ctl:18001");
    assert_eq!(config.logging.format, LogFormat::Json);
    let drain = config.processes[2].drain.as_ref().unwrap();
    assert_eq!((drain.time, drain.min), (seconds(3), seconds(3)));
    let DrainMethod::Envoy(EnvoyDrain { admin, .. }) = &drain.method else { panic!() };
    assert_eq!(*admin, Address::Tcp("127.0.0.1:9000".parse().unwrap()));
    // `DRAINIT_LOG_FORMAT` overrides the format in the config.
    let written = "logging: {format: text}\nprocesses: {a: {command: [a]}}";
    let config = load(&[written], &[("DRAINIT_LOG_FORMAT", "json")]).unwrap().config;
    assert_eq!(config.logging.format, LogFormat::Json);
}

#[test]
fn an_invalid_value_is_reported_with_the_source_of_the_variable() {
    let errors = load(&[EXAMPLE], &[("ROUTER_DRAIN_TIME_SECONDS", "abc")]).unwrap_err();
    let expected = "\
error: `time` is `${ROUTER_DRAIN_TIME_SECONDS}`: not a duration
  --> 0.yaml:49:15
   |
49 |         time: ${ROUTER_DRAIN_TIME_SECONDS}   # the longest wait; 0 turns draining off
   |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write a number of seconds, or a duration such as `500ms`, `15s` or `1m 30s`; ROUTER_DRAIN_TIME_SECONDS comes from the container's environment";
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}
