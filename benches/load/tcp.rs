//! The TCP client: a session of messages, which the client ends.

use testkit::load::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Plan;
use super::client::{Connection, Next, Problem};

const MESSAGE: &[u8] = b"hello\n";

/// A session. TCP cannot announce an end, so the session is lost if the server ends it first.
pub(super) struct Tcp(TcpStream);

impl Connection for Tcp {
    async fn open(stream: TcpStream, _: &Plan) -> Result<Self, Failure> {
        Ok(Self(stream))
    }

    /// Sends a message and waits until the server has sent it back.
    async fn ask(&mut self, _: &str) -> Result<Next, Problem> {
        self.0.write_all(MESSAGE).await?;
        let mut echo = [0; MESSAGE.len()];
        self.0.read_exact(&mut echo).await?;
        if echo == MESSAGE { Ok(Next::SameConnection) } else { Err(Failure::Nonsense.into()) }
    }

    /// Fails if the server ends the session or sends anything: the server must do neither.
    async fn ended(&mut self) -> Result<(), Failure> {
        self.0.read_u8().await?;
        Err(Failure::Nonsense)
    }

    /// Ends the session and waits until the server has also ended it.
    async fn end(&mut self) -> Result<Next, Failure> {
        self.0.shutdown().await?;
        match self.0.read(&mut [0; 1]).await? {
            0 => Ok(Next::NewConnection),
            _ => Err(Failure::Nonsense),
        }
    }
}
