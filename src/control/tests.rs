//! The control server as its clients see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use super::status::{Phase, ShutdownStatus, example};
use super::*;
use crate::config::schema::{Address, Control};
use crate::shell::http::{self, request};
use crate::shell::test_server::scratch_path;

/// A supervisor that only counts.
struct Still {
    status: Rc<RefCell<Status>>,
    drains: Rc<Cell<u32>>,
}

impl Supervisor for Still {
    fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    fn drain(&self) {
        self.drains.set(self.drains.get() + 1);
    }

    fn answered(&self) {}
}

/// A server on both kinds of listener, with a status that the test may change.
struct Rig {
    address: SocketAddr,
    socket: PathBuf,
    status: Rc<RefCell<Status>>,
    drains: Rc<Cell<u32>>,
}

impl Rig {
    /// Runs a test against a server whose connections may last for `limit`.
    async fn run<F: Future<Output = ()>>(limit: Duration, test: impl FnOnce(Self) -> F) {
        let socket = scratch_path("control.sock");
        let listen = Some("127.0.0.1:0".parse().unwrap());
        let listeners = Listeners::bind(&Control { listen, socket: Some(socket.clone()) }).unwrap();
        let address = listeners.tcp.as_ref().unwrap().local_addr().unwrap();
        let status = Rc::new(RefCell::new(example()));
        let shared = Rc::clone(&status);
        let local = LocalSet::new();
        local
            .run_until(async {
                let drains = Rc::new(Cell::new(0));
                let supervisor = Rc::new(Still { status: shared, drains: Rc::clone(&drains) });
                let server = spawn_local(serve_within(listeners, supervisor, limit));
                test(Self { address, socket: socket.clone(), status, drains }).await;
                assert!(!server.is_finished());
                server.abort();
                assert!(server.await.unwrap_err().is_cancelled());
            })
            .await;
        assert!(!socket.exists());
        std::fs::remove_dir(socket.parent().unwrap()).unwrap();
    }

    async fn ask(&self, method: Method, path: &str) -> (u16, String) {
        let limit = Duration::from_secs(2);
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
    Rig::run(CONNECTION_LIMIT, async |rig: Rig| {
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
async fn a_drain_is_asked_for_with_post_only() {
    Rig::run(CONNECTION_LIMIT, async |rig: Rig| {
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
    Rig::run(CONNECTION_LIMIT, async |rig: Rig| {
        assert_eq!(rig.ask(Method::GET, "/readyz").await.0, 200);
        {
            let mut status = rig.status.borrow_mut();
            status.ready = false;
            status.phase = Phase::Draining;
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

/// Reads until the server closes; the number of bytes, also when it ended with a reset.
async fn drain(stream: &mut (impl AsyncRead + Unpin)) -> usize {
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    received.len()
}

#[tokio::test]
async fn who_does_not_finish_a_request_is_cut_off() {
    let limit = Duration::from_millis(200);
    Rig::run(limit, async |rig: Rig| {
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
async fn who_does_not_read_is_cut_off() {
    let limit = Duration::from_millis(200);
    Rig::run(limit, async |rig: Rig| {
        // More than the kernel buffers between the two.
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
    Rig::run(CONNECTION_LIMIT, async |rig: Rig| {
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

#[tokio::test]
async fn connections_above_the_bound_are_closed_at_once() {
    let limit = Duration::from_millis(400);
    Rig::run(limit, async |rig: Rig| {
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            held.push(UnixStream::connect(&rig.socket).await.unwrap());
        }
        let begin = Instant::now();
        let mut excess = UnixStream::connect(&rig.socket).await.unwrap();
        assert_eq!(drain(&mut excess).await, 0);
        assert!(begin.elapsed() < limit / 2, "{:?}", begin.elapsed());
        for connection in &mut held {
            drain(connection).await;
        }
        assert_eq!(rig.ask(Method::GET, "/livez").await.0, 200);
    })
    .await;
}
