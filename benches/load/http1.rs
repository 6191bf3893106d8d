//! The HTTP/1.1 client.

use std::io;

use testkit::load::{Failure, IdleClose, read_response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Plan;
use super::client::{Connection, Next, Problem};

/// A connection with keep-alive, unless it is for one request.
pub(super) struct Http1 {
    stream: TcpStream,
    idle_close: IdleClose,
    is_fresh: bool,
}

impl Http1 {
    /// Returns whether the connection is open and the server has sent nothing. Must not be called
    /// while an answer is due.
    fn is_open(&self) -> bool {
        let read = self.stream.try_read(&mut [0; 1]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Connection for Http1 {
    async fn open(stream: TcpStream, plan: &Plan) -> Result<Self, Failure> {
        Ok(Self { stream, idle_close: plan.idle_close, is_fresh: plan.is_fresh })
    }

    async fn ask(&mut self, path: &str) -> Result<Next, Problem> {
        if self.idle_close == IdleClose::Noticed && !self.is_open() {
            return Err(Problem::NotSent);
        }
        let close = if self.is_fresh { "Connection: close\r\n" } else { "" };
        let head = format!("GET {path} HTTP/1.1\r\nHost: server\r\n{close}\r\n");
        self.stream.write_all(head.as_bytes()).await?;
        match read_response(&mut self.stream).await? {
            true => Ok(Next::NewConnection),
            false => Ok(Next::SameConnection),
        }
    }

    async fn ended(&mut self) -> Result<(), Failure> {
        if self.idle_close == IdleClose::Unnoticed {
            return std::future::pending().await;
        }
        while self.is_open() {
            self.stream.readable().await?;
        }
        Ok(())
    }
}
