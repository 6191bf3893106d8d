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

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use testkit::docker::{Container, files, mount, run};
use testkit::envoy::checkout;

use crate::support::docker_gateway::gateway_images;
use crate::support::docker_images::images;
use crate::support::http::get;
use crate::support::said;
use crate::support::temp_dir::TempDir;
use crate::support::{Duration, LONG, ms};

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
    // Envoy's stock config opens the admin to the network. This config must not.
    let mut admin = envoy.listening();
    admin.retain(|(_, port)| *port == 9901);
    assert_eq!(admin, [(Ipv4Addr::LOCALHOST, 9901)]);

    let address = container.address(PORT);
    let mut client = Client::connect(address);
    assert_eq!(client.get(), Answer { body: GREETING.to_owned(), closes: false });
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| container.stop(12));
        container.await_line(&said::draining("envoy"));
        // During the drain, Envoy resets no connection, but asks each client in an answer to close
        // it, and still serves new clients. Here every answer asks for that; in a gradual drain,
        // which is Envoy's default, it would be one answer in a thousand.
        let asks_to_close = (0..50).any(|_| {
            thread::sleep(ms(20));
            client.get().closes
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
fn the_container_ends_with_the_code_of_a_crashed_process() {
    let Some(images) = images() else { return };
    let dir = TempDir::new();
    // Any program that fails will do. This one is drainit's own `check`.
    dir.write(
        "crash.yaml",
        "processes: {worker: {command: [drainit, check, -c, /missing.yaml], depends_on: [envoy]}}\n",
    );
    let overlay = mount(&dir.join("crash.yaml"), "/etc/crash.yaml");
    let options = [&overlay, "--env=ENVOY_DRAIN_SECONDS=1", "--entrypoint=/usr/local/bin/drainit"];
    let args = ["run", "-c", "/etc/drainit.yaml", "-c", "/etc/crash.yaml", "--"];
    let finished = run(&images.gateway, &options, &args);
    assert_eq!(finished.code, 78, "{}", finished.output);
    assert!(finished.output.contains("worker: exited with code 78"), "{}", finished.output);
    assert!(finished.output.contains("drain envoy: "), "not drained:\n{}", finished.output);
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

/// A client that keeps its connection.
struct Client(BufReader<TcpStream>);

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    body: String,
    /// Whether the answer has `connection: close`.
    closes: bool,
}

impl Client {
    #[track_caller]
    fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends one request, and asserts that it gets a whole answer with 200.
    #[track_caller]
    fn get(&mut self) -> Answer {
        self.0.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let head: Vec<String> = self
            .0
            .by_ref()
            .lines()
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty())
            .collect();
        assert_eq!(head.first().map(String::as_str), Some("HTTP/1.1 200 OK"), "{head:?}");
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        Answer {
            body: String::from_utf8(body).unwrap(),
            closes: head.iter().any(|line| line == "connection: close"),
        }
    }
}
