//! Tests `drainit reload` and `drainit plan --reload`: unchanged processes keep running, the others
//! are replaced in order, and a config that cannot be used changes nothing.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use testkit::load::{IdleClose, Plan};

use crate::replace::watch::swap;
use crate::support::example::under_load;
use crate::support::*;

const SERVER: &str = include_str!("../fixtures/polite_server.py");

/// The names of the processes, in the order of the status.
fn names(drainit: &Running) -> Vec<String> {
    let processes = drainit.processes(&[]);
    processes.iter().map(|process| process["name"].as_str().unwrap().to_owned()).collect()
}

fn pid(drainit: &Running, name: &str) -> i64 {
    drainit.state(name).1.unwrap()
}

// holds: C570
#[test]
fn relative_paths_keep_the_start_directory_of_drainit() {
    let Some(rig) = Rig::new() else { return };
    rig.write("drainit.yaml", rig.fill("processes: {a: {command: [CHILD, a]}}"));
    let drainit = rig.start_with(&["run", "-c", "drainit.yaml"]);
    drainit.wait_for_line(said::ALL_READY);
    drainit.edit("{a: {", "{b: {command: [sleep, infinity]}, a: {");
    drainit.exec(&["reload"]).assert(0, "");
    assert_eq!(names(&drainit), ["b", "a"]);
    let directory = fs::read_link(format!("/proc/{}/cwd", drainit.pid())).unwrap();
    assert_eq!(directory, fs::canonicalize(drainit.path(".")).unwrap());
    drainit.stop().assert_code(0);
}

#[test]
fn changed_processes_are_replaced_and_the_rest_keeps_running() {
    let config = |app: &str, last: &str| {
        format!(
            "
        processes:
          base: {{command: [CHILD, base]}}
          app: {{command: [CHILD, app, print={app}], depends_on: [base]}}
          user: {{command: [CHILD, user], depends_on: [app]}}
          {last}"
        )
    };
    let old = "old: {command: [CHILD, old]}
          older: {command: [CHILD, older], depends_on: [old]}";
    let Some(drainit) = Rig::ready(&config("one", old)) else { return };
    drainit.wait_for_start(&["base", "app", "user", "old", "older"]);
    let before = ["base", "app", "user"].map(|name| pid(&drainit, name));
    let new = config("two", "added: {command: [CHILD, added], depends_on: [app]}");
    drainit.write_config(&new);

    // The plan shows the steps, and changes nothing.
    let plan = drainit.exec(&["plan", "--reload"]);
    assert!(!plan.stderr.contains("-c only"), "{plan:?}");
    let file = drainit.path("drainit.yaml").display().to_string();
    let named = drainit.exec(&["plan", "--reload", "-c", &file]);
    named.assert(0, "`-c` only finds the socket of the running drainit");
    plan.assert(0, "");
    let lines: Vec<_> = plan.stdout.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(lines, ["older", "old", "app", "added", "not touched: base, user"], "{plan:?}");
    assert!(plan.stdout.contains("`command` differs"), "{plan:?}");
    assert_eq!(before, ["base", "app", "user"].map(|name| pid(&drainit, name)));

    drainit.exec(&["reload"]).assert(0, "");
    let after = ["base", "app", "user"].map(|name| pid(&drainit, name));
    assert_eq!((before[0], before[2]), (after[0], after[2]));
    assert_ne!(before[1], after[1]);
    assert_eq!(names(&drainit), ["base", "app", "user", "added"]);
    drainit.wait_for_line("two");
    drainit.wait_for_start(&["added"]);

    // A process that the reload has added can be restarted, and a removed process is unknown.
    drainit.exec(&["restart", "added"]).assert(0, "");
    drainit.exec(&["stop", "old"]).assert(1, "there is no process `old`");
    drainit.exec(&["reload"]).assert(0, "");
    let ended = drainit.stop();
    ended.assert_code(0);
    ended.assert_order(&["older got SIGTERM", "old got SIGTERM"]);
    ended.assert_nothing_left();
}

