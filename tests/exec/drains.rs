//! Tests `drainit exec` with a drain: before drainit sends the stop signal, it makes the clients
//! leave, within the times that the options set. The tests of `run` cover the other behaviour of
//! the drain, and the shutdown.

use crate::exec::options::exec;
use crate::support::*;

/// An Envoy that nobody can reach.
const NOBODY: [&str; 2] = ["--drain-envoy", "unix:/nobody"];

// holds: C409, C425
#[test]
fn an_envoy_alone_is_drained_first() {
    let admin = Admin::tcp(3);
    let url = format!("http://{}", admin.address());
    let Some(rig) = Rig::new() else { return };
    let options = ["--drain-envoy", &url, "--drain-time", "8s", "--drain-min", "300ms"];
    let options = [&options[..], &["--grace-period", "20s"]].concat();
    let drainit = exec(rig, &options, &["CHILD", "a"]);
    drainit.wait_for_start(&["a"]);
    drainit.signal(Signal::SIGHUP);
    drainit.wait_for_event("a", "got SIGHUP");
    let asked = drainit.signal(Signal::SIGTERM);
    admin.wait_for("POST /healthcheck/fail");
    thread::sleep(ms(400));
    assert!(drainit.record().event("a", "got SIGTERM").is_none(), "{}", drainit.record());
    let quiet = admin.set_connections(0);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0);
    let stopped = ended.event("a", "got SIGTERM").at;
    assert!(stopped >= quiet && stopped - asked >= ms(300) && stopped - quiet < ms(6000));
    ended.assert_line(r"^\[drainit\].*drain");
    assert_eq!(
        admin.posts().first().map(String::as_str),
        Some("POST /drain_listeners?graceful&skip_exit")
    );
}

// holds: C426, C503
#[test]
fn the_report_has_the_remapped_exit_code() {
    let Some(rig) = Rig::new() else { return };
    let options = [&NOBODY[..], &["-e", "9"]].concat();
    let ended = exec(rig, &options, &["CHILD", "a", "exit=9"]).wait_exit(LONG);
    ended.assert_code(0).assert_line("exit code 0: child exited with code 9");
    // A command that did not start has no exit code to remap.
    let Some(rig) = Rig::new() else { return };
    exec(rig, &[&NOBODY[..], &["-e", "127"]].concat(), &["/does/not/exist"])
        .wait_exit(LONG)
        .assert_code(127);
}

// holds: C408, C421
#[test]
fn variables_are_options_that_the_command_line_overrides() {
    let admin = Admin::tcp(0);
    let url = format!("http://{}", admin.address());
    let variables = |time: &str| {
        let rig = Rig::not_init().env("DRAINIT_DRAIN_ENVOY", &url);
        rig.env("DRAINIT_DRAIN_TIME", time).env("DRAINIT_DRAIN_MIN", "700ms")
    };
    for (options, min) in [(&[][..], ms(700)), (&["--drain-min", "1200ms"], ms(1200))] {
        let drainit = exec(variables(""), options, &["CHILD", "a"]);
        drainit.wait_for_line(said::ALL_READY);
        let ended = drainit.stop();
        let asked = ended.assert_code(0).event("a", "got SIGTERM").at - ended.asked;
        assert!((min..min + ms(6000)).contains(&asked), "{asked:?}\n{}", ended.record);
        ended.assert_line("drain child: ");
    }
    let refused = |rig: Rig, options: &[&str], says: &str| {
        let ended = exec(rig, options, &["CHILD", "a"]).wait_exit(LONG);
        ended.assert_code(2).assert_no_event("a", "start").assert_line(says);
    };
    refused(variables("ever"), &[], "`DRAINIT_DRAIN_TIME` is `ever`: ");
    for (name, value) in [
        ("DRAINIT_DRAIN_EXIT_AT", "few"),
        ("DRAINIT_READINESS", "0"),
        ("DRAINIT_GRACE_PERIOD", "long"),
    ] {
        refused(variables("8s").env(name, value), &[], &format!("`{name}` is `{value}`: "));
    }
    let longer = r"\(DRAINIT_DRAIN_MIN\) 700ms is longer than .*\(DRAINIT_DRAIN_TIME\)";
    refused(variables("500ms"), &[], longer);
    // Without an admin there is no drain, and the times have no effect.
    for options in [&[][..], &["-v"]] {
        let rig = |time| variables(time).env("DRAINIT_DRAIN_ENVOY", "");
        let plain = Rig::not_init().env("DRAINIT_GRACE_PERIOD", "long");
        refused(plain, options, "`DRAINIT_GRACE_PERIOD` is `long`: ");
        refused(rig("ever"), options, "`DRAINIT_DRAIN_TIME` is `ever`: ");
        let ended = exec(rig("2s"), options, &["CHILD", "a", "exit=3"]).wait_exit(LONG);
        ended.assert_code(3).assert_no_line(said::ALL_READY);
    }
}

