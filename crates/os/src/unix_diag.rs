//! The kernel's list of Unix stream sockets, over `NETLINK_SOCK_DIAG` (linux/unix_diag.h), and the
//! connections to the sockets on which an instance listens.
//!
//! For a Unix socket, the kernel does not report how many bytes were sent, nor when. drainit
//! therefore does not know whether the server still has to answer on an open connection. A
//! connection that the server has accepted has the name and the file of the listener.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use drainit_core::connections::answers::Connection;

use crate::descendants::InstancePids;
use crate::descendants::{holders, own_sockets};
use crate::sock_diag::{ESTABLISHED, LISTEN, attributes, list, u32_at, u64_at};

/// `UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN`.
const SHOW: u32 = 0x1f;
/// The attributes `UNIX_DIAG_NAME`, `UNIX_DIAG_VFS` (the inode and the device of the file),
/// `UNIX_DIAG_PEER`, `UNIX_DIAG_ICONS` (the clients whose connections nobody has accepted),
/// `UNIX_DIAG_RQLEN` and `UNIX_DIAG_SHUTDOWN`.
const NAME: u16 = 0;
const FILE: u16 = 1;
const PEER: u16 = 2;
const WAITING: u16 = 3;
const QUEUES: u16 = 4;
const SHUTDOWN: u16 = 6;
/// `SEND_SHUTDOWN` of include/net/sock.h.
const NO_MORE_SENT: u8 = 2;
/// The sizes of `struct unix_diag_req` and `struct unix_diag_msg`.
const REQUEST: usize = 24;
const MESSAGE: usize = 16;

/// A socket that listens, or that has a connection.
pub(crate) struct UnixSocket {
    inode: u32,
    cookie: u64,
    /// The name of the socket, and the inode and device of its file.
    place: Vec<u8>,
    is_listening: bool,
    /// The inodes of the clients whose connections nobody has accepted; 0 for a client that is
    /// gone.
    waiting: Vec<u32>,
    /// Whether the server has not read all bytes.
    is_unread: bool,
    /// Whether the client has not read all bytes.
    is_sending: bool,
    /// The inode of the client's socket.
    peer: u32,
    can_send: bool,
}

/// The Unix sockets on which an instance listens.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnixListeners {
    own: Vec<Vec<u8>>,
    /// Whether drainit holds one of these sockets, and so may have given it to another instance.
    is_shared: bool,
}

/// The Unix sockets of the network namespace in one of these states, most of them twice. The kernel
/// answers in parts. Between two parts, the kernel remembers only how many sockets of a hash bucket
/// it has listed. If one of these sockets is closed meanwhile, another socket is missing from the
/// list (of every 2,000 lists of 500 connections to one socket, 2 to 26 were too short). This
/// function therefore asks twice.
fn unix_sockets(states: &[u8]) -> io::Result<Vec<UnixSocket>> {
    let states: u32 = states.iter().map(|state| 1 << state).sum();
    let mut request = vec![libc::AF_UNIX as u8, 0, 0, 0];
    for field in [states, 0, SHOW] {
        request.extend(field.to_ne_bytes());
    }
    request.resize(REQUEST, 0);
    let mut found = Vec::new();
    let requests = [request.clone(), request];
    list(&requests, &mut |message| parse(message).map(|socket| found.push(socket)))?;
    Ok(found)
}

/// The Unix sockets on which any process listens, by their inodes.
pub(crate) fn listening() -> io::Result<BTreeMap<u32, Vec<u8>>> {
    let all = unix_sockets(&[LISTEN])?;
    Ok(all.into_iter().map(|socket| (socket.inode, socket.place)).collect())
}

/// Reads a `struct unix_diag_msg` and its attributes.
fn parse(message: &[u8]) -> Option<UnixSocket> {
    let is_listening = *message.get(2)? == LISTEN;
    let mut socket = UnixSocket {
        inode: u32_at(message, 4)?,
        cookie: u64_at(message, 8)?,
        place: Vec::new(),
        is_listening,
        waiting: Vec::new(),
        is_unread: false,
        is_sending: false,
        peer: 0,
        can_send: true,
    };
    for (kind, value) in attributes(message.get(MESSAGE..)?) {
        match kind {
            NAME | FILE => socket.place.extend(value),
            PEER => socket.peer = u32_at(value, 0)?,
            WAITING => {
                let inodes = value.chunks(4).map(|inode| u32_at(inode, 0));
                socket.waiting = inodes.collect::<Option<_>>()?;
            }
            // For a socket that listens, this attribute has the length and the limit of its queue.
            QUEUES if !is_listening => {
                socket.is_unread = u32_at(value, 0)? > 0;
                socket.is_sending = u32_at(value, 4)? > 0;
            }
            SHUTDOWN => socket.can_send = value.first()? & NO_MORE_SENT == 0,
            _ => {}
        }
    }
    Some(socket)
}

