//! Tests `/metrics` of the real binary.

use std::io::Write;

use crate::support::*;

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

#[test]
fn prometheus_accepts_the_metrics_of_a_drain_and_of_the_stops_after_the_drain() {
    let (address, admin) = (free_address(), Admin::tcp(3));
    let Some(rig) = Rig::new() else { return };
    let config = "
        control: {listen: 'ADDRESS'}
        processes:
          router:
            command: [CHILD, router]
            drain: {envoy: {admin: 'http://ADMIN', time: 2s, min: 200ms}}
          app: {command: [CHILD, app, 'on=TERM:exit:0:2000']}
        ";
    let config = config.replace("ADDRESS", &address.to_string());
    let drainit = rig.start_ready(&config.replace("ADMIN", &admin.address().to_string()));
    admin.wait_verified();
    let mut seen = vec![get(address, "/metrics").unwrap().1];
    drainit.signal(Signal::SIGTERM);
    for sample in [
        "drainit_drain_connections_active{process=\"router\"} 3\n",
        // The router has ended, and drainit still answers: it waits for the app.
        "drainit_process_last_exit_code{process=\"router\"} 0\n",
    ] {
        drainit.wait_until(sample, || get(address, "/metrics").unwrap().1.contains(sample));
        seen.push(get(address, "/metrics").unwrap().1);
    }
    drainit.wait_exit(LONG).assert_code(0);
    if is_installed("promtool") {
        seen.iter().for_each(|text| assert_no_lint(text));
    }
}
