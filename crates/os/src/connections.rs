//! The kernel's count of the connections to listening sockets, over `NETLINK_SOCK_DIAG`. The count
//! needs no privilege, costs the listening process nothing, and takes well under a millisecond for
//! some hundred connections.
//!
//! The count includes connections that the server has not accepted yet. The kernel cannot tell
//! which connections belong to a UDP listener (HTTP/3), or to a transparent listener. The
//! connections of a transparent listener keep the address that the client has asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use nix::sys::socket::{SockaddrStorage, getpeername, getsockname};

use crate::Pid;
use crate::descendants::{Holders, holders};
use crate::listeners::Listeners;
use crate::own_connections;
pub use crate::sock_diag::SocketId;
use crate::sock_diag::{INFO, LISTEN, OPEN, Socket, Wanted, canonical, listed, socket_of, sockets};
use drainit_core::connections::answers::Connection;

/// The open connections to some listeners, by their local ports and addresses.
#[derive(Default)]
pub struct Open {
    sockets: BTreeMap<(u16, IpAddr), Vec<Socket>>,
    /// The cookies of the sockets whose client is drainit.
    ours: BTreeSet<u64>,
    /// Both addresses of each connection that drainit had open after the list, drainit's address
    /// first.
    open_of_drainit: BTreeSet<(SocketAddr, SocketAddr)>,
    /// The sockets of each instance with [`Listeners::needs_holder`], by the first PID of the
    /// instance.
    holders: Holders<Pid>,
    /// The inodes of the connections that were still open after the search for their holders.
    still: BTreeSet<u32>,
}

impl Open {
    /// Lists all open connections to these listeners. All of the listeners must come from the same
    /// moment. `known` has the processes of all instances.
    ///
    /// # Errors
    /// Says why the connections, or the processes that have them open, cannot be found.
    pub fn now<'a>(
        listeners: impl IntoIterator<Item = &'a Listeners>,
        known: &BTreeSet<Pid>,
    ) -> Result<Self, String> {
        let (mut wanted, mut sharing, mut reads_all) = (Wanted::default(), BTreeMap::new(), false);
        for it in listeners {
            let key = it.of.first().filter(|_| it.needs_holder());
            reads_all |= it.needs_holder() && !it.has_unseen;
            sharing.extend(key.into_iter().flat_map(|key| it.of.iter().map(|pid| (*pid, *key))));
            wanted.ports.extend(it.ports());
            wanted.families.extend(&it.families);
        }
        if wanted.ports.is_empty() {
            return Ok(Self::default());
        }
        let mut open: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let seen = listed(&OPEN, 1 << (INFO - 1), &wanted)?;
        for socket in seen.into_iter().filter(|socket| socket.is_open || socket.is_flushing) {
            open.entry((socket.local.port(), socket.local.ip())).or_default().push(socket);
        }
        // drainit knows the cookie of a connection's server before it closes its own side.
        let (open_of_drainit, ours) = (open_of_drainit(), own_connections::cookies());
        // The search for the holders comes after the list above. A connection that is accepted in
        // between has no inode in the list, and counts without a search for its holder.
        let is_any = reads_all || !sharing.is_empty();
        let holders = is_any.then(|| holders(&sharing, known, reads_all)).transpose();
        // A connection without a holder may have been closed during the search, so the list is read
        // again.
        let still = reads_all.then(|| listed(&OPEN, 0, &wanted)).transpose()?.unwrap_or_default();
        let still = still.into_iter().map(|socket| socket.id.inode).collect();
        Ok(Self {
            sockets: open,
            ours,
            open_of_drainit,
            holders: holders.map_err(|error| error.to_string())?.unwrap_or_default(),
            still,
        })
    }

    /// The sockets with these cookies.
    pub fn ids(&self, cookies: &[u64]) -> Vec<SocketId> {
        let all = self.sockets.values().flatten();
        let has = |socket: &&Socket| {
            socket.connection.is_some_and(|connection| cookies.contains(&connection.cookie))
        };
        let found: BTreeMap<_, _> = all
            .filter(has)
            .flat_map(|socket| Some((socket.connection?.cookie, &socket.id)))
            .collect();
        cookies.iter().filter_map(|cookie| found.get(cookie).copied().cloned()).collect()
    }

    /// Whether a connection belongs to these sockets. If another process may have it, and somebody
    /// has accepted it, then its holder tells. A connection of which no holder is seen counts,
    /// unless a process that drainit does not see listens at the address.
    fn is_of(&self, socket: &Socket, listeners: &Listeners) -> bool {
        let (local, inode) = (socket.local, socket.id.inode);
        if !listeners.needs_holder() || inode == 0 {
            return listeners.has(local);
        }
        let key = listeners.of.first().copied().unwrap_or_default();
        listeners.is_at(local)
            && match listeners.has_unseen {
                true => self.holders.has(&key, inode),
                false => self.still.contains(&inode) && self.holders.may_have(&key, inode),
            }
    }

    /// The connections to these sockets.
    ///
    /// # Errors
    /// Says why the kernel does not report enough about the connections.
    pub fn of(&self, listeners: &Listeners) -> Result<Vec<Connection>, String> {
        listeners.are_shown()?;
        let of_kernel = |socket: &Socket| {
            let connection = socket.connection.ok_or("this kernel is too old")?;
            let is_ours = self.ours.contains(&connection.cookie)
                || self.open_of_drainit.contains(&(socket.remote, socket.local));
            Ok(Connection { is_ours, ..connection })
        };
        let ports: BTreeSet<u16> = listeners.ports().collect();
        let (first, last) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::from(u128::MAX).into());
        let at_ports =
            ports.iter().flat_map(|port| self.sockets.range((*port, first)..=(*port, last)));
        let all = at_ports.flat_map(|(_, sockets)| sockets);
        let counted = all.filter(|socket| self.is_of(socket, listeners)).map(of_kernel);
        counted.collect::<Result<_, &str>>().map_err(str::to_owned)
    }
}

