//! Tests the drain that counts connections in the kernel, with real, unchanged servers.

use std::io::Write as _;
use std::net::TcpStream;

use crate::support::rig::REFUSING;
use crate::support::*;

const APP: &str = include_str!("../fixtures/slow_app.py");

const NODE: &str = r#"
require("http").createServer((request, response) => {
  let parts = Number(request.url.slice(1)) / 500;
  response.setHeader("Content-Length", parts + 6);
  response.flushHeaders();
  const send = () => parts-- > 0
    ? setTimeout(() => (response.write("."), send()), 500) : response.end("\r\n\r\nok");
  send();
}).listen(Number(process.argv[2]), "127.0.0.1");
"#;

/// Files of the bench of servers.
const FILES: [&str; 5] = ["nginx.conf", "haproxy.cfg", "front.conf", "php-fpm.conf", "index.php"];

const PYTHON: &str = "python3, DIR/app.py, PORT";
/// The commands of servers. The last two servers are proxies in front of the app.
pub(crate) const SERVERS: [&str; 6] = [
    PYTHON,
    "uvicorn, --app-dir, DIR, --port, PORT, 'app:asgi'",
    "gunicorn, --chdir, DIR, -k, gthread, -w, 2, --threads, 32, --keep-alive, 75, -b, '127.0.0.1:PORT', 'app:wsgi'",
    "node, DIR/server.js, PORT",
    "nginx, -e, stderr, -p, DIR, -c, DIR/nginx.conf",
    "haproxy, -db, -f, DIR/haproxy.cfg",
];

/// Starts a server with this drain, and waits until it is ready.
fn start(rig: Option<Rig>, command: &str, drain: &str) -> Option<(Running, SocketAddr)> {
    let keys = format!("drain: {drain}");
    let container = "shutdown: {grace_period: 40s}\nenv: {PARTS: 'yes'}";
    start_with(rig, container, app_of(command), command, &keys)
}

/// The app behind a server, which only the last two servers have.
pub(crate) fn app_of(command: &str) -> &'static str {
    let app = "app: {command: [python3, DIR/app.py, BEHIND], readiness: {tcp: '127.0.0.1:BEHIND'}}";
    if SERVERS[4..].contains(&command) { app } else { "" }
}

/// Starts a server with these keys, after the lines of the container, and another process, if there
/// is one. The server depends on the process `app`.
pub(crate) fn start_with(
    rig: Option<Rig>,
    container: &str,
    other: &str,
    command: &str,
    keys: &str,
) -> Option<(Running, SocketAddr)> {
    let program = |rig: &Rig| rig.fill(command.split(',').next().unwrap());
    let rig = rig.filter(|rig| is_installed(&program(rig)))?;
    let (address, behind) = (free_address(), free_address());
    let fill = |text: &str| {
        let text = text.replace("PORT", &address.port().to_string());
        text.replace("BEHIND", &behind.port().to_string())
    };
    rig.write("app.py", APP);
    rig.write("server.js", NODE);
    for name in FILES {
        let text = fs::read_to_string(checkout().join("benches/servers/files").join(name)).unwrap();
        // In the bench, PHP counts the seconds of a request, and here its milliseconds.
        rig.write(name, rig.fill(&fill(&text.replace("1e6", "1e3"))));
    }
    let depends_on = if other.starts_with("app:") { "app" } else { "" };
    let drainit = rig.start(&fill(&format!(
        "{container}\nprocesses:\n  {other}\n  \
         web: {{command: [{command}], readiness: {{http: 'http://127.0.0.1:PORT/0', timeout: 60s}}, \
         {keys}, depends_on: [{depends_on}]}}",
    )));
    drainit.wait("readiness", LONG * 4, |record| record.line(said::ALL_READY).map(drop));
    Some((drainit, address))
}

/// Makes connections that have had an answer and stay open.
fn idle(address: SocketAddr, count: usize) -> Vec<Client> {
    (0..count).map(|_| Client::connected(address)).collect()
}

