//! Tests `update: start-first`: the new instance is ready before the old instance is drained and
//! stopped.

use testkit::load::{IdleClose, Plan};

use crate::support::example::under_load;
use crate::support::http::{free_address, get};
use crate::support::{LONG, Rig, Running};

const SERVER: &str = include_str!("../fixtures/polite_server.py");

const CONFIG: &str = "
processes:
  app:
    command: [python3, server.py]
    working_dir: DIR
    listen: [tcp://ADDRESS]
    update: start-first
    readiness: {log: ^serving$, timeout: 8s}
    log: {prefix: app}
  user: {command: [CHILD, user], depends_on: [app]}
";

fn start(address: std::net::SocketAddr) -> Option<Running> {
    let rig = Rig::new()?;
    rig.write("server.py", SERVER);
    rig.write("version", "one");
    let drainit = rig.start_ready(&CONFIG.replace("ADDRESS", &address.to_string()));
    Some(drainit)
}

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

// holds: S153
#[test]
fn the_report_has_the_order_of_the_config_after_a_replacement() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(
        "
        shutdown: {report: DIR/report.json}
        processes:
          app: {command: [CHILD, app, print=up], update: start-first, readiness: {log: ^up$}}
          base: {command: [CHILD, base]}
        ",
    );
    drainit.exec(&["restart", "app"]).assert(0, "");
    let report = drainit.stop().report("report.json");
    let names: Vec<_> =
        report["processes"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["app", "base"]);
}

// holds: C180, C332
#[test]
fn restarts_under_load_lose_no_request_and_refuse_no_connection() {
    let address = free_address();
    let Some(drainit) = start(address) else { return };
    let mut pids = vec![pid(&drainit)];
    let (clients, rate, length) = (8, 200.0, 4 * LONG);
    let plan = Plan { clients, rate, length, idle_close: IdleClose::Noticed };
    let report = under_load(address, plan, || {
        for version in 0..10 {
            std::fs::write(drainit.path("version"), version.to_string()).unwrap();
            drainit.exec(&["restart", "app"]).assert(0, "");
            assert!(get(address, "/").unwrap().1.starts_with(&format!("{version} ")));
            pids.push(pid(&drainit));
        }
    });
    assert!(report.total.failed == 0, "{report}\n{}", drainit.record());
    assert!(report.total.ok > 500, "{report}");
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 11, "{pids:?}");
    assert_eq!(drainit.processes(&["app"]).len(), 1);
    let ended = drainit.stop();
    ended.assert_code(0);
    assert!(get(address, "/").is_err());
}
