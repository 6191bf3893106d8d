//! Tests that the report says how connections have ended, with real servers that finish, cut or
//! reset their clients.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::rig::REFUSING;
use crate::support::*;

const SERVER: &str = include_str!("../fixtures/ending_server.py");

/// Runs a server with this command, and lets three clients wait for an answer when the shutdown
/// begins. Returns the number of answers.
fn play(rig: Rig, command: &str, drain: &str) -> Option<(usize, Ended)> {
    let (drainit, address) = start(rig, command, drain)?;
    let clients = [(); 3].map(|()| Client::new(address).ask(1500));
    // The requests are in flight for many ticks of the kernel's clock.
    thread::sleep(ms(300));
    let ended = drainit.stop();
    let went = clients.map(|client| client.join().unwrap().went);
    Some((went.iter().filter(|went| went.is_answered()).count(), ended))
}

fn start(rig: Rig, command: &str, drain: &str) -> Option<(Running, SocketAddr)> {
    is_installed(command.split([',', ' ']).next().unwrap()).then_some(())?;
    let address = free_address();
    rig.write("server.py", SERVER);
    rig.write("app.py", "import time\ndef wsgi(environ, start):\n    time.sleep(int(environ['PATH_INFO'][1:]) / 1000)\n    start('200 OK', [('Content-Length', '6')])\n    return [b'\\r\\n\\r\\nok']\n");
    rig.write("asgi.py", "import asyncio\nasync def app(scope, receive, send):\n    if scope['type'] != 'http': return\n    await asyncio.sleep(int(scope['path'][1:]) / 1000)\n    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'6')]})\n    await send({'type': 'http.response.body', 'body': b'\\r\\n\\r\\nok'})\n");
    let config = format!(
        "shutdown: {{grace_period: 20s, report: DIR/report.json}}\nprocesses:\n  \
         web: {{command: [{command}], readiness: {{tcp: '127.0.0.1:PORT', timeout: 30s}}{drain}}}"
    );
    let drainit = rig.start(&config.replace("PORT", &address.port().to_string()));
    drainit.wait("readiness", LONG, |record| record.line(said::ALL_READY).map(drop));
    Some((drainit, address))
}

// holds: S784, S785, S789
#[test]
fn only_requests_that_got_no_answer_are_cut() {
    let python = |mode: &str| format!("python3, DIR/server.py, {mode}, PORT");
    let shell = "sh, -c, 'python3 DIR/server.py finish PORT; true'".to_owned();
    let gunicorn =
        "gunicorn, --chdir, DIR, -k, gthread, --threads, 8, -b, '127.0.0.1:PORT', 'app:wsgi'";
    let uvicorn = "uvicorn, --app-dir, DIR, --port, PORT, 'asgi:app'";
    let counted = ", drain: {connections: {min: 0, time: 500ms}}";
    in_parallel(
        [
            (python("finish"), "", 3),
            (python("finish"), counted, 3),
            (python("reraise"), "", 3),
            (shell, "", 3),
            (gunicorn.to_owned(), "", 3),
            (uvicorn.to_owned(), counted, 3),
            (python("die"), "", 0),
            (python("exit"), "", 0),
            (python("exit"), counted, 0),
            (python("exit"), ", drain: {signal: {signal: TERM}}", 0),
        ],
        |(command, drain, answers)| {
            let Some(rig) = Rig::new() else { return };
            let Some((answered, ended)) = play(rig, &command, drain) else { return };
            assert_eq!(answered, answers, "{command} {}", ended.record);
            let step = if drain.contains("connections") { "drain" } else { "stop" };
            let cut = 3 - answers;
            ended.assert_line(&format!(
                "{step} web: .*; connections 3 at the start.*; requests 3 at the start, {cut} cut$"
            ));
            let counts = &ended.report("report.json")["processes"][0][step]["requests"];
            assert_eq!(counts["cut"], cut, "{command}");
        },
    );
}

// holds: S783, S786
#[test]
fn clients_in_the_accept_queue_are_reset_and_probes_are_no_clients() {
    let Some(rig) = Rig::new() else { return };
    let Some((drainit, address)) = start(rig, "python3, DIR/server.py, deaf, PORT", "") else {
        return;
    };
    let clients = [(); 5].map(|()| {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET /0 HTTP/1.1\r\n\r\n").unwrap();
        client
    });
    let ended = drainit.stop();
    for mut client in clients {
        assert!(client.read(&mut [0]).is_err(), "the client is reset");
    }
    ended.assert_line(
        "stop web: .*; connections 5 at the start, .*; requests 5 at the start, 0 cut; 5 reset, \
         5 of them before they were accepted$",
    );
}

// holds: S787
#[test]
fn a_stream_that_a_signal_ends_by_force_is_perhaps_cut() {
    let Some(rig) = Rig::new() else { return };
    let Some((drainit, address)) = start(rig, "python3, DIR/server.py, streams, PORT", "") else {
        return;
    };
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /0 HTTP/1.1\r\n\r\n").unwrap();
    // The head and some parts.
    for _ in 0..4 {
        assert!(client.read(&mut [0; 512]).unwrap() > 0);
    }
    thread::spawn(move || while client.read(&mut [0; 512]).is_ok_and(|length| length > 0) {});
    drainit.stop().assert_line(
        "stop web: .*; requests 0 at the start .perhaps 1 more., 0 cut .perhaps 1 more.$",
    );
}

