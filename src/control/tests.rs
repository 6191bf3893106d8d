//! Tests the control server through its clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use crate::config::{Address, Control};
use crate::control::status::{ContainerPhase, ShutdownStatus, example};
use crate::control::*;
use crate::http;
use crate::http::request;
use crate::testing::temp_dir::TempDir;

/// A stand-in for the supervisor that only counts the requests.
struct CountingSupervisor {
    status: Rc<RefCell<Status>>,
    asked: Rc<Cell<u32>>,
    drains: Rc<Cell<u32>>,
}

impl SupervisorHandle for CountingSupervisor {
    fn status(&self) -> Status {
        self.asked.set(self.asked.get() + 1);
        self.status.borrow().clone()
    }

    fn drain(&self) {
        self.drains.set(self.drains.get() + 1);
    }

    fn request(&self, _: &str, _: Operation) -> oneshot::Receiver<Result<(), String>> {
        oneshot::channel().1
    }
}

/// A server on both kinds of listener, with a status that the test can change.
struct Rig {
    address: SocketAddr,
    socket: PathBuf,
    status: Rc<RefCell<Status>>,
    /// The number of calls of `status`.
    asked: Rc<Cell<u32>>,
    drains: Rc<Cell<u32>>,
}

impl Rig {
    /// Runs a test against a server that accepts the drain on both listeners.
    async fn run<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(Self) -> F) {
        Self::run_with(limits, true, test).await;
    }

    async fn run_with<F: Future<Output = ()>>(
        limits: Limits,
        drain_over_tcp: bool,
        test: impl FnOnce(Self) -> F,
    ) {
        let dir = TempDir::new();
        let socket = dir.path("control.sock");
        let listen = Some("127.0.0.1:0".parse().unwrap());
        let control = Control { listen, socket: Some(socket.clone()), drain_over_tcp };
        let listeners = Listeners::bind(&control).unwrap();
        let address = listeners.tcp.as_ref().unwrap().local_addr().unwrap();
        let status = Rc::new(RefCell::new(example()));
        let shared = Rc::clone(&status);
        let local = LocalSet::new();
        local
            .run_until(async {
                let (asked, drains) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
                let counts = (Rc::clone(&asked), Rc::clone(&drains));
                let supervisor =
                    CountingSupervisor { status: shared, asked: counts.0, drains: counts.1 };
                let server = spawn_local(serve_within(listeners, supervisor, limits));
                test(Self { address, socket: socket.clone(), status, asked, drains }).await;
                assert!(!server.is_finished());
                server.abort();
                assert!(server.await.unwrap_err().is_cancelled());
            })
            .await;
        assert!(!socket.exists());
    }

    async fn ask(&self, method: Method, path: &str) -> (u16, String) {
        // Everything here runs in one thread, and the machine may be busy.
        let limit = Duration::from_secs(10);
        let address = Address::Tcp(self.address);
        let answer = request(&address, method.clone(), path, limit, 65536).await.unwrap();
        let address = Address::Unix(self.socket.clone());
        let same = request(&address, method, path, limit, 65536).await.unwrap();
        assert_eq!(answer, same);
        let http::Response { status, body } = answer;
        (status.as_u16(), String::from_utf8(body).unwrap())
    }
}

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

#[tokio::test]
async fn a_drain_needs_a_post() {
    Rig::run(LIMITS, async |rig: Rig| {
        for method in [Method::GET, Method::PUT] {
            assert_eq!(rig.ask(method, "/drain").await.0, 405);
        }
        assert_eq!(rig.drains.get(), 0);
        assert_eq!(rig.ask(Method::POST, "/drain").await.0, 202);
        assert_eq!(rig.drains.get(), 2, "once on each listener");
    })
    .await;
}

