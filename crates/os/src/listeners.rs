//! Finds the sockets on which each process listens. The kernel lists the listening sockets, and a
//! search of `/proc` shows which process has a socket open.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::Pid;
use crate::descendants::{Holders, InstancePids, holders};
use crate::proc_net::{is_ephemeral, udp, unix_listeners};
use crate::sock_diag::{LISTEN, OPEN, Socket, Wanted, listed};
use drainit_core::types::ProcessId;

/// Why the connections of an instance are unknown if no search has found a listening TCP socket.
pub const NOBODY_LISTENS: &str = "nobody listens on its TCP ports; if it serves on Unix sockets, \
                                  which do not count, drain the server in front of it instead";

const ELSEWHERE: &str = "it listens in another network namespace, whose connections the kernel \
                         does not show to drainit";
const TRANSPARENT: &str = "the kernel does not show who connects to a transparent listener \
                           (IP_TRANSPARENT, TPROXY)";

/// The listening sockets of all processes, at one moment.
#[derive(Debug, Default)]
pub struct Listening {
    pub(crate) addresses: BTreeSet<SocketAddr>,
    pub(crate) by_inode: BTreeMap<u32, Socket>,
    pub(crate) by_port: BTreeMap<u16, Vec<(IpAddr, u32)>>,
}

impl Listening {
    /// Lists the listening sockets.
    ///
    /// # Errors
    /// Says that the kernel does not list its sockets.
    pub fn now() -> Result<Arc<Self>, String> {
        let all = listed(&[LISTEN], 0, &Wanted::default())?;
        let mut by_port: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Socket { local, id, .. } in &all {
            by_port.entry(local.port()).or_default().push((local.ip(), id.inode));
        }
        let addresses = all.iter().map(|socket| socket.local).collect();
        let by_inode = all.into_iter().map(|socket| (socket.id.inode, socket)).collect();
        Ok(Arc::new(Self { addresses, by_inode, by_port }))
    }

    /// The inodes of the sockets that take connections at this address, or at an unspecified
    /// address that includes it.
    fn at(&self, own: SocketAddr) -> impl Iterator<Item = u32> {
        let all = self.by_port.get(&own.port()).into_iter().flatten();
        let is_at =
            move |ip: &IpAddr| *ip == own.ip() || ip.is_unspecified() || own.ip().is_unspecified();
        all.filter(move |(ip, _)| is_at(ip)).map(|(_, inode)| *inode)
    }
}

/// Whether connections keep the addresses that their clients have asked for (`IP_TRANSPARENT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transparency {
    #[default]
    No,
    /// Before Linux 5.10.
    Unknown,
    Yes,
}

/// An instance whose sockets are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    pub process: ProcessId,
    pub of: &'a InstancePids,
    /// The inodes of the sockets that drainit holds for the instance.
    pub given: &'a BTreeSet<u32>,
    /// The inodes of the sockets that drainit holds for several instances.
    pub shared: &'a BTreeSet<u32>,
    /// If there are ports, only sockets with these ports count, but also such sockets of a daemon
    /// that has left its instance, and those that nobody has open, as far as drainit sees.
    pub ports: &'a [u16],
}

/// Which process has which sockets open, at one moment.
pub struct Search {
    pub(crate) listening: Arc<Listening>,
    pub(crate) holders: Holders<ProcessId>,
}

impl Search {
    /// Searches `/proc` for the sockets of the instances in `leaders`. `known` has the processes of
    /// all instances. Call this on a thread of its own. Without a `/proc` of drainit's PID
    /// namespace, the sockets of all instances are hidden.
    pub fn now(
        listening: Arc<Listening>,
        leaders: &BTreeMap<Pid, ProcessId>,
        known: &BTreeSet<Pid>,
    ) -> Self {
        let found = holders(leaders, known, true);
        let hidden = found.as_ref().err().map(ToString::to_string);
        let mut holders = found.unwrap_or_default();
        for process in leaders.values() {
            let sockets = holders.of_each.entry(*process).or_default();
            if let Some(why) = &hidden {
                sockets.hidden = Some(io::Error::other(why.clone()));
            }
        }
        Self { listening, holders }
    }

    /// The listening sockets of an instance. Keeps the sockets that an earlier search (`before`)
    /// has found, because a connection can outlive its listening socket.
    pub fn of(&self, instance: &Instance, before: &Listeners) -> Listeners {
        let (ports, all) = (instance.ports, &self.listening.by_inode);
        let sockets = self.holders.of_each.get(&instance.process);
        let mut held: BTreeSet<u32> =
            sockets.into_iter().flat_map(|it| &it.inodes).copied().collect();
        let hidden = sockets.and_then(|it| it.hidden.as_ref()).map(ToString::to_string);
        if !ports.is_empty() {
            held.extend(&self.holders.strays.inodes);
            let is_ours = |inode: &&u32| hidden.is_some() || !self.holders.is_seen(**inode);
            held.extend(all.keys().filter(is_ours));
        }
        let open: BTreeMap<u32, &Socket> = held
            .iter()
            .chain(instance.given)
            .filter_map(|inode| Some((*inode, all.get(inode)?)))
            .collect();
        let is_wanted =
            |socket: &&&Socket| ports.is_empty() || ports.contains(&socket.local.port());
        let wanted: Vec<_> = open.values().filter(is_wanted).collect();
        let own: BTreeSet<_> =
            wanted.iter().map(|socket| socket.local).chain(before.own.iter().copied()).collect();
        let others = own.iter().flat_map(|own| self.listening.at(*own));
        let others: Vec<_> = others.filter(|inode| !open.contains_key(inode)).collect();
        let is_closed = own.iter().any(|own| !self.listening.addresses.contains(own));
        let transparency = wanted.iter().map(|socket| match socket.is_transparent {
            Some(false) => Transparency::No,
            None => Transparency::Unknown,
            Some(true) => Transparency::Yes,
        });
        let families = wanted.iter().map(|socket| socket.id.family);
        let found = Listeners {
            of: Arc::clone(instance.of),
            held: Arc::new(held),
            transparency: transparency.max().max(Some(before.transparency)).unwrap_or_default(),
            families: families.chain(before.families.iter().copied()).collect(),
            is_elsewhere: sockets.is_some_and(|it| it.is_elsewhere),
            is_shared: before.is_shared || !others.is_empty() || is_closed,
            has_unseen: before.has_unseen
                || others.iter().any(|inode| !self.holders.is_seen(*inode)),
            hidden,
            own,
            ..Listeners::default()
        };
        found.at(&self.listening, instance)
    }
}

