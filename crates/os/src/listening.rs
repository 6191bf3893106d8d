//! Finds where processes listen, the processes that serve nobody, because they have no socket to
//! which a client could connect or send, and the processes that are connected to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use crate::Pid;
use crate::descendants::{Sockets, holders};
use crate::proc_net::{udp, unix_listeners};
use crate::sock_diag::{LISTEN, OPEN, Socket, Wanted, sockets};

/// The sockets that some instances have open, at one moment.
pub struct OpenSockets<K> {
    of_each: BTreeMap<K, Sockets>,
    /// The addresses of the listening TCP sockets of all processes, by inode.
    tcp: BTreeMap<u32, SocketAddr>,
}

impl<K: Copy + Ord> OpenSockets<K> {
    /// Looks at the instances in `leaders`. `leaders` and `known` have the same meaning as for
    /// [`holders`]. Call this on a thread of its own: it reads all of `/proc`.
    ///
    /// # Errors
    /// Fails if the kernel does not list its sockets, or without a `/proc` of drainit's PID namespace.
    pub fn now(leaders: &BTreeMap<Pid, K>, known: &BTreeSet<Pid>) -> io::Result<Self> {
        let mut of_each = holders(leaders, known, false)?.of_each;
        for key in leaders.values() {
            of_each.entry(*key).or_default();
        }
        let tcp = sockets(&[LISTEN], 0, &Wanted::default())?;
        Ok(Self { of_each, tcp: tcp.iter().map(|it| (it.id.inode, it.local)).collect() })
    }

    /// The instances of which drainit may see all descriptors, with the inodes of their sockets.
    fn seen(&self) -> impl Iterator<Item = (K, &BTreeSet<u32>)> {
        let seen = self.of_each.iter().filter(|(_, own)| own.hidden.is_none());
        seen.map(|(key, own)| (*key, &own.inodes))
    }

    /// The instances that have no listening TCP or Unix socket open, and no UDP socket without a
    /// peer. Leaves out an instance of which drainit may not see all descriptors.
    ///
    /// # Errors
    /// Fails if the kernel does not list its sockets.
    pub fn listen_on_nothing(&self) -> io::Result<BTreeSet<K>> {
        let mut serving: BTreeSet<u32> = unix_listeners()?.into_keys().collect();
        serving.extend(self.tcp.keys());
        serving.extend(udp()?.into_iter().map(|(inode, _)| inode));
        Ok(self.seen().filter(|(_, own)| own.is_disjoint(&serving)).map(|(key, _)| key).collect())
    }

    /// The addresses on which each instance listens, of TCP and of Unix sockets. Leaves out an
    /// instance of which drainit may not see all descriptors.
    ///
    /// # Errors
    /// As for [`Self::listen_on_nothing`].
    pub fn addresses(&self) -> io::Result<BTreeMap<K, Vec<String>>> {
        let unix = unix_listeners()?.into_iter();
        let unix = unix.map(|(inode, name)| (inode, format!("unix:{name}")));
        let tcp = self.tcp.iter().map(|(inode, address)| (*inode, address.to_string()));
        let places: BTreeMap<u32, String> = tcp.chain(unix).collect();
        let of = |own: &BTreeSet<u32>| {
            let mut open: Vec<_> = own.iter().filter_map(|it| places.get(it)).cloned().collect();
            open.sort_unstable();
            open
        };
        Ok(self.seen().map(|(key, own)| (key, of(own))).collect())
    }

    /// The instances with a TCP connection to another of these instances: the server with the
    /// client. A connection that the server has not accepted yet does not count.
    ///
    /// # Errors
    /// As for [`Self::listen_on_nothing`].
    pub fn connected(&self) -> io::Result<BTreeSet<(K, K)>> {
        let all =
            || self.of_each.iter().flat_map(|(key, own)| own.inodes.iter().map(|it| (*it, *key)));
        let serves = |(inode, key)| Some((self.tcp.get(&inode)?.port(), key));
        let ports: BTreeSet<(u16, K)> = all().filter_map(serves).collect();
        let owners: BTreeMap<u32, K> = all().collect();
        let owned = |it: &Socket| Some(((it.local, it.remote), *owners.get(&it.id.inode)?));
        let open_at = |ports: BTreeSet<u16>| match ports.is_empty() {
            true => Ok(Vec::new()),
            false => sockets(&OPEN, 0, &Wanted { ports, ..Wanted::default() }),
        };
        let served = open_at(ports.iter().map(|(port, _)| *port).collect())?;
        // Most clients are on other machines.
        let is_near =
            |it: &&Socket| it.remote.ip() == it.local.ip() || it.remote.ip().is_loopback();
        let served: BTreeMap<_, K> = served.iter().filter(is_near).filter_map(owned).collect();
        let clients = open_at(served.keys().map(|(_, remote)| remote.port()).collect())?;
        let pair = |((local, remote), client): ((SocketAddr, SocketAddr), K)| {
            let server = *served.get(&(remote, local))?;
            (server != client && ports.contains(&(remote.port(), server)))
                .then_some((server, client))
        };
        Ok(clients.iter().filter_map(owned).filter_map(pair).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::testing::isolated::in_own_process;
    use crate::testing::temp_dir::TempDir;

    /// The sockets of this process.
    fn own() -> OpenSockets<char> {
        let own = std::process::id().cast_signed();
        OpenSockets::now(&BTreeMap::from([(own, 'a')]), &BTreeSet::from([own])).unwrap()
    }

    // holds: S853
    #[test]
    fn addresses_are_those_of_the_sockets_that_listen() {
        in_own_process(|| {
            let open = || own().addresses().unwrap()[&'a'].clone();
            assert_eq!(open(), [""; 0]);
            let dir = TempDir::new();
            let path = dir.path("socket");
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let unix = UnixListener::bind(&path).unwrap();
            let _client = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
            let address = tcp.local_addr().unwrap().to_string();
            assert_eq!(open(), [address.clone(), format!("unix:{}", path.display())]);
            drop(unix);
            assert_eq!(open(), [address]);
        });
    }

    #[test]
    fn sockets_for_clients_are_told_from_other_sockets() {
        in_own_process(|| {
            let is_silent = || own().listen_on_nothing().unwrap().contains(&'a');
            assert!(is_silent());
            let dir = TempDir::new();
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            assert!(!is_silent());
            // A client has sockets, too.
            let client = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
            drop(tcp);
            assert!(is_silent());
            let unix = UnixListener::bind(dir.path("socket")).unwrap();
            assert!(!is_silent());
            drop((unix, client));
            for address in ["127.0.0.1:0", "[::1]:0"] {
                let udp = UdpSocket::bind(address).unwrap();
                assert!(!is_silent(), "{address}");
                udp.connect(udp.local_addr().unwrap()).unwrap();
                assert!(is_silent(), "{address}");
            }
        });
    }
}
