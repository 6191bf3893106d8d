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
use std::sync::Arc;

use nix::sys::socket::{SockaddrStorage, getpeername, getsockname};

use crate::Pid;
use crate::descendants::{Holders, InstancePids, Sockets, holders, own_sockets};
use crate::own_connections;
use crate::proc_net::{is_ephemeral, udp, unix_listeners};
pub use crate::sock_diag::SocketId;
use crate::sock_diag::{INFO, LISTEN, OPEN, Socket, Wanted, canonical, socket_of, sockets};
use drainit_core::connections::answers::Connection;

/// Why the connections of an instance are unknown if no search has found a listening TCP socket.
pub const NOBODY_LISTENS: &str = "nobody listens on its TCP ports; if it serves on Unix sockets, \
                                  which do not count, drain the server in front of it instead";

const ELSEWHERE: &str = "it listens in another network namespace, whose connections the kernel \
                         does not show to drainit";
const TRANSPARENT: &str = "the kernel does not show who connects to a transparent listener \
                           (IP_TRANSPARENT, TPROXY)";

/// Who, besides one instance of a process, may have connections at the instance's addresses. In any
/// case, a connection that nobody has accepted yet counts for the instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Sharing {
    #[default]
    Nobody,
    /// Another instance, to which drainit has given the same socket. A connection counts unless, as
    /// far as drainit sees, only other instances have the connection open.
    Instances,
    /// Any process. Either another process listens there with a socket of its own (`SO_REUSEPORT`,
    /// or a more specific address), or nobody listens there any longer. A connection counts if the
    /// instance, or a descendant of drainit that belongs to no instance, has it open, and also if
    /// nobody has it open, as far as drainit sees.
    Anybody,
    /// As [`Sharing::Anybody`], but drainit does not see the process that listens there, which may
    /// be in another container. A connection that nobody has open is then the connection of that
    /// process.
    Unseen,
}

/// The listening sockets of an instance.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    of: InstancePids,
    /// The processes of all instances.
    known: InstancePids,
    /// The inodes of the listening sockets that drainit holds for the instance.
    given: Arc<BTreeSet<u32>>,
    /// Whether no other instance has got a socket of `given`.
    is_alone: bool,
    /// The addresses at which the instance listens, or has listened at an earlier search.
    own: BTreeSet<SocketAddr>,
    /// The addresses of the listening sockets of all processes.
    all: Arc<BTreeSet<SocketAddr>>,
    /// The inodes of the listening sockets of all processes.
    inodes: Arc<BTreeSet<u32>>,
    /// The inodes of all sockets that the instance had open at the last search that has read
    /// `/proc`.
    held: Arc<BTreeSet<u32>>,
    /// Whether a socket is transparent. Its connections keep the addresses that the clients have
    /// asked for.
    is_transparent: bool,
    /// Whether a socket is transparent, or may be (before Linux 5.10).
    may_be_transparent: bool,
    families: BTreeSet<u8>,
    /// Whether the instance listens in another network namespace.
    is_elsewhere: bool,
    sharing: Sharing,
    /// The error if drainit lacks the permission to see all descriptors of the instance. drainit
    /// then also counts the connections of other processes at the same addresses.
    hidden: Option<String>,
}

/// The listening sockets of all processes.
struct Listening {
    all: Arc<BTreeSet<SocketAddr>>,
    inodes: Arc<BTreeSet<u32>>,
    by_inode: BTreeMap<u32, Socket>,
    by_port: BTreeMap<u16, Vec<(IpAddr, u32)>>,
}

impl Listening {
    fn now() -> Result<Self, String> {
        let all = listed(&[LISTEN], 0, &Wanted::default())?;
        let mut by_port: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Socket { local, id, .. } in &all {
            by_port.entry(local.port()).or_default().push((local.ip(), id.inode));
        }
        let addresses = all.iter().map(|socket| socket.local).collect();
        let by_inode: BTreeMap<_, _> =
            all.into_iter().map(|socket| (socket.id.inode, socket)).collect();
        let inodes = by_inode.keys().copied().collect();
        Ok(Self { all: Arc::new(addresses), inodes: Arc::new(inodes), by_inode, by_port })
    }

