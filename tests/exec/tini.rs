//! Compares drainit under the name `tini` with tini.

use crate::support::peer::{INIT, Invocation, PLAIN, Peer};
use crate::support::*;

#[test]
fn codes_and_messages_match_tini() {
    let Some(tini) = Peer::installed("tini") else { return };
    for args in [
        &["-s", "--", "true"][..],
        &["-s", "--", "sh", "-c", "exit 42"],
        &["-s", "--", "sh", "-c", "kill -TERM $$"],
        &["-s", "--", "sh", "-c", "kill -USR1 $$"],
        &["-s", "--", "sh", "-c", "kill -64 $$"],
        &["true"],
        &["--", "true"],
        &["-s", "sh", "--", "-c", "exit 5"],
        &["-s", "printf", "--", "%s|", "a", "b"],
        &["-s", "printf", "--", "--", "%s|", "a"],
        &["-s", "--", "printf", "--", "%s|", "a"],
        &["-s", "--", "no-such-program"],
        &["-s", "--", "/etc/passwd"],
        &["-s", "--", "/tmp"],
        &["-s", "--", "/etc/passwd/x"],
        &["-s", "--", ""],
        &["-s", "--", "-x"],
        &["--version"],
        &["-e", "143", "-s", "--", "sh", "-c", "kill -TERM $$"],
        &["-e5", "-se6", "--", "sh", "-c", "exit 6"],
        &["-s", "-e", "7", "--", "sh", "-c", "exit 6"],
        &["-s", "-e", "127", "--", "no-such-program"],
        &["-s", "-e", "", "--", "false"],
        &["-s", "-e", " 1", "--", "false"],
        &["-s", "-e", "5x", "--", "true"],
        &["-s", "-e", "256", "--", "true"],
        &["-s", "-e", "-1", "--", "true"],
        &["-s", "-p", "SIGKILL", "--", "true"],
        &["-s", "-p", "KILL", "--", "true"],
        &["-s", "-p", "9", "--", "true"],
        &["-s", "-p", "sigterm", "--", "true"],
        &["-gwsv", "--", "true"],
        &["-s", "-vvv", "--", "true"],
        &["-s", "-vv", "--", "sh", "-c", "exit 3"],
        &["-s", "-v", "--", "sh", "-c", "kill -KILL $$"],
        &["-s", "--", "sh", "-c", "setsid -f sleep 0.5 >/dev/null 2>&1"],
        &["-w", "-s", "--", "sh", "-c", "(sleep 0.05 &); sleep 0.4"],
        &["-w", "-vvv", "-s", "--", "sh", "-c", "(sleep 0.05 &); sleep 0.4"],
        &[
            "-s",
            "-vv",
            "--",
            "sh",
            "-c",
            // The child ends once its parent sleeps again. If the child ended sooner, the parent would
            // reap it after SIGUSR1, and never receive SIGCHLD.
            "trap 'while ! grep -q ^State:.S /proc/$PPID/status; do :; done; exit 3' USR1; \
             kill -USR1 $PPID; while [ $((n+=1)) -lt 900 ]; do sleep 0.01; done",
        ],
    ] {
        tini.assert_same(args, PLAIN);
    }
}

#[test]
fn variables_have_the_meaning_of_tini() {
    let Some(tini) = Peer::installed("tini") else { return };
    for env in [
        &[("TINI_SUBREAPER", "")][..],
        &[("TINI_SUBREAPER", "0"), ("TINI_VERBOSITY", "4")],
        &[("TINI_VERBOSITY", "0")],
        &[("TINI_VERBOSITY", "")],
        &[("TINI_VERBOSITY", "abc")],
        &[("TINI_VERBOSITY", "3x")],
        &[("TINI_VERBOSITY", "-5")],
        &[("TINI_KILL_PROCESS_GROUP", "")],
    ] {
        tini.assert_same(&["--", "true"], Invocation { env, ..PLAIN });
        tini.assert_same(&["-vvv", "--", "true"], Invocation { env, ..PLAIN });
    }
    tini.assert_same(&["--", "no-such"], Invocation { env: &[("TINI_VERBOSITY", "0")], ..PLAIN });
}

