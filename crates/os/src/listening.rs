//! Finds the processes that serve nobody: they have no socket to which a client could connect or
//! send.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use crate::Pid;
use crate::descendants::holders;
use crate::sock_diag::{LISTEN, Wanted, sockets};

/// The state of a UDP socket without a peer (`TCP_CLOSE`), as `/proc/net/udp` has it.
const NO_PEER: &str = "07";
/// The state of a listening TCP socket (`TCP_LISTEN`), as `/proc/net/tcp` has it.
const LISTENS_ON_TCP: &str = "0A";
/// `__SO_ACCEPTCON`, the flag of a Unix socket that listens, as `/proc/net/unix` has it.
const LISTENS: &str = "00010000";

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
    let mut serving: BTreeSet<u32> = unix_listeners()?;
    serving.extend(sockets(&[LISTEN], 0, &Wanted::default())?.iter().map(|socket| socket.inode));
    serving.extend(udp()?.into_iter().map(|(inode, _)| inode));
    let is_silent = |inodes: &BTreeSet<u32>| inodes.is_disjoint(&serving);
    let silent = found.of_each.into_iter().filter(|(_, own)| own.hidden.is_none());
    Ok(silent.filter(|(_, own)| is_silent(&own.inodes)).map(|(key, _)| key).collect())
}

/// The inodes of the Unix sockets on which any process listens.
pub(crate) fn unix_listeners() -> io::Result<BTreeSet<u32>> {
    let all = fs::read("/proc/self/net/unix")?;
    // The name of a socket need not be UTF-8.
    let inode = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.split_ascii_whitespace();
        fields.nth(3).filter(|flags| *flags == LISTENS)?;
        fields.nth(2)?.parse().ok()
    };
    Ok(all.split(|byte| *byte == b'\n').filter_map(inode).collect())
}

/// The inodes and ports of the UDP sockets without a peer.
pub(crate) fn udp() -> io::Result<Vec<(u32, u16)>> {
    in_state("self", "udp", NO_PEER)
}

/// The inodes of the TCP sockets that listen in the network namespace of a process.
pub(crate) fn tcp_listeners_of(pid: Pid) -> Vec<u32> {
    let all = in_state(&pid.to_string(), "tcp", LISTENS_ON_TCP).unwrap_or_default();
    all.into_iter().map(|(inode, _)| inode).collect()
}

/// The inodes and local ports of the sockets in this state, as a process sees them.
fn in_state(pid: &str, protocol: &str, state: &str) -> io::Result<Vec<(u32, u16)>> {
    let wanted = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let port = fields.nth(1)?.rsplit(':').next()?;
        fields.nth(1).filter(|it| *it == state)?;
        Some((fields.nth(5)?.parse().ok()?, u16::from_str_radix(port, 16).ok()?))
    };
    let mut all = fs::read_to_string(format!("/proc/{pid}/net/{protocol}"))?;
    // A kernel without IPv6 does not have this file.
    all += &fs::read_to_string(format!("/proc/{pid}/net/{protocol}6")).unwrap_or_default();
    Ok(all.lines().filter_map(wanted).collect())
}

/// Whether the kernel chooses this port for a socket that asks for none. Without the range of these
/// ports, `false`.
pub(crate) fn is_ephemeral(port: u16) -> bool {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut range = range.split_ascii_whitespace().map(str::parse);
    let (Some(Ok(first)), Some(Ok(last))) = (range.next(), range.next()) else { return false };
    (first..=last).contains(&port)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::testing::isolated::in_own_process;
    use crate::testing::temp_dir::TempDir;

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