#[test]
fn a_changed_process_is_replaced_under_load_and_no_request_fails() {
    for update in ["start-first", "stop-first"] {
        let address = free_address();
        let config = "
        processes:
          app:
            command: [python3, DIR/server.py, version-0]
            listen: [tcp://ADDRESS]
            update: UPDATE
            readiness: {log: ^serving$}
        ";
        let config = config.replace("ADDRESS", &address.to_string()).replace("UPDATE", update);
        let Some(rig) = Rig::new() else { return };
        rig.write("server.py", SERVER);
        let drainit = rig.start_ready(&config);
        let (clients, rate, length) = (8, 200.0, 4 * LONG);
        let plan = Plan { clients, rate, length, idle_close: IdleClose::Noticed };
        let report = under_load(address, plan, || {
            for number in 0..5 {
                drainit.edit(&format!("version-{number}"), &format!("version-{}", number + 1));
                drainit.exec(&["reload"]).assert(0, "");
                assert_eq!(get(address, "/").unwrap().1, format!("version-{}", number + 1));
            }
            // A process with another name gets the same socket.
            drainit.edit("app:", "renamed:");
            drainit.exec(&["reload"]).assert(0, "");
        });
        assert!(report.total.failed == 0, "{report}\n{}", drainit.record());
        assert!(report.total.ok > 100, "{report}");
        assert_eq!(names(&drainit), ["renamed"]);
        assert_eq!(drainit.processes(&[]).len(), 1);
        // drainit closes the old socket, because no process has it any more, and opens the new
        // socket.
        let other = free_address();
        drainit.edit(&address.to_string(), &other.to_string());
        drainit.exec(&["reload"]).assert(0, "");
        assert_eq!(get(other, "/").unwrap().1, "version-5");
        assert!(std::net::TcpStream::connect(address).is_err());
        drainit.stop().assert_code(0);
    }
}

// holds: S821
#[test]
fn a_config_that_cannot_be_used_changes_nothing_and_is_explained() {
    let Some(rig) = Rig::new() else { return };
    let kept = rig.path("kept");
    symlink("/bin/sleep", &kept).unwrap();
    let processes = "processes:\n  a: {command: [CHILD, a]}\n  b: {command: [CHILD, b]}\n";
    let kept_one = "  kept: {command: [DIR/kept, '60']}\n";
    // A hook or oneshot that could create a missing file has run already.
    let makers =
        "  task: {command: ['true'], type: oneshot}\nhooks: {pre_start: {command: ['true']}}\n";
    let drainit = rig.start_ready(&format!("{processes}{kept_one}{makers}"));
    // No reload below replaces this process, so the loss of its program hinders no reload.
    fs::remove_file(&kept).unwrap();
    let before = drainit.processes(&[]);
    let text = fs::read_to_string(drainit.path("drainit.yaml")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("  a: {{listen: ['tcp://{}'], ", taken.local_addr().unwrap());
    for (from, to, says) in [
        ("  b: {command", "  b: {comand", "drainit.yaml:3:"),
        ("  b: {", "  b: {depends_on: [c], ", "did you mean"),
        ("processes:", "env: {A: b}\nprocesses:", "`env` differs"),
        ("processes:", "control: {listen: '127.0.0.1:1'}\nprocesses:", "`control` differs"),
        ("  a: {", &listen, "address in use"),
        ("  b: {command: [", "  b: {command: [/no/such, ", "drainit.yaml:3:"),
        ("  b: {", "  b: {user: nobody-here, ", "nobody-here"),
        ("  b: {", "  b: {working_dir: /no/such, ", "/no/such"),
        ("  b: {", "  b: {env_file: [{path: /no/such, read: start}], ", "/no/such"),
        ("  b: {", "  b: {hooks: {pre_stop: {command: [/no/such]}}, ", "a hook of `b` cannot run"),
        ("  b: {", "  new: {command: [/no/such]}\n  b: {", "`new` cannot be started"),
    ] {
        drainit.edit(from, to);
        for command in [["reload"].as_slice(), &["plan", "--reload"]] {
            if command.len() == 2 && says.starts_with("address") {
                continue; // A plan opens nothing.
            }
            let said = drainit.exec(command);
            assert_eq!(said.code, 1, "{command:?} {to}: {said:?}");
            assert!(said.stderr.contains(says), "{command:?} {to}: {said:?}");
        }
        drainit.write("drainit.yaml", &text);
    }
    drainit.wait_for_line("reload failed, nothing was changed");
    fs::remove_file(drainit.path("drainit.yaml")).unwrap();
    drainit.exec(&["reload"]).assert(1, "drainit.yaml");
    for (old, new) in before.iter().zip(drainit.processes(&[])) {
        assert_eq!((&old["name"], &old["pid"]), (&new["name"], &new["pid"]));
    }
    drainit.write("drainit.yaml", &text);
    drainit.edit("  a: {", "  a: {depends_on: [b], ");
    drainit.edit("  b: {", "  b: {stop_signal: INT, ");
    drainit.exec(&["reload"]).assert(0, "");
    drainit.edit("  kept: {", "  kept: {depends_on: {b: {restart: true}}, ");
    drainit.exec(&["reload"]).assert(0, "");
    // A process that follows another one is replaced, too.
    drainit.edit("INT", "TERM");
    drainit.exec(&["reload"]).assert(1, "`kept` cannot be started");
    drainit.stop().assert_code(0);
}

#[test]
fn a_new_instance_that_fails_leaves_the_old_definition() {
    let config = "
        processes:
          app:
            command: [CHILD, app, 'on=USR1:print:got', print=up]
            listen: [{address: 'unix:DIR/app.sock', mode: '0666'}]
            update: start-first
            readiness: {log: ^up$}
            forward_signals: [USR1]
          other: {command: [CHILD, other, print=one], depends_on: [app]}
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    let before = ["app", "other"].map(|name| pid(&drainit, name));
    drainit.edit("print=up", "exit=3");
    drainit.edit("[USR1]", "[USR2]");
    drainit.edit("'0666'", "'0600'");
    drainit.exec(&["reload"]).assert(1, "app exited with code 3");
    let socket = drainit.path("app.sock").metadata().unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o666);
    drainit.edit("'0600'", "'0666'");
    drainit.signal(Signal::SIGUSR1);
    drainit.wait_for_line("got");
    drainit.edit("[USR2]", "[USR1]");
    assert_eq!(before, ["app", "other"].map(|name| pid(&drainit, name)));
    drainit.exec(&["health"]).assert(0, "");
    // After the failed reload, the process keeps its old definition: the plan reports the edit as a
    // change. Once the edit is undone, the plan reports nothing.
    let plan = drainit.exec(&["plan", "--reload"]);
    assert!(plan.stdout.contains("`command` differs"), "{plan:?}");
    drainit.edit("exit=3", "print=up");
    drainit.exec(&["plan", "--reload"]).assert(0, "");
    assert_eq!(drainit.exec(&["plan", "--reload"]).stdout, "nothing has changed\n");
    drainit.exec(&["restart", "app"]).assert(0, "");
    drainit.stop().assert_code(0).assert_no_line(&said::without_effect("USR1"));
}

// holds: C512
#[test]
fn a_signal_drains_the_old_instance() {
    for kind in ["signal", "notify"] {
        let config = "
        processes:
          app:
            command: [CHILD, app, print=up, 'on=USR1:exit:0']
            update: start-first
            readiness: {log: ^up$}
            drain: {KIND: {signal: USR1, time: 8s}}
        ";
        let Some(drainit) = Rig::ready(&config.replace("KIND", kind)) else { return };
        let before = pid(&drainit, "app");
        drainit.exec(&["restart", "app"]).assert(0, "");
        assert_ne!(pid(&drainit, "app"), before);
        let record = drainit.record();
        let heard: Vec<_> =
            record.events.iter().filter(|event| event.what.starts_with("got")).collect();
        assert!(heard.len() == 1 && heard[0].what.starts_with("got SIGUSR1"), "{record}");
        drainit.stop().assert_code(0);
    }
}

// holds: C855
#[test]
fn a_share_of_the_deadline_reaches_a_template_at_the_next_start() {
    let Some(rig) = Rig::new() else { return };
    rig.write("share", "${stop_seconds}");
    let config = "
        shutdown: {grace_period: 6s}
        processes:
          a: {command: [CHILD, a], render: [{from: DIR/share, to: DIR/out}]}
          b: {command: [CHILD, b, '${stop_seconds}']}
        ";
    let drainit = rig.start_ready(config);
    let before = ["a", "b"].map(|name| pid(&drainit, name));
    let share = || fs::read_to_string(drainit.path("out")).unwrap();
    assert_eq!(share(), "4");
    drainit.edit("grace_period: 6s", "grace_period: 8s");
    drainit.exec(&["reload"]).assert(0, "");
    // The reload replaces `b`, because its command contains the value. A template is not part of
    // the config, so `a` keeps running with the old file.
    let after = ["a", "b"].map(|name| pid(&drainit, name));
    assert_eq!((after[0], share().as_str()), (before[0], "4"));
    assert_ne!(after[1], before[1]);
    drainit.exec(&["restart", "a"]).assert(0, "");
    assert_eq!(share(), "6");
}

#[test]
fn new_values_of_the_container_apply_at_once() {
    let text = "
        shutdown: {grace_period: 20s}
        processes: {a: {command: [CHILD, a]}}
        ";
    let Some(drainit) = Rig::ready(text) else { return };
    let before = pid(&drainit, "a");
    let shutdown = "grace_period: 40s, signals: [USR2], report: DIR/report.json";
    drainit.edit("grace_period: 20s", shutdown);
    let plan = drainit.exec(&["plan", "--reload"]);
    assert_eq!(
        plan.stdout, "from now on, the container has the new `shutdown`\nnot touched: a\n",
        "{plan:?}"
    );
    drainit.exec(&["reload"]).assert(0, "");
    assert_eq!(pid(&drainit, "a"), before);
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line(&said::without_effect("SIGTERM"));
    drainit.signal_again(Signal::SIGUSR2);
    drainit.wait_for_line("stopping: SIGUSR2 received; 38s until the deadline");
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0);
    assert_eq!(ended.report("report.json")["grace_period"], 40.0);
}

