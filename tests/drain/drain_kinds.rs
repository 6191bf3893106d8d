//! Tests every kind of drain except Envoy's: ends, failures, and several drains at the same time.

use crate::support::*;

/// The longest time that a drain may take if the test expects an early end. A drain without an
/// early end takes much longer: 8 s (`time`), or until the deadline.
const LATE: Duration = ms(6000);

/// The config of an app with a drain and its dependency. On SIGUSR1 the app creates `DIR/drain`, so
/// `STEPS` can wait for this file.
const CONFIG: &str = "
shutdown: {grace_period: 20s, reserve: 1s}
processes:
  store: {command: [CHILD, store]}
  app:
    command: [CHILD, app, 'on=USR1:touch:DIR/drain', STEPS]
    depends_on: [store]
    stop_grace_period: 1s
    drain: {HOW}
";

fn start(drain: &str, steps: &str) -> Option<Running> {
    Some(start_in(Rig::new()?, drain, steps))
}

fn start_in(rig: Rig, drain: &str, steps: &str) -> Running {
    let config = CONFIG.replace("STEPS", steps).replace("HOW", drain);
    let drainit = rig.start_ready(&config);
    drainit.wait_for_start(&["store", "app"]);
    drainit
}

/// Asserts that the app was asked to end in this range of time after `since`.
#[track_caller]
fn assert_asked(ended: &Ended, since: Duration, range: std::ops::Range<Duration>) {
    let took = ended.event("app", "got SIGTERM").at - since;
    assert!(range.contains(&took), "asked after {took:?}, and not {range:?}:\n{}", ended.record);
}

/// Stops drainit, and asserts what all kinds of drain have in common.
#[track_caller]
fn stop(drainit: Running, why: &str) -> Ended {
    let ended = drainit.stop();
    ended
        .assert_code(0)
        .assert_line(&format!(r"^\[drainit\].* app: drain over after .*: {why}"))
        .assert_line(&format!(r"^\[drainit\].*  drain app: [^;]*{why}$"))
        .assert_stopped_in_order(&["app", "store"])
        .assert_no_line(said::LEFT_OVER);
    ended
}

// holds: C389, C390
#[test]
fn a_request_may_have_any_method_and_go_to_a_unix_socket() {
    let Some(rig) = Rig::new() else { return };
    // Without an Envoy, drainit verifies nothing before the drain, so the fake admin must record
    // from the start.
    let admin = Admin::unix(0, &rig.path("app.sock")).faulty_throughout();
    let drain = "http: {url: 'unix:DIR/app.sock:/drain?now=1', method: PUT, time: 8s}";
    let ended = stop(start_in(rig, drain, ""), "complete");
    assert_asked(&ended, ended.asked, ms(0)..LATE);
    let seen: Vec<_> = admin.seen().into_iter().map(|seen| seen.what).collect();
    assert_eq!(seen, ["PUT /drain?now=1"]);
}

// holds: S920, S921
#[test]
fn a_drain_that_is_off_is_named_in_the_log_and_in_the_report() {
    let Some(rig) = Rig::new() else { return };
    let why = "not drained: its drain's `time` is 0$";
    let config = r#"
        processes:
          store:
            command: [CHILD, store]
            drain: {only_if: {value: "${ON:-}", is: "yes"}, connections: {}}
          app:
            command: [CHILD, app]
            depends_on: [store]
            drain: {connections: {time: "${TIME}"}}
        "#;
    let drainit = rig.env("TIME", "0").start_ready(config);
    drainit.wait_for_start(&["store", "app"]);
    drainit
        .stop()
        .assert_code(0)
        .assert_stopped_in_order(&["app", "store"])
        .assert_line(&format!(r"^\[drainit\].* warning: app: {why}"))
        .assert_line(&format!(r"  app: {why}"))
        .assert_line(r"  store: not drained: its drain's `only_if` does not hold$")
        .assert_no_line("draining for");
}

