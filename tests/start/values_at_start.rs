//! Tests values that a process gets when it starts: variables and secrets from files, and
//! templates.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::support::*;

/// The value that this variable had in the process that wrote the report.
#[track_caller]
fn variable(ended: &Ended, report: &str, name: &str) -> Option<String> {
    ended.report(report)["env"][name].as_str().map(str::to_owned)
}

// holds: C267, C268
#[test]
fn a_process_gets_variables_that_a_oneshot_has_written() {
    let config = "
        processes:
          prepare:
            command: [sh, -c, 'echo \"URL=http://$HOST:80 # why\" >DIR/app.env']
            environment: {HOST: h}
            type: oneshot
          app:
            command: [CHILD, app, report=DIR/app.json]
            depends_on: [prepare]
            env_file: [{path: DIR/app.env, read: start}, {path: DIR/none.env, required: false}]
            hooks: {post_stop: [CHILD, after, report=DIR/after.json, exit=0]}
          other: {command: [CHILD, other, report=DIR/other.json], depends_on: [app]}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_event("other", "report");
    // The hooks of the process get the same variables, even if the file is gone by then.
    fs::remove_file(drainit.path("app.env")).unwrap();
    let ended = drainit.stop();
    ended.assert_code(0);
    assert_eq!(variable(&ended, "app.json", "URL").as_deref(), Some("http://h:80"));
    assert_eq!(variable(&ended, "after.json", "URL").as_deref(), Some("http://h:80"));
    assert_eq!(variable(&ended, "other.json", "URL"), None);
}

// holds: C269, C270, C281
#[test]
fn a_restart_reads_the_files_again() {
    let Some(rig) = Rig::new() else { return };
    rig.write("token", "one");
    rig.write("app.env", "A=one");
    rig.write("app.tmpl", "token=${TOKEN} a=${A}\n");
    let config = "
        processes:
          app:
            command: [sh, -c, 'cat DIR/app.conf; exec CHILD app touch=DIR/up await=DIR/go exit=1']
            restart: always
            restart_delay: 1ms
            env_file: [{path: DIR/app.env, read: start}]
            environment: {TOKEN: {file: DIR/token}}
            render: [{from: DIR/app.tmpl, to: DIR/app.conf}]
            hooks: {pre_start: ['true']}
        ";
    let drainit = rig.start(config);
    drainit.wait_for_line("^token=one a=one$");
    drainit.write("token", "two");
    drainit.write("app.env", "A=two");
    drainit.touch("go");
    drainit.wait_for_line("^token=two a=two$");
}

// holds: C271, C524, C630
#[test]
fn a_missing_value_is_a_failed_start() {
    for (keys, expected) in [
        ("environment: {TOKEN: {file: DIR/none}}", "variable `TOKEN`: `.*/none` does not exist"),
        ("env_file: [{path: DIR/bad.env, read: start}]", "`env_file` `.*/bad.env`, line 2: "),
        ("user: nobody-here", "`user` is `nobody-here`: not a user in /etc/passwd; add it to"),
        ("render: [{from: DIR/bad.tmpl, to: DIR/x}]", "line 2: `NEEDED` is not set: why;"),
        ("render: [{from: DIR/good.tmpl, to: DIR/none/x}]", "its directory does not exist"),
        ("render: [{from: DIR/good.tmpl, to: DIR/null}]", "it exists and is not a regular file"),
        ("render: [{from: DIR/good.tmpl, to: DIR/link/good.tmpl}]", "it is the template itself"),
        ("hooks: {pre_start: {command: [CHILD, before], user: nobody-here}}", "not a user in"),
    ] {
        let (whom, hook) = match keys.starts_with("hooks") {
            true => ("app: pre_start hook", ""),
            false => ("app", "hooks: {pre_start: [CHILD, before, exit=0]}"),
        };
        let Some(rig) = Rig::new() else { return };
        rig.write("bad.env", "A=geheim\nge heim=2\n");
        rig.write("bad.tmpl", "a\n${NEEDED:?why}\n");
        rig.write("good.tmpl", "a\n");
        symlink("/dev/null", rig.path("null")).unwrap();
        symlink(".", rig.path("link")).unwrap();
        let ended = rig.run(&format!(
            "
        processes:
          base: {{command: [CHILD, base, touch=DIR/up], readiness: {{file: DIR/up}}}}
          app:
            command: [CHILD, app]
            depends_on: [base]
            {keys}
            {hook}
        "
        ));
        ended
            .assert_code(1)
            .assert_line(&format!("{whom}: cannot be started: .*{expected}"))
            .assert_no_line("geheim")
            .assert_no_event("app", "start")
            .assert_no_event("before", "start")
            .assert_stopped_in_order(&["base"]);
    }
}