// holds: C76, C294, C304, C633
#[test]
fn a_signal_and_a_watched_file_reload() {
    let Some(rig) = Rig::new() else { return };
    let volume = rig.path("etc");
    fs::create_dir(&volume).unwrap();
    let config = |number: u32| {
        let signal = if number < 2 { "HUP" } else { "USR1" };
        rig.fill(&format!(
            "
            reload_signal: {signal}
            processes:
              app:
                command: [CHILD, app, print=version-{number}]
                watch: [{{path: DIR/etc/drainit.yaml, action: reload}}]
              other: {{command: [CHILD, other]}}
            "
        ))
    };
    let configs: Vec<_> = (0..5).map(config).collect();
    swap(&volume, "0", &configs[0]);
    symlink("..data/file", volume.join("drainit.yaml")).unwrap();
    let path = volume.join("drainit.yaml").to_str().unwrap().to_owned();
    let drainit = rig.start_with(&["run", "-c", &path]);
    drainit.wait_for_line(said::ALL_READY);
    let other = pid(&drainit, "other");
    for (number, config) in configs.iter().enumerate().take(3).skip(1) {
        swap(&volume, &number.to_string(), config);
        drainit.wait_for_line("app: .*etc/drainit.yaml changed; reload");
        drainit.wait_for_line(&format!("version-{number}"));
    }
    // The signal comes before the watch sees the new file.
    swap(&volume, "3", &configs[3]);
    drainit.signal(Signal::SIGUSR1);
    drainit.wait_for_line("version-3");
    // The test waits for longer than the watch does before it acts on a change. The reload has
    // already read this change, so the watch does not reload again.
    thread::sleep(ms(3500));
    assert_eq!(pid(&drainit, "other"), other);
    let ended = drainit.stop();
    ended.assert_code(0).assert_no_line(&said::without_effect("USR1"));
    assert_eq!(ended.record.lines_with("changed; reload"), 2, "{}", ended.record);
}

