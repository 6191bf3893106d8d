//! Files of other supervisors, with the features that well-known images use, converted by `drainit
//! import` or by docs/migrating.md. The original runs, too, where it can, and both behave alike.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::unistd::Uid;
use testkit::envoy::checkout;

use crate::support::example::is_installed;
use crate::support::http::free_address;
use crate::support::namespace::skip_unless;
use crate::support::record::Record;
use crate::support::rig::NOBODY;
use crate::support::{Ended, LONG, Rig, Running, Signal, Stream, in_parallel, python_tool};

/// What supervises the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Original,
    Drainit,
}

const BOTH: [By; 2] = [By::Original, By::Drainit];

/// A rig with these files of tests/fixtures/migrations, and with its programs readable by the users
/// that the files name.
fn rig(files: &[&str]) -> Option<Rig> {
    let is_root = Uid::effective().is_root();
    if !skip_unless(is_root.then_some(()).ok_or_else(|| "its users need root".to_owned())) {
        return None;
    }
    let rig = Rig::new()?.readable_by_everybody();
    for file in files {
        let path = checkout().join("tests/fixtures/migrations").join(file);
        rig.write(file, rig.fill(&fs::read_to_string(path).unwrap()));
    }
    Some(rig)
}

/// Imports the first of these files, and runs its draft with the others as overlays.
fn start_imported(rig: Rig, files: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drainit"));
    let imported = command.arg("import").arg(rig.path(files[0])).output().unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    rig.write("drainit.yaml", imported.stdout);
    let overlays = files[1..].iter().map(|file| format!("DIR/{file}"));
    let files = ["DIR/drainit.yaml".to_owned()].into_iter().chain(overlays);
    let args: Vec<_> = files.flat_map(|file| ["-c".to_owned(), file]).collect();
    let args: Vec<_> = ["run"].into_iter().chain(args.iter().map(String::as_str)).collect();
    rig.start_with(&args)
}

/// Runs a supervisord.conf by supervisord itself.
fn start_supervisord(rig: Rig, file: &str) -> Running {
    let python = fs::canonicalize("/usr/bin/python3").unwrap();
    let config = format!("DIR/{file}");
    rig.drainit(&python).start_with(&["/usr/bin/supervisord", "-c", &config])
}

/// How often this child has started, and handles signals.
pub(crate) fn starts(record: &Record, name: &str) -> usize {
    record.events.iter().filter(|event| event.name == name && event.what == "handling").count()
}

/// Waits until this child has started so often.
fn wait_for_starts(running: &Running, name: &str, times: usize) {
    let what = format!("{times} starts of {name}");
    running.wait(&what, LONG * 2, |record| (starts(record, name) >= times).then_some(()));
}

/// Kills a child in the namespace of its supervisor.
fn kill_child(running: &Running, name: &str) {
    let pid = running.wait_for_event(name, "handling").pid.to_string();
    let namespace = running.pid().to_string();
    let kill = ["--target", &namespace, "--pid", "--", "kill", "-KILL", &pid];
    assert!(Command::new("nsenter").args(kill).status().unwrap().success());
}

fn stop(running: Running) -> Ended {
    running.signal(Signal::SIGTERM);
    running.wait_exit(LONG * 2)
}

/// The user of a report, and these variables of its environment.
fn user_and_variables(ended: &Ended, report: &str, names: &[&str]) -> (u64, Vec<String>) {
    let report = ended.report(report);
    let text = |name: &&str| report["env"][name].as_str().unwrap_or_default().to_owned();
    (report["uid"].as_u64().unwrap(), names.iter().map(text).collect())
}