impl UnixListeners {
    /// Adds the listening sockets of the instance, which has the sockets `inodes` open. drainit
    /// itself has the sockets `held` open. The listeners of an earlier search stay, because a
    /// connection can outlive its listener.
    pub(crate) fn again(
        &self,
        listening: &BTreeMap<u32, Vec<u8>>,
        inodes: &BTreeSet<u32>,
        held: &BTreeSet<u32>,
    ) -> Self {
        let mut found = self.clone();
        for (inode, place) in listening.iter().filter(|(inode, _)| inodes.contains(inode)) {
            found.is_shared |= held.contains(inode);
            if !found.own.contains(place) {
                found.own.push(place.clone());
            }
        }
        found
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// The connections to these sockets, each perhaps twice. `of` has the processes of the
    /// instance, and `known` those of all instances. If the instance shares a socket, a connection
    /// counts by the same rule as for [`Listeners`].
    ///
    /// [`Listeners`]: crate::connections::Listeners
    pub(crate) fn connections(
        &self,
        [of, known]: [&InstancePids; 2],
        is_alone: bool,
    ) -> io::Result<Vec<Connection>> {
        let mut ours = own_sockets();
        let all = unix_sockets(&[ESTABLISHED, LISTEN])?;
        ours.extend(own_sockets());
        let leaders = of.iter().map(|pid| (*pid, ())).collect();
        let held = match self.is_shared && !is_alone {
            true => Some(holders(&leaders, known, true)?),
            false => None,
        };
        let mut connections = Vec::new();
        for socket in all.iter().filter(|socket| self.own.contains(&socket.place)) {
            let is_held = held.as_ref().is_none_or(|it| it.may_have(&(), socket.inode));
            if is_held && !socket.is_listening {
                connections.push(open(socket, ours.contains(&socket.peer)));
            }
            // The kernel does not list connections that nobody has accepted, but names their
            // clients. A client that is gone (0) does not count, because nobody owes it an answer.
            let waiting = socket.waiting.iter().filter(|client| **client != 0);
            connections.extend(waiting.map(|client| Connection {
                cookie: !u64::from(*client),
                is_unread: true,
                ..open(socket, ours.contains(client))
            }));
        }
        Ok(connections)
    }
}

/// A connection as the rest of drainit knows it. The kernel does not report when bytes were sent,
/// so drainit assumes that bytes were sent just now.
fn open(socket: &UnixSocket, is_ours: bool) -> Connection {
    Connection {
        cookie: socket.cookie,
        is_ours,
        is_unread: socket.is_unread,
        is_sending: socket.is_sending,
        can_send: socket.can_send,
        received: 1,
        has_sent: true,
        received_ago: Duration::ZERO,
        sent_ago: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Arc;

    use super::*;
    use crate::testing::temp_dir::TempDir;

    // holds: S580
    #[test]
    fn a_connection_counts_from_the_connect_to_the_close_and_is_never_answered() {
        let dir = TempDir::new();
        let (path, elsewhere) = (dir.path("app.sock"), dir.path("other.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let _other = UnixListener::bind(&elsewhere).unwrap();
        let of: InstancePids = Arc::new([std::process::id().cast_signed()].into());
        let all = listening().unwrap();
        let is_own = |place: &[u8]| place.starts_with(path.as_os_str().as_encoded_bytes());
        let inode = *all.iter().find(|(_, place)| is_own(place)).unwrap().0;
        let own = UnixListeners::default().again(&all, &[inode].into(), &BTreeSet::new());
        let distinct = |own: &UnixListeners| {
            let mut found = own.connections([&of, &of], false).unwrap();
            found.sort_by_key(|one| one.cookie);
            found.dedup_by_key(|one| one.cookie);
            found
        };
        let look = || distinct(&own);
        let _elsewhere = UnixStream::connect(&elsewhere).unwrap();
        assert!(look().is_empty());
        let mut client = UnixStream::connect(&path).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        drop(UnixStream::connect(&path).unwrap());
        assert!(look().len() == 2 && look().iter().all(|one| one.is_unread && one.is_ours));
        let (mut server, _) = listener.accept().unwrap();
        let _accepted = listener.accept().unwrap();
        client.write_all(b"question").unwrap();
        let asked = look();
        assert_eq!(asked.iter().filter(|one| one.is_unread).count(), 1, "{asked:?}");
        assert!(asked.len() == 2 && asked.iter().all(|one| one.is_ours && one.can_send));
        server.read_exact(&mut [0; 8]).unwrap();
        server.write_all(b"answer").unwrap();
        assert_eq!(look().iter().filter(|one| one.is_sending).count(), 1);
        client.read_exact(&mut [0; 6]).unwrap();
        assert!(look().iter().all(|one| !one.is_unread && !one.is_sending && one.can_send));
        drop(client);
        assert_eq!(look().iter().filter(|one| one.can_send).count(), 1);
        drop((server, listener));
        assert_eq!(look().len(), 1);
        let held = UnixListeners::default().again(&all, &[inode].into(), &[inode].into());
        let another: InstancePids = Arc::new([crate::Pid::MAX].into());
        assert!(held.is_shared && held.connections([&another, &of], false).unwrap().is_empty());
        assert_eq!(distinct(&held).len(), 1);
    }
}