    /// The listening sockets of the instance `of`, which has the sockets `inodes` open. drainit
    /// itself has the sockets `held` open. `is_seen` says whether any process has a socket open.
    /// `before` has the listening sockets of an earlier search.
    fn of(
        &self,
        [of, known]: [&InstancePids; 2],
        inodes: impl Iterator<Item = u32>,
        held: &BTreeSet<u32>,
        is_seen: impl Fn(u32) -> bool,
        ports: &[u16],
        before: &Listeners,
    ) -> Listeners {
        let inodes = inodes.chain(before.given.iter().copied());
        let open: BTreeMap<u32, &Socket> =
            inodes.filter_map(|inode| Some((inode, self.by_inode.get(&inode)?))).collect();
        let is_wanted =
            |socket: &&&Socket| ports.is_empty() || ports.contains(&socket.local.port());
        let wanted: Vec<_> = open.values().filter(is_wanted).collect();
        let own = wanted.iter().map(|socket| socket.local).chain(before.own.iter().copied());
        let own: BTreeSet<_> = own.collect();
        let at = |own: &SocketAddr| {
            let own = *own;
            let all = self.by_port.get(&own.port()).into_iter().flatten();
            all.filter(move |(ip, _)| {
                *ip == own.ip() || ip.is_unspecified() || own.ip().is_unspecified()
            })
        };
        let mut others =
            own.iter().flat_map(at).filter(|(_, inode)| !open.contains_key(inode)).peekable();
        let is_shared = others.peek().is_some();
        let sharing = if others.any(|(_, inode)| !is_seen(*inode)) {
            Sharing::Unseen
        } else if is_shared || own.iter().any(|own| !self.all.contains(own)) {
            Sharing::Anybody
        } else if own.iter().flat_map(at).any(|(_, inode)| held.contains(inode)) {
            Sharing::Instances
        } else {
            Sharing::Nobody
        };
        let families = wanted.iter().map(|socket| socket.id.family).chain(before.families.clone());
        Listeners {
            of: Arc::clone(of),
            known: Arc::clone(known),
            sharing: before.sharing.max(sharing),
            own,
            all: Arc::clone(&self.all),
            inodes: Arc::clone(&self.inodes),
            is_transparent: before.is_transparent
                || wanted.iter().any(|socket| socket.is_transparent == Some(true)),
            may_be_transparent: before.may_be_transparent
                || wanted.iter().any(|socket| socket.is_transparent != Some(false)),
            families: families.collect(),
            hidden: None,
            ..before.clone()
        }
    }
}

impl Listeners {
    /// The listening sockets that drainit holds for an instance, by their inodes. Nothing else is
    /// known about the instance yet.
    pub fn of_inodes(inodes: BTreeSet<u32>) -> Self {
        Self { given: Arc::new(inodes), ..Self::default() }
    }

    /// Records whether another instance has any of the sockets in `given`, too. `inodes` has the
    /// sockets that drainit holds for several instances.
    pub fn set_shared(&mut self, inodes: &BTreeSet<u32>) {
        self.is_alone = self.given.is_disjoint(inodes);
    }

    /// Records the processes of all instances, which may be others than at the search.
    pub fn set_known(&mut self, known: &InstancePids) {
        self.known = Arc::clone(known);
    }

    /// Who, besides the instance, may have connections at its addresses now.
    fn sharing(&self) -> Sharing {
        match self.sharing {
            Sharing::Instances if self.is_alone => Sharing::Nobody,
            sharing => sharing,
        }
    }

    /// Finds the sockets on which an instance listens; `known` has the processes of all instances.
    /// Keeps the sockets that the earlier search (`self`) has found, because a connection can
    /// outlive its listening socket.
    ///
    /// With `ports`, finds only the sockets with these ports, but also such sockets of a daemon
    /// that has left its instance, and those that nobody has open, as far as drainit sees.
    ///
    /// Reads `/proc` only if somebody has begun to listen since the earlier search, or if the
    /// instance has other processes now. Call this on a thread of its own.
    ///
    /// # Errors
    /// Says why the sockets cannot be found.
    pub fn again(
        &self,
        of: &InstancePids,
        known: &InstancePids,
        ports: &[u16],
    ) -> Result<Self, String> {
        let listening = Listening::now()?;
        // No list shows drainit that a process begins to listen in another network namespace.
        let is_known = !self.is_empty() && *of == self.of;
        if is_known && listening.inodes.is_subset(&self.inodes) {
            let (known, Listening { all, inodes, .. }) = (Arc::clone(known), listening);
            return Ok(Self { known, all, inodes, ..self.clone() });
        }
        let leaders = of.iter().map(|pid| (*pid, ())).collect();
        let hidden = |error| Sockets { hidden: Some(error), ..Sockets::default() };
        let mut found = holders(&leaders, known, true).unwrap_or_else(|error| Holders {
            of_each: [((), hidden(error))].into(),
            ..Holders::default()
        });
        let Sockets { mut inodes, hidden, is_elsewhere } =
            found.of_each.remove(&()).unwrap_or_default();
        let is_seen = |inode: u32| found.is_seen(inode);
        if !ports.is_empty() {
            inodes.extend(&found.strays.inodes);
            inodes.extend(listening.by_inode.keys().filter(|inode| !is_seen(**inode)));
        }
        let hidden = hidden.map(|error| error.to_string());
        let (held, both) = (own_sockets(), [of, known]);
        let own = listening.of(both, inodes.iter().copied(), &held, is_seen, ports, self);
        let own = Self { is_elsewhere, held: Arc::new(inodes), ..own };
        match &hidden {
            None => Ok(own),
            Some(error) if own.is_empty() && ports.is_empty() => {
                Err(format!("its ports cannot be found, so write them as `ports`: {error}"))
            }
            Some(_) if ports.is_empty() => Ok(Self { sharing: Sharing::Nobody, hidden, ..own }),
            Some(_) => {
                let all = listening.of(
                    both,
                    listening.by_inode.keys().copied(),
                    &held,
                    is_seen,
                    ports,
                    self,
                );
                Ok(Self { sharing: Sharing::Nobody, hidden, ..all })
            }
        }
    }