/// A client that has had an answer in an earlier tick of the kernel's clock, which ticks at least
/// every 10 ms. A request in the same tick as the previous answer would look answered.
fn in_next_tick(address: SocketAddr) -> Client {
    let mut client = Client::new(address);
    client.request(0);
    thread::sleep(ms(30));
    client
}

// holds: C810, S303, S430
#[test]
fn any_server_is_drained_until_the_last_answer_and_not_longer() {
    in_parallel(SERVERS, |server| {
        let drain = "{connections: {min: 1s, time: 30s, idle: 2s}}";
        let Some((drainit, address)) = start(Rig::new(), server, drain) else { return };
        let _idle = idle(address, 8);
        let slow = [3000, 6000].map(|millis| in_next_tick(address).ask(millis));
        let t0 = now();
        let ended = drainit.stop();
        let over: Vec<_> = slow.into_iter().map(|slow| slow.join().unwrap()).collect();
        assert!(over.iter().all(|it| it.went.is_answered()), "{server} {over:?} {}", ended.record);
        let line = ended.record.line("web: drain over after .*: no request in flight").unwrap();
        // After the last byte of an answer, the drain waits for `idle`: a stream may continue.
        let last = over.iter().map(|request| request.over).max().unwrap() + ms(2000);
        assert!(last > t0 + ms(7000), "{server}");
        let late = line.at.saturating_sub(last);
        assert!(late < Duration::from_millis(1500), "{server} {late:?} {}", ended.record);
        ended.assert_line(
            "drain web: .*connections 10 at the start.*; requests [0-9]+ at the start .perhaps [0-9]+ more., 0 cut( .perhaps 8 more.)?$",
        );
        // The drain has counted the connections, so the stop does not count them.
        ended.assert_no_line("stop web: .*connections");
    });
}

// holds: S363, S472, S505
#[test]
fn counts_before_the_stop_are_in_the_status_and_ends_in_the_report() {
    let Some(rig) = Rig::new() else { return };
    // The server answers two of the three requests after SIGTERM, and exits.
    rig.write(
        "graceful.py",
        "import os, signal, sys, threading, time\n\
         def stop(*_): threading.Timer(3, os._exit, [0]).start()\n\
         signal.signal(signal.SIGTERM, stop)\n\
         exec(open(sys.argv[1]).read().replace('__main__', '__none__'))\n\
         count = 0\n\
         def sleep(seconds):\n\
         \x20   global count\n\
         \x20   count += seconds > 1\n\
         \x20   real(2 if 0 < count < 3 else seconds)\n\
         real, time.sleep = time.sleep, sleep\n\
         http.server.ThreadingHTTPServer.daemon_threads = True\n\
         http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[2])), App).serve_forever()\n",
    );
    let (report, term) = ("shutdown: {report: DIR/report.json}", "stop_signal: TERM");
    let started =
        start_with(Some(rig), report, "", "python3, DIR/graceful.py, DIR/app.py, PORT", term);
    let Some((drainit, address)) = started else { return };
    let mut clients = idle(address, 8);
    thread::sleep(ms(30));
    for client in &mut clients[..3] {
        client.send(5000).unwrap();
    }
    thread::sleep(ms(100));
    drainit.signal(Signal::SIGTERM);
    let counts = serde_json::json!({"connections": 8, "requests": 8, "unsure": 5});
    drainit.wait_until("counted", || drainit.processes(&["web"])[0]["stop"] == counts);
    drainit.exec(&["status"]).assert(0, "8 connections, 3 requests (perhaps 5 more)");
    let ended = drainit.wait_exit(LONG);
    ended.assert_line(
        "stop web: .*exited with code 0; connections 8 at the start, 8 when last seen .* before \
         the end; requests 3 at the start .perhaps 5 more., 1 cut .perhaps 5 more.$",
    );
    let stop = &ended.report("report.json")["processes"][0]["stop"];
    assert_eq!(stop["connections"], serde_json::json!({"start": 8, "end": 8, "new": null}));
    assert_eq!((&stop["requests"]["start"], &stop["requests"]["cut"]), (&3.into(), &1.into()));
    assert_eq!(
        (&stop["requests"]["start_unsure"], &stop["requests"]["completed"]),
        (&5.into(), &().into())
    );
}

