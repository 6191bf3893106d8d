//! The scenarios: the start of each container, and the steps until its end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::runs::Live;
use crate::docker::Client;
use crate::support::docker_gateway::BOOTSTRAP;
use crate::support::http::get;
use crate::support::temp_dir::TempDir;
use crate::support::{PATIENCE, ms};

pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The options of `docker run`; `OUT/` stands for the directory of `files`, and `EXAMPLES/` for
    /// that of the examples' programs.
    pub(super) options: &'static [&'static str],
    pub(super) args: &'static [&'static str],
    /// The files of `/out`.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Creates the directory of the sockets, if the test reads it.
    pub(super) prepare_sockets: Option<fn(&TempDir)>,
    /// Whether to use the debug image.
    pub(super) debug: bool,
    /// Does the steps of the scenario, which make the container end.
    pub(super) act: fn(&Live),
}

/// A container that gets TERM as soon as all processes are ready.
const PLAIN: Scenario = Scenario {
    name: "",
    options: &[],
    args: &[],
    files: &[],
    prepare_sockets: None,
    debug: false,
    act: |live| {
        live.await_ready();
        live.container.signal("TERM");
    },
};

const ENGINE: &str = "--env=POLICY_ENGINE_STEPS=unix=/var/run/api-platform/policy-engine.sock";
const PYTHON: &str = "--env=PYTHON_EXECUTOR_STEPS=unix=/var/run/api-platform/python-executor.sock";
const ADMIN: &str = "--env=ROUTER_ADMIN_ENABLED=true";
const SHORT_DRAIN: &str = "--env=ROUTER_DRAIN_TIME_SECONDS=2";
/// Longer than the calls of a drain are tried again, which is 2 s.
const REFUSED_DRAIN: &str = "--env=ROUTER_DRAIN_TIME_SECONDS=4";
const NO_DRAIN: &str = "--env=ROUTER_DRAIN_TIME_SECONDS=0";
/// The arguments with which drainit drains another process than Envoy.
const WITH_OVERLAY: &[&str] = &["-c", "/etc/drainit.yaml", "-c", "/out/overlay.yaml"];

