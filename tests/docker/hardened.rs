//! Tests a real gateway that has only the rights that it needs: an ordinary user, Docker's own
//! seccomp profile, no capabilities, no new privileges and a read-only root.

use std::thread::sleep;

use testkit::docker::Container;

use super::PORT;
use crate::support::*;

const OPTIONS: [&str; 8] = [
    "--user=10001:10001",
    "--read-only",
    "--cap-drop=ALL",
    // The processes make their sockets here.
    "--tmpfs=/run/gateway",
    "--security-opt=no-new-privileges",
    // Envoy's hot restart uses shared memory. This is the smallest possible size.
    "--shm-size=64k",
    "--env=DRAINIT_CONFIG=/etc/gateway/drainit.yaml",
    "--env=TERMINATION_GRACE_PERIOD_SECONDS=20",
];

fn envoy_config() -> String {
    include_str!("../fixtures/docker-envoy.yaml").replace(
        "socket_address: {address: 0.0.0.0, port_value: 9901}",
        "pipe: {path: /run/gateway/admin.sock, mode: 384}",
    )
}

fn config(epoch: &str) -> String {
    format!(
        "
shutdown: {{grace_period: '${{TERMINATION_GRACE_PERIOD_SECONDS}}'}}
control: {{socket: /run/gateway/drainit.sock}}
processes:
  router:
    command: [envoy, -c, /etc/gateway/envoy.yaml, --log-level, warning, --concurrency, '1',
      --base-id, '1', --drain-strategy, immediate, --parent-shutdown-time-s, '4']
    update: hot-restart
    environment: {{WANTED: '{epoch}'}}
    readiness: {{http: 'unix:/run/gateway/admin.sock:/ready', timeout: 30s}}
    drain: {{envoy: {{admin: 'unix:/run/gateway/admin.sock', time: 10s, min: 1s}}}}
"
    )
}

#[test]
fn a_gateway_without_rights_is_reloaded_and_drained() {
    let Some(images) = images() else { return };
    let dir = TempDir::for_everybody();
    dir.write("envoy.yaml", envoy_config());
    dir.write("drainit.yaml", config("1"));
    let volume = format!("--volume={}:/etc/gateway:ro", dir.root().display());
    let publish = format!("--publish=127.0.0.1::{PORT}");
    let options = [&OPTIONS[..], &[&volume, &publish]].concat();
    let container = Container::start(&images.gateway, &options, &[]);
    container.await_line(said::ALL_READY);
    let mut old = Client::new(container.address(PORT));
    old.get();

    dir.write("drainit.yaml", config("2"));
    thread::scope(|scope| {
        let reload = scope.spawn(|| container.succeed(&["/usr/local/bin/drainit", "reload"]));
        // The old epoch answers its client, and asks the client to close the connection.
        while !old.get().1 {
            assert!(!reload.is_finished(), "not replaced: {}", container.logs());
            sleep(ms(20));
        }
        reload.join().unwrap();
    });
    let processes = container.processes();
    let [_, envoy] = &processes[..] else { panic!("not drainit and Envoy: {processes:?}") };
    assert!(envoy.command.ends_with("--restart-epoch 1"), "{envoy:?}");
    assert!(!Client::new(container.address(PORT)).get().1, "{}", container.logs());
    container.stop(20);
    container.assert_ended(&["drain router (epoch 1): ", "stop router (epoch 1): "]);
}
