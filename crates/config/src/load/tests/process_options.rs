//! Tests options of a process such as `umask`, `ulimits`, `log` and `on_exit`.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::Resource;

use crate::keys::{Limit, LogFile, LogMode, Process, RESOURCES, Ulimit};
use crate::load::testing::load;
use crate::load::tests::{lines, problems, process_in, process_with};

fn process(keys: &str) -> Process {
    process_in(keys, &[("N", "512")])
}

/// A row has the keys of a process, a column, and the start of a message. Fails unless the config
/// with these keys has exactly one problem, with this message in this column.
#[track_caller]
fn refused(rows: &[(&str, usize, &str)]) {
    for (keys, column, message) in rows {
        let found = lines(&problems(&process_with(keys)));
        let is_it = found.len() == 1 && found[0].starts_with(&format!("4:{column} {message}"));
        assert!(is_it, "{keys}: {found:?}");
    }
}

// holds: C166
#[test]
fn a_umask_is_octal() {
    for (text, umask) in
        [("'027'", 0o27), ("027", 0o27), ("0o27", 0o27), ("'0'", 0), ("0777", 0o777)]
    {
        assert_eq!(process(&format!("umask: {text}")).umask, Some(umask), "{text}");
    }
    assert_eq!(process("x-a: b").umask, None);
    let message = |text| format!("`umask` is {text}: not an octal number from 000 to 777");
    let (eight, large, sign, word) =
        (message("`028`"), message("`1777`"), message("`+27`"), message("`u=rwx`"));
    refused(&[
        ("umask: '028'", 12, &eight),
        ("umask: '1777'", 12, &large),
        ("umask: '+27'", 12, &sign),
        ("umask: u=rwx", 12, &word),
        ("umask: ''", 12, &message("empty")),
    ]);
}

// holds: C324, C325, C326
#[test]
fn ulimits_have_the_form_of_compose() {
    let both = |resource, name, limit| Ulimit { resource, name, soft: limit, hard: limit };
    let number = Limit::Number;
    assert_eq!(
        process("ulimits: {nproc: 65535, nofile: max, core: -1, memlock: unlimited}").ulimits,
        [
            both(Resource::RLIMIT_CORE, "core", Limit::Unlimited),
            both(Resource::RLIMIT_MEMLOCK, "memlock", Limit::Unlimited),
            both(Resource::RLIMIT_NOFILE, "nofile", Limit::Max),
            both(Resource::RLIMIT_NPROC, "nproc", number(65535)),
        ]
    );
    let (soft, hard) = (number(512), Limit::Max);
    let nofile = Ulimit { resource: Resource::RLIMIT_NOFILE, name: "nofile", soft, hard };
    assert_eq!(process("ulimits: {nofile: {soft: \"${N}\", hard: max}}").ulimits, [nofile]);
    for (name, resource) in RESOURCES {
        assert_eq!(
            process(&format!("ulimits: {{{name}: 1}}")).ulimits,
            [both(*resource, name, number(1))]
        );
    }
    assert_eq!(process("ulimits: {}").ulimits, []);
}

// holds: C325
#[test]
fn wrong_ulimits_are_refused() {
    refused(&[
        ("ulimits: {nofile: many}", 23, "`nofile` is `many`: not a limit"),
        ("ulimits: {nofile: -2}", 23, "`nofile` is `-2`: not a limit"),
        ("ulimits: {nofile: {soft: 5}}", 23, "`processes.a.ulimits.nofile` has no `hard`"),
        (
            "ulimits: {nofile: {soft: 5, hard: 4}}",
            24,
            "the soft limit of `processes.a.ulimits.nofile` is above the hard limit",
        ),
        (
            "ulimits: {core: {soft: -1, hard: 4}}",
            22,
            "the soft limit of `processes.a.ulimits.core` is above the hard limit",
        ),
    ]);
}