#[tokio::test]
async fn readyz_follows_the_status() {
    Rig::run(LIMITS, async |rig: Rig| {
        assert_eq!(rig.ask(Method::GET, "/readyz").await.0, 200);
        {
            let mut status = rig.status.borrow_mut();
            status.ready = false;
            status.phase = ContainerPhase::Draining;
            status.shutdown = Some(ShutdownStatus {
                cause: "SIGTERM".to_owned(),
                elapsed: Duration::ZERO,
                deadline_in: Duration::from_secs(28),
            });
        }
        let expected = (503, "shutting down: SIGTERM\n".to_owned());
        assert_eq!(rig.ask(Method::GET, "/readyz").await, expected);
        assert_eq!(rig.ask(Method::GET, "/livez").await.0, 200);
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

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_is_cut_off() {
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

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let limit = Duration::from_millis(200);
    Rig::run(Limits { head: limit / 2, whole: limit }, async |rig: Rig| {
        // The answer is longer than the kernel buffers between the two.
        let process = rig.status.borrow().processes[0].clone();
        rig.status.borrow_mut().processes = vec![process; 200_000];
        let mut lazy = UnixStream::connect(&rig.socket).await.unwrap();
        lazy.write_all(b"GET /status HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        sleep(limit * 3).await;
        let received = drain(&mut lazy).await;
        assert!((1..5_000_000).contains(&received), "{received}");
        rig.status.borrow_mut().processes.clear();
        assert_eq!(rig.ask(Method::GET, "/livez").await.0, 200);
    })
    .await;
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

#[tokio::test]
async fn over_tcp_a_drain_is_refused_unless_the_config_says_otherwise() {
    Rig::run_with(LIMITS, false, async |rig: Rig| {
        let limit = Duration::from_secs(2);
        let tcp = Address::Tcp(rig.address);
        let refused = request(&tcp, Method::POST, "/drain", limit, 65536).await.unwrap();
        let said = String::from_utf8(refused.body).unwrap();
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(said.contains("control.socket") && said.contains("drain_over_tcp: true"), "{said}");
        assert_eq!(rig.drains.get(), 0);
        let unix = Address::Unix(rig.socket.clone());
        let taken = request(&unix, Method::POST, "/drain", limit, 65536).await.unwrap();
        assert_eq!((taken.status, rig.drains.get()), (StatusCode::ACCEPTED, 1));
    })
    .await;
}

#[tokio::test]
async fn a_forged_drain_over_tcp_is_refused() {
    Rig::run(LIMITS, async |rig: Rig| {
        for (head, status) in [
            ("POST /drain HTTP/1.1\r\nHost: localhost:9902", "202"),
            ("POST /drain HTTP/1.1\r\nHost: LOCALHOST", "202"),
            ("POST /drain HTTP/1.1\r\nHost: 127.0.0.1:1", "202"),
            ("POST /drain HTTP/1.1\r\nHost: [::1]:1", "202"),
            ("POST http://localhost/drain HTTP/1.1\r\nHost: localhost", "202"),
            // DNS rebinding can point such a name to this machine. The other requests have no
            // usable name.
            ("POST /drain HTTP/1.1\r\nHost: evil.example", "403"),
            ("POST /drain HTTP/1.1\r\nHost: localhost.evil.example:9902", "403"),
            ("POST /drain HTTP/1.1\r\nHost: 10.0.0.1", "403"),
            ("POST /drain HTTP/1.1\r\nHost: ", "403"),
            ("POST /drain HTTP/1.0", "403"),
            ("POST /drain HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", "403"),
            ("POST http://evil.example/drain HTTP/1.1\r\nHost: localhost", "403"),
            // The request comes from a web page.
            ("POST /drain HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost", "403"),
            ("POST /drain HTTP/1.1\r\nHost: localhost\r\nOrigin: null", "403"),
            // Overrides of the method are ignored.
            ("GET /drain HTTP/1.1\r\nHost: localhost\r\nX-HTTP-Method-Override: POST", "405"),
            ("GET /drain?_method=POST HTTP/1.1\r\nHost: localhost", "405"),
            ("HEAD /drain HTTP/1.1\r\nHost: localhost", "405"),
        ] {
            rig.drains.set(0);
            let answered = status_of(&rig, &format!("{head}\r\n\r\n")).await;
            assert_eq!(answered, status, "{head}");
            assert_eq!(rig.drains.get() == 1, status == "202", "{head}");
        }
    })
    .await;
}

#[test]
fn only_this_machine_may_drain_over_tcp() {
    let status = Rc::new(RefCell::new(example()));
    let supervisor = CountingSupervisor { status, asked: Rc::default(), drains: Rc::default() };
    let server = Server { supervisor, drain_over_tcp: true };
    let request = Request::post("/drain").header(HOST, "localhost").body(()).unwrap();
    for (address, may) in [("127.0.0.1", true), ("::1", true), ("10.0.0.1", false), ("::2", false)]
    {
        let caller = Caller::Tcp(address.parse().unwrap());
        assert_eq!(server.may_drain(caller, &request).is_ok(), may, "{address}");
    }
    assert!(server.may_drain(Caller::Socket, &request).is_ok());
}

/// The way in which a client holds its connection.
#[derive(Clone, Copy, Debug)]
enum Holder {
    /// Sends nothing.
    Silent,
    /// Sends half a request.
    Half,
    /// Sends one byte of its request at intervals.
    Trickling,
    /// Does not read its answer, which is longer than the socket buffers.
    Deaf,
}

impl Holder {
    /// Holds a connection until the server closes it, again and again.
    async fn hold(self, address: Address) {
        loop {
            match &address {
                Address::Tcp(address) => {
                    if let Ok(stream) = TcpStream::connect(address).await {
                        self.hold_one(stream).await;
                    }
                }
                Address::Unix(path) => {
                    if let Ok(stream) = UnixStream::connect(path).await {
                        self.hold_one(stream).await;
                    }
                }
            }
            // A connect that fails at once (no port, no descriptor, a full backlog) does not yield.
            // Without this pause, its task would occupy the only thread forever.
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn hold_one(self, mut stream: impl AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let text = match self {
            Self::Silent => "",
            Self::Half => "GET /livez HTTP/1.1\r\nhost:",
            Self::Trickling | Self::Deaf => "GET /status HTTP/1.1\r\nhost: a\r\n",
        };
        let _ = stream.write_all(text.as_bytes()).await;
        match self {
            Self::Trickling => {
                while stream.write_all(b"x").await.is_ok() {
                    sleep(Duration::from_millis(100)).await;
                }
            }
            Self::Deaf => {
                let _ = stream.write_all(b"\r\n").await;
                // The client waits longer than the server allows.
                sleep(LIMITS.whole * 2).await;
            }
            Self::Silent | Self::Half => drop(drain(&mut stream).await),
        }
    }
}

#[tokio::test]
async fn held_connections_block_no_request() {
    for holder in [Holder::Silent, Holder::Half, Holder::Trickling, Holder::Deaf] {
        Rig::run(LIMITS, async |rig: Rig| {
            let is_deaf = matches!(holder, Holder::Deaf);
            if is_deaf {
                let process = rig.status.borrow().processes[0].clone();
                rig.status.borrow_mut().processes = vec![process; 5000];
            }
            let unix = Address::Unix(rig.socket.clone());
            let mut holders = tokio::task::JoinSet::new();
            for address in [Address::Tcp(rig.address), unix] {
                for _ in 0..max_connections() + 16 {
                    holders.spawn_local(holder.hold(address.clone()));
                }
            }
            // The test waits until all clients hold as many connections as they can.
            let begin = Instant::now();
            while is_deaf && usize::try_from(rig.asked.get()).unwrap() < holders.len() {
                assert!(begin.elapsed() < Duration::from_secs(30), "{}", rig.asked.get());
                sleep(Duration::from_millis(20)).await;
            }
            sleep(Duration::from_millis(200)).await;
            for _ in 0..5 {
                assert_eq!(rig.ask(Method::GET, "/livez").await.0, 200, "{holder:?}");
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_holder_that_cannot_connect_leaves_the_thread_to_others() {
    let missing = Address::Unix("/nonexistent/control.sock".into());
    let holding = Holder::Silent.hold(missing);
    // Only a future that yields can time out.
    assert!(tokio::time::timeout(Duration::from_millis(50), holding).await.is_err());
}

#[tokio::test]
async fn at_the_bound_the_idlest_connection_is_closed() {
    Rig::run(Limits { head: Duration::from_secs(20), ..LIMITS }, async |rig: Rig| {
        let mut held = Vec::new();
        for _ in 0..max_connections() {
            held.push(UnixStream::connect(&rig.socket).await.unwrap());
        }
        // This is the oldest connection, but not the one that has been idle the longest.
        held[0].write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        assert_eq!(rig.ask(Method::GET, "/livez").await.0, 200);
        assert_eq!(drain(&mut held[1]).await, 0);
        for alive in [0, 2] {
            held[alive].write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
            assert_eq!(
                held[alive].try_read(&mut [0]).unwrap_err().kind(),
                io::ErrorKind::WouldBlock
            );
        }
    })
    .await;
}