// holds: C649
#[test]
fn a_file_of_a_command_is_read_again_by_a_reload_only() {
    let Some(rig) = Rig::new() else { return };
    rig.write("step", "print=old");
    let drainit =
        rig.start_ready("{processes: {app: {command: [CHILD, app, {join: [{file: step}]}]}}}");
    drainit.wait_for_line("^old$");
    drainit.write("step", "print=new");
    drainit.exec(&["restart", "app"]).assert(0, "");
    drainit.wait_for_lines("old", 2);
    assert!(drainit.record().line("^new$").is_none(), "{}", drainit.record());
    drainit.exec(&["reload"]).assert(0, "");
    drainit.wait_for_line("^new$");
    drainit.stop().assert_code(0);
}

// holds: C304
#[test]
fn a_stop_wins_and_a_second_reload_waits() {
    let config = "
        processes:
          slow: {command: [CHILD, slow, print=one, 'on=TERM:ignore', 'on=USR1:exit:0'], stop_grace_period: 20s}
          other: {command: [CHILD, other]}
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    drainit.wait_for_event("slow", "handling");
    let reload = || drainit.exec_as(None, &["reload"]).spawn().unwrap();
    drainit.edit("print=one", "print=two");
    let mut first = reload();
    drainit.wait_for_event("slow", "got SIGTERM");
    // No other request may begin during a reload.
    drainit.exec(&["restart", "other"]).assert(1, "");
    let busy = "is under way; try again when that is done; slow is stopping";
    drainit.exec(&["plan", "--reload"]).assert(1, busy);
    assert_eq!(drainit.state("slow").0, "stopping");
    drainit.edit("print=two", "print=three");
    let mut second = reload();
    drainit.wait_for_lines("reload requested", 2);
    drainit.exec(&["kill", "-s", "USR1", "slow"]).assert(0, "");
    assert!(first.wait().unwrap().success());
    // The second reload reads the file when the first reload is over.
    assert!(second.wait().unwrap().success());
    drainit.wait_for_line("three");
    drainit.edit("print=three", "print=four");
    let mut third = reload();
    drainit.wait("the last stop", LONG, |record| {
        let last =
            record.lines.iter().rposition(|line| line.text.contains("slow: sending SIGTERM"))?;
        let ready = record.lines.iter().rposition(|line| line.text == "three")?;
        (last > ready).then_some(())
    });
    let mut fourth = reload();
    drainit.wait_for_lines("reload requested", 4);
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line("stopping: SIGTERM");
    drainit.exec(&["plan", "--reload"]).assert(1, "the container is shutting down");
    assert_eq!(third.wait().unwrap().code(), Some(1));
    assert_eq!(fourth.wait().unwrap().code(), Some(1));
    // The result of the command is not checked: the end of PID 1 may also end the command.
    drainit.exec(&["kill", "-s", "USR1", "slow"]);
    drainit.wait_exit(LONG).assert_code(0).assert_no_line("four");
}

