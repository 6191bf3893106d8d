//! Converts files of other supervisors, by `drainit import` or as docs/migrating.md says, and runs
//! the results. The files use the features that well-known images use. If possible, the original
//! supervisor runs too, and both must behave alike.

use std::fs;
use std::process::Command;

use nix::unistd::Uid;
use testkit::envoy::checkout;

use crate::support::example::is_installed;
use crate::support::http::free_address;
use crate::support::namespace::{is_root_for, skip_unless};
use crate::support::rig::NOBODY;
use crate::support::temp_dir::TempDir;
use crate::support::{Ended, LONG, Rig, Running, Signal, Stream, in_parallel};

/// The supervisor of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Original,
    Drainit,
}

const BOTH: [By; 2] = [By::Original, By::Drainit];

/// A rig with these files of tests/fixtures/migrations, whose programs are readable for the users
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

/// Converts the first of these files by `drainit import`, and runs the draft with the other files
/// as overlays.
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

/// Returns the user of the process that wrote this report, and the values of these variables in its
/// environment.
fn user_and_variables(ended: &Ended, report: &str, names: &[&str]) -> (u64, Vec<String>) {
    let report = ended.report(report);
    let text = |name: &&str| report["env"][name].as_str().unwrap_or_default().to_owned();
    (report["uid"].as_u64().unwrap(), names.iter().map(text).collect())
}

/// In this image of a cloud application, all programs start at once. One job ends and stays down,
/// another one never starts successfully, and a third ignores SIGTERM. The draft runs unchanged.
#[test]
fn a_supervisord_conf_behaves_alike_after_the_import() {
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
        running.wait_for_events("notify-push", "handling", 3);
        running.wait_for_event("cron", "report");
        running.wait_for_event("php-fpm", "report");
        let gave_up = match by {
            By::Original => "gave up: notify-push entered FATAL state",
            By::Drainit => "notify-push: .*restart_max is reached: it stays down",
        };
        running.wait("giving up", LONG, |record| record.line(gave_up).cloned());
        let record = running.record();
        assert_eq!(
            (record.count("notify-push", "handling"), record.count("job", "handling")),
            (3, 1),
            "{by:?}"
        );
        let ended = stop(running);
        // drainit's exit code says that a process had to be killed.
        ended.assert_code(if by == By::Original { 0 } else { 137 });
        ended.event("php-fpm", "got SIGTERM");
        ended.event("cron", "got SIGTERM");
        assert!(ended.text(Stream::Stdout).contains("hello you"), "{}", ended.record);
        let of = |name: &str| user_and_variables(&ended, name, &["GREETING"]);
        assert_eq!(of("php-fpm.json"), (0, vec!["hello you".to_owned()]), "{by:?}");
        assert_eq!(of("cron.json"), (u64::from(NOBODY), vec!["hello you".to_owned()]), "{by:?}");
    });
}

