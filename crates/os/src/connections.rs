//! The kernel's count of the connections to listening sockets, over `NETLINK_SOCK_DIAG`. The count
//! needs no privilege, costs the server nothing, and takes well under a millisecond for some
//! hundred connections.
//!
//! The kernel also lists connections that the server has not accepted yet. It cannot tell which
//! connections belong to a listener of UDP (HTTP/3), or to a transparent one, whose connections
//! keep the address that the client has asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::Pid;
use crate::descendants::{sockets_of, sockets_of_each};
use drainit_core::connections::answers::Connection;

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// The states of include/net/tcp_states.h in which a server may still have to answer.
const ESTABLISHED: u8 = 1;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;
const OPEN: [u8; 4] = [ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT];
const LISTEN: u8 = 10;
/// `INET_DIAG_SOCKOPT` of linux/inet_diag.h (Linux 5.10), and its bit `transparent`.
const SOCKOPT: u16 = 22;
const TRANSPARENT: u8 = 0x20;
/// `INET_DIAG_INFO`: a `struct tcp_info` of linux/tcp.h. The request asks for it by a bit.
const INFO: u16 = 2;
/// The sizes of `struct nlmsghdr`, `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
/// The offsets of `idiag_cookie`, `idiag_rqueue`, `idiag_wqueue` and `idiag_inode` in
/// `struct inet_diag_msg`.
const COOKIE: usize = 44;
const UNREAD: usize = 56;
const UNSENT: usize = 60;
const INODE: usize = 68;

/// A socket of the network namespace.
struct Socket {
    local: SocketAddr,
    inode: u32,
    /// Whether the server holds the connection, or has not accepted it yet. The server holds a
    /// connection that it has closed for writing only.
    is_open: bool,
    /// Whether the socket is transparent; `None` if the kernel does not say so.
    is_transparent: Option<bool>,
    /// The bytes and times of the connection, if they were asked for.
    connection: Option<Connection>,
}

/// The listening sockets of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    own: BTreeSet<SocketAddr>,
    /// Those of other processes.
    others: BTreeSet<SocketAddr>,
}

impl Listeners {
    /// Finds the sockets on which a process or one of its descendants listens; only those with one
    /// of the `ports`, if there are any. Call this on a thread of its own.
    ///
    /// # Errors
    /// Says why they cannot be found.
    pub fn of(pid: Pid, ports: &[u16]) -> Result<Self, String> {
        let all = sockets(&[LISTEN], 0).map_err(|error| unlisted(&error))?;
        let wanted = |socket: &&Socket| ports.is_empty() || ports.contains(&socket.local.port());
        let inodes = sockets_of(pid);
        let found: BTreeSet<u32> = inodes.as_ref().map(Clone::clone).unwrap_or_default();
        let is_own = |socket: &&Socket| found.contains(&socket.inode);
        let mut own: Vec<_> = all.iter().filter(wanted).filter(is_own).collect();
        if own.is_empty() {
            own = all.iter().filter(wanted).filter(|_| !ports.is_empty()).collect();
        }
        if let (Err(error), true) = (inodes, own.is_empty()) {
            return Err(format!("its ports cannot be found, so write them as `ports`: {error}"));
        }
        let own_inodes: BTreeSet<_> = own.iter().map(|socket| socket.inode).collect();
        let is_other = |socket: &&Socket| !own_inodes.contains(&socket.inode);
        let others = all.iter().filter(is_other).map(|socket| socket.local).collect();
        Ok(Self { own: own.iter().map(|socket| socket.local).collect(), others })
    }

    /// Finds the sockets on which each of these processes listens, with its descendants. A process
    /// that does not listen, or whose sockets drainit may not see, is missing. Call this on a thread
    /// of its own.
    ///
    /// # Errors
    /// Says why they cannot be found.
    pub fn of_each(pids: &BTreeSet<Pid>) -> Result<BTreeMap<Pid, Self>, String> {
        let all = sockets(&[LISTEN], 0).map_err(|error| unlisted(&error))?;
        if all.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = sockets_of_each(pids).map_err(|error| error.to_string())?;
        let listeners = found.into_iter().map(|(pid, inodes)| {
            let (own, others): (Vec<_>, _) =
                all.iter().partition(|socket| inodes.contains(&socket.inode));
            let locals = |sockets: Vec<&Socket>| sockets.iter().map(|it| it.local).collect();
            (pid, Self { own: locals(own), others: locals(others) })
        });
        Ok(listeners.filter(|(_, listeners)| !listeners.is_empty()).collect())
    }

