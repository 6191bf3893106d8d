//! Tests the drain of a real Envoy of the size that people run.

use std::iter;
use std::net::TcpStream;
use std::thread::sleep;

use super::drain_end::has_request;
use crate::support::*;

fn add_clusters(config: &mut Value, number: usize) {
    let clusters = config["static_resources"]["clusters"].as_array_mut().unwrap();
    for number in 0..number {
        let mut cluster = clusters[0].clone();
        cluster["name"] = json!(format!("cluster-{number}"));
        clusters.push(cluster);
    }
}

fn add_listeners(config: &mut Value) {
    let listeners = config["static_resources"]["listeners"].as_array_mut().unwrap();
    for number in 0..1000 {
        let mut listener = listeners[0].clone();
        listener["name"] = json!(format!("listener-{number}"));
        listener["address"]["socket_address"]["port_value"] = json!(0);
        listeners.push(listener);
    }
}

// holds: S236, S237, S239
#[test]
fn a_large_envoy_is_drained_until_the_last_request_is_answered() {
    for change in [|config: &mut Value| add_clusters(config, 3000), add_listeners] {
        let drain = "time: 30s, min: 1s";
        let shutdown = "grace_period: 45s, reserve: 2s";
        let envoy = RealEnvoy { drain, shutdown, change, ..RealEnvoy::default() };
        let Some((drainit, address)) = envoy.launch() else { return };
        drainit
            .wait("readiness of Envoy", LONG * 3, |record| record.line(said::ALL_READY).map(drop));
        let request = thread::spawn(move || Client::new(address).request(5000).went);
        drainit.wait_until("in flight", || has_request(&drainit));
        let ended = drainit.stop();
        assert_eq!(request.join().unwrap(), CLOSES);
        // The stop takes at least as long as the request, and much less than `time`.
        ended
            .assert_code(0)
            .assert_stopped_within(ms(2000)..Duration::from_secs(20))
            .assert_line("drain router: .*no connection left")
            .assert_no_line("warning: router: .*POST");
    }
}

// holds: S276
#[test]
fn a_large_envoy_is_not_drained_while_short_connections_come() {
    let envoy = RealEnvoy {
        drain: "time: 30s, min: 1s",
        shutdown: "grace_period: 45s, reserve: 2s",
        change: |config| add_clusters(config, 6000),
        ..RealEnvoy::default()
    };
    let Some((drainit, address)) = envoy.launch() else { return };
    drainit.wait("readiness of Envoy", LONG * 3, |record| record.line(said::ALL_READY).map(drop));
    let clients = thread::spawn(move || {
        let until = now() + ms(6000);
        // Nearly every connection begins and ends between two looks at the kernel's count.
        let connects = iter::from_fn(|| {
            sleep(ms(60));
            (now() < until).then(|| TcpStream::connect(address).is_ok())
        });
        connects.collect::<Vec<_>>()
    });
    sleep(ms(500));
    let ended = drainit.stop_within(LONG * 2);
    let accepted = clients.join().unwrap();
    assert!(accepted.iter().all(|accepted| *accepted), "{accepted:?}\n{}", ended.record);
    ended
        .assert_code(0)
        // Connections to other programs, such as other tests, delay the kernel's count.
        .assert_stopped_within(ms(5500)..LONG * 2)
        .assert_line("drain router: .*no connection left; .* 0 at the end");
}