// holds: C680, C681
#[test]
fn the_header_fields_are_sent_and_no_value_is_shown() {
    let Some(rig) = Rig::new() else { return };
    rig.write("token", "Bearer s3cret\n");
    let admin = Admin::tcp(0);
    let drain = format!(
        "http: {{url: 'http://{}/drain', time: 8s, headers: {{Authorization: {{file: DIR/token}}, x-key: p1ain}}}}",
        admin.address()
    );
    let ended = stop(start_in(rig, &drain, ""), "complete");
    let head = &admin.seen()[0].head;
    for field in ["authorization: Bearer s3cret", "x-key: p1ain"] {
        assert!(head.iter().any(|line| line == field), "{head:?}");
    }
    ended.assert_no_line("s3cret").assert_no_line("p1ain");

    let Some(rig) = Rig::new() else { return };
    rig.write("token", "s3cret\u{1}");
    let ended = stop(start_in(rig, &drain, ""), "it did not accept the drain.*");
    ended
        .assert_line("header field `authorization`: .*/token` has a character that HTTP forbids")
        .assert_no_line("s3cret");
    assert_eq!(admin.seen().len(), 1);
}

// holds: C362, C363, C372, C392, C638
#[test]
fn a_drain_that_is_not_accepted_is_reported_and_only_min_is_held() {
    let refuses = Admin::tcp(0).answer("/drain", &[Answer::Status(503)]);
    let (refuses_at, nobody_at) = (refuses.address(), free_address());
    for (drain, least, reason) in [
        (
            &*format!("http: {{url: 'http://{refuses_at}/drain', time: 8s, min: 3s}}"),
            3000,
            "its drain request: answered 503",
        ),
        // `time` is over while drainit still repeats the request.
        (
            &*format!("http: {{url: 'http://{nobody_at}/drain', time: 300ms}}"),
            0,
            "its drain request: connection refused",
        ),
        (
            "exec: {command: [CHILD, drainer, exit=3], time: 8s, min: 700ms}",
            700,
            "its drain: its command exited with code 3",
        ),
        (
            "exec: {command: [/no/drainer], time: 8s, min: 700ms}",
            700,
            "its drain: `/no/drainer` does not exist",
        ),
    ] {
        let Some(drainit) = start(drain, "") else { return };
        let ended = stop(drainit, "it did not accept the drain.*");
        assert_asked(&ended, ended.asked, ms(least)..LATE);
        ended
            .assert_line(&format!(r"^\[drainit\].* warning: app: {reason}"))
            .assert_line(&format!(r"^\[drainit\][^a-z]*  app: {reason}"));
    }
    assert!((2..25).contains(&refuses.posts().len()), "{:?}", refuses.posts());

    let hesitates =
        Admin::tcp(0).answer("/drain", &[Answer::Status(503), Answer::Close, Answer::Ok]);
    let drain = format!("http: {{url: 'http://{}/drain', time: 8s}}", hesitates.address());
    let Some(drainit) = start(&drain, "") else { return };
    stop(drainit, "complete").assert_no_line("warning");
    assert_eq!(hesitates.posts().len(), 3);
}

