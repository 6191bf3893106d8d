//! HTTP/1.1 and WebSockets. The answer for the path `/upstream/slow/N` comes after N milliseconds.
//! The answer for `/upstream/stream/N` comes in chunks until N milliseconds have passed.
//!
//! A server that drains sends `Connection: close` with its next answer. The server never closes an
//! idle connection, because a request may be on its way. Each WebSocket immediately gets a Close
//! frame with the code 1001. The server does not process later messages, and the connection ends with the
//! Close frame of the client (RFC 6455, section 7).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::{Phase, Phases, reached};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n";
const LAST_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n";
/// The header line of a client that sends no further request on its connection.
const LAST: &str = "\nconnection: close\r";
/// The time between two chunks of a streamed answer.
const CHUNK: Duration = Duration::from_millis(100);
/// The accept key is the example of RFC 6455, because every client sends the key of that example.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Close, 1001: going away.
const GOING_AWAY: &[u8] = b"\x88\x02\x03\xe9";
/// The opcode of a Close frame.
const CLOSE: u8 = 8;
const MASK: usize = 4;

/// Serves a connection. Requests have no body, so each ends with its head.
pub(super) async fn serve(mut stream: TcpStream, phases: Phases) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        head.clear();
        let path = text.split(' ').nth(1).unwrap_or_default();
        let mut words = path.trim_start_matches("/upstream/").split('/');
        let what = words.next().unwrap_or_default();
        let time = words.next().and_then(|time| time.parse().ok()).map(Duration::from_millis);
        match (what, time) {
            ("websocket", None) => {
                stream.write_all(UPGRADED).await?;
                return websocket(stream, phases).await;
            }
            ("stream", Some(time)) => {
                stream_for(&mut stream, time).await?;
                continue;
            }
            (_, Some(time)) => sleep(time).await,
            (_, None) => {}
        }
        if text.contains(LAST) || *phases.borrow() > Phase::Serving {
            stream.write_all(LAST_ANSWER).await?;
            return stream.shutdown().await;
        }
        stream.write_all(ANSWER).await?;
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

/// Sends every message back until either side closes.
async fn websocket(mut stream: TcpStream, mut phases: Phases) -> io::Result<()> {
    let mut input = Vec::with_capacity(1024);
    loop {
        tokio::select! {
            biased;
            read = stream.read_buf(&mut input) => if read? == 0 { return Ok(()) },
            () = reached(&mut phases, Phase::Draining) => break,
        }
        while let Some((opcode, payload)) = take_frame(&mut input) {
            let length = u8::try_from(payload.len()).unwrap_or_default();
            let frame = [&[0x80 | opcode, length], payload.as_slice()].concat();
            stream.write_all(&frame).await?;
            if opcode == CLOSE {
                return stream.shutdown().await;
            }
        }
    }
    stream.write_all(GOING_AWAY).await?;
    loop {
        while let Some((opcode, _)) = take_frame(&mut input) {
            if opcode == CLOSE {
                return stream.shutdown().await;
            }
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Removes the first frame, if it is complete, and returns its opcode and its payload. The payload
/// is masked, as from every client, and must be shorter than 126 bytes.
fn take_frame(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (opcode, length) = (input.first()? & 0x0f, usize::from(input.get(1)? & 0x7f));
    let end = 2 + MASK + length;
    let mask = input.get(2..2 + MASK)?;
    let payload = input.get(2 + MASK..end)?;
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    input.drain(..end);
    Some((opcode, payload))
}
