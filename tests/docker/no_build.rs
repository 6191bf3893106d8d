//! Runs the untouched image of an Envoy under a drainit that comes from a volume. The image has
//! neither a shell nor drainit, and drainit has no config.

use testkit::docker::{Container, docker, run};

use crate::docker::PORT;
use crate::support::*;

/// A volume that is removed at the end.
struct Volume(String);

impl Drop for Volume {
    fn drop(&mut self) {
        docker(&["volume", "rm", "--force", &self.0]);
    }
}

// holds: C885
#[test]
fn drainit_from_a_volume_drains_the_envoy_of_an_untouched_image() {
    let Some(images) = images() else { return };
    let volume = Volume(docker(&["volume", "create"]));
    let mounted = format!("--volume={}:/opt/drainit", volume.0);
    // An init container installs drainit. If the pod starts again, the volume already has this
    // drainit.
    for says in ["is installed as /opt/drainit/drainit", "is this drainit already"] {
        let installed =
            run(&images.drainit, &[&mounted, "--read-only"], &["install", "/opt/drainit/"]);
        assert_eq!(installed.code, 0, "{}", installed.output);
        assert!(installed.output.contains(says), "{}", installed.output);
    }
    let publish = format!("--publish=127.0.0.1::{PORT}");
    let options = [
        &format!("{mounted}:ro"),
        &publish,
        "--entrypoint=/opt/drainit/drainit",
        "--user=65532:65532",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--env=DRAINIT_DRAIN_ENVOY=http://127.0.0.1:9901",
        "--env=DRAINIT_DRAIN_TIME=8",
        "--env=DRAINIT_READINESS=30",
        "--env=DRAINIT_GRACE_PERIOD=20",
    ];
    let envoy = ["exec", "--", "envoy", "-c", "/etc/envoy/envoy.yaml", "--disable-hot-restart"];
    let container = Container::start(&envoy_image(), &options, &envoy);
    container.await_line(&said::ready("envoy"));
    assert_eq!(container.succeed(&["/opt/drainit/drainit", "health"]).trim(), "ready");
    let mut client = Client::new(container.address(PORT));
    assert!(!client.get().1);
    container.stop(20);
    let report = ["exit code 0: SIGTERM received", "drain envoy: ", "connections 1 at the start"];
    container.assert_ended(&report);
}