/// Returns all scenarios, the longest first.
pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "no-python",
            options: &["--env=PYTHON_EXECUTOR_STEPS=sleep=60000"],
            act: |_| {},
            ..PLAIN
        },
        Scenario {
            name: "real-engine",
            options: &[
                "--volume=EXAMPLES/policy-engine:/app/policy-engine:ro",
                "--volume=OUT/envoy.yaml:/etc/envoy/envoy.yaml:ro",
                "--env=PYTHON_EXECUTOR_STEPS=allow=/var/run/api-platform/python-executor.sock",
                ADMIN,
            ],
            files: &[("envoy.yaml", EXT_PROC)],
            act: through_the_engine,
            ..PLAIN
        },
        Scenario {
            name: "debug",
            options: &[
                "--env=POLICY_ENGINE_STEPS=sleep=10500 unix=/var/run/api-platform/policy-engine.sock",
                ADMIN,
                SHORT_DRAIN,
            ],
            args: &["--pol.log-format", "text"],
            debug: true,
            ..PLAIN
        },
        Scenario {
            name: "never-ready",
            options: &[
                "--env=POLICY_ENGINE_STEPS=sleep=60000",
                "--env=PYTHON_EXECUTOR_STEPS=await=/out/go unix=/var/run/api-platform/python-executor.sock",
            ],
            act: |live| {
                live.container.await_line("python-executor: started");
                health(live, &[]);
                health(live, &["--live"]);
                live.out.write("go", "");
            },
            ..PLAIN
        },
        Scenario {
            name: "usual",
            options: &[
                "--env=POLICY_ENGINE_STEPS=print=engine-out eprint=engine-err unix=/var/run/api-platform/policy-engine.sock",
                "--env=PYTHON_EXECUTOR_STEPS=print=python-out on=TERM:say:bye unix=/var/run/api-platform/python-executor.sock",
                "--env=LOG_LEVEL=",
                "--env=PYTHON_EXECUTOR_LISTEN=/elsewhere",
                "--health-interval=1s",
                ADMIN,
            ],
            args: &[
                "--pol.log-format",
                "text",
                "--rtr.component-log-level",
                "admin:critical",
                "--py.workers=8",
            ],
            act: usual,
            ..PLAIN
        },
        Scenario {
            name: "envoy-dies",
            options: &[ENGINE, PYTHON, ADMIN],
            act: |live| {
                live.await_ready();
                live.container.signal("TERM");
                live.container.await_line("router: draining");
                signal(live, "/usr/local/bin/envoy", Signal::SIGKILL);
            },
            ..PLAIN
        },
        Scenario {
            name: "second-term",
            options: &[
                ENGINE,
                PYTHON,
                ADMIN,
                "--env=ROUTER_ADMIN_HOST=0.0.0.0",
                "--env=ROUTER_ADMIN_PORT=9905",
                "--publish=127.0.0.1::9905",
            ],
            act: |live| {
                live.await_ready();
                ask_admin(live);
                live.container.signal("TERM");
                live.container.await_line("router: draining");
                thread::sleep(PATIENCE);
                live.container.signal("TERM");
            },
            ..PLAIN
        },
        Scenario {
            name: "403",
            // The rest of the admin comes from --config-yaml.
            files: &[("envoy.yaml", FORBIDDEN)],
            options: &[
                ENGINE,
                PYTHON,
                ADMIN,
                REFUSED_DRAIN,
                "--volume=OUT/envoy.yaml:/etc/envoy/envoy.yaml:ro",
            ],
            act: |live| {
                live.await_ready();
                serving(live);
                live.container.signal("TERM");
            },
            ..PLAIN
        },
        Scenario {
            name: "500",
            options: &[
                "--env=POLICY_ENGINE_STEPS=http=127.0.0.1:9955,1000000,500 unix=/var/run/api-platform/policy-engine.sock",
                PYTHON,
                ADMIN,
                REFUSED_DRAIN,
            ],
            files: &[(
                "overlay.yaml",
                "processes: {router: {drain: {envoy: {admin: 'http://127.0.0.1:9955'}}}}",
            )],
            args: WITH_OVERLAY,
            ..PLAIN
        },
        Scenario {
            name: "hangs",
            options: &[ENGINE, PYTHON, ADMIN, REFUSED_DRAIN],
            act: |live| {
                live.await_ready();
                serving(live);
                signal(live, "/usr/local/bin/envoy", Signal::SIGSTOP);
                live.container.signal("TERM");
            },
            ..PLAIN
        },
        Scenario {
            name: "unreachable",
            options: &[ENGINE, PYTHON, ADMIN, REFUSED_DRAIN],
            files: &[(
                "overlay.yaml",
                "processes: {router: {drain: {envoy: {admin: 'http://127.0.0.1:1'}}}}",
            )],
            args: WITH_OVERLAY,
            ..PLAIN
        },
        Scenario {
            name: "ignores-term",
            options: &[
                "--env=POLICY_ENGINE_STEPS=on=TERM:ignore unix=/var/run/api-platform/policy-engine.sock",
                PYTHON,
                ADMIN,
                NO_DRAIN,
                "--env=TERMINATION_GRACE_PERIOD_SECONDS=7",
            ],
            ..PLAIN
        },
        Scenario {
            name: "crash",
            options: &[
                "--env=POLICY_ENGINE_STEPS=unix=/var/run/api-platform/policy-engine.sock await=/out/crash exit=7",
                PYTHON,
                ADMIN,
                SHORT_DRAIN,
            ],
            act: |live| {
                live.await_ready();
                serving(live);
                live.out.write("crash", "");
            },
            ..PLAIN
        },
        Scenario {
            name: "plain",
            options: &[
                ENGINE,
                "--tmpfs=/app/python-executor",
                "--env=GATEWAY_CONTROLLER_HOST=ctl",
                "--env=ROUTER_XDS_PORT=28000",
                "--env=POLICY_ENGINE_XDS_PORT=28001",
                "--env=LOG_LEVEL=warning",
                "--env=ROUTER_CONCURRENCY=1",
                "--env=APIP_GW_ROUTER_RE2_MAX_PROGRAM_SIZE=500",
                "--env=PYTHON_EXECUTOR_SOCKET=/elsewhere",
            ],
            prepare_sockets: Some(|dir| {
                for name in ["python-executor.sock", "policy-engine.sock"] {
                    drop(UnixListener::bind(dir.join(name)).unwrap());
                }
            }),
            act: plain,
            ..PLAIN
        },
        Scenario {
            name: "int",
            options: &[ENGINE, PYTHON, "--volume=OUT/envoy.yaml:/etc/envoy/envoy.yaml:ro"],
            files: &[("envoy.yaml", OWN_ADMIN)],
            act: |live| {
                live.await_ready();
                serving(live);
                listening(live, 9907);
                live.container.signal("INT");
            },
            ..PLAIN
        },
        Scenario {
            name: "quit",
            options: &[ENGINE, PYTHON],
            act: |live| {
                live.await_ready();
                live.container.signal("QUIT");
            },
            ..PLAIN
        },
        Scenario {
            name: "lines",
            options: &[
                "--env=POLICY_ENGINE_STEPS=daemon=grandchild unix=/var/run/api-platform/policy-engine.sock lines=27000,x print=written",
                PYTHON,
            ],
            act: lines,
            ..PLAIN
        },
    ]
}

const FORBIDDEN: &str = concat!(
    include_str!("../../fixtures/api-gateway/envoy.yaml"),
    "admin: {allow_paths: [{exact: /ready}, {exact: /server_info}, {prefix: /stats}]}\n"
);

const OWN_ADMIN: &str = concat!(
    include_str!("../../fixtures/api-gateway/envoy.yaml"),
    "admin: {address: {socket_address: {address: 0.0.0.0, port_value: 9907}}}\n"
);

