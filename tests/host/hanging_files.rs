//! Tests files that hang when they are opened, as on a network file system whose server is gone:
//! drainit keeps running, and meets its deadline.

use crate::support::lease::Lease;
use crate::support::*;

/// Puts a program into the directory of the rig, and takes a lease that makes its execution hang.
/// The program is a copy, because a file that is in use cannot be leased.
fn hanging_program(rig: &Rig) -> Option<Lease> {
    let path = rig.path("hangs");
    fs::copy("/bin/sleep", &path).unwrap();
    Lease::take(&path)
}

// holds: S232, C670
#[test]
fn a_stop_does_not_wait_for_a_program_that_hangs() {
    let Some(rig) = Rig::new() else { return };
    let Some(_lease) = hanging_program(&rig) else { return };
    let config = "
        shutdown: {grace_period: 12s, reserve: 2s}
        processes:
          hangs: {command: [DIR/hangs, '60']}
          given_up: {command: [DIR/hangs, '60']}
          database: {command: [CHILD, database]}
          above: {command: [CHILD, above], depends_on: [hangs]}
        ";
    let drainit = rig.start(config);
    drainit.wait_for_start(&["database"]);
    drainit.wait_until("the program hangs", || drainit.children().len() == 3);
    drainit.exec(&["stop", "given_up"]).assert(0, "");
    drainit.wait_until("its process is killed", || drainit.children().len() == 2);
    let ended = drainit.stop();
    ended
        .assert_code(0)
        .assert_stopped_within(ms(0)..ms(10_000))
        .assert_stopped_in_order(&["database"]);
    ended.assert_no_line("hangs: started").assert_no_line("killed").assert_nothing_left();
}

/// A config that makes drainit open a file of each kind.
const OPENS: &str = "
processes:
  values:
    command: [CHILD, values]
    env_file: {path: DIR/env, read: start}
    required: false
    on_exit: ignore
  logs: {command: [CHILD, logs], log: {file: DIR/log}, required: false, on_exit: ignore}
  watches: {command: [CHILD, watches], watch: [{path: DIR/watched, action: USR1}]}
";
const OPENED: [&str; 3] = ["env", "log", "watched"];

/// A rig with [`OPENS`] and its files, and a lease on each of `files`.
fn leased(files: &[&str], take: fn(&Path) -> Option<Lease>) -> Option<(Rig, Vec<Lease>)> {
    let rig = Rig::new()?;
    rig.write("leased.yaml", rig.fill(OPENS));
    for file in OPENED {
        rig.write(file, "A=b\n");
    }
    let leases = files.iter().map(|file| take(&rig.path(file))).collect::<Option<_>>()?;
    Some((rig, leases))
}

#[test]
fn a_file_under_a_lease_is_opened_once_the_lease_is_given_up() {
    let files = [&OPENED[..], &["leased.yaml"]].concat();
    let Some((rig, _leases)) = leased(&files, Lease::take_politely) else { return };
    let drainit = rig.start_with(&["run", "-c", "DIR/leased.yaml"]);
    drainit.wait_for_start(&["values", "logs", "watches"]);
    drainit.write("watched", "new");
    drainit.wait_for_event("watches", "got SIGUSR1");
    drainit.stop().assert_code(0).assert_no_line("lease");
}

#[test]
fn an_error_names_the_lease_that_nobody_gives_up() {
    in_parallel([&OPENED[..], &["leased.yaml"]], |files| {
        let Some((rig, _leases)) = leased(files, Lease::take) else { return };
        let drainit = rig.start_with(&["run", "-c", "DIR/leased.yaml"]);
        let held = "another process holds a lease on it";
        if files.len() == 1 {
            let ended = drainit.wait_exit(LONG);
            ended.assert_code(78).assert_line(&format!("leased.yaml.* cannot be opened: {held}"));
            return;
        }
        drainit.wait_for_line(&format!("values: .*/env` cannot be opened: {held}.*/proc/locks"));
        drainit.wait_for_line(&format!("logs: cannot open its log file .*/log: {held}"));
        drainit.wait_for_line(&format!("watches: .*/watched cannot be read: {held}"));
        drainit.stop().assert_code(0);
    });
}

/// Mounts a file system that never answers, and executes its other arguments as a command.
const HANG: &str = "
import ctypes, os, sys
os.mkdir(sys.argv[1])
fuse = os.open('/dev/fuse', os.O_RDWR)
os.set_inheritable(fuse, True)
options = f'fd={fuse},rootmode=40000,user_id=0,group_id=0'
mounted = ctypes.CDLL(None).mount(b'hangs', sys.argv[1].encode(), b'fuse', 0, options.encode())
print('mounted' if mounted == 0 else 'skipped: no fuse', flush=True)
os.execvp(sys.argv[2], sys.argv[2:])
";

/// A rig whose drainit runs beside a file system that never answers, and the file system's path.
fn beside_hanging_files() -> Option<(Rig, String)> {
    let rig = Rig::new()?;
    if !std::path::Path::new("/dev/fuse").exists() {
        return None;
    }
    let hung = rig.path("hung").display().to_string();
    Some((rig.wrapper(&["python3", "-c", HANG, &hung]), hung))
}

