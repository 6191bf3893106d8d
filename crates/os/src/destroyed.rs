//! The kernel's messages about TCP sockets that it destroys, over `NETLINK_SOCK_DIAG`. Each message
//! has the last state of the socket, needs no privilege, and costs the server nothing. A message
//! comes when the client has acknowledged the end of the connection.

use std::collections::BTreeSet;
use std::io;
use std::mem::take;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::on_thread::locked;
use crate::signal::mask;
use crate::sock_diag::{
    HEADER, INFO, MESSAGE, OPEN, Socket, Wanted, attributes, parse, socket_at, sockets, u32_at,
};
use crate::{clock, own_connections, sys};
use drainit_core::connections::answers::Connection;
use drainit_core::types::Time;

/// The bits of the multicast groups `SKNLGRP_INET_TCP_DESTROY` and `SKNLGRP_INET6_TCP_DESTROY` of
/// linux/sock_diag.h (Linux 4.2).
const GROUPS: u32 = 1 << 0 | 1 << 2;
/// The wanted size of the queue of messages, for some 10,000 connections that end at once. Without
/// `CAP_NET_ADMIN`, the kernel allows less (`net.core.rmem_max`).
const QUEUE: usize = 16 << 20;
/// The offset of the local port in a message.
const PORT: u32 = 20;
/// The offsets of `tcpi_advmss` and `tcpi_data_segs_in` in `struct tcp_info`.
const ADVMSS: usize = 84;
const DATA_SEGMENTS: usize = 152;
/// A filter has two instructions for each port, and the kernel allows 4,096 instructions. With more
/// ports, there is no filter.
const MOST_PORTS: usize = 2000;

/// How often the thread checks without a message whether it is still needed.
const PAUSE: TimeVal = TimeVal::new(1, 0);

/// At most this many ends wait until they are taken. Each has some 100 bytes, and a server whose drain
/// drainit does not count can end very many.
const MOST_WAITING: usize = 100_000;

/// A TCP connection that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub at: Time,
    pub local: SocketAddr,
    /// Whether the server has reset the connection. The kernel then no longer knows the client, nor
    /// what was sent.
    pub is_reset: bool,
    /// Whether the kernel still had a socket with the same addresses at the message
    /// ([`Connection::has_left`]). Only asked for connections that may owe an answer.
    pub is_remembered: bool,
    pub last: Connection,
}

/// Receives the messages on a thread of its own, which never waits for anything else. The thread ends
/// at most [`PAUSE`] after the last clone is dropped, or at the next message.
#[derive(Clone)]
pub struct Destroyed {
    netlink: Arc<OwnedFd>,
    received: Arc<(Mutex<Received>, Condvar)>,
}

#[derive(Default)]
struct Received {
    ended: Vec<Ended>,
    /// Whether messages were lost, or can no longer be received.
    is_lost: bool,
}

impl Received {
    /// Adds an end. Beyond `most`, all ends are lost, and no more are received.
    fn has_room_for(&mut self, ended: Ended, most: usize) -> bool {
        self.ended.push(ended);
        if self.ended.len() > most {
            *self = Self { ended: Vec::new(), is_lost: true };
        }
        !self.is_lost
    }
}

impl Destroyed {
    /// Begins to receive.
    ///
    /// # Errors
    /// Fails if the kernel has no such messages (before Linux 4.2, gVisor), or no thread can be
    /// started.
    pub fn open() -> io::Result<Self> {
        let (raw, netlink) = (SockType::Raw, SockProtocol::NetlinkSockDiag);
        let netlink = socket(AddressFamily::Netlink, raw, SockFlag::SOCK_CLOEXEC, netlink)?;
        setsockopt(&netlink, sockopt::RcvBufForce, &QUEUE)
            .or_else(|_| setsockopt(&netlink, sockopt::RcvBuf, &QUEUE))?;
        setsockopt(&netlink, sockopt::ReceiveTimeout, &PAUSE)?;
        bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        let (netlink, received) = (Arc::new(netlink), Arc::default());
        let (from, to) = (Arc::clone(&netlink), Arc::clone(&received));
        let run = move || {
            mask::block_here();
            receive(&from, &to);
        };
        thread::Builder::new().name("ends".to_owned()).spawn(run)?;
        Ok(Self { netlink, received })
    }

