//! Tests how whole files are converted, and that every resulting config loads without errors.

use crate::import::every_option::draft;
use crate::import::input::InputFile;
use crate::import::{Format, convert, format_of, import};
use crate::load::{Severity, testing};
use drainit_config::testing::random::Random;
use drainit_config::testing::temp_dir::TempDir;

/// Converts a file, and loads the resulting config. Returns the part of its text after
/// `processes:`.
#[track_caller]
fn processes(format: Format, text: &str) -> String {
    let config = draft(format, text);
    let loaded = testing::load(&[&config], &[("PORT", "80")]);
    loaded.unwrap_or_else(|problems| panic!("{config}\n{}", problems[0]));
    let (_, processes) = config.split_once("processes:\n").unwrap();
    processes.to_owned()
}

#[test]
fn a_procfile_is_converted() {
    let text = r#"
# what runs
web: bundle exec puma -p $PORT
worker: QUEUE='a b' bundle exec sidekiq
logs: tail -f a | grep "${b}" $$
release: rq worker --burst db:migrate
"#;
    let meant = r#"  web:
    command: [sh, "-c", "exec bundle exec puma -p $$PORT"]
    depends_on: {release: {condition: completed}}
    log: {prefix: web}

  # sidekiq: keep `-t` below the drain's `time`
  # `drain`: it takes jobs until its signal; name in `depends_on` what it then still needs
  worker:
    command: [sh, "-c", "exec env QUEUE='a b' bundle exec sidekiq"]
    environment: {PORT: "5100"}
    depends_on: {release: {condition: completed}}
    drain: {signal: {min: 0s, signal: TERM, time: 21s}}
    log: {prefix: worker}

  logs:
    command: [sh, "-c", "tail -f a | grep \"$${b}\" $$$$"]
    environment: {PORT: "5200"}
    depends_on: {release: {condition: completed}}
    log: {prefix: logs}

  # Heroku runs it once per deployment; here every container runs it at its start
  release:
    type: oneshot
    command: [rq, worker, "--burst", "db:migrate"]
    environment: {PORT: "5300"}
    log: {prefix: release}
"#;
    assert_eq!(processes(Format::Procfile, text), meant);
    let whole = draft(Format::Procfile, "a: b\n");
    assert!(whole.contains("\nenv:\n  PORT: \"5000\"\n"), "{whole}");
}

// holds: C761
#[test]
fn included_files_are_read() {
    let dir = TempDir::new();
    std::fs::create_dir_all(dir.path("conf.d/.old")).unwrap();
    dir.write("conf.d/b-2.conf", b"[program:b]\ncommand=b\n[program:main]\nstopsignal=INT\n");
    dir.write("conf.d/a-1.conf", b"[program:a]\ncommand=a\n[include]\nfiles=*.conf\n");
    for other in ["conf.d/c-x.conf", "conf.d/.d-3.conf", "conf.d/e-3.ini"] {
        dir.write(other, b"[program:other]\ncommand=other\n");
    }
    for (patterns, meant) in [
        ("conf.d/*-[0-9].conf", Some("main a b")),
        ("%(here)s/conf.d/?-2.conf\n  conf.d/a*", Some("main b a")),
        ("conf.d/[!c-z]*.conf none/*.conf", Some("main a b")),
        ("none/*.conf", Some("main")),
    ] {
        let main = format!("[program:main]\ncommand=main\n[include]\nfiles={patterns}\n");
        let path = dir.write("supervisord.conf", main.as_bytes());
        let config = import(&[(path, Format::Supervisord)]).unwrap().text;
        let names = config.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
        let names: Vec<_> = names.collect();
        assert_eq!(Some(&*names.join(" ")), meant, "{config}");
        assert_eq!(config.contains("none/*.conf, which"), patterns.contains("none"), "{config}");
        assert_eq!(config.contains("stop_signal: INT"), names.contains(&"b"), "{config}");
    }
    // A fault of an included file is reported at that file.
    dir.write("conf.d/b-2.conf", b"\nwhat\n");
    let path = dir.write("supervisord.conf", b"[include]\nfiles=conf.d/b*\n");
    let problems = import(&[(path, Format::Supervisord)]).unwrap_err();
    assert!(problems[0].to_string().contains("conf.d/b-2.conf:2:"), "{}", problems[0]);
    let none = "[supervisord]\n[include]\nfiles = /none/conf.d/*.conf\n";
    let problems = convert(InputFile::new("FILE", none), "FILE", Format::Supervisord).unwrap_err();
    let help = problems[0].help.as_deref().unwrap_or_default();
    assert!(problems[0].line == 2 && help.contains("/none/conf.d/*.conf"), "{help}");
}