/// Whether the server at this port has accepted all connections, and has read all that clients have
/// sent. The kernel shows the length of the accept queue in place of a listener's receive queue.
fn is_all_read(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let at = format!(":{port:04X}");
    let of_server = table
        .lines()
        .filter(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&at)));
    of_server.filter_map(|line| line.split_whitespace().nth(4)).all(|it| it.ends_with(":00000000"))
}

// holds: S864
#[test]
fn a_request_says_which_requests_the_end_of_a_process_has_cut() {
    let modes = [("exit", "3 cut"), ("finish", ""), ("deaf", "0 cut; 3 reset, 3 of them before")];
    let requests = ["restart", "stop", "reload"];
    let all = modes.into_iter().flat_map(|mode| requests.map(|request| (mode, request)));
    in_parallel(all, |((mode, cost), request)| {
        let Some(rig) = Rig::new() else { return };
        let command = format!("python3, DIR/server.py, {mode}, PORT");
        let Some((drainit, address)) = start(rig, &command, "") else { return };
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        let takes = if mode == "finish" { 400 } else { 15_000 };
        let asked = format!("GET /{takes} HTTP/1.1\r\n\r\n");
        clients.iter().for_each(|mut client| client.write_all(asked.as_bytes()).unwrap());
        if mode != "deaf" {
            drainit.wait_until("all requests are read", || is_all_read(address.port()));
        }
        drainit.edit("readiness", "environment: {A: b}, readiness");
        let words = [&[request][..], if request == "reload" { &[] } else { &["web"] }].concat();
        let said = drainit.exec(&words).stdout;
        let told = said.split_once("; requests ").map_or("", |(_, told)| told);
        assert!(said.starts_with("web: "), "{mode} {request}: {said}");
        assert!(told.starts_with(cost) && told.is_empty() == cost.is_empty(), "{mode}: {said}");
        drop(clients);
        // The next request has cut nobody.
        let said = drainit.exec(&["restart", "web"]).stdout;
        assert!(said.starts_with("web: ") && !said.contains("requests"), "{mode}: {said}");
        let listens = |task: &std::path::Path| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "ends\n")
        };
        drainit.wait_until("no thread receives messages", || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", drainit.pid())).unwrap();
            !tasks.flatten().any(|task| listens(&task.path()))
        });
        drainit.stop().assert_code(0);
    });
}

/// No netlink socket (whose address has 12 bytes) can be bound, so the kernel sends no messages about
/// ended connections.
const WITHOUT_MESSAGES: [&str; 8] = ["python3", "-c", REFUSING, "49", "200", "32", "12", "EPERM"];

// holds: S788, S789
#[test]
fn without_messages_of_the_kernel_requests_are_in_flight_and_not_cut() {
    let counted = ", drain: {connections: {min: 0, time: 500ms}}";
    in_parallel([("", "stop"), (counted, "drain")], |(drain, step)| {
        let Some(rig) = Rig::new() else { return };
        let rig = rig.wrapper(&WITHOUT_MESSAGES);
        let command = "python3, DIR/server.py, exit, PORT";
        let Some((_, ended)) = play(rig, command, drain) else { return };
        ended.assert_line(&format!(
            "{step} web: .*; requests 3 at the start, 3 in flight at the stop signal$"
        ));
        let counts = &ended.report("report.json")["processes"][0][step]["requests"];
        assert_eq!((&counts["cut"], &counts["in_flight"]), (&().into(), &3.into()));
    });
}

/// Answers `GET / ` at once, and nothing else. At SIGTERM, the server waits until all clients have
/// left.
const WAITING: &str = r#"
import os, signal, socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
clients = set()
def serve(client):
    while asked := client.recv(999):
        if asked.startswith(b"GET / "):
            client.sendall(b"ok")
    client.close()
    clients.discard(client)
def wait():
    while clients:
        time.sleep(0.01)
    os._exit(0)
def stop(*_):
    print("asked to stop", flush=True)
    threading.Thread(target=wait).start()
signal.signal(signal.SIGTERM, stop)
while True:
    client = listener.accept()[0]
    clients.add(client)
    threading.Thread(target=serve, args=(client,), daemon=True).start()
"#;

// holds: S931, S932
#[test]
fn clients_that_say_goodbye_or_give_up_have_left_and_are_not_cut() {
    // On a busy machine, the server may take so long to close that a goodbye no longer looks like one.
    let mut seen = Vec::new();
    for _ in 0..9 {
        let Some(ended) = leaves() else { return };
        let requests = ended.report("report.json")["processes"][0]["stop"]["requests"].clone();
        let line = "stop web: .*; requests 1 at the start.*, 0 cut; 3 left$";
        let is_line = ended.record.line(line).is_some();
        if requests["cut"] == 0 && requests["left"] == 3 && is_line {
            return;
        }
        seen.push(requests);
    }
    panic!("{seen:?}");
}

/// Stops a server, after which two clients say goodbye, and one gives up.
fn leaves() -> Option<Ended> {
    let rig = Rig::new()?;
    rig.write("waiting.py", WAITING);
    let (drainit, address) = start(rig, "python3, DIR/waiting.py, PORT", "")?;
    let ask = |path: &str| {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        client
    };
    let answered = ["/", "/"].map(|path| {
        let mut client = ask(path);
        client.read_exact(&mut [0; 2]).unwrap();
        client
    });
    let waits = ask("/never");
    // The requests are older than many ticks of the kernel's clock.
    thread::sleep(ms(300));
    drainit.signal(Signal::SIGTERM);
    drainit.wait("stop signal", LONG, |record| record.line("asked to stop").map(drop));
    for mut client in answered {
        client.write_all(b"close_notify").unwrap();
    }
    drop(waits);
    Some(drainit.wait_exit(LONG))
}