/// Asserts that all children got their first stop signal in this order, each only when the one
/// before had ended.
#[track_caller]
fn assert_stops(ended: &Ended, order: &[(&str, &str)]) {
    let mut alive: Vec<&str> = Vec::new();
    for (name, signal) in order {
        let got = ended.event(name, &format!("got {signal}"));
        let others = got.what.split_once("alive:").unwrap().1;
        let left: Vec<_> = others.split('+').filter(|other| alive.contains(other)).collect();
        assert!(left.is_empty(), "{left:?} alive at the stop of {name}:\n{}", ended.record);
        alive.push(name);
    }
}

/// A mail server: a setup that starts the others by `supervisorctl`, priorities, users, signals,
/// log files. The guide makes the setup a oneshot.
#[test]
fn the_supervisord_conf_of_a_mail_server() {
    if !is_installed("supervisord") {
        return;
    }
    in_parallel(BOTH, |by| {
        let Some(rig) = rig(&["mail.conf", "mail.guide.yaml"]) else { return };
        let running = match by {
            By::Original => start_supervisord(rig, "mail.conf"),
            By::Drainit => start_imported(rig, &["mail.conf", "mail.guide.yaml"]),
        };
        let all = ["setup", "cron", "dovecot", "postfix"];
        all.iter().for_each(|name| {
            drop(running.wait(name, LONG * 3, |record| record.event(name, "handling").cloned()))
        });
        running.wait_for_event("dovecot", "report");
        kill_child(&running, "dovecot");
        wait_for_starts(&running, "dovecot", 2);
        running.wait_until("reports", || running.path("cron.json").exists());
        let ended = stop(running);
        ended.assert_code(0);
        let after_setup = ["cron", "dovecot", "postfix"];
        for name in after_setup {
            ended.assert_order(&["setup exit 0", &format!("{name} start")]);
        }
        // By their priorities: 999, 20, 10.
        let stops = [("cron", "SIGTERM"), ("postfix", "SIGQUIT"), ("dovecot", "SIGTERM")];
        assert_stops(&ended, &stops);
        let (uid, variables) =
            user_and_variables(&ended, "dovecot.json", &["HOME", "LANG", "QUOTED", "NAME"]);
        assert_eq!(uid, u64::from(NOBODY), "{by:?}");
        assert_eq!(variables, ["/home/mail", "C.UTF-8", "a,b", "dovecot"], "{by:?}");
        assert_eq!(ended.report("dovecot.json")["cwd"], "/tmp", "{by:?}");
        assert_eq!(user_and_variables(&ended, "cron.json", &[]).0, 0, "{by:?}");
        assert_eq!(fs::read_to_string(ended.path("cron.log")).unwrap(), "tick\n", "{by:?}");
        // `redirect_stderr`, and `%%`.
        for text in ["configured", "serves", "100%"] {
            let is_there = ended.text(Stream::Stdout).contains(text);
            assert!(is_there, "no {text} of {by:?}:\n{}", ended.record);
        }
    });
}

/// A cloud: everything at once, a job that ends and stays down, one that never starts well, one that
/// ignores TERM. The draft runs as it is.
#[test]
fn the_supervisord_conf_of_a_cloud() {
    if !is_installed("supervisord") {
        return;
    }
    in_parallel(BOTH, |by| {
        let Some(rig) = rig(&["cloud.conf"]) else { return };
        let rig = rig.env("GREETING", "hello you");
        let running = match by {
            By::Original => start_supervisord(rig, "cloud.conf"),
            By::Drainit => start_imported(rig, &["cloud.conf"]),
        };
        running.wait_for_event("job", "exit 0");
        wait_for_starts(&running, "notify-push", 3);
        running.wait_for_event("cron", "report");
        running.wait_for_event("php-fpm", "report");
        let gave_up = match by {
            By::Original => "gave up: notify-push entered FATAL state",
            By::Drainit => "notify-push: .*restart_max is reached: it stays down",
        };
        running.wait("giving up", LONG, |record| record.line(gave_up).cloned());
        let record = running.record();
        assert_eq!((starts(&record, "notify-push"), starts(&record, "job")), (3, 1), "{by:?}");
        let ended = stop(running);
        // drainit says by its code that it had to kill.
        ended.assert_code(if by == By::Original { 0 } else { 137 });
        ended.event("php-fpm", "got SIGTERM");
        ended.event("cron", "got SIGTERM");
        assert!(ended.text(Stream::Stdout).contains("hello you"), "{}", ended.record);
        let of = |name: &str| user_and_variables(&ended, name, &["GREETING"]);
        assert_eq!(of("php-fpm.json"), (0, vec!["hello you".to_owned()]), "{by:?}");
        assert_eq!(of("cron.json"), (u64::from(NOBODY), vec!["hello you".to_owned()]), "{by:?}");
    });
}

