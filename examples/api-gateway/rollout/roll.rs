//! One rollout.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use testkit::docker::{Container, LABEL, docker};
use testkit::load::{IdleClose, Load, Plan, Report, Service};

use super::Mode;
use super::balancer::{Balancer, ip, wait};
use super::images::Images;

/// The time from the stop signal until the load balancer knows of it; about 1 s in a cluster.
const LEARN: Duration = Duration::from_secs(1);
/// Load before, between and after the two stops.
const PAUSE: Duration = Duration::from_secs(3);
/// The grace period, in seconds.
const GRACE: &str = "30";
/// Longer than any rollout.
const LONGEST: Duration = Duration::from_secs(300);

/// The result.
pub(crate) struct Outcome {
    /// The results of the requests.
    pub(crate) report: Report,
    /// From the stop signal of each gateway to its exit.
    pub(crate) stops: Vec<Duration>,
}

/// Two gateways, under load, replaced by two others, one after the other.
pub(crate) fn roll(images: &Images, mode: Mode) -> Outcome {
    let network = Network::new();
    let balancer = Balancer::start(&images.base, &network.0);
    let start = || Gateway::start(images, mode, &network.0);
    let old = [start(), start()];
    for (slot, gateway) in (1..).zip(&old) {
        balancer.add(slot, gateway.ip);
    }
    let clients = Clients::start(balancer.address());
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
    Outcome { report: clients.stop(), stops }
}

/// A gateway that serves.
struct Gateway {
    container: Container,
    ip: IpAddr,
}

impl Gateway {
    fn start(images: &Images, mode: Mode, network: &str) -> Self {
        let (image, admin) = match mode {
            Mode::Stock => (&images.bash, None),
            Mode::Recipe => (&images.bash, Some("--env=ROUTER_ADMIN_ENABLED=true")),
            Mode::Drainit => (&images.drainit, None),
        };
        let grace = format!("--env=TERMINATION_GRACE_PERIOD_SECONDS={GRACE}");
        let mut options = vec!["--network", network, &grace, "--env=LOG_LEVEL=error"];
        options.extend(admin);
        let container = Container::start(image, &options, &[]);
        let ip = ip(&container);
        wait("a gateway", || answers((ip, 8080).into()).unwrap_or(false));
        Self { container, ip }
    }

    /// `docker stop`, to its end.
    fn stop(self) -> Duration {
        let start = Instant::now();
        docker(&["stop", "--time", GRACE, self.container.id()]);
        start.elapsed()
    }
}

fn answers(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

/// The clients, on a thread of their own.
struct Clients {
    stop: std::sync::mpsc::Sender<()>,
    thread: thread::JoinHandle<Report>,
}

impl Clients {
    fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = channel();
        Self { stop, thread: thread::spawn(move || load(address, &stopped)) }
    }

    fn stop(self) -> Report {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

fn load(address: SocketAddr, stopped: &Receiver<()>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let idle_close = IdleClose::Unnoticed;
        let plan = Plan { clients: 100, rate: 1.0, length: LONGEST, idle_close };
        let load = Load::start(&Service::new(&[address]), plan);
        while stopped.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        load.end_after(Duration::ZERO);
        load.finish().await
    })
}

/// A network of Docker's, removed when this is dropped, which must be after its containers.
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
