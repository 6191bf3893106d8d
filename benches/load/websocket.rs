//! The WebSocket client.
//!
//! A server announces the end with a Close frame, after which it answers no message (RFC 6455,
//! section 5.5.1). The client repeats a message that has crossed the Close frame.

use std::io;

use testkit::load::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Plan;
use super::client::{Connection, Next, Problem};

const UPGRADE: &[u8] =
    b"GET /upstream/websocket HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// A text frame, with the mask 0.
const MESSAGE: &[u8] = b"\x81\x85\0\0\0\0hello";
/// The echo of [`MESSAGE`], which has no mask.
const ECHO: &[u8] = b"\x81\x05hello";
/// The opcode of Close in the first byte of a frame.
const CLOSE: u8 = 0x88;
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// An open WebSocket.
pub(super) struct WebSocket {
    stream: TcpStream,
    /// The part of a frame that has been read.
    input: Vec<u8>,
}

impl Connection for WebSocket {
    async fn open(mut stream: TcpStream, _: &Plan) -> Result<Self, Failure> {
        stream.write_all(UPGRADE).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        if head.starts_with(b"HTTP/1.1 101 ") {
            return Ok(Self { stream, input: Vec::new() });
        }
        let status = String::from_utf8_lossy(&head).split(' ').nth(1).map(str::parse);
        Err(status.and_then(Result::ok).map_or(Failure::Nonsense, Failure::Status))
    }

    /// Sends a message, unless the server has announced the end, and waits until the server has
    /// sent the message back.
    async fn ask(&mut self, _: &str) -> Result<Next, Problem> {
        if self.has_frame() || !is_silent(&self.stream, &mut self.input) {
            self.ended().await?;
            return Err(Problem::NotSent);
        }
        self.stream.write_all(MESSAGE).await?;
        let frame = self.read_frame().await?;
        if frame == ECHO {
            return Ok(Next::SameConnection);
        }
        self.answer_close(&frame).await?;
        Err(Problem::NotProcessed)
    }

    /// Waits until the server closes the WebSocket, which may happen while no message is on its
    /// way.
    async fn ended(&mut self) -> Result<(), Failure> {
        let frame = self.read_frame().await?;
        self.answer_close(&frame).await
    }

    /// Closes the WebSocket and waits for the answer of the server.
    async fn end(&mut self) -> Result<Next, Failure> {
        self.close(NORMAL).await?;
        // The two Close frames may have crossed.
        if self.read_frame().await?.first() == Some(&CLOSE) {
            Ok(Next::NewConnection)
        } else {
            Err(Failure::Nonsense)
        }
    }
}

impl WebSocket {
    fn has_frame(&self) -> bool {
        self.input.get(1).is_some_and(|length| self.input.len() >= 2 + usize::from(*length))
    }

    /// Reads one frame. If the future is dropped, the next call continues to read the same frame.
    async fn read_frame(&mut self) -> Result<Vec<u8>, Failure> {
        while !self.has_frame() {
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Failure::EndOfFile);
            }
        }
        let length = 2 + usize::from(self.input[1]);
        Ok(self.input.drain(..length).collect())
    }

    /// Answers the Close frame of the server.
    async fn answer_close(&mut self, frame: &[u8]) -> Result<(), Failure> {
        if frame.first() != Some(&CLOSE) || frame.get(2..4) != Some(&GOING_AWAY) {
            return Err(Failure::Nonsense);
        }
        self.close(GOING_AWAY).await
    }

    async fn close(&mut self, code: [u8; 2]) -> Result<(), Failure> {
        let frame = [&[CLOSE, 0x82, 0, 0, 0, 0], code.as_slice()].concat();
        Ok(self.stream.write_all(&frame).await?)
    }
}

/// Reads the bytes that have already arrived. Returns `true` if there are none.
fn is_silent(stream: &TcpStream, input: &mut Vec<u8>) -> bool {
    let read = stream.try_read_buf(input);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