// holds: C762
#[test]
fn a_listener_that_ends_supervisord_replaces_on_exit() {
    let exits = "PROCESS_STATE_STOPPED, PROCESS_STATE_EXITED, PROCESS_STATE_FATAL";
    let fatal = "PROCESS_STATE_FATAL";
    let failing = "restart: on-failure, restart_max: 3, on_exit: {success: ignore}";
    for (command, events, restart, meant) in [
        ("/usr/local/sbin/stop-supervisor.sh", exits, "true", ""),
        ("kill.py", "process_state", "unexpected", ""),
        (
            "kill.py",
            exits,
            "true\nstartsecs=2\nstartretries=5",
            "# not converted: startsecs=2, startretries=5 (`restart_max` also counts ends after `startsecs`)",
        ),
        ("kill.py", fatal, "true", "restart: always, restart_max: 3"),
        ("kill.py", fatal, "true\nstartretries=4", "restart: always, restart_max: 4"),
        ("kill.py", fatal, "unexpected", failing),
        ("kill.py", fatal, "false\nstartretries=0", "restart: \"no\", on_exit: ignore"),
        ("kill.py", "TICK_60", "true\nstartretries=3", "restart: always, on_exit: ignore"),
        ("crashmail", exits, "true", "restart: always, on_exit: ignore"),
    ] {
        let text = format!(
            "[program:a]\ncommand=a\nautorestart={restart}\n[eventlistener:l]\ncommand={command}\nevents={events}\n"
        );
        let config = processes(Format::Supervisord, &text);
        let is_key =
            |it: &&str| ["restart", "on_exit", "# not"].iter().any(|key| it.starts_with(key));
        let keys: Vec<_> = config.lines().map(str::trim).filter(is_key).collect();
        assert_eq!(keys.join(", "), meant, "{text}");
    }
}

// holds: C763, C764
#[test]
fn every_draft_passes_the_check() {
    const SUPERVISORD: &str = "autostart autorestart startretries exitcodes stopsignal stopwaitsecs user umask numprocs \
        process_name directory environment stdout_logfile stderr_logfile redirect_stderr command";
    const USERS: [&str; 2] = ["not a user in", "not a group in"];
    let texts = "¦0¦1¦-1¦007¦true¦no¦maybe¦TERM¦TERM KILL¦SIGRTMIN+99¦10s¦1h 5x¦1e9¦\
        99999999999999999999¦a b¦'a¦\"a¦a\\¦$A¦${A¦$$¦%¦%(x¦A=b¦=b¦A=\"b,C¦a:¦:b¦1:2:3¦/a/b¦\
        ..¦~¦é¦\t¦NONE¦AUTO¦none¦always¦on-failure:x¦unless-stopped¦0,256¦*¦&x¦!reset¦#¦[¦x-a¦\
        db¦app";
    let mut random = Random(1);
    for _ in 0..300 {
        let mut conf = String::from("[supervisord]\n[program:app]\ncommand=app\n");
        for _ in 0..=random.below(4) {
            let options: Vec<_> = SUPERVISORD.split_whitespace().collect();
            conf += &format!("{}={}\n", random.pick(&options), random.part(texts));
        }
        let name = ["a b", "x-b", &"n".repeat(1500)][random.index(3)].to_owned();
        conf += &format!("[program:{name}]\ncommand=a %q ${{b}} $$\nenvironment={name}=1,B=2\n");
        let procfile = format!("{}: {}\nb: ~/x {{a}}\n", random.part(texts), random.part(texts));
        for (format, text) in [(Format::Supervisord, conf), (Format::Procfile, procfile)] {
            let Ok(imported) = convert(InputFile::new("F", &text), "F", format) else { continue };
            let mut wrong = testing::checked(&imported.text, &[("A", "1")]);
            // These users exist only in the image, and not where the test runs.
            wrong.retain(|it| it.is_error() && !USERS.iter().any(|user| it.message.contains(user)));
            assert!(imported.text.contains("\n  readiness_delay: 5s\n"));
            assert!(imported.text.contains("{TERMINATION_GRACE_PERIOD_SECONDS:-30}\n"));
            assert!(wrong.is_empty(), "{text}\n{}\n{wrong:?}", imported.text);
        }
    }
}

#[test]
fn invalid_files_are_reported() {
    for (format, text, line, message) in [
        (Format::Procfile, "worker\n", 1, "the file has no process"),
        (Format::Procfile, "# nothing\n", 1, "the file has no process"),
        (Format::Supervisord, "[program:a]\nuser=b\n", 1, "[program:a] has no command"),
        (Format::Supervisord, "[supervisord]\na\n", 2, "neither a section nor a key with a value"),
        (Format::Supervisord, "[supervisord]\n", 1, "the file has no [program:…]"),
    ] {
        let problems = convert(InputFile::new("FILE", text), "FILE", format).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let is_it = problems[0].line == line && problems[0].message.contains(message);
        assert!(is_it && problems[0].help.is_some(), "{text}: {}", problems[0]);
    }
}

#[test]
fn repeated_names_are_numbered() {
    let text = "a: x\n".repeat(1000) + "release: y\nrelease: z\n";
    let processes = processes(Format::Procfile, &text);
    let needs = "{release: {condition: completed}, release-2: {condition: completed}}";
    assert_eq!(processes.matches(needs).count(), 1000);
    let names: Vec<_> = processes.lines().filter(|line| line.starts_with("  a")).collect();
    assert_eq!([names[0], names[1], names[999]], ["  a:", "  a-2:", "  a-1000:"]);
}

#[test]
fn a_format_is_found_by_file_name() {
    for (name, format) in [
        ("Procfile", Some(Format::Procfile)),
        ("a/Procfile.dev", Some(Format::Procfile)),
        ("web.procfile", Some(Format::Procfile)),
        ("/etc/supervisor/conf.d/a.conf", Some(Format::Supervisord)),
        ("supervisord.ini", Some(Format::Supervisord)),
        ("compose.yaml", None),
        ("README.md", None),
    ] {
        assert_eq!(format_of(name.as_ref()), format, "{name}");
    }
}

