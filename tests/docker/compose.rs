//! `examples/compose`, run by a real Docker Compose: version 2 where it is installed, or else
//! version 1, which Debian has.

use std::thread::sleep;
use std::time::SystemTime;

use testkit::docker::{Container, LABEL};

use super::PORT;
use crate::support::*;

#[test]
fn compose_waits_for_health_and_stops_the_gateway_first() {
    let Some(images) = images() else { return };
    let Some(project) = Project::new(&images.gateway) else { return };
    project.compose(&["up", "--detach"]);
    let [app, gateway] = ["app", "gateway"].map(|service| project.container(service));
    assert_eq!(app.health(), "healthy");
    // The app is healthy only after its first health check, which comes after `interval`.
    let pause = started(&gateway).duration_since(started(&app)).unwrap();
    assert!(pause >= ms(1000), "the gateway was started {pause:?} after the app");
    gateway.await_line(&said::ready("envoy"));

    let began = Instant::now();
    thread::scope(|scope| {
        // The connection stays open, so that the drain has something to wait for.
        let mut client = Client::new(gateway.address(PORT));
        client.get();
        scope.spawn(|| project.compose(&["stop"]));
        gateway.await_line(&said::draining("envoy"));
        while !client.get().1 {
            sleep(ms(20));
        }
    });
    assert!(began.elapsed() < 2 * LONG, "a container had to be killed: {:?}", began.elapsed());
    for container in [&app, &gateway] {
        container.assert_ended(&["drain envoy: "]);
    }
    let (drained, asked) = (said(&gateway, "exit code 0: "), said(&app, "SIGTERM received"));
    assert!(
        drained <= asked,
        "the app got the signal at {asked}, and the gateway ended at {drained}"
    );
}

/// Returns the time at which a container was started.
fn started(container: &Container) -> SystemTime {
    humantime::parse_rfc3339(&container.inspect("{{.State.StartedAt}}")).unwrap()
}

/// The time, in UTC, of drainit's first line with this text.
#[track_caller]
fn said(container: &Container, text: &str) -> String {
    let logs = container.logs();
    let line = logs.lines().find(|line| line.starts_with("[drainit]") && line.contains(text));
    let line = line.unwrap_or_else(|| panic!("no {text:?}:\n{logs}"));
    line.split_whitespace().nth(1).unwrap().to_owned()
}

/// A project of Compose, which is taken down on drop.
struct Project {
    command: &'static [&'static str],
    name: String,
    image: String,
    /// The directory of an overlay with the labels and the shorter drain of the test.
    overlay: TempDir,
}

impl Project {
    /// Returns `None` without Compose. The test is then skipped, which is an error in CI.
    fn new(image: &str) -> Option<Self> {
        let commands = [&["docker", "compose"][..], &["docker-compose"]];
        let found = commands.into_iter().find(|command| {
            let mut version = Command::new(command[0]);
            version.args(&command[1..]).arg("version").stdin(Stdio::null());
            version.output().is_ok_and(|output| output.status.success())
        });
        let missing = "neither `docker compose` nor `docker-compose` is installed".to_owned();
        skip_unless(found.map(drop).ok_or(missing)).then(|| {
            let overlay = TempDir::for_everybody();
            let name = overlay.root().file_name().unwrap().to_str().unwrap().to_owned();
            let label = format!("labels: {{{LABEL}: '{}'}}", std::process::id());
            let both = format!("{{{label}, environment: {{ENVOY_DRAIN_SECONDS: '6'}}}}");
            overlay.write("test.yaml", format!("services: {{app: {both}, gateway: {both}}}\n"));
            Self { command: found.unwrap(), name, image: image.to_owned(), overlay }
        })
    }

    /// Runs `docker compose` to its end, and asserts that it succeeded.
    #[track_caller]
    fn compose(&self, args: &[&str]) -> String {
        let mut command = Command::new(self.command[0]);
        command.args(&self.command[1..]).args(["--project-name", &self.name]).arg("--file");
        command.arg(checkout().join("examples/compose/compose.yaml"));
        command.arg("--file").arg(self.overlay.path("test.yaml")).args(args);
        command.env("APP_IMAGE", &self.image).env("GATEWAY_IMAGE", &self.image);
        // The address without a port means any free port.
        command.env("GATEWAY_PORT", "127.0.0.1:").env("GRACE_SECONDS", "20");
        let output = command.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "compose {args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[track_caller]
    fn container(&self, service: &str) -> Container {
        Container::of(self.compose(&["ps", "--quiet", service]))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // The containers remove themselves at their end, so only the network is left. After a
        // failed test, the containers may still run.
        let network = format!("{}_default", self.name);
        let _ = Command::new("docker").args(["network", "rm", &network]).output();
    }
}