    /// The ports of the UDP sockets of the instance at which clients may send, as far as the last
    /// search that has read `/proc` shows. Leaves out the ports that the kernel chooses.
    pub fn udp_ports(&self) -> BTreeSet<u16> {
        let is_own = |(inode, _): &(u32, u16)| self.held.contains(inode);
        let ports = udp().unwrap_or_default().into_iter().filter(is_own).map(|(_, port)| port);
        let tcp: BTreeSet<_> = self.ports().collect();
        ports.filter(|port| tcp.contains(port) || !is_ephemeral(*port)).collect()
    }

    /// Why connections to other processes at the same addresses count, too; `None` if only
    /// connections of the instance count.
    pub fn hidden(&self) -> Option<&str> {
        self.hidden.as_deref()
    }

    /// Finds the sockets on which each of these instances listens. `before` has the instances, and
    /// the sockets that an earlier search has found for each. `known` has the processes of all
    /// instances. `seen` has all listening sockets of the earlier search. If nobody has begun to
    /// listen since then, the result is empty. Call this on a thread of its own.
    ///
    /// # Errors
    /// Says why the sockets cannot be found.
    pub fn of_each<K: Copy + Ord>(
        before: &BTreeMap<K, (&InstancePids, &Self)>,
        known: &InstancePids,
        seen: &mut Option<Arc<BTreeSet<u32>>>,
    ) -> Result<BTreeMap<K, Self>, String> {
        let listening = Listening::now()?;
        if seen.as_ref().is_some_and(|seen| listening.inodes.is_subset(seen)) {
            return Ok(BTreeMap::new());
        }
        let leaders = before.iter().flat_map(|(key, (of, _))| of.iter().map(|pid| (*pid, *key)));
        let found = holders(&leaders.collect(), known, true).map_err(|error| error.to_string())?;
        let (held, is_seen) = (own_sockets(), |inode| found.is_seen(inode));
        let of_each = |(key, (of, earlier)): (&K, &(&InstancePids, &Self))| {
            let sockets = found.of_each.get(key);
            let inodes = sockets.into_iter().flat_map(|it| &it.inodes).copied();
            let own = listening.of([*of, known], inodes, &held, is_seen, &[], earlier);
            let is_elsewhere = own.is_elsewhere || sockets.is_some_and(|it| it.is_elsewhere);
            let hidden = sockets.and_then(|it| it.hidden.as_ref()).map(ToString::to_string);
            (*key, Self { is_elsewhere, hidden, ..own })
        };
        *seen = Some(Arc::clone(&listening.inodes));
        Ok(before.iter().map(of_each).collect())
    }