/// Whether more than `most` of these connections are as `wanted` still. drainit asks the kernel for
/// each of them, and not for a list, until this is known. A connection that another process may have
/// accepted meanwhile is left out.
pub fn are_more(ids: &[SocketId], most: u64, mut wanted: impl FnMut(&Connection) -> bool) -> bool {
    let is_wanted = |id: &&SocketId| {
        let socket = socket_of(id).ok().flatten();
        let same = socket.filter(|it| it.id == **id && (it.is_open || it.is_flushing));
        same.and_then(|it| it.connection).is_some_and(|it| wanted(&it))
    };
    let enough = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
    ids.iter().filter(is_wanted).take(enough).count() == enough
}

/// Both addresses of each TCP connection that drainit has open, also of one whose connect drainit
/// has not noticed yet. drainit's port alone does not identify a connection: the kernel may use one
/// port for connections to several servers.
fn open_of_drainit() -> BTreeSet<(SocketAddr, SocketAddr)> {
    let address = |name: SockaddrStorage| {
        let v4 = name.as_sockaddr_in().map(|it| SocketAddrV4::from(*it).into());
        let at = v4.or_else(|| Some(SocketAddrV6::from(*name.as_sockaddr_in6()?).into()))?;
        Some(canonical(&at))
    };
    let both = |entry: fs::DirEntry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        Some((address(getsockname(fd).ok()?)?, address(getpeername(fd).ok()?)?))
    };
    fs::read_dir("/proc/self/fd").into_iter().flatten().flatten().filter_map(both).collect()
}

/// Whether the kernel's count includes every connection to these addresses. This holds if each of
/// the addresses has a listening socket, and if the kernel reports that none of these sockets is
/// transparent.
///
/// # Errors
/// Fails if the kernel does not list its sockets, as in gVisor.
pub fn are_visible(addresses: &[SocketAddr]) -> io::Result<bool> {
    let listening = sockets(&[LISTEN], 0, &Wanted::default())?;
    Ok(addresses.iter().all(|address| {
        let mut at = listening.iter().filter(|socket| is_at(socket.local, *address));
        // An equal port is not enough: if the listener uses UDP, another program may listen on this
        // TCP port at another address.
        let has_own = listening.iter().any(|socket| socket.local == canonical(address));
        has_own && at.all(|socket| socket.is_transparent == Some(false))
    }))
}

