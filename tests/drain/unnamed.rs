//! Tests the counts of sockets that no descriptor of a process names, and of clients that the kernel
//! does not list at the listener's address.

use std::net::TcpListener;

use crate::support::*;

const SERVER: &str = include_str!("../fixtures/hidden_sockets.py");

/// Whether the kernel permits io_uring(7).
fn has_rings() -> bool {
    let ring = "import ctypes; assert ctypes.CDLL(None).syscall(425, 8, bytes(120)) >= 0";
    Command::new("python3").args(["-c", ring]).status().is_ok_and(|status| status.success())
}

fn config(port: u16, mode: &str, drain: &str, before: &str, scale: usize) -> String {
    format!(
        "processes: {{web: {{command: [{before}python3, DIR/server.py, {mode}, '{port}'],
         readiness: {{log: '^up$'}}, scale: {scale},
         drain: {{connections: {{min: 0, time: 2s{drain}}}}}}}}}"
    )
}

// holds: S760, S761
#[test]
fn requests_on_sockets_without_a_descriptor_are_counted() {
    if !has_rings() {
        return;
    }
    let rows = [
        ("listener", "", 1, false),
        ("listener", ", ports: [PORT]", 1, false),
        ("reuse", "", 2, true),
        ("closes", "", 1, true),
        ("passes", "", 1, true),
    ];
    in_parallel(rows, |(mode, ports, scale, is_accepted)| {
        let Some(rig) = Rig::new() else { return };
        let address = free_address();
        rig.write("server.py", SERVER);
        let ports = ports.replace("PORT", &address.port().to_string());
        let control = free_address();
        let drainit = rig.start_ready(&format!(
            "{{control: {{listen: '{control}'}}, {}}}",
            config(address.port(), mode, &ports, "", scale)
        ));
        let looked = "drainit_process_drain_warnings{";
        drainit.wait_until("a look at the listeners of all copies", || {
            get(control, "/metrics").is_ok_and(|it| it.1.matches(looked).count() == scale)
        });
        let mut client = Client::new(address);
        client.send(9).unwrap();
        if is_accepted {
            drainit.wait_for_line("hidden");
        }
        // drainit looks again at who listens.
        let _other = TcpListener::bind("127.0.0.1:0").unwrap();
        let ended = drainit.stop();
        ended.assert_line(
            "drain web.*connections 1 at the start, 1 .*; requests 1 at the start.*, 1 ",
        );
        ended.assert_no_line("nobody listens");
    });
}

/// Asserts that drainit warns of this when the process is ready.
#[track_caller]
fn warns(mode: &str, before: &str, warning: &str) {
    let Some(rig) = Rig::new() else { return };
    let port = free_address().port();
    rig.write("server.py", SERVER);
    let drainit = rig.start(&format!("{{{}}}", config(port, mode, "", before, 1)));
    drainit.wait("warning", LONG, |record| {
        record.line(&warning.replace("PORT", &port.to_string())).map(drop)
    });
    drainit.stop();
}

// holds: S762
#[test]
fn a_transparent_listener_is_unknown() {
    if !namespace::is_root_for("IP_TRANSPARENT") {
        return;
    }
    warns("transparent", "", "web-1: its drain will last until `time`: .* transparent listener");
}

// holds: S764
#[test]
fn udp_ports_of_a_server_are_named() {
    warns("udp", "", "web-1: UDP is not counted, and it has the UDP port PORT:");
}

// holds: S765
#[test]
fn a_listener_in_another_network_namespace_is_named() {
    if !namespace::is_root_for("a network namespace") {
        return;
    }
    let elsewhere =
        "web-1: its drain will last until `time`: it listens in another network namespace";
    warns("plain", "unshare, --net, ", elsewhere);
}
