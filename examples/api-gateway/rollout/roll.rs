//! Runs one rollout.

use std::net::IpAddr;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use testkit::docker::{Container, LABEL, docker, mount};
use testkit::envoy::checkout;
use testkit::load::{IdleClose, Load, Plan, Report, Service};

use super::balancer::{Balancer, ip, wait};
use super::{GRACE, Mode};

/// The time from the stop signal until the load balancer knows of the stop; about 1 s in a cluster.
const LEARN: Duration = Duration::from_secs(1);
/// How long the clients send requests before the first stop, and after each stop.
const PAUSE: Duration = Duration::from_secs(3);

/// 100 keep-alive clients, 1 request/s each, for longer than any rollout.
const USUAL: Plan = Plan {
    clients: 100,
    rate: 1.0,
    length: Duration::from_secs(600),
    idle_close: IdleClose::Unnoticed,
};

/// The result of a rollout.
pub(crate) struct Outcome {
    /// The results of the requests.
    pub(crate) report: Report,
    /// The time from the stop signal to the exit of each gateway.
    pub(crate) stops: Vec<Duration>,
}

/// Replaces two gateways by two others, one after the other, under load.
pub(crate) fn roll(mode: Mode) -> Outcome {
    let network = Network::new();
    let balancer = Balancer::start(&network.0);
    let start = || Gateway::start(mode, &network.0, &[], &[]);
    let old = [start(), start()];
    for (slot, gateway) in (1..).zip(&old) {
        balancer.add(slot, gateway.ip);
    }
    let clients = Load::start(&Service::new(&[balancer.address()]), USUAL);
    sleep(PAUSE);
    let mut stops = Vec::new();
    let mut new = Vec::new();
    for (slot, gateway) in (1..).zip(old) {
        let successor = start();
        balancer.add(slot + 2, successor.ip);
        new.push(successor);
        let stop = thread::scope(|scope| {
            let stop = scope.spawn(|| gateway.stop());
            sleep(LEARN);
            balancer.remove(slot);
            stop.join().unwrap()
        });
        stops.push(stop);
        sleep(PAUSE);
    }
    Outcome { report: clients.end_after(Duration::ZERO), stops }
}

/// How many times each part is replaced.
const TIMES: usize = 10;

/// Runs one gateway with `../replace.yaml`, and replaces its parts behind the Router under load.
pub(crate) fn replace_parts() -> Report {
    let network = Network::new();
    let overlay = checkout().join("examples/api-gateway/replace.yaml");
    let overlay = mount(&overlay, "/etc/replace.yaml");
    let options = [&*overlay, "--entrypoint=/usr/local/bin/drainit"];
    let args = ["run", "-c", "/etc/drainit.yaml", "-c", "/etc/replace.yaml", "--"];
    let gateway = Gateway::start(Mode::Drainit, &network.0, &options, &args);
    let clients = Load::start(&Service::new(&[(gateway.ip, 8080).into()]), USUAL);
    for part in ["python-executor", "policy-engine"].into_iter().cycle().take(2 * TIMES) {
        sleep(LEARN);
        let done = gateway.container.exec(&["/usr/local/bin/drainit", "restart", part]);
        assert_eq!(done.code, 0, "{}", done.output);
    }
    sleep(LEARN);
    clients.end_after(Duration::ZERO)
}

/// A gateway that serves.
struct Gateway {
    container: Container,
    ip: IpAddr,
}

impl Gateway {
    /// Starts a gateway with these arguments, and with these further options of `docker run`.
    fn start(mode: Mode, network: &str, options: &[&str], args: &[&str]) -> Self {
        let options = [&["--network", network], &mode.options()[..], options].concat();
        let container = Container::start(mode.image(), &options, args);
        let ip = ip(&container);
        wait("a gateway", || Load::probe((ip, 8080).into()));
        Self { container, ip }
    }

    /// Runs `docker stop` to its end, and returns its duration.
    fn stop(self) -> Duration {
        let start = Instant::now();
        docker(&["stop", "--time", GRACE, self.container.id()]);
        start.elapsed()
    }
}

/// A network of Docker, removed on drop. By then, the containers in the network must have ended.
struct Network(String);

impl Network {
    fn new() -> Self {
        let name = format!("drainit-rollout-{}", std::process::id());
        docker(&["network", "create", "--label", LABEL, &name]);
        Self(name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        docker(&["network", "rm", &self.0]);
    }
}
