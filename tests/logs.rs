//! `drainit logs`: the last lines, and those that follow.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;

use crate::support::http::get_unix;
use crate::support::{LONG, Rig, Running, Signal, Stream};

const CONFIG: &str = "
processes:
  a: {command: [CHILD, a, print=one, print=two, await=DIR/go, print=three, await=DIR/more, print=four], log: {}}
  b: {command: [CHILD, b, eprint=of-b], log: {prefix: bee}}
  quiet: {command: [CHILD, quiet, print=past]}
";

fn start() -> Option<Running> {
    let drainit = Rig::new()?.start(CONFIG);
    for line in ["one", "two", "of-b", "past"] {
        drainit.wait_for_line(line);
    }
    drainit.wait_for_line("everything is ready");
    Some(drainit)
}

#[test]
fn the_last_lines_are_shown() {
    let Some(drainit) = start() else { return };
    let said = drainit.exec(&["logs"]);
    let lines: Vec<_> = said.stdout.lines().collect();
    for expected in ["[a] one", "[a] two", "[bee] of-b"] {
        assert!(lines.contains(&expected), "{said:?}");
    }
    assert!(
        lines.iter().any(|line| line.starts_with("[drainit] ") && line.ends_with("a: started")),
        "{said:?}"
    );
    assert!(!said.stdout.contains("past"), "{said:?}");
    assert!(
        said.stderr.contains("without the lines of quiet") && said.stderr.contains("`log: {}`"),
        "{said:?}"
    );

    let shown = |args: &[&str]| {
        let said = drainit.exec(args);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
        said.stdout
    };
    assert_eq!(shown(&["logs", "-n", "1", "a"]), "[a] two\n");
    assert_eq!(shown(&["logs", "--tail", "5", "b"]), "[bee] of-b\n");
    assert_eq!(shown(&["logs", "-n", "0", "a"]), "");
    drainit.exec(&["logs", "quiet"]).assert(1, "drainit has no lines of `quiet`: without `log`");
    drainit.exec(&["logs", "c"]).assert(1, "there is no process `c`");
    drainit.exec(&["logs", "-n", "x"]).assert(2, "invalid value");
}

#[test]
fn what_follows_is_shown_until_drainit_ends() {
    let Some(drainit) = start() else { return };
    let mut command = drainit.exec_as(None, &["logs", "-f", "-n", "1", "a"]);
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "[a] two");
    drainit.touch("go");
    assert_eq!(lines.next().unwrap(), "[a] three");
    // Others ask meanwhile.
    drainit.exec(&["status"]).assert(0, "ready");
    drainit.touch("more");
    assert_eq!(lines.next().unwrap(), "[a] four");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
    assert_eq!(lines.next(), None);
    following.wait().unwrap();
}

/// Follows from outside: a command in the container may be killed with PID 1 before it prints.
#[test]
fn the_last_lines_of_drainit_are_followed_too() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "{control: {socket: DIR/control.sock}, processes: {a: {command: [CHILD, a, print=one], log: {}}}}",
    );
    drainit.wait_for_line("everything is ready");
    let socket = drainit.path("control.sock");
    let following = thread::spawn(move || get_unix(&socket, "/v1/logs?follow").unwrap());
    drainit.wait_until("followed", || {
        // Its own connection and the one that follows.
        let sockets = std::fs::read_to_string(format!("/proc/{}/net/unix", drainit.pid())).unwrap();
        let path = drainit.path("control.sock").display().to_string();
        sockets.lines().filter(|line| line.ends_with(&path)).count() > 1
    });
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0);
    let (_, followed) = following.join().unwrap();
    let lines = || ended.record.lines.iter().filter(|line| line.stream == Stream::Stderr);
    let last = &lines().next_back().unwrap().text;
    assert!(followed.contains(&format!("{last}\n")), "no {last:?} in\n{followed}");
}

#[test]
fn a_name_is_followed_over_reloads() {
    let Some(rig) = Rig::new() else { return };
    let config = |processes: &str| {
        let base = "base: {command: [CHILD, base]}";
        rig.fill(&format!("processes: {{{base}, {processes}}}"))
    };
    let first = config("app: {command: [CHILD, app, print=one], log: {}}");
    let without = config("");
    let other = config("other: {command: [CHILD, other, print=secret], log: {}}");
    let again = config("app: {command: [CHILD, app, print=two], log: {}}");
    let path = rig.path("drainit.yaml");
    let drainit = rig.start(&first);
    drainit.wait_for_line("one");
    drainit.wait_for_line("everything is ready");
    let mut command = drainit.exec_as(None, &["logs", "-f", "-n", "1", "app"]);
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "[app] one");
    for (config, line) in [(without, None), (other, Some("secret")), (again, Some("two"))] {
        std::fs::write(&path, config).unwrap();
        drainit.exec(&["reload"]).assert(0, "");
        if let Some(line) = line {
            drainit.wait_for_line(line);
        }
    }
    assert_eq!(lines.next().unwrap(), "[app] two");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
    following.wait().unwrap();
}

#[test]
fn a_follower_without_a_reader_does_not_wait_for_the_next_line() {
    let Some(drainit) = start() else { return };
    let mut command = drainit.exec_as(None, &["logs", "-f", "-n", "1", "a"]);
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(following.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "[a] two\n");
    drop(lines);
    let ended = RefCell::new(following);
    drainit.wait_until("over", || ended.borrow_mut().try_wait().unwrap().is_some());
    assert!(ended.into_inner().wait().unwrap().success());
}

#[test]
fn a_follower_that_does_not_read_holds_up_nobody() {
    let Some(rig) = Rig::new() else { return };
    let config =
        "processes: {a: {command: [CHILD, a, await=DIR/go, 'lines=20000,x', print=last], log: {}}}";
    let drainit = rig.start(config);
    drainit.wait_for_start(&["a"]);
    let mut command = drainit.exec_as(None, &["logs", "-f", "a"]);
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    drainit.wait_until("followed", || {
        let sockets = std::fs::read_to_string(format!("/proc/{}/net/unix", drainit.pid())).unwrap();
        sockets.lines().filter(|line| line.contains("@drainit/") && line.ends_with("/1")).count()
            > 1
    });
    drainit.touch("go");
    drainit.wait_for_line(r"^\[a\] last$");
    drainit.exec(&["status"]).assert(0, "running");
    drop(following.stdout.take());
    let _ = following.kill();
    following.wait().unwrap();
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}
