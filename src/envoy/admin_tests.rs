//! The admin calls against the real Envoy that `DRAINIT_TEST_ENVOY` names; skipped without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use crate::config::{Address, Direction};
use crate::envoy::admin::{begin_drain, close_listeners, sample};
use crate::envoy::listeners::Uncounted;
use crate::envoy::stats::Sample;
use crate::http::{Client, status};
use crate::testing::temp_dir::TempDir;

const LIMIT: Duration = Duration::from_secs(2);

struct Envoy {
    child: Child,
    admin: Address,
    port: SocketAddr,
    _dir: TempDir,
}

impl Envoy {
    /// One HTTP listener on TCP, and the admin on a Unix socket.
    async fn start() -> Option<Self> {
        let program = std::env::var_os("DRAINIT_TEST_ENVOY")?;
        let dir = TempDir::new();
        let socket = dir.path("admin.sock");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let hcm =
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let router = "envoy.extensions.filters.http.router.v3.Router";
        let config = serde_json::json!({
            "admin": {"address": {"pipe": {"path": socket, "mode": 384}}},
            "static_resources": {"listeners": [{
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port.port()}},
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                    "@type": format!("type.googleapis.com/{hcm}"),
                    "stat_prefix": "ingress",
                    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                        {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
                    ]}]},
                    "http_filters": [{"name": "router", "typed_config": {
                        "@type": format!("type.googleapis.com/{router}"),
                    }}],
                }}]}],
            }]},
        });
        let child = Command::new(program)
            .args(["--disable-hot-restart", "--concurrency", "2", "--config-yaml"])
            .arg(config.to_string())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let envoy = Self { child, admin: Address::Unix(socket), port, _dir: dir };
        let begin = Instant::now();
        while status(&envoy.admin, Method::GET, "/ready", LIMIT).await.ok() != Some(StatusCode::OK)
        {
            assert!(begin.elapsed() < Duration::from_secs(20), "Envoy is not ready");
            sleep(Duration::from_millis(20)).await;
        }
        Some(envoy)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until the sample is as expected.
async fn until(statistics: &mut Client, expected: impl Fn(&Sample) -> bool) -> Sample {
    let begin = Instant::now();
    loop {
        let found = sample(statistics, &Uncounted::default()).await.unwrap();
        if expected(&found) {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "{found:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_real_envoy_is_drained_and_counted() {
    let Some(envoy) = Envoy::start().await else { return };
    let mut statistics = Client::new(envoy.admin.clone());
    let idle = sample(&mut statistics, &Uncounted::default()).await.unwrap();
    assert_eq!(
        (idle.active, idle.accepted_total, idle.requests_total),
        (Some(0), Some(0), Some(0))
    );

    let mut kept = Client::new(Address::Tcp(envoy.port));
    kept.get("/", LIMIT, 100).await.unwrap();
    let silent = TcpStream::connect(envoy.port).unwrap();
    let busy = until(&mut statistics, |found| found.active == Some(2)).await;
    assert_eq!((busy.requests_total, busy.drain_close), (Some(1), Some(0)));

    for outcome in begin_drain(&envoy.admin, Direction::All, true).await {
        assert_eq!((outcome.attempts, outcome.result.is_ok()), (1, true), "{outcome}");
    }
    // It still accepts, and every response closes its connection.
    kept.get("/", LIMIT, 100).await.unwrap();
    kept.get("/", LIMIT, 100).await.unwrap();
    let drained = until(&mut statistics, |found| found.active == Some(1)).await;
    assert_eq!((drained.accepted_total, drained.drain_close), (Some(3), Some(2)));

    let closed = close_listeners(&envoy.admin, Direction::All).await;
    assert!(closed.result.is_ok(), "{closed}");
    let begin = Instant::now();
    while TcpStream::connect(envoy.port).is_ok() {
        assert!(begin.elapsed() < LIMIT, "it still accepts");
        sleep(Duration::from_millis(10)).await;
    }
    // Accepted connections stay open, and counted, until the client closes them.
    assert!(sample(&mut statistics, &Uncounted::default()).await.unwrap().active >= Some(1));
    drop(silent);
    until(&mut statistics, |found| found.active == Some(0)).await;
}