    /// Receives only messages about connections to these ports from now on.
    pub fn only(&self, ports: &BTreeSet<u16>) {
        if ports.len() > MOST_PORTS {
            return;
        }
        let operation =
            |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
        let load = operation(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, PORT);
        let [refuse, accept] = [0, u32::MAX].map(|bytes| operation(libc::BPF_RET, 0, bytes));
        let is_port = |port| operation(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, port);
        let each = ports.iter().flat_map(|port| [is_port((*port).into()), accept]);
        let mut program: Vec<_> = [load].into_iter().chain(each).chain([refuse]).collect();
        // Without the filter, messages about other connections are dropped later.
        let _ = sys::attach_filter(self.netlink.as_fd(), &mut program);
    }

    /// The connections that have ended since the last call; `None` if some may be missing.
    pub fn take(&self) -> Option<Vec<Ended>> {
        let mut ended = {
            let mut received = locked(&self.received.0);
            (!received.is_lost).then(|| take(&mut received.ended))?
        };
        // A server can close a connection before drainit notices that it is connected.
        let ours = own_connections::cookies();
        ended.iter_mut().for_each(|one| one.last.is_ours = ours.contains(&one.last.cookie));
        Some(ended)
    }

    /// Waits for a message that [`Self::take`] has not returned yet, for at most this time.
    pub fn wait(&self, limit: Duration) {
        let (received, changed) = &*self.received;
        let is_nothing = |received: &mut Received| received.ended.is_empty() && !received.is_lost;
        // The caller takes what is there in any case.
        drop(changed.wait_timeout_while(locked(received), limit, is_nothing));
    }
}

fn receive(netlink: &Arc<OwnedFd>, (received, changed): &(Mutex<Received>, Condvar)) {
    let mut buffer = vec![0; 8 * 1024];
    while Arc::strong_count(netlink) > 1 {
        let message = match recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR | Errno::EAGAIN) => continue,
            Err(_) => None,
            Ok(length) => buffer.get(HEADER..length),
        };
        let is_over = message.is_none();
        match message.map(|message| (to_ended(message), message)) {
            Some((Some(ended), _)) => {
                if !locked(received).has_room_for(ended, MOST_WAITING) {
                    return changed.notify_one();
                }
            }
            Some((None, message)) if is_listener(message) => continue,
            // An error (`ENOBUFS`: the queue was full) or a malformed message.
            _ => locked(received).is_lost = true,
        }
        changed.notify_one();
        if is_over {
            return;
        }
    }
}

fn info(message: &[u8]) -> Option<&[u8]> {
    let attributes = attributes(message.get(MESSAGE..)?);
    attributes.filter(|(kind, _)| *kind == INFO).map(|(_, info)| info).next()
}

/// Whether the socket has listened: it has no client, and was never connected.
fn is_listener(message: &[u8]) -> bool {
    let is_connected = |info: &[u8]| u32_at(info, ADVMSS) != Some(0);
    parse(message).is_some_and(|it| it.remote.port() == 0)
        && !info(message).is_none_or(is_connected)
}

/// Reads a message; `None` for a listening socket.
fn to_ended(message: &[u8]) -> Option<Ended> {
    if is_listener(message) {
        return None;
    }
    let socket = parse(message)?;
    let remote = socket.remote;
    let mut ended = to_end_of(socket)?;
    // The client's FIN counts as a received byte, also after a connection without a request.
    if u32_at(info(message)?, DATA_SEGMENTS)? == 0 {
        ended.last.received = 0;
    }
    if !ended.is_reset && ended.last.is_asking() {
        ended.is_remembered = !matches!(socket_at(ended.local, remote), Ok(None));
    }
    Some(ended)
}

fn to_end_of(socket: Socket) -> Option<Ended> {
    let Socket { local, remote, connection, .. } = socket;
    let (is_reset, last) = (remote.port() == 0, connection?);
    // The state of a socket that the kernel still lists says nothing about the first FIN.
    Some(Ended { at: clock::now(), local, is_reset, is_remembered: true, last })
}