// holds: C734, C392
#[test]
fn a_request_is_repeated_until_the_answer_says_that_the_drain_is_over() {
    // One request gets no answer. If that comes late, the requests are repeated all the same.
    let mut answers = [Answer::Status(503); 7];
    (answers[0], answers[5], answers[6]) = (Answer::Ok, Answer::Close, Answer::Status(204));
    let busy = Admin::tcp(0).answer("/drain", &answers);
    let drain = format!("http: {{url: 'http://{}/drain', until: 204, time: 9s}}", busy.address());
    let Some(drainit) = start(&drain, "") else { return };
    let ended = stop(drainit, "complete");
    assert_asked(&ended, ended.asked, ms(2500)..LATE);
    assert_eq!(busy.posts().len(), 7);
    // This server never answers 204.
    let busy = Admin::tcp(0);
    let drain = format!("http: {{url: 'http://{}/drain', until: 204, time: 2s}}", busy.address());
    let Some(drainit) = start(&drain, "") else { return };
    let ended = stop(drainit, "its `time` of .* is over.*");
    assert_asked(&ended, ended.asked, ms(2000)..LATE);
    // Nobody answers any more, at first or after a while.
    for answers in [&[Answer::Close][..], &[Answer::Ok, Answer::Close]] {
        let gone = Admin::tcp(0).answer("/drain", answers);
        let drain = format!(
            "http: {{url: 'http://{}/drain', until: 204, time: 20s, min: 0s}}",
            gone.address()
        );
        let Some(drainit) = start(&drain, "") else { return };
        let ended = stop(drainit, "it did not accept the drain, so drainit only waited for `min`");
        assert_asked(&ended, ended.asked, ms(1900)..LATE);
    }
}

// holds: C396
#[test]
fn a_command_that_takes_too_long_is_killed() {
    let drain = "exec: {command: [CHILD, drainer, 'on=TERM:ignore'], time: 800ms}";
    let Some(drainit) = start(drain, "") else { return };
    let ended = stop(drainit, "its `time` of .* is over.*");
    assert_asked(&ended, ended.asked, ms(800)..LATE);
    // drainit kills the command of the drain when `time` is over. Otherwise the command would be a
    // leftover, and get SIGTERM at the end.
    ended.assert_no_event("drainer", "got SIGTERM");
    // A drain that counts connections, which are unknown here, kills its command, too.
    let counts = drain.replace("800ms}", "800ms, connections: {}}");
    let Some(drainit) = start(&counts, "") else { return };
    let ended = drainit.stop();
    ended.assert_code(0).assert_line("app: drain over after .*: its `time` of .* is over; .*");
    assert_asked(&ended, ended.asked, ms(800)..LATE);
    ended.assert_no_event("drainer", "got SIGTERM");
}

// holds: C396
#[test]
fn a_second_signal_kills_the_command() {
    let drain = "exec: {command: [CHILD, drainer, 'on=TERM:ignore'], time: 8s, min: 5s}";
    let Some(drainit) = start(drain, "") else { return };
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_start(&["drainer"]);
    let again = drainit.signal_again(Signal::SIGINT);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_took(again, ms(0)..ms(4000))
        .assert_stopped_in_order(&["app", "store"])
        .assert_line("drain app: .*cut short by a second signal")
        .assert_no_event("drainer", "got SIGTERM")
        .assert_no_line(said::LEFT_OVER);
}

// holds: C364, C365, C397
#[test]
fn a_drain_by_signal_is_over_when_the_process_ends() {
    let steps = "'on=USR2:exit:0:700', 'spawn=member,on=USR2:ignore'";
    for kind in ["signal", "notify"] {
        let drain = format!("{kind}: {{signal: USR2, time: 8s}}");
        let Some(drainit) = start(&drain, steps) else { return };
        drainit.wait_for_start(&["member"]);
        let ended = drainit.stop();
        ended
            .assert_code(0)
            .assert_stopped_within(ms(700)..LATE)
            .assert_order(&["app got SIGUSR2", "app exit 0", "store got SIGTERM"])
            .assert_no_event("app", "got SIGTERM")
            .assert_no_event("member", "got SIGUSR2")
            .assert_line("drain app: [^;]*the process has ended$")
            .assert_line(r"app: exited with code 0, [0-9.]+m?s after it was asked to stop");
    }
}