    /// Whether no search has found a listening socket of the instance.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && !self.is_elsewhere
    }

    /// Whether the search has seen all sockets of the instance, and none of them listens.
    pub fn is_nothing(&self) -> bool {
        self.is_empty() && self.hidden.is_none()
    }

    /// The open connections to these sockets, without those to the TCP port of an admin. If the
    /// instance listens nowhere else and has no other connection open, no client can be connected.
    ///
    /// # Errors
    /// Says why the connections cannot be found, or that a socket is transparent.
    pub fn connections_except(&self, admin: Option<u16>) -> Result<Vec<Connection>, String> {
        if self.may_be_transparent {
            return Err(TRANSPARENT.to_owned());
        }
        let is_other = |at: &SocketAddr| Some(at.port()) != admin;
        let own = self.own.iter().copied().filter(is_other).collect();
        let others = Self { own, ..self.clone() };
        if others.is_nothing() {
            let open = listed(&OPEN, 0, &Wanted::default())?;
            let open = open.iter().filter(|one| is_other(&one.local)).map(|one| one.id.inode);
            let unix = unix_listeners().unwrap_or_default().into_keys();
            if !open.chain(unix).any(|inode| self.held.contains(&inode)) {
                return Ok(Vec::new());
            }
        }
        others.connections()
    }

    /// Fails if the kernel does not show the connections to these sockets.
    fn are_shown(&self) -> Result<(), String> {
        let elsewhere = self.is_elsewhere.then_some(ELSEWHERE);
        let why = elsewhere.or(self.is_transparent.then_some(TRANSPARENT));
        why.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    /// The open connections to these sockets.
    ///
    /// # Errors
    /// Says why the connections cannot be found.
    pub fn connections(&self) -> Result<Vec<Connection>, String> {
        self.open()?.of(self)
    }

    /// Lists the open connections to these sockets.
    ///
    /// # Errors
    /// Says why the connections cannot be found.
    pub fn open(&self) -> Result<Open, String> {
        self.are_shown()?;
        if self.is_empty() {
            return Err(NOBODY_LISTENS.to_owned());
        }
        Open::now([self])
    }

    /// Whether a connection with this local address belongs to these sockets, as far as the address
    /// tells. The check must be fast, because there can be thousands of connections and of sockets.
    pub fn has(&self, local: SocketAddr) -> bool {
        self.own.contains(&local) || !self.all.contains(&local) && self.is_at(local)
    }

    /// Whether these sockets have this address, or an unspecified address that includes it.
    fn is_at(&self, local: SocketAddr) -> bool {
        let is_at_any = |ip: IpAddr| self.own.contains(&SocketAddr::new(ip, local.port()));
        // A listener on `::` also takes connections over IPv4.
        self.own.contains(&local)
            || is_at_any(Ipv6Addr::UNSPECIFIED.into())
            || local.is_ipv4() && is_at_any(Ipv4Addr::UNSPECIFIED.into())
    }

    /// The ports of these sockets; a port may come several times.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.own.iter().map(SocketAddr::port)
    }
}

/// The open connections to some listeners, by their local ports and addresses.
pub struct Open {
    sockets: BTreeMap<(u16, IpAddr), Vec<Socket>>,
    /// The cookies of the sockets whose client is drainit.
    ours: BTreeSet<u64>,
    /// Both addresses of each connection that drainit had open after the list, drainit's address
    /// first.
    open_of_drainit: BTreeSet<(SocketAddr, SocketAddr)>,
    /// The sockets of each instance whose [`Sharing`] is not `Nobody`, by the first PID of the
    /// instance.
    holders: Holders<Pid>,
    /// For [`Sharing::Instances`] and [`Sharing::Anybody`]: the inodes of the connections that were
    /// still open after the search for their holders.
    still: BTreeSet<u32>,
}

