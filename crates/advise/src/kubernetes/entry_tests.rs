//! Tests what `check --pod` says of drainit in the script of a shell. How a shell splits a script is
//! tested beside the module `script`.

use crate::kubernetes::tests::{ARGS, CONFIG, MANIFEST, each, found, hook, with};

/// The problems of a pod with this command.
fn of(command: &str) -> Vec<String> {
    found(CONFIG, &with(&with(MANIFEST, ARGS, ""), "[drainit, run]", command))
}

fn in_shell(script: &str) -> String {
    format!("[sh, -c, {script:?}]")
}

#[test]
fn a_shell_that_drainit_replaces_is_accepted() {
    for script in [
        "echo drainit run; exec drainit run",
        "exec \"/opt/drainit/drainit\" 'run'",
        "f() { exec drainit run; }; f",
        "exec drainit run $(b | c) \"d|e\" `f & g` ${A:-h|i} &>/j",
        "exec sh -c 'exec drainit run'",
        "exec env A=1 drainit run >|/a",
        "a || exec drainit run \\\n -- \"$@\"",
        "log() { echo $@; }; log drainit run; exec drainit run",
        "function log { echo $@; }\nlog drainit run; exec drainit run",
    ] {
        for shell in ["sh, -c", "busybox, sh, -c", "tini, --, bash, -eu, -c", "sh, -c, -e, --"] {
            let command = in_shell(script).replace("[sh, -c,", &format!("[{shell},"));
            assert_eq!(of(&command), [""; 0], "{command}");
        }
    }
}

#[test]
fn a_bash_makes_way_for_the_last_command() {
    let child = "11:36 E the shell gets the signals";
    let rows = [
        ("drainit run", ""),
        ("A=1 drainit run -- ", ""),
        ("a && drainit run", ""),
        ("a; export B=1\ndrainit run\n", ""),
        ("drainit run >/log", child),
        ("drainit run; a", child),
        ("drainit run & wait", child),
        ("a | drainit run", child),
        ("(drainit run)", child),
        ("{ drainit run; }", child),
        ("time drainit run", child),
        ("if a; then drainit run; fi", child),
        ("trap a EXIT; drainit run", child),
    ];
    each(rows, |script| of(&in_shell(script).replace("[sh,", "[/bin/bash,")));
}

#[test]
fn nothing_is_said_of_a_command_that_only_the_shell_knows() {
    for script in [
        "D=/opt/drainit/drainit; exec \"$D\" exec -- a",
        "eval \"exec drainit exec -- $X\"",
        "set -- drainit exec a; exec \"$@\"",
        "exec `which drainit` exec -- a",
        ". /drainit.sh",
        "trap 'kill -TERM $A' TERM; drainit exec a & A=$!; wait; wait",
        "drainit exec a & A=$!; trap 'kill -TERM $A' TERM; wait; wait",
        "go() { exec \"$@\"; }; go drainit exec a",
    ] {
        assert_eq!(of(&in_shell(script)), [""; 0], "{script}");
        // Such a script may need no config. Other checks, which could only guess, are left out.
        let manifest = with(MANIFEST, "[drainit, run]", &in_shell(script));
        let manifest = with(&manifest, "Seconds: 45", "Seconds: 20");
        assert_eq!(found("processes: a", &manifest), [""; 0], "{script}");
    }
}

/// Without these checks, one `trap` would hide every mistake of a manifest.
#[test]
fn an_unclear_script_that_runs_a_config_is_checked_with_the_config() {
    let script = "drainit run & A=$!; trap 'kill -TERM $A' TERM; wait; wait";
    assert_eq!(of(&in_shell(script)), [""; 0]);
    let manifest = with(MANIFEST, "[drainit, run]", &in_shell(script));
    let manifest = with(&manifest, "Seconds: 45", "Seconds: 20");
    each([(&*manifest, "7:38 E deadline is 43s")], |manifest| found(CONFIG, manifest));
}

#[test]
fn a_shell_that_stays_in_front_of_drainit_is_reported() {
    let reported = "11:29 E the shell gets the signals";
    let rows = [
        "drainit run",
        "exec >/log; drainit run",
        "exec drainit run 2>&1 | tee /log",
        "exec drainit run & wait",
        "a && exec b; A=$(c); drainit run",
        "f() { drainit run; }; f",
        "sh -c 'exec drainit run'; a",
        ". /env; drainit run",
    ];
    each(rows.map(|script| (script, reported)), |script| of(&in_shell(script)));
}

#[test]
fn known_arguments_in_a_script_are_checked() {
    let unclaimed = "11:29 E argument `stray` is claimed";
    let rows = [
        ("exec drainit run -- stray", unclaimed),
        ("exec drainit run -- stray >/log", unclaimed),
        ("exec drainit run -- stray $A", ""),
        ("exec drainit exec --foo -- a", "11:29 E unexpected argument '--foo'"),
        ("exec drainit exec $A --foo -- a", ""),
    ];
    each(rows, |script| {
        let mut found = of(&in_shell(script));
        found.retain(|line| line.starts_with("11:29"));
        found
    });
}

#[test]
fn hooks_and_probes_are_read_as_by_a_shell() {
    let rows = [
        ("echo drainit drain --foo; drainit drain >/dev/null # all", ""),
        ("test \"$(drainit health)\" && 'drainit' drain", ""),
        ("drainit \"drian\"", "10:58 E subcommand 'drian'"),
        ("if drainit health --foo; then drainit drain; fi", "10:58 E unexpected argument '--foo'"),
    ];
    each(rows, |script| {
        let mut found = found(CONFIG, &hook(&in_shell(script)));
        found.retain(|line| line.contains(" E "));
        found
    });
}
