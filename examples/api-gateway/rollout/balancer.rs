//! The load balancer: a real HAProxy in a container. Commands to its socket add and remove
//! gateways.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::docker::{Container, docker, mount};
use testkit::envoy::checkout;

/// A container must answer within this time, which is long enough even on a busy machine.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Balancer {
    _container: Container,
    ip: IpAddr,
}

impl Balancer {
    pub(crate) fn start(network: &str) -> Self {
        let config = checkout().join("examples/api-gateway/rollout/haproxy.cfg");
        let config = mount(&config, "/etc/haproxy.cfg");
        let options = ["--network", network, &config];
        let command = ["haproxy", "-db", "-f", "/etc/haproxy.cfg"];
        let container = Container::start("drainit-rollout-base", &options, &command);
        let ip = ip(&container);
        let balancer = Self { _container: container, ip };
        wait("the load balancer", || balancer.try_tell("show info").is_ok());
        balancer
    }

    /// The address for clients.
    pub(crate) fn address(&self) -> SocketAddr {
        (self.ip, 8080).into()
    }

    /// Adds a gateway, which then also gets new connections.
    pub(crate) fn add(&self, slot: u32, ip: IpAddr) {
        self.tell(&format!("set server gateways/gateway{slot} addr {ip} port 8080"));
        self.tell(&format!("set server gateways/gateway{slot} state ready"));
    }

    /// Removes a gateway, which then gets no new connection. Open connections stay.
    pub(crate) fn remove(&self, slot: u32) {
        self.tell(&format!("set server gateways/gateway{slot} state drain"));
    }

    fn tell(&self, command: &str) {
        let answer = self.try_tell(command).unwrap();
        let refused = ["No such", "Unknown", "Invalid", "Require", "Can't"];
        assert!(!refused.iter().any(|word| answer.contains(word)), "{command}: {answer}");
    }

    fn try_tell(&self, command: &str) -> std::io::Result<String> {
        let mut socket = TcpStream::connect((self.ip, 9999))?;
        socket.write_all(format!("{command}\n").as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// The address of a container in its network.
pub(crate) fn ip(container: &Container) -> IpAddr {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    docker(&["inspect", "--format", format, container.id()]).parse().unwrap()
}

/// Waits until a condition holds.
pub(crate) fn wait(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < START_TIMEOUT, "{what} does not answer");
        sleep(POLL);
    }
}