/// Stops drainit during a request. Asserts that the request is answered, and how the drain ended.
#[track_caller]
fn answers_one(drainit: Running, address: SocketAddr, why: &str) -> Ended {
    let slow = in_next_tick(address).ask(2000);
    let ended = drainit.stop();
    let went = slow.join().unwrap().went;
    assert_eq!(went, STAYS, "{}", ended.record);
    ended.assert_line(&format!("web: drain over after .*: {why}"));
    ended
}

// holds: C811
#[test]
fn listeners_of_another_user_are_found_without_the_capability_to_trace() {
    let drain = "{connections: {min: 0, time: 15s, idle: 3s}}, user: '65534:65534'";
    let Some(rig) = Rig::new() else { return };
    let rig = rig.readable_by_everybody().wrapper(&["setpriv", "--bounding-set", "-sys_ptrace"]);
    let Some((drainit, address)) = start(Some(rig), PYTHON, drain) else { return };
    answers_one(drainit, address, "no request in flight");
}

#[test]
fn connections_are_counted_without_privileges() {
    let Some(rig) = Rig::new() else { return };
    let drain = "{connections: {min: 0, time: 15s, idle: 3s}}";
    let rig = rig.without_privileges();
    let Some((drainit, address)) = start(Some(rig), PYTHON, drain) else { return };
    answers_one(drainit, address, "no request in flight");
}

// holds: S471
#[test]
fn without_a_view_of_the_descriptors_every_listener_on_the_ports_counts() {
    // Like a program with file capabilities, this server hides its descriptors from its own user.
    let hiding = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n";
    let start = |drain| {
        let rig = Rig::new()?.without_privileges();
        rig.write("hides.py", format!("{hiding}{APP}"));
        start(Some(rig), "python3, DIR/hides.py, PORT", drain)
    };
    let drain = "{connections: {ports: [PORT], min: 0, time: 15s, idle: 3s}}";
    let Some((drainit, address)) = start(drain) else { return };
    drainit.wait_for_line("web: connections to other processes on its ports hold its drain, too");
    answers_one(drainit, address, "no request in flight");
    let Some((drainit, _)) = start("{connections: {min: 0, time: 1s}}") else { return };
    drainit.wait_for_line("web: its drain will last until `time`: .* so write them as `ports`");
    drainit.stop().assert_line("drain web: .*connections unknown");
    // holds: S865
    let drain = "{exec: {command: ['true'], min: 0, time: 1s}}";
    let Some((drainit, _)) = start(drain) else { return };
    drainit.stop().assert_line("stop web: .*connections unknown");
}

// holds: S305, S331
#[test]
fn connections_that_are_unknown_are_waited_for_until_time() {
    let config =
        "processes: {web: {command: [CHILD, web], drain: {connections: {min: 0, time: 2s}}}}";
    let Some(drainit) = Rig::ready(config) else { return };
    let ended = drainit.stop();
    ended
        .assert_stopped_within(ms(2000)..ms(6000))
        // The process has no `readiness`.
        .assert_no_line("its drain will last until `time`")
        .assert_line("web: its connections are unknown: nobody listens on its TCP ports")
        .assert_line("drain web: .*connections unknown");
    // holds: C794
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(
        "processes: {web: {command: [CHILD, web, unix=DIR/web], readiness: {unix: DIR/web},
         drain: {connections: {min: 0, time: 1s}}}}",
    );
    drainit.wait_for_line("web: its drain will last until `time`: nobody listens .* in front of");
    let _client = std::os::unix::net::UnixStream::connect(drainit.path("web")).unwrap();
    drainit.stop().assert_line("drain web: .*connections unknown");
    // holds: S433
    let Some(rig) = Rig::new() else { return };
    let drain = "{exec: {command: ['true'], min: 0, time: 9s, connections: {}}}";
    let config = format!("processes: {{web: {{command: [CHILD, web], drain: {drain}}}}}");
    rig.start_ready(&config).stop().assert_line("web: drain over after .*: complete");
}

