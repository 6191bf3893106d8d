//! Runs a real Envoy under drainit, in front of a server that answers after a given delay.

use crate::support::said;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::envoy;

use super::{Rig, Running};

/// A script that executes Envoy. From the second epoch on, the script first runs the command
/// `FIRST`, unless Envoy is only to check its config.
const LATER: &str = "#!/bin/sh
case \"$*\" in *'--mode validate'*) exec ENVOY \"$@\";; esac
[ \"${RESTART_EPOCH:-0}\" = 0 ] || FIRST
exec ENVOY \"$@\"
";

/// The settings of an Envoy. The Envoy is `router` in drainit's config. Its admin is
/// `DIR/admin.sock`, and drainit's control socket is `DIR/control.sock`.
#[derive(Clone, Debug)]
pub(crate) struct RealEnvoy {
    pub(crate) version: &'static str,
    pub(crate) flags: &'static str,
    /// The keys of `drain.envoy` other than `admin`.
    pub(crate) drain: &'static str,
    /// The keys of `shutdown`.
    pub(crate) shutdown: &'static str,
    /// The probe of `readiness`.
    pub(crate) readiness: &'static str,
    /// Further keys of the process, with their indentation.
    pub(crate) keys: &'static str,
    /// Whether Envoy has a base ID, so that hot restart is not disabled.
    pub(crate) is_hot: bool,
    /// The shell command that every epoch except the first runs before Envoy reads its config.
    pub(crate) later: Option<&'static str>,
    /// A function that changes the config of Envoy.
    pub(crate) change: fn(&mut Value),
}

impl Default for RealEnvoy {
    fn default() -> Self {
        Self {
            version: envoy::DEFAULT,
            flags: "--concurrency 2",
            drain: "time: 3s, min: 500ms",
            shutdown: "grace_period: 12s, reserve: 2s",
            readiness: "http: 'unix:DIR/admin.sock:/ready'",
            keys: "",
            is_hot: false,
            later: None,
            change: |_| {},
        }
    }
}

impl RealEnvoy {
    /// Starts Envoy under drainit at debug level and waits until it is ready. Also returns the
    /// address for clients.
    pub(crate) fn start(&self) -> Option<(Running, SocketAddr)> {
        let (drainit, address) = self.launch()?;
        drainit.wait("readiness of Envoy", Duration::from_secs(30), |record| {
            record.line(said::ALL_READY).map(drop)
        });
        Some((drainit, address))
    }

    /// Starts Envoy with `drainit exec` and these options and variables in place of a config.
    pub(crate) fn start_alone(
        &self,
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Option<(Running, SocketAddr)> {
        let (rig, address, command) = self.prepare()?;
        let admin = rig.fill("unix:DIR/admin.sock");
        let rig = variables.iter().fold(rig, |rig, (name, value)| rig.env(name, value));
        let words = [&["exec", "--drain-envoy", &admin], options, &["--"]].concat();
        let words: Vec<_> = words.into_iter().chain(command.iter().map(String::as_str)).collect();
        let drainit = rig.env("DRAINIT_LOG_LEVEL", "debug").start_with(&words);
        drainit.wait_for_line(said::ALL_READY);
        Some((drainit, address))
    }

    /// Starts Envoy like [`Self::start`], but does not wait until it is ready.
    pub(crate) fn launch(&self) -> Option<(Running, SocketAddr)> {
        let (rig, address, command) = self.prepare()?;
        let drainit = rig.env("DRAINIT_LOG_LEVEL", "debug").start(&format!(
            "
shutdown: {{{}}}
control: {{socket: DIR/control.sock}}
processes:
  router:
    command: {}
    readiness: {{{}, interval: 20ms}}
    drain: {{envoy: {{admin: 'unix:DIR/admin.sock', {}}}}}
{}
",
            self.shutdown,
            json!(command),
            self.readiness,
            self.drain,
            self.keys
        ));
        Some((drainit, address))
    }

    /// Writes the config of Envoy. Also returns the address for clients, and Envoy's command.
    fn prepare(&self) -> Option<(Rig, SocketAddr, Vec<String>)> {
        let rig = Rig::new()?;
        let address = testkit::gateway::free_address().unwrap();
        let mut config = config(&rig.fill("DIR/admin.sock"), address, upstream());
        (self.change)(&mut config);
        rig.write("envoy.json", config.to_string());
        let program = envoy::binary(self.version).unwrap();
        let mut program = program.display().to_string();
        if let Some(first) = self.later {
            rig.write_program("envoy", LATER.replace("ENVOY", &program).replace("FIRST", first));
            program = rig.fill("DIR/envoy");
        }
        let mut command = vec![program, "-c".to_owned(), "DIR/envoy.json".to_owned()];
        command.extend(["--log-level", "warning"].map(str::to_owned));
        match self.is_hot {
            // The port serves as the base ID, because no two Envoys of the tests have the same
            // port.
            true => command.extend(["--base-id".to_owned(), address.port().to_string()]),
            false => command.push("--disable-hot-restart".to_owned()),
        }
        command.extend(self.flags.split(' ').map(str::to_owned));
        Some((rig, address, command))
    }
}

fn config(admin: &str, address: SocketAddr, upstream: SocketAddr) -> Value {
    let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    json!({
        "admin": {"address": {"pipe": {"path": admin, "mode": 384}}},
        "static_resources": {
            "listeners": [{
                "name": "gateway",
                "address": socket(address),
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                    "@type": typed("network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "gateway",
                    "upgrade_configs": [{"upgrade_type": "websocket"}],
                    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}},
                    ]}]},
                    "http_filters": [{"name": "router", "typed_config": {"@type": typed("http.router.v3.Router")}}],
                }}]}],
            }],
            "clusters": [{
                "name": "upstream",
                "circuit_breakers": {"thresholds": [{"max_connections": 10000, "max_requests": 10000, "max_pending_requests": 10000}]},
                "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": socket(upstream)}},
                ]}]},
            }],
        },
    })
}