    /// Whether somebody still listens at each of these addresses. The kernel closes the descriptors
    /// of an ending process in their order, and a listener is older than its connections.
    pub fn remain(&self) -> bool {
        let is_there =
            |all: &[Socket], own: &SocketAddr| all.iter().any(|socket| socket.local == *own);
        let all = sockets(&[LISTEN], 0);
        all.is_ok_and(|all| self.own.iter().all(|own| is_there(&all, own)))
    }

    /// Whether the process listens at all.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// The open connections to these sockets.
    ///
    /// # Errors
    /// Says why the kernel does not list them.
    pub fn connections(&self) -> Result<Vec<Connection>, String> {
        if self.is_empty() {
            return Err("nobody listens on its TCP ports".to_owned());
        }
        Open::now()?.of(self)
    }

    /// Whether a connection with this local address belongs to these sockets. There can be thousands
    /// of both.
    fn has(&self, local: SocketAddr) -> bool {
        let is_at_any = |ip: IpAddr| self.own.contains(&SocketAddr::new(ip, local.port()));
        // A listener on `::` also takes connections over IPv4.
        let is_at_unspecified = is_at_any(Ipv6Addr::UNSPECIFIED.into())
            || local.is_ipv4() && is_at_any(Ipv4Addr::UNSPECIFIED.into());
        self.own.contains(&local) || !self.others.contains(&local) && is_at_unspecified
    }
}

/// The open connections of the network namespace.
pub struct Open(Vec<Socket>);

impl Open {
    /// Looks at all open connections.
    ///
    /// # Errors
    /// Says why the kernel does not list them.
    pub fn now() -> Result<Self, String> {
        sockets(&OPEN, 1 << (INFO - 1)).map(Self).map_err(|error| unlisted(&error))
    }

    /// Those to these sockets.
    ///
    /// # Errors
    /// Says why the kernel does not tell enough of them.
    pub fn of(&self, listeners: &Listeners) -> Result<Vec<Connection>, String> {
        let is_counted = |socket: &&Socket| socket.is_open && listeners.has(socket.local);
        let of_kernel = |socket: &Socket| socket.connection.ok_or("this kernel is too old");
        let counted = self.0.iter().filter(is_counted).map(of_kernel);
        counted.collect::<Result<_, _>>().map_err(str::to_owned)
    }
}

fn unlisted(error: &io::Error) -> String {
    format!("the kernel does not list them: {error}")
}