/// No `NETLINK_SOCK_DIAG` socket can be opened, as in gVisor.
const WITHOUT_NETLINK: [&str; 8] =
    ["python3", "-c", REFUSING, "41", "198", "16", "16", "EPROTONOSUPPORT"];

// holds: S305, S433
#[test]
fn without_a_list_of_the_kernel_a_drain_ends_as_without_counts() {
    let drains = [
        ("{connections: {min: 0, time: 3s}}", "its `time` of 3s is over"),
        ("{exec: {command: [sleep, '1'], min: 0, time: 30s, connections: {}}}", "complete"),
        ("{signal: {signal: USR1, min: 0, time: 30s, connections: {}}}", "the process has ended"),
    ];
    in_parallel(drains, |(drain, why)| {
        let Some(rig) = Rig::new() else { return };
        let rig = rig.wrapper(&WITHOUT_NETLINK);
        let Some((drainit, _)) = start(Some(rig), PYTHON, drain) else { return };
        drainit.wait_for_line("web: its (drain|connections) .*: the kernel does not list them");
        drainit.stop().assert_line(&format!("web: drain over after .*: {why}"));
    });
}

// holds: S432
#[test]
fn the_request_that_begins_a_drain_does_not_count() {
    let drain = "{http: {url: 'http://127.0.0.1:PORT/9000', method: GET, min: 1s, time: 20s, \
                 connections: {idle: 300ms}}}";
    let Some((drainit, _)) = start(Rig::new(), PYTHON, drain) else { return };
    let ended = drainit.stop();
    ended
        .assert_stopped_within(ms(1000)..ms(7000))
        .assert_line("web: drain over after .*: no request in flight")
        .assert_line("drain web: .*; connections [01] at the start, 0 (at the end|when last seen .*); requests 0 at the start, 0 ");
}

// holds: C816, S433
#[test]
fn the_count_ends_a_drain_that_a_command_begins_even_if_the_command_fails() {
    let drain = "{exec: {command: [sh, -c, 'touch DIR/draining; exit 1'], min: 0, time: 15s, \
                 connections: {idle: 3s}}}";
    let Some((drainit, address)) = start(Rig::new(), PYTHON, drain) else { return };
    let ended = answers_one(drainit, address, "no request in flight");
    assert!(ended.path("draining").exists());
}

// holds: S304
#[test]
fn a_request_that_comes_while_a_dependent_stops_is_waited_for() {
    let slow = "slow:
            command: [sh, -c, 'trap \"sleep 2; exit 0\" TERM; echo up; while :; do sleep 0.1; done']
            depends_on: [web]
            readiness: {log: '^up$'}";
    let drain = "drain: {connections: {min: 0, time: 20s, idle: 200ms}}";
    let started = start_with(Rig::new(), "shutdown: {grace_period: 40s}", slow, PYTHON, drain);
    let Some((drainit, address)) = started else { return };
    let client = in_next_tick(address);
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line("slow: sending SIGTERM");
    let receiving = client.ask(4000);
    let ended = drainit.wait_exit(LONG);
    let went = receiving.join().unwrap().went;
    assert_eq!(went, STAYS, "{}", ended.record);
    ended.assert_line("web: in use again, 1 request still in flight");
}

