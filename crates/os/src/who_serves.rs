//! Finds where processes listen, the processes that serve nobody, because they have no socket to
//! which a client could connect or send, and the processes that are connected to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use crate::listeners::Search;
use crate::proc_net::{udp, unix_listeners};
use crate::sock_diag::{OPEN, Socket, Wanted, sockets};
use drainit_core::types::ProcessId;

impl Search {
    /// The instances of which drainit may see all descriptors, with the inodes of their sockets.
    fn seen(&self) -> impl Iterator<Item = (ProcessId, &BTreeSet<u32>)> {
        let seen = self.holders.of_each.iter().filter(|(_, own)| own.hidden.is_none());
        seen.map(|(key, own)| (*key, &own.inodes))
    }

    /// The instances that have no listening TCP or Unix socket open, and no UDP socket without a
    /// peer. Leaves out an instance of which drainit may not see all descriptors.
    ///
    /// # Errors
    /// Fails if the kernel does not list its sockets.
    pub fn listen_on_nothing(&self) -> io::Result<BTreeSet<ProcessId>> {
        let mut serving: BTreeSet<u32> = unix_listeners()?.into_keys().collect();
        serving.extend(self.listening.by_inode.keys());
        serving.extend(udp()?.into_iter().map(|(inode, _)| inode));
        Ok(self.seen().filter(|(_, own)| own.is_disjoint(&serving)).map(|(key, _)| key).collect())
    }

    /// The addresses on which each instance listens, of TCP and of Unix sockets. Leaves out an
    /// instance of which drainit may not see all descriptors.
    ///
    /// # Errors
    /// As for [`Self::listen_on_nothing`].
    pub fn addresses(&self) -> io::Result<BTreeMap<ProcessId, Vec<String>>> {
        let unix = unix_listeners()?.into_iter();
        let unix = unix.map(|(inode, name)| (inode, format!("unix:{name}")));
        let tcp = self.listening.by_inode.iter();
        let tcp = tcp.map(|(inode, socket)| (*inode, socket.local.to_string()));
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
    pub fn connected(&self) -> io::Result<BTreeSet<(ProcessId, ProcessId)>> {
        let all = || {
            self.holders
                .of_each
                .iter()
                .flat_map(|(key, own)| own.inodes.iter().map(|it| (*it, *key)))
        };
        let serves = |(inode, key)| Some((self.listening.by_inode.get(&inode)?.local.port(), key));
        let ports: BTreeSet<(u16, ProcessId)> = all().filter_map(serves).collect();
        let owners: BTreeMap<u32, ProcessId> = all().collect();
        let owned = |it: &Socket| Some(((it.local, it.remote), *owners.get(&it.id.inode)?));
        let open_at = |ports: BTreeSet<u16>| match ports.is_empty() {
            true => Ok(Vec::new()),
            false => sockets(&OPEN, 0, &Wanted { ports, ..Wanted::default() }),
        };
        let served = open_at(ports.iter().map(|(port, _)| *port).collect())?;
        // Most clients are on other machines.
        let is_near =
            |it: &&Socket| it.remote.ip() == it.local.ip() || it.remote.ip().is_loopback();
        let served: BTreeMap<_, ProcessId> =
            served.iter().filter(is_near).filter_map(owned).collect();
        let clients = open_at(served.keys().map(|(_, remote)| remote.port()).collect())?;
        let pair = |((local, remote), client): ((SocketAddr, SocketAddr), ProcessId)| {
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
    use crate::listeners::Listening;
    use crate::testing::isolated::in_own_process;
    use crate::testing::temp_dir::TempDir;

    const SELF: ProcessId = ProcessId(0);

    /// The sockets of this process.
    fn own() -> Search {
        let own = std::process::id().cast_signed();
        Search::now(Listening::now().unwrap(), &[(own, SELF)].into(), &[own].into())
    }

    // holds: S853
    #[test]
    fn addresses_are_those_of_the_sockets_that_listen() {
        in_own_process(|| {
            let open = || own().addresses().unwrap()[&SELF].clone();
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
            let is_silent = || own().listen_on_nothing().unwrap().contains(&SELF);
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
