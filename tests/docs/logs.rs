//! Tests the program for mtail that counts stops from the log.

use crate::support::*;

const APP: &str = include_str!("../fixtures/slow_app.py");

/// Stops a server with a drain of a moment, after a client has asked for `answer` milliseconds of work,
/// and returns its log in JSON. The process `deaf` needs SIGKILL if there is time for it to start.
fn log_of_stop(answer: u64) -> Option<String> {
    let rig = Rig::new()?;
    let address = free_address();
    rig.write("app.py", APP);
    let config = "
        logging: {format: json}
        shutdown: {grace_period: 20s}
        processes:
          web:
            command: [python3, DIR/app.py, PORT]
            readiness: {tcp: 'ADDRESS'}
            drain: {connections: {min: 0, time: 500ms}}
          deaf:
            command: [CHILD, deaf, 'on=TERM:ignore', 'touch=DIR/deaf']
            readiness: {file: DIR/deaf}
            depends_on: []
            stop_grace_period: 100ms
        ";
    let config = config.replace("PORT", &address.port().to_string());
    let drainit = rig.start(&config.replace("ADDRESS", &address.to_string()));
    drainit.wait_for_line("\"event\":\"all_ready\"");
    let mut client = Client::new(address);
    let asks = match answer {
        0 => {
            assert_eq!(client.request(0).went, STAYS);
            drop(client);
            None
        }
        _ => Some(client.ask(answer)),
    };
    let ended = drainit.stop();
    drop(asks.map(|asks| asks.join()));
    Some(ended.text(Stream::Stderr))
}

// holds: C1019
#[test]
fn mtail_counts_the_cut_requests_of_the_last_lines() {
    if !is_installed("mtail") {
        return;
    }
    let dir = TempDir::for_everybody();
    let (Some(quiet), Some(cut)) = (log_of_stop(0), log_of_stop(60_000)) else { return };
    // The prefix of a container runtime.
    let prefixed = |log: &str| {
        log.lines()
            .map(|line| format!("2026-01-01T00:00:00Z stderr F {line}\n"))
            .collect::<String>()
    };
    dir.write("quiet.log", &quiet);
    dir.write("cut.log", prefixed(&cut));
    let program = checkout().join("examples/logs/drainit.mtail");
    let mut mtail = Command::new("mtail");
    mtail.args(["--one_shot", "--one_shot_format=prometheus", "--progs"]).arg(program);
    mtail.arg("--logs").arg(dir.path("quiet.log")).arg("--logs").arg(dir.path("cut.log"));
    let output = mtail.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for (name, count) in [
        ("drainit_stops_total{code=\"137\",", 2),
        ("drainit_stop_cut_requests_total{", 1),
        ("drainit_stops_cut_unknown_total{", 0),
        ("drainit_stop_killed_processes_total{", 2),
        ("drainit_stop_left_clients_total{", 0),
    ] {
        let counted =
            said.lines().any(|line| line.starts_with(name) && line.ends_with(&format!(" {count}")));
        assert!(counted, "no {name} {count} in {said}\n{quiet}{cut}");
    }
}