/// The connections to these ports that have not ended. The flag says whether somebody has the
/// connection open, or whether only the kernel still sends on it.
///
/// # Errors
/// Fails if the kernel does not list its sockets.
pub fn still(ports: BTreeSet<u16>) -> io::Result<Vec<(bool, Ended)>> {
    let wanted = Wanted { ports, ..Wanted::default() };
    let all = sockets(&OPEN, 1 << (INFO - 1), &wanted)?;
    let ended = |one: Socket| Some((one.is_open, to_end_of(one)?));
    let mut still: Vec<_> = all.into_iter().filter_map(ended).collect();
    let ours = own_connections::cookies();
    still.iter_mut().for_each(|(_, one)| one.last.is_ours = ours.contains(&one.last.cookie));
    Ok(still)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Instant;

    use nix::sys::socket::sockopt::Linger;
    use nix::sys::socket::{SockaddrStorage, connect};

    use super::*;
    use crate::testing::isolated::in_own_process;
    use drainit_core::connections::endings::Ending;

    const TICK: Duration = Duration::from_millis(30);

    fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// The next connections to end at this address.
    fn next(from: &Destroyed, at: SocketAddr, count: usize) -> Vec<Ended> {
        let (began, mut found) = (Instant::now(), Vec::new());
        while found.len() < count {
            assert!(began.elapsed() < Duration::from_secs(10), "{found:?}");
            from.wait(Duration::from_millis(100));
            found.extend(from.take().unwrap().into_iter().filter(|one| one.local == at));
        }
        found
    }

    // holds: S780, S781
    #[test]
    fn the_kernel_tells_how_each_connection_has_ended() {
        in_own_process(|| {
            for address in ["127.0.0.1:0", "[::1]:0"] {
                let listener = TcpListener::bind(address).unwrap();
                let at = listener.local_addr().unwrap();
                let from = Destroyed::open().unwrap();
                from.only(&[at.port()].into());
                let ends = |end: &dyn Fn(TcpStream, TcpStream)| {
                    let (mut client, mut server) = pair(&listener);
                    client.write_all(b"request").unwrap();
                    server.read_exact(&mut [0; 7]).unwrap();
                    thread::sleep(TICK);
                    end(client, server);
                    let [ended] = next(&from, at, 1)[..] else { panic!() };
                    ended.last.ending(None, ended.is_reset, Duration::from_secs(5))
                };
                let answered = |client: TcpStream, mut server: TcpStream| {
                    server.write_all(b"answer").unwrap();
                    drop((server, client));
                };
                assert_eq!(ends(&answered), Ending::Sending, "{address}");
                assert_eq!(ends(&|client, server| drop((server, client))), Ending::Cut);
                let leaves = |client: TcpStream, mut server: TcpStream| {
                    client.shutdown(Shutdown::Write).unwrap();
                    assert_eq!(server.read(&mut [0; 9]).unwrap(), 0);
                };
                assert_eq!(ends(&leaves), Ending::Cut);
                let resets = |client: TcpStream, server: TcpStream| {
                    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
                    setsockopt(&server, Linger, &at_once).unwrap();
                    drop((server, client));
                };
                assert_eq!(ends(&resets), Ending::Reset);
                // A connection on which nothing was asked.
                let (client, server) = pair(&listener);
                drop(client);
                drop(server);
                let [unused] = next(&from, at, 1)[..] else { panic!() };
                assert_eq!(unused.last.ending(None, false, Duration::MAX), Ending::Answered);
                // The listening socket ends, too, and says nothing about a client.
                let waiting = [(); 3].map(|()| TcpStream::connect(at).unwrap());
                drop(listener);
                let reset = next(&from, at, 3);
                assert!(reset.iter().all(|one| one.is_reset), "{reset:?}");
                drop(waiting);
            }
        });
    }

    // holds: S931
    #[test]
    fn the_kernel_forgets_a_connection_that_the_client_has_closed_first() {
        in_own_process(|| {
            for address in ["127.0.0.1:0", "[::1]:0"] {
                let listener = TcpListener::bind(address).unwrap();
                let at = listener.local_addr().unwrap();
                let from = Destroyed::open().unwrap();
                let wanted = Wanted { ports: [at.port()].into(), ..Wanted::default() };
                let has_left = |end: &dyn Fn(TcpStream, TcpStream)| {
                    let (mut client, mut server) = pair(&listener);
                    client.write_all(b"request").unwrap();
                    server.read_exact(&mut [0; 7]).unwrap();
                    thread::sleep(TICK);
                    let before = sockets(&OPEN, 1 << (INFO - 1), &wanted).unwrap();
                    let before = before.iter().find_map(|one| one.connection);
                    end(client, server);
                    let [ended] = next(&from, at, 1)[..] else { panic!() };
                    ended.last.has_left(before.as_ref(), ended.is_remembered)
                };
                let leaves = |client: TcpStream, mut server: TcpStream| {
                    drop(client);
                    assert_eq!(server.read(&mut [0; 9]).unwrap(), 0);
                };
                assert!(has_left(&leaves), "{address}: it gives up");
                let says_goodbye = |mut client: TcpStream, mut server: TcpStream| {
                    client.write_all(b"bye").unwrap();
                    drop(client);
                    assert_eq!(server.read_to_end(&mut Vec::new()).unwrap(), 3);
                };
                // On a busy machine, the last data may be too old to show who left.
                let is_seen = (0..9).any(|_| has_left(&says_goodbye));
                assert!(is_seen, "{address}: it says goodbye");
                assert!(!has_left(&|client, server| drop((server, client))), "{address}: cut");
                let answers = |mut client: TcpStream, server: TcpStream| {
                    drop(server);
                    assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
                    client.write_all(b"alert").unwrap();
                };
                assert!(!has_left(&answers), "{address}: cut, and the client answers the FIN");
            }
        });
    }

    // holds: S782
    #[test]
    fn connections_to_other_ports_are_left_out_and_lost_messages_are_unknown() {
        in_own_process(|| {
            let [own, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let (at, from) = (own.local_addr().unwrap(), Destroyed::open().unwrap());
            from.only(&[at.port()].into());
            drop(pair(&other));
            drop(pair(&own));
            from.wait(Duration::from_secs(10));
            let ended = from.take().unwrap();
            assert_eq!(ended.iter().map(|one| one.local).collect::<Vec<_>>(), [at]);
            let received = (Mutex::default(), Condvar::new());
            let no_socket: Arc<OwnedFd> = Arc::new(std::io::pipe().unwrap().0.into());
            receive(&Arc::clone(&no_socket), &received);
            assert!(locked(&received.0).is_lost, "an error is not zero");
        });
    }

    // holds: S782
    #[test]
    fn more_ends_than_may_wait_are_unknown_and_take_no_memory() {
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        let last = Connection::default();
        let (at, is_remembered) = (Time::default(), false);
        let ended = Ended { at, local, is_reset: false, is_remembered, last };
        let (netlink, received) = (io::pipe().unwrap().0.into(), Arc::default());
        let all = Destroyed { netlink: Arc::new(netlink), received: Arc::clone(&received) };
        let add = || locked(&received.0).has_room_for(ended, 3);
        assert_eq!([(); 3].map(|()| add()), [true; 3]);
        assert_eq!(all.take().unwrap().len(), 3);
        assert_eq!([(); 4].map(|()| add()), [true, true, true, false]);
        assert!(all.take().is_none() && locked(&received.0).ended.capacity() == 0);
    }

    // holds: S783, S930
    #[test]
    fn probes_are_known_after_their_end_and_later_clients_with_the_same_port_are_clients() {
        in_own_process(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let at = listener.local_addr().unwrap();
            let from = Destroyed::open().unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let probe = runtime.block_on(own_connections::connect(at)).unwrap();
            let port = probe.local_addr().unwrap();
            // The server closes first, so a client can have the port at once.
            drop(listener.accept().unwrap());
            drop(probe);
            let client =
                socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
            setsockopt(&client, sockopt::ReuseAddr, &true).unwrap();
            let [from_port, to] = [port, at].map(SockaddrStorage::from);
            bind(client.as_raw_fd(), &from_port).unwrap();
            connect(client.as_raw_fd(), &to).unwrap();
            let (server, client_at) = listener.accept().unwrap();
            assert_eq!(client_at, port);
            drop((server, client));
            let ours: Vec<_> = next(&from, at, 2).iter().map(|one| one.last.is_ours).collect();
            assert_eq!(ours, [true, false]);
        });
    }
}