// holds: S506
#[test]
fn a_request_that_comes_long_after_a_requested_drain_is_waited_for() {
    let drain = "{connections: {min: 0, time: 3s, idle: 1s}}";
    let Some((drainit, address)) = start(Rig::new(), PYTHON, drain) else { return };
    let began = now();
    drainit.exec(&["drain"]).assert(0, "no request in flight");
    drainit.wait_until("later than the time of the drain", || now() > began + ms(3500));
    answers_one(drainit, address, "no request in flight").assert_line(
        "web: in use again, (perhaps )?1 request still in flight; waiting for at most (2[.]9.*|3)s",
    );
}

// holds: C812
#[test]
fn open_connections_are_waited_for_if_the_config_says_so() {
    let drain = "{connections: {until: connections, min: 0, time: 20s}}";
    let Some((drainit, address)) = start(Rig::new(), PYTHON, drain) else { return };
    let clients = idle(address, 3);
    let closing = thread::spawn(move || {
        thread::sleep(ms(1500));
        drop(clients);
        now()
    });
    let ended = drainit.stop();
    let closed = closing.join().unwrap();
    let over = ended.record.line("web: drain over after .*: no connection left").unwrap().at;
    assert!(over >= closed && over < closed + ms(3000), "{over:?} {closed:?}\n{}", ended.record);
}

// holds: S117
#[test]
fn a_server_that_a_command_makes_quit_is_drained() {
    let Some(rig) = Rig::new() else { return };
    let config = "
        processes:
          other: {command: [CHILD, other]}
          web:
            command: [sh, -c, 'echo $$$$ >DIR/pid; exec CHILD web on=USR1:exit:0 tcp=ADDRESS']
            readiness: {tcp: 'ADDRESS'}
            drain: {exec: {command: [sh, -c, 'kill -USR1 $(cat DIR/pid)'], min: 0s, connections: {}}}
        ";
    let drainit = rig.start_ready(&config.replace("ADDRESS", &free_address().to_string()));
    drainit.exec(&["drain"]).assert(0, "web: drain over");
    drainit.wait_for_line("web: exited with code 0");
    drainit.stop().assert_code(0).assert_no_line("without being asked|ended before it was drained");
}

/// Serves as APP in a daemon with another session and another parent. The socket is descriptor 3,
/// or a new one on the port of the argument.
const DAEMON: &str = r#"
import http.server, os, signal, socket, sys
from app import App
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App, bind_and_activate=False)
server.socket.close()
if len(sys.argv) < 2:
    server.socket = socket.socket(fileno=3)
else:
    server.socket = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        server.serve_forever()
    os._exit(0)
server.socket.close()
signal.pause()
"#;

// holds: S987
#[test]
fn connections_that_are_opened_late_in_a_drain_are_named() {
    let drain = "{connections: {min: 3s, time: 20s, idle: 200ms}}";
    for (until, is_late) in [(1500, false), (60_000, true)] {
        let Some((drainit, address)) = start(Rig::new(), PYTHON, drain) else { return };
        let began = now();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let is_over = &is_over;
        let ended = thread::scope(|scope| {
            for client in 0..4 {
                scope.spawn(move || {
                    thread::sleep(ms(client * 50));
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed)
                        && now() < began + ms(until)
                    {
                        // Each request takes 150 ms and a connection of its own.
                        let _ = crate::support::http::get(address, "/150");
                    }
                });
            }
            drainit.signal(Signal::SIGTERM);
            let draining = drainit.wait_for_line("web: draining").at;
            drainit.wait_until("late", || now() > draining + ms(4500));
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            drainit.wait_exit(LONG)
        });
        let line = r"web: \d+ connections were opened .*s to .*s after its drain began: who sends them has not noticed it; raise `min`$";
        match is_late {
            true => ended.assert_line(line),
            false => ended.assert_no_line("connections were opened"),
        };
    }
}

