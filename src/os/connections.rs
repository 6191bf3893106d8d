//! The kernel's count of the connections to listening sockets, over `NETLINK_SOCK_DIAG`. The count
//! needs no privilege, costs the server nothing, and takes well under a millisecond for some
//! hundred connections.
//!
//! The kernel also lists connections that the server has not accepted yet. It cannot tell which
//! connections belong to a listener of UDP (HTTP/3), or to a transparent one, whose connections
//! keep the address that the client has asked for.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// The states of include/net/tcp_states.h in which a server may still have to answer.
const ESTABLISHED: u8 = 1;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;
/// `INET_DIAG_SOCKOPT` of linux/inet_diag.h (Linux 5.10), and its bit `transparent`.
const SOCKOPT: u16 = 22;
const TRANSPARENT: u8 = 0x20;
/// The sizes of `struct nlmsghdr`, `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
/// The offset of `idiag_inode` in `struct inet_diag_msg`.
const INODE: usize = 68;

/// A socket of the network namespace.
struct Socket {
    local: SocketAddr,
    /// Whether the server holds the connection, or has not accepted it yet. The server holds a
    /// connection that it has closed for writing only.
    is_open: bool,
    /// Whether the socket is transparent; `None` if the kernel does not say so.
    is_transparent: Option<bool>,
}

/// Whether the kernel's count includes every connection to these addresses: a listening socket
/// has each of them, and none is transparent.
///
/// # Errors
/// Fails if the kernel does not list its sockets, as in gVisor.
pub(crate) fn are_visible(addresses: &[SocketAddr]) -> io::Result<bool> {
    let listening = sockets(&[LISTEN])?;
    Ok(addresses.iter().all(|address| {
        let mut at = listening.iter().filter(|socket| is_at(socket.local, *address));
        let has_own = listening.iter().any(|socket| is_exactly(socket.local, *address));
        has_own && at.all(|socket| socket.is_transparent == Some(false))
    }))
}

/// The number of open connections to these addresses of this machine.
///
/// # Errors
/// As for [`are_visible`].
pub(crate) fn count(addresses: &[SocketAddr]) -> io::Result<u64> {
    let sockets = sockets(&[ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT])?;
    let is_counted = |socket: &&Socket| {
        socket.is_open && addresses.iter().any(|address| is_at(socket.local, *address))
    };
    Ok(sockets.iter().filter(is_counted).count() as u64)
}

/// The number of TCP connections that the programs of this network namespace have accepted so far,
/// on all their listeners; `None` if the kernel does not say so. It has grown if a connection has
/// come since the last look, even if that connection is closed again.
pub(crate) fn accepted() -> Option<u64> {
    let counters = fs::read_to_string("/proc/self/net/snmp").ok()?;
    let mut lines = counters.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?.split(' '), lines.next()?.split(' '));
    let (_, value) = names.zip(values).find(|(name, _)| *name == "PassiveOpens")?;
    value.parse().ok()
}

/// Whether a socket with this local address belongs to a listener with this address.
fn is_at(local: SocketAddr, listener: SocketAddr) -> bool {
    local.port() == listener.port()
        && (listener.ip().is_unspecified() || local.ip() == listener.ip().to_canonical())
}

/// Whether a listening socket has this address itself. Another socket on the port of an unspecified
/// address proves nothing: the listener may be of UDP.
fn is_exactly(local: SocketAddr, listener: SocketAddr) -> bool {
    local == SocketAddr::new(listener.ip().to_canonical(), listener.port())
}

