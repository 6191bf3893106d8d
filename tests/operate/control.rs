//! Tests the control endpoints that a kubelet polls, before, during and at the end of a run.

use std::net::TcpStream;

use crate::support::*;

// holds: S9, S10, C95, C135, C609
#[test]
fn readyz_follows_readiness_and_turns_at_t0_before_anything_is_stopped() {
    let address = free_address();
    let Some(rig) = Rig::new() else { return };
    let config = "
        control: {listen: 'ADDRESS', socket: DIR/control.sock}
        shutdown: {readiness_delay: 3s}
        processes:
          a: {command: [CHILD, a, await=DIR/go, touch=DIR/a], readiness: {file: DIR/a}}
          b: {command: [CHILD, b], depends_on: [a]}
        ";
    let drainit = rig.start(&config.replace("ADDRESS", &address.to_string()));
    drainit.wait_for_start(&["a"]);
    let status = |path: &str| get(address, path).map_or(0, |(status, _)| status);
    assert_eq!((status("/livez"), status("/readyz")), (200, 503));
    let (_, reason) = get(address, "/readyz").unwrap();
    assert!(reason.contains('a'), "{reason}");

    drainit.touch("go");
    drainit.wait_for_start(&["b"]);
    drainit.wait_until("ready", || status("/readyz") == 200);
    assert_eq!(get_unix(&drainit.path("control.sock"), "/readyz").unwrap().0, 200);

    let t0 = drainit.signal(Signal::SIGTERM);
    let unready = drainit.wait_until("unready", || status("/readyz") != 200);
    assert_eq!((status("/readyz"), status("/livez")), (503, 200));
    assert!(unready - t0 < ms(3000), "{:?}", unready - t0);
    assert!(drainit.record().event("b", "got SIGTERM").is_none());
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_stopped_in_order(&["b", "a"]).assert_gone("control.sock");
    let stopped = ended.event("b", "got SIGTERM").at - t0;
    assert!(stopped >= ms(3000), "asked after {stopped:?}:\n{}", ended.record);
}

// holds: S125, S205, C91
#[test]
fn a_port_in_use_is_found_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config =
        format!("control: {{listen: '{address}'}}\nprocesses: {{a: {{command: [CHILD, a]}}}}");
    Rig::not_init()
        .run(&config)
        .assert_code(78)
        .assert_line(&format!("control.listen {address}: address in use"))
        .assert_no_event("a", "start");
}

#[test]
fn without_a_descriptor_the_listeners_wait_and_do_not_spin() {
    let address = free_address();
    let Some(rig) = Rig::new() else { return };
    let config = "
        control: {listen: 'ADDRESS', socket: DIR/control.sock}
        processes: {a: {command: [CHILD, a]}}
        ";
    let drainit = rig.start_ready(&config.replace("ADDRESS", &address.to_string()));
    let limit = |number: &str| {
        let pid = drainit.pid().to_string();
        let number = format!("--nofile={number}:1024");
        assert!(Command::new("prlimit").args(["--pid", &pid, &number]).status().unwrap().success());
    };
    let socket = drainit.path("control.sock");
    // The timeout is longer than a busy machine needs, but shorter than the time for which 500
    // clients fill a listener (64 clients at a time, for 1 s each).
    let health = ["--live", "--timeout", "4s", "--socket", socket.to_str().unwrap()];
    let code = || super::health::health(&health).0;
    for round in 1..=2 {
        limit("3");
        let held: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        let before = processor_time(&drainit);
        assert_eq!(code(), 1);
        thread::sleep(ms(1000));
        let spent = processor_time(&drainit) - before;
        assert!(spent < 20, "{spent} hundredths of a second");
        // Each of the two listeners warns once.
        let warnings = drainit.record().lines_with("cannot accept a connection");
        assert_eq!(warnings, 2 * round, "{}", drainit.record());
        limit("1024");
        drainit.wait_until("answered", || code() == 0);
        assert_eq!(get(address, "/livez").unwrap().0, 200);
        drop(held);
    }
    drainit.stop().assert_code(0);
}

/// Returns drainit's CPU time so far, in hundredths of a second.
fn processor_time(drainit: &Running) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", drainit.pid())).unwrap();
    let behind_name = stat.rsplit(") ").next().unwrap();
    let fields: Vec<_> = behind_name.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