#[test]
fn codes_and_messages_match_tini_as_pid_1() {
    let Some(tini) = Peer::installed("tini").filter(|_| namespace::is_possible()) else { return };
    for args in [
        &["--", "true"][..],
        &["-vvv", "--", "true"],
        &["-s", "--", "sh", "-c", "exit 9"],
        &["--", "sh", "-c", "kill -INT $$"],
        &["--", "no-such-program"],
        &[
            "--",
            "sh",
            "-c",
            "trap 'exit 7' TERM; kill -TERM 1; while [ $((n+=1)) -lt 900 ]; do sleep 0.01; done",
        ],
        &["-w", "--", "sh", "-c", "(sleep 0.05 &); sleep 0.4"],
    ] {
        tini.assert_same(args, INIT);
    }
}

#[test]
fn with_the_group_option_the_whole_group_gets_signals() {
    let Some(tini) = Peer::installed("tini") else { return };
    tini.assert_group(&["-s", "-g", "--"], &[], true);
    tini.assert_group(&["-s", "--"], &[("TINI_KILL_PROCESS_GROUP", "")], true);
    tini.assert_group(&["-s", "--"], &[], false);
}

#[test]
fn a_child_starts_as_with_tini() {
    let Some(tini) = Peer::installed("tini") else { return };
    let show = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; readlink /proc/self/fd/7; ps -o pgid=,pid=,tpgid= -p $$ | awk '{print $1==$2, $3}'";
    tini.assert_same_start(&["-s", "--"], show);
}

#[test]
fn a_shell_runs_a_script_without_a_shebang() {
    for (name, options) in [("tini", &["-s", "--"][..]), ("dumb-init", &[])] {
        let Some(peer) = Peer::installed(name) else { return };
        let script = peer.write_script("echo \"$0 $1\"; exit 5\n");
        let args = [options, &[script.to_str().unwrap(), "x"]].concat();
        assert_eq!(peer.assert_same(&args, PLAIN).code, 5);
    }
}

#[test]
fn usage_goes_to_the_stream_of_tini() {
    let Some(tini) = Peer::installed("tini") else { return };
    for args in [
        &[][..],
        &["-s"],
        &["-s", "--"],
        &["-h"],
        &["-h", "true"],
        &["-x"],
        &["-e"],
        &["-v", "--version"],
        &["-l"],
    ] {
        let (theirs, ours) = tini.both(args, PLAIN);
        let lines =
            |text: &str, count| text.lines().take(count).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(theirs.code, ours.code, "{args:?}");
        assert_eq!(theirs.stdout.is_empty(), ours.stdout.is_empty(), "{args:?}");
        // The first line of the usage, and the message before it, are tini's. The other lines are
        // drainit's own.
        assert_eq!(lines(&theirs.stderr, 3), lines(&ours.stderr, 3), "{args:?}");
        for option in ["--version", "-h", "-s", "-p SIGNAL", "-v", "-w", "-g", "-e ", "-l", "TINI_"]
        {
            let usage = if ours.code == 0 { &ours.stdout } else { &ours.stderr };
            assert!(args == ["-l"] || usage.contains(option), "{option}: {usage}");
        }
    }
}

#[test]
fn other_names_of_tini_behave_the_same() {
    for name in ["tini", "tini-static", "docker-init"] {
        let tini = Peer::by_name(name);
        let did = tini.ours(&["--version"], PLAIN);
        assert_eq!((did.code, did.stdout.as_str()), (0, "tini version 0.19.0\n"));
        assert_eq!(tini.ours(&["-s", "--", "sh", "-c", "exit 4"], PLAIN).code, 4);
        // Options end at the command, as in a tini that is built with musl.
        assert_eq!(tini.ours(&["-s", "echo", "-g", "-x"], PLAIN).stdout, "-g -x\n");
    }
}
