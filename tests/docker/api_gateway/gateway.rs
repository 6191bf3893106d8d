//! Starts and observes a container of `examples/api-gateway`, and records its output and its end.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use testkit::docker::{Container, Finished, Process, run};
use testkit::event::{Event, LOG_VARIABLE, now};

use crate::support::docker_gateway::{GatewayImages, gateway_images};
use crate::support::http::get;
use crate::support::record::{Line, Record};
use crate::support::said;
use crate::support::temp_dir::TempDir;
use crate::support::{Ended, Stream, ms};

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

/// The directories of a container that is to be started.
pub(super) struct Setup {
    images: &'static GatewayImages,
    /// The directory that is mounted at `/out` in the container.
    pub(super) out: TempDir,
    /// The directory that is mounted at `/var/run/api-platform` in the container.
    pub(super) sockets: TempDir,
}

impl Setup {
    /// Returns `None` without Docker; the test is then skipped.
    pub(super) fn new() -> Option<Self> {
        let (images, out) = (gateway_images()?, TempDir::new());
        out.write("events", "");
        fs::set_permissions(out.join("events"), Permissions::from_mode(0o666)).unwrap();
        Some(Self { images, out, sockets: TempDir::new() })
    }

    pub(super) fn start(self, options: &[&str], args: &[&str]) -> Gateway {
        let image = &self.images.production;
        self.start_image(image, options, args)
    }

    pub(super) fn start_debug(self, options: &[&str], args: &[&str]) -> Gateway {
        let image = &self.images.debug;
        self.start_image(image, options, args)
    }

    fn start_image(self, image: &str, options: &[&str], args: &[&str]) -> Gateway {
        let volumes = [
            format!("--volume={}:/out", self.out.path().display()),
            format!("--volume={}:/var/run/api-platform", self.sockets.path().display()),
            format!("--env={LOG_VARIABLE}=/out/events"),
            // Docker's health check would be one more process in the container.
            "--health-interval=1h".to_owned(),
        ];
        let volumes = volumes.each_ref().map(String::as_str);
        let container = Container::start(image, &[&OPTIONS, &volumes, options].concat(), args);
        Gateway { container, out: self.out, sockets: self.sockets }
    }
}

/// Runs a container that ends by itself.
pub(super) fn once(args: &[&str]) -> Option<Finished> {
    let steps = "--env=POLICY_ENGINE_STEPS=exit=0"; // a started engine ends at once
    let options = [&OPTIONS[..3], &["--tmpfs=/var/run/api-platform:mode=1777", steps]].concat();
    Some(run(&gateway_images()?.production, &options, args))
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
        let served = (0..600).any(|_| {
            thread::sleep(ms(50));
            get(address, "/").is_ok_and(|answer| answer == hello)
        });
        assert!(served, "the Router does not answer:\n{}", self.container.logs());
        address
    }

    /// The process with this text in its command line.
    #[track_caller]
    pub(super) fn process(&self, part: &str) -> Process {
        let mut processes = self.container.processes().into_iter();
        let found = processes.find(|process| process.command.contains(part));
        found.unwrap_or_else(|| panic!("no {part} runs:\n{}", self.container.logs()))
    }

    pub(super) fn router(&self) -> Process {
        self.process("/usr/local/bin/envoy")
    }

    pub(super) fn engine(&self) -> Process {
        self.process("/app/policy-engine -xds-server")
    }

    pub(super) fn python(&self) -> Process {
        self.process("/app/python-executor/main.py")
    }

    /// The ports on which the container listens.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.router().listening().into_iter().map(|(_, port)| port).collect()
    }

    /// Runs `drainit health` in the container.
    pub(super) fn health(&self, args: &[&str]) -> (i32, String) {
        let patient = ["/usr/local/bin/drainit", "health", "--timeout", "20s"];
        let finished = self.container.exec(&[&patient, args].concat());
        (finished.code, finished.output.trim().to_owned())
    }

    /// Sends a signal, and waits for the end.
    pub(super) fn stop(self, signal: &str) -> Ended {
        self.container.signal(signal);
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
        let events = fs::read_to_string(self.out.join("events")).unwrap();
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

/// Asserts that drainit has written lines with these texts, in this order.
#[track_caller]
pub(super) fn assert_lines_in_order(ended: &Ended, texts: &[&str]) {
    let mut lines = ended.record.lines.iter().filter(|line| line.stream == Stream::Stderr);
    for text in texts {
        let found = lines.any(|line| line.text.contains(text));
        assert!(found, "no {text:?} at this place:\n{}", ended.record);
    }
}

/// Asserts that the Router, the Policy Engine and the Python Executor were stopped in this order.
#[track_caller]
pub(super) fn assert_stopped_in_order(ended: &Ended) {
    ended.assert_code(0).assert_stopped_in_order(&["policy-engine", "python-executor"]);
    let stops = [
        "router: draining",
        "router: drain over",
        "router: exited",
        "policy-engine: sending SIGTERM",
    ];
    assert_lines_in_order(ended, &stops);
}
