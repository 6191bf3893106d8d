//! Starts and observes a container of `examples/api-gateway`, and records its output and its end.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use testkit::docker::{Container, Process};
use testkit::event::{Event, LOG_VARIABLE};

use crate::support::docker_gateway::{GatewayImages, gateway_images};
use crate::support::record::{Line, Record};
use crate::support::*;

/// The options of every container. The image itself sets an unprivileged user.
const OPTIONS: [&str; 4] = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--publish=127.0.0.1::8080",
];

/// Makes the stand-in of the Policy Engine listen at its socket.
pub(super) const ENGINE: &str =
    "--env=POLICY_ENGINE_STEPS=unix=/var/run/api-platform/policy-engine.sock";
pub(super) const ADMIN: &str = "--env=ROUTER_ADMIN_ENABLED=true";

/// Parts of the command lines of the processes.
pub(super) const ROUTER: &str = "/usr/local/bin/envoy";
pub(super) const POLICY_ENGINE: &str = "/app/policy-engine -xds-server";
pub(super) const PYTHON_EXECUTOR: &str = "/app/python-executor/main.py";

/// The directories of a container that is to be started.
pub(super) struct Setup {
    pub(super) images: &'static GatewayImages,
    /// The directory that is mounted at `/out` in the container.
    pub(super) out: TempDir,
    /// The directory that is mounted at `/var/run/api-platform` in the container.
    pub(super) sockets: TempDir,
}

impl Setup {
    /// Returns `None` without Docker; the test is then skipped.
    pub(super) fn new() -> Option<Self> {
        let (images, out) = (gateway_images()?, TempDir::for_everybody());
        out.write("events", "");
        fs::set_permissions(out.path("events"), Permissions::from_mode(0o666)).unwrap();
        Some(Self { images, out, sockets: TempDir::for_everybody() })
    }

    pub(super) fn start(self, options: &[&str], args: &[&str]) -> Gateway {
        let image = &self.images.production;
        self.start_image(image, options, args)
    }

    pub(super) fn start_image(self, image: &str, options: &[&str], args: &[&str]) -> Gateway {
        let volumes = [
            format!("--volume={}:/out", self.out.root().display()),
            format!("--volume={}:/var/run/api-platform", self.sockets.root().display()),
            format!("--env={LOG_VARIABLE}=/out/events"),
            // Docker's health check would be one more process in the container.
            "--health-interval=1h".to_owned(),
        ];
        let volumes = volumes.each_ref().map(String::as_str);
        let container = Container::start(image, &[&OPTIONS, &volumes, options].concat(), args);
        Gateway { container, out: self.out, sockets: self.sockets }
    }
}

/// A running container.
pub(super) struct Gateway {
    pub(super) container: Container,
    pub(super) out: TempDir,
    pub(super) sockets: TempDir,
}

impl Gateway {
    /// Waits until all processes are ready, and the Router answers its clients.
    #[track_caller]
    pub(super) fn await_served(&self) -> SocketAddr {
        self.container.await_line(said::ALL_READY);
        let address = self.container.address(8080);
        let hello = (200, "hello from the gateway\n".to_owned());
        assert_eq!(get(address, "/").unwrap(), hello, "{}", self.container.logs());
        address
    }

    /// The process with this text in its command line.
    #[track_caller]
    pub(super) fn process(&self, part: &str) -> Process {
        let mut processes = self.container.processes().into_iter();
        let found = processes.find(|process| process.command.contains(part));
        found.unwrap_or_else(|| panic!("no {part} runs:\n{}", self.container.logs()))
    }

    /// Stops the container, and waits for the end.
    pub(super) fn stop(self) -> Ended {
        self.container.signal("TERM");
        self.wait()
    }

    /// Waits for the end.
    pub(super) fn wait(self) -> Ended {
        let code = self.container.wait();
        let (stdout, stderr) = self.container.output();
        let mut record = Record::default();
        for (stream, text) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            let line = |text: &str| Line { at: now(), stream, text: text.to_owned() };
            record.lines.extend(text.lines().map(line));
        }
        let events = fs::read_to_string(self.out.path("events")).unwrap();
        record.events.extend(events.lines().filter_map(Event::parse));
        Ended::of(code, record, self.out)
    }
}

/// Asserts that these variables have these values in each of the processes.
#[track_caller]
pub(super) fn assert_variables(processes: &[Process], variables: &[(&str, &str)]) {
    for process in processes {
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        for (name, value) in variables {
            let variable = format!("{name}={value}");
            let has_it = environment.split('\0').any(|found| found == variable);
            assert!(has_it, "no {variable} of {process:?}: {environment}");
        }
    }
}

/// The arguments of a stand-in, without its steps.
#[track_caller]
pub(super) fn given(ended: &Ended, name: &str) -> Vec<String> {
    let report = ended.report(&format!("{name}.json"));
    let args = report["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
    let is_first = |arg: &&str| arg.starts_with('-') || arg.starts_with("/app/");
    args.skip_while(|arg| !is_first(arg)).map(str::to_owned).collect()
}
