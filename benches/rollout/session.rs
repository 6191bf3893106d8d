//! Clients that keep a WebSocket or a TCP stream busy: a client sends a message twice a second and
//! expects the message back.
//!
//! A session counts as one request, which is lost if the connection ends before the client ends it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use testkit::load::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::client::Tally;

/// The time between two messages.
const PERIOD: Duration = Duration::from_millis(500);
/// A session is lost if a message is not back after this time.
const ECHO_TIMEOUT: Duration = Duration::from_secs(10);
/// After a lost session, a client waits this long before it opens another session.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A masked WebSocket text frame of five bytes with the mask 0. Envoy forwards frames unchanged,
/// and the upstream echoes them unchanged.
const FRAME: &[u8] = b"\x81\x85\0\0\0\0hello";
/// The number of sessions that are open at any time.
pub(crate) const CLIENTS: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// An upgraded HTTP/1.1 connection.
    WebSocket,
    /// A connection through a TCP proxy.
    Tcp,
}

/// Clients that keep sessions open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sessions {
    pub(crate) transport: Transport,
    /// The time after which a client ends its session and opens the next session; `None` if a
    /// client never ends its session.
    pub(crate) length: Option<Duration>,
}

impl Sessions {
    /// Runs one session after the other until the end. The first session takes only this `part` of
    /// its time, so that the clients are out of step.
    pub(crate) async fn run(self, part: f64, service: SocketAddr, tally: Tally) {
        let mut length = self.length.map(|length| length.mul_f64(part));
        while !tally.is_over() {
            let until = length.map(|length| Instant::now() + length);
            let result = self.hold(service, &tally, until).await;
            tally.count(result);
            if result.is_err() {
                sleep(AFTER_FAILURE).await;
            }
            length = self.length;
        }
    }

    async fn hold(
        self,
        service: SocketAddr,
        tally: &Tally,
        until: Option<Instant>,
    ) -> Result<(), Failure> {
        let mut stream = TcpStream::connect(service).await?;
        stream.set_nodelay(true)?;
        if self.transport == Transport::WebSocket {
            upgrade(&mut stream).await?;
        }
        while !tally.is_over() && until.is_none_or(|until| Instant::now() < until) {
            let next = Instant::now() + PERIOD;
            stream.write_all(FRAME).await?;
            let mut echo = [0; FRAME.len()];
            let read = timeout(ECHO_TIMEOUT, stream.read_exact(&mut echo)).await;
            read.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
            sleep_until(until.map_or(next, |until| until.min(next))).await;
        }
        Ok(())
    }
}

async fn upgrade(stream: &mut TcpStream) -> Result<(), Failure> {
    let head = "GET /upstream/websocket HTTP/1.1\r\nHost: pod\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    if answer.starts_with(b"HTTP/1.1 101 ") { Ok(()) } else { Err(Failure::Nonsense) }
}