#[test]
fn a_script_with_a_command_in_double_quotes_is_kept() {
    let text = "[program:a]\ncommand=\n  bash -c \"echo $(cat /etc/x) && exec app\"\n";
    let config = draft(Format::Supervisord, text);
    let command = r#"command: "bash -c \"echo $$(cat /etc/x) && exec app\"""#;
    assert!(config.contains(command) && !config.contains("# not converted:"), "{config}");
}

/// The messages of the check of a draft, except notes.
fn warnings(format: Format, text: &str) -> String {
    let found = testing::checked(&draft(format, text), &[]).into_iter();
    found.filter(|it| it.severity != Severity::Note).map(|it| it.message).collect()
}

/// The keys for the stop, and the comments, of the first process of a draft.
fn stop_and_notes(format: Format, text: &str) -> (String, Vec<String>) {
    let config = processes(format, text);
    let first = config.split("\n\n").next().unwrap();
    let is_of_stop =
        |line: &&str| ["depends_on: []", "drain: ", "stop_"].iter().any(|it| line.starts_with(it));
    let keys: Vec<_> = first.lines().map(str::trim).filter(is_of_stop).collect();
    let notes = first.lines().filter_map(|line| line.strip_prefix("  # ").map(str::to_owned));
    (keys.join(", "), notes.filter(|note| !note.starts_with(' ')).collect())
}

// holds: C787, S770
#[test]
fn a_known_program_gets_the_keys_with_which_the_program_finishes() {
    const ASKED: &str = "`drain`: it takes jobs until its signal; name in";
    const CUTS: &str = "`stop_signal`: nginx cuts requests at SIGTERM";
    const LATER: &str = "\npriority=1\n[program:y]\ncommand=cron";
    const DB: &str = "[program:db]\ncommand=db\npriority=1\nstopwaitsecs=10";
    let signal = |signal| format!("stop_signal: {signal}");
    let drain = |signal, time| format!("drain: {{signal: {{min: 0s, signal: {signal}{time}}}}}");
    let (int, quit, asked) = (&*signal("INT"), &*signal("QUIT"), &*drain("TERM", ", time: 26s"));
    let served = &*format!("drain: connections, {int}");
    let [huey, nine] =
        [", time: 26s", ", time: 9s"].map(|time| format!("{}, {int}", drain("INT", time)));
    let beside = &*format!("depends_on: [], {}", drain("TERM", ", time: 21s"));
    let sidekiq = format!("sidekiq: keep `-t` below the drain's `time`|{ASKED}");
    let requests = "if requests arrive from outside, write `drain: connections`";
    for (command, keys, notes) in [
        ("nginx -g 'daemon off;'", quit, CUTS),
        ("/usr/sbin/php-fpm8.2 -F", quit, "at SIGTERM; set `process_control_timeout` in"),
        // SIGQUIT alone does not suffice.
        ("php-fpm\nstopsignal=QUIT", quit, "php-fpm: set `process_control_timeout` in its own"),
        ("sh -c 'prepare && exec postgres -D /data'", int, "until the last client has left"),
        ("sh -x -ec 'env A=1 nginx; rm /run/a'", quit, "nginx cuts"),
        ("uwsgi --master", "", "add `--hook-master-start"),
        // A drain, unless a proxy may need it.
        ("sanic a", "drain: connections", "`drain`: its stop would lose requests; name in"),
        (&format!("sanic a{LATER}\npriority=2\n[program:z]\ncommand=rqworker"), "", ""),
        ("waitress-serve a:b", served, "`stop_signal`: waitress-serve cuts|`drain`: its"),
        (&format!("manage.py runserver{LATER}"), "depends_on: [], drain: connections", "`drain`"),
        ("huey_consumer a.b", &huey, "`stop_signal`: huey_consumer loses jobs|`drain`"),
        ("celery -A a worker", asked, ASKED),
        ("rqworker\nstopwaitsecs=9\nstopsignal=INT", &nine, ASKED),
        ("rqworker\nstopwaitsecs=0", "stop_grace_period: 0s", ""),
        // Without a server, the drain has the time of the `readiness_delay`, too.
        ("rqworker\n[program:z]\ncommand=z", beside, ASKED),
        ("rqworker\n[program:z]\ncommand=redis-server", beside, ASKED),
        (&format!("sidekiq{LATER}"), &format!("depends_on: [], {asked}"), &sidekiq),
        ("node a.js", "", requests),
        ("npm start", "", &format!("npm passes no signal on|{requests}")),
        // The later stop of a dependency leaves time for the drain.
        (&format!("sanic a\n{DB}"), "drain: connections", "`drain`"),
        // A script may have the name.
        ("/app/sanic app", "", ""),
        ("./nginx", "", "nginx cuts requests at SIGTERM: write `stop_signal: QUIT`"),
        // The draft keeps the signal of the file.
        ("nginx -g 'daemon off;'\nstopsignal=QUIT", quit, ""),
        ("celery worker\nstopsignal=QUIT", quit, "write `stop_signal: TERM`"),
        ("uwsgi --master\nstopsignal=QUIT", quit, ""),
        (
            "npm start\nstopsignal=INT",
            int,
            &format!("npm passes no signal on to its program:|{requests}"),
        ),
        ("mysqld_safe\nstopsignal=QUIT", quit, "mysqld_safe does nothing: write `mysqld`"),
        ("celery multi start w", "", "celery has left its workers in the background at SIGTERM"),
        ("nginx\nstopsignal=INT", int, "at SIGQUIT, and not at SIGINT: write `stop_signal: QUIT`"),
    ] {
        let text = format!("[program:a]\ncommand={command}\n");
        let (found, all) = stop_and_notes(Format::Supervisord, &text);
        let found = found.replace("stop_grace_period: 10s", "");
        let found = found.trim_end_matches(", ");
        let notes: Vec<_> = notes.split_terminator('|').collect();
        assert_eq!((found, all.len()), (keys, notes.len()), "{command}: {all:?}");
        assert!(all.iter().zip(notes).all(|(found, note)| found.contains(note)), "{all:?}");
        let wrong = warnings(Format::Supervisord, &text);
        assert!(wrong.is_empty() || !keys.contains("drain"), "{command}: {wrong}");
    }
    let texts = ["bash -c 'nginx -g \"daemon off;\"'", "\"nginx\" -g 'daemon off;'", "A=1 nginx"];
    for text in texts.map(|command| format!("web: {command}\n")) {
        assert_eq!(stop_and_notes(Format::Procfile, &text).0, quit, "{text}");
    }
}