/// docs/migrating.md shows the conversion of this entrypoint of a DNS server.
#[test]
fn a_bash_entrypoint_behaves_alike_after_the_conversion() {
    in_parallel(BOTH, |by| {
        let Some(rig) = rig(&["entrypoint.sh", "entrypoint.yaml"]) else { return };
        let rig = rig.env("UPSTREAM", "9.9.9.9");
        // A template for `render` needs braces.
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
        running.wait_for_events("helper", "handling", 2);
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

/// The reason why the processes of a Procfile stop: a signal, or the end of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Asked,
    /// This process ends by itself with this code once the file exists.
    Of(&'static str, &'static str, i32),
}

/// The Procfile has a release step, a port, variables and a pipe. Whichever process ends, with
/// whatever code, the others are stopped too.
#[test]
fn a_procfile_with_a_release_runs_after_the_import() {
    let ends = [End::Asked, End::Of("worker", "fail", 3), End::Of("clock", "done", 0)];
    in_parallel(ends, |end| {
        let Some(rig) = rig(&["Procfile"]) else { return };
        // The draft's port is 5000, which another test may use.
        let port = free_address().port().to_string();
        let running = start_imported(rig.env("PORT", &port), &["Procfile"]);
        for name in ["web", "worker", "clock"] {
            running.wait_for_event(name, "report");
        }
        running.wait_for_line(r"log\b.* lines$");
        running.wait_for_event("web", "tcp");
        let all = ["web", "worker", "clock", "log"];
        for name in all {
            running.wait_for_line(&format!(r"{name}\b.* started"));
        }
        let (ended, code) = match end {
            End::Asked => (stop(running), 0),
            End::Of(_, file, code) => {
                running.touch(file);
                (running.wait_exit(LONG * 2), code)
            }
        };
        ended.assert_code(code);
        for name in all {
            ended.assert_order(&["release exit 0", &format!("{name} start")]);
        }
        // All processes get the signal at once. `log` is the child of a shell, which does not delay
        // the signal, because drainit sends it to the shell's whole process group.
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
        assert_eq!(of("worker.json", "QUEUE"), ["high low"]);
        assert_eq!(of("web.json", "PORT"), [port]);
        assert_eq!(ended.report("clock.json")["cwd"], "/tmp");
    });
}

/// Tests the draft of a large Compose file: the order of the starts and stops, what is restarted,
/// signals, users, variables and output.
#[test]
fn a_large_compose_file_runs_after_the_import() {
    let Some(rig) = rig(&["compose.yaml"]) else { return };
    rig.write("worker.env", "FROM_FILE=yes\nQUEUE=low\n");
    rig.write("password", "secret\n");
    let rig = rig.env("NAME", "market").env("STAGE", "test").env("DRAINIT_PROFILES", "debug");
    let running = start_imported(rig, &["compose.yaml"]);
    running.wait_for_event("web", "report");
    running.wait_for_event("mailer", "exit 4");
    running.wait_for_events("worker", "handling", 2);
    kill_child(&running, "cache");
    kill_child(&running, "worker");
    running.wait_for_events("cache", "handling", 2);
    running.wait_for_events("worker", "handling", 3);
    // `web` depends on `cache` with `restart: true`, so drainit restarts it after a crash of
    // `cache`, too.
    running.wait_for_events("web", "handling", 2);
    let ended = stop(running);
    ended.assert_code(0).assert_order(&["db unix", "migrate start", "migrate exit 0", "web start"]);
    // A killed `cache` (unless-stopped) and `worker` (on-failure, two of them) are started again.
    let times = [("db", 1), ("cache", 2), ("migrate", 1), ("web", 2), ("worker", 3), ("mailer", 1)];
    for (name, times) in times {
        assert_eq!(ended.record.count(name, "handling"), times, "{name}:\n{}", ended.record);
    }
    // Dependents stop first, each by its own signal.
    let db = ended.event("db", "got SIGINT").at;
    for name in ["web", "worker"] {
        ended.event(name, "got SIGTERM");
        let ends = ended.record.events.iter().filter(|event| event.name == name);
        let last = ends.filter(|event| event.what == "exit 0").map(|event| event.at).max();
        assert!(last.unwrap() <= db, "{name} ended after the stop of db:\n{}", ended.record);
    }
    ended.event("cache", "got SIGTERM");
    for (name, text) in [("web", "$HOME"), ("cache", "with space"), ("mailer", "oops")] {
        ended.assert_line(&format!(r"^\[{name}(-\d+)?\] .*{}$", text.replace('$', r"\$")));
    }
    let (uid, variables) = user_and_variables(&ended, "web.json", &["URL", "STAGE", "PRICE"]);
    assert_eq!(uid, u64::from(NOBODY));
    assert_eq!(variables, ["postgres://db/market", "test", "5 $"]);
    assert_eq!(ended.report("web.json")["cwd"], "/tmp");
    let variables = user_and_variables(&ended, "worker.json", &["QUEUE", "FROM_FILE", "STAGE"]).1;
    assert_eq!(variables, ["high low", "yes", "test"]);
}

/// nginx under supervisord is stopped under load, and so is what `drainit import` makes of its file.
#[test]
fn an_imported_nginx_loses_no_request_where_supervisord_loses_some() {
    if !["supervisord", "wrk", "nginx"].into_iter().all(is_installed) || !is_root_for("nginx") {
        return;
    }
    let (dir, address) = (TempDir::new(), free_address());
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temp = temp.map(|kind| format!("{kind}_temp_path {};", dir.join(kind).display())).concat();
    let server = format!("server {{ listen {address}; location / {{ return 200 ok; }} }}");
    let nginx = format!("events {{}} http {{ access_log off; {temp} {server} }}");
    dir.write("nginx.conf", format!("pid {}; {nginx}", dir.join("pid").display()));
    let command = format!("nginx -c {} -g 'daemon off;'", dir.join("nginx.conf").display());
    let head = "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0";
    let pid = dir.join("supervisord.pid");
    let program = format!("[program:nginx]\ncommand={command}\nstopsignal=QUIT");
    dir.write("s.conf", format!("{head}\npidfile={}\n{program}\n", pid.display()));
    let [conf, draft] = ["s.conf", "drainit.yaml"].map(|name| dir.join(name));
    let drainit = env!("CARGO_BIN_EXE_drainit");
    dir.write(
        "drainit.yaml",
        Command::new(drainit).arg("import").arg(&conf).output().unwrap().stdout,
    );
    for (words, fails) in [
        (["supervisord", "-n", "-c", conf.to_str().unwrap()], true),
        ([drainit, "run", "-c", draft.to_str().unwrap()], false),
    ] {
        let port = address.port().to_string();
        let mut script = Command::new(checkout().join("examples/rehearse.sh"));
        script.args(["--command", &port, "--"]).args(words).env("CLIENTS", "20");
        let ended = script.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(ended.status.success(), !fails, "{said} {ended:?}");
        assert_eq!(said.contains(" answered, 0 failed; connections: 0 cut\n"), !fails, "{said}");
        assert!(said.contains(" s of 30 s, exit code 0\n") && !said.contains("left"), "{said}");
    }
}
