//! Tests configs that are valid but unlikely to work. `check` reports an error for them, and `run`
//! a warning.

use crate::load::tests::{lines, problems, process_with};
use crate::load::{Diagnostic, testing};

/// Returns the problems that `check` finds, with `E` or `W` before each. Fails if `run` does not
/// warn of the same problems.
#[track_caller]
fn reported(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let line = |d: &Diagnostic| {
        assert!(d.help.is_some(), "no help: {d}");
        let severity = if d.is_error() { "E" } else { "W" };
        format!("{severity} {}", d.message)
    };
    let checked = testing::checked(text, environment).into_iter();
    // Only `check` warns of a server without a drain, so the comparison leaves this warning out.
    let checked = checked.filter(|it| !it.message.ends_with("it has no `drain`"));
    let checked: Vec<_> = checked.map(|it| line(&it)).collect();
    let started = testing::load(&[text], environment).unwrap_or_else(|problems| {
        panic!("refused: {text}\n{problems:?}");
    });
    let warnings: Vec<_> = started.warnings.iter().map(line).collect();
    let as_warnings: Vec<_> = checked.iter().map(|line| line.replacen("E ", "W ", 1)).collect();
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(warnings), sorted(as_warnings), "{text}");
    checked
}

// holds: C20, C43, C44, C525
#[test]
fn variables_that_only_a_shell_would_expand_are_reported() {
    let set = &[("port", "80"), ("HOST", "h")];
    for (process, expected) in [
        ("command: [app, --port, $PORT]", "E PORT command"),
        ("command: app --port $PORT", "E PORT command"),
        ("command: [app, '--url=http://$HOST:$port/']", "E HOST command, E port command"),
        ("command: [app, {join: [$PORT]}]", "E PORT command"),
        ("command: [app], working_dir: $HOME/app", "E HOME working_dir"),
        ("command: [app], readiness: {exec: [probe, $PORT]}", "E PORT exec"),
        ("command: [app], hooks: {pre_stop: [bye, $PORT]}", "E PORT pre_stop"),
        ("command: [app], environment: {A: a$HOST}", "W HOST environment"),
        ("command: [app], environment: {PORT: $PORT}", "W PORT environment"),
        ("command: [app], environment: [PORT=$PORT]", "W PORT environment"),
        // Nothing is reported if the `$` is escaped, or if the program itself expands the variable.
        ("command: [app, $$PORT]", ""),
        ("command: [sh, -c, 'exec app $PORT']", ""),
        ("command: [/bin/su-exec, app, /bin/bash, -c, 'exec app $PORT']", ""),
        ("command: [envsubst, '$PORT']", ""),
        ("command: [/usr/bin/python3.12, -c, 'print($PORT)']", ""),
        ("command: [app, 's/$/x/', '$1', a$, '$x', $other]", ""),
        ("command: [app], environment: {PASSWORD: a$SECRET}", ""),
        ("command: [app], readiness: {log: 'up$'}", ""),
        ("command: [app, '${HOST}']", ""),
    ] {
        let process = match process.strip_prefix("command: app") {
            Some(_) => format!("\n    {process}"),
            None => format!("{{{process}}}"),
        };
        let text = format!("processes:\n  a: {process}\n");
        let said = expected.split(", ").filter(|said| !said.is_empty()).map(|said| {
            let [severity, name, what] = said.split(' ').collect::<Vec<_>>()[..] else { panic!() };
            format!("{severity} `${name}` in `{what}` is not expanded: no shell runs")
        });
        assert_eq!(reported(&text, set), said.collect::<Vec<_>>(), "{text}");
    }
    for (value, name) in [("$HOST/x", "HOST"), ("$OTHER", "OTHER"), ("a$OTHER", "")] {
        let text = format!("env: {{X: {value}}}\nprocesses: {{a: {{command: [app]}}}}\n");
        let warnings = reported(&text, set);
        let expected = format!("W `${name}` in `env` is not expanded: no shell runs");
        assert!(if name.is_empty() { warnings.is_empty() } else { warnings == [expected] });
    }
    let text = "processes:\n  a:\n    command: [app, '--url=http://$HOST/']\n";
    let place = testing::checked(text, &[]).first().map(|d| (d.line, d.column));
    assert_eq!(place, Some((3, 34)));
}

// holds: C857
#[test]
fn an_idle_beyond_the_time_of_the_drain_is_reported() {
    let report = |drain: &str| {
        let keys = format!("depends_on: []\n    drain: {drain}");
        lines(&problems(&process_with(&keys)))
    };
    let warning = |column: usize| {
        vec![format!(
            "5:{column} `idle` of `a` is 20s, but its drain is over after 10s (`time`): every \
             unknown connection counts until then"
        )]
    };
    for (drain, expected) in [
        ("{connections: {idle: 20s, time: 10s}}", warning(33)),
        ("{signal: {signal: USR1, connections: {idle: 20s}, time: 10s}}", warning(56)),
        ("{connections: {idle: 10s, time: 10s}}", Vec::new()),
        ("{connections: {time: 3s, min: 1s}}", Vec::new()),
        ("{connections: {idle: 20s, time: 0}}", Vec::new()),
    ] {
        assert_eq!(report(drain), expected, "{drain}");
    }
}

