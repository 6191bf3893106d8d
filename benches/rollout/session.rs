//! Clients that keep a WebSocket or a TCP stream busy: something is sent twice a second and must
//! come back.
//!
//! A session counts as one request. It is lost if it is cut before its client has ended it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use testkit::load::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::client::Tally;

/// From message to message.
const PERIOD: Duration = Duration::from_millis(500);
/// A message that is not back by then is lost, and the session with it.
const ECHO_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that lost its session waits this long before it opens another one.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A masked WebSocket text frame of five bytes under the mask 0. Envoy passes frames on unread, and
/// so is it echoed.
const FRAME: &[u8] = b"\x81\x85\0\0\0\0hello";
/// Open sessions at any time.
pub(crate) const CLIENTS: u32 = 100;

/// The transport of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// HTTP/1.1, upgraded.
    WebSocket,
    /// A TCP proxy.
    Tcp,
}

/// Sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sessions {
    /// The transport of the messages.
    pub(crate) transport: Transport,
    /// After this time a client ends its session, and opens the next one; never, without.
    pub(crate) length: Option<Duration>,
}

impl Sessions {
    /// One session after the other, to the end. The first takes this `part` of its time, so that
    /// the clients are out of step.
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
