//! The HTTP/1.1 client.

use std::io;

use testkit::load::{Failure, read_response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Next, Problem};

/// A connection with keep-alive.
pub(crate) struct Http1(TcpStream);

impl Http1 {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Sends a request if the server has not closed the connection.
    pub(crate) async fn ask(&mut self) -> Result<Next, Problem> {
        if !is_open(&self.0) {
            return Err(Problem::NotSent);
        }
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n").await?;
        match read_response(&mut self.0).await? {
            true => Ok(Next::NewConnection),
            false => Ok(Next::SameConnection),
        }
    }

    /// Waits until the connection ends, which may happen while no request is on its way.
    pub(crate) async fn ended(&mut self) -> Result<(), Failure> {
        while is_open(&self.0) {
            self.0.readable().await?;
        }
        Ok(())
    }
}

/// Returns whether the connection is open and the server has sent nothing. Must not be called while
/// an answer is due.
pub(crate) fn is_open(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0; 1]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
