//! Tests that a drain that counts connections follows its server: to other listeners, and to another
//! main process.

use crate::support::*;

const MOVING: &str = include_str!("../fixtures/moving_server.py");

/// Starts the server with a drain that counts on these ports, and waits until drainit has given
/// this number of warnings about the drain. Returns a client of each port.
fn start(ports: &str, warnings: usize) -> Option<(Running, [Client; 2])> {
    let rig = Rig::new()?;
    let (control, addresses) = (free_address(), [free_address(), free_address()]);
    rig.write("moving.py", MOVING);
    let config = "
        shutdown: {grace_period: 40s}
        control: {listen: 'CONTROL'}
        processes:
          web:
            command: [python3, DIR/moving.py, 'FIRST', 'SECOND']
            readiness: {notify: true}
            drain: {connections: {ports: PORTS, min: 0, time: 20s, idle: 1s}}
        "
    .replace("PORTS", ports)
    .replace("CONTROL", &control.to_string());
    let [first, second] = addresses.map(|address| address.port().to_string());
    let drainit = rig.start(&config.replace("FIRST", &first).replace("SECOND", &second));
    let known = format!("drainit_process_drain_warnings{{process=\"web\"}} {warnings}\n");
    drainit.wait_until(&known, || get(control, "/metrics").is_ok_and(|it| it.1.contains(&known)));
    Some((drainit, addresses.map(Client::new)))
}

// holds: S500, S501
#[test]
fn listeners_that_open_and_close_during_a_drain_count() {
    for ports in ["[]", "[FIRST, SECOND]"] {
        let Some((drainit, [first, second])) = start(ports, 0) else { return };
        let address = first.address();
        let old = first.ask(3000);
        drainit.signal(Signal::SIGTERM);
        drainit.wait_for_line("web: draining");
        assert_eq!(Client::new(address).request(7).went, STAYS);
        let new = second.ask(5000);
        let ended = drainit.wait_exit(LONG);
        let went = [old, new].map(|request| request.join().unwrap().went);
        assert_eq!(went, [STAYS; 2], "{ports} {}", ended.record);
        ended.assert_line("web: drain over after .*: no request in flight");
    }
}

// holds: S501
#[test]
fn connections_of_a_listener_that_closed_before_the_drain_count() {
    let Some((drainit, [first, second])) = start("[]", 0) else { return };
    let address = first.address();
    let old = first.ask(4000);
    assert_eq!(Client::new(address).request(7).went, STAYS);
    drop(second);
    let ended = drainit.stop();
    assert_eq!(old.join().unwrap().went, STAYS, "{}", ended.record);
}

// holds: S502
#[test]
fn connections_of_a_former_main_process_count_even_after_the_drain_began() {
    for is_draining in [false, true] {
        let Some((drainit, [first, _])) = start("[]", 0) else { return };
        let address = first.address();
        let old = first.ask(4000);
        if is_draining {
            drainit.signal(Signal::SIGTERM);
            drainit.wait_for_line("web: draining");
        }
        let mut takes_over = Client::new(address);
        takes_over.send(9).unwrap();
        drainit.wait_for_line("web: its main process is now");
        let ended = if is_draining { drainit.wait_exit(LONG) } else { drainit.stop() };
        assert_eq!(old.join().unwrap().went, STAYS, "{}", ended.record);
        ended.assert_line("web: drain over after .*: no request in flight");
    }
}

// holds: S331, S503
#[test]
fn the_warning_that_nobody_listens_is_taken_back_when_somebody_does() {
    let Some((drainit, [mut first, _])) = start("[SECOND]", 1) else { return };
    drainit.wait_for_line("web: its drain will last until `time`: nobody listens");
    let warnings = |drainit: &Running| drainit.processes(&["web"])[0]["warnings"].clone();
    assert_eq!(warnings(&drainit).as_array().map(Vec::len), Some(1));
    first.request(7);
    drainit.wait_for_line("web: listens now");
    assert_eq!(warnings(&drainit), serde_json::Value::Null);
    drainit.stop().assert_stopped_within(ms(0)..ms(6000));
}