// holds: C1042
#[test]
fn a_stop_has_the_time_that_supervisord_gives() {
    let stops = |rows: &str| {
        let config = draft(Format::Supervisord, &programs(rows));
        let loaded = testing::load(&[&config], &[]).unwrap();
        let stop = |it: &crate::keys::Process| it.stop_grace_period.map(|it| it.as_secs());
        let stops: Vec<_> = loaded.config.processes.iter().map(|it| stop(it)).collect();
        assert_eq!(warnings(Format::Supervisord, &programs(rows)), "", "{config}");
        (stops, loaded.config.shutdown.grace_period.as_secs(), config.contains(LONG))
    };
    const LONG: &str = "# The stops below may take so long, one after the other. Give the";
    // 5 s are for the `readiness_delay`, 2 s for the `reserve`.
    for (rows, expected) in [
        ("a", (vec![Some(10)], 30, false)),
        ("a stopwaitsecs=7, b", (vec![Some(7), Some(10)], 30, false)),
        ("a priority=1, b priority=2", (vec![Some(10); 2], 30, false)),
        ("a priority=1, b priority=2, c priority=3", (vec![Some(10); 3], 40, true)),
        ("a stopwaitsecs=40", (vec![Some(40)], 50, true)),
        ("a stopwaitsecs=0", (vec![Some(0)], 30, false)),
    ] {
        assert_eq!(stops(rows), expected, "{rows}");
    }
    // The work of these ends in their drains.
    assert_eq!(stops("rqworker").0, [None]);
    assert_eq!(stops("waitress-serve").0, [None]);
    let procfile = processes(Format::Procfile, "a: b\n");
    assert!(!procfile.contains("stop_grace_period"), "{procfile}");
}

/// The lines of a draft that decide when a process stops: `depends_on` of each process, and hooks.
fn stops_of(format: Format, text: &str) -> String {
    let config = processes(format, text);
    let is_one = |line: &&str| {
        let keys = ["    depends_on:", "    drain:", "    hooks:", "      pre_stop:"];
        let is_name = line.starts_with("  ") && !line.starts_with("   ") && !line.contains('#');
        is_name || keys.iter().any(|key| line.starts_with(key))
    };
    let lines: Vec<_> = config.lines().filter(is_one).map(str::trim).collect();
    lines.join(" ")
}

// holds: C1041
#[test]
fn a_worker_stops_after_the_servers_if_the_broker_is_in_the_draft() {
    const ASK: &str = "exists celery unacked | grep -q \\\"[1-9]\\\"; do :; done\"], timeout: 20s}";
    let hook = |cli: &str| {
        format!("hooks: pre_stop: {{command: [sh, \"-c\", \"while {cli} -r 2 -i 0.2 {ASK}")
    };
    let web = "web: depends_on: {worker: {condition: started}}";
    let worker = "worker: depends_on: {broker: {condition: started}}";
    let celery = "celery -A a worker";
    for (broker, of_worker, expected) in [
        ("redis-server", celery, format!("broker: {worker} {} {web}", hook("redis-cli"))),
        (
            "valkey-server --port 6380",
            celery,
            format!("broker: {worker} {} {web}", hook("valkey-cli -p 6380")),
        ),
        (
            "redis-server",
            "celery -A a worker -Q a,b",
            format!("broker: {worker} {} {web}", hook("redis-cli").replace("celery un", "a b un")),
        ),
        // The names of the queues are unknown, so only a comment tells of the hook.
        ("redis-server", "dramatiq app", format!("broker: {worker} {web}")),
        ("rabbitmq-server", celery, format!("broker: {worker} {web}")),
    ] {
        let text = format!("web: gunicorn app\nworker: {of_worker}\nbroker: {broker}\n");
        let lines: Vec<_> = expected.split("broker: worker").collect();
        let expected = format!("{web} worker{} broker:", lines[1].trim_end_matches(web).trim_end());
        assert_eq!(stops_of(Format::Procfile, &text), expected, "{broker} {of_worker}");
        assert_eq!(warnings(Format::Procfile, &text), "", "{broker} {of_worker}");
        let config = draft(Format::Procfile, &text);
        let has_hook = expected.contains("hooks");
        assert!(config.contains("# jobs that are left end with the broker"), "{config}");
        assert_eq!(config.contains("# `hooks`: name each queue"), has_hook, "{config}");
        assert_eq!(config.contains("# write a `hooks.pre_stop` that waits"), !has_hook);
    }
    // Without a broker, or without a server, the worker gets its signal at once.
    for text in ["web: gunicorn a\nw: rq worker\n", "redis: redis-server\nw: rq worker\n"] {
        let config = draft(Format::Procfile, text);
        assert!(config.contains("drain: {signal: ") && !config.contains("pre_stop"), "{config}");
    }
}