/// A DNS server's entrypoint in bash, which docs/migrating.md converts.
#[test]
fn the_bash_entrypoint_of_a_dns_server() {
    in_parallel(BOTH, |by| {
        let Some(rig) = rig(&["entrypoint.sh", "entrypoint.yaml"]) else { return };
        let rig = rig.env("UPSTREAM", "9.9.9.9");
        // A template of `render` has braces.
        let name = if by == By::Original { "@UPSTREAM@" } else { "${UPSTREAM}" };
        rig.write("dns.template", format!("server={name}\n"));
        let running = match by {
            By::Original => {
                let bash = fs::canonicalize("/bin/bash").unwrap();
                rig.drainit(&bash).start_with(&["DIR/entrypoint.sh"])
            }
            By::Drainit => rig.start_with(&["run", "-c", "DIR/entrypoint.yaml"]),
        };
        running.wait_for_event("dns", "report");
        running.wait_for_event("helper", "handling");
        running.touch("crash");
        wait_for_starts(&running, "helper", 2);
        let config = fs::read_to_string(running.path("dns.conf")).unwrap();
        assert_eq!(config, "server=9.9.9.9\n", "{by:?}");
        let ended = stop(running);
        ended.assert_code(0).assert_order(&["migrate exit 0", "dns start"]);
        ended.event("dns", "got SIGTERM");
        assert!(ended.text(Stream::Stdout).contains("migrated"), "{}", ended.record);
        let (uid, variables) = user_and_variables(&ended, "dns.json", &["UPSTREAM"]);
        assert_eq!((uid, variables), (u64::from(NOBODY), vec!["9.9.9.9".to_owned()]), "{by:?}");
    });
}

