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
use std::thread;
use std::time::Instant;

use testkit::docker::{Container, files, mount, run};
use testkit::envoy::checkout;

use crate::support::client::Client;
use crate::support::docker_gateway::gateway_images;
use crate::support::docker_images::images;
use crate::support::http::get;
use crate::support::said;
use crate::support::{Duration, ms};

/// The port of tests/fixtures/docker-envoy.yaml.
const PORT: u16 = 10000;
const GREETING: &str = "hello from the container\n";

#[test]
fn docker_stop_drains_envoy_and_ends_with_0() {
    let Some(images) = images() else { return };
    let publish = format!("--publish=127.0.0.1::{PORT}");
    let env = ["--env=ENVOY_DRAIN_SECONDS=6", "--env=TERMINATION_GRACE_PERIOD_SECONDS=12"];
    let options = [&env[..], &[&publish]].concat();
    let container = Container::start(&images.gateway, &options, &["--envoy.concurrency", "2"]);
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

    let address = container.address(PORT);
    let mut client = Client::new(address);
    assert_eq!(client.get(), (GREETING.to_owned(), false));
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| container.stop(12));
        container.await_line(&said::draining("envoy"));
        // During the drain, Envoy resets no connection, and still serves new clients. Here every
        // answer asks the client to close its connection. In a gradual drain, which is Envoy's
        // default, only one answer in a thousand does this.
        let asks_to_close = (0..50).any(|_| {
            thread::sleep(ms(20));
            client.get().1
        });
        assert!(asks_to_close, "no answer asked the client to close its connection");
        assert_eq!(get(address, "/").unwrap(), (200, GREETING.to_owned()));
    });
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(5), "the stop did not wait for the drain: {took:?}");
    let logs = container.logs();
    assert_eq!(
        container.exit_code(),
        0,
        "Docker had to kill the container after {took:?}:\n{logs}"
    );
    for part in ["exit code 0: SIGTERM received", "drain envoy: ", "stop envoy: "] {
        assert!(logs.contains(part), "no {part:?} in the report:\n{logs}");
    }
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

#[test]
fn an_empty_image_is_enough() {
    let Some(images) = images() else { return };
    let version = run(&images.drainit, &["--read-only"], &["--version"]);
    assert_eq!(version.code, 0, "{}", version.output);
    assert_eq!(version.output.trim(), concat!("drainit ", env!("CARGO_PKG_VERSION")));
    let config = mount(&checkout().join("examples/stock-envoy.yaml"), "/drainit.yaml");
    let check = run(&images.drainit, &["--read-only", &config], &["check", "-c", "/drainit.yaml"]);
    assert_eq!(check.code, 0, "{}", check.output);
    let missing = run(&images.drainit, &["--read-only"], &["check", "-c", "/drainit.yaml"]);
    assert_eq!(missing.code, 78, "{}", missing.output);
}
