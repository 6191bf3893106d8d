//! Tests the control server from the side of its clients.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use crate::control::answer::Answer;
use crate::control::status::{ProcessStatus, ShutdownStatus, shutdown_of};
use crate::control::testing::CountingSupervisor;
use crate::control::*;
use crate::http;
use crate::http::{Answerer, request};
use crate::journal::state::{ContainerPhase, ProcessState};
use crate::keys::{Address, Control, ControlSocket};
use crate::os::stale_socket;
use crate::testing::temp_dir::TempDir;

/// A server on both kinds of listener. The test can change its status.
struct Rig {
    address: SocketAddr,
    socket: PathBuf,
    supervisor: CountingSupervisor,
}

impl Deref for Rig {
    type Target = CountingSupervisor;
    fn deref(&self) -> &CountingSupervisor {
        &self.supervisor
    }
}

impl Rig {
    async fn run<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(Self) -> F) {
        let dir = TempDir::new();
        let socket = dir.path("control.sock");
        let listen = Some("127.0.0.1:0".parse().unwrap());
        let path = ControlSocket::Path(socket.clone());
        let control = Control { listen, socket: path };
        let listeners = ControlListeners::bind(&control).unwrap();
        let address = listeners.tcp.as_ref().unwrap().local_addr().unwrap();
        let supervisor = CountingSupervisor::new();
        let local = LocalSet::new();
        local
            .run_until(async {
                let rig = Self { address, socket: socket.clone(), supervisor: supervisor.clone() };
                let server = spawn_local(serve_within(listeners, supervisor, limits));
                test(rig).await;
                assert!(!server.is_finished());
                server.abort();
                assert!(server.await.unwrap_err().is_cancelled());
            })
            .await;
        stale_socket::finish_removals(Duration::from_secs(10));
        assert!(!socket.exists());
    }

    async fn ask(&self, method: Method, path: &str) -> (u16, String) {
        let answer = ask_at(Address::Tcp(self.address), method.clone(), path).await;
        assert_eq!(answer, ask_socket(self, method, path).await);
        answer
    }
}

/// Sends a request, and returns the status and the body of the answer.
async fn ask_at(address: Address, method: Method, path: &str) -> (u16, String) {
    // Everything here runs in one thread, and the machine may be busy, so the limit is long.
    let limit = Duration::from_secs(60);
    let answer = request((&address, Answerer::Anybody), method, path, limit, 1 << 20);
    let http::Response { status, body } = answer.await.unwrap();
    (status.as_u16(), String::from_utf8(body).unwrap())
}

async fn ask_socket(rig: &Rig, method: Method, path: &str) -> (u16, String) {
    ask_at(Address::Unix(rig.socket.clone()), method, path).await
}