// holds: C881, C882, C884
#[test]
fn with_readiness_the_envoy_must_become_ready_and_health_waits() {
    let Some(rig) = Rig::new() else { return };
    let options = [&NOBODY[..], &["--readiness", "4s"]].concat();
    let drainit = exec(rig, &options, &["sh", "-c", "exec sleep 60"]);
    drainit.wait_for_line("sh: started");
    let said = drainit.exec_as(None, &["health"]).env_remove("DRAINIT_CONFIG").output();
    Said::of(said.unwrap()).assert(1, "not ready: sh");
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(1).assert_line("not ready after 4s");
    // The command does not get the variables of the drain.
    let Some(rig) = Rig::new() else { return };
    let rig = rig.env("DRAINIT_READINESS", "600ms").env("DRAINIT_GRACE_PERIOD", "9s");
    let ended = exec(rig, &NOBODY, &["sh", "-c", "env; exec sleep 60"]).wait_exit(LONG);
    ended.assert_code(1).assert_line("not ready after 600ms").assert_no_line("DRAINIT_");
}

// holds: C975
#[test]
fn readyz_and_health_stay_good_for_the_unready_delay_while_the_drain_runs() {
    let admin = Admin::tcp(3);
    let url = format!("http://{}", admin.address());
    let options = ["--drain-envoy", &url, "--drain-time", "12s", "--grace-period", "20s"];
    let Some(rig) = Rig::new() else { return };
    let rig = rig.env("DRAINIT_UNREADY_DELAY", "2s");
    let drainit = exec(rig, &options, &["CHILD", "a"]);
    drainit.wait_for_start(&["a"]);
    let health = || {
        let output = drainit.exec_as(None, &["health"]).env_remove("DRAINIT_CONFIG").output();
        output.unwrap().status.code()
    };
    drainit.wait_until("ready", || health() == Some(0));
    let t0 = drainit.signal(Signal::SIGTERM);
    admin.wait_for("POST /drain_listeners?graceful&skip_exit");
    let still = health();
    let until = now() - t0;
    assert!(still == Some(0) || until > ms(2000), "{still:?} after {until:?}");
    let unready = drainit.wait_until("unready", || health() == Some(1)) - t0;
    assert!((ms(2000)..ms(8000)).contains(&unready), "{unready:?}");
    admin.wait_for("POST /healthcheck/fail");
    admin.set_connections(0);
    drainit.wait_exit(LONG).assert_code(0).assert_no_line("DRAINIT_UNREADY_DELAY");
}

// holds: C150, C650
#[test]
fn with_a_drain_neither_stdin_nor_descriptors_are_handed_over() {
    let hand_over = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" </etc/passwd 3</etc/passwd";
    for rig in Rig::both() {
        let rig = rig.wrapper(&["sh", "-c", hand_over, "sh"]);
        let look = "echo stdin $(readlink /proc/self/fd/0), 3 $(readlink /proc/self/fd/3)";
        let drain = [&["exec"], &NOBODY[..], &["--"]].concat();
        let ended = rig.run_with(&[&drain[..], &["sh", "-c", look]].concat());
        ended.assert_code(0).assert_line("^stdin /dev/null, 3$");
    }
}
