//! A client or a server in memory that sends the same bytes whatever it receives.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) struct Client {
    bytes: Vec<u8>,
    at: usize,
    /// The most bytes that one read returns.
    at_once: usize,
    /// Whether this client or server may send. A server first waits for a byte of the request.
    sends: bool,
    /// The reader that waits for the first byte of the answer.
    reader: Option<Waker>,
}

impl Client {
    pub(super) fn new(bytes: &[u8], at_once: u8, sends: bool) -> Self {
        let at_once = usize::from(at_once) * 16 + 1;
        Self { bytes: bytes.to_vec(), at: 0, at_once, sends, reader: None }
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.sends {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let end = self.bytes.len().min(self.at + self.at_once.min(buffer.remaining()));
        buffer.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sends = true;
        self.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
