//! Tests `update: start-first`: the new instance is ready before the old one is drained and stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use testkit::load::{IdleClose, Load, Plan, Service};

use crate::support::http::{free_address, get};
use crate::support::{LONG, Over, Rig, Running, Signal, ms};

const SERVER: &str = include_str!("fixtures/polite_server.py");

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
    let drainit = rig.start(&CONFIG.replace("ADDRESS", &address.to_string()));
    drainit.wait_for_line("everything is ready");
    Some(drainit)
}

/// The entries of the app in `drainit status`.
fn entries(drainit: &Running) -> Vec<serde_json::Value> {
    let status = drainit.exec(&["status", "app", "--format", "json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["processes"].as_array().unwrap().clone()
}

fn pid(drainit: &Running) -> i64 {
    entries(drainit)[0]["pid"].as_i64().unwrap()
}

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
        let drainit = rig.start(&config.replace("KIND", kind));
        drainit.wait_for_line("everything is ready");
        let before = pid(&drainit);
        drainit.exec(&["restart", "app"]).assert(0, "");
        assert_ne!(pid(&drainit), before);
        let record = drainit.record();
        let heard: Vec<_> =
            record.events.iter().filter(|event| event.what.starts_with("got")).collect();
        assert!(heard.len() == 1 && heard[0].what.starts_with("got SIGUSR1"), "{record}");
        drainit.signal(Signal::SIGTERM);
        drainit.wait_exit(LONG).assert_code(0);
    }
}

#[test]
fn restarts_under_load_fail_and_refuse_nothing() {
    let address = free_address();
    let Some(drainit) = start(address) else { return };
    let mut pids = vec![pid(&drainit)];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let is_over = &AtomicBool::new(false);
    let report = thread::scope(|scope| {
        let _over = Over(is_over);
        let load = scope.spawn(move || {
            runtime.block_on(async {
                let plan = Plan {
                    clients: 8,
                    rate: 200.0,
                    length: 4 * LONG,
                    idle_close: IdleClose::Noticed,
                };
                let load = Load::start(&Service::new(&[address]), plan);
                while !is_over.load(Ordering::Relaxed) {
                    tokio::time::sleep(ms(20)).await;
                }
                load.end_after(Duration::ZERO);
                load.finish().await
            })
        });
        for version in 0..10 {
            std::fs::write(drainit.path("version"), version.to_string()).unwrap();
            drainit.exec(&["restart", "app"]).assert(0, "");
            assert!(get(address, "/").unwrap().1.starts_with(&format!("{version} ")));
            pids.push(pid(&drainit));
        }
        is_over.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(report.total.failed == 0, "{report}\n{}", drainit.record());
    assert!(report.total.ok > 500, "{report}");
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 11, "{pids:?}");
    assert_eq!(entries(&drainit).len(), 1);
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0);
    assert!(get(address, "/").is_err());
}

#[test]
fn a_new_instance_that_does_not_get_ready_is_taken_back() {
    let address = free_address();
    let Some(drainit) = start(address) else { return };
    let first = pid(&drainit);
    for (version, why) in [("broken", "exited with code 3"), ("slow", "did not become ready")] {
        std::fs::write(drainit.path("version"), version).unwrap();
        drainit.exec(&["restart", "app"]).assert(1, why);
        drainit.exec(&["health"]).assert(0, "");
        assert_eq!(get(address, "/").unwrap().1, format!("one {first}"));
        assert_eq!(pid(&drainit), first);
        drainit.wait_until("one instance", || entries(&drainit).len() == 1);
    }
    drainit.wait_for_line("app: the new instance is taken back, the old one goes on");
    std::fs::write(drainit.path("version"), "two").unwrap();
    drainit.exec(&["restart", "app"]).assert(0, "");
    assert!(get(address, "/").unwrap().1.starts_with("two "));
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}

#[test]
fn the_report_names_no_instance_that_is_gone() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          app:
            command: [CHILD, app, print=up]
            update: start-first
            readiness: {log: ^up$}
            restart: always
            restart_delay: 1ms
        ",
    );
    drainit.wait_for_line("everything is ready");
    drainit.exec(&["restart", "app"]).assert(0, "");
    let named = pid(&drainit);
    drainit.exec(&["kill", "app"]).assert(0, "");
    drainit.wait_for_line("app: was ended by SIGKILL; restart 1");
    drainit.exec(&["health", "--wait", "30s"]).assert(0, "ready");
    assert_ne!(pid(&drainit), named);
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line("  stop app: ").assert_no_line(r"stop app \(PID");
}
