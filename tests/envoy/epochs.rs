//! Tests `update: hot-restart` with real Envoys, which are replaced under load without a failed
//! request, rolled back, and stopped while two epochs are alive.

use std::thread::JoinHandle;

use testkit::envoy;
use testkit::load::{IdleClose, Plan};

use crate::support::*;

const BASE: &str = "examples/gateway/drainit.yaml";
const OVERLAY: &str = "examples/gateway/hot-restart.yaml";

/// An Envoy whose old epochs live for 2 s.
fn quick() -> RealEnvoy {
    RealEnvoy {
        is_hot: true,
        flags: "--concurrency 2 --drain-strategy immediate --parent-shutdown-time-s 2",
        keys: "    update: hot-restart",
        ..RealEnvoy::default()
    }
}

/// An Envoy whose old epochs live longer than a test.
fn slow() -> RealEnvoy {
    RealEnvoy {
        flags: "--concurrency 2 --drain-strategy immediate --parent-shutdown-time-s 60",
        ..quick()
    }
}

/// Starts an Envoy. The third value removes the file of Envoy's shared memory on drop, because
/// Envoy leaves the file behind.
fn start(envoy: &RealEnvoy) -> Option<(Running, SocketAddr, SharedMemory)> {
    let (drainit, address) = envoy.start()?;
    Some((drainit, address, SharedMemory(address.port())))
}

struct SharedMemory(u16);

impl Drop for SharedMemory {
    fn drop(&mut self) {
        let _ = fs::remove_file(format!("/dev/shm/envoy_shared_memory_{}0", self.0));
    }
}

/// Runs `then` under load, and asserts that all requests were answered, and that there were more
/// than `least`.
#[track_caller]
fn under_load(drainit: &Running, address: SocketAddr, least: u64, then: impl FnOnce()) {
    let (clients, rate, length) = (10, 50.0, LONG * 6);
    let plan = Plan { clients, rate, length, idle_close: IdleClose::Noticed };
    let report = example::under_load(address, plan, then);
    assert_eq!(report.total.failed, 0, "{report}\n{}", drainit.record());
    assert!(report.total.ok > least, "{report}");
}

/// Asserts that this epoch is ready, and that there is no other epoch.
#[track_caller]
fn assert_alone(drainit: &Running, epoch: usize) {
    let now = drainit.processes(&["router"]);
    assert_eq!(now.len(), 1, "{now:?}");
    assert_eq!((&now[0]["state"], &now[0]["epoch"]), (&"ready".into(), &epoch.into()));
}

/// Starts a restart, without waiting for its end.
fn begin_restart(drainit: &Running) -> std::process::Child {
    drainit.exec_as(None, &["restart", "router"]).spawn().unwrap()
}

/// Begins the restart of an Envoy that serves a client, and waits until the new epoch has taken
/// over. The client's connection stays with the old epoch, which answers the next request after
/// `answer_after` milliseconds.
fn taken_over(
    drainit: &Running,
    address: SocketAddr,
    answer_after: u64,
) -> (std::process::Child, JoinHandle<Request>) {
    let mut on_old = Client::connected(address);
    let restart = begin_restart(drainit);
    drainit.wait_for_line(&said::takes_over("router"));
    (restart, thread::spawn(move || on_old.request(answer_after)))
}

#[track_caller]
fn replaced_under_load(version: &'static str, times: usize) {
    let envoy = RealEnvoy { version, ..quick() };
    let Some((drainit, address, _memory)) = start(&envoy) else { return };
    under_load(&drainit, address, 100 * times as u64, || {
        for epoch in 1..=times {
            // The late answer of the old epoch asks the client to close the connection.
            let late = thread::spawn(move || Client::new(address).request(800).went);
            drainit.exec(&["restart", "router"]).assert(0, "");
            // The old epoch is gone when the command returns.
            assert_alone(&drainit, epoch);
            assert!(late.join().unwrap().is_answered());
        }
    });
    let ended = drainit.stop();
    ended.assert_code(0).assert_nothing_left();
    ended.assert_no_line("killed").assert_line(&format!("router: started, epoch {times}"));
}