// holds: C1041
#[test]
fn priorities_do_not_stop_a_worker_before_the_servers() {
    let file = |rows: [(&str, &str, u8); 4]| {
        let program = |(name, command, priority): (&str, &str, u8)| {
            format!("[program:{name}]\ncommand={command}\npriority={priority}\n")
        };
        rows.map(program).concat()
    };
    let on = |names: &[&str]| {
        let terms: Vec<_> =
            names.iter().map(|it| format!("{it}: {{condition: started}}")).collect();
        format!("depends_on: {{{}}}", terms.join(", "))
    };
    let text = file([
        ("redis", "redis-server", 1),
        ("web", "sanic app", 2),
        ("worker", "rq worker", 3),
        ("cron", "cron -f", 4),
    ]);
    let found = stops_of(Format::Supervisord, &text);
    // The server, behind nobody now, gets the drain that it needs.
    let expected = format!(
        "redis: web: {} drain: connections worker: {} cron: {}",
        on(&["redis", "worker"]),
        on(&["redis"]),
        on(&["worker"])
    );
    assert_eq!(found, expected);
    assert_eq!(warnings(Format::Supervisord, &text), "", "{found}");
    // The broker itself depends on the server, so there is no such order.
    let text = file([
        ("web", "gunicorn app", 1),
        ("redis", "redis-server", 2),
        ("worker", "rq worker", 3),
        ("cron", "cron -f", 4),
    ]);
    let found = stops_of(Format::Supervisord, &text);
    assert!(found.starts_with("web: redis: depends_on: {web: "), "{found}");
}

// holds: S376
#[test]
fn words_of_supervisord_have_a_hint() {
    for (command, expected) in [
        ("python3 -u /usr/bin/pidproxy /run/a.pid app", Some("pidproxy passes signals")),
        ("python3 /usr/bin/pidproxy.py /run/a.pid app", Some("pidproxy passes signals")),
        ("tail -F /var/log/nginx.log /etc/nginx", None),
        ("sh -c 'kill $(cat /run/supervisord.pid)'", Some("this ends supervisord")),
        ("sh -c 'kill -HUP $(cat /run/supervisord.pid)'", Some("`drainit reload`")),
        ("supervisorctl -c /etc/a.conf shutdown", Some("this ends supervisord")),
        ("/usr/bin/pidproxy /run/a.pid a", Some("pidproxy passes signals")),
        ("supervisorctl start b", Some("`drainit start`")),
        // All sizes of log files share one comment on the whole draft.
        ("app\nstdout_logfile_maxbytes=50MB\nstderr_logfile_maxbytes=1MB", None),
    ] {
        let text = format!("[program:a]\ncommand={command}\n");
        let (_, found) = stop_and_notes(Format::Supervisord, &text);
        assert_eq!(found.len(), usize::from(expected.is_some()), "{command}: {found:?}");
        assert!(expected.is_none_or(|words| found[0].contains(words)), "{found:?}");
    }
}

// holds: S377
#[test]
fn files_become_a_single_config() {
    let dir = TempDir::new();
    dir.write("a.conf", b"[program:web]\ncommand=nginx\nstdout_logfile_maxbytes=1MB\n");
    dir.write("b.conf", b"[program:web]\ncommand=app\n[program:db]\ncommand=db\n");
    dir.write("Procfile", b"worker: work\n");
    let format = |name: &str| format_of(name.as_ref()).unwrap();
    let files = ["a.conf", "b.conf", "Procfile"].map(|name| (dir.path(name), format(name)));
    let config = import(&files).unwrap().text;
    testing::load(&[&config], &[]).unwrap();
    assert!(config.starts_with("# Made from a.conf, b.conf, Procfile by"), "{config}");
    for name in ["  web:\n", "  # renamed from `web`\n  web-2:\n", "  db:\n", "  worker:\n"] {
        assert!(config.contains(name), "{name}: {config}");
    }
    assert_eq!(config.matches("# supervisord starts programs by priority").count(), 1, "{config}");
}

/// The names of the processes of a draft, each with the names in its `depends_on`.
fn order_of(text: &str) -> String {
    let config = draft(Format::Supervisord, text);
    let loaded = testing::load(&[&config], &[]).unwrap_or_else(|it| panic!("{config}\n{}", it[0]));
    let needs = |process: &crate::keys::Process| {
        let on = process.depends_on.iter();
        let on: Vec<_> = on.map(|on| format!("{} {:?}", on.process, on.condition)).collect();
        format!("{}({})", process.name, on.join(", "))
    };
    loaded.config.processes.iter().map(|it| needs(it)).collect::<Vec<_>>().join(" ")
}

/// A supervisord.conf with these programs, with `, ` between them. Behind a name are its options.
fn programs(rows: &str) -> String {
    let program = |row| {
        let (name, options) = str::split_once(row, ' ').unwrap_or((row, ""));
        format!("[program:{name}]\ncommand={name}\n{}\n", options.replace(' ', "\n"))
    };
    rows.split(", ").map(program).collect()
}