/// Copies a directory of tests/fixtures/migrations into that of the test, as programs.
fn copy_programs(rig: &Rig, from: &Path, to: &str) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{to}{}", entry.file_name().display());
        if entry.path().is_dir() {
            fs::create_dir(rig.path(&name)).unwrap();
            copy_programs(rig, &entry.path(), &format!("{name}/"));
        } else {
            rig.write_program(&name, rig.fill(&fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// An image with the directories of s6-overlay: steps before the start, services with their user,
/// variables, `finish`, `down-signal` and `timeout-kill`. docs/migrating.md converts it.
#[test]
fn the_s6_tree_of_an_app() {
    if !is_installed("s6-svscan") {
        return;
    }
    in_parallel(BOTH, |by| {
        let Some(rig) = rig(&["s6.yaml"]) else { return };
        copy_programs(&rig, &checkout().join("tests/fixtures/migrations/s6"), "");
        let running = match by {
            By::Original => {
                let init = rig.fill("DIR/init");
                let svscan = fs::canonicalize("/usr/bin/s6-svscan").unwrap();
                rig.wrapper(&[&init]).drainit(&svscan).start_with(&["DIR/services"])
            }
            By::Drainit => rig.start_with(&["run", "-c", "DIR/s6.yaml"]),
        };
        for name in ["app", "queue", "stubborn"] {
            running.wait_for_event(name, "handling");
        }
        running.wait_for_event("app", "eprint");
        kill_child(&running, "app");
        wait_for_starts(&running, "app", 2);
        running.wait_until("reports", || running.path("queue.json").exists());
        let ended = stop(running);
        // drainit says by its code that it had to kill.
        ended.assert_code(if by == By::Original { 0 } else { 137 });
        ended.assert_order(&["migrate exit 0", "app start"]).assert_line("serves");
        ended.event("queue", "got SIGQUIT");
        ended.event("stubborn", "got SIGTERM");
        ended.event("finish", "start");
        let (uid, variables) = user_and_variables(&ended, "app.json", &["TOKEN"]);
        assert_eq!((uid, variables), (u64::from(NOBODY), vec!["secret".to_owned()]), "{by:?}");
        assert_eq!(ended.report("app.json")["cwd"], "/tmp", "{by:?}");
        assert_eq!(user_and_variables(&ended, "queue.json", &["QUEUE"]).1, ["high low"]);
    });
}

/// Which end stops a Procfile's processes: a signal, or that of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Asked,
    /// This process ends by itself with this code once the file exists.
    Of(&'static str, &'static str, i32),
}

/// Runs `release` alone and to its end, as Heroku does, and then the others by Honcho.
fn start_honcho(rig: Rig, honcho: &Path) -> Running {
    let python = fs::canonicalize("/usr/bin/python3").unwrap();
    let start = "-m honcho start --no-colour";
    let release = format!("{} {start} release && exec \"$@\"", python.display());
    let others = format!("{start} web worker clock log");
    rig.env("PYTHONPATH", honcho.to_str().unwrap())
        .wrapper(&["sh", "-c", &release, "sh"])
        .drainit(&python)
        .start_with(&others.split(' ').collect::<Vec<_>>())
}

/// A release step, a port, variables, a pipe. Whichever process ends, and with whichever code, the
/// others are stopped, too.
#[test]
fn a_procfile_with_a_release() {
    let Some(honcho) = python_tool("honcho") else { return };
    let ends = [End::Asked, End::Of("worker", "fail", 3), End::Of("clock", "done", 0)];
    in_parallel(ends.iter().flat_map(|end| BOTH.map(|by| (by, *end))), |(by, end)| {
        let Some(rig) = rig(&["Procfile"]) else { return };
        // The draft has 5000, which another test may use.
        let port = free_address().port().to_string();
        let rig = rig.env("PORT", &port);
        let running = match by {
            By::Original => start_honcho(rig, &honcho),
            By::Drainit => start_imported(rig, &["Procfile"]),
        };
        for name in ["web", "worker", "clock"] {
            running.wait_for_event(name, "report");
        }
        running.wait_for_line(r"log\b.* lines$");
        running.wait_for_event("web", "tcp");
        let all = ["web", "worker", "clock", "log"];
        for name in all {
            running.wait_for_line(&format!(r"{name}\b.* started"));
        }
        // Honcho fails on a signal that comes while it writes a line.
        let stat = format!("/proc/{}/stat", running.pid());
        running.wait_until("waiting", || fs::read_to_string(&stat).unwrap().contains(") S "));
        let (ended, code) = match end {
            // drainit ends with 0 where it was asked to.
            End::Asked => (stop(running), if by == By::Original { 143 } else { 0 }),
            End::Of(_, file, code) => {
                running.touch(file);
                (running.wait_exit(LONG * 2), code)
            }
        };
        ended.assert_code(code);
        for name in all {
            ended.assert_order(&["release exit 0", &format!("{name} start")]);
        }
        // All are asked at once, with no shell between: `log` is stopped with the group of its
        // shell.
        for name in all {
            match end {
                End::Of(first, ..) if name == first => ended.assert_no_event(name, "got "),
                End::Of(first, ..) => {
                    ended.assert_order(&[&format!("{first} exit"), &format!("{name} got SIGTERM")])
                }
                End::Asked => ended.assert_order(&[&format!("{name} got SIGTERM")]),
            };
        }
        let worker = if end == End::Of("worker", "fail", 3) { "exit 3" } else { "exit 0" };
        ended.event("worker", worker);
        let of = |report: &str, name: &str| user_and_variables(&ended, report, &[name]).1;
        assert_eq!(of("worker.json", "QUEUE"), ["high low"], "{by:?}");
        assert_eq!(of("web.json", "PORT"), [port], "{by:?}");
        assert_eq!(ended.report("clock.json")["cwd"], "/tmp", "{by:?}");
    });
}

/// The draft of a large Compose file. `docker::migrations` runs the file by Compose itself.
#[test]
fn a_large_compose_file() {
    let Some(rig) = shop() else { return };
    let rig = SHOP.iter().fold(rig, |rig, (name, value)| rig.env(name, value));
    let running = start_imported(rig.env("DRAINIT_PROFILES", "debug"), &["compose.yaml"]);
    running.wait_for_event("web", "report");
    running.wait_for_event("mailer", "exit 4");
    wait_for_starts(&running, "worker", 2);
    kill_child(&running, "cache");
    kill_child(&running, "worker");
    wait_for_starts(&running, "cache", 2);
    wait_for_starts(&running, "worker", 3);
    // It has `restart: true`, which follows a crash in drainit only.
    wait_for_starts(&running, "web", 2);
    let ended = stop(running);
    ended.assert_code(0);
    assert_shop(&ended, 2);
}

/// The variables of whoever starts it.
pub(crate) const SHOP: [(&str, &str); 2] = [("NAME", "market"), ("STAGE", "test")];

/// A rig with the large Compose file, and the files that it names.
pub(crate) fn shop() -> Option<Rig> {
    let rig = rig(&["compose.yaml"])?;
    rig.write("worker.env", "FROM_FILE=yes\nQUEUE=low\n");
    rig.write("password", "secret\n");
    Some(rig)
}

/// Asserts what Compose and the draft have in common: the order of the starts and stops, what is
/// restarted, signals, users, variables and output.
#[track_caller]
pub(crate) fn assert_shop(ended: &Ended, starts_of_web: usize) {
    ended.assert_order(&["db unix", "migrate start", "migrate exit 0", "web start"]);
    // A killed `cache` (unless-stopped) and `worker` (on-failure, two of them) are started again.
    let times = [("db", 1), ("cache", 2), ("migrate", 1), ("worker", 3), ("mailer", 1)];
    for (name, times) in [&times[..], &[("web", starts_of_web)]].concat() {
        assert_eq!(starts(&ended.record, name), times, "{name}:\n{}", ended.record);
    }
    // Dependents first, each with its signal.
    let db = ended.event("db", "got SIGINT").at;
    for name in ["web", "worker"] {
        ended.event(name, "got SIGTERM");
        let ends = ended.record.events.iter().filter(|event| event.name == name);
        let last = ends.filter(|event| event.what == "exit 0").map(|event| event.at).max();
        assert!(last.unwrap() <= db, "{name} ended after the stop of db:\n{}", ended.record);
    }
    ended.event("cache", "got SIGTERM");
    for (name, text) in [("web", "$HOME"), ("cache", "with space"), ("mailer", "oops")] {
        // `[web] …` or `web_1  | …`.
        ended.assert_line(&format!(r"^\[?{name}[\]_-].*{}$", text.replace('$', r"\$")));
    }
    let (uid, variables) = user_and_variables(ended, "web.json", &["URL", "STAGE", "PRICE"]);
    assert_eq!(uid, u64::from(NOBODY));
    assert_eq!(variables, ["postgres://db/market", "test", "5 $"]);
    assert_eq!(ended.report("web.json")["cwd"], "/tmp");
    let variables = user_and_variables(ended, "worker.json", &["QUEUE", "FROM_FILE", "STAGE"]).1;
    assert_eq!(variables, ["high low", "yes", "test"]);
}
