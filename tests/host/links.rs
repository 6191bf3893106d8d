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