#[test]
fn a_socket_goes_to_another_process_only_while_nobody_holds_the_socket() {
    let config = "
        processes:
          a:
            command: [CHILD, a, 'unix=DIR/x.sock']
            sockets: [DIR/x.sock]
            readiness: {unix: DIR/x.sock}
          b:
            command: [CHILD, b, 'unix=DIR/y.sock']
            sockets: [DIR/y.sock]
            readiness: {unix: DIR/y.sock}
          task: {command: [CHILD, task, exit=0], type: oneshot}
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    let (x, y) = (drainit.path("x.sock"), drainit.path("y.sock"));
    let before = ["a", "b"].map(|name| pid(&drainit, name));
    for (from, to) in [("x.sock", "z.sock"), ("y.sock", "x.sock"), ("z.sock", "y.sock")] {
        drainit.edit(from, to);
    }
    drainit.edit("exit=0", "print=more, exit=0");
    for command in [["plan", "--reload"].as_slice(), &["reload"]] {
        let said = drainit.exec(command);
        said.assert(1, &format!("a: `sockets`: b is running and has {}; ", y.display()));
        said.assert(1, "`drainit stop` that process, reload, and `drainit start` it");
    }
    assert_eq!(before, ["a", "b"].map(|name| pid(&drainit, name)));
    for path in [&x, &y] {
        UnixStream::connect(path).unwrap();
    }
    drainit.exec(&["stop", "b"]).assert(0, "");
    for command in [["reload"].as_slice(), &["start", "b"]] {
        drainit.exec(command).assert(0, "");
    }
    for path in [&x, &y] {
        UnixStream::connect(path).unwrap();
    }
    drainit.stop().assert_code(0);
}

#[test]
fn a_held_socket_gets_new_permissions_and_a_lost_file_again() {
    let held = "[{address: 'unix:DIR/app.sock', mode: '0600'}]";
    let up = "command: [CHILD, app, print=up], readiness: {log: ^up$}";
    let config = format!("processes: {{app: {{{up}, listen: {held}}}}}");
    let Some(drainit) = Rig::ready(&config) else { return };
    let socket = drainit.path("app.sock");
    for (from, to, mode) in [("'0600'", "'0640'", 0o640), ("'0640'", "'0660'", 0o660)] {
        drainit.edit(from, to);
        drainit.exec(&["reload"]).assert(0, "");
        assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, mode);
        // Some servers remove their socket at their end.
        fs::remove_file(&socket).unwrap();
    }
    drainit.stop().assert_code(0);
}

