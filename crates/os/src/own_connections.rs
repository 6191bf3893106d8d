//! The TCP connections that drainit itself makes to servers. drainit may close its side before the
//! server does, so the addresses of the latest connections are kept.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;

/// As many connections as the usual accept queue of a server that hangs. The number is small,
/// because a client of the same address may get a port that drainit has had.
const MOST: usize = 128;

/// drainit's address and the server's address of each connection; the latest connection is last.
static RECENT: Mutex<VecDeque<(SocketAddr, SocketAddr)>> = Mutex::new(VecDeque::new());

fn all() -> MutexGuard<'static, VecDeque<(SocketAddr, SocketAddr)>> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects to a server, to probe it or to ask it to drain.
///
/// # Errors
/// Fails as [`TcpStream::connect`].
pub async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let pair = (canonical(stream.local_addr()?), canonical(stream.peer_addr()?));
    let mut all = all();
    all.push_back(pair);
    if all.len() > MOST {
        all.pop_front();
    }
    drop(all);
    Ok(stream)
}

/// Both addresses of each of the latest connections, drainit's address first.
pub(crate) fn recent() -> Vec<(SocketAddr, SocketAddr)> {
    all().iter().copied().collect()
}

/// Whether a connection between these addresses is one of the latest.
pub(crate) fn is_recent(own: SocketAddr, server: SocketAddr) -> bool {
    all().contains(&(own, server))
}