/// All TCP sockets in one of these states.
fn sockets(states: &[u8]) -> io::Result<Vec<Socket>> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = request(family, states);
        sendto(netlink.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        loop {
            let length = receive(netlink.as_raw_fd(), &mut buffer)?;
            if read(&buffer[..length], &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

fn receive(netlink: i32, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(netlink, buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            received => return Ok(received?),
        }
    }
}

fn request(family: i32, states: &[u8]) -> Vec<u8> {
    let length = (HEADER + REQUEST) as u32;
    let mut request = Vec::with_capacity(HEADER + REQUEST);
    request.extend(length.to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.resize(HEADER, 0);
    request.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    let states: u32 = states.iter().map(|state| 1 << state).sum();
    request.extend(states.to_ne_bytes());
    request.resize(HEADER + REQUEST, 0);
    request
}

/// Reads the messages of a part of the answer. Returns whether it was the last part.
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
        part = part.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// Reads a `struct inet_diag_msg` and its attributes.
fn parse(message: &[u8]) -> Option<Socket> {
    let [family, state] = *message.get(..2)? else { return None };
    // A connection that the server has closed, and that still has data to send, has no inode.
    let is_held = u32_at(message, INODE)? != 0;
    let is_open = is_held || ![FIN_WAIT1, FIN_WAIT2].contains(&state);
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let address = message.get(8..24)?;
    let ip = if i32::from(family) == libc::AF_INET {
        IpAddr::from(<[u8; 4]>::try_from(address.get(..4)?).ok()?)
    } else {
        IpAddr::from(<[u8; 16]>::try_from(address).ok()?).to_canonical()
    };
    let mut rest = message.get(MESSAGE..)?;
    let mut is_transparent = None;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        if kind == SOCKOPT {
            is_transparent = rest.get(4).map(|flags| flags & TRANSPARENT != 0);
        }
        rest = rest.get(aligned(usize::from(length.max(4)))..).unwrap_or_default();
    }
    Some(Socket { is_open, local: SocketAddr::new(ip, port), is_transparent })
}

/// Netlink aligns messages and attributes to four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_to_a_listener_are_counted_from_the_connect_to_the_close() {
        for (bind, connect) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("0.0.0.0:0", "127.0.0.1"),
            ("[::]:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
        ] {
            let listener = TcpListener::bind(bind).unwrap();
            let address = listener.local_addr().unwrap();
            let elsewhere = SocketAddr::new("127.0.0.9".parse().unwrap(), address.port());
            assert!(are_visible(&[address]).unwrap(), "{bind}");
            assert_eq!(count(&[address]).unwrap(), 0, "{bind}");
            // The server has not accepted this connection.
            let to = SocketAddr::new(connect.parse().unwrap(), address.port());
            let client = TcpStream::connect(to).unwrap();
            assert_eq!(count(&[address]).unwrap(), 1, "{bind}");
            assert_eq!(count(&[elsewhere]).unwrap(), 0, "{bind}");
            // The client has closed its side, and the server has not.
            let (server, _) = listener.accept().unwrap();
            drop(client);
            assert_eq!(count(&[address]).unwrap(), 1, "{bind}");
            // The server has closed the second connection for writing only.
            let _client = TcpStream::connect(to).unwrap();
            let (half, _) = listener.accept().unwrap();
            half.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(count(&[address]).unwrap(), 2, "{bind}");
            drop((server, half, listener));
            assert_eq!(count(&[address]).unwrap(), 0, "{bind}");
            assert!(!are_visible(&[address]).unwrap(), "{bind}: nobody listens");
        }
    }

    // holds: S276
    #[test]
    fn a_short_connection_counts_as_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let before = accepted().unwrap();
        drop((TcpStream::connect(address).unwrap(), listener));
        assert_eq!(count(&[address]).unwrap(), 0);
        // Other tests accept connections, too.
        assert!(accepted().unwrap() > before);
    }

    #[test]
    fn many_connections_come_in_several_parts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(count(&[address]).unwrap(), 100);
        drop(clients);
    }

    #[test]
    fn malformed_answers_are_errors() {
        for part in [&[1][..], &[0; 16], &[255; 20]] {
            assert!(read(part, &mut Vec::new()).is_err(), "{part:?}");
        }
    }
}
