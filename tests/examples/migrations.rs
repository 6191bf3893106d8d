//! Converts files of other supervisors, by `drainit import` or as docs/migrating.md says, and runs
//! the results. The files use the features that well-known images use. If possible, the original
//! supervisor runs too, and both must behave alike.

use crate::support::rig::NOBODY;
use crate::support::*;

/// The supervisor of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Original,
    Drainit,
}

const BOTH: [By; 2] = [By::Original, By::Drainit];

/// A rig with these files of tests/fixtures/migrations. The users that the files name can read the
/// rig's programs.
fn rig(files: &[&str]) -> Option<Rig> {
    let rig = Rig::as_root("a change of the user")?.readable_by_everybody();
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

/// Runs supervisord itself with a supervisord.conf.
fn start_supervisord(rig: Rig, file: &str) -> Running {
    let python = fs::canonicalize("/usr/bin/python3").unwrap();
    let config = format!("DIR/{file}");
    rig.drainit(&python).start_with(&["/usr/bin/supervisord", "-c", &config])
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

/// In this image of a cloud application, all programs start at the same time. One job ends and
/// stays down, a second job never starts successfully, and a third job ignores SIGTERM. The draft
/// runs unchanged. supervisord gives up the second job, and the draft starts it ever later.
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
            By::Drainit => "notify-push: .*; restart 3 in 4s",
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
        // In a template for `render`, a variable has braces.
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

/// Stops nginx under load, first under supervisord, then under drainit with the imported draft.
#[test]
fn an_imported_nginx_loses_no_request_where_supervisord_loses_some() {
    if !["supervisord", "wrk", "nginx"].into_iter().all(is_installed) || !is_root_for("nginx") {
        return;
    }
    let (dir, address) = (TempDir::for_everybody(), free_address());
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temp = temp.map(|kind| format!("{kind}_temp_path {};", dir.path(kind).display())).concat();
    let server = format!("server {{ listen {address}; location / {{ return 200 ok; }} }}");
    let nginx = format!("events {{}} http {{ access_log off; {temp} {server} }}");
    dir.write("nginx.conf", format!("pid {}; {nginx}", dir.path("pid").display()));
    let command = format!("nginx -c {} -g 'daemon off;'", dir.path("nginx.conf").display());
    let head = "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0";
    let pid = dir.path("supervisord.pid");
    let program = format!("[program:nginx]\ncommand={command}\nstopsignal=QUIT");
    dir.write("s.conf", format!("{head}\npidfile={}\n{program}\n", pid.display()));
    let [conf, draft] = ["s.conf", "drainit.yaml"].map(|name| dir.path(name));
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
        script.args(["--command", &port, "/x", "--"]).args(words).env("CLIENTS", "20");
        let ended = script.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(ended.status.success(), !fails, "{said} {ended:?}");
        assert_eq!(said.contains(" answered, 0 failed; connections: 0 cut\n"), !fails, "{said}");
        assert!(said.contains(" s of 30 s, exit code 0\n") && !said.contains("left"), "{said}");
    }
}