// holds: C333
#[test]
fn restarts_under_load_fail_no_request() {
    in_parallel(envoy::TESTED, |version| replaced_under_load(version, 4));
}

#[test]
fn a_wrong_config_is_refused_before_anything_is_started() {
    let Some((drainit, address, _memory)) = start(&quick()) else { return };
    let right = fs::read_to_string(drainit.path("envoy.json")).unwrap();
    let wrong = right.replace("\"upstream\",\"timeout\"", "\"nowhere\",\"timeout\"");
    drainit.write("envoy.json", wrong);
    under_load(&drainit, address, 0, || {
        drainit.exec(&["restart", "router"]).assert(1, "unknown cluster 'nowhere'");
        assert_alone(&drainit, 0);
        // The new config has the admin at another address.
        let mut config: Value = serde_json::from_str(&right).unwrap();
        let other = drainit.path("other.sock");
        config["admin"]["address"]["pipe"]["path"] = other.to_string_lossy().into();
        drainit.write("envoy.json", config.to_string());
        let said = drainit.exec(&["restart", "router"]);
        said.assert(1, "other.sock: change `readiness` and `drain`, too");
        assert_eq!(drainit.processes(&["router"]).len(), 1);
        // The refused configs do not prevent the next restart.
        drainit.write("envoy.json", right);
        drainit.exec(&["restart", "router"]).assert(0, "");
        assert_eq!(drainit.processes(&["router"])[0]["epoch"], 1);
    });
    drainit.stop().assert_code(0).assert_line("router: Envoy's check of its config failed: ");
}

#[test]
fn a_new_epoch_that_cannot_serve_is_rolled_back_and_the_old_epoch_keeps_running() {
    let Some((drainit, address, _memory)) = start(&quick()) else { return };
    // Envoy's check of the config does not notice that the port is in use.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let right = fs::read(drainit.path("envoy.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&right).unwrap();
    let mut second = config["static_resources"]["listeners"][0].clone();
    second["name"] = "second".into();
    second["address"]["socket_address"]["port_value"] = taken.local_addr().unwrap().port().into();
    config["static_resources"]["listeners"].as_array_mut().unwrap().push(second);
    drainit.write("envoy.json", config.to_string());
    under_load(&drainit, address, 0, || {
        drainit.exec(&["restart", "router"]).assert(1, "before it was ready");
        assert_alone(&drainit, 0);
        // Envoy permits only one attempt, so the next restart fails although the config is right.
        drainit.write("envoy.json", right);
        drainit.exec(&["restart", "router"]).assert(1, "Envoy permits no further hot restart");
    });
    drainit.exec(&["stop", "router"]).assert(0, "");
    drainit.exec(&["start", "router"]).assert(0, "");
    drainit.exec(&["restart", "router"]).assert(0, "");
    drainit.stop().assert_code(0).assert_nothing_left();
}

// holds: S170
#[test]
fn a_stop_drains_both_epochs() {
    let drain = "time: 9s, min: 500ms";
    let Some((drainit, address, _memory)) = start(&RealEnvoy { drain, ..slow() }) else { return };
    let (mut restart, request) = taken_over(&drainit, address, 2500);
    let mut on_new = Client::connected(address);
    let now = drainit.processes(&["router"]);
    assert_eq!(now.len(), 2, "{now:?}");
    let asked = drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line(r"router \(epoch 1\): draining");
    assert!(on_new.request(0).went.is_answered());
    drop(on_new);
    // The request to the old epoch is not cut.
    let request = request.join().unwrap();
    assert_eq!(request.went, CLOSES);
    let ended = drainit.wait_exit(LONG);
    assert!(ended.at() > request.over, "{}", ended.record);
    assert!(!restart.wait().unwrap().success());
    // The new epoch learns within 5 s that the connections of the old epoch are closed.
    ended.assert_code(0).assert_took(asked, ms(500)..ms(11000)).assert_nothing_left();
    ended.assert_no_line("killed").assert_no_line("signal 6|SIGABRT|ABRT");
    ended.assert_line(r"router \(epoch 0\): drains by itself until the new epoch ends it");
    ended.assert_line(r"^\S+   stop router \(epoch 1\): |  stop router \(epoch 1\): ");
}

