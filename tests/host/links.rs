//! Tests that drainit, running as root, follows none of the symbolic links that a process of
//! another user puts into the paths of a config.

use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;

use crate::support::*;

const THEIRS: u32 = 10_001;
const SECRET: &str = "geheim-1234";

/// A rig with a directory `theirs` of the other user, and a directory `victim`, which contains a
/// secret and which only root may enter.
fn rig() -> Option<Rig> {
    let rig = Rig::as_root("another user")?.readable_by_everybody();
    for directory in ["theirs", "victim"] {
        fs::create_dir(rig.path(directory)).unwrap();
    }
    chown(rig.path("theirs"), Some(THEIRS), Some(THEIRS)).unwrap();
    rig.write("victim/secret", format!("A={SECRET}\n"));
    fs::set_permissions(rig.path("victim"), fs::Permissions::from_mode(0o700)).unwrap();
    // The other user can write to the rig's directory, but only root can rename or replace these
    // directories.
    fs::set_permissions(rig.path(""), fs::Permissions::from_mode(0o1777)).unwrap();
    Some(rig)
}

#[test]
fn no_link_of_another_user_leads_drainit_to_a_file() {
    let Some(rig) = rig() else { return };
    let _victim = UnixListener::bind(rig.path("victim/socket")).unwrap();
    // For each process: its name, the link that its config leads to, and its config.
    let led = [
        ("log", "dir", "log: {file: DIR/theirs/dir/app.log}"),
        (
            "template",
            "secret",
            "render: [{from: DIR/theirs/secret, to: DIR/theirs/out}], user: '10001:10001'",
        ),
        ("rendered", "dir", "render: [{from: DIR/own, to: DIR/theirs/dir/out}]"),
        ("variable", "secret", "environment: {A: {file: DIR/theirs/secret}}"),
        ("env", "dir", "env_file: [{path: DIR/theirs/dir/secret, read: start}]"),
        ("directory", "dir", "working_dir: DIR/theirs/dir, hooks: {pre_start: [touch, hook]}"),
        ("file", "secret", "readiness: {file: DIR/theirs/secret, timeout: 100ms}"),
        ("unix", "dir", "readiness: {unix: DIR/theirs/dir/socket, timeout: 100ms}"),
        (
            "http",
            "dir",
            "readiness: {http: 'unix:DIR/theirs/dir/socket:/', timeout: 100ms}, sockets: [DIR/theirs/dir/no]",
        ),
        ("watched", "secret", "watch: [{path: DIR/theirs/secret, action: restart}]"),
        ("exists", "secret", "only_if: {path_exists: DIR/theirs/secret}"),
        ("missing", "dir", "only_if: {path_missing: DIR/theirs/dir/no}"),
        ("removed", "dir", "sockets: [DIR/theirs/dir/socket]"),
        ("alive", "dir", "liveness: {unix: DIR/theirs/dir/socket, interval: 100ms, retries: 1}"),
    ];
    // These links are used in the shutdown only.
    let led_at_the_stop = [
        (
            "headers",
            "secret",
            "drain: {http: {url: 'http://127.0.0.1:1/d', time: 2s, headers: {x: {file: DIR/theirs/secret}}}}",
        ),
        ("asked", "dir", "drain: {http: {url: 'unix:DIR/theirs/dir/socket:/d', time: 1s}}"),
        ("admin", "dir", "drain: {envoy: {admin: 'unix:DIR/theirs/dir/socket', time: 2s}}"),
    ];
    let mut config = "
control: {socket: DIR/control.sock}
shutdown: {report: DIR/theirs/dir/report}
processes:
  attack:
    command: [sh, -c, 'cd DIR/theirs && ln -s ../victim dir && ln -s ../victim/secret secret']
    user: '10001:10001'
    type: oneshot
"
    .to_owned();
    for (name, _, keys) in led.iter().chain(&led_at_the_stop) {
        config += &format!(
            "  {name}: {{command: [CHILD, {name}, 'report=DIR/{name}.json'], {keys}, depends_on: [attack], \
             required: false, on_exit: ignore}}\n"
        );
    }
    // One condition that holds is enough, even if the path of the other condition leads through a
    // link.
    config += "  either: {command: [CHILD, either], depends_on: [attack], \
               only_if: [{path_exists: DIR/theirs/secret}, {path_exists: DIR/own}]}\n";
    rig.write("own", "own\n");
    let drainit = rig.start(&config);
    drainit.wait_for_start(&["either"]);
    let line = |name: &str, link: &str| {
        format!("{name}.*symbolic link `.*/theirs/{link}` belongs to user {THEIRS}, .*chown -h 0")
    };
    for (name, link, _) in led {
        drainit.wait_for_line(&line(name, link));
    }
    // A reload also refuses a link of the other user.
    let env = drainit.path("theirs/secret").display().to_string();
    drainit
        .write_config(&format!("{config}  added: {{command: [sleep, '60'], env_file: {env}}}\n"));
    drainit.exec(&["reload"]).assert(1, &format!("theirs/secret` belongs to user {THEIRS}"));
    let ended = drainit.stop();
    for (name, link, _) in led_at_the_stop {
        ended.assert_line(&line(name, link));
    }
    ended.assert_line(&line("report", "dir")).assert_no_line(SECRET);
    let mut left: Vec<_> = fs::read_dir(ended.path("victim"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["secret", "socket"]);
    assert!(!ended.path("theirs/out").exists());
    for name in ["log", "template", "rendered", "variable", "env", "directory", "exists", "missing"]
    {
        assert!(!ended.path(&format!("{name}.json")).exists(), "{name} was started");
    }
}

#[test]
fn no_link_of_another_user_leads_a_socket_elsewhere() {
    for config in [
        "control: {socket: DIR/theirs/dir/control.sock}, processes: {a: {command: [CHILD, a]}}",
        "processes: {a: {command: [CHILD, a], listen: ['unix:DIR/theirs/dir/app.sock']}}",
    ] {
        let Some(rig) = rig() else { return };
        symlink("../victim", rig.path("theirs/dir")).unwrap();
        lchown(rig.path("theirs/dir"), Some(THEIRS), None).unwrap();
        let ended = rig.run(&format!("{{{config}}}"));
        ended.assert_code(78).assert_line(&format!("theirs/dir` belongs to user {THEIRS}"));
        assert_eq!(fs::read_dir(ended.path("victim")).unwrap().count(), 1);
    }
}

/// drainit as root, and as a user with the capabilities that `user` needs.
const DRAINITS: [(u32, &[&str]); 2] = [
    (0, &[]),
    (
        10_002,
        &[
            "setpriv",
            "--reuid=10002",
            "--regid=10002",
            "--clear-groups",
            "--inh-caps=+setuid,+setgid,+kill",
            "--ambient-caps=+setuid,+setgid,+kill",
        ],
    ),
];

// holds: C723, C801
#[test]
fn no_exchanged_directory_gives_a_process_a_secret_or_a_log_file_of_drainit() {
    for (drainit, wrapper) in DRAINITS {
        let Some(rig) = rig() else { return };
        for (name, mode) in [("pub", 0o777), ("private", 0o700)] {
            fs::create_dir(rig.path(&format!("theirs/{name}"))).unwrap();
            for file in ["token", "app.log"] {
                let path = format!("theirs/{name}/{file}");
                rig.write(&path, SECRET);
                fs::set_permissions(rig.path(&path), fs::Permissions::from_mode(mode & 0o666))
                    .unwrap();
                chown(rig.path(&path), Some(drainit), Some(drainit)).unwrap();
            }
            let path = rig.path(&format!("theirs/{name}"));
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            chown(&path, Some(drainit), Some(drainit)).unwrap();
        }
        // `chown 10001 theirs` leaves the group of root.
        chown(rig.path("theirs"), Some(THEIRS), Some(0)).unwrap();
        let config = "
            processes:
              attack:
                command: [sh, -c, 'cd DIR/theirs && ! cat private/token && mv pub x && mv private pub']
                user: '10001:10001'
                type: oneshot
              led:
                command: [CHILD, led, 'report=DIR/led.json']
                environment: {A: {file: DIR/theirs/pub/token}}
                depends_on: [attack]
                required: false
                on_exit: ignore
              logs:
                command: [CHILD, logs]
                log: {file: DIR/theirs/pub/app.log}
                depends_on: [attack]
                required: false
                on_exit: ignore
              own: {command: [CHILD, own], depends_on: [attack]}
            ";
        let running = rig.wrapper(wrapper).start(config);
        running.wait_for_start(&["own"]);
        for name in ["led", "logs"] {
            running.wait_for_line(&format!(
                "{name}.*user {THEIRS} could exchange names in `.*theirs/pub`, which user {THEIRS} may not"
            ));
        }
        let ended = running.stop();
        assert!(!ended.path("led.json").exists(), "{drainit}");
        let log = fs::read_to_string(ended.path("theirs/pub/app.log")).unwrap();
        assert_eq!(log, SECRET, "{drainit}");
    }
}

// holds: C1057
#[test]
fn owners_outside_of_the_user_namespace_do_not_make_a_path_foreign() {
    let Some(rig) = rig() else { return };
    let owner = THEIRS.to_string();
    let ids = ["setpriv", "--reuid", &owner, "--regid", &owner, "--clear-groups"];
    // This namespace maps only the caller, so `/` and `/tmp` belong to nobody in it.
    let rig = rig.wrapper(&ids).wrapper(&["unshare", "--user", "--map-root-user"]);
    rig.write("theirs/secret", SECRET);
    fs::set_permissions(rig.path("theirs/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    chown(rig.path("theirs/secret"), Some(THEIRS), Some(THEIRS)).unwrap();
    let running = rig.start_ready(
        "
        control: {socket: DIR/theirs/control.sock}
        shutdown: {report: DIR/theirs/report.json}
        processes:
          a:
            command: [sh, -c, 'test \"$A\" = geheim-1234 && echo got it; exec CHILD a']
            environment: {A: {file: DIR/theirs/secret}}
            listen: ['unix:DIR/theirs/app.sock']
            render: [{from: DIR/theirs/secret, to: DIR/theirs/rendered}]
            log: {file: DIR/theirs/app.log}
        ",
    );
    running.wait_for_start(&["a"]);
    let ended = running.stop();
    ended.assert_code(0);
    assert_eq!(fs::read_to_string(ended.path("theirs/app.log")).unwrap(), "got it\n");
    assert!(ended.path("theirs/report.json").exists() && ended.path("theirs/rendered").exists());
}
