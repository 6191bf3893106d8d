//! Tests options of a process such as `umask`, `ulimits`, `log` and `on_exit`.

use std::path::PathBuf;

use nix::sys::resource::Resource;

use crate::keys::{Limit, LogFile, LogMode, Process, RESOURCES, Ulimit};
use crate::load::testing::load;
use crate::load::tests::{problems, process_in, process_with};

fn process(keys: &str) -> Process {
    process_in(keys, &[("N", "512")])
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
            process(&format!("ulimits: {{{name}: {{soft: 1, hard: 1}}}}")).ulimits,
            [both(*resource, name, number(1))]
        );
    }
    assert_eq!(process("ulimits: {}").ulimits, []);
}

// holds: C430
#[test]
fn every_form_of_log_is_read() {
    let file = |prefix: Option<&str>| {
        let path = Some(PathBuf::from("/var/log/a.log"));
        LogMode::File(LogFile { path, prefix: prefix.map(str::to_owned), stderr: None })
    };
    let prefix = |prefix: &str| LogMode::Prefix(prefix.to_owned());
    let apart = |path: Option<&str>, prefix: Option<&str>| {
        let (path, prefix) = (path.map(PathBuf::from), prefix.map(str::to_owned));
        LogMode::File(LogFile { path, prefix, stderr: Some("/b".into()) })
    };
    for (text, log, stderr_to_stdout) in [
        ("{file: /a, stderr: {file: /b}}", apart(Some("/a"), None), false),
        ("{stderr: {file: /b}}", apart(None, None), false),
        ("{mode: prefix, stderr: {file: /b}}", apart(None, Some("a")), false),
        ("{prefix: x, stderr: {file: /b}}", apart(None, Some("x")), false),
        ("{mode: none}", LogMode::None, false),
        ("{file: /var/log/a.log}", file(None), false),
        ("{file: /var/log/a.log, prefix: x}", file(Some("x")), false),
        ("{file: /var/log/a.log, stderr: stdout}", file(None), true),
        ("{stderr: stdout}", LogMode::Inherit, true),
        ("{mode: inherit, stderr: stdout}", LogMode::Inherit, true),
        ("{mode: prefix, stderr: stdout}", prefix("a"), true),
        ("{prefix: x, stderr: stdout}", prefix("x"), true),
        ("{}", prefix("a"), false),
        ("", LogMode::Inherit, false),
    ] {
        let process = process(&format!("log: {text}"));
        assert_eq!(
            (process.log.mode, process.log.stderr_to_stdout),
            (log, stderr_to_stdout),
            "{text}"
        );
    }
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
