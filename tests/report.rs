//! Tests the measured start and the report of the shutdown as data.

use serde_json::Value;

use crate::support::http::{free_address, get};
use crate::support::{LONG, Rig, Signal};

#[test]
fn the_start_is_measured_and_its_critical_chain_named() {
    let address = free_address();
    let Some(rig) = Rig::new() else { return };
    let config = "
        control: {listen: 'ADDRESS'}
        processes:
          engine: {command: [CHILD, engine, sleep=400, touch=DIR/engine], readiness: {file: DIR/engine}}
          fast: {command: [CHILD, fast, touch=DIR/fast], readiness: {file: DIR/fast}}
          router: {command: [CHILD, router], depends_on: [fast, engine]}
        ";
    let drainit = rig.start(&config.replace("ADDRESS", &address.to_string()));
    let line = drainit.wait_for_line("everything is ready").text;
    let pattern = r"everything is ready after [0-9.]+m?s: engine [0-9.]+m?s → router [0-9.]+m?s$";
    assert!(regex_lite::Regex::new(pattern).unwrap().is_match(&line), "{line}");
    let status: Value = serde_json::from_str(&get(address, "/status").unwrap().1).unwrap();
    let (startup, processes) = (&status["startup"], &status["processes"]);
    let seconds = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{status}"));
    let chain = startup["chain"].as_array().unwrap();
    let names: Vec<_> = chain.iter().map(|link| link["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["engine", "router"], "{status}");
    let sum: f64 = chain.iter().map(|link| seconds(&link["seconds"])).sum();
    assert!((sum - seconds(&startup["seconds"])).abs() < 0.1, "{status}");
    assert!(seconds(&chain[0]["seconds"]) >= 0.4, "{status}");
    for process in processes.as_array().unwrap() {
        let (started, ready) =
            (seconds(&process["started_after_seconds"]), seconds(&process["ready_after_seconds"]));
        assert!(started <= ready && ready <= seconds(&startup["seconds"]) + 0.001, "{status}");
    }
    assert!(
        seconds(&processes[2]["started_after_seconds"])
            >= seconds(&processes[0]["ready_after_seconds"])
    );
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}
