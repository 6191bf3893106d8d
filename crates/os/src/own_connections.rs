//! The TCP connections that drainit itself makes to servers. drainit may close its side long before
//! the server closes the other side. The server's socket is therefore known by its cookie, a number
//! that the kernel gives to one socket only. The addresses would not do: soon after the end of a
//! connection, a client of the same address may get the port that drainit had.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::net::TcpStream;

use crate::on_thread::locked;
use crate::sock_diag::{SocketId, socket_at, socket_of};

/// The latest connections are kept even if the server's socket is gone, because the kernel's message
/// about its end may still be on the way.
const LATEST: usize = 128;

/// The server's socket of each connection; the latest connection is last.
static SERVERS: Mutex<VecDeque<SocketId>> = Mutex::new(VecDeque::new());

/// Connects to a server, to probe it or to ask it to drain.
///
/// # Errors
/// Fails as [`TcpStream::connect`].
pub async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    // While drainit has its side open, no other connection has these two addresses. There is no such
    // socket if the server is in another network namespace, whose sockets nobody counts here.
    if let Ok(Some(id)) = socket_at(stream.peer_addr()?, stream.local_addr()?) {
        remember(&mut locked(&SERVERS), id, LATEST, |id| matches!(socket_of(id), Ok(None)));
    }
    Ok(stream)
}

/// Adds a socket. With more than `latest` sockets, asks for the two oldest, and forgets those that
/// are gone. The work of one call is therefore bounded, and only sockets that still exist add up.
fn remember(
    all: &mut VecDeque<SocketId>,
    new: SocketId,
    latest: usize,
    is_gone: impl Fn(&SocketId) -> bool,
) {
    all.push_back(new);
    for _ in 0..2 {
        if all.len() > latest
            && let Some(oldest) = all.pop_front().filter(|oldest| !is_gone(oldest))
        {
            all.push_back(oldest);
        }
    }
}

/// The cookies of the servers' sockets.
pub(crate) fn cookies() -> BTreeSet<u64> {
    locked(&SERVERS).iter().map(SocketId::cookie).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_sockets_and_sockets_that_still_exist_are_kept() {
        let id = |number: u64| SocketId::of_cookie(number);
        let after = |count: u64, is_gone: &dyn Fn(u64) -> bool| {
            let mut all = VecDeque::new();
            (0..count).for_each(|n| remember(&mut all, id(n), 4, |id| is_gone(id.cookie())));
            let mut left: Vec<_> = all.iter().map(SocketId::cookie).collect();
            left.sort_unstable();
            left
        };
        assert_eq!(after(3, &|_| true), [0, 1, 2]);
        assert_eq!(after(9, &|_| true), [5, 6, 7, 8]);
        assert_eq!(after(9, &|_| false).len(), 9);
        // The server of the first sockets hangs, and the others are gone.
        assert_eq!(after(40, &|n| n > 5)[..6], [0, 1, 2, 3, 4, 5]);
        assert!(after(40, &|n| n > 5).len() <= 12);
    }
}