// holds: C330
#[test]
fn a_crash_of_the_new_epoch_leaves_the_old_epoch_which_hands_over_again() {
    let envoy = RealEnvoy {
        keys: "    update: hot-restart\n    restart: always\n    restart_delay: 10ms",
        ..slow()
    };
    let Some((drainit, address, _memory)) = start(&envoy) else { return };
    let (mut restart, request) = taken_over(&drainit, address, 3000);
    let new = drainit.processes(&["router"]).into_iter().find(|epoch| epoch["epoch"] == 1).unwrap();
    drainit.exec(&["kill", "-s", "KILL", "router"]).assert(0, "");
    drainit.wait_until("another instance of epoch 1", || {
        drainit
            .processes(&["router"])
            .iter()
            .any(|now| now["epoch"] == 1 && now["pid"] != new["pid"] && now["state"] == "ready")
    });
    assert!(Client::new(address).request(0).went.is_answered());
    assert_eq!(request.join().unwrap().went, CLOSES);
    let ended = drainit.stop();
    let _ = restart.wait();
    ended.assert_code(0).assert_nothing_left();
}

#[test]
fn a_new_epoch_without_the_old_epoch_is_not_replaced_and_a_stop_kills_at_once() {
    let drain = "time: 3s, min: 1s";
    let Some((drainit, _, _memory)) = start(&RealEnvoy { drain, ..slow() }) else { return };
    let old = drainit.processes(&["router"])[0]["pid"].to_string();
    let mut restart = begin_restart(&drainit);
    drainit.wait_for_line(&said::takes_over("router"));
    drainit.exec(&["exec", "--", "kill", "-KILL", &old]).assert(0, "");
    drainit.wait_for_line("router: Envoy will abort within 15s");
    assert!(!restart.wait().unwrap().success());
    let why = "Envoy will abort the newer epoch within 1";
    drainit.exec(&["restart", "router"]).assert(1, why);
    drainit.wait_for_line(&format!("router: restart failed: .*{why}"));
    // drainit kills this Envoy at once: after a SIGTERM, the stop would last 10 s, and Envoy would
    // abort at the end of the stop.
    let ended = drainit.stop();
    ended.assert_code(0).assert_stopped_within(ms(1000)..ms(8000)).assert_nothing_left();
    ended.assert_line("router: sending SIGKILL").assert_no_line("still alive");
}

#[test]
fn the_example_replaces_envoy_when_the_config_changes() {
    let Some(rig) = example::rig() else { return };
    let address = free_address();
    let _memory = SharedMemory(address.port());
    let rig = rig
        .env("GATEWAY_ADDRESS", &address.ip().to_string())
        .env("GATEWAY_PORT", &address.port().to_string())
        .env("GATEWAY_BASE_ID", &address.port().to_string())
        .env("GATEWAY_RUN_DIR", "DIR")
        .env("ROUTER_OLD_SECONDS", "2");
    let drainit = example::run(rig, &[BASE, OVERLAY]);
    let config = drainit.path("envoy.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n# Changed.\n")).unwrap();
    drainit.wait_for_line(&said::takes_over("router"));
    assert_eq!(get(address, "/").unwrap().0, 200);
    drainit.wait_for_line(
        r"router \(epoch 0\): exited with code 0, after the new instance had taken over",
    );
    assert_eq!(get(address, "/").unwrap().0, 200);
    drainit.stop().assert_code(0).assert_nothing_left();
}
