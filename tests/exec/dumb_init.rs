//! Compares drainit under the name `dumb-init` with dumb-init. The module `terminal`
//! has the tests with a terminal.

use crate::support::peer::{INIT, Invocation, PLAIN, Peer};
use crate::support::*;

/// A script for a shell that waits and prints the signals that it gets.
const RECORDER: &str = "
    exec 2>/dev/null # the shell's messages about its children, which also get the signals
    for n in 1 2 3 10 12 18; do trap \"echo got $n; heard=$n\" $n; done; trap 'echo got 15; exit 5' 15
    hears() { i=0; while [ \"$heard\" != $1 ] && [ $i -lt 900 ]; do sleep 0.01; i=$((i+1)); done; }
    ACT
    hears 15; exit 9";

fn recorder(act: &str) -> String {
    RECORDER.replace("ACT", act)
}

/// Asserts that both programs behave the same, except for the order of the lines on stderr: the
/// child's lines before its exec may come at any place.
#[track_caller]
fn assert_alike(peer: &Peer, args: &[&str], how: Invocation<'_>) {
    let sorted = |mut did: Said| {
        let mut lines: Vec<_> = did.stderr.lines().map(str::to_owned).collect();
        lines.sort();
        did.stderr = lines.join("\n");
        did
    };
    let (theirs, ours) = peer.both(args, how);
    let (theirs, ours) = (sorted(theirs), sorted(ours));
    assert!(theirs == ours, "{args:?} {how:?}\n--- theirs: {theirs:?}\n--- ours: {ours:?}");
}

#[test]
fn codes_and_messages_match_dumb_init() {
    let Some(peer) = Peer::installed("dumb-init") else { return };
    for args in [
        &["true"][..],
        &["--", "sh", "-c", "exit 42"],
        &["sh", "-c", "kill -KILL $$"],
        &["sh", "-c", "kill -64 $$"],
        &["-c", "sh", "-c", "exit 3"],
        &["no-such-program"],
        &["/etc/passwd"],
        &["/tmp"],
        &[""],
        &["-"],
        &["--", "-x"],
        &["true", "-x"],
        &[],
        &["--"],
        &["-V"],
        &["--version", "true"],
        &["-x"],
        &["-vx", "true"],
        &["--bogus"],
        &["--ver"],
        &["--rewrite"],
        &["-r"],
        &["--single-child=3", "true"],
        &["-r", "15"],
        &["-r", "15:", "true"],
        &["-r", "TERM:INT", "true"],
        &["-r", "0:3", "true"],
        &["-r", "32:1", "true"],
        &["-r", "1:32", "true"],
        &["-r", "1:-1", "true"],
        &["-r", "15 :3", "true"],
        &["-r", " 15: 3x", "true"],
        &["--rew=15:3", "--single", "true"],
        &["-cv", "true"],
        &["-", "-c"],
        &["", "-c"],
        &["--", "--", "true"],
        &["-r", "--", "true"],
        &["-vr15:3", "true"],
        &["-v", "--rewrite=15:3", "--rew", "1:2", "--verb", "true"],
        &["--rewrite=", "true"],
        &["-v", "--", "true"],
        &["-v", "-r", "15:3", "true"],
        &["-v", "-r", "15:0", "true"],
        &["-v", "sh", "-c", "kill -9 $$"],
    ] {
        assert_alike(&peer, args, PLAIN);
    }
    let (theirs, ours) = peer.both(&["--help"], PLAIN);
    assert_eq!((theirs.code, theirs.stdout), (ours.code, ours.stdout));
    for option in
        ["-c, --single-child", "-r, --rewrite s:r", "-v, --verbose", "-h, --help", "-V, --version"]
    {
        assert!(ours.stderr.contains(option) && theirs.stderr.contains(option), "{}", ours.stderr);
    }
}

#[test]
fn variables_have_the_meaning_of_dumb_init() {
    let Some(peer) = Peer::installed("dumb-init") else { return };
    for env in [
        &[("DUMB_INIT_DEBUG", "1")][..],
        &[("DUMB_INIT_DEBUG", "0")],
        &[("DUMB_INIT_DEBUG", "")],
        &[("DUMB_INIT_DEBUG", "yes")],
        &[("DUMB_INIT_DEBUG", "1"), ("DUMB_INIT_SETSID", "0")],
        &[("DUMB_INIT_DEBUG", "1"), ("DUMB_INIT_SETSID", "1")],
        &[("DUMB_INIT_SETSID", "")],
    ] {
        for args in [&["true"][..], &["-v", "true"], &["-c", "true"]] {
            assert_alike(&peer, args, Invocation { env, ..PLAIN });
        }
    }
}

#[test]
fn signals_are_passed_on_rewritten_and_dropped() {
    let Some(peer) = Peer::installed("dumb-init") else { return };
    for init in [false, true] {
        if init && !namespace::is_possible() {
            return;
        }
        let how = if init { INIT } else { PLAIN };
        for (options, act, said) in [
            (
                &[][..],
                "kill -HUP $PPID; hears 1; kill -USR1 $PPID; hears 10; kill $PPID",
                "got 1\ngot 10\ngot 15\n",
            ),
            (&["-c"], "kill -INT $PPID; hears 2; kill $PPID", "got 2\ngot 15\n"),
            (
                &["-r", "15:3", "-r", "1:15"],
                "kill $PPID; hears 3; kill -HUP $PPID",
                "got 3\ngot 15\n",
            ),
            (&["-r", "1:0"], "kill -HUP $PPID; sleep 0.1; kill $PPID", "got 15\n"),
            (
                &["-r", "15:10", "-r", "2:15"],
                "kill $PPID; hears 10; kill -INT $PPID",
                "got 10\ngot 15\n",
            ),
        ] {
            let script = recorder(act);
            let args = [options, &["--", "sh", "-c", &script]].concat();
            let did = peer.assert_same(&args, how);
            assert_eq!((did.code, did.stdout.as_str()), (5, said), "{options:?} {act}");
        }
    }
}

#[test]
fn the_whole_group_gets_signals_except_with_single_child() {
    let Some(peer) = Peer::installed("dumb-init") else { return };
    peer.assert_group(&[], &[], true);
    peer.assert_group(&["-c"], &[], false);
    peer.assert_group(&[], &[("DUMB_INIT_SETSID", "0")], false);
}

#[test]
fn the_rest_of_the_group_gets_term_when_the_child_has_gone() {
    let Some(peer) = Peer::installed("dumb-init") else { return };
    let out = peer.path("out");
    let script = format!(
        "rm -f {0}; sh -c \"trap 'echo told >{0}; exit' TERM; echo ready >{0}.ready; while [ \\$((n+=1)) -lt 900 ]; do sleep 0.01; done\" </dev/null >/dev/null 2>&1 & \
        while [ ! -e {0}.ready ]; do sleep 0.01; done; rm {0}.ready; exit 4",
        out.display()
    );
    for heard in [true, false] {
        let options: &[&str] = if heard { &[] } else { &["-c"] };
        for program in ["theirs", "ours"] {
            let _ = std::fs::remove_file(&out);
            let args = [options, &["sh", "-c", &script]].concat();
            let did =
                if program == "ours" { peer.ours(&args, PLAIN) } else { peer.both(&args, PLAIN).0 };
            assert_eq!(did.code, 4);
            let until =
                std::time::Instant::now() + crate::support::ms(if heard { 5000 } else { 300 });
            while !out.exists() && std::time::Instant::now() < until {
                std::thread::sleep(crate::support::ms(5));
            }
            assert_eq!(out.exists(), heard, "{program}");
        }
    }
}

#[test]
fn the_child_keeps_the_directory_and_the_parent_is_in_the_root() {
    let Some(peer) = Peer::installed("dumb-init") else { return };
    // The parent changes its directory while the script runs, so the script waits for the change.
    let show = "i=0; while [ \"$(readlink /proc/$PPID/cwd)\" != / ] && [ $i -lt 500 ]; do sleep 0.01; i=$((i+1)); done; \
        readlink /proc/$PPID/cwd; [ $(pwd) = / ] || echo stays; \
        ps -o sid=,pgid=,pid= -p $$ | awk '{print $1==$3, $2==$3}'; grep -E '^Sig(Blk|Ign)' /proc/self/status";
    for options in [&[][..], &["-c"]] {
        let args = [options, &["bash", "-c", show]].concat();
        let did = peer.assert_same(&args, PLAIN);
        assert!(did.stdout.starts_with("/\nstays\n"), "{did:?}");
    }
}

#[test]
fn ignored_and_blocked_signals_are_reset() {
    let Some(peer) = Peer::installed("dumb-init") else { return };
    let show = "grep -E '^Sig(Blk|Ign)' /proc/self/status; readlink /proc/self/fd/7";
    peer.assert_same_start(&[], show);
}

#[test]
fn parent_and_child_stop_and_continue_together() {
    let rig = Rig::not_init().wrapper(&["bash", "-c", "exec -a dumb-init \"$@\"", "bash"]);
    let drainit = rig.start_with(&["-v", "CHILD", "a"]);
    drainit.wait_for_start(&["a"]);
    let child = drainit.wait_for_event("a", "start").pid;
    let is_stopped = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        drainit.signal(signal);
        drainit.wait_until("stopped", || is_stopped(child) && is_stopped(drainit.pid().as_raw()));
        drainit.signal(Signal::SIGCONT);
        drainit
            .wait_until("continued", || !is_stopped(child) && !is_stopped(drainit.pid().as_raw()));
    }
    drainit.wait_for_line(r"^\[dumb-init\] Translating signal 20 to 19\.");
    drainit.wait_for_line(r"^\[dumb-init\] Suspending self due to TTY signal\.");
    drainit.stop().assert_code(0);
}

#[test]
fn a_shebang_can_name_dumb_init() {
    let peer = Peer::by_name("dumb-init");
    let text = format!("#!{} /bin/sh\necho \"$0 $1\"; exit 6\n", peer.drainit().display());
    let script = peer.write_script(&text);
    let output = std::process::Command::new(&script).arg("x").output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{} x\n", script.display()));
}