// holds: C106, C365, C1072, C400, C401, C402, C403
#[test]
fn a_notification_ends_a_drain_and_the_status_is_shown_meanwhile() {
    let address = free_address();
    let steps = "'spawn=member,on=USR1:ignore', await=DIR/drain, notify=STATUS=3 items left, \
                 await=DIR/go, notify=DRAINED=1";
    let config = CONFIG
        .replace("STEPS", steps)
        .replace("HOW", "notify: {signal: USR1, time: 8s}")
        .replace("processes:", &format!("control: {{listen: '{address}'}}\nprocesses:"));
    let Some(drainit) = Rig::ready(&config) else { return };
    drainit.wait_for_start(&["app", "member"]);
    drainit.signal(Signal::SIGTERM);
    drainit.wait_until("a status", || {
        let status: Value = serde_json::from_str(&get(address, "/status").unwrap().1).unwrap();
        let app = &status["processes"][1];
        status["phase"] == "draining"
            && status["ready"] == false
            && app["state"] == "draining"
            && drainit.status(&[])["processes"][1]["message"] == "it says: 3 items left"
    });
    // Clients of the TCP port do not see text that a process wrote.
    assert!(!get(address, "/status").unwrap().1.contains("items"));
    assert!(drainit.record().event("app", "got SIGTERM").is_none());
    drainit.touch("go");
    let notified = drainit.wait_for_event("app", "notify").at;
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_line("drain app: [^;]*complete$")
        .assert_no_event("member", "got SIGUSR1")
        .assert_stopped_in_order(&["app", "store"]);
    assert_asked(&ended, notified, ms(0)..LATE);
}

// holds: S23, S36, S372, C362, C363, C370, C391, C393
#[test]
fn drains_run_together_each_within_the_time_of_that_drain() {
    let admin = Admin::tcp(0).answer("/drain", &[Answer::Late(1200)]);
    let config = "
        shutdown: {grace_period: 20s, reserve: 1s}
        processes:
          by-request:
            command: [CHILD, by-request]
            drain: {http: {url: 'http://ADMIN/drain', time: 8s}}
          by-command:
            command: [CHILD, by-command]
            drain: {exec: {command: [CHILD, drainer, sleep=300, exit=0], time: 8s}}
          by-signal:
            command: [CHILD, by-signal, 'on=USR1:exit:0:600']
            drain: {signal: {signal: USR1, time: 8s}}
          by-message:
            command: [CHILD, by-message, 'on=USR1:touch:DIR/drain', await=DIR/drain, notify=DRAINED=1]
            drain: {notify: {signal: USR1, time: 8s, min: 400ms}}
          never:
            command: [CHILD, never]
            drain: {notify: {signal: USR1, time: 900ms, min: 900ms}}
        ";
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(&config.replace("ADMIN", &admin.address().to_string()));
    drainit.wait_for_start(&["by-request", "by-command", "by-signal", "by-message", "never"]);
    let ended = drainit.stop();
    ended.assert_code(0).assert_stopped_within(ms(1200)..LATE);
    let lines = &ended.record.lines;
    let begun = lines.iter().rposition(|line| line.text.contains(": draining for ")).unwrap();
    let over = lines.iter().position(|line| line.text.contains(": drain over")).unwrap();
    assert!(begun < over, "one after the other:\n{}", ended.record);
    for (name, why, least) in [
        ("by-request", "complete", 1200),
        ("by-command", "complete", 300),
        ("by-signal", "the process has ended", 600),
        ("by-message", "complete", 400),
        ("never", "its `time` of 900ms is over", 900),
    ] {
        let over = ended.record.line(&format!("{name}: drain over after .*: {why}"));
        let over = over.unwrap_or_else(|| panic!("{name}:\n{}", ended.record)).at - ended.asked;
        let range = ms(least)..LATE;
        assert!(range.contains(&over), "{name} after {over:?}:\n{}", ended.record);
    }
    ended.assert_line("Z never: draining for 900ms$");
    // `never` is stopped only when the longest drain is over, after 1200 ms.
    let stopped = ended.event("never", "got SIGTERM").at - ended.asked;
    assert!(stopped >= ms(1200), "{stopped:?}");
}