#[test]
fn every_form_of_log_is_read() {
    let file = |prefix: Option<&str>| {
        let path = PathBuf::from("/var/log/a.log");
        LogMode::File(LogFile { path, prefix: prefix.map(str::to_owned), stderr: None })
    };
    let prefix = |prefix: &str| LogMode::Prefix(prefix.to_owned());
    let apart = LogFile { path: "/a".into(), prefix: None, stderr: Some("/b".into()) };
    for (text, log, stderr_to_stdout) in [
        ("{file: /a, stderr: {file: /b}}", LogMode::File(apart), false),
        ("{mode: none}", LogMode::None, false),
        ("{file: /var/log/a.log}", file(None), false),
        ("{file: /var/log/a.log, prefix: x}", file(Some("x")), false),
        ("{file: /var/log/a.log, stderr: stdout}", file(None), true),
        ("{stderr: stdout}", LogMode::Inherit, true),
        ("{mode: inherit, stderr: stdout}", LogMode::Inherit, true),
        ("{mode: prefix, stderr: stdout}", prefix("a"), true),
        ("{prefix: x, stderr: stdout}", prefix("x"), true),
        ("{}", prefix("a"), false),
    ] {
        let process = process(&format!("log: {text}"));
        assert_eq!(
            (process.log.mode, process.log.stderr_to_stdout),
            (log, stderr_to_stdout),
            "{text}"
        );
    }
    refused(&[
        ("log: {stderr: {file: /a}}", 11, "a file of stderr needs a `file` for stdout, too"),
        ("log: {file: /a, stderr: {file: /a}}", 21, "both streams have the same file"),
        ("log: {mode: none, file: /a}", 23, "output goes to a `file` or by a `mode`, not both"),
        ("log: {mode: none, prefix: a}", 23, "with `mode: none` there are no lines to prefix"),
        ("log: {file: ''}", 17, "`file` is empty: an empty path"),
        ("log: {file: /dev/stdout}", 17, "`file` is `/dev/stdout`: drainit's own output"),
        ("log: {file: /dev/null}", 17, "`file` is `/dev/null`: not a file"),
        ("log: {mode: none}\n    readiness: {log: x}", 5, "`readiness: {log: …}` needs the"),
    ]);
}

// holds: C153, C154, C617
#[test]
fn success_codes_and_a_timeout_are_read() {
    assert_eq!(process("x-a: b").success_codes, [0]);
    assert_eq!(process("success_codes: [0, 2, 143]").success_codes, [0, 2, 143]);
    assert_eq!(process("success_codes: [3, 255]").success_codes, [3, 255]);
    assert_eq!(process("type: oneshot").timeout, None);
    let timeout = process("type: oneshot\n    timeout: 1m 30s").timeout;
    assert_eq!(timeout, Some(Duration::from_secs(90)));
    refused(&[
        ("success_codes: []", 20, "`success_codes` is empty"),
        ("success_codes: [0, 256]", 24, "`success_codes` is `256`: not an exit code"),
        ("success_codes: [SIGTERM]", 21, "`success_codes` is `SIGTERM`: not an exit code"),
        ("timeout: 5s", 5, "only a oneshot has a `timeout`"),
        ("timeout: 0", 14, "`timeout` is `0`: must be longer than 0"),
    ]);
}

// holds: C149, C657
#[test]
fn the_stop_needs_the_explicit_timeout_of_a_hook() {
    let waits = |hooks: &str| {
        let process = format!("processes: {{a: {{command: [a], hooks: {{{hooks}}}}}}}");
        let config = load(&[&format!("hooks: {{{hooks}}}\n{process}")], &[]).unwrap().config;
        let spec = config.spec(&config.graph().unwrap());
        [spec.hooks, spec.processes[0].hooks].map(|hooks| {
            [hooks.pre_stop, hooks.post_stop].map(|wait| wait.map(|wait| (wait.limit, wait.need)))
        })
    };
    let seconds = Duration::from_secs;
    let written = Some((seconds(4), seconds(4)));
    let unset = Some((seconds(10), seconds(1)));
    let first = waits("pre_stop: {command: [a], timeout: 4s}, post_stop: [a]");
    assert_eq!(first, [[written, unset]; 2]);
    let last = waits("pre_stop: [a], post_stop: {command: [a], timeout: 4s}");
    assert_eq!(last, [[unset, written]; 2]);
}