// holds: C90, C92, C95, C100
#[tokio::test]
async fn each_path_answers_on_both_listeners() {
    Rig::run(LIMITS, async |rig: Rig| {
        assert_eq!(rig.ask(Method::GET, "/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(rig.ask(Method::GET, "/readyz?verbose").await, (200, "ready\n".to_owned()));
        assert_eq!(rig.ask(Method::HEAD, "/readyz").await, (200, String::new()));
        let (code, body) = rig.ask(Method::GET, "/status").await;
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((code, &json["processes"][1]["name"]), (200, &"router".into()));
        let (code, body) = rig.ask(Method::GET, "/metrics").await;
        assert!(code == 200 && body.contains("\ndrainit_ready 1\n"), "{body}");
        for path in ["/", "/livez/", "/../status"] {
            assert_eq!(rig.ask(Method::GET, path).await.0, 404, "{path}");
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(rig.ask(method, "/status").await.0, 405);
        }
    })
    .await;
}

// holds: S250
#[tokio::test]
async fn many_clients_take_a_bounded_share_of_the_thread() {
    const CLIENTS: u32 = 40;
    Rig::run(LIMITS, async |rig: Rig| {
        let took = Duration::from_millis(5);
        rig.takes.set(took);
        let began = Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        for path in ["/metrics", "/readyz"].into_iter().cycle().take(CLIENTS as usize) {
            clients.spawn_local(ask_at(Address::Tcp(rig.address), Method::GET, path));
        }
        while let Some(answer) = clients.join_next().await {
            assert_eq!(answer.unwrap().0, 200);
        }
        let asked = rig.asked.get();
        // The requests that have waited get the same snapshot.
        assert!(asked <= CLIENTS / 4, "{asked} snapshots");
        // The pauses between the snapshots leave three quarters of the time to other work.
        assert!(began.elapsed() >= took * (4 * asked - 3), "{:?}", began.elapsed());
    })
    .await;
}

/// Reads until the server closes the connection. Returns the number of bytes, even if the
/// connection was reset.
async fn drain(stream: &mut (impl AsyncRead + Unpin)) -> usize {
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    received.len()
}

// holds: C101
#[tokio::test]
async fn unfinished_request_is_cut_off() {
    let limit = Duration::from_millis(200);
    let limits = Limits { head: limit, whole: limit * 20 };
    Rig::run(limits, async |rig: Rig| {
        let begin = Instant::now();
        let mut silent = TcpStream::connect(rig.address).await.unwrap();
        let mut half = UnixStream::connect(&rig.socket).await.unwrap();
        half.write_all(b"GET /status HTTP/1.1\r\nhost:").await.unwrap();
        assert_eq!((drain(&mut silent).await, drain(&mut half).await), (0, 0));
        assert!((limit..limit * 5).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    })
    .await;
}

// holds: C101
#[tokio::test]
async fn unread_answer_is_cut_off_after_the_longer_limit() {
    let limit = Duration::from_millis(200);
    for (whole, expected) in
        [(limit, 1..5_000_000), (Duration::from_secs(60), 10_000_000..usize::MAX)]
    {
        Rig::run(Limits { head: limit / 2, whole }, async |rig: Rig| {
            // The answer is longer than the buffers of the kernel between client and server.
            rig.status.borrow_mut().processes[0].message = Some("x".repeat(10_000_000));
            let mut lazy = UnixStream::connect(&rig.socket).await.unwrap();
            lazy.write_all(b"GET /status HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            sleep(limit * 3).await;
            let received = drain(&mut lazy).await;
            assert!(expected.contains(&received), "{received}");
            rig.status.borrow_mut().processes.clear();
            assert_eq!(rig.ask(Method::GET, "/livez").await.0, 200);
        })
        .await;
    }
}

#[tokio::test]
async fn bodies_and_endless_heads_are_not_read() {
    Rig::run(LIMITS, async |rig: Rig| {
        for head in [
            "POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n",
            "GET /livez HTTP/1.1\r\nx: ",
        ] {
            let begin = Instant::now();
            let mut client = UnixStream::connect(&rig.socket).await.unwrap();
            client.write_all(head.as_bytes()).await.unwrap();
            while client.write_all(&[b'x'; 4096]).await.is_ok() {
                assert!(begin.elapsed() < Duration::from_secs(2), "{head}");
            }
        }
    })
    .await;
}

/// Sends raw text over TCP and returns the status of the answer.
async fn status_of(rig: &Rig, request: &str) -> String {
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

// holds: C107
#[tokio::test]
async fn requests_over_tcp_are_refused() {
    Rig::run(LIMITS, async |rig: Rig| {
        for head in [
            "POST /drain HTTP/1.1\r\nHost: localhost:9902",
            "POST http://localhost/drain HTTP/1.1\r\nHost: localhost",
            "POST /drain HTTP/1.0",
            "GET /v1/status HTTP/1.0",
            "POST /v1/stop?process=router HTTP/1.0",
            "POST /v1/kill?signal=9&process=router HTTP/1.0",
            "GET /v1/nothing HTTP/1.0",
        ] {
            assert_eq!(status_of(&rig, &format!("{head}\r\n\r\n")).await, "403", "{head}");
        }
        assert_eq!(rig.drains.get(), 0);
        assert!(rig.signals.borrow().is_empty() && rig.requests.borrow().is_empty());
        assert_eq!(rig.shutdowns.get(), 0);
    })
    .await;
}

// holds: C117
#[tokio::test]
async fn answer_to_a_drain_says_what_is_left_out_and_when_an_earlier_request_began() {
    Rig::run(LIMITS, async |rig: Rig| {
        let notes = async |rig: &Rig| {
            let (code, said) = ask_socket(rig, Method::POST, "/drain").await;
            assert_eq!(code, 202, "{said}");
            said.split_once('\n').unwrap().1.to_owned()
        };
        assert_eq!(notes(&rig).await, "");
        {
            let mut status = rig.status.borrow_mut();
            status.processes.iter_mut().for_each(|process| process.inner.has_drain = true);
            status.processes[0].state = ProcessState::Starting;
            status.processes[0].message = Some("connection refused".to_owned());
        }
        let undrained =
            "policy-engine: not drained, because it is starting: connection refused\n".to_owned();
        assert_eq!(notes(&rig).await, undrained);
        for (is_held, phase, says) in [
            (true, ContainerPhase::Draining, "the drain was requested 12s ago"),
            (true, ContainerPhase::Drained, "the drain was requested 12s ago, and is over"),
            (false, ContainerPhase::Draining, "the shutdown began 12s ago, and has its own drain"),
        ] {
            let shutdown = shutdown_of(Duration::from_secs(12), None);
            rig.status.borrow_mut().phase = phase;
            rig.status.borrow_mut().shutdown = Some(ShutdownStatus { is_held, ..shutdown });
            assert_eq!(notes(&rig).await, format!("{says}\n{undrained}"));
        }
        rig.status.borrow_mut().phase = ContainerPhase::Starting;
        rig.status.borrow_mut().shutdown = None;
        rig.status.borrow_mut().processes[0].inner.is_missed = true;
        let refused = "not everything is ready yet, so no process is drained; not ready: \
            policy-engine (starting: connection refused)\n";
        let answer = ask_socket(&rig, Method::POST, "/drain").await;
        assert_eq!(answer, (409, refused.to_owned()));
    })
    .await;
}

// holds: C102
#[tokio::test]
async fn oldest_connection_without_request_is_closed_at_the_bound() {
    Rig::run(Limits { head: Duration::from_secs(20), ..LIMITS }, async |rig: Rig| {
        rig.status.borrow_mut().processes[0].message = Some("x".repeat(10_000_000));
        let mut held = Vec::new();
        for _ in 0..max_connections() {
            held.push(UnixStream::connect(&rig.socket).await.unwrap());
            if let [asking] = &mut held[..] {
                asking.write_all(b"GET /status HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
                asking.readable().await.unwrap();
            }
        }
        assert_eq!(rig.ask(Method::GET, "/livez").await.0, 200);
        assert_eq!(drain(&mut held[1]).await, 0);
        held[2].write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        assert_eq!(held[2].try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(drain(&mut held[0]).await > 10_000_000);
    })
    .await;
}

#[tokio::test]
async fn bad_requests_of_operators_are_explained() {
    Rig::run(LIMITS, async |rig: Rig| {
        for (head, code, says) in [
            ("GET /v1/nothing", 404, "speaks /v1/ and does not know /v1/nothing"),
            ("GET /v2/status", 404, "speaks /v1/ and does not know /v2/status"),
            ("POST /v1/status", 405, "GET"),
            ("GET /v1/drain", 200, "router: draining for 5s"),
            ("GET /v1/stop?process=router", 405, "POST"),
            ("GET /v1/shutdown", 405, "POST"),
            ("POST /v1/shutdown?wait", 400, "unknown parameter: \"wait\""),
            ("POST /v1/stop", 400, "name the processes to stop"),
            ("POST /v1/stop?process=routr", 400, "no process `routr`; did you mean `router`?"),
            ("GET /v1/status?process=x", 400, "there are `policy-engine`, `router` and `migrate`"),
            ("GET /v1/status?colour=x", 400, "unknown parameter: \"colour\""),
            ("POST /v1/kill?process=router", 400, "name a signal"),
            ("POST /v1/kill?signal=65&process=router", 400, "not a signal: \"65\""),
            ("POST /v1/kill?signal=HUP", 400, "name the processes"),
            // `migrate` does not run, so this request fails. The signal must not reach `router`
            // either.
            (
                "POST /v1/kill?signal=HUP&process=router&process=migrate",
                409,
                "migrate is not running: it is done",
            ),
        ] {
            let (method, path) = head.split_once(' ').unwrap();
            let (got, said) = ask_socket(&rig, method.parse().unwrap(), path).await;
            assert_eq!(got, code, "{head}: {said}");
            assert!(said.contains(says), "{head}: {said}");
        }
        assert!(rig.signals.borrow().is_empty() && rig.requests.borrow().is_empty());
        let (code, _) = ask_socket(&rig, Method::POST, "/v1/kill?signal=HUP&process=router").await;
        assert_eq!((code, &rig.signals.borrow()[..]), (200, &[(ProcessId(1), Signal::HUP)][..]));
        let lines = Rc::new(vec!["a last line".to_owned()]);
        for process in &mut rig.status.borrow_mut().processes {
            process.inner.tally.last_lines = Rc::clone(&lines);
        }
        let both = "/v1/status?process=router&process=migrate";
        let (code, status) = ask_socket(&rig, Method::GET, both).await;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!((code, &status["pid"]), (200, &1.into()));
        // Only `/v1/status` has last lines, because everybody may read `/status`. `/v1/status` has
        // them only for named processes that are not ready.
        assert_eq!(status["processes"][2]["last_lines"][0], "a last line");
        let has_lines = |place: usize| status["processes"][place].get("last_lines").is_some();
        assert!(!has_lines(0) && !has_lines(1));
        assert!(!rig.ask(Method::GET, "/status?process=migrate").await.1.contains("last_lines"));
    })
    .await;
}

#[tokio::test]
async fn restart_names_running_followers() {
    Rig::run(LIMITS, async |rig: Rig| {
        {
            let router = rig.status.borrow().processes[1].clone();
            let mut last = ProcessStatus { name: "last".to_owned(), ..router };
            last.inner.slot = ProcessId(3);
            rig.status.borrow_mut().processes.push(last);
            let follows = [("router", "policy-engine"), ("last", "router")];
            let follows = follows.map(|(name, on)| (name.to_owned(), on.to_owned()));
            rig.followers.borrow_mut().extend(follows);
        }
        let answering = async {
            while rig.requests.borrow().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
            rig.requests.borrow_mut().pop().unwrap().2.send(Ok(String::new())).unwrap();
        };
        let path = "/v1/restart?process=policy-engine";
        let (answer, ()) = tokio::join!(ask_socket(&rig, Method::POST, path), answering);
        let lines = [
            "policy-engine: ready, as before",
            "router: follows policy-engine (`restart: true`)",
            "last: follows router (`restart: true`)",
        ];
        assert_eq!(answer_of(answer).lines, lines);
    })
    .await;
}

fn answer_of((code, body): (u16, String)) -> Answer {
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn operation_outlasts_limit_and_client() {
    let limits = Limits { whole: LIMITS.head, ..LIMITS };
    Rig::run(limits, async |rig: Rig| {
        let path = "/v1/stop?process=router&process=migrate";
        let asking = ask_socket(&rig, Method::POST, path);
        let answering = async {
            while rig.requests.borrow().len() < 2 {
                sleep(Duration::from_millis(5)).await;
            }
            sleep(limits.whole + Duration::from_millis(300)).await;
            let mut requests = rig.requests.borrow_mut();
            let (name, operation, second) = requests.pop().unwrap();
            assert_eq!((name.as_str(), operation), ("migrate", Operation::Stop));
            second.send(Err("it hangs".to_owned())).unwrap();
            requests.pop().unwrap().2.send(Ok(String::new())).unwrap();
        };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer_of(answer).error.as_deref(), Some("it hangs"));

        // If the client goes away, its request is still carried out.
        let mut client = UnixStream::connect(&rig.socket).await.unwrap();
        let head = "POST /v1/start?process=router HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        while rig.requests.borrow().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        drop(client);
        sleep(Duration::from_millis(50)).await;
        assert_eq!(rig.requests.borrow()[0].1, Operation::Start);
    })
    .await;
}

#[tokio::test]
async fn waiting_clients_do_not_block_others() {
    Rig::run(LIMITS, async |rig: Rig| {
        let bound = max_connections() / 2;
        for _ in 0..2 {
            let mut held = Vec::new();
            for number in 0..max_connections() {
                let mut client = UnixStream::connect(&rig.socket).await.unwrap();
                let head = "POST /v1/restart?process=router HTTP/1.1\r\nHost: a\r\n\r\n";
                client.write_all(head.as_bytes()).await.unwrap();
                if number < bound {
                    while rig.requests.borrow().len() <= number {
                        sleep(Duration::from_millis(1)).await;
                    }
                } else {
                    let mut answer = String::new();
                    client.read_to_string(&mut answer).await.unwrap();
                    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
                }
                held.push(client);
            }
            // The server closes idle clients, but not the clients that wait for an operation.
            let mut idle = Vec::new();
            for _ in 0..2 * max_connections() {
                idle.push(UnixStream::connect(&rig.socket).await.unwrap());
            }
            assert_eq!(ask_socket(&rig, Method::GET, "/livez").await.0, 200);
            for (_, _, answer) in rig.requests.borrow_mut().drain(..) {
                answer.send(Ok("a warning\n".to_owned())).unwrap();
            }
            for mut client in held.into_iter().take(bound) {
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                assert!(answer.contains("a warning"), "{answer}");
            }
        }
    })
    .await;
}