// holds: C337, C338
#[test]
fn probes_that_the_old_instance_answers_are_reported() {
    let answered = |at: &str| {
        vec![format!(
            "E `readiness` of `a` probes {at}, where its old instance answers, too: with `update: start-first` a new instance that does not work would take over"
        )]
    };
    let none = "W `a` has no `readiness`: with `update: start-first` the old instance ends as soon as the new instance runs, even if that one does not work";
    for (keys, expected) in [
        ("listen: ['tcp://127.0.0.1:80'], http: 'http://127.0.0.1:80/x'", answered("127.0.0.1:80")),
        ("http: 'http://127.0.0.1:80/x'", answered("127.0.0.1:80")),
        ("tcp: '127.0.0.1:80'", answered("127.0.0.1:80")),
        ("unix: /run/a.sock", answered("/run/a.sock")),
        ("file: /run/ready", answered("/run/ready")),
        ("notify: true", vec![]),
        ("log: ^up$", vec![]),
        ("exec: [probe]", vec![]),
    ] {
        let (listen, probe) = keys.split_once("], ").unwrap_or(("listen: [", keys));
        let text = format!(
            "processes:\n  a:\n    command: [app]\n    update: start-first\n    {listen}]\n    readiness: {{{probe}}}\n"
        );
        assert_eq!(reported(&text, &[]), expected, "{text}");
        let stops_first = text.replace("start-first", "stop-first");
        assert_eq!(reported(&stops_first, &[]), Vec::<String>::new(), "{stops_first}");
    }
    let text = "processes:\n  a: {command: [app], update: start-first}\n";
    assert_eq!(reported(text, &[]), [none]);
}

// holds: C20, C226
#[test]
fn probes_that_another_process_answers_are_reported() {
    let asked = |at: &str| {
        format!(
            "E `readiness` of `b` probes {at}, like that of `a`: it is ready as soon as the other answers"
        )
    };
    for (a, b, expected) in [
        ("tcp: '127.0.0.1:80'", "tcp: '127.0.0.1:80'", vec![asked("127.0.0.1:80")]),
        ("tcp: '0.0.0.0:80'", "tcp: 'localhost:80'", vec![asked("127.0.0.1:80")]),
        (
            "http: 'http://127.0.0.1:80/x'",
            "http: 'http://127.0.0.1:80/x'",
            vec![asked("127.0.0.1:80")],
        ),
        ("unix: /run/a.sock", "unix: /run/a.sock", vec![asked("/run/a.sock")]),
        ("file: /run/ready", "file: /run/ready", vec![asked("/run/ready")]),
        // One gateway may answer the probes of several processes, each at a different path.
        ("tcp: '127.0.0.1:80'", "http: 'http://127.0.0.1:80/b'", vec![]),
        ("http: 'http://127.0.0.1:80/a'", "http: 'http://127.0.0.1:80/b'", vec![]),
        ("tcp: '127.0.0.1:80'", "tcp: '[::1]:80'", vec![]),
        ("log: up", "log: up", vec![]),
    ] {
        let both = |a_if: &str, b_if: &str| {
            format!(
                "processes:\n  a: {{command: [a], readiness: {{{a}}}{a_if}}}\n  b: {{command: [b], readiness: {{{b}}}{b_if}}}\n"
            )
        };
        assert_eq!(reported(&both("", ""), &[]), expected, "{a} {b}");
        // If one of the two processes never starts, or if both have a condition, there is no
        // problem.
        let never = ", only_if: {value: '', is: x}";
        let perhaps = ", only_if: {path_exists: /x}";
        assert_eq!(reported(&both(never, ""), &[]), [""; 0], "{a} {b}");
        assert_eq!(reported(&both("", never), &[]), [""; 0], "{a} {b}");
        assert_eq!(reported(&both(perhaps, perhaps), &[]), [""; 0], "{a} {b}");
        assert_eq!(reported(&both(perhaps, ""), &[]).len(), expected.len(), "{a} {b}");
        let third = format!("  c: {{command: [c], readiness: {{{b}}}{perhaps}}}\n");
        let three = both("", perhaps) + &third;
        assert_eq!(reported(&three, &[]).len(), 2 * expected.len(), "{three}");
    }
}

// holds: C20
#[test]
fn two_envoys_with_the_same_admin_are_reported() {
    let text = "processes:
  a: {command: [a], drain: {envoy: {admin: 'http://127.0.0.1:9901'}}}
  b: {command: [b], depends_on: [a], drain: {envoy: {admin: 'http://localhost:9901'}}}
";
    let found: Vec<_> =
        reported(text, &[]).into_iter().filter(|line| line.contains("admin")).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("E `a` and `b` have the same `admin`, 127.0.0.1:9901"), "{found:?}");
}