/// The listening sockets of an instance.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    pub(crate) of: InstancePids,
    /// The addresses at which the instance listens, or has listened at an earlier search.
    pub(crate) own: BTreeSet<SocketAddr>,
    /// The listening sockets of all processes.
    pub(crate) listening: Arc<Listening>,
    /// The inodes of all sockets that the instance had open at the last search.
    pub(crate) held: Arc<BTreeSet<u32>>,
    pub(crate) transparency: Transparency,
    pub(crate) families: BTreeSet<u8>,
    /// Whether the instance listens in another network namespace.
    pub(crate) is_elsewhere: bool,
    /// Whether anybody else may have connections at these addresses: another process listens there
    /// with a socket of its own (`SO_REUSEPORT`, or a more specific address), or nobody listens
    /// there any longer.
    pub(crate) is_shared: bool,
    /// Whether another process listens there that drainit does not see. That process may be in
    /// another container.
    pub(crate) has_unseen: bool,
    /// Whether another instance has got one of these sockets from drainit.
    pub(crate) has_twin: bool,
    /// The error if drainit lacks the permission to see all descriptors of the instance. drainit
    /// then also counts the connections of other processes at the same addresses.
    pub(crate) hidden: Option<String>,
}

impl Listeners {
    /// These sockets at a later moment, without a search: who else listens may have changed.
    pub fn at(&self, listening: &Arc<Listening>, instance: &Instance) -> Self {
        let is_twin =
            |inode: &u32| instance.shared.contains(inode) && listening.by_inode.contains_key(inode);
        let has_twin = instance.given.iter().any(is_twin);
        Self { listening: Arc::clone(listening), has_twin, ..self.clone() }
    }

    /// Whether nobody has begun to listen since the last look at these sockets. If somebody has, only
    /// a search shows who.
    pub fn are_all_of(&self, listening: &Listening) -> bool {
        let before = &self.listening.by_inode;
        listening.by_inode.keys().all(|inode| before.contains_key(inode))
    }

    /// Whether these are the sockets of an instance with these processes.
    pub fn are_of(&self, of: &InstancePids) -> bool {
        *of == self.of
    }

    /// Whether a connection at these addresses may belong to another process, so that only its
    /// holder shows whose it is.
    pub fn needs_holder(&self) -> bool {
        self.hidden.is_none() && (self.is_shared || self.has_twin)
    }

    /// The ports of the UDP sockets of the instance at which clients may send, as far as the last
    /// search shows. Leaves out the ports that the kernel chooses.
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

    /// Whether no search has found a listening socket of the instance.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && !self.is_elsewhere
    }

    /// Whether the search has seen all sockets of the instance, and none of them listens.
    pub fn is_nothing(&self) -> bool {
        self.is_empty() && self.hidden.is_none()
    }

    /// These sockets without those at the TCP port of an admin. `None` if the instance listens
    /// nowhere else and has no other connection open, so that no client can be connected.
    ///
    /// # Errors
    /// Says that a socket may be transparent, or that the kernel does not list its sockets.
    pub fn except(&self, admin: Option<u16>) -> Result<Option<Self>, String> {
        if self.transparency != Transparency::No {
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
                return Ok(None);
            }
        }
        Ok(Some(others))
    }

    /// Fails if the kernel does not show the connections to these sockets.
    ///
    /// # Errors
    /// Says why.
    pub fn are_shown(&self) -> Result<(), String> {
        let is_transparent = self.transparency == Transparency::Yes;
        let elsewhere = self.is_elsewhere.then_some(ELSEWHERE);
        let nobody = self.is_empty().then_some(NOBODY_LISTENS);
        let why = elsewhere.or(is_transparent.then_some(TRANSPARENT)).or(nobody);
        why.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    /// Whether a connection with this local address belongs to these sockets, as far as the address
    /// tells. The check must be fast, because there can be thousands of connections and of sockets.
    pub fn has(&self, local: SocketAddr) -> bool {
        self.own.contains(&local) || !self.listening.addresses.contains(&local) && self.is_at(local)
    }

    /// Whether these sockets have this address, or an unspecified address that includes it.
    pub(crate) fn is_at(&self, local: SocketAddr) -> bool {
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