impl Open {
    /// Lists all open connections to these listeners. All of the listeners must come from the same
    /// search.
    ///
    /// # Errors
    /// Says why the connections, or the processes that have them open, cannot be found.
    pub fn now<'a>(listeners: impl IntoIterator<Item = &'a Listeners>) -> Result<Self, String> {
        let (mut wanted, mut sharing) = (Wanted::default(), BTreeMap::new());
        let (mut known, mut reads_all) = (InstancePids::default(), false);
        for it in listeners {
            let key = it.of.first().filter(|_| it.sharing() != Sharing::Nobody);
            known = Arc::clone(&it.known);
            reads_all |= matches!(it.sharing(), Sharing::Instances | Sharing::Anybody);
            sharing.extend(key.into_iter().flat_map(|key| it.of.iter().map(|pid| (*pid, *key))));
            wanted.ports.extend(it.ports());
            wanted.families.extend(&it.families);
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
        let is_any = !sharing.is_empty();
        let holders = is_any.then(|| holders(&sharing, &known, reads_all)).transpose();
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

    /// The connections to these sockets.
    ///
    /// # Errors
    /// Says why the kernel does not report enough about the connections.
    pub fn of(&self, listeners: &Listeners) -> Result<Vec<Connection>, String> {
        listeners.are_shown()?;
        let key = listeners.of.first().copied().unwrap_or_default();
        let is_counted = |socket: &&Socket| match listeners.sharing() {
            Sharing::Instances | Sharing::Anybody if socket.id.inode != 0 => {
                listeners.is_at(socket.local)
                    && self.still.contains(&socket.id.inode)
                    && self.holders.may_have(&key, socket.id.inode)
            }
            Sharing::Unseen if socket.id.inode != 0 => {
                listeners.is_at(socket.local) && self.holders.has(&key, socket.id.inode)
            }
            _ => listeners.has(socket.local),
        };
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
        let counted = at_ports.flat_map(|(_, sockets)| sockets).filter(is_counted).map(of_kernel);
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

/// Like [`sockets`].
///
/// # Errors
/// Says that the kernel does not list its sockets.
fn listed(states: &[u8], extensions: u8, wanted: &Wanted) -> Result<Vec<Socket>, String> {
    sockets(states, extensions, wanted)
        .map_err(|error| format!("the kernel does not list them: {error}"))
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
    use std::time::{Duration, Instant};

    use super::*;
    use crate::testing::isolated::in_own_process;

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
        let own = Listeners::default().again(&of, &of, &[address.port()]).unwrap();
        assert_eq!(own.own, [address].into());
        let each = Listeners::of_each(&[(1, (&of, &own))].into(), &of, &mut None).unwrap();
        assert!(each[&1].own.contains(&address), "{each:?}");
        let look = || match own.connections().unwrap()[..] {
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
        assert!(own.connections().unwrap().iter().all(|one| !one.can_send));
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
                    let open = own.open().unwrap();
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
        let count = |listeners: Listeners| {
            listeners.connections_except(Some(port)).map(|found| found.len())
        };
        let (_client, other) = (TcpStream::connect(admin.local_addr().unwrap()).unwrap(), 4);
        assert_eq!(count(only(&[&admin], &[])), Ok(0));
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(count(only(&[&admin, &server], &[other])), Ok(0));
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        assert_eq!(count(only(&[&admin, &server], &[other])), Ok(1));
        let hides = Listeners { may_be_transparent: true, ..only(&[&server], &[]) };
        assert!(count(hides).is_err());
        // A process that has closed its listener may still have clients.
        let inode = fs::read_link(format!("/proc/self/fd/{}", client.as_raw_fd())).unwrap();
        let inode = inode.to_string_lossy().replace(|one: char| !one.is_ascii_digit(), "");
        assert!(count(only(&[], &[inode.parse().unwrap()])).is_err());
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
            let [flushing] = own.connections().unwrap()[..] else { panic!("not listed") };
            assert!(
                flushing.is_sending && !flushing.is_unread && !flushing.can_send,
                "{flushing:?}"
            );
            assert_eq!(count(&[address]).unwrap(), 0, "an Envoy says the same");
            client.read_to_end(&mut Vec::new()).unwrap();
            // The last acknowledgement may come a little later.
            let began = Instant::now();
            while !own.connections().unwrap().is_empty() {
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
            let (own, all) = ([own.local_addr().unwrap()].into(), others.iter().copied().collect());
            Listeners { own, all: Arc::new(all), ..Listeners::default() }
                .connections()
                .unwrap()
                .len()
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
        let found = Listeners { own, ..Listeners::default() }.connections().unwrap();
        assert_eq!(found.len(), 300);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        // One connection costs far less than the list.
        let own = Listeners { own: addresses.into(), ..Listeners::default() };
        let open = own.open().unwrap();
        let ids = open.ids(&[open.of(&own).unwrap()[0].cookie]);
        let took = |work: &dyn Fn() -> bool| {
            let began = Instant::now();
            assert!((0..20).all(|_| work()));
            began.elapsed()
        };
        let one = took(&|| are_more(&ids, 0, |_| true));
        let all = took(&|| own.connections().unwrap().len() == 300);
        assert!(one < all / 4, "{one:?} {all:?}");
    }

    // holds: S434
    #[test]
    fn connections_of_a_shared_listener_count_where_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pid = std::process::id().cast_signed();
        let of: InstancePids = Arc::new([pid].into());
        let own = Listeners::default().again(&of, &of, &[]).unwrap();
        assert_eq!(own.sharing, Sharing::Instances, "drainit holds the listener, too");
        let count = |pid: Pid, sharing| {
            let of = Arc::new([pid].into());
            let own = Listeners { own: [address].into(), of, sharing, ..own.clone() };
            own.connections().unwrap().len()
        };
        let _accepted = (TcpStream::connect(address).unwrap(), listener.accept().unwrap());
        let _waiting = TcpStream::connect(address).unwrap();
        for sharing in [Sharing::Instances, Sharing::Anybody] {
            assert_eq!(count(pid, sharing), 2);
            assert_eq!(count(Pid::MAX, sharing), 1, "the other process has not accepted any");
        }
        assert_eq!(count(Pid::MAX, Sharing::Nobody), 2);
    }
}