// holds: S883
#[test]
fn priorities_become_the_order_of_starts() {
    let twice = "a numprocs=2 process_name=a%(process_num)d, b priority=1";
    let group = "[group:g]\nprograms=a, b\npriority=2\n";
    for (rows, after, expected) in [
        ("web priority=20, php priority=10", "", "web(php Started) php()"),
        ("a priority=5, b priority=5", "", "a() b()"),
        ("a, b priority=1", "", "a(b Started) b()"),
        // A process depends only on those of the next lower priority.
        ("a priority=-1, b priority=2, c priority=2", "", "a() b(a Started) c(a Started)"),
        ("b priority=2, c priority=2, d", "", "b() c() d(b Started, c Started)"),
        // Whatever does not start by itself has no place in the order.
        ("a priority=1 autostart=false, b priority=2", "", "a() b()"),
        // The priority of a group comes before those of its programs.
        ("a priority=9, b priority=1, c priority=5", group, "a(b Started) b() c(a Started)"),
        (twice, "", "a-1(b Started) a-2(b Started) b()"),
    ] {
        assert_eq!(order_of(&(programs(rows) + after)), expected, "{rows:?}");
    }
}

// holds: S884
#[test]
fn programs_of_dependent_startup_start_in_the_order_of_their_waits() {
    let held = "autostart=false dependent_startup=true";
    let waits = |on: &str| format!("{held} priority=1 dependent_startup_wait_for={on}");
    let [start, app, dial] = ["log:running", "start:exited", "app"].map(waits);
    let waiting = format!("start {start}, app {app}, dial {dial}");
    let text = programs(&format!("log {held} priority=2, {waiting}, tool autostart=false"));
    let listener = "[eventlistener:d]\ncommand=python3 -m supervisord_dependent_startup\nevents=PROCESS_STATE\n";
    let expected = "log() start(log Started) app(start Completed) dial(app Started) tool()";
    assert_eq!(order_of(&(text.clone() + listener)), expected);
    let config = draft(Format::Supervisord, &(text.clone() + listener));
    assert!(!config.contains("[eventlistener:d]"), "{config}");
    assert_eq!(config.matches("autostart: false").count(), 1, "{config}");
    // Without the listener, nothing starts, and the draft says so.
    let nothing = "Nothing starts by itself";
    assert!(draft(Format::Supervisord, &text).contains(nothing) && !config.contains(nothing));
}

// holds: S885
#[test]
fn the_output_of_the_container_has_many_names() {
    let log = |options: &str| {
        let config = processes(Format::Supervisord, &programs(&format!("a {options}")));
        let log = config.lines().find_map(|it| it.trim().strip_prefix("log: ")).unwrap_or("");
        assert_eq!(config.contains("# not"), options.contains("ENV_X"), "{config}");
        log.to_owned()
    };
    let names = "/dev/stdout /dev/fd/1 /proc/1/fd/1 /proc/self/fd/1 /dev/tty /dev/pts/0 %(ENV_X)s";
    for name in names.split(' ') {
        let stdout = format!("stdout_logfile={name}");
        assert_eq!(log(&format!("{stdout} stderr_logfile={name}")), "", "{name}");
        let joined = log(&format!("{stdout} redirect_stderr=true stderr_logfile=/b"));
        assert_eq!(joined, "{stderr: stdout}", "{name}");
        let stderr = log(&format!("{stdout} stderr_logfile=/b"));
        assert_eq!(stderr, "{stderr: {file: /b}}", "{name}");
        assert_eq!(log(&format!("stderr_logfile={name}")), "{prefix: a}", "{name}");
    }
    for nowhere in ["none", "off", "NONE", "/dev/null"] {
        let found = log(&format!("stdout_logfile={nowhere} redirect_stderr=true"));
        assert_eq!(found, "{mode: none}", "{nowhere}");
    }
    for own in ["auto", "AUTO", "syslog"] {
        assert_eq!(log(&format!("stdout_logfile={own} stderr_logfile={own}")), "{prefix: a}");
    }
}

// holds: S887
#[test]
fn a_value_means_what_supervisord_reads() {
    let dir = TempDir::new();
    std::fs::create_dir_all(dir.path("conf.d")).unwrap();
    dir.write("conf.d/a.conf", b"[program:a]\ncommand=%(here)s/a\n");
    let head =
        "[supervisord]\nnodaemon=true\ndirectory=/srv\numask=077\nenvironment=RATE=\"50%%%%\"\n";
    let main = format!("{head}[include]\nfiles=conf.d/*.conf\n[program:b]\ncommand=%(here)s/b\n");
    let path = dir.write("supervisord.conf", main.as_bytes());
    let config = import(&[(path, Format::Supervisord)]).unwrap().text;
    for found in ["command: ./conf.d/a\n", "command: ./b\n", "{RATE: \"50%\"}"] {
        assert!(config.contains(found), "{found}: {config}");
    }
    // Only a supervisord that becomes a daemon changes its directory and its umask.
    let of_daemon = draft(Format::Supervisord, &main.replace("nodaemon=true\n", ""));
    for key in ["working_dir: /srv", "umask: "] {
        assert!(!config.contains(key) && of_daemon.contains(key), "{key}");
    }
}