/// Makes Envoy ask the control plane at `at` for `api` (`cds` or `lds`), and wait for the answer
/// for at most `wait`.
pub(crate) fn add_control_plane(config: &mut Value, api: &str, at: SocketAddr, wait: &str) {
    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let address = json!({"address": at.ip().to_string(), "port_value": at.port()});
    let cluster = json!({
        "name": "xds",
        "typed_extension_protocol_options": {http: {
            "@type": format!("type.googleapis.com/{http}"),
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": address}}},
        ]}]},
    });
    config["static_resources"]["clusters"].as_array_mut().unwrap().push(cluster);
    config["node"] = json!({"id": "router", "cluster": "test"});
    config["dynamic_resources"][format!("{api}_config")] = json!({
        "resource_api_version": "V3",
        "initial_fetch_timeout": wait,
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
        },
    });
}

/// Starts a server that answers `GET /MILLISECONDS` after this time, and `GET /` at once. If the
/// request asks for a WebSocket, the server closes the WebSocket after this time. The server runs
/// until the test program ends.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(reader) = stream.try_clone() else { continue };
            thread::spawn(move || -> Option<()> {
                let mut lines = BufReader::new(reader).lines();
                loop {
                    let first = lines.next()?.ok()?;
                    let head = lines.by_ref().map_while(Result::ok);
                    let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
                    let is_upgrade = head.iter().any(|line| line == "upgrade: websocket");
                    let path = first.split(' ').nth(1)?;
                    let millis = path.trim_start_matches('/').parse().unwrap_or_default();
                    if is_upgrade {
                        let head =
                            "HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                        stream.write_all(head.as_bytes()).ok()?;
                    }
                    thread::sleep(Duration::from_millis(millis));
                    if is_upgrade {
                        return None;
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()?;
                }
            });
        }
    });
    address
}