// holds: C165, C257, C320, C730
#[test]
fn a_user_is_looked_up_when_the_process_starts() {
    let Some(rig) = Rig::as_root("another user") else { return };
    rig.write("passwd", "app:x:4711:4712::/srv/app:/bin/sh\n");
    let config = "
        processes:
          # The mount is in the namespace of this drainit only.
          number: {type: oneshot, command: [mount, --bind, DIR/passwd, /etc/passwd]}
          app:
            command: [CHILD, app, report=DIR/app.json, exit=0]
            user: app
            depends_on: [number, own, other]
            hooks:
              pre_start: [CHILD, before, report=DIR/before.json, exit=0]
              post_stop: [CHILD, after, report=DIR/after.json, exit=0]
          own:
            command: [CHILD, own, report=DIR/own.json]
            user: app
            environment: {HOME: /own, USER: !reset }
            depends_on: [number]
            readiness: {exec: [CHILD, probe, report=DIR/probe.json, exit=0]}
          other:
            command: [CHILD, other, report=DIR/other.json]
            user: '12345:1'
            depends_on: [number]
        ";
    let ended = rig.readable_by_everybody().env("USER", "root").env("HOME", "/root").run(config);
    ended.assert_code(0);
    for (report, uid, expected) in [
        ("app", 4711, [Some("/srv/app"), Some("app"), Some("app")]),
        ("before", 4711, [Some("/srv/app"), Some("app"), Some("app")]),
        ("after", 4711, [Some("/srv/app"), Some("app"), Some("app")]),
        ("own", 4711, [Some("/own"), None, Some("app")]),
        ("probe", 4711, [Some("/own"), None, Some("app")]),
        ("other", 12345, [Some("/"), None, None]),
    ] {
        let report = format!("{report}.json");
        let found = ["HOME", "USER", "LOGNAME"].map(|name| variable(&ended, &report, name));
        assert_eq!(found.each_ref().map(Option::as_deref), expected, "{report}");
        assert_eq!(ended.report(&report)["uid"], uid, "{report}");
    }
}

// holds: C276, C281, C284, C285, C287, C289, C631
#[test]
fn a_template_with_a_secret_of_root_is_rendered_before_pre_start_for_the_user_of_the_process() {
    let Some(rig) = Rig::as_root("another user") else { return };
    let rig = rig.readable_by_everybody();
    rig.write("token", "geheim");
    fs::set_permissions(rig.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    rig.write("app.tmpl", "token ${TOKEN}\nadmin ${ADMIN:-127.0.0.1}\n$$ $HOME ${UNSET}\n");
    let config = "
        processes:
          app:
            command: [CHILD, app]
            user: '65534:65534'
            environment: {TOKEN: {file: DIR/token}}
            render:
              - {from: DIR/app.tmpl, to: DIR/app.conf}
              - {from: DIR/app.tmpl, to: DIR/open.conf, mode: '0644'}
            hooks: {pre_start: [sh, -c, 'cat DIR/app.conf && echo checked >>DIR/app.conf']}
        ";
    let drainit = rig.env("ADMIN", "::1").start(config);
    drainit.wait_for_start(&["app"]);
    for (name, mode) in [("app.conf", 0o600), ("open.conf", 0o644)] {
        let found = fs::metadata(drainit.path(name)).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (65534, mode), "{name}");
    }
    let text = fs::read_to_string(drainit.path("app.conf")).unwrap();
    assert_eq!(text, "token geheim\nadmin ::1\n$ $HOME \nchecked\n");
    drainit.stop().assert_code(0).assert_line("^admin ::1$").assert_line(
        "warning: app: template `.*/app.tmpl`, line 3: `UNSET` is not set and becomes",
    );
}
