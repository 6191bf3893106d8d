//! TCP: the server sends everything back. The protocol cannot announce an end, so a client ends its
//! session itself.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Serves a connection until the client closes it.
pub(super) async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(buffer.get(..length).unwrap_or_default()).await?,
        }
    }
}
