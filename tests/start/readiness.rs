//! Tests that every kind of probe delays the dependents and reports why it fails.

use crate::support::http::free_address;
use crate::support::said;
use crate::support::{LONG, Rig, in_parallel};

/// `a` makes its probe succeed some time after its start, and `b`, which waits for `a`, must not
/// start before. `ADDRESS` stands for a free address.
// holds: C160, C210, C211, C212, C214, C215, C216, C217, C258, C434
#[test]
fn every_kind_of_probe_holds_back_the_dependents() {
    let cases = [
        ("unix: DIR/a.sock", "unix=DIR/a.sock"),
        ("tcp: 'ADDRESS'", "tcp=ADDRESS"),
        ("http: 'http://ADDRESS/ready', interval: 20ms", "http=ADDRESS,3"),
        ("exec: [test, -e, DIR/a.file], interval: 20ms", "touch=DIR/a.file"),
        ("file: DIR/a.file", "touch=DIR/a.file"),
        (r"log: '^listening on \d+$'", "print=listening on 8080"),
        ("notify: true", "notify=READY=1"),
    ];
    in_parallel(cases, |(readiness, step)| {
        let Some(rig) = Rig::new() else { return };
        let config = format!(
            "
            processes:
              a:
                command: [CHILD, a, sleep=150, '{step}']
                readiness: {{{readiness}, timeout: 10s}}
                log: {{prefix: a}}
              b: {{command: [CHILD, b], depends_on: {{a: {{condition: ready}}}}}}
            "
        );
        let drainit = rig.start(&config.replace("ADDRESS", &free_address().to_string()));
        drainit.wait_for_start(&["b"]);
        drainit
            .stop()
            .assert_code(0)
            .assert_order(&["a sleep", "b start"])
            .assert_line(&said::ready("a"))
            .assert_stopped_in_order(&["b", "a"]);
    });
}

// holds: C221
#[test]
fn a_timeout_says_why_the_last_attempt_failed() {
    let cases = [
        ("unix: DIR/a.sock", "x", "no such file"),
        ("tcp: 'ADDRESS'", "x", "connection refused"),
        ("http: 'http://ADDRESS/'", "http=ADDRESS,1000000", "503"),
        ("envoy: 'http://ADDRESS'", "x", "http://ADDRESS: connection refused"),
        ("exec: ['false']", "x", "exited with code 1"),
        ("exec: [sleep, '60']", "x", ""),
        ("log: 'never said'", "x", "no line of it matches `never said`"),
        ("notify: true", "notify=STATUS=warming up", "warming up"),
    ];
    in_parallel(cases, |(readiness, step, reason)| {
        let address = free_address().to_string();
        let Some(rig) = Rig::new() else { return };
        let config = format!(
            "
            processes:
              a:
                command: [CHILD, a, '{step}']
                readiness: {{{readiness}, timeout: 3s, interval: 20ms}}
                log: {{prefix: a}}
            "
        );
        let config = config.replace("ADDRESS", &address);
        let reason = reason.replace("ADDRESS", &address);
        rig.run(&config).assert_code(1).assert_line(&format!("a: not ready after 3s.*{reason}"));
    });
}

#[test]
fn a_restart_that_is_not_ready_in_time_names_the_pattern_and_the_keys() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(
        "
        processes:
          a:
            command: [sh, -c, 'test -e DIR/slow || echo up; exec sleep 60']
            readiness: {log: '^up$', timeout: 1s}
            restart: always
            restart_delay: 10ms
        ",
    );
    drainit.touch("slow");
    drainit.exec(&["kill", "a"]).assert(0, "");
    drainit.wait_exit(LONG).assert_code(1).assert_line(
        "a: not ready after 1s: no line of it matches `\\^up\\$`; set `required: false` .*`readiness.timeout`",
    );
}
