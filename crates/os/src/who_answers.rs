//! Finds out whether a stranger answers at an address at which a process of the config should: a
//! program that drainit has not started, or an older instance of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::Pid;
use crate::descendants::{
    Descendant, MOST_READ, Sockets, children_of, has_open, holder, holders, own_sockets,
};
use crate::sock_diag::{LISTEN, Wanted, sockets};

/// The processes whose answers count, at one moment.
#[derive(Clone, Debug)]
pub struct Trusted<K> {
    /// The instance that should answer.
    pub of: K,
    /// The older instances of the same process. Only their answers do not count.
    pub older: BTreeSet<K>,
    /// The main processes of all instances.
    pub leaders: BTreeMap<Pid, K>,
    /// The processes of all instances.
    pub known: BTreeSet<Pid>,
}

/// A process that answers in place of the instance that should.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// One of the processes that have the socket open.
    pub process: Descendant,
    /// Whether it belongs to an older instance of the same process.
    pub is_older: bool,
}

/// The process that answers at `address` in place of a trusted one. `None` if a trusted process
/// answers: the instance, another process of the config, a descendant of drainit, or drainit itself,
/// which holds the sockets of `listen`. Also `None` if drainit cannot know who answers: the address
/// is of another machine, the kernel lists no listener, or drainit may not see who has it open.
///
/// Call this on a thread of its own: it may read all of `/proc`.
///
/// # Errors
/// Fails if the kernel does not list its sockets, or without a `/proc` of drainit's PID namespace.
pub fn stranger_at<K: Copy + Ord>(
    address: SocketAddr,
    trusted: &Trusted<K>,
) -> io::Result<Option<Stranger>> {
    let listening = listeners_at(address)?;
    let mut own_pids = trusted.leaders.iter().filter(|(_, key)| **key == trusted.of);
    // In most cases the main process or a child of it listens. Then nothing else is read.
    if listening.is_empty()
        || own_pids.any(|(pid, _)| family_has_open(*pid, &listening))
        || !own_sockets().is_disjoint(&listening)
    {
        return Ok(None);
    }
    let found = holders(&trusted.leaders, &trusted.known, true)?;
    let of = |is_older: bool| {
        let of_each = found.of_each.iter();
        of_each.filter(move |(key, _)| trusted.older.contains(key) == is_older).map(|(_, own)| own)
    };
    let has = |own: &Sockets| !own.inodes.is_disjoint(&listening);
    // One that is hidden may have the socket.
    if of(false).chain([&found.strays]).any(|own| own.hidden.is_some() || has(own)) {
        return Ok(None);
    }
    let is_older = of(true).any(has);
    // `None` if nobody has the socket open, as far as drainit sees.
    Ok(holder(&listening)?.map(|process| Stranger { process, is_older }))
}

/// Whether a process or a descendant of it has one of these sockets open. Looks at no more than
/// [`MOST_READ`] processes.
fn family_has_open(pid: Pid, inodes: &BTreeSet<u32>) -> bool {
    let mut next = vec![pid];
    for _ in 0..MOST_READ {
        let Some(one) = next.pop() else { return false };
        if has_open(one, inodes) {
            return true;
        }
        next.extend(children_of(one).iter().map(|child| child.pid));
    }
    false
}

/// The inodes of the listening sockets to which the kernel gives a connection to this address;
/// empty if the address is not of this machine.
fn listeners_at(address: SocketAddr) -> io::Result<BTreeSet<u32>> {
    let ip = match address.ip().to_canonical() {
        // A connection to no address goes to this machine.
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    if !ip.is_loopback() && !ip.is_unspecified() && !is_local(ip) {
        return Ok(BTreeSet::new());
    }
    let wanted = Wanted { ports: BTreeSet::from([address.port()]), ..Wanted::default() };
    // With too many ports the kernel lists others, too.
    let all = sockets(&[LISTEN], 0, &wanted)?.into_iter();
    let all: Vec<_> = all.filter(|it| it.local.port() == address.port()).collect();
    let inodes = |is_wanted: &dyn Fn(IpAddr) -> bool| -> BTreeSet<u32> {
        let wanted = all.iter().filter(|it| is_wanted(it.local.ip()));
        wanted.map(|it| it.id.inode).collect()
    };
    // A socket of the address itself comes before one of all addresses.
    let exact = inodes(&|at| at.to_canonical() == ip);
    match exact.is_empty() {
        false => Ok(exact),
        true => Ok(inodes(&|at| at.is_unspecified() && (at.is_ipv6() || ip.is_ipv4()))),
    }
}

/// Whether this machine has this address: the kernel then also takes it as the source. Sends
/// nothing.
fn is_local(ip: IpAddr) -> bool {
    let any: SocketAddr = match ip {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let source = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    source().is_ok_and(|own| own.ip() == ip)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::testing::isolated::in_own_process;

    /// A process that has inherited this listener as its standard input.
    fn heir(listener: &TcpListener) -> Child {
        let input: std::os::fd::OwnedFd = listener.try_clone().unwrap().into();
        Command::new("sleep").arg("1000").stdin(Stdio::from(input)).spawn().unwrap()
    }

    /// Who answers, if these are the instances.
    fn answers(at: SocketAddr, of: char, older: &str, leaders: &[(Pid, char)]) -> Option<bool> {
        let trusted = Trusted {
            of,
            older: older.chars().collect(),
            leaders: leaders.iter().copied().collect(),
            known: leaders.iter().map(|(pid, _)| *pid).collect(),
        };
        stranger_at(at, &trusted).unwrap().map(|it| it.is_older)
    }

    // holds: C1091, C1092, C1093
    #[test]
    fn only_older_instances_and_strangers_are_not_believed() {
        in_own_process(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let at = listener.local_addr().unwrap();
            // This process stands for drainit.
            assert_eq!(answers(at, 'a', "", &[]), None, "drainit has the socket");
            let mut child = heir(&listener);
            let pid = child.id().cast_signed();
            drop(listener);
            TcpStream::connect(at).unwrap();
            assert_eq!(answers(at, 'a', "", &[(pid, 'a')]), None, "the instance");
            assert_eq!(answers(at, 'a', "", &[(pid, 'b')]), None, "another process");
            assert_eq!(answers(at, 'a', "b", &[(pid, 'b')]), Some(true), "an older instance");
            assert_eq!(answers(at, 'a', "", &[]), None, "a descendant of drainit");
            child.kill().unwrap();
            child.wait().unwrap();
        });
    }

    #[test]
    fn the_listeners_of_an_address_are_those_to_which_the_kernel_connects() {
        in_own_process(|| {
            let any = TcpListener::bind("0.0.0.0:0").unwrap();
            let port = any.local_addr().unwrap().port();
            let at = |ip: &str| listeners_at(SocketAddr::new(ip.parse().unwrap(), port)).unwrap();
            assert_eq!(at("127.0.0.1").len(), 1);
            assert_eq!(at("127.0.0.1"), at("0.0.0.0"));
            assert_eq!(at("127.0.0.1"), at("::ffff:127.0.0.1"));
            // An address of documentation (RFC 5737) is of no machine.
            assert!(at("192.0.2.1").is_empty() && at("::1").is_empty());
            drop(any);
            assert!(at("127.0.0.1").is_empty());
        });
    }
}
