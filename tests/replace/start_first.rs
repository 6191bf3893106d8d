//! Tests `update: start-first`: the new instance is ready before the old instance is drained and
//! stopped.

use crate::support::{Rig, Running};

fn pid(drainit: &Running) -> i64 {
    drainit.processes(&["app"])[0]["pid"].as_i64().unwrap()
}

// holds: C512
#[test]
fn a_signal_drains_the_old_instance() {
    for kind in ["signal", "notify"] {
        let Some(rig) = Rig::new() else { return };
        let config = "
        processes:
          app:
            command: [CHILD, app, print=up, 'on=USR1:exit:0']
            update: start-first
            readiness: {log: ^up$}
            drain: {KIND: {signal: USR1, time: 8s}}
        ";
        let drainit = rig.start_ready(&config.replace("KIND", kind));
        let before = pid(&drainit);
        drainit.exec(&["restart", "app"]).assert(0, "");
        assert_ne!(pid(&drainit), before);
        let record = drainit.record();
        let heard: Vec<_> =
            record.events.iter().filter(|event| event.what.starts_with("got")).collect();
        assert!(heard.len() == 1 && heard[0].what.starts_with("got SIGUSR1"), "{record}");
        drainit.stop().assert_code(0);
    }
}