// holds: S888
#[test]
fn only_the_shell_runs_commands_of_the_shell() {
    const WARNING: &str = "the shell of `web` gets its signals, and ends without passing them on";
    for (command, expected, is_child) in [
        ("exit 1", "exit 1", false),
        (". ./env", ". ./env", false),
        ("source env.sh", "source env.sh", false),
        ("eval \"$CMD\"", "eval \\\"$$CMD\\\"", false),
        ("! grep -q x /y", "! grep -q x /y", false),
        ("(a; b)", "(a; b)", false),
        ("a;", "a;", true),
        ("cd /x && a -b", "cd /x && a -b", true),
        ("cd /x && exec a", "cd /x && exec a", false),
        ("exec puma -p $PORT", "exec puma -p $$PORT", false),
        // `exec` before the last command would change nothing.
        ("a & b", "a & b", false),
        ("exec a | b", "exec a | b", false),
        ("while a; do b; done", "while a; do b; done", false),
        // An operator in quotes is none.
        ("nginx -g 'daemon off;'", "exec nginx -g 'daemon off;'", false),
        ("exec nginx -g 'daemon off;'", "exec nginx -g 'daemon off;'", false),
        ("A=1 echo-a '(x|y)' 2>&1", "exec env A=1 echo-a '(x|y)' 2>&1", false),
        ("a $(b; c) \"$D\"", "exec a $$(b; c) \\\"$$D\\\"", false),
    ] {
        let text = format!("web: {command}\n");
        let config = processes(Format::Procfile, &text);
        let line = format!("    command: [sh, \"-c\", \"{expected}\"]\n");
        assert!(config.contains(&line), "{command}: {config}");
        let found = warnings(Format::Procfile, &text);
        assert_eq!(found.starts_with(WARNING), is_child, "{command}: {found}");
    }
    let config = processes(Format::Procfile, "web: exec app -x\n");
    assert!(config.starts_with("  web:\n    command: [app, \"-x\"]\n"), "{config}");
}

// holds: S889
#[test]
fn lines_that_foreman_skips_are_comments() {
    let text = "web: a\nworker\n  indented: b\na.b: c\nspaced : d\n#no: e\n\nlast: f -p $PORT\n";
    let config = draft(Format::Procfile, text);
    for line in ["2, `worker`", "3, `indented: b`", "4, `a.b: c`", "5, `spaced : d`"] {
        assert!(config.contains(&format!("# Line {line}, is skipped")), "{config}");
    }
    let (head, processes) = config.split_once("\nprocesses:\n").unwrap();
    assert_eq!(head.matches("is skipped").count(), 4, "{head}");
    // A skipped line has no PORT.
    assert!(processes.starts_with("  web:") && processes.contains("PORT: \"5100\""), "{processes}");
}

/// Random programs of a supervisord.conf, with names that a config refuses or gives to copies.
fn random_programs(random: &mut Random) -> String {
    let names =
        ["drainit", "worker", "worker-1", "worker-2", "worker-1-1", "x-a", "a:b", "app", "Drainit"];
    let mut text = String::new();
    for _ in 0..1 + random.below(5) {
        let name = random.pick(&names);
        text += &format!("[program:{name}]\ncommand=/bin/cat\n");
        if random.one_in(2) {
            text += "numprocs=2\nprocess_name=%(program_name)s_%(process_num)02d\n";
        } else if random.one_in(3) {
            text += &format!("process_name={}\n", random.pick(&names));
        }
        for (option, values) in [
            ("stdout_logfile", "NONE¦/dev/stdout¦/tmp/%(program_name)s.log"),
            ("redirect_stderr", "true¦false"),
            ("autostart", "true¦false"),
            ("priority", "1¦2"),
        ] {
            if random.one_in(3) {
                text += &format!("{option}={}\n", random.part(values));
            }
        }
    }
    text
}

// holds: C1090
#[test]
fn check_accepts_the_draft_of_random_programs() {
    let (dir, mut random) = (TempDir::new(), Random(1));
    for number in 0..400 {
        let text = random_programs(&mut random);
        let path = dir.write(&format!("{number}.conf"), text.as_bytes());
        // Two files may have programs of the same name.
        let files = vec![(path, Format::Supervisord); if number % 4 == 0 { 2 } else { 1 }];
        let config = import(&files).unwrap().text;
        if let Err(problems) = testing::load(&[&config], &[]) {
            panic!("{text}\n{config}\n{}", problems[0]);
        }
    }
}

// holds: C1090
#[test]
fn names_of_drainit_and_of_copies_are_changed() {
    for (rows, expected) in [
        ("drainit", "drainit-2()"),
        (
            "worker numprocs=2 process_name=w%(process_num)d, worker-1",
            "worker-1() worker-1-2() worker-2()",
        ),
        (
            "worker-1, worker numprocs=2 process_name=w%(process_num)d",
            "worker-1() worker-2-1() worker-2-2()",
        ),
    ] {
        let found = order_of(&programs(rows));
        let mut found: Vec<_> = found.split(' ').collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), expected, "{rows}");
    }
    let config = draft(Format::Supervisord, "[program:drainit]\ncommand=/bin/cat\n");
    assert!(config.contains("# renamed from `drainit`\n"), "{config}");
    assert!(config.contains("log: {prefix: drainit-2}\n"), "{config}");
}