// holds: S582
#[test]
fn requests_to_a_daemon_outside_the_tree_of_the_process_are_waited_for() {
    let given = "listen: ['tcp://127.0.0.1:PORT']";
    let drain = "drain: {connections: {min: 0s, time: 20s, idle: 3s}}";
    let with_ports = drain.replace("min", "ports: [PORT], min");
    in_parallel(
        [("", format!("{given}, {drain}")), (", PORT", with_ports), ("", given.to_owned())],
        |(port, keys)| {
            let Some(rig) = Rig::new() else { return };
            rig.write("daemon.py", DAEMON);
            let command = format!("python3, DIR/daemon.py{port}");
            let Some((drainit, address)) = start_with(Some(rig), "", "", &command, &keys) else {
                return;
            };
            let slow = Client::new(address).ask(2000);
            thread::sleep(ms(200));
            let ended = drainit.stop();
            let went = slow.join().unwrap().went;
            if keys == given {
                ended.assert_line("stop web: .*; requests 1 at the start, 1 cut$");
                return;
            }
            assert_eq!(went, STAYS, "{}", ended.record);
            ended.assert_line("web: drain over after .*: no request in flight");
        },
    );
}

/// Serves on a socket of `listen`, and accepts no more after SIGUSR1.
const ACCEPTS_UNTIL_ASKED: &str = r#"
import asyncio, signal, socket
async def serve(reader, writer):
    path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
    await asyncio.sleep(int(path[1:]) / 1000)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n\r\n\r\nok")
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, sock=socket.socket(fileno=3))
    number, loop = server.sockets[0].fileno(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: loop.remove_reader(number))
    print("up", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"#;

// holds: S434
#[test]
fn short_connections_to_the_new_instance_do_not_hold_the_drain_of_the_old_instance() {
    let Some(rig) = Rig::new() else { return };
    let address = free_address();
    rig.write("server.py", ACCEPTS_UNTIL_ASKED);
    let config = "
processes:
  web:
    command: [python3, DIR/server.py]
    listen: ['tcp://ADDRESS']
    update: start-first
    readiness: {log: '^up$'}
    drain: {notify: {signal: USR1, connections: {idle: 1s}, time: 15s, min: 0s}}";
    let drainit = rig.start_ready(&config.replace("ADDRESS", &address.to_string()));
    let mut client = Client::new(address);
    client.send(1000).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = crate::support::http::get(address, "/1");
                }
            });
        }
        let answer = drainit.exec(&["restart", "web"]);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        answer.assert(0, "");
    });
    drainit.wait_for_line("web.*: drain over after .*: no request in flight");
    drainit.stop();
}

/// A server for publishers. It reads what a client has sent only once the file `read` exists, and
/// never answers.
const SINK: &str = r"
import os, socket, sys, threading, time
server = socket.create_server(('127.0.0.1', int(sys.argv[1])))
def serve(client):
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.05)
    while client.recv(4096):
        pass
while True:
    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
";

// holds: S984, C940
#[test]
fn a_drain_of_publishers_ends_when_the_server_has_read_everything() {
    let Some(rig) = Rig::new() else { return };
    rig.write("sink.py", SINK);
    let port = free_address();
    let config = format!(
        "
        shutdown: {{grace_period: 40s}}
        processes:
          sink:
            command: [python3, DIR/sink.py, '{0}', DIR/read]
            depends_on: []
            readiness: {{tcp: '127.0.0.1:{0}'}}
            drain: {{connections: {{until: read, min: 0s, time: 30s}}}}
        ",
        port.port()
    );
    let drainit = rig.start_ready(&config);
    let mut publisher = TcpStream::connect(port).unwrap();
    publisher.write_all(b"a message that nobody answers").unwrap();
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line("sink: draining");
    // The message is not read yet.
    drainit.wait_until("an unread message in the status", || {
        drainit.processes(&["sink"])[0]["drain"]["requests"] == 1
    });
    drainit.touch("read");
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line(
        "  drain sink: .*no request in flight; connections 1 at the start, 1 at the end; .* 0 cut$",
    );
}
