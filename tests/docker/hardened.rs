//! A real gateway with no rights that it does not need: an ordinary user, Docker's own seccomp
//! profile, no capabilities, no new privileges, a read-only root.

use std::fs;
use std::thread::{self, sleep};
use std::time::Instant;

use testkit::docker::{Container, Process};

use super::{Client, GREETING, PORT};
use crate::support::docker_images::images;
use crate::support::temp_dir::TempDir;
use crate::support::{LONG, in_parallel, ms};

const OPTIONS: [&str; 7] = [
    "--user=10001:10001",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    // For Envoy's hot restart; the least that there can be.
    "--shm-size=64k",
    "--env=DRAINIT_CONFIG=/etc/gateway/drainit.yaml",
    "--env=TERMINATION_GRACE_PERIOD_SECONDS=20",
];

/// Where Envoy's admin is: nothing is writable, or one directory for the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admin {
    Tcp,
    Unix,
}

impl Admin {
    fn url(self) -> &'static str {
        match self {
            Self::Tcp => "http://127.0.0.1:9901",
            Self::Unix => "unix:/run/gateway/admin.sock",
        }
    }

    fn envoy_config(self) -> String {
        let config = include_str!("../fixtures/docker-envoy.yaml");
        match self {
            Self::Tcp => config.replace("0.0.0.0, port_value: 9901", "127.0.0.1, port_value: 9901"),
            Self::Unix => config.replace(
                "socket_address: {address: 0.0.0.0, port_value: 9901}",
                "pipe: {path: /run/gateway/admin.sock, mode: 384}",
            ),
        }
    }

    fn config(self, epoch: &str) -> String {
        let ready = match self {
            Self::Tcp => "http://127.0.0.1:9901/ready",
            Self::Unix => "unix:/run/gateway/admin.sock:/ready",
        };
        let control = match self {
            Self::Tcp => "",
            Self::Unix => "control: {socket: /run/gateway/drainit.sock}",
        };
        format!(
            "
shutdown: {{grace_period: '${{TERMINATION_GRACE_PERIOD_SECONDS}}'}}
{control}
processes:
  router:
    command: [envoy, -c, /etc/gateway/envoy.yaml, --log-level, warning, --concurrency, '1',
      --base-id, '1', --drain-strategy, immediate, --parent-shutdown-time-s, '4']
    update: hot-restart
    environment: {{WANTED: '{epoch}'}}
    readiness: {{http: '{ready}', timeout: 30s}}
    drain: {{envoy: {{admin: '{}', time: 10s, min: 1s}}}}
",
            self.url()
        )
    }
}

#[test]
fn a_gateway_without_rights_is_reloaded_and_drained() {
    let Some(images) = images() else { return };
    in_parallel([Admin::Tcp, Admin::Unix], |admin| {
        let dir = TempDir::new();
        dir.write("envoy.yaml", admin.envoy_config());
        dir.write("drainit.yaml", admin.config("1"));
        let config = format!("--volume={}:/etc/gateway:ro", dir.path().display());
        let publish = format!("--publish=127.0.0.1::{PORT}");
        let sockets: &[&str] = match admin {
            Admin::Tcp => &[],
            Admin::Unix => &["--tmpfs=/run/gateway"],
        };
        let options = [&OPTIONS, sockets, &[&config, &publish]].concat();
        let container = Container::start(&images.gateway, &options, &[]);
        container.await_line("everything is ready");
        let address = container.address(PORT);
        let mut old = Client::connect(address);
        old.get();

        dir.write("drainit.yaml", admin.config("2"));
        thread::scope(|scope| {
            let reload = scope.spawn(|| container.exec(&["/usr/local/bin/drainit", "reload"]));
            // A connection of the old epoch is answered, and asked to close.
            while !old.get().closes {
                assert!(!reload.is_finished(), "not replaced: {}", container.logs());
                sleep(ms(20));
            }
            let reload = reload.join().unwrap();
            assert_eq!(reload.code, 0, "{admin:?}: {}{}", reload.output, container.logs());
        });
        let processes = container.processes();
        let [_, envoy] = &processes[..] else { panic!("not drainit and Envoy: {processes:?}") };
        assert!(envoy.command.ends_with("--restart-epoch 1"), "{envoy:?}");
        processes.iter().for_each(assert_has_no_rights);
        let mut client = Client::connect(address);
        assert!(!client.get().closes, "{admin:?}: {}", container.logs());

        let began = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| container.stop(20));
            container.await_line("router: draining");
            // The connection of the first client holds the drain.
            let other = Client::connect(address).get();
            assert_eq!(other.body, GREETING, "{admin:?}: {}", container.logs());
            while !client.get().closes {
                sleep(ms(20));
            }
            drop(client);
        });
        let logs = container.logs();
        assert_eq!(container.exit_code(), 0, "{admin:?}: {logs}");
        assert!(began.elapsed() < LONG * 2, "{admin:?}: {logs}");
        for part in ["drain router (epoch 1): ", " completed, 0 cut", "stop router (epoch 1): "] {
            assert!(logs.contains(part), "{admin:?}: no {part:?} in the report:\n{logs}");
        }
    });
}

/// By the kernel: a user, no capability of any kind, no new privileges, and a seccomp filter.
#[track_caller]
fn assert_has_no_rights(process: &Process) {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    for line in [
        "Uid:\t10001\t10001\t10001\t10001",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.lines().any(|found| found == line), "no {line:?} of {process:?}:\n{status}");
    }
}
