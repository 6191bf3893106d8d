//! Tests the unit of `examples/systemd` with a systemd that is PID 1 of a container.

use std::thread::sleep;

use testkit::docker::Container;

use super::{GREETING, PORT};
use crate::support::docker_images::systemd_image;
use crate::support::*;

#[test]
fn systemctl_stop_drains_the_gateway_and_a_wrong_config_is_not_restarted() {
    let Some(systemd) = boot() else { return };
    systemd.succeed(&["systemctl", "set-environment", "DRAINIT_CONFIG=/missing.yaml"]);
    let started = systemd.exec(&["systemctl", "start", "gateway"]);
    assert_ne!(started.code, 0, "{}", started.output);
    assert_eq!(ended(&systemd), "exit-code 78 0");
    systemd.succeed(&["systemctl", "unset-environment", "DRAINIT_CONFIG"]);
    let verified = systemd.exec(&["systemd-analyze", "verify", UNIT]);
    assert_eq!((verified.code, &*verified.output), (0, ""));
    systemd.succeed(&["systemctl", "set-environment", "ENVOY_DRAIN_SECONDS=6"]);
    systemd.succeed(&["systemctl", "start", "gateway"]);
    let address = systemd.address(PORT);
    assert_eq!(get(address, "/").unwrap(), (200, GREETING.to_owned()), "started, and not ready");
    systemd.succeed(&["systemctl", "reload", "gateway"]);

    let mut client = Client::new(address);
    client.get();
    thread::scope(|scope| {
        scope.spawn(|| systemd.succeed(&["systemctl", "stop", "gateway"]));
        while !client.get().1 {
            sleep(ms(20));
        }
        assert_eq!(get(address, "/").unwrap(), (200, GREETING.to_owned()), "nobody is served");
    });
    assert_eq!(ended(&systemd), "success 0 0");
    let journal = systemd.succeed(&["journalctl", "--unit=gateway", "--output=cat"]);
    for part in ["exit code 0: SIGTERM received", "drain envoy: ", "stop envoy: "] {
        assert!(journal.contains(part), "no {part:?} in the report:\n{journal}");
    }
}

const UNIT: &str = "/etc/systemd/system/gateway.service";

/// Starts systemd, and waits until it has booted. systemd makes cgroups below the cgroup of its
/// container.
fn boot() -> Option<Container> {
    let image = systemd_image()?;
    // With cgroups v1, systemd needs only its own hierarchy.
    let cgroups = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup"];
    let cgroups = cgroups.into_iter().find(|path| Path::new(path).exists()).unwrap();
    let systemd = Container::start(
        image,
        &[
            "--cap-add=SYS_ADMIN",
            "--security-opt=seccomp=unconfined",
            "--security-opt=apparmor=unconfined",
            "--cgroupns=host",
            &format!("--volume={cgroups}:{cgroups}:rw"),
            "--tmpfs=/run",
            "--tmpfs=/tmp",
            &format!("--publish=127.0.0.1::{PORT}"),
        ],
        &[],
    );
    // At first, systemctl cannot connect. The state `degraded` is fine: a container lacks parts of
    // a machine, such as a terminal.
    let began = Instant::now();
    loop {
        let state = systemd.exec(&["systemctl", "is-system-running", "--wait"]);
        if ["running", "degraded"].contains(&state.output.trim()) {
            return Some(systemd);
        }
        let runs = systemd.inspect("{{.State.Running}}") == "true" && began.elapsed() < 6 * LONG;
        assert!(runs, "systemd does not boot: {}\n{}", state.output, systemd.logs());
        sleep(ms(50));
    }
}

/// The end of the unit: its result, its exit code, and the number of its restarts.
fn ended(systemd: &Container) -> String {
    let properties = ["Result", "ExecMainStatus", "NRestarts"].map(|name| {
        let property = format!("--property={name}");
        systemd.succeed(&["systemctl", "show", "gateway", "--value", &property]).trim().to_owned()
    });
    properties.join(" ")
}
