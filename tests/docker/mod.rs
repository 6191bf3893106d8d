//! Builds `Dockerfile.example` and runs its images with `docker run` and `docker stop` and a real
//! Envoy.

mod api_gateway;
mod compose;
mod hardened;
mod matrix;
mod no_build;
mod podman;
mod postgresql;
mod rehearse;
mod static_signals;
mod systemd;
mod throttled;

use std::net::Ipv4Addr;

use testkit::docker::{Container, files, mount, run};

use crate::support::docker_gateway::gateway_images;
use crate::support::*;

/// The port of tests/fixtures/docker-envoy.yaml.
const PORT: u16 = 10000;
const GREETING: &str = "hello from the container\n";

#[test]
fn the_image_runs_envoy_as_an_ordinary_user_with_a_private_admin() {
    let Some(images) = images() else { return };
    let container = Container::start(&images.gateway, &[], &["--envoy.concurrency", "2"]);
    container.await_line(&said::ready("envoy"));
    let processes = container.processes();
    let [init, envoy] = &processes[..] else { panic!("not drainit and Envoy: {processes:?}") };
    assert!(init.command.starts_with("/usr/local/bin/drainit run"), "PID 1 is {init:?}");
    assert!(envoy.command.ends_with("--concurrency 2"), "{envoy:?}");
    assert_eq!((envoy.parent, envoy.user, init.user), (init.pid, 101, 101));
    // Envoy's stock config opens the admin to the network. The config of the image must not.
    let mut admin = envoy.listening();
    admin.retain(|(_, port)| *port == 9901);
    assert_eq!(admin, [(Ipv4Addr::LOCALHOST, 9901)]);
}

// holds: C49
#[test]
fn the_image_has_no_shell() {
    let Some(images) = images() else { return };
    let shells = ["sh", "bash", "dash", "ash", "busybox", "toybox"];
    let gateway =
        gateway_images().map(|images| [images.production.as_str(), images.debug.as_str()]);
    for image in [images.drainit.as_str(), &images.gateway].into_iter().chain(gateway.unwrap()) {
        let files = files(image);
        assert!(files.iter().any(|file| file.ends_with("drainit")), "{files:?}");
        let is_shell = |file: &&String| shells.contains(&file.rsplit('/').next().unwrap());
        assert_eq!(files.iter().find(is_shell), None, "in {image}");
    }
}

// holds: C30, C31
#[test]
fn check_skips_an_image_that_has_only_drainit() {
    let Some(images) = images() else { return };
    let dir = TempDir::for_everybody();
    let config = dir.write("drainit.yaml", "processes: {a: {command: [no-such-program]}}");
    let config = mount(&config, "/drainit.yaml");
    let check = |image: &str, program: &str| {
        let options = [&config, "--entrypoint", program];
        run(image, &options, &["check", "-c", "/drainit.yaml"])
    };
    let empty = check(&images.drainit, "/drainit");
    assert!(empty.output.contains("files of the image were not checked"), "{empty:?}");
    let gateway = check(&images.gateway, "/usr/local/bin/drainit");
    assert!(gateway.output.contains("`no-such-program` is in none of the dir"), "{gateway:?}");
    assert_eq!([empty.code, gateway.code], [0, 78]);
}