/// Also, another text for the path of a held socket means the same socket.
// holds: C777
#[test]
fn a_reload_moves_a_socket_to_an_address_that_excludes_the_held_address() {
    if TcpListener::bind("[::]:0").is_err() {
        return;
    }
    let port = free_address().port();
    let config = format!(
        "processes: {{app: {{command: [CHILD, app], listen: ['tcp://0.0.0.0:{port}', 'unix:DIR/a/app.sock']}}}}"
    );
    let Some(rig) = Rig::new() else { return };
    fs::create_dir(rig.path("a")).unwrap();
    let drainit = rig.start_ready(&config);
    let connect = |ip: &str| TcpStream::connect(format!("{ip}:{port}"));
    assert!(connect("127.0.0.1").is_ok() && connect("[::1]").is_err());
    drainit.edit("0.0.0.0", "[::]");
    drainit.edit("a/app.sock", "a/./app.sock");
    drainit.exec(&["reload"]).assert(0, "");
    for ip in ["127.0.0.1", "[::1]"] {
        connect(ip).unwrap();
    }
    UnixStream::connect(drainit.path("a/app.sock")).unwrap();
    drainit.edit("[::]", "127.0.0.1");
    drainit.exec(&["reload"]).assert(0, "");
    assert!(connect("127.0.0.1").is_ok() && connect("[::1]").is_err());
    drainit.stop().assert_code(0).assert_gone("a/app.sock");
}

#[test]
fn a_request_that_begins_while_the_config_is_read_comes_first() {
    let config = "
        processes:
          slow: {command: [CHILD, slow, print=one, 'on=TERM:ignore', 'on=USR1:exit:0'], stop_grace_period: 20s, readiness: {log: '^(one|two)$'}}
        ";
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.env("DRAINIT_LOG_LEVEL", "debug").start_ready(config);
    drainit.wait_for_event("slow", "handling");
    let restart = || drainit.exec_as(None, &["restart", "slow"]).spawn().unwrap();
    let end_slow = |times| {
        drainit.wait_for_events("slow", "got SIGTERM", times);
        drainit.exec(&["kill", "-s", "USR1", "slow"]).assert(0, "");
        drainit.wait_for_events("slow", "handling", times + 1);
    };
    let mut first = restart();
    drainit.wait_for_event("slow", "got SIGTERM");
    drainit.exec(&["reload"]).assert(1, "a reload or another request is under way");
    end_slow(1);
    assert!(first.wait().unwrap().success());
    let config = drainit.path("drainit.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::remove_file(&config).unwrap();
    mkfifo(&config, Mode::S_IRWXU).unwrap();
    let mut pipe = fs::File::options().read(true).write(true).open(&config).unwrap();
    let reload = || drainit.exec_as(None, &["reload"]).spawn().unwrap();
    let mut postponed = reload();
    drainit.wait_until("read", || reads_a_pipe(&drainit));
    fs::remove_file(&config).unwrap();
    fs::write(&config, text.replace("print=one", "print=two")).unwrap();
    let mut second = restart();
    drainit.wait_for_events("slow", "got SIGTERM", 2);
    pipe.write_all(text.as_bytes()).unwrap();
    drop(pipe);
    drainit.wait_for_line("the reload reads the config again");
    let mut joining = reload();
    drainit.wait_for_lines("reload requested", 3);
    end_slow(2);
    assert!(second.wait().unwrap().success());
    end_slow(3);
    assert!(postponed.wait().unwrap().success());
    assert!(joining.wait().unwrap().success());
    drainit.wait_for_line("two");
}

/// Whether drainit has opened a pipe with a name.
fn reads_a_pipe(drainit: &Running) -> bool {
    let is_pipe = |fd: fs::DirEntry| {
        let is_named = fs::read_link(fd.path()).is_ok_and(|target| target.is_absolute());
        is_named && fs::metadata(fd.path()).is_ok_and(|fd| fd.file_type().is_fifo())
    };
    fs::read_dir(format!("/proc/{}/fd", drainit.pid())).unwrap().flatten().any(is_pipe)
}
