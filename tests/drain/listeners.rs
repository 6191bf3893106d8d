//! Tests that a drain that counts connections follows its server: to other listeners, and to another
//! main process.

use crate::support::{Client, LONG, Rig, Running, STAYS, Signal, free_address, get, ms};

/// A server that answers `GET /N` after N milliseconds. At `GET /7`, the server moves to its second
/// port. At `GET /9`, a child that listens on the first port, too, becomes the main process.
const MOVING: &str = r#"
import http.server, os, socket, sys, threading, time
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/7":
            listen(sys.argv[2])
            self.server.socket.close()
        if self.path == "/9" and os.fork() == 0:
            os.closerange(3, 1000)
            listen(sys.argv[1])
            say(f"MAINPID={os.getpid()}")
            time.sleep(60)
        time.sleep(int(self.path[1:]) / 1000)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()
def listen(port):
    server = Server(("127.0.0.1", int(port)), App)
    threading.Thread(target=server.serve_forever).start()
def say(message):
    to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    to.sendto(message.encode(), os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
listen(sys.argv[1])
say("READY=1")
"#;

/// Starts the server with a drain that counts on these ports, and waits until drainit has given
/// this number of warnings about the drain. Returns a client of each port.
fn start(ports: &str, warnings: usize) -> Option<(Running, [Client; 2])> {
    let rig = Rig::new()?;
    let (control, addresses) = (free_address(), [free_address(), free_address()]);
    rig.write("moving.py", MOVING);
    let config = "
        shutdown: {grace_period: 40s}
        control: {listen: 'CONTROL'}
        processes:
          web:
            command: [python3, DIR/moving.py, 'FIRST', 'SECOND']
            readiness: {notify: true}
            drain: {connections: {ports: PORTS, min: 0, time: 20s, idle: 500ms}}
        "
    .replace("PORTS", ports)
    .replace("CONTROL", &control.to_string());
    let [first, second] = addresses.map(|address| address.port().to_string());
    let drainit = rig.start(&config.replace("FIRST", &first).replace("SECOND", &second));
    let known = format!("drainit_process_drain_warnings{{process=\"web\"}} {warnings}\n");
    drainit.wait_until(&known, || get(control, "/metrics").is_ok_and(|it| it.1.contains(&known)));
    Some((drainit, addresses.map(Client::new)))
}

// holds: S500, S501
#[test]
fn listeners_that_open_and_close_during_a_drain_count() {
    for ports in ["[]", "[FIRST, SECOND]"] {
        let Some((drainit, [first, second])) = start(ports, 0) else { return };
        let address = first.address();
        let old = first.ask(3000);
        drainit.signal(Signal::SIGTERM);
        drainit.wait_for_line("web: draining");
        assert_eq!(Client::new(address).request(7).went, STAYS);
        let new = second.ask(5000);
        let ended = drainit.wait_exit(LONG);
        let went = [old, new].map(|request| request.join().unwrap().went);
        assert_eq!(went, [STAYS; 2], "{ports} {}", ended.record);
        ended.assert_line("web: drain over after .*: no request in flight");
    }
}

// holds: S501
#[test]
fn connections_of_a_listener_that_closed_before_the_drain_count() {
    let Some((drainit, [first, second])) = start("[]", 0) else { return };
    let address = first.address();
    let old = first.ask(4000);
    assert_eq!(Client::new(address).request(7).went, STAYS);
    drop(second);
    let ended = drainit.stop();
    assert_eq!(old.join().unwrap().went, STAYS, "{}", ended.record);
}

// holds: S502
#[test]
fn connections_of_a_former_main_process_count_even_after_the_drain_began() {
    for is_draining in [false, true] {
        let Some((drainit, [first, _])) = start("[]", 0) else { return };
        let address = first.address();
        let old = first.ask(4000);
        if is_draining {
            drainit.signal(Signal::SIGTERM);
            drainit.wait_for_line("web: draining");
        }
        let mut takes_over = Client::new(address);
        takes_over.send(9).unwrap();
        drainit.wait_for_line("web: its main process is now");
        let ended = if is_draining { drainit.wait_exit(LONG) } else { drainit.stop() };
        assert_eq!(old.join().unwrap().went, STAYS, "{}", ended.record);
        ended.assert_line("web: drain over after .*: no request in flight");
    }
}

// holds: S331, S503
#[test]
fn the_warning_that_nobody_listens_is_taken_back_when_somebody_does() {
    let Some((drainit, [mut first, _])) = start("[SECOND]", 1) else { return };
    drainit.wait_for_line("web: its drain will last until `time`: nobody listens");
    let warnings = |drainit: &Running| drainit.processes(&["web"])[0]["warnings"].clone();
    assert_eq!(warnings(&drainit).as_array().map(Vec::len), Some(1));
    first.request(7);
    drainit.wait_for_line("web: listens now");
    assert_eq!(warnings(&drainit), serde_json::Value::Null);
    drainit.stop().assert_stopped_within(ms(0)..ms(6000));
}
