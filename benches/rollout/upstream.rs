//! The service behind both pods, for the answers that Envoy cannot give by itself: slow and
//! streamed answers, WebSockets and TCP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::node;

/// The time between two chunks of a streamed answer.
const CHUNK: Duration = Duration::from_millis(100);

/// A running service, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// The address for HTTP/1.1.
    pub(crate) http: SocketAddr,
    /// The address for TCP, where the service echoes all data.
    pub(crate) echo: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Starts the service as tasks of the current runtime.
    pub(crate) async fn start() -> io::Result<Self> {
        let http = TcpListener::bind((node::ADDRESS, 0)).await?;
        let echo = TcpListener::bind((node::ADDRESS, 0)).await?;
        let (http_address, echo_address) = (http.local_addr()?, echo.local_addr()?);
        let mut tasks = JoinSet::new();
        // The client decides whether the end of a connection is a failure.
        tasks.spawn(async move {
            while let Ok((stream, _)) = http.accept().await {
                tokio::spawn(async move { drop(serve(stream).await) });
            }
        });
        tasks.spawn(async move {
            while let Ok((stream, _)) = echo.accept().await {
                tokio::spawn(async move { drop(send_back(stream).await) });
            }
        });
        Ok(Self { http: http_address, echo: echo_address, _tasks: tasks })
    }
}

async fn send_back(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(buffer.get(..length).unwrap_or_default()).await?,
        }
    }
}

/// Answers the requests of a connection. Requests have no body, so each ends with its head.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        head.clear();
        let path = text.split(' ').nth(1).unwrap_or_default();
        let mut words = path.trim_start_matches("/upstream/").split('/');
        let what = words.next().unwrap_or_default();
        let time = words.next().and_then(|time| time.parse().ok()).unwrap_or_default();
        let time = Duration::from_millis(time);
        match what {
            "websocket" => {
                // The accept key is the example of RFC 6455: every client sends the key of that
                // example.
                let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                stream.write_all(answer.as_bytes()).await?;
                return send_back(stream).await;
            }
            "stream" => stream_for(&mut stream, time).await?,
            _ => {
                sleep(time).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n").await?;
            }
        }
    }
}

async fn stream_for(stream: &mut TcpStream, time: Duration) -> io::Result<()> {
    let until = Instant::now() + time;
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    while Instant::now() < until {
        stream.write_all(b"6\r\nhello\n\r\n").await?;
        sleep(CHUNK).await;
    }
    stream.write_all(b"0\r\n\r\n").await
}