// holds: S233, C672
#[test]
fn nothing_waits_for_a_file_system_that_hangs() {
    let Some((rig, _)) = beside_hanging_files() else { return };
    let config = "
        shutdown: {grace_period: 12s, reserve: 2s}
        processes:
          waits: {command: [CHILD, waits], readiness: {file: DIR/hung/ready, timeout: 60s}}
          values: {command: [CHILD, values], env_file: {path: DIR/hung/env, read: start}}
          template: {command: [CHILD, template], render: [{from: DIR/hung/a, to: DIR/hung/b}]}
          condition: {command: [CHILD, condition], only_if: {path_exists: DIR/hung/a}}
          logs: {command: [CHILD, logs], log: {file: DIR/hung/log}}
          directory: {command: [CHILD, directory], working_dir: DIR/hung}
          sockets: {command: [CHILD, sockets], sockets: [DIR/hung/socket]}
          watches: {command: [CHILD, watches], watch: [{path: DIR/hung/w, action: restart}]}
          drains:
            command: [CHILD, drains]
            drain: {http: {url: 'http://127.0.0.1:1/d', time: 2s, headers: {a: {file: DIR/hung/a}}}}
          hook: {command: [CHILD, hook], working_dir: DIR/hung, hooks: {pre_start: [CHILD, pre]}}
          fine: {command: [CHILD, fine]}
        ";
    let drainit = rig.start(config);
    drainit.wait_for_line("mounted|skipped");
    drainit.wait_for_start(&["waits", "fine"]);
    drainit.wait_for_line("watches: .*hung/w has not been read within 1s");
    drainit.exec(&["status"]).assert(0, "");
    let ended = drainit.stop();
    ended.assert_code(0).assert_stopped_within(ms(0)..ms(10_000));
    ended.assert_stopped_in_order(&["fine"]).assert_no_line("killed");
    ended.assert_line("drains: .*its header fields cannot be read: .* has not answered within 1s");
}

/// Covers a directory with the file system that hangs.
const COVER: &str = "
import ctypes, sys
MS_BIND = 4096
covered = ctypes.CDLL(None).mount(sys.argv[1].encode(), sys.argv[2].encode(), None, MS_BIND, None)
sys.exit(covered)
";

#[test]
fn neither_a_reload_nor_the_service_manager_holds_up_the_loop_if_a_socket_hangs() {
    let Some((rig, hung)) = beside_hanging_files() else { return };
    let rig = rig.env("NOTIFY_SOCKET", &format!("{hung}/notify"));
    let config = "
        shutdown: {grace_period: 12s, reserve: 2s}
        processes:
          app: {command: [CHILD, app]}
        ";
    let drainit = rig.start_ready(config);
    drainit.exec(&["status"]).assert(0, "app");
    drainit.edit("command", &format!("listen: ['unix:{hung}/app.sock'], command"));
    drainit.exec(&["reload"]).assert(
        1,
        "the files of `app` cannot be looked at: a file system or a socket has not answered",
    );
    drainit.exec(&["status"]).assert(0, "app");
    drainit.stop().assert_code(0).assert_stopped_within(ms(0)..ms(5_000));
}

// holds: C672
#[test]
fn a_start_waits_10_s_for_the_config_and_a_stop_signal_ends_the_wait() {
    in_parallel([false, true], |is_stopped| {
        let Some((rig, hung)) = beside_hanging_files() else { return };
        let config = format!("{hung}/drainit.yaml");
        let drainit = rig.start_with(&["run", "-c", &config]);
        if is_stopped {
            let reads = |thread: fs::DirEntry| {
                fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name == "files\n")
            };
            let threads = || fs::read_dir(format!("/proc/{}/task", drainit.pid())).unwrap();
            drainit.wait_until("the config is read", || threads().flatten().any(reads));
            let ended = drainit.stop();
            ended.assert_code(78).assert_stopped_within(ms(0)..ms(5_000));
            ended.assert_line("it had not answered when a stop signal arrived");
        } else {
            let says = format!("error: {config}, or a file that it names: timed out");
            drainit.wait_exit(LONG).assert_code(78).assert_line(&says);
        }
    });
}

// holds: C133
#[test]
fn a_command_ends_with_an_error_if_the_config_cannot_be_read_in_time() {
    let commands = [(&["health", "--timeout", "300ms"][..], "300ms"), (&["status"], "10s")];
    in_parallel(commands, |(command, limit)| {
        let Some((rig, hung)) = beside_hanging_files() else { return };
        let config = format!("{hung}/drainit.yaml");
        let ended = rig.start_with(&[command, &["-c", &config]].concat()).wait_exit(LONG);
        let says = format!("the config cannot be read: .* not answered within {limit}");
        ended.assert_code(1).assert_line(&says);
    });
}

// holds: C672
#[test]
fn a_file_system_that_begins_to_hang_is_reported_once() {
    let Some((rig, _)) = beside_hanging_files() else { return };
    fs::create_dir(rig.path("run")).unwrap();
    rig.write("run/watched", "");
    rig.write_program("run/check", "#!/bin/sh\n");
    rig.write("cover.py", COVER);
    let config = "
        shutdown: {grace_period: 12s, reserve: 2s}
        control: {socket: DIR/run/control.sock}
        processes:
          cover: {command: [python3, DIR/cover.py, DIR/hung, DIR/run], type: oneshot, autostart: false}
          app:
            command: [CHILD, app]
            listen: ['unix:DIR/run/app.sock']
            liveness: {exec: [DIR/run/check], interval: 100ms, timeout: 300ms, retries: 1000}
            watch: [{path: DIR/run/watched, action: restart}]
        ";
    let drainit = rig.start_ready(config);
    drainit.exec(&["start", "cover"]).assert(0, "");
    let line = "app: .*run/watched has not been read within 5s; drainit sees no change";
    drainit.wait_for_line(line);
    drainit.wait_for_line("its command had not been executed within 300ms: does a file system");
    // The directory with drainit's sockets now hangs, and the exit does not wait for the removal of
    // these sockets.
    let ended = drainit.stop();
    ended.assert_code(0).assert_stopped_within(ms(0)..ms(10_000));
    assert_eq!(ended.record.lines_with("has not been read"), 1, "{}", ended.record);
}
