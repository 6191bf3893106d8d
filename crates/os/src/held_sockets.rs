//! Listening sockets, for drainit itself and for its processes. drainit keeps the sockets of a
//! process open while the process restarts. Until the process accepts connections again, new
//! connections wait in the kernel's queue and are not refused.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use nix::libc::POLLRDHUP;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, UnixAddr, bind,
    listen, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod, fstat};

use crate::on_thread::locked;
use crate::same_path::is_same;
use crate::stale_socket::{self, SocketFile};
use crate::trusted_path::Place;

/// The longest wait for the removal of an older socket at the same path.
const REMOVAL: Duration = Duration::from_secs(1);

/// A listening socket. Dropping it closes drainit's descriptor, and removes the file of a Unix
/// socket.
#[derive(Debug)]
pub struct HeldSocket {
    descriptor: OwnedFd,
    file: Option<SocketFile>,
    /// The permissions (for a Unix socket only) and the length of the queue, as they were last set.
    given: Mutex<(u32, Option<u32>)>,
}

impl HeldSocket {
    /// Listens on a TCP address. Without `backlog`, the queue is as long as the kernel allows. The
    /// sockets `beside` have the same port, as `0.0.0.0` and `[::]` have, and are about to be
    /// closed: the new socket listens in spite of them.
    pub fn tcp(address: SocketAddr, backlog: Option<u32>, beside: &[&Self]) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC;
        let descriptor = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
        setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
        // The port is shared only for the moment of the bind, so that no other program can share it.
        let share = |is_shared: bool| {
            let all = beside.iter().map(|socket| socket.as_fd()).chain([descriptor.as_fd()]);
            let mut set = all.filter(|_| !beside.is_empty());
            set.try_for_each(|socket| setsockopt(&socket, sockopt::ReusePort, &is_shared))
        };
        share(true)?;
        let bound = bind(descriptor.as_raw_fd(), &SockaddrStorage::from(address))
            .and_then(|()| listen(&descriptor, queue(backlog)));
        share(false)?;
        bound?;
        let given = Mutex::new((0, backlog));
        Ok(Self { descriptor, file: None, given })
    }

    /// Listens on a Unix socket with these permissions. Replaces a socket at the path if no process
    /// listens on it. Blocks for as long as the file system hangs.
    pub fn unix(path: &Path, mode: u32, backlog: Option<u32>) -> io::Result<Self> {
        stale_socket::wait_for_removals(REMOVAL, |removed| is_same(removed, path));
        if stale_socket::is_listening(path)? {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, stale_socket::IN_USE));
        }
        stale_socket::remove(path, None)?;
        let place = Place::of(path)?;
        let descriptor =
            socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // Linux makes the file with the mode of the descriptor, without the bits of the umask. The
        // mode is set before the bind, so that the file never has wider permissions than `mode`.
        // drainit does not change the umask, because the umask also applies to its other threads
        // and their children.
        fchmod(&descriptor, Mode::from_bits_truncate(mode))?;
        bind(descriptor.as_raw_fd(), &UnixAddr::new(&place.address())?)?;
        let file = SocketFile::new(path);
        file.set_mode(mode)?;
        let given = Mutex::new((mode, backlog));
        let held = Self { descriptor, file: Some(file), given };
        listen(&held.descriptor, queue(backlog))?;
        Ok(held)
    }
}

impl HeldSocket {
    /// The descriptor. For a Unix socket, also the value that owns its file.
    pub fn into_parts(self) -> (OwnedFd, Option<SocketFile>) {
        (self.descriptor, self.file)
    }

    /// The inode of the socket.
    pub fn inode(&self) -> Option<u32> {
        fstat(&self.descriptor).ok().and_then(|stat| stat.st_ino.try_into().ok())
    }

