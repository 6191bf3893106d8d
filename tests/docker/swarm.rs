//! A rolling update by a real orchestrator: Docker Swarm, with HAProxy in front that asks Docker's
//! name server for the gateways.

use std::thread::sleep;
use std::time::Duration;

use testkit::clients::{Clients, answers};
use testkit::envoy::checkout;
use testkit::swarm::{Service, Swarm, mount};

use crate::support::LONG;
use crate::support::docker_gateway::{BOOTSTRAP, gateway_images};
use crate::support::docker_images::haproxy_image;
use crate::support::namespace::skip_unless;
use crate::support::temp_dir::TempDir;

const FAULT: &str = r#"- name: envoy.filters.http.fault
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
                      delay: {header_delay: {}, percentage: {numerator: 100}}
                  - name: envoy.filters.http.router
"#;
const OPTIONS: [&str; 11] = [
    "--replicas=3",
    "--update-order=start-first",
    "--update-monitor=1s",
    "--stop-grace-period=30s",
    "--env=TERMINATION_GRACE_PERIOD_SECONDS=30",
    "--env=LOG_LEVEL=error",
    "--env=ROUTER_DRAIN_TIME_SECONDS=8",
    "--env=POLICY_ENGINE_STEPS=http=127.0.0.1:9002,0 unix=/var/run/api-platform/policy-engine.sock",
    "--env=PYTHON_EXECUTOR_STEPS=unix=/var/run/api-platform/python-executor.sock",
    "--mount=type=tmpfs,target=/var/run/api-platform,tmpfs-mode=1777",
    "--mount=type=tmpfs,target=/out,tmpfs-mode=1777",
];
/// The check is that of the image.
const HEALTH: [&str; 2] = ["--health-interval=1s", "--health-start-period=60s"];

#[test]
fn a_rolling_update_fails_no_request() {
    let Some(images) = gateway_images() else { return };
    let Some(haproxy) = haproxy_image() else { return };
    let swarm = match Swarm::new() {
        Ok(swarm) => swarm,
        Err(reason) => return assert!(!skip_unless(Err(reason))),
    };
    let dir = TempDir::new();
    // HAProxy asks for answers that take half a second.
    let slow = BOOTSTRAP.replace("- name: envoy.filters.http.router\n", FAULT);
    dir.write("envoy.yaml", slow);
    let envoy = mount(&dir.join("envoy.yaml"), "/etc/envoy/envoy.yaml");
    let options = [&OPTIONS[..], &HEALTH, &[&*envoy]].concat();
    let gateways = Service::start(&swarm, "gateway", &images.production, &options, &[]);
    let config = checkout().join("examples/api-gateway/rollout/haproxy-swarm.cfg");
    let config = mount(&config, "/etc/haproxy.cfg");
    let options = [&config, "--publish=mode=host,target=8080", "--publish=mode=host,target=8081"];
    let balancer = Service::start(&swarm, "balancer", haproxy, &options, &[]);
    let [http, tcp] = [8080, 8081].map(|port| {
        let address = balancer.address(port);
        while !answers(address).unwrap_or(false) {
            sleep(Duration::from_millis(50));
        }
        Clients::start(address)
    });
    // Every client has a connection.
    sleep(Duration::from_secs(1));

    let stops = gateways.update(&[]);

    // Every client has sent once more.
    sleep(Duration::from_secs(1));
    let (http, tcp) = (http.stop(), tcp.stop());
    assert_eq!(stops.len(), 3, "{stops:?}");
    for stop in &stops {
        assert_eq!(stop.code, 0, "{}", gateways.logs());
        // It is 5 s; Docker dates the signal after it has sent it.
        assert!(stop.took >= Duration::from_secs(4), "it did not wait for the drain: {stop:?}");
        assert!(stop.took < LONG, "Docker had to kill it: {stop:?}");
    }
    assert_eq!(gateways.containers().len(), 3);
    for report in [&http, &tcp] {
        assert_eq!(report.total.failed, 0, "{report}\n{}", gateways.logs());
        assert!(report.total.ok > 0, "{report}");
    }
    // All connections were on gateways that have gone.
    assert!(tcp.total.told_to_close >= 100, "{tcp}");
}
