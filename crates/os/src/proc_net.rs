//! The kernel's tables of sockets in `/proc/PID/net`, which also show the sockets of another network
//! namespace.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use crate::Pid;

/// The state of a UDP socket without a peer (`TCP_CLOSE`), as `/proc/net/udp` has it.
const NO_PEER: &str = "07";
/// The state of a listening TCP socket (`TCP_LISTEN`), as `/proc/net/tcp` has it.
const LISTENS_ON_TCP: &str = "0A";
/// `__SO_ACCEPTCON`, the flag of a Unix socket that listens, as `/proc/net/unix` has it.
const LISTENS: &str = "00010000";

/// The Unix sockets on which any process listens, by their inodes, with their paths. An abstract
/// name begins with `@`, and a socket without a name has an empty one.
pub(crate) fn unix_listeners() -> io::Result<BTreeMap<u32, String>> {
    let all = fs::read("/proc/self/net/unix")?;
    // The name of a socket need not be UTF-8.
    let inode = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.split_ascii_whitespace();
        fields.nth(3).filter(|flags| *flags == LISTENS)?;
        let inode = fields.nth(2)?.parse().ok()?;
        Some((inode, fields.collect::<Vec<_>>().join(" ")))
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