// holds: C162, C621, C622
#[test]
fn a_stop_grace_period_of_0_differs_from_an_unset_stop_grace_period() {
    for (keys, limit, need) in [
        ("stop_grace_period: 0", 0, 0),
        ("stop_grace_period: 25s", 25, 25),
        ("stop_grace_period:", 10, 1),
    ] {
        let config = load(&[&process_with(keys)], &[]).unwrap().config;
        let stop = config.spec(&config.graph().unwrap()).processes[0].stop;
        assert_eq!((stop.limit.as_secs(), stop.need.as_secs()), (limit, need), "{keys}");
    }
}

// holds: C196, C655
#[test]
fn a_dependent_may_ask_for_a_restart() {
    let text = "
processes:
  db: {command: [a], scale: 2}
  migrate: {command: [a], type: oneshot}
  app:
    command: [a]
    depends_on: {db: {restart: true}, migrate: {condition: started, restart: '${R:-false}'}}
";
    let restarts = |texts: &[&str], variables: &[(&str, &str)]| {
        let config = load(texts, variables).unwrap().config;
        let graph = config.graph().unwrap();
        let spec = config.spec(&graph);
        let app = config.processes.iter().find(|process| process.name == "app").unwrap();
        let asked: Vec<bool> = app.depends_on.iter().map(|one| one.restart).collect();
        let followers: Vec<usize> =
            spec.processes.iter().map(|process| process.followers.len()).collect();
        (asked, followers)
    };
    assert_eq!(restarts(&[text], &[]), (vec![true, true, false], vec![1, 1, 0, 0]));
    let all = (vec![true, true, true], vec![1, 1, 1, 0]);
    assert_eq!(restarts(&[text], &[("R", "true")]), all);
    // A later file can change one key of one dependency.
    let over = "processes: {app: {depends_on: {db: {restart: false}}}}";
    assert_eq!(restarts(&[text, over], &[]), (vec![false; 3], vec![0; 4]));
    let also = |keys: &str| format!("depends_on: {{b: {{{keys}}}}}\n  b: {{command: [b]}}");
    let (wrong, unknown) = (also("restart: maybe"), also("restarts: true"));
    refused(&[
        (&wrong, 31, "`restart` is `maybe`: neither true nor false"),
        (&unknown, 22, "unknown key `restarts` in `depends_on.b`"),
    ]);
}

// holds: C689, C690, C624
#[test]
fn on_exit_is_a_word_or_a_mapping_by_kind_of_end() {
    use crate::keys::{ExitPolicy, OnExit};
    let [ignore, shutdown] = [ExitPolicy::Ignore, ExitPolicy::Shutdown];
    for (text, success, failure, signal) in [
        ("ignore", ignore, ignore, ignore),
        ("{success: ignore}", ignore, shutdown, shutdown),
        ("{failure: ignore}", shutdown, ignore, ignore),
        ("{failure: ignore, signal: shutdown}", shutdown, ignore, shutdown),
        ("{signal: ignore}", shutdown, shutdown, ignore),
    ] {
        let process = process(&format!("on_exit: {text}"));
        assert_eq!(process.on_exit, OnExit { success, failure, signal }, "{text}");
        let text = process_with(&format!("on_exit: {text}\n    required: false"));
        assert_eq!(load(&[&text], &[]).is_ok(), [failure, signal] == [ignore; 2], "{text}");
    }
    let found = problems(&process_with("on_exit: {succes: ignore}"));
    assert!(found[0].help.as_deref().is_some_and(|help| help.contains("`success`")), "{found:?}");
}
