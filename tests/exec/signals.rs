//! Tests every signal with `drainit exec`: as a signal that is passed on, in options, and as the
//! end of a command. Also tests the signal dispositions with which a command starts.

use super::options::exec;
use crate::support::*;

const USR2: i32 = 12;
/// SIGKILL and SIGSTOP, which cannot be caught, and SIGCHLD, which the end of a child sends.
pub(crate) const SPECIAL: [i32; 3] = [9, 17, 19];

fn record(rig: Rig, options: &[&str]) -> Running {
    let drainit = exec(rig, options, &["CHILD", "a", "record=12"]);
    drainit.wait_for_line("^ready");
    drainit
}

/// Sends drainit a signal by its number, because nix cannot name all signals.
#[track_caller]
pub(crate) fn send(drainit: &Running, number: i32) {
    let pid = drainit.pid().to_string();
    let sent = Command::new("kill").args([format!("-{number}"), pid]).status().unwrap();
    assert!(sent.success(), "signal {number}");
}

#[test]
fn every_signal_is_passed_on() {
    Rig::both().for_each(all_are_passed_on);
}

#[track_caller]
pub(crate) fn all_are_passed_on(rig: Rig) {
    let drainit = record(rig, &[]);
    for number in (1..=64).filter(|number| !SPECIAL.contains(number)).filter(|n| *n != USR2) {
        send(&drainit, number);
        drainit.wait_for_line(&format!("^got {number}\\."));
    }
    send(&drainit, USR2);
    drainit.wait_exit(LONG).assert_code(0);
}

#[test]
fn every_signal_can_end_a_command_and_every_end_is_noticed() {
    for number in fatal() {
        can_end(Rig::not_init(), number);
    }
}

/// Returns the signals whose default action ends the process.
pub(crate) fn fatal() -> impl Iterator<Item = i32> {
    (1..=64).filter(|number| !(17..=23).contains(number) && *number != 28)
}

#[track_caller]
pub(crate) fn can_end(rig: Rig, number: i32) {
    let script = format!("kill -{number} $$");
    // The limit prevents a core dump.
    let rig = rig.after("ulimit -c 0");
    let ended = rig.run_with(&["exec", "-v", "--", "sh", "-c", &script]);
    ended.assert_code(128 + number);
    let name = drainit::types::Signal::from_number(number).unwrap().to_string();
    ended.assert_line(&format!("was ended by {}$", name.replace('+', "\\+")));
}

#[test]
fn any_signal_can_ask_for_the_stop() {
    for (name, number) in
        [("HUP", 1), ("SIGWINCH", 28), ("33", 33), ("RTMIN", 34), ("RTMIN+3", 37), ("64", 64)]
    {
        let Some(rig) = Rig::new() else { return };
        let options = ["--stop-signal", name, "--grace-period", "300ms"];
        let drainit = record(rig, &options);
        // SIGTERM is no longer a stop signal.
        send(&drainit, 15);
        drainit.wait_for_line("^got 15\\.");
        send(&drainit, number);
        drainit.wait_for_line(&format!("^got {number}\\."));
        drainit.wait_exit(LONG).assert_code(137).assert_line("the grace period of 300ms is over");
    }
}

#[test]
fn signals_are_rewritten_and_dropped() {
    for rig in Rig::both() {
        // The last rule for a signal counts.
        let rules = ["TERM:INT", "TERM:QUIT", "SIGHUP:0", " 1 : 0", "rtmin+1:sigusr1"];
        let rules: Vec<_> = rules.into_iter().flat_map(|rule| ["-r", rule]).collect();
        let drainit = record(rig, &rules);
        for (number, becomes) in [(15, 3), (35, 10), (2, 2)] {
            send(&drainit, 1);
            send(&drainit, number);
            drainit.wait_for_line(&format!("^got {becomes}\\."));
        }
        send(&drainit, USR2);
        drainit.wait_exit(LONG).assert_code(0).assert_no_line("^got (1|15|35)\\.");
    }
}

#[test]
fn a_group_gets_every_signal() {
    for (options, hears) in [(&["-g"][..], true), (&[], false)] {
        let Some(rig) = Rig::new() else { return };
        let drainit = exec(rig, options, &["CHILD", "a", "spawn=b"]);
        drainit.wait_for_start(&["a", "b"]);
        drainit.signal(Signal::SIGUSR1);
        drainit.wait_for_event("a", "got SIGUSR1");
        if hears {
            drainit.wait_for_event("b", "got SIGUSR1");
        }
        let ended = drainit.stop();
        ended.assert_code(0);
        assert_eq!(ended.record.event("b", "got").is_some(), hears, "{}", ended.record);
    }
}

#[test]
fn while_nothing_happens_nothing_is_done() {
    for rig in Rig::both() {
        let drainit = rig.start_with(&["exec", "--", "CHILD", "a"]);
        drainit.wait_for_start(&["a"]);
        let status = || std::fs::read_to_string(format!("/proc/{}/status", drainit.pid())).unwrap();
        let switches = |status: &str| {
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        drainit.wait_until("asleep", || status().contains("State:\tS"));
        let before = status();
        std::thread::sleep(ms(1500));
        let after = status();
        assert!(after.contains("Threads:\t1\n"), "{after}");
        assert_eq!(switches(&before), switches(&after));
        drainit.stop().assert_code(0);
    }
}
