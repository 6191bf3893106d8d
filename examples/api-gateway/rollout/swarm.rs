//! A rolling update by Docker Swarm.

use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::clients::{Clients, answers};
use testkit::envoy::checkout;
use testkit::load::Report;
use testkit::swarm::{Service, Stop, Swarm, mount};

use super::balancer::wait;
use super::images::Images;
use super::{GRACE, Mode};

/// Load before and after the update.
const PAUSE: Duration = Duration::from_secs(3);
/// Every entrypoint has these: Swarm adds a gateway to DNS, and stops the next one, when it passes.
const HEALTH: [&str; 4] = [
    "--health-cmd=curl -fsS -o /dev/null http://127.0.0.1:8080/",
    "--health-interval=1s",
    "--health-timeout=3s",
    "--health-start-period=60s",
];

/// The result.
pub(crate) struct Outcome {
    /// The requests that HAProxy distributes, with answers that take a while.
    pub(crate) http: Report,
    /// The requests on connections that HAProxy distributes.
    pub(crate) tcp: Report,
    /// The ends of the old gateways.
    pub(crate) stops: Vec<Stop>,
    /// From the command until the last of them had ended.
    pub(crate) took: Duration,
}

/// Replaces three gateways under load. `order` is `start-first` or `stop-first`.
pub(crate) fn update(images: &Images, mode: Mode, order: &str) -> Outcome {
    let swarm = Swarm::new().unwrap();
    let order = format!("--update-order={order}");
    let grace = format!("--stop-grace-period={GRACE}s");
    let fixed = ["--replicas=3", "--update-monitor=1s", &order, &grace];
    let options = [&fixed[..], &HEALTH, &mode.options()].concat();
    let gateways = Service::start(&swarm, "gateway", mode.image(images), &options, &[]);
    let config = checkout().join("examples/api-gateway/rollout/haproxy-swarm.cfg");
    let config = mount(&config, "/etc/haproxy.cfg");
    let options = [&config, "--publish=mode=host,target=8080", "--publish=mode=host,target=8081"];
    let command = ["haproxy", "-db", "-f", "/etc/haproxy.cfg"];
    let balancer = Service::start(&swarm, "balancer", &images.base, &options, &command);
    let [http, tcp] = [8080, 8081].map(|port| {
        let address = balancer.address(port);
        wait("the load balancer", || answers(address).unwrap_or(false));
        Clients::start(address)
    });
    sleep(PAUSE);
    let start = Instant::now();
    let stops = gateways.update(&[]);
    let took = start.elapsed();
    sleep(PAUSE);
    Outcome { http: http.stop(), tcp: tcp.stop(), stops, took }
}