/// The number of open connections to these addresses of this machine.
///
/// # Errors
/// As for [`are_visible`].
pub fn count(addresses: &[SocketAddr]) -> io::Result<u64> {
    let own = addresses.iter().map(canonical).collect();
    let listeners = Listeners { own, ..Listeners::default() };
    let wanted = Wanted { ports: listeners.ports().collect(), ..Wanted::default() };
    let is_counted = |socket: &&Socket| socket.is_open && listeners.has(socket.local);
    Ok(sockets(&OPEN, 0, &wanted)?.iter().filter(is_counted).count() as u64)
}

/// The number of connections that wait in the queues of the listeners at these addresses, until the
/// program accepts them.
///
/// # Errors
/// As for [`are_visible`].
pub fn waiting(addresses: &[SocketAddr]) -> io::Result<u64> {
    let at: BTreeSet<_> = addresses.iter().map(canonical).collect();
    let wanted = Wanted { ports: at.iter().map(SocketAddr::port).collect(), ..Wanted::default() };
    let listening = sockets(&[LISTEN], 0, &wanted)?;
    let own = listening.iter().filter(|socket| at.contains(&socket.local));
    Ok(own.map(|socket| u64::from(socket.queue)).sum())
}

/// The number of TCP connections that the kernel has accepted so far for all listeners of this
/// network namespace. Connections that no program has accepted yet count, too. The number does not
/// fall when a connection is closed. `None` if the kernel does not report the number.
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::descendants::InstancePids;
    use crate::listeners::{Instance, Listening, Search, Transparency};
    use crate::testing::isolated::in_own_process;
    use drainit_core::types::ProcessId;

    fn socket_inode(socket: &impl AsRawFd) -> u32 {
        let name = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let name = name.to_string_lossy();
        name.replace(|letter: char| !letter.is_ascii_digit(), "").parse().unwrap()
    }

    /// The listeners of an instance to which drainit has given the sockets that it shares.
    fn found(of: &InstancePids, ports: &[u16], shared: &BTreeSet<u32>) -> Listeners {
        let process = ProcessId(0);
        let leaders = of.iter().map(|pid| (*pid, process)).collect();
        let search = Search::now(Listening::now().unwrap(), &leaders, of);
        let instance = Instance { process, of, given: shared, shared, ports };
        search.of(&instance, &Listeners::default())
    }

    fn connections(own: &Listeners) -> Result<Vec<Connection>, String> {
        own.are_shown()?;
        Open::now([own], &[].into())?.of(own)
    }

    #[test]
    fn connections_to_a_listener_are_counted_from_the_connect_to_the_close() {
        in_own_process(|| {
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
                assert_eq!(waiting(&[address]).unwrap(), 1, "{bind}");
                assert_eq!(waiting(&[elsewhere]).unwrap(), 0, "{bind}");
                assert_eq!(count(&[elsewhere]).unwrap(), 0, "{bind}");
                // Only the client has closed its side of this connection.
                let (server, _) = listener.accept().unwrap();
                assert_eq!(waiting(&[address]).unwrap(), 0, "{bind}");
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
        });
    }

    // holds: S276
    #[test]
    fn a_short_connection_counts_as_accepted() {
        in_own_process(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let before = accepted().unwrap();
            drop((TcpStream::connect(address).unwrap(), listener));
            assert_eq!(count(&[address]).unwrap(), 0);
            // Other tests accept connections, too.
            assert!(accepted().unwrap() > before);
        });
    }

    // holds: S301
    #[test]
    fn bytes_and_segments_of_own_connections_are_seen_from_the_connect_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let of: InstancePids = Arc::new([std::process::id().cast_signed()].into());
        let own = found(&of, &[address.port()], &[].into());
        assert_eq!(own.own, [address].into());
        let all = found(&of, &[], &[].into());
        assert!(all.own.contains(&address), "{all:?}");
        let look = || match connections(&own).unwrap()[..] {
            [connection] => connection,
            ref found => panic!("{found:?}"),
        };
        let mut client = TcpStream::connect(address).unwrap();
        let waiting = look();
        assert!(waiting.is_unread && waiting.can_send && waiting.is_ours, "{waiting:?}");
        let (mut server, _) = listener.accept().unwrap();
        let fresh = look();
        assert_eq!((fresh.cookie, fresh.received, fresh.is_unread), (waiting.cookie, 0, false));
        client.write_all(b"question").unwrap();
        assert!(look().is_unread);
        server.read_exact(&mut [0; 8]).unwrap();
        let asked = look();
        assert_eq!((asked.received, asked.has_sent, asked.is_unread), (8, false, false));
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
        let answered = look();
        assert!(answered.has_sent, "{answered:?}");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let ended = look();
        assert!(ended.can_send && !ended.is_unread, "{ended:?}");
        assert_eq!(ended.received, 8, "the end is no byte of a request");
        server.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(connections(&own).unwrap().iter().all(|one| !one.can_send));
    }

    // holds: S766
    #[test]
    fn the_kernel_is_asked_for_single_connections_without_a_list() {
        in_own_process(|| {
            for (bind, connect) in [
                ("127.0.0.1:0", "127.0.0.1"),
                ("[::]:0", "127.0.0.1"),
                ("[::]:0", "::1"),
                ("[::1]:0", "::1"),
            ] {
                let listener = TcpListener::bind(bind).unwrap();
                let port = listener.local_addr().unwrap().port();
                let at = SocketAddr::new(listener.local_addr().unwrap().ip().to_canonical(), port);
                let own = Listeners { own: [at].into(), ..Listeners::default() };
                let ids = || {
                    let open = Open::now([&own], &[].into()).unwrap();
                    let cookies: Vec<_> =
                        open.of(&own).unwrap().iter().map(|one| one.cookie).collect();
                    open.ids(&cookies)
                };
                let to = SocketAddr::new(connect.parse().unwrap(), port);
                let mut client = TcpStream::connect(to).unwrap();
                let waiting = ids();
                assert!(are_more(&waiting, 0, |_| true), "{bind}");
                let (server, _) = listener.accept().unwrap();
                assert!(!are_more(&waiting, 0, |_| true), "{bind}: another process may have it");
                let accepted = ids();
                assert!(are_more(&accepted, 0, |one| !one.is_unread), "{bind}");
                assert!(!are_more(&accepted, 1, |_| true), "{bind}");
                client.write_all(b"question").unwrap();
                assert!(are_more(&accepted, 0, |one| one.is_unread), "{bind}");
                drop((client, server));
                assert!(!are_more(&accepted, 0, |_| true), "{bind}");
            }
        });
    }

    // holds: S703
    #[test]
    fn connections_to_the_admin_do_not_count_and_nobody_is_connected_to_a_process_without_sockets()
    {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = admin.local_addr().unwrap().port();
        let of: InstancePids = Arc::new([std::process::id().cast_signed()].into());
        // Other tests listen, too, so this instance has only the sockets that are set here.
        let only = |own: &[&TcpListener], held: &[u32]| Listeners {
            own: own.iter().map(|one| one.local_addr().unwrap()).collect(),
            held: Arc::new(held.iter().copied().collect()),
            of: Arc::clone(&of),
            ..Listeners::default()
        };
        let count = |listeners: Listeners| -> Result<usize, String> {
            let others = listeners.except(Some(port))?;
            others.map_or(Ok(0), |others| connections(&others).map(|found| found.len()))
        };
        let (_client, other) = (TcpStream::connect(admin.local_addr().unwrap()).unwrap(), 4);
        assert_eq!(count(only(&[&admin], &[])), Ok(0));
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(count(only(&[&admin, &server], &[other])), Ok(0));
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        assert_eq!(count(only(&[&admin, &server], &[other])), Ok(1));
        let hides = Listeners { transparency: Transparency::Unknown, ..only(&[&server], &[]) };
        assert!(count(hides).is_err());
        // A process that has closed its listener may still have clients.
        assert!(count(only(&[], &[socket_inode(&client)])).is_err());
    }

    // holds: S581
    #[test]
    fn an_answer_on_a_closed_connection_counts_until_the_client_has_read() {
        in_own_process(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let own = Listeners { own: [address].into(), ..Listeners::default() };
            let mut client = TcpStream::connect(address).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            server.set_nonblocking(true).unwrap();
            while server.write(&[0; 4096]).is_ok() {}
            drop(server);
            let [flushing] = connections(&own).unwrap()[..] else { panic!("not listed") };
            assert!(
                flushing.is_sending && !flushing.is_unread && !flushing.can_send,
                "{flushing:?}"
            );
            assert_eq!(count(&[address]).unwrap(), 0, "an Envoy says the same");
            client.read_to_end(&mut Vec::new()).unwrap();
            // The last acknowledgement may come a little later.
            let began = Instant::now();
            while !connections(&own).unwrap().is_empty() {
                assert!(began.elapsed() < Duration::from_secs(10), "it still counts");
                std::thread::yield_now();
            }
        });
    }

    // holds: S302
    #[test]
    fn connections_to_another_listener_on_the_same_port_do_not_count() {
        let own = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = own.local_addr().unwrap().port();
        let foreign = SocketAddr::new("127.0.0.9".parse().unwrap(), port);
        let count = |others: &[SocketAddr]| {
            let (own, addresses) = (own.local_addr().unwrap(), others.iter().copied().collect());
            let listening = Arc::new(Listening { addresses, ..Listening::default() });
            let own = Listeners { own: [own].into(), listening, ..Listeners::default() };
            connections(&own).unwrap().len()
        };
        let _client = TcpStream::connect(foreign).unwrap();
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[foreign]), 0);
        assert_eq!(count(&["127.0.0.8:1".parse().unwrap()]), 1);
        // A listener on an IPv4 address gets no connections over IPv6.
        let other = TcpListener::bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)).unwrap();
        let _client = TcpStream::connect(other.local_addr().unwrap()).unwrap();
        assert_eq!(count(&[foreign]), 0);
    }

    #[test]
    fn hundreds_of_connections_come_in_several_parts_and_within_a_second() {
        let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: [TcpListener; 3] = std::array::from_fn(bind);
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let connect = |at: usize| TcpStream::connect(addresses[at % 3]).unwrap();
        let _clients: Vec<_> = (0..300).map(connect).collect();
        for number in 1..=3 {
            assert_eq!(count(&addresses[..number]).unwrap(), 100 * number as u64);
        }
        let many = (0..200_000).map(|at: u32| SocketAddr::new(Ipv4Addr::from(at).into(), 9));
        let own = many.chain(addresses).collect();
        let began = Instant::now();
        let found = connections(&Listeners { own, ..Listeners::default() }).unwrap();
        assert_eq!(found.len(), 300);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        // One connection costs far less than the list.
        let own = Listeners { own: addresses.into(), ..Listeners::default() };
        let open = Open::now([&own], &[].into()).unwrap();
        let ids = open.ids(&[open.of(&own).unwrap()[0].cookie]);
        let took = |work: &dyn Fn() -> bool| {
            let began = Instant::now();
            assert!((0..20).all(|_| work()));
            began.elapsed()
        };
        let one = took(&|| are_more(&ids, 0, |_| true));
        let all = took(&|| connections(&own).unwrap().len() == 300);
        assert!(one < all / 4, "{one:?} {all:?}");
    }

    // holds: S434
    #[test]
    fn connections_of_a_shared_listener_count_where_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pid = std::process::id().cast_signed();
        let of: InstancePids = Arc::new([pid].into());
        let inode = socket_inode(&listener);
        let own = found(&of, &[], &[inode].into());
        assert!(own.has_twin, "drainit holds the listener for another instance, too");
        assert!(!found(&of, &[], &[inode + 1].into()).has_twin);
        let count = |pid: Pid, is_shared, has_twin| {
            let (own, of) = ([address].into(), Arc::new([pid].into()));
            let own = Listeners { own, of, is_shared, has_twin, ..Listeners::default() };
            connections(&own).unwrap().len()
        };
        let _accepted = (TcpStream::connect(address).unwrap(), listener.accept().unwrap());
        let _waiting = TcpStream::connect(address).unwrap();
        for (is_shared, has_twin) in [(false, true), (true, false)] {
            assert_eq!(count(pid, is_shared, has_twin), 2);
            let other = count(Pid::MAX, is_shared, has_twin);
            assert_eq!(other, 1, "the other process has not accepted any");
        }
        assert_eq!(count(Pid::MAX, false, false), 2);
    }
}
