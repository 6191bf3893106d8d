//! Tests `listen`: sockets that drainit opens, holds over restarts, and hands over.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::support::*;

const SERVER: &str = include_str!("../fixtures/listen_server.py");

/// Starts an app whose command is [`SERVER`], with these additional keys.
fn serve(keys: &str) -> Option<(Running, SocketAddr)> {
    let rig = Rig::new()?;
    rig.write("server.py", SERVER);
    Some(start(rig, &format!("\n            command: [python3, DIR/server.py]{keys}")))
}

/// Starts an app with these keys, in which ADDRESS stands for a free address.
fn start(rig: Rig, keys: &str) -> (Running, SocketAddr) {
    let address = free_address();
    let keys = keys.replace("ADDRESS", &address.to_string());
    let keys = keys.replace("PORT", &address.port().to_string());
    (rig.start(&format!("\n        processes:\n          app:{keys}")), address)
}

// holds: C179, C182, C183, C185, C186, C659
#[test]
fn sockets_are_handed_over_as_for_sd_listen_fds() {
    let keys = "
            listen:
              - tcp://ADDRESS
              - {address: 'unix:DIR/app.sock', name: local, mode: '0620', backlog: 5}
            readiness: {log: ^serving$}
            hooks: {pre_start: [CHILD, before, 'report=DIR/before.json', exit=0]}
            liveness: {exec: [CHILD, alive, 'report=DIR/alive.json', exit=0], interval: 10ms}
          other: {command: [CHILD, other, 'report=DIR/other.json', touch=DIR/done], depends_on: [app]}";
    let Some((drainit, address)) = serve(keys) else { return };
    let socket = drainit.path("app.sock");
    drainit.wait_for_event("other", "touch");
    drainit.wait_for_event("alive", "exit");
    let (status, tcp) = get(address, "/").unwrap();
    assert_eq!(status, 200);
    // The server has 6 descriptors: 0 to 4, and the one with which it lists its descriptors.
    assert!(tcp.ends_with(" 3 app:local 6"), "{tcp}");
    let (_, unix) = get_unix(&socket, "/").unwrap();
    assert!(unix.ends_with(" 4 app:local 6"), "{unix}");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o620);
    let ended = drainit.stop();
    ended.assert_gone("app.sock");
    for report in ["other.json", "before.json", "alive.json"] {
        let report = ended.report(report);
        assert!(report["env"].is_object() && report["env"]["LISTEN_FDS"].is_null(), "{report}");
        assert_eq!(report["fds"].as_object().unwrap().len(), 3, "{report}");
    }
}