    /// Whether clients can find the socket: the file of a Unix socket may have been removed.
    pub fn has_address(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_there)
    }

    /// Whether the kernel refuses all connections, because a process that shares the socket has
    /// called shutdown(2). This ends the socket for every process that has it. `SO_ACCEPTCONN`
    /// shows this only for TCP.
    pub fn is_shut(&self) -> bool {
        let mut of = [PollFd::new(self.as_fd(), PollFlags::from_bits_retain(POLLRDHUP))];
        let is_seen = poll(&mut of, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        // nix has no name for `POLLRDHUP`, and returns `None` for it.
        is_seen && of[0].revents().is_none_or(|seen| seen.contains(PollFlags::POLLHUP))
    }

    /// Listens again after shutdown(2).
    ///
    /// # Errors
    /// Fails for a Unix socket, and if another process listens at the address by now.
    pub fn listen_again(&self) -> io::Result<()> {
        listen(&self.descriptor, queue(locked(&self.given).1))?;
        match self.is_shut() {
            true => Err(io::Error::other("the kernel does not listen again on a Unix socket")),
            false => Ok(()),
        }
    }

    /// Whether the socket has other permissions or another queue length than these.
    pub fn differs(&self, mode: u32, backlog: Option<u32>) -> bool {
        let (given_mode, given_backlog) = *locked(&self.given);
        self.file.is_some() && given_mode != mode || given_backlog != backlog
    }

    /// Changes the permissions of a Unix socket, and the length of the queue.
    pub fn adapt(&self, mode: u32, backlog: Option<u32>) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.set_mode(mode)?;
        }
        listen(&self.descriptor, queue(backlog))?;
        *locked(&self.given) = (mode, backlog);
        Ok(())
    }
}

impl AsFd for HeldSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The length of the queue. The kernel limits it to `net.core.somaxconn` (listen(2)).
fn queue(backlog: Option<u32>) -> Backlog {
    let wanted = backlog.and_then(|backlog| i32::try_from(backlog).ok());
    wanted.and_then(|wanted| Backlog::new(wanted).ok()).unwrap_or(Backlog::MAXALLOWABLE)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use nix::sys::socket::{Shutdown, shutdown};

    use super::*;
    use crate::testing::isolated::in_own_process;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn a_tcp_socket_listens_again_after_shutdown_and_a_unix_socket_does_not() {
        in_own_process(|| {
            let dir = TempDir::new();
            // A port that the kernel has chosen for the socket itself would change.
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let tcp = HeldSocket::tcp(free, None, &[]).unwrap();
            let path = dir.path("socket");
            let unix = HeldSocket::unix(&path, 0o600, None).unwrap();
            for how in [Shutdown::Both, Shutdown::Read] {
                assert!(!tcp.is_shut());
                shutdown(tcp.descriptor.as_raw_fd(), how).unwrap();
                assert!(tcp.is_shut());
                tcp.listen_again().unwrap();
            }
            TcpStream::connect(free).unwrap();
            assert!(!unix.is_shut());
            shutdown(unix.descriptor.as_raw_fd(), Shutdown::Read).unwrap();
            assert!(unix.is_shut() && unix.listen_again().is_err());
            // drainit opens another Unix socket at the path.
            let again = HeldSocket::unix(&path, 0o600, None).unwrap();
            drop(unix);
            stale_socket::finish_removals(REMOVAL);
            assert!(!again.is_shut() && again.has_address());
        });
    }

    #[test]
    fn permissions_and_queue_are_compared() {
        let dir = TempDir::new();
        let tcp = HeldSocket::tcp("127.0.0.1:0".parse().unwrap(), Some(5), &[]).unwrap();
        let unix = HeldSocket::unix(&dir.path("socket"), 0o600, Some(5)).unwrap();
        assert!(!tcp.differs(0, Some(5)) && !unix.differs(0o600, Some(5)));
        // A TCP socket has no permissions.
        assert!(!tcp.differs(0o600, Some(5)) && unix.differs(0o640, Some(5)));
        for held in [tcp, unix] {
            assert!(held.differs(0o600, None));
            held.adapt(0o640, None).unwrap();
            assert!(!held.differs(0o640, None));
        }
    }

    #[test]
    fn a_socket_of_another_address_shares_the_port_of_a_held_socket() {
        in_own_process(|| {
            let any = HeldSocket::tcp("0.0.0.0:0".parse().unwrap(), None, &[]).unwrap();
            let held = std::net::TcpListener::from(any.descriptor.try_clone().unwrap());
            let port = held.local_addr().unwrap().port();
            for ip in ["127.0.0.1", "[::]"] {
                let address = format!("{ip}:{port}").parse().unwrap();
                if std::net::TcpListener::bind(format!("{ip}:0")).is_err() {
                    continue;
                }
                let alone = HeldSocket::tcp(address, None, &[]);
                assert_eq!(alone.unwrap_err().kind(), io::ErrorKind::AddrInUse, "{ip}");
                let new = HeldSocket::tcp(address, None, &[&any]).unwrap();
                // Afterwards, nobody else can share the port.
                assert!(HeldSocket::tcp(address, None, &[]).is_err(), "{ip}");
                drop(new);
            }
        });
    }
}
