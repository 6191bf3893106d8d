//! Tests what the client counts if a server misbehaves. Each server does so in one way.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use h2::Reason;
use hyper::Response;
use hyper::body::Bytes;
use testkit::load::{Failure, lock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::client::{Client, Counts, Shared};
use crate::protocol::{Pace, Protocol};

const RATE: u32 = 20;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n";

/// Runs a client that sends 20 requests a second for half a second. The first connection is served
/// by `first`, all others by `rest`.
fn counts<A: Future<Output = ()>, B: Future<Output = ()>>(
    protocol: Protocol,
    first: fn(TcpStream) -> A,
    rest: fn(TcpStream) -> B,
) -> Counts {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Shared {
            address: listener.local_addr().unwrap(),
            protocol,
            pace: Pace::PerSecond(RATE),
            ends_websockets: false,
            counts: Arc::default(),
            start: Instant::now(),
            end: Arc::new(Mutex::new(false)),
        };
        let serve = async {
            first(listener.accept().await.unwrap().0).await;
            loop {
                rest(listener.accept().await.unwrap().0).await;
            }
        };
        let end = async {
            sleep(Duration::from_millis(500)).await;
            *lock(&shared.end) = true;
        };
        let client = async { tokio::join!(Client::new(shared.clone()).run(0.0), end) };
        tokio::select! {
            _ = client => {}
            () = serve => {}
        }
        lock(&shared.counts).clone()
    })
}

/// Answers requests until the client closes the connection.
async fn http1(mut stream: TcpStream) {
    while read(&mut stream).await {
        stream.write_all(ANSWER).await.unwrap();
    }
}

async fn read(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 1024]).await.is_ok_and(|length| length > 0)
}

#[test]
fn an_answer_is_counted_and_a_request_without_an_answer_has_failed() {
    let cut = |mut stream| async move {
        assert!(read(&mut stream).await);
        stream.write_all(&ANSWER[..20]).await.unwrap();
    };
    let counts = counts(Protocol::Http1, cut, http1);
    assert_eq!((counts.failed, counts.refused), (1, 0));
    assert!(counts.losses.contains_key(&Failure::EndOfFile), "{counts:?}");
    assert!(counts.answered > 3, "{counts:?}");
}

#[test]
fn a_request_on_a_connection_that_broke_is_not_repeated() {
    let silent = |mut stream| async move { assert!(read(&mut stream).await) };
    let counts = counts(Protocol::Http1, silent, http1);
    assert_eq!((counts.failed, counts.repeated), (1, 0), "{counts:?}");
}

#[test]
fn connection_close_and_an_idle_close_lose_nothing() {
    let closing = |mut stream| async move {
        assert!(read(&mut stream).await);
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        // A client that ignores `connection: close` sends its next request here, in vain.
        while read(&mut stream).await {}
    };
    let idle = |mut stream| async move {
        assert!(read(&mut stream).await);
        stream.write_all(ANSWER).await.unwrap();
    };
    for counts in [counts(Protocol::Http1, closing, http1), counts(Protocol::Http1, idle, http1)] {
        assert_eq!((counts.failed, counts.refused, counts.repeated), (0, 0, 0), "{counts:?}");
        assert!(counts.answered > 3, "{counts:?}");
    }
}

#[test]
fn a_connection_without_a_listener_is_refused() {
    // The listener is dropped at once, so no connection is ever accepted.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counts = runtime.block_on(async {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let shared = Shared {
            address,
            protocol: Protocol::Tcp,
            pace: Pace::PerSecond(RATE),
            ends_websockets: false,
            counts: Arc::default(),
            start: Instant::now(),
            end: Arc::default(),
        };
        let client = tokio::spawn(Client::new(shared.clone()).run(0.0));
        sleep(Duration::from_millis(250)).await;
        *lock(&shared.end) = true;
        client.await.unwrap();
        lock(&shared.counts).clone()
    });
    assert!(counts.refused > 0, "{counts:?}");
    assert_eq!((counts.answered, counts.failed), (0, 0), "{counts:?}");
}

/// Sends everything back, as a TCP server.
async fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(length) = stream.read(&mut buffer).await
        && length > 0
    {
        stream.write_all(&buffer[..length]).await.unwrap();
    }
}

#[test]
fn a_tcp_session_that_is_cut_between_two_messages_has_failed() {
    let cut = |mut stream: TcpStream| async move {
        let mut message = [0; 6];
        stream.read_exact(&mut message).await.unwrap();
        stream.write_all(&message).await.unwrap();
    };
    let counts = counts(Protocol::Tcp, cut, echo);
    assert_eq!(counts.failed, 1, "{counts:?}");
    assert!(counts.answered > 3, "{counts:?}");
}

async fn upgrade(stream: &mut TcpStream) {
    assert!(read(stream).await);
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
}

async fn websocket(mut stream: TcpStream) {
    upgrade(&mut stream).await;
    let mut frame = [0; 11];
    loop {
        let (start, rest) = frame.split_at_mut(2);
        stream.read_exact(start).await.unwrap();
        stream.read_exact(&mut rest[..4 + usize::from(start[1] & 0x7f)]).await.unwrap();
        if start[0] == 0x88 {
            return stream.write_all(b"\x88\x02\x03\xe8").await.unwrap();
        }
        stream.write_all(b"\x81\x05hello").await.unwrap();
    }
}

#[test]
fn a_websocket_message_that_crossed_the_goodbye_is_sent_again() {
    let leaving = |mut stream| async move {
        upgrade(&mut stream).await;
        // Answers the message with a Close frame, as if the two had crossed.
        stream.read_exact(&mut [0; 11]).await.unwrap();
        stream.write_all(b"\x88\x02\x03\xe9").await.unwrap();
        let mut close = [0; 8];
        stream.read_exact(&mut close).await.unwrap();
        assert_eq!(close, *b"\x88\x82\0\0\0\0\x03\xe9");
    };
    let counts = counts(Protocol::WebSocket, leaving, websocket);
    assert_eq!((counts.failed, counts.repeated), (0, 1), "{counts:?}");
    assert!(counts.answered > 3, "{counts:?}");
}

#[test]
fn a_websocket_that_ends_without_a_goodbye_has_failed() {
    let cut = |mut stream| async move { upgrade(&mut stream).await };
    let counts = counts(Protocol::WebSocket, cut, websocket);
    assert_eq!((counts.failed, counts.repeated), (1, 0), "{counts:?}");
}

async fn http2(stream: TcpStream) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(b"hello\n"), true).unwrap();
    }
}

#[test]
fn an_http2_request_that_the_server_refused_is_sent_again() {
    let refusing = |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_reset(Reason::REFUSED_STREAM);
        connection.graceful_shutdown();
        assert!(connection.accept().await.is_none());
    };
    let counts = counts(Protocol::Http2, refusing, http2);
    assert_eq!((counts.failed, counts.repeated), (0, 1), "{counts:?}");
    assert!(counts.answered > 3, "{counts:?}");
}

#[test]
fn an_http2_request_on_a_connection_that_broke_is_not_repeated() {
    let cut = |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        assert!(connection.accept().await.unwrap().is_ok());
    };
    let counts = counts(Protocol::Http2, cut, http2);
    assert_eq!((counts.failed, counts.repeated), (1, 0), "{counts:?}");
}
