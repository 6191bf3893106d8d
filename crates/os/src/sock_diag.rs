//! The kernel's list of TCP sockets, over `NETLINK_SOCK_DIAG`. Reading the list needs no privilege.
//! The kernel walks its whole table, but lists only the sockets with the requested ports.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use drainit_core::connections::answers::Connection;

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLM_F_REQUEST`.
const ONE: u16 = 0x1;
/// The size of a part of the kernel's answers is at most 32 KiB.
const PART: usize = 64 * 1024;
/// States of include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
pub(crate) const LISTEN: u8 = 10;
const CLOSING: u8 = 11;
/// The states in which a server may still have to answer.
pub(crate) const OPEN: [u8; 6] = [ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING];
/// `INET_DIAG_SOCKOPT` of linux/inet_diag.h (Linux 5.10), and its bit `transparent`.
const SOCKOPT: u16 = 22;
const TRANSPARENT: u8 = 0x20;
/// `INET_DIAG_INFO`: the attribute with a `struct tcp_info` of linux/tcp.h. A bit of the request
/// asks for this attribute.
pub(crate) const INFO: u16 = 2;
/// `INET_DIAG_REQ_BYTECODE`: the attribute with a program that decides which sockets the kernel
/// lists. The operations of the program (`struct inet_diag_bc_op`) follow.
const BYTECODE: u16 = 1;
const JUMP: u8 = 1;
const PORT_AT_LEAST: u8 = 2;
const PORT_AT_MOST: u8 = 3;
/// The program has this many bytes for each port. The distance of a jump has 16 bits, so the
/// program has room for a limited number of ports. With more ports than [`MOST_PORTS`], there is no
/// program, and the kernel lists all sockets.
const PER_PORT: usize = 20;
const MOST_PORTS: usize = 1000;
/// The sizes of `struct nlmsghdr`, `struct inet_diag_req_v2` and `struct inet_diag_msg`.
pub(crate) const HEADER: usize = 16;
const REQUEST: usize = 56;
pub(crate) const MESSAGE: usize = 72;
/// The offsets of `id` (with the addresses and the cookie), `idiag_cookie`, `idiag_rqueue`,
/// `idiag_wqueue` and `idiag_inode` in `struct inet_diag_msg`.
const ID: usize = 4;
const COOKIE: usize = 44;
const UNREAD: usize = 56;
const UNSENT: usize = 60;
const INODE: usize = 68;

/// The sockets to list.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Lists the sockets with these local ports; all sockets if this is empty.
    pub ports: BTreeSet<u16>,
    /// Lists the sockets of these address families; of both families if this is empty.
    pub families: BTreeSet<u8>,
}

thread_local! {
    /// The thread's socket to the kernel, and a buffer for a part of an answer. There is none before
    /// the first request, during a request, and after a failed request, whose answer may still come.
    static NETLINK: Cell<Option<(OwnedFd, Vec<u8>)>> = const { Cell::new(None) };
}

/// The addresses and the cookie of a socket (`struct inet_diag_sockid`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketId {
    pub(crate) family: u8,
    id: [u8; 48],
    /// The inode; 0 if no process has the socket open, as with a connection that is not accepted
    /// yet.
    pub(crate) inode: u32,
}

impl SocketId {
    /// The number that the kernel has given this socket, and gives to no other socket.
    pub(crate) fn cookie(&self) -> u64 {
        u64_at(&self.id, COOKIE - ID).unwrap_or_default()
    }

    /// The ID of any socket with these addresses.
    fn at(local: SocketAddr, remote: SocketAddr) -> Self {
        let (local, remote) = (canonical(&local), canonical(&remote));
        let mut id = [0; 48];
        id[..2].copy_from_slice(&local.port().to_be_bytes());
        id[2..4].copy_from_slice(&remote.port().to_be_bytes());
        let mut write = |at: usize, ip: IpAddr| match ip {
            IpAddr::V4(ip) => id[at..at + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => id[at..at + 16].copy_from_slice(&ip.octets()),
        };
        write(4, local.ip());
        write(20, remote.ip());
        // `INET_DIAG_NOCOOKIE`.
        id[COOKIE - ID..].copy_from_slice(&[0xff; 8]);
        let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        Self { family: family as u8, id, inode: 0 }
    }

    #[cfg(test)]
    pub(crate) fn of_cookie(cookie: u64) -> Self {
        let mut id = [0; 48];
        id[COOKIE - ID..].copy_from_slice(&cookie.to_ne_bytes());
        Self { family: libc::AF_INET as u8, id, inode: 0 }
    }
}

/// The address with an IPv4 address in place of an IPv6 address that stands for it.
pub(crate) fn canonical(at: &SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip().to_canonical(), at.port())
}

/// A socket of the network namespace.
#[derive(Debug)]
pub(crate) struct Socket {
    pub id: SocketId,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Whether the server has the connection open, or has not accepted it yet. A connection that
    /// the server has closed for writing only is also open.
    pub is_open: bool,
    /// Whether the server has closed the connection, and the client has not acknowledged all bytes.
    /// These bytes are lost if the network namespace ends, as it does with a container.
    pub is_flushing: bool,
    /// Whether the socket is transparent; `None` if the kernel does not report this.
    pub is_transparent: Option<bool>,
    /// The number of connections that wait to be accepted, if this socket listens. Otherwise, the
    /// number of bytes that the process has not read.
    pub queue: u32,
    /// The bytes and times of the connection, if they were asked for.
    pub connection: Option<Connection>,
}

/// The wanted TCP sockets in one of these states, with the attributes that the bits of `extensions`
/// ask for.
pub(crate) fn sockets(states: &[u8], extensions: u8, wanted: &Wanted) -> io::Result<Vec<Socket>> {
    let states = states.iter().map(|state| 1 << state).sum();
    let program = program(&wanted.ports);
    let is_wanted = |family: &u8| wanted.families.is_empty() || wanted.families.contains(family);
    let mut found = Vec::new();
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8].into_iter().filter(is_wanted) {
        let any = SocketId { family, id: [0; 48], inode: 0 };
        found.extend(ask(DUMP, extensions, states, &any, &program)?);
    }
    Ok(found)
}

/// Like [`sockets`].
///
/// # Errors
/// Says that the kernel does not list its sockets.
pub(crate) fn listed(
    states: &[u8],
    extensions: u8,
    wanted: &Wanted,
) -> Result<Vec<Socket>, String> {
    sockets(states, extensions, wanted)
        .map_err(|error| format!("the kernel does not list them: {error}"))
}

/// The socket with this ID, without a list of the others; `None` if the socket is gone.
pub(crate) fn socket_of(wanted: &SocketId) -> io::Result<Option<Socket>> {
    Ok(ask(ONE, 1 << (INFO - 1), u32::MAX, wanted, &[])?.pop())
}

/// The connected socket with these addresses; `None` if there is none in this network namespace.
pub(crate) fn socket_at(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<SocketId>> {
    let found = ask(ONE, 0, u32::MAX, &SocketId::at(local, remote), &[])?.pop();
    // Without such a socket, the kernel returns the listening socket.
    Ok(found.filter(|it| it.remote == canonical(&remote)).map(|it| it.id))
}

/// Sends a request with a `struct inet_diag_req_v2` over the thread's socket to the kernel, and
/// returns the sockets in the answers.
fn ask(
    flags: u16,
    extensions: u8,
    states: u32,
    of: &SocketId,
    program: &[u8],
) -> io::Result<Vec<Socket>> {
    let (netlink, mut buffer) = match NETLINK.take() {
        Some(kept) => kept,
        None => {
            let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkSockDiag);
            let netlink = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            (netlink, vec![0; PART])
        }
    };
    let length = HEADER + REQUEST + program.len();
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.resize(HEADER, 0);
    message.extend([of.family, libc::IPPROTO_TCP as u8, extensions, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(of.id);
    message.extend(program);
    sendto(netlink.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let (mut found, mut is_over) = (Vec::new(), false);
    while !is_over {
        let length = match recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            received => received?,
        };
        is_over = match read(&buffer[..length], &mut found) {
            // The socket is gone. `ESTALE`: another socket has its addresses now.
            Err(error)
                if flags == ONE
                    && matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) =>
            {
                true
            }
            was_last => was_last? || flags == ONE,
        };
    }
    NETLINK.set(Some((netlink, buffer)));
    Ok(found)
}

/// The attribute with a program that accepts the sockets with these local ports. Empty if there are
/// no ports or too many: the kernel then lists all sockets.
fn program(ports: &BTreeSet<u16>) -> Vec<u8> {
    if ports.is_empty() || ports.len() > MOST_PORTS {
        return Vec::new();
    }
    // The last port needs no jump to the end.
    let end = ports.len() * PER_PORT - 4;
    let mut program = Vec::with_capacity(4 + end);
    program.extend((4 + end as u16).to_ne_bytes());
    program.extend(BYTECODE.to_ne_bytes());
    // If the condition of an operation holds, the next operation is `yes` bytes later, and
    // otherwise `no` bytes later. The program accepts a socket if these steps lead exactly to the
    // end of the program. If the steps lead further, the program refuses the socket.
    let mut operation = |code: u8, yes: u8, no: u16| {
        program.extend([code, yes]);
        program.extend(no.to_ne_bytes());
    };
    for (port, left) in ports.iter().zip((0..ports.len()).rev()) {
        for (code, no) in [(PORT_AT_LEAST, PER_PORT), (PORT_AT_MOST, PER_PORT - 8)] {
            operation(code, 8, no as u16);
            operation(0, 0, *port);
        }
        if left > 0 {
            operation(JUMP, 4, (left * PER_PORT) as u16);
        }
    }
    program
}

/// Adds the sockets in one part of the kernel's answer. Returns whether this part was the last.
fn read(mut part: &[u8], found: &mut Vec<Socket>) -> io::Result<bool> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    while !part.is_empty() {
        let length = u32_at(part, 0).ok_or_else(malformed)? as usize;
        let message = part.get(..length).filter(|_| length >= HEADER).ok_or_else(malformed)?;
        match u16_at(message, 4).map(i32::from) {
            Some(libc::NLMSG_DONE) => return Ok(true),
            Some(libc::NLMSG_ERROR) => {
                let code = u32_at(message, HEADER).unwrap_or_default() as i32;
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            _ => found.push(parse(&message[HEADER..]).ok_or_else(malformed)?),
        }
        part = part.get(align(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// Reads a `struct inet_diag_msg` and its attributes.
pub(crate) fn parse(message: &[u8]) -> Option<Socket> {
    let [family, state] = *message.get(..2)? else { return None };
    // A connection that the server has closed, and that still has data to send, has no inode.
    let inode = u32_at(message, INODE)?;
    let is_held = inode != 0;
    let is_open = is_held || matches!(state, ESTABLISHED | CLOSE_WAIT);
    // The server's FIN counts as one unsent byte.
    let is_flushing = !is_open && u32_at(message, UNSENT)? > 1;
    let end = |port: usize, ip: usize| {
        let port = u16::from_be_bytes(message.get(port..port + 2)?.try_into().ok()?);
        let address = message.get(ip..ip + 16)?;
        let ip = if i32::from(family) == libc::AF_INET {
            IpAddr::from(<[u8; 4]>::try_from(address.get(..4)?).ok()?)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(address).ok()?).to_canonical()
        };
        Some(SocketAddr::new(ip, port))
    };
    let (mut is_transparent, mut connection) = (None, None);
    for (kind, value) in attributes(message.get(MESSAGE..)?) {
        if kind == SOCKOPT {
            is_transparent = value.first().map(|flags| flags & TRANSPARENT != 0);
        } else if kind == INFO {
            connection = connection_of(message, value);
        }
    }
    let (local, remote) = (end(4, 8)?, end(6, 24)?);
    let queue = u32_at(message, UNREAD)?;
    let id = SocketId { family, id: message.get(ID..ID + 48)?.try_into().ok()?, inode };
    Some(Socket { id, local, remote, is_open, is_flushing, is_transparent, queue, connection })
}

/// Reads a `struct tcp_info`; `None` before Linux 4.6.
fn connection_of(message: &[u8], info: &[u8]) -> Option<Connection> {
    let state = *message.get(1)?;
    let ago = |at| u32_at(info, at).map(|millis| Duration::from_millis(millis.into()));
    let unsent = u32_at(message, UNSENT)?;
    // The kernel counts the client's FIN as a received byte (`tcp_rcv_nxt_update`).
    let end = u32::from(matches!(state, CLOSE_WAIT | LAST_ACK | CLOSING));
    let can_send = matches!(state, ESTABLISHED | CLOSE_WAIT);
    let is_waiting = can_send && u32_at(message, INODE)? == 0;
    Some(Connection {
        cookie: u64_at(message, COOKIE)?,
        // The state of a destroyed socket no longer tells whether the client's FIN has come.
        is_unread: u32_at(message, UNREAD)? > end.max((state == CLOSE).into()) || is_waiting,
        is_waiting,
        is_sending: unsent != 0,
        can_send,
        received: u64_at(info, 128)?.saturating_sub(end.into()),
        // The server's FIN counts as one unsent byte.
        segments: u32_at(info, 152)?,
        has_sent: u32_at(info, 156)? > 0 || unsent > u32::from(!can_send),
        is_ours: false,
        sent_ago: ago(44)?,
        received_ago: ago(52)?,
    })
}

/// The kinds and values of the attributes at the end of a message.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(rest, 0)?), u16_at(rest, 2)?);
        let value = rest.get(4..length)?;
        rest = rest.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Netlink aligns messages and attributes to four bytes.
fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_answers_are_errors() {
        for part in [&[1][..], &[0; 16], &[255; 20]] {
            assert!(read(part, &mut Vec::new()).is_err(), "{part:?}");
        }
    }
}
