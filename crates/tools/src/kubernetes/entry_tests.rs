//! Tests what `check --pod` says of drainit in the script of a shell.

use crate::kubernetes::tests::{CONFIG, MANIFEST, are_these, check, lines, with};

/// The problems of a pod with this command.
fn found(command: &str) -> Vec<String> {
    let manifest = with(MANIFEST, "          args: [--rtr.concurrency, \"2\"]\n", "");
    lines(&check(CONFIG, &with(&manifest, "[drainit, run]", command), None, &[]))
}

fn in_shell(script: &str) -> String {
    format!("[sh, -c, {script:?}]")
}

#[test]
fn a_shell_that_drainit_replaces_is_accepted() {
    for script in [
        "# drainit run\nexec drainit run",
        "echo drainit run; exec drainit run",
        "echo \"drainit exec -- a |\"\nexec drainit run",
        "cat >/a <<A\nb drainit run |\nA\nexec drainit run",
        "cat <<-'A' <<B | c\n\tdrainit run\n\tA\ndrainit run\nB\nexec drainit run",
        "exec \"/opt/drainit/drainit\" 'run'",
        "{ a; b; } | c; (d &); exec drainit run",
        "if a; then b | c; fi\nwhile d; do e & done; exec drainit run",
        "case $1 in a|b) exec drainit run ;; (c) ;; *) d ;; esac",
        "case $1 in\n  a|b) c ;;\nesac\nexec drainit run",
        "f() { exec drainit run; }; f",
        "A=(drainit run) exec drainit run >(a | b) 2>&1",
        "exec drainit run $(b | c) \"d|e\" `f & g` ${A:-h|i} &>/j",
        "exec sh -c 'exec drainit run'",
        "a || exec drainit run \\\n -- \"$@\"",
        "log() { echo $@; }; log drainit run; exec drainit run",
        "function log { echo $@; }\nlog drainit run; exec drainit run",
    ] {
        for shell in ["sh, -c", "busybox, sh, -c", "tini, --, bash, -eu, -c", "sh, -c, -e, --"] {
            let command = in_shell(script).replace("[sh, -c,", &format!("[{shell},"));
            assert_eq!(found(&command), [""; 0], "{command}");
        }
    }
}

#[test]
fn a_bash_makes_way_for_the_last_command() {
    let child = "the shell gets the signals";
    let old = "a bash older than 5.1";
    for (script, expected) in [
        ("drainit run", None),
        ("A=1 drainit run -- ", None),
        ("a && drainit run", Some(old)),
        ("a; export B=1\ndrainit run\n", Some(old)),
        ("drainit run >/log", Some(child)),
        ("drainit run; a", Some(child)),
        ("drainit run & wait", Some(child)),
        ("a | drainit run", Some(child)),
        ("(drainit run)", Some(child)),
        ("{ drainit run; }", Some(child)),
        ("time drainit run", Some(child)),
        ("if a; then drainit run; fi", Some(child)),
        ("trap a EXIT; drainit run", Some(child)),
    ] {
        let found = found(&in_shell(script).replace("[sh,", "[/bin/bash,"));
        let is_expected = |line: &String| expected.is_some_and(|words| line.contains(words));
        assert!(found.len() <= 1 && found.iter().all(is_expected), "{script}\n{found:#?}");
        assert_eq!(found.len(), usize::from(expected.is_some()), "{script}");
    }
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
        assert_eq!(found(&in_shell(script)), [""; 0], "{script}");
        // Such a script may need no config. Other checks, which could only guess, are left out.
        let manifest = with(MANIFEST, "[drainit, run]", &in_shell(script));
        let manifest = with(&manifest, "Seconds: 45", "Seconds: 20");
        assert_eq!(lines(&check("processes: a", &manifest, None, &[])), [""; 0], "{script}");
    }
}

/// Without these checks, one `trap` would hide every mistake of a manifest.
#[test]
fn an_unclear_script_that_runs_a_config_is_checked_with_the_config() {
    let script = "drainit run & A=$!; trap 'kill -TERM $A' TERM; wait; wait";
    assert_eq!(found(&in_shell(script)), [""; 0]);
    let manifest = with(MANIFEST, "[drainit, run]", &in_shell(script));
    let manifest = with(&manifest, "Seconds: 45", "Seconds: 20");
    let found = lines(&check(CONFIG, &manifest, None, &[]));
    assert!(are_these(&found, &["14:63 E is 45s, Seconds is 20s"]), "{found:#?}");
}

#[test]
fn a_shell_that_stays_in_front_of_drainit_is_reported() {
    for script in [
        "drainit run",
        "\"/opt/drainit/drainit\" run",
        "cat <<A\nexec drainit run\nA\ndrainit run",
        "exec >/log; drainit run",
        "{ exec drainit run ; } | tee /log",
        "{\n  a\n  exec drainit run\n} 2>&1 | tee /log",
        "{ exec drainit run; } & wait",
        "a | { b; exec drainit run; }",
        "(exec drainit run); a",
        "(a; exec drainit run) | b",
        "if a; then exec drainit run; fi | b",
        "case $1 in a) exec drainit run ;; esac | b",
        "{ { exec drainit run; }; } |& b",
        "f() { drainit run; }; f",
        "sh -c 'exec drainit run'; a",
        ". /env; drainit run",
    ] {
        let found = found(&in_shell(script));
        assert!(are_these(&found, &["11:29 E the shell gets the signals"]), "{script}\n{found:#?}");
    }
}

#[test]
fn known_arguments_in_a_script_are_checked() {
    let unclaimed = "11:29 E argument `stray` is claimed";
    for (script, expected) in [
        ("exec drainit run -- stray", Some(unclaimed)),
        ("exec drainit run -- stray >/log", Some(unclaimed)),
        ("exec drainit run -- stray $A", None),
        ("exec drainit exec --foo -- a", Some("11:29 E no option `--foo`")),
        ("exec drainit exec $A --foo -- a", None),
    ] {
        let found = found(&in_shell(script));
        let is_expected = match expected {
            Some(expected) => {
                found.iter().any(|line| are_these(std::slice::from_ref(line), &[expected]))
            }
            None => !found.iter().any(|line| line.starts_with("11:29")),
        };
        assert!(is_expected, "{script}\n{found:#?}");
    }
}

#[test]
fn hooks_and_probes_are_read_as_by_a_shell() {
    let image = "          image: gateway\n";
    for (script, expected) in [
        ("# drainit drain --foo\ndrainit drain", None),
        ("echo drainit drain --foo; drainit drain >/dev/null # all", None),
        ("cat <<A\ndrainit drian\nA\ndrainit drain", None),
        ("test \"$(drainit health)\" && 'drainit' drain", None),
        ("drainit \"drian\"", Some("10:58 E no subcommand `drian`")),
        ("if drainit health --foo; then drainit drain; fi", Some("10:58 E no option `--foo`")),
    ] {
        let hook = format!(
            "          lifecycle: {{preStop: {{exec: {{command: {}}}}}}}\n",
            in_shell(script)
        );
        let mut found =
            lines(&check(CONFIG, &with(MANIFEST, image, &format!("{hook}{image}")), None, &[]));
        found.retain(|line| line.contains(" E "));
        assert!(are_these(&found, expected.as_slice()), "{script}\n{found:#?}");
    }
}
