//! For tests: an HTTP server with a list of behaviours, most of them faults. Each connection gets
//! the next behaviour of the list. Connections after the end of the list get the last behaviour.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::keys::Address;
use crate::testing::temp_dir::TempDir;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Answers with this status and body, and closes the connection.
    Answer(u16, &'static str),
    /// Answers this many requests on one connection with the body `kept`, and then closes the
    /// connection.
    KeepAlive(usize),
    /// As `KeepAlive`, but closes while the next request arrives, so that the client sees a reset.
    Reset(usize),
    /// Reads the request and never answers.
    Hang,
    /// Sends its answer one byte every 20 ms.
    Trickle,
    /// Sends a body without end, as fast as it is read.
    Endless,
    /// Announces a body of 1 GB.
    Oversized,
    /// Sends a header line without end.
    EndlessHead,
    /// Closes in the middle of the body.
    CloseHalfWay,
    /// Closes without an answer.
    CloseAtOnce,
    /// Speaks another protocol.
    NotHttp,
}

#[derive(Default)]
struct Log {
    connections: usize,
    requests: Vec<String>,
}

pub(crate) struct Server {
    pub(crate) address: Address,
    log: Arc<Mutex<Log>>,
    accepting: JoinHandle<()>,
    /// The directory of the Unix socket.
    _dir: Option<TempDir>,
}

impl Server {
    pub(crate) fn tcp(behaviours: &[Behaviour]) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        Self::at(address, TcpListener::from_std(listener).unwrap(), behaviours, None)
    }

    pub(crate) fn unix(behaviours: &[Behaviour]) -> Self {
        let dir = TempDir::new();
        let path = dir.path("server.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self::at(Address::Unix(path), listener, behaviours, Some(dir))
    }

    fn at(
        address: Address,
        mut listener: impl Listener,
        behaviours: &[Behaviour],
        _dir: Option<TempDir>,
    ) -> Self {
        let behaviours = behaviours.to_vec();
        let log = Arc::<Mutex<Log>>::default();
        let shared = Arc::clone(&log);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await;
                tokio::spawn(behave(next(&shared, &behaviours), stream, Arc::clone(&shared)));
            }
        });
        Self { address, log, accepting, _dir }
    }

    /// An address without a listener: connections are refused.
    pub(crate) fn tcp_refusing() -> Address {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Address::Tcp(listener.local_addr().unwrap())
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// The method and the path of each request.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.log.lock().unwrap().requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn next(log: &Mutex<Log>, behaviours: &[Behaviour]) -> Behaviour {
    let mut log = log.lock().unwrap();
    log.connections += 1;
    behaviours[(log.connections - 1).min(behaviours.len() - 1)]
}

async fn behave<S>(behaviour: Behaviour, mut stream: S, log: Arc<Mutex<Log>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if matches!(behaviour, Behaviour::CloseAtOnce) {
        return;
    }
    let times = match behaviour {
        Behaviour::KeepAlive(times) | Behaviour::Reset(times) => times,
        _ => 1,
    };
    for _ in 0..times {
        let Some(line) = read_request(&mut stream).await else { return };
        log.lock().unwrap().requests.push(line);
        // The client may hang up at any moment.
        let _ = answer(behaviour, &mut stream).await;
    }
    if matches!(behaviour, Behaviour::Reset(_)) {
        let _ = stream.read_u8().await;
    }
}

async fn answer<S: AsyncWrite + Unpin>(
    behaviour: Behaviour,
    stream: &mut S,
) -> std::io::Result<()> {
    // The end of the answer is sent again and again.
    let (begin, end) = match behaviour {
        Behaviour::Answer(status, body) => {
            let length = body.len();
            let head = format!("{status} X\r\ncontent-length: {length}\r\nconnection: close");
            (format!("HTTP/1.1 {head}\r\n\r\n{body}"), "")
        }
        Behaviour::KeepAlive(_) | Behaviour::Reset(_) => (ok("content-length: 4\r\n\r\nkept"), ""),
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Trickle => {
            for byte in ok("content-length: 9999\r\n\r\n").bytes().chain([b'x'; 9999]) {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return Ok(());
        }
        Behaviour::Endless => (ok("transfer-encoding: chunked\r\n\r\n"), "8\r\n12345678\r\n"),
        Behaviour::Oversized => (ok("content-length: 1000000000\r\n\r\n"), "x"),
        Behaviour::EndlessHead => (ok("x: "), "x"),
        Behaviour::CloseHalfWay => (ok("content-length: 100\r\n\r\nhalf"), ""),
        Behaviour::NotHttp => ("220 mail.example.org ESMTP\r\n".to_owned(), ""),
        Behaviour::CloseAtOnce => return Ok(()),
    };
    stream.write_all(begin.as_bytes()).await?;
    let end = end.repeat(1000);
    while !end.is_empty() {
        stream.write_all(end.as_bytes()).await?;
    }
    Ok(())
}

fn ok(rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{rest}")
}

/// The request line without the version; `None` at the end of the connection.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    Some(head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned())
}
