//! Tests the drain of a large Envoy in a container with a tenth of a core.

use std::io::{Read, Write};
use std::net::TcpStream;

use testkit::docker::Container;

use super::PORT;
use crate::support::*;

/// The config of an Envoy with 1,000 clusters, which answers each request after 12 s.
fn envoy_config() -> String {
    let socket = |port: u16| json!({"socket_address": {"address": "0.0.0.0", "port_value": port}});
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let fault = json!({"@type": typed("http.fault.v3.HTTPFault"),
        "delay": {"fixed_delay": "12s", "percentage": {"numerator": 100}}});
    let router = json!({"@type": typed("http.router.v3.Router")});
    let manager = json!({
        "@type": typed("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "gateway",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "late"}}},
        ]}]},
        "http_filters": [
            {"name": "fault", "typed_config": fault},
            {"name": "router", "typed_config": router},
        ],
    });
    let cluster = |number: u32| {
        json!({"name": format!("cluster-{number}"), "load_assignment":
        {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(1)}}]}]}})
    };
    let filters = json!([{"filters": [{"name": "manager", "typed_config": manager}]}]);
    json!({
        "admin": {"address": {"pipe": {"path": "/tmp/admin.sock"}}},
        "static_resources": {
            "listeners": [{"name": "gateway", "address": socket(PORT), "filter_chains": filters}],
            "clusters": (0..1000).map(cluster).collect::<Vec<_>>(),
        },
    })
    .to_string()
}

/// At a tenth of a core, Envoy may need more than 10 s, the default of `stop_grace_period`, to end
/// after SIGTERM.
const CONFIG: &str = "
shutdown: {grace_period: 60s}
processes:
  router:
    command: [envoy, -c, /etc/gateway/envoy.json, --log-level, error, --concurrency, '2', --disable-hot-restart]
    readiness: {envoy: 'unix:/tmp/admin.sock', timeout: 3m}
    drain: {envoy: {admin: 'unix:/tmp/admin.sock', time: 25s, min: 1s}}
    stop_grace_period: 30s
";

// holds: S236, S239
#[test]
fn a_tenth_of_a_core_is_enough_to_drain_a_large_envoy() {
    let Some(images) = images() else { return };
    let dir = TempDir::for_everybody();
    dir.write("envoy.json", envoy_config());
    dir.write("drainit.yaml", CONFIG);
    let volume = format!("--volume={}:/etc/gateway:ro", dir.root().display());
    let publish = format!("--publish=127.0.0.1::{PORT}");
    let config = "--env=DRAINIT_CONFIG=/etc/gateway/drainit.yaml";
    let options = ["--cpus=0.1", "--tmpfs=/tmp", config, &volume, &publish];
    let container = Container::start(&images.gateway, &options, &[]);
    container.await_line(said::ALL_READY);
    let mut client = TcpStream::connect(container.address(PORT)).unwrap();
    client.set_read_timeout(Some(LONG * 3)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    // The request takes 12 s, so the drain begins while the request is in flight.
    thread::sleep(Duration::from_secs(2));
    thread::scope(|scope| {
        scope.spawn(|| container.stop(60));
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("late"), "{answer:?}\n{}", container.logs());
    });
    let logs = container.assert_ended(&["no connection left"]);
    assert!(!logs.contains("had not answered"), "{logs}");
}