// holds: C1100
/// supervisord reads its PID file from `[supervisord]`, which may have it from a variable.
#[test]
fn the_end_of_a_program_that_ends_supervisord_ends_the_container() {
    for (file, command, ends) in [
        (
            "/tmp/sup.pid",
            "bash -c \"sleep 3; C=$?; kill -s SIGINT `cat /tmp/sup.pid`; exit $C\"",
            true,
        ),
        ("\"%(ENV_PIDS)s\"", "sh -c 'app; kill $(cat ${PIDS})'", true),
        ("%(ENV_PIDS)s", "sh -c 'app; kill $(cat $PIDS)'", true),
        ("%(ENV_PIDS)s", "sh -c 'app; kill $(cat %(ENV_PIDS)s)'", true),
        ("/tmp/sup.pid", "sh -c 'app; kill $(cat /run/supervisord.pid)'", true),
        ("/tmp/sup.pid", "sh -c 'app; supervisorctl -c /a.conf shutdown'", true),
        ("/tmp/sup.pid", "sh -c 'app; pkill -TERM supervisord'", true),
        ("/tmp/sup.pid", "sh -c 'kill -HUP $(cat /tmp/sup.pid)'", false),
        ("/tmp/sup.pid", "sh -c 'kill -s USR2 $(cat /tmp/sup.pid)'", false),
        ("/tmp/sup.pid", "cat /tmp/sup.pid", false),
        ("/tmp/sup.pid", "sh -c 'supervisorctl start b; kill $(cat /tmp/b.pid)'", false),
    ] {
        for restart in ["true", "false"] {
            let text = format!(
                "[supervisord]\npidfile={file}\n[program:a]\ncommand={command}\nautorestart={restart}\n\
                 [program:b]\ncommand=b\n"
            );
            let config = processes(Format::Supervisord, &text);
            let (a, b) = config.split_once("\n  b:").unwrap();
            assert_eq!(
                !a.contains("\n    on_exit:") && !a.contains("\n    restart:"),
                ends,
                "{config}"
            );
            assert_eq!(a.contains("this ends supervisord"), ends, "{config}");
            assert!(b.contains("\n    on_exit: ignore"), "{config}");
        }
    }
}

// holds: C1101
#[test]
fn the_socket_of_an_fcgi_program_becomes_listen() {
    let uvicorn = "uvicorn --fd 0 asgi:app";
    for (command, options, meant) in [
        (uvicorn, "socket=tcp://127.0.0.1:18700", "command: \"uvicorn --fd 3 asgi:app\""),
        ("uvicorn --fd=0 a:b", "socket=tcp://localhost:1", "command: \"uvicorn --fd=3 a:b\""),
        ("gunicorn -b fd://0 a", "socket=tcp://127.0.0.1:1", "command: \"gunicorn -b fd://3 a\""),
        (
            "php-cgi 'a b'",
            "socket=tcp://127.0.0.1:1",
            "command: [sh, \"-c\", \"exec \\\"$$@\\\" <&3 3<&-\", sh, php-cgi, \"a b\"]",
        ),
        (uvicorn, "socket=tcp://127.0.0.1:1", "listen: [{address: \"tcp://127.0.0.1:1\"}]"),
        (
            uvicorn,
            "socket=unix:///run/%(program_name)s.sock",
            "listen: [{address: \"unix:/run/web.sock\", mode: \"0700\"}]",
        ),
        (
            uvicorn,
            "socket=unix:///a.sock\nsocket_mode=0660\nsocket_backlog=64",
            "listen: [{address: \"unix:/a.sock\", backlog: 64, mode: \"0660\"}]",
        ),
        (uvicorn, "socket=unix:///a.sock\nsocket_owner=www", "# not converted: socket_owner=www"),
        (
            uvicorn,
            "socket=tcp://127.0.0.1:1\nsocket_mode=0660",
            "# not converted: socket_mode=0660",
        ),
        (uvicorn, "socket=what", "# not converted: socket=what"),
    ] {
        let text = format!("[fcgi-program:web]\ncommand={command}\n{options}\n");
        let config = processes(Format::Supervisord, &text);
        assert!(config.contains(meant), "{meant}: {config}");
    }
}

// holds: C1102
#[test]
fn numbers_and_switches_of_the_container_stay_variables() {
    for (options, meant) in [
        ("numprocs=%(ENV_N)s", "scale: \"${N}\""),
        ("autostart=%(ENV_X)s", "autostart: \"${X}\""),
        ("autostart=%(ENV_X)s", "# `autostart`: `${X}` must be `true` or `false`"),
        ("environment=D=\"e_%(process_num)03d.db\"", "environment: {D: e_000.db}"),
        ("environment=D=\"e_%(process_num)3d.db\"", "environment: {D: \"e_  0.db\"}"),
        ("environment=D=\"%(process_num)-3d.\"", "environment: {D: \"0  .\"}"),
        ("directory=/a%(process_num)d", "working_dir: /a0"),
        ("numprocs=%(ENV_N)s\ndirectory=/a%(process_num)02d", "working_dir: \"/a${SCALE_INDEX}\""),
        ("numprocs=%(ENV_N)s\ndirectory=/a%(process_num)02d", "begins with 1 and has no zeros"),
    ] {
        let text = format!("[program:web]\ncommand=/bin/app\n{options}\n");
        let config = draft(Format::Supervisord, &text);
        assert!(config.contains(meant), "{meant}: {config}");
        let variables = [("N", "2"), ("X", "false")];
        let loaded = testing::load(&[&config], &variables);
        loaded.unwrap_or_else(|problems| panic!("{config}\n{}", problems[0]));
    }
}
