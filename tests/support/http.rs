//! Sends a single HTTP request over a plain socket, because a client library might hide a retry.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::LONG;

/// Returns a loopback address on which nothing listens, and which nothing else takes before the
/// test does.
pub(crate) fn free_address() -> SocketAddr {
    testkit::gateway::free_address().unwrap()
}

/// Sends a `GET` and returns the status and the body.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    request(address, "GET", path)
}

/// Sends a request and returns the status and the body.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str) -> io::Result<(u16, String)> {
    let stream = TcpStream::connect_timeout(&address, LONG)?;
    stream.set_read_timeout(Some(LONG))?;
    exchange(stream, method, path)
}

/// Sends a `GET` through a Unix socket.
pub(crate) fn get_unix(socket: &Path, path: &str) -> io::Result<(u16, String)> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LONG))?;
    exchange(stream, "GET", path)
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> io::Result<(u16, String)> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let nonsense = || io::Error::new(io::ErrorKind::InvalidData, answer.clone());
    Ok((status.ok_or_else(nonsense)?, body.to_owned()))
}
