//! Tests that every kind of probe delays the dependents and reports why it fails.

use serde_json::json;
use testkit::envoy::TESTED;

use crate::support::http::{free_address, get_unix};
use crate::support::real_envoy::{RealEnvoy, add_control_plane};
use crate::support::{LONG, Rig, in_parallel, ms};

/// `a` performs a step some time after its start, and `b` waits for `a`: it is not started before
/// that step. `ADDRESS` is a free address.
// holds: C160, C210, C211, C212, C214, C215, C216, C217, C258, C434
#[test]
fn every_kind_of_probe_holds_back_what_waits_for_it() {
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
            .assert_line("a: ready after")
            .assert_stopped_in_order(&["b", "a"]);
    });
}

// holds: C214
#[test]
fn a_command_that_hangs_is_killed_after_10_s_and_its_output_is_dropped() {
    let Some(rig) = Rig::new() else { return };
    // Only the first one hangs.
    let drainit = rig.start(
        "
        processes:
          a:
            command: [CHILD, a]
            log: {}
            readiness:
              exec: [sh, -c, 'test -e DIR/once && exit; touch DIR/once; echo said; echo said >&2; exec CHILD probe']
              interval: 10ms
        ",
    );
    let began = drainit.wait_for_event("probe", "start").at;
    let took = drainit.wait_for_line("a: ready after").at - began;
    assert!((ms(9_500)..ms(20_000)).contains(&took), "{took:?}");
    drainit.wait_until("only a is left", || drainit.children_in_state('S') == 1);
    drainit.stop().assert_code(0).assert_no_line("said");
}

// holds: C216, C434
#[test]
fn the_output_is_read_without_a_log_too() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "processes: {a: {command: [CHILD, a, print=listening], readiness: {log: '^listening$', timeout: 10s}}}",
    );
    drainit.wait_for_line("a: ready after");
    drainit.wait_for_line("^listening$");
}

#[test]
fn drainit_itself_notifies_the_supervisor_above_it() {
    let Some(rig) = Rig::new() else { return };
    let inner = rig.fill(
        "
        processes:
          app:
            command: [CHILD, app, sleep=150, touch=DIR/ready]
            readiness: {file: DIR/ready, timeout: 10s}
        ",
    );
    rig.write("inner.yaml", inner);
    let outer = "
        processes:
          inner:
            command: [DRAINIT, run, --config, DIR/inner.yaml]
            readiness: {notify: true, timeout: 10s}
          after: {command: [CHILD, after], depends_on: {inner: {condition: ready}}}
    ";
    let drainit = rig.start(&outer.replace("DRAINIT", env!("CARGO_BIN_EXE_drainit")));
    drainit.wait_for_start(&["after"]);
    drainit.stop().assert_code(0).assert_order(&["app sleep", "after start"]);
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
        ("log: 'never said'", "x", ""),
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

const BY_ENVOY: &str = "envoy: 'unix:DIR/admin.sock'";

// holds: C224
#[test]
fn an_envoy_with_a_static_listener_is_ready_when_it_listens() {
    in_parallel(TESTED, |version| {
        let envoy = RealEnvoy { version, readiness: BY_ENVOY, ..RealEnvoy::default() };
        let Some((_drainit, address)) = envoy.start() else { return };
        assert!(std::net::TcpStream::connect(address).is_ok());
    });
}

// holds: C213, C223
#[test]
fn an_envoy_without_its_control_plane_is_not_ready_although_it_says_so() {
    in_parallel(TESTED, |version| {
        let envoy = RealEnvoy {
            version,
            readiness: BY_ENVOY,
            // Nobody listens there. Envoy waits 100 ms, and its own `/ready` is 200 then.
            change: |config| {
                add_control_plane(config, "cds", ([127, 0, 0, 1], 1).into(), "0.1s");
            },
            ..RealEnvoy::default()
        };
        let Some((drainit, _)) = envoy.launch() else { return };
        let get = |socket: &str, path: &str| get_unix(&drainit.path(socket), path);
        drainit
            .wait_until("Envoy to be live", || matches!(get("admin.sock", "/ready"), Ok((200, _))));
        drainit.wait_until("the reason", || {
            get("control.sock", "/status").is_ok_and(|(_, status)| {
                status.contains("xDS is not connected (") && !status.contains("Envoy is")
            })
        });
        let (code, why) = get("control.sock", "/readyz").unwrap();
        assert!(code == 503 && why.contains("xDS is not connected ("), "{code} {why}");
    });
}

// holds: C225
#[test]
fn an_envoy_without_a_listener_is_not_ready() {
    let envoy = RealEnvoy {
        readiness: BY_ENVOY,
        change: |config| config["static_resources"]["listeners"] = json!([]),
        ..RealEnvoy::default()
    };
    let Some((drainit, _)) = envoy.launch() else { return };
    drainit.wait_until("the reason", || {
        get_unix(&drainit.path("control.sock"), "/readyz")
            .is_ok_and(|(code, why)| code == 503 && why.contains("Envoy has no listener"))
    });
}

#[test]
fn a_pattern_that_no_line_matches_is_named() {
    let Some(rig) = Rig::new() else { return };
    let ended = rig.run(
        "processes: {a: {command: [CHILD, a, print=Listening], readiness: {log: '^listening$', timeout: 300ms}}}",
    );
    let line = "error: a: not ready after .*: no line of it matches `.listening.`; its last lines";
    ended.assert_code(1).assert_line(line);
}

#[test]
fn a_slow_restart_that_ends_the_container_names_the_mend() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          a:
            command:
              - sh
              - -c
              - 'test -e DIR/again && exec CHILD a; touch DIR/again DIR/up; CHILD a await=DIR/end exit=0; rm DIR/up; exit 7'
            readiness: {file: DIR/up, timeout: 1s}
            restart: always
            restart_delay: 10ms
        ",
    );
    drainit.wait_for_line("a: ready after");
    drainit.touch("end");
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(1)
        .assert_line("error: a: not ready after .*`required: false` and `on_exit: ignore`");
}
