//! Tests the counts in `/metrics` of the real binary, and that drainit answers requests for
//! `/metrics` until the end.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::support::example::is_installed;
use crate::support::http::{free_address, get};
use crate::support::{Admin, LONG, Rig, Signal, ms, now};

/// Asserts that Prometheus accepts these metrics and has no complaint about their names.
#[track_caller]
fn assert_no_lint(text: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut promtool = promtool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

/// Returns the value of a sample.
fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn metrics(address: SocketAddr) -> Option<String> {
    get(address, "/metrics").ok().filter(|(code, _)| *code == 200).map(|(_, text)| text)
}

#[test]
fn a_drain_is_shown_until_the_end() {
    let (address, admin) = (free_address(), Admin::tcp(3));
    let Some(rig) = Rig::new() else { return };
    let config = "
        shutdown: {grace_period: 12s, readiness_delay: 300ms}
        control: {listen: 'ADDRESS'}
        processes:
          router:
            command: [CHILD, router, 'on=TERM:exit:0:300']
            drain: {envoy: {admin: 'http://ADMIN', time: 1500ms, min: 200ms}}
          app: {command: [CHILD, app, 'on=TERM:exit:0:4000']}
        ";
    let config = config.replace("ADDRESS", &address.to_string());
    let drainit = rig.start_ready(&config.replace("ADMIN", &admin.address().to_string()));
    admin.wait_verified();
    let before = metrics(address).unwrap();
    assert_eq!(value(&before, "drainit_phase{phase=\"running\"}"), Some(1.0), "{before}");
    assert_eq!(value(&before, "drainit_drain_connections_active{process=\"router\"}"), None);

    drainit.signal(Signal::SIGTERM);
    let mut seen = vec![(now(), before)];
    while let Some(text) = metrics(address) {
        seen.push((now(), text));
        std::thread::sleep(ms(10));
    }
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0);

    let in_phase = |phase: &str| {
        let sample = format!("drainit_phase{{phase=\"{phase}\"}}");
        let texts: Vec<&str> = seen.iter().map(|(_, text)| text.as_str()).collect();
        let found = texts.into_iter().filter(|text| value(text, &sample) == Some(1.0));
        let found: Vec<&str> = found.collect();
        assert!(!found.is_empty(), "never {phase}");
        found
    };
    let (draining, stopping) = (in_phase("draining"), in_phase("stopping"));
    let connections = "drainit_drain_connections_active{process=\"router\"}";
    let left = "drainit_drain_left_seconds{process=\"router\"}";
    let halfway = draining.iter().find(|text| value(text, connections) == Some(3.0));
    let halfway = halfway.expect("the connections are seen during the drain");
    assert!(value(halfway, left).is_some_and(|left| left > 0.0), "{halfway}");
    assert!(value(halfway, "drainit_shutdown_deadline_seconds").is_some(), "{halfway}");

    let last = *stopping.last().unwrap();
    for (sample, expected) in [
        (connections, 3.0),
        ("drainit_drain_requests_active{process=\"router\"}", 0.0),
        (left, 0.0),
        ("drainit_process_drains_total{process=\"router\",reason=\"time_over\"}", 1.0),
        ("drainit_process_drains_total{process=\"router\",reason=\"quiet\"}", 0.0),
        ("drainit_ready", 0.0),
        ("drainit_shutting_down", 1.0),
    ] {
        assert_eq!(value(last, sample), Some(expected), "{sample} in\n{last}");
    }
    let drained = value(last, "drainit_drain_duration_seconds{process=\"router\"}").unwrap();
    assert!((1.4..8.0).contains(&drained), "{last}");
    let phase = value(last, "drainit_phase_seconds{phase=\"draining\"}").unwrap();
    assert!(phase >= drained + 0.29, "the delay before the drain counts, too:\n{last}");
    // The router has ended, and drainit still answers: it waits for the app.
    assert_eq!(value(last, "drainit_process_last_exit_code{process=\"router\"}"), Some(0.0));
    let unseen = ended.at().saturating_sub(seen.last().unwrap().0);
    assert!(unseen < ms(3500), "not answered in the last {unseen:?}:\n{}", ended.record);

    if is_installed("promtool") {
        for text in [&seen[0].1, *halfway, last] {
            assert_no_lint(text);
        }
    }
}