// holds: C158, C180, C188, C331, C635
#[test]
fn connections_wait_while_the_process_is_started_again() {
    let keys = "
            listen: [tcp://ADDRESS]
            restart: always
            restart_delay: 200ms";
    let Some((drainit, address)) = serve(keys) else { return };
    drainit.wait_for_line("app: started");
    let (_, first) = get(address, "/").unwrap();
    for _ in 0..3 {
        get(address, "/exit").unwrap();
        let (status, next) = get(address, "/").unwrap();
        assert_eq!(status, 200);
        assert_ne!(first, next);
    }
    // Connections also wait during a restart by hand, and while the process is stopped.
    drainit.exec(&["restart", "app"]).assert(0, "");
    assert_eq!(get(address, "/").unwrap().0, 200);
    drainit.exec(&["stop", "app"]).assert(0, "");
    let mut waits = TcpStream::connect(address).unwrap();
    waits.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    drainit.exec(&["start", "app"]).assert(0, "");
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drainit.stop();
    assert!(TcpStream::connect(address).is_err());
}

// holds: C1103, C1104
/// Connections that nobody has accepted wait in the one socket, while `scale` changes.
#[test]
fn copies_share_a_socket_and_a_reload_keeps_the_socket() {
    let keys = "
            listen: [tcp://ADDRESS, 'unix:DIR/app.sock']
            readiness: {log: ^serving$}
            scale: 2";
    let Some((drainit, address)) = serve(keys) else { return };
    drainit.wait_for_line("everything is ready");
    let answer_of = |mut client: TcpStream| {
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        body.split(' ').nth(2).unwrap().to_owned()
    };
    let names = |name: &str| format!("{name}:{name}");
    let scale = |from: &str, to: &str| {
        drainit.edit(&format!("scale: {from}"), &format!("scale: {to}"));
        drainit.exec(&["reload"]).assert(0, "");
    };
    for name in ["app-1", "app-2"] {
        let other = if name == "app-1" { "app-2" } else { "app-1" };
        drainit.exec(&["stop", other]).assert(0, "");
        assert_eq!(answer_of(TcpStream::connect(address).unwrap()), names(name));
        drainit.exec(&["start", other]).assert(0, "");
    }
    drainit.exec(&["stop", "app-*"]).assert(0, "");
    let waits = TcpStream::connect(address).unwrap();
    scale("2", "3");
    assert_eq!(answer_of(waits), names("app-3"));
    scale("3", "1");
    let waits = TcpStream::connect(address).unwrap();
    drainit.exec(&["start", "app-1"]).assert(0, "");
    assert_eq!(answer_of(waits), names("app-1"));
    assert_eq!(get_unix(&drainit.path("app.sock"), "/").unwrap().0, 200);
    drainit.stop().assert_gone("app.sock");
}

// holds: C181, C189, C478
#[test]
fn a_stale_socket_is_replaced_and_another_file_is_kept() {
    let Some(rig) = Rig::new() else { return };
    rig.write("app.sock", "precious");
    let config = "processes: {app: {command: [CHILD, app], listen: ['unix:DIR/app.sock']}}";
    rig.run(config).assert_code(78).assert_line("app.sock: it is not a socket");

    let sockets = &config.replace("listen: ['unix:DIR/app.sock']", "sockets: [DIR/app.sock]");
    for (config, code) in [(config, 78), (sockets, 1)] {
        let Some(rig) = Rig::new() else { return };
        let _listener = UnixListener::bind(rig.path("app.sock")).unwrap();
        let ended = rig.run(config);
        ended.assert_code(code).assert_line("app.*app.sock: another process listens on it");
        assert!(ended.path("app.sock").exists());
    }

    let Some(rig) = Rig::new() else { return };
    leave_socket(rig.path("app.sock"));
    let drainit = rig.start(config);
    drainit.wait_for_start(&["app"]);
    UnixStream::connect(drainit.path("app.sock")).unwrap();
    drainit.stop().assert_code(0).assert_gone("app.sock");
}

// holds: C187
#[test]
fn a_process_that_stops_gets_no_more_connections() {
    // At SIGTERM this server closes its listener, like other graceful servers, and finishes its
    // requests.
    const GRACEFUL: &str = r#"
import os, signal, socket, time
listener = socket.socket(fileno=3)
def stop(*_):
    listener.close()
    os.write(1, b"closed\n")  # print is not reentrant
    while not os.path.exists("go"):
        time.sleep(0.01)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
print("serving", flush=True)
while True:
    time.sleep(1)
"#;
    let Some(rig) = Rig::new() else { return };
    rig.write("graceful.py", GRACEFUL);
    let keys = "
            command: [python3, graceful.py]
            working_dir: DIR
            listen: [tcp://ADDRESS]
            readiness: {log: ^serving$}";
    let (drainit, address) = start(rig, keys);
    drainit.wait_for_line(&said::ready("app"));
    TcpStream::connect(address).unwrap();
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line("^closed$");
    assert!(TcpStream::connect(address).is_err());
    drainit.touch("go");
    drainit.wait_exit(LONG).assert_code(0);
}

// holds: S822
#[test]
fn a_socket_that_a_server_shuts_down_listens_again() {
    const ABRUPT: &str = include_str!("../fixtures/abrupt_server.py");
    for update in ["stop-first", "start-first"] {
        let Some(rig) = Rig::new() else { return };
        rig.write("abrupt.py", ABRUPT);
        let keys = format!(
            "
            command: [python3, abrupt.py]
            working_dir: DIR
            listen: [tcp://ADDRESS, 'unix:DIR/app.sock']
            readiness: {{log: ^serving$}}
            stop_grace_period: 60s
            update: {update}"
        );
        let (drainit, address) = start(rig, &keys);
        drainit.wait_for_line(&said::ready("app"));
        let socket = drainit.path("app.sock");
        let (_, first) = get(address, "/").unwrap();
        let mut restart = drainit.exec_as(None, &["restart", "app"]).spawn().unwrap();
        // The old instance still finishes requests when drainit listens again.
        drainit.wait_for_line("`listen` tcp://.*: a process has ended this socket by shutdown");
        drainit.wait_for_line("^no longer serving$");
        let mut waits = TcpStream::connect(address).unwrap();
        waits.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        drainit.touch("go");
        assert!(restart.wait().unwrap().success());
        let mut answer = String::new();
        waits.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with(&first), "{answer}");
        // The kernel has no way to listen again on a Unix socket, so the next start gets another.
        if update == "start-first" {
            drainit
                .wait_for_line("`listen` unix:.*: .* `drainit restart app` opens another socket");
            assert!(UnixStream::connect(&socket).is_err());
            drainit.exec(&["restart", "app"]).assert(0, "");
        }
        assert_eq!(get_unix(&socket, "/").unwrap().0, 200);
        let ended = drainit.stop();
        assert!(TcpStream::connect(address).is_err());
        ended.assert_code(0).assert_gone("app.sock");
    }
}