/// Whether the kernel's count includes every connection to these addresses: a listening socket
/// has each of them, and none is transparent.
///
/// # Errors
/// Fails if the kernel does not list its sockets, as in gVisor.
pub fn are_visible(addresses: &[SocketAddr]) -> io::Result<bool> {
    let listening = sockets(&[LISTEN], 0)?;
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
pub fn count(addresses: &[SocketAddr]) -> io::Result<u64> {
    let canonical = |at: &SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let own = addresses.iter().map(canonical).collect();
    let listeners = Listeners { own, others: BTreeSet::new() };
    let is_counted = |socket: &&Socket| socket.is_open && listeners.has(socket.local);
    Ok(sockets(&OPEN, 0)?.iter().filter(is_counted).count() as u64)
}

/// The number of TCP connections that the programs of this network namespace have accepted so far,
/// on all their listeners; `None` if the kernel does not say so. It has grown if a connection has
/// come since the last look, even if that connection is closed again.
pub fn accepted() -> Option<u64> {
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

/// All TCP sockets in one of these states, with the attributes that the bits of `extensions` ask
/// for.
fn sockets(states: &[u8], extensions: u8) -> io::Result<Vec<Socket>> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = request(family, states, extensions);
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

fn request(family: i32, states: &[u8], extensions: u8) -> Vec<u8> {
    let length = (HEADER + REQUEST) as u32;
    let mut request = Vec::with_capacity(HEADER + REQUEST);
    request.extend(length.to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.resize(HEADER, 0);
    request.extend([family as u8, libc::IPPROTO_TCP as u8, extensions, 0]);
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
    let inode = u32_at(message, INODE)?;
    let is_held = inode != 0;
    let is_open = is_held || ![FIN_WAIT1, FIN_WAIT2].contains(&state);
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let address = message.get(8..24)?;
    let ip = if i32::from(family) == libc::AF_INET {
        IpAddr::from(<[u8; 4]>::try_from(address.get(..4)?).ok()?)
    } else {
        IpAddr::from(<[u8; 16]>::try_from(address).ok()?).to_canonical()
    };
    let mut rest = message.get(MESSAGE..)?;
    let (mut is_transparent, mut connection) = (None, None);
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        if kind == SOCKOPT {
            is_transparent = rest.get(4).map(|flags| flags & TRANSPARENT != 0);
        } else if kind == INFO {
            connection = rest.get(4..usize::from(length)).and_then(|info| moved(message, info));
        }
        rest = rest.get(aligned(usize::from(length.max(4)))..).unwrap_or_default();
    }
    let local = SocketAddr::new(ip, port);
    Some(Socket { local, inode, is_open, is_transparent, connection })
}

/// Reads a `struct tcp_info`; `None` before Linux 4.6.
fn moved(message: &[u8], info: &[u8]) -> Option<Connection> {
    let state = *message.get(1)?;
    let ago = |at| u32_at(info, at).map(|millis| Duration::from_millis(millis.into()));
    let unsent = u32_at(message, UNSENT)?;
    // The kernel counts the end of the client's stream as a byte (`tcp_rcv_nxt_update`).
    let end = u32::from(state == CLOSE_WAIT);
    Some(Connection {
        cookie: u64_at(message, COOKIE)?,
        is_unread: u32_at(message, UNREAD)? > end || u32_at(message, INODE)? == 0,
        is_sending: unsent != 0,
        can_send: state == ESTABLISHED || state == CLOSE_WAIT,
        written: u64_at(info, 120)?.wrapping_add(unsent.into()),
        received: u64_at(info, 128)?.saturating_sub(end.into()),
        segments: u32_at(info, 152)?,
        segments_sent: u32_at(info, 156)?,
        sent_ago: ago(44)?,
        received_ago: ago(52)?,
    })
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

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

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

    // holds: S301
    #[test]
    fn bytes_and_segments_of_own_connections_are_seen_from_the_connect_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = Listeners::of(std::process::id().cast_signed(), &[address.port()]).unwrap();
        assert_eq!(own.own, [address].into());
        let pid = std::process::id().cast_signed();
        let each = Listeners::of_each(&[pid].into()).unwrap();
        assert!(each[&pid].own.contains(&address), "{each:?}");
        assert!(own.remain());
        let look = || match own.connections().unwrap()[..] {
            [connection] => connection,
            ref found => panic!("{found:?}"),
        };
        let mut client = TcpStream::connect(address).unwrap();
        let waiting = look();
        assert!(waiting.is_unread && waiting.can_send, "{waiting:?}");
        let (mut server, _) = listener.accept().unwrap();
        let fresh = look();
        assert_eq!((fresh.cookie, fresh.received, fresh.is_unread), (waiting.cookie, 0, false));
        client.write_all(b"question").unwrap();
        assert!(look().is_unread);
        server.read_exact(&mut [0; 8]).unwrap();
        let asked = look();
        assert_eq!((asked.received, asked.segments, asked.is_unread), (8, 1, false), "{asked:?}");
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
        let answered = look();
        assert_eq!(answered.written, asked.written + 6);
        assert_eq!((answered.segments, answered.segments_sent), (1, 1), "{answered:?}");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let ended = look();
        assert!(ended.can_send && !ended.is_unread, "{ended:?}");
        assert_eq!((ended.received, ended.segments), (8, 1), "the end is no byte of a request");
        server.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(own.connections().unwrap().iter().all(|one| !one.can_send));
        drop(listener);
        assert!(!own.remain());
    }

    // holds: S302
    #[test]
    fn connections_to_another_listener_on_the_same_port_do_not_count() {
        let own = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = own.local_addr().unwrap().port();
        let foreign = SocketAddr::new("127.0.0.9".parse().unwrap(), port);
        let count = |others: &[SocketAddr]| {
            let (own, others) = ([own.local_addr().unwrap()].into(), others.iter().copied());
            Listeners { own, others: others.collect() }.connections().unwrap().len()
        };
        let _client = TcpStream::connect(foreign).unwrap();
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[foreign]), 0);
        assert_eq!(count(&["127.0.0.8:1".parse().unwrap()]), 1);
        // A listener of IPv4 has no connections over IPv6.
        let other = TcpListener::bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)).unwrap();
        let _client = TcpStream::connect(other.local_addr().unwrap()).unwrap();
        assert_eq!(count(&[foreign]), 0);
    }

    #[test]
    fn hundreds_of_connections_to_many_listeners_take_less_than_a_second() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap());
        let pairs: Vec<_> = (0..300).map(connect).collect();
        let many = (0..200_000).map(|at: u32| SocketAddr::new(Ipv4Addr::from(at).into(), 9));
        let own = many.chain([address]).collect();
        let listeners = Listeners { own, others: [].into() };
        let began = Instant::now();
        assert_eq!(listeners.connections().unwrap().len(), pairs.len());
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
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
