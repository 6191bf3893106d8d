//! Finds where processes listen, and the processes that serve nobody: they have no socket to which a
//! client could connect or send.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::Pid;
use crate::descendants::holders;
use crate::proc_net::{udp, unix_listeners};
use crate::sock_diag::{LISTEN, Wanted, sockets};

/// The instances in `leaders` that have no listening TCP or Unix socket open, and no UDP socket
/// without a peer. Leaves out an instance of which drainit may not see all descriptors.
/// `leaders` and `known` have the same meaning as for [`holders`]. Call this on a thread of its
/// own: it reads all of `/proc`.
///
/// # Errors
/// Fails if the kernel does not list its sockets, or without a `/proc` of drainit's PID namespace.
pub fn listen_on_nothing<K: Copy + Ord>(
    leaders: &BTreeMap<Pid, K>,
    known: &BTreeSet<Pid>,
) -> io::Result<BTreeSet<K>> {
    let found = holders(leaders, known, false)?;
    let mut serving: BTreeSet<u32> = unix_listeners()?.into_keys().collect();
    serving.extend(sockets(&[LISTEN], 0, &Wanted::default())?.iter().map(|socket| socket.inode));
    serving.extend(udp()?.into_iter().map(|(inode, _)| inode));
    let is_silent = |inodes: &BTreeSet<u32>| inodes.is_disjoint(&serving);
    let silent = found.of_each.into_iter().filter(|(_, own)| own.hidden.is_none());
    Ok(silent.filter(|(_, own)| is_silent(&own.inodes)).map(|(key, _)| key).collect())
}

/// The addresses on which each instance in `leaders` listens, of TCP and of Unix sockets. Leaves
/// out an instance of which drainit may not see all descriptors. The rest is as for
/// [`listen_on_nothing`].
///
/// # Errors
/// As for [`listen_on_nothing`].
pub fn addresses<K: Copy + Ord>(
    leaders: &BTreeMap<Pid, K>,
    known: &BTreeSet<Pid>,
) -> io::Result<BTreeMap<K, Vec<String>>> {
    let found = holders(leaders, known, false)?;
    let all: BTreeSet<K> = leaders.values().copied().collect();
    let unix = unix_listeners()?.into_iter();
    let unix = unix.map(|(inode, name)| (inode, format!("unix:{name}")));
    let tcp = sockets(&[LISTEN], 0, &Wanted::default())?;
    let tcp = tcp.iter().map(|socket| (socket.inode, socket.local.to_string()));
    let places: BTreeMap<u32, String> = tcp.chain(unix).collect();
    let of = |key: K| {
        let Some(own) = found.of_each.get(&key) else { return Some((key, Vec::new())) };
        let mut open: Vec<_> = own.inodes.iter().filter_map(|it| places.get(it)).cloned().collect();
        open.sort_unstable();
        own.hidden.is_none().then_some((key, open))
    };
    Ok(all.into_iter().filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::testing::isolated::in_own_process;
    use crate::testing::temp_dir::TempDir;

    // holds: S853
    #[test]
    fn addresses_are_those_of_the_sockets_that_listen() {
        in_own_process(|| {
            let own = std::process::id().cast_signed();
            let leaders = BTreeMap::from([(own, 'a')]);
            let open = || addresses(&leaders, &BTreeSet::from([own])).unwrap()[&'a'].clone();
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
            let own = std::process::id().cast_signed();
            let leaders = BTreeMap::from([(own, 'a')]);
            let is_silent =
                || listen_on_nothing(&leaders, &BTreeSet::from([own])).unwrap().contains(&'a');
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