const EXT_PROC: &str = include_str!("../../fixtures/api-gateway/envoy-ext-proc.yaml");

/// Waits until the Router answers its clients.
fn serving(live: &Live) {
    let address = live.router();
    let served = (0..600).any(|_| {
        thread::sleep(ms(50));
        get(address, "/").is_ok_and(|answer| answer == (200, "hello from the gateway\n".to_owned()))
    });
    assert!(served, "the Router does not answer:\n{}", live.container.logs());
}

/// Records whether a process listens on a TCP port of the container.
fn listening(live: &Live, port: u16) {
    let open = live.process("/usr/local/bin/envoy").listening();
    live.note(format!("port {port} is open: {}", open.iter().any(|(_, other)| *other == port)));
}

/// Checks the default environment, in which there is a drain but no admin over TCP.
fn plain(live: &Live) {
    live.await_ready();
    let sockets = live.sockets.as_ref().unwrap();
    if !sockets.join("python-executor.sock").exists() {
        live.note("no python-executor.sock while it runs");
    }
    serving(live);
    let mode =
        fs::symlink_metadata(sockets.join("router-admin.sock")).unwrap().permissions().mode();
    live.note(format!("the mode of router-admin.sock: {:o}", mode & 0o777));
    for port in [8080, 9901] {
        listening(live, port);
    }
    live.container.signal("TERM");
    live.container.await_line("router: draining");
    let served = (0..10).map(|_| Client::connect(live.router()).get());
    let served = served.filter(|answer| answer.body == "hello from the gateway\n").count();
    live.note(format!("served while it drains: {served}"));
}

/// Sends requests, some of them during the drain. The Router asks the Policy Engine about each,
/// which asks the Python Executor.
fn through_the_engine(live: &Live) {
    live.await_ready();
    serving(live);
    let address = live.router();
    let (status, body) = get(address, "/refused").unwrap();
    live.note(format!("/refused: {status} {}", body.trim()));
    thread::scope(|scope| {
        // The drain lasts as long as this request is in flight, which gives the other requests
        // their time. A draining Envoy waits 6 s for a client that does not close when it is asked
        // to: 5 s of `drain_timeout` and 1 s of its delayed close.
        let slow = scope.spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).unwrap();
            answer.trim().to_owned()
        });
        live.container.signal("TERM");
        live.container.await_line("router: draining");
        let served = (0..10).map(|_| Client::connect(address).get());
        let served = served.filter(|answer| answer.body == "hello from the gateway\n").count();
        live.note(format!("served while it drains: {served}"));
        live.note(format!("what takes eight seconds: {}", slow.join().unwrap()));
    });
}

/// Records Envoy's view of the variables in the override and of the admin block after it.
fn ask_admin(live: &Live) {
    serving(live);
    let (_, info) = get(live.container.address(9905), "/server_info").unwrap();
    let xds = info.lines().find(|line| line.trim().starts_with("\"xds\"")).unwrap_or(&info);
    live.note(format!("the admin on port 9905 says {}", xds.trim()));
}

fn signal(live: &Live, process: &str, signal: Signal) {
    let pid = live.process(process).pid;
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

fn health(live: &Live, args: &[&str]) {
    let patient = ["/usr/local/bin/drainit", "health", "--timeout", "20s"];
    let finished = live.container.exec(&[&patient[..], args].concat());
    let args: String = args.iter().map(|arg| format!(" {arg}")).collect();
    live.note(format!("drainit health{args}: {} {}", finished.code, finished.output.trim()));
}

/// Checks everything of a healthy container.
fn usual(live: &Live) {
    live.await_ready();
    serving(live);
    let before = live.container.processes();
    for name in ["HUP", "USR2", "USR1"] {
        live.container.signal(name);
    }
    live.container.await_line("SIGUSR1");
    health(live, &[]);
    let healthy = (0..600).any(|_| {
        thread::sleep(ms(50));
        live.container.health() == "healthy"
    });
    assert!(healthy, "Docker says that it is {}", live.container.health());
    live.note("HEALTHCHECK says healthy");
    let after: Vec<u32> = live.container.processes().iter().map(|process| process.pid).collect();
    let same = before.iter().all(|process| after.contains(&process.pid));
    live.note(format!("after HUP, USR1 and USR2 all processes are the same: {same}"));
    live.container.signal("TERM");
}

/// Waits for 27,000 lines in two pieces each, and records the CPU time that drainit has used.
fn lines(live: &Live) {
    live.await_ready();
    live.container.await_line("[pol] written");
    let init = live.container.processes()[0].pid;
    let stat = fs::read_to_string(format!("/proc/{init}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // The fields are utime and stime, in hundredths of a second (proc_pid_stat(5)); the first field
    // here is the third one there.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    live.note(format!("drainit used {}ms", ticks * 10));
    live.container.signal("TERM");
}

#[test]
fn the_bootstrap_of_the_tests_has_no_admin_of_its_own() {
    assert!(!BOOTSTRAP.contains("admin:"));
}
