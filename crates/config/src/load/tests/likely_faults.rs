//! Tests configs that are valid but unlikely to work. `check` reports an error for them, and `run`
//! a warning.

use std::collections::BTreeSet;

use super::*;
use crate::load::testing;

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
    let started = testing::load(&[text], environment).unwrap();
    let warnings: BTreeSet<_> = started.warnings.iter().map(line).collect();
    let as_warnings = checked.iter().map(|line| line.replacen("E ", "W ", 1)).collect();
    assert_eq!(warnings, as_warnings, "{text}");
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
    for (value, expected) in [
        ("$HOST/x", &["W `$HOST` in `env` is not expanded: no shell runs"][..]),
        ("$OTHER", &["W `$OTHER` in `env` is not expanded: no shell runs"]),
        ("a$OTHER", &[]),
    ] {
        let text = format!("env: {{X: {value}}}\nprocesses: {{a: {{command: [app]}}}}\n");
        assert_eq!(reported(&text, set), expected, "{text}");
    }
    let text = "processes:\n  a:\n    command: [app, '--url=http://$HOST/']\n";
    assert_only(text, "3:34 ");
}

// holds: C714
#[test]
fn a_shell_that_stays_as_the_parent_of_a_service_is_reported() {
    let message = "write `exec celery worker`, so that it replaces the shell";
    for (command, keys, expected) in [
        ("[sh, -c, 'prepare && celery worker']", "", message),
        ("[/bin/dash, -ec, 'prepare; celery worker']", "", message),
        ("[sh, -c, 'prepare && celery worker']", "\n    type: oneshot", ""),
        ("[sh, -c, 'prepare && exec celery worker']", "", ""),
        ("[bash, -c, 'prepare && celery worker']", "", ""),
        ("[celery, worker]", "", ""),
    ] {
        let text = format!("processes:\n  a:\n    # none\n    command: {command}{keys}\n");
        let found = testing::checked(&text, &[]);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), usize::from(!expected.is_empty()), "{found:?}");
        let is_it = |it: &String| it.contains("0.yaml:4:14\n") && it.contains(expected);
        assert!(found.iter().all(is_it), "{found:?}");
    }
}

// holds: C794
#[test]
fn a_count_of_tcp_connections_for_unix_sockets_is_reported() {
    let drained = |listen: &str, drain: &str| {
        process_with(&format!("listen: {listen}\n    drain: {{connections: {drain}}}"))
    };
    let message = "5:26 the drain of `a` counts TCP connections, but its `listen` has only Unix \
                   sockets";
    assert_only(&drained("['unix:/run/a']", "{}"), message);
    for (listen, drain) in [
        ("['unix:/run/a', 'tcp://0.0.0.0:80']", "{}"),
        ("['unix:/run/a']", "{ports: [80]}"),
        ("['unix:/run/a']", "{time: 0}"),
    ] {
        assert_eq!(problems(&drained(listen, drain)), [], "{listen} {drain}");
    }
}

// holds: C337, C338
#[test]
fn probes_that_the_old_instance_answers_are_reported() {
    let none = "W `a` has no `readiness`: with `update: start-first` the old instance ends as soon as the new instance runs, even if that one does not work";
    let unread = "readiness:";
    for (keys, at) in [
        (unread, None),
        (
            "readiness: {http: 'http://127.0.0.1:80/x'}\n    listen: ['tcp://127.0.0.1:80']",
            Some("127.0.0.1:80"),
        ),
        ("readiness: {http: 'http://127.0.0.1:80/x'}", Some("127.0.0.1:80")),
        ("readiness: {tcp: '127.0.0.1:80'}", Some("127.0.0.1:80")),
        ("readiness: {unix: /run/a.sock}", Some("/run/a.sock")),
        ("readiness: {file: /run/ready}", Some("/run/ready")),
        ("readiness: {notify: true}", None),
        ("readiness: {log: ^up$}", None),
        ("readiness: {exec: [probe]}", None),
    ] {
        let answered = at.map(|at| format!(
            "E `readiness` of `a` probes {at}, where its old instance answers, too: with `update: start-first` a new instance that does not work would take over"
        ));
        let expected = if keys == unread { Some(none.to_owned()) } else { answered };
        let text = process_with(&format!("{keys}\n    update: start-first"));
        assert_eq!(reported(&text, &[]), Vec::from_iter(expected), "{text}");
        let stops_first = text.replace("start-first", "stop-first");
        assert_eq!(reported(&stops_first, &[]), [""; 0], "{stops_first}");
    }
}

// holds: C20, C226
#[test]
fn probes_that_another_process_answers_are_reported() {
    for (a, b, at) in [
        ("tcp: '127.0.0.1:80'", "tcp: '127.0.0.1:80'", Some("127.0.0.1:80")),
        ("tcp: '0.0.0.0:80'", "tcp: 'localhost:80'", Some("127.0.0.1:80")),
        ("http: 'http://127.0.0.1:80/x'", "http: 'http://127.0.0.1:80/x'", Some("127.0.0.1:80")),
        ("unix: /run/a.sock", "unix: /run/a.sock", Some("/run/a.sock")),
        ("file: /run/ready", "file: /run/ready", Some("/run/ready")),
        // One gateway may answer the probes of several processes, each at a different path.
        ("tcp: '127.0.0.1:80'", "http: 'http://127.0.0.1:80/b'", None),
        ("http: 'http://127.0.0.1:80/a'", "http: 'http://127.0.0.1:80/b'", None),
        ("tcp: '127.0.0.1:80'", "tcp: '[::1]:80'", None),
        ("log: up", "log: up", None),
    ] {
        let config = |conditions: &[&str]| {
            let mut text = "processes:\n".to_owned();
            for (name, (probe, only_if)) in
                ["a", "b", "c"].iter().zip([a, b, b].iter().zip(conditions))
            {
                text += &format!("  {name}: {{command: [a], readiness: {{{probe}}}{only_if}}}\n");
            }
            reported(&text, &[])
        };
        let expected = at.map(|at| format!(
            "E `readiness` of `b` probes {at}, like that of `a`: it is ready as soon as the other answers"
        ));
        let count = usize::from(at.is_some());
        assert_eq!(config(&["", ""]), Vec::from_iter(expected), "{a} {b}");
        // If one of the two processes never starts, or if both have a condition, there is no
        // problem.
        let never = ", only_if: {value: '', is: x}";
        let perhaps = ", only_if: {path_exists: /x}";
        for fine in [[never, ""], ["", never], [perhaps, perhaps]] {
            assert_eq!(config(&fine), [""; 0], "{a} {b}");
        }
        assert_eq!(config(&[perhaps, ""]).len(), count, "{a} {b}");
        assert_eq!(config(&["", perhaps, perhaps]).len(), 2 * count, "{a} {b}");
    }
}

// holds: C20
#[test]
fn two_envoys_with_the_same_admin_are_reported() {
    let text = "processes:
  a: {command: [a], drain: {envoy: {admin: 'http://127.0.0.1:9901'}}}
  b: {command: [b], depends_on: [a], drain: {envoy: {admin: 'http://localhost:9901'}}}
";
    let found = reported(text, &[]).into_iter().filter(|line| line.contains("admin"));
    let message = "E `a` and `b` have the same `admin`, 127.0.0.1:9901";
    assert!(found.map(|line| line.starts_with(message)).eq([true]));
}
