//! drainit's private control socket: an abstract Unix socket. It needs no directory and no
//! permission, and works in every container.
//!
//! The containers of a pod, or all containers of a host, can share the namespace of abstract names.
//! Therefore the name of the socket contains the PID namespace and drainit's pid. A name does not
//! prove which process listens, and every process that shares the abstract names can connect.
//! Therefore the client and the server check each other's credentials, which come from the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{UnixAddr, getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

use crate::descendants::Stat;
use crate::stale_socket::connect_now;
use crate::{Peer, Pid};

/// The inode of drainit's PID namespace.
///
/// # Errors
/// Fails without `/proc`.
pub fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// The name of the socket of the drainit with this pid, without the leading byte 0.
fn name(namespace: u64, pid: Pid) -> String {
    format!("drainit/{namespace}/{pid}")
}

/// An abstract name as a path, with a leading byte 0 (unix(7)).
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("\0{name}"))
}

/// Whether the path is an abstract name.
pub fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"\0")
}

/// Listens on the socket of this process in this PID namespace. Also returns the name of the
/// socket.
///
/// # Errors
/// Fails if another process has the name.
pub fn listen(namespace: u64) -> (String, io::Result<UnixListener>) {
    let name = name(namespace, std::process::id().cast_signed());
    let bound = SocketAddr::from_abstract_name(&name).and_then(|address| {
        let listener = UnixListener::bind_addr(&address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    (name, bound)
}

/// The socket of PID 1 of this namespace.
///
/// # Errors
/// Fails without `/proc`.
pub fn init_socket() -> io::Result<PathBuf> {
    Ok(path(&name(namespace()?, 1)))
}

/// Returns the socket of PID 1 of this namespace. Under `docker run --init`, or with a shared PID
/// namespace, PID 1 is not a drainit. If the namespace then has exactly one drainit, returns the
/// socket of that drainit.
///
/// # Errors
/// Fails without `/proc`.
pub fn find() -> io::Result<PathBuf> {
    let init = init_socket()?;
    if is_drainit(&init) {
        return Ok(init);
    }
    match &*all()? {
        [only] => Ok(only.clone()),
        _ => Ok(init),
    }
}

/// The pids and the names of the sockets of the drainits in this PID namespace.
pub fn names() -> Vec<(Pid, String)> {
    let named = |path: &PathBuf| {
        Some((pid_in(path)?, path.to_str()?.strip_prefix('\0').unwrap_or_default().to_owned()))
    };
    let mut names: Vec<_> = all().unwrap_or_default().iter().filter_map(named).collect();
    names.sort_unstable();
    names
}

/// The sockets of the drainits in this PID namespace.
fn all() -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    // Everybody can take a name, so the names of strangers must not count.
    Ok(names_in(namespace()?, &table).into_iter().filter(|name| is_drainit(name)).collect())
}

/// The names in `/proc/net/unix` that look like the socket of a drainit in this PID namespace. The
/// table also has an entry for each accepted connection, with the name of the listener, so a name
/// can occur several times.
fn names_in(namespace: u64, table: &str) -> BTreeSet<PathBuf> {
    let prefix = format!("@drainit/{namespace}/");
    let names = table.lines().filter_map(|line| line.rsplit_once(' ')?.1.strip_prefix(&*prefix));
    let pids = names.filter_map(|pid| pid.parse::<Pid>().ok());
    pids.map(|pid| path(&name(namespace, pid))).collect()
}

/// Whether a drainit that this client trusts listens on an abstract name. Does not wait. If the
/// backlog is full, the listener stays unknown. In this case, the result is `true` only for the
/// name of PID 1, because a stranger could keep its own backlog full.
pub fn is_drainit(path: &Path) -> bool {
    let server = || -> Result<Peer, Errno> {
        let name = path.as_os_str().as_encoded_bytes();
        let address = UnixAddr::new_abstract(name.get(1..).unwrap_or_default())?;
        let peer = getsockopt(&connect_now(&address)?, PeerCredentials)?;
        Ok(Peer { pid: peer.pid(), uid: peer.uid() })
    };
    match server() {
        Ok(server) => check_server(path, server, false).is_ok(),
        Err(error) => error == Errno::EAGAIN && pid_in(path) == Some(1),
    }
}

/// The pid in an abstract name.
fn pid_in(path: &Path) -> Option<Pid> {
    path.to_string_lossy().rsplit_once('/').and_then(|(_, pid)| pid.parse().ok())
}

/// Checks, on behalf of a client, that the server is a drainit that the client trusts. If the path
/// is an abstract name, the server must be the process whose pid is in the name. Otherwise,
/// `is_in_its_directory` says whether the user of the server could put a socket into the directory.
///
/// # Errors
/// Returns a message that says who answers.
pub fn check_server(path: &Path, server: Peer, is_in_its_directory: bool) -> Result<(), String> {
    check_server_for(geteuid().as_raw(), path, server, is_in_its_directory, below_init)
}

fn check_server_for(
    own: u32,
    path: &Path,
    server: Peer,
    is_in_its_directory: bool,
    is_below_init: impl FnOnce(Pid) -> bool,
) -> Result<(), String> {
    let Peer { pid, uid } = server;
    let says = |what: String| Err(format!("{what}, so the answer may not be drainit's"));
    if is_abstract(path) {
        match pid_in(path) {
            _ if pid == 0 => {
                return says("a process of another PID namespace has this name".to_owned());
            }
            Some(named) if named != pid => return says(format!("pid {pid} has this name")),
            None => return says("the name is not one of drainit's".to_owned()),
            Some(_) => {}
        }
    }
    // Only the init of this namespace can be PID 1. A client trusts root and its own user. Root
    // also trusts the drainit of another user, but not a process that a drainit may have started.
    // The drainit of another container has another PID namespace, and thus no pid here. Root then
    // trusts whoever could put a socket there.
    let is_trusted_by_root = match pid {
        0 => is_in_its_directory,
        _ => !is_below_init(pid),
    };
    if pid == 1 || uid == 0 || uid == own || own == 0 && is_trusted_by_root {
        return Ok(());
    }
    let process = if pid == 0 { String::new() } else { format!("pid {pid} of ") };
    let neither = if own == 0 && pid == 0 {
        "neither root, nor may write to the directory of the socket"
    } else {
        "neither you nor root"
    };
    says(format!(
        "{process}the user {uid} answers, who is {neither} (if drainit runs as this user, call the \
         command as this user)"
    ))
}

/// Whether a drainit may have started this process. Every drainit is PID 1 or a subreaper, so the
/// processes that it has started stay below it. If PID 1 is not a drainit, a child of PID 1 or of
/// the container runtime is certainly not below a drainit. Every other process may be below a
/// drainit.
fn below_init(pid: Pid) -> bool {
    let parent = Stat::read(pid).map(|stat| stat.parent);
    let program = |pid: &str| fs::metadata(format!("/proc/{pid}/exe")).ok();
    let name = |pid: Pid| Stat::read(pid).map(|stat| stat.process.name);
    let is_drainit = || match (program("1"), program("self")) {
        (Some(init), Some(own)) => (init.dev(), init.ino()) == (own.dev(), own.ino()),
        _ => true,
    };
    let is_named = || name(1) == name(std::process::id().cast_signed());
    !matches!(parent, Some(0 | 1)) || is_drainit() || is_named()
}

/// Checks, on behalf of the server, that this client may send requests. `is_private` says that the
/// client has connected to the private socket, to which every process can connect.
///
/// # Errors
/// Returns a message that says who may send requests.
pub fn check_client(client: Peer, is_private: bool) -> Result<(), String> {
    check_client_for(geteuid().as_raw(), client, is_private)
}

fn check_client_for(own: u32, client: Peer, is_private: bool) -> Result<(), String> {
    let Peer { pid, uid } = client;
    if is_private && pid == 0 {
        return Err(
            "the caller runs in another PID namespace: call drainit in its own container, or set \
                    `control: {socket: PATH}`"
                .to_owned(),
        );
    }
    if uid == 0 || uid == own {
        return Ok(());
    }
    Err(format!("user {uid} may not send requests; only drainit's own user ({own}) and root may"))
}

/// The other side of a connection.
pub fn peer(stream: &tokio::net::UnixStream) -> io::Result<Peer> {
    let cred = stream.peer_cred()?;
    Ok(Peer { pid: cred.pid().unwrap_or(0), uid: cred.uid() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::isolated::in_own_process;

    #[test]
    fn a_namespace_has_a_number() {
        let link = format!("pid:[{}]", namespace().unwrap());
        assert_eq!(fs::read_link("/proc/self/ns/pid").unwrap(), Path::new(&link));
    }

    #[test]
    fn name_has_a_single_listener() {
        in_own_process(|| {
            // No namespace has the inode 1.
            let (name, first) = listen(1);
            assert_eq!(listen(1).1.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            assert!(is_drainit(&path(&name)));
            drop(first);
            assert!(!is_drainit(&path(&name)));
            listen(1).1.unwrap();
        });
    }

    #[test]
    fn drainits_of_namespace_are_found() {
        let table = "Num RefCount Protocol Flags Type St Inode Path
0: 00000002 00000000 00010000 0001 01 100 @drainit/5/17
0: 00000003 00000000 00000000 0001 03 101 @drainit/5/17
0: 00000002 00000000 00010000 0001 01 102 @drainit/6/8
0: 00000002 00000000 00010000 0001 01 102 @drainit/6/9
0: 00000002 00000000 00010000 0001 01 104
0: 00000002 00000000 00010000 0001 01 105 @drainit/5/x
";
        let found = |namespace| names_in(namespace, table);
        assert_eq!(found(5), [path("drainit/5/17")].into());
        assert_eq!(found(6), [path("drainit/6/8"), path("drainit/6/9")].into());
        assert!(found(7).is_empty());
    }

    #[test]
    fn server_must_match_abstract_name() {
        let own = 1000;
        for (name, pid, uid, says) in [
            ("drainit/5/17", 17, own, ""),
            ("drainit/5/17", 17, 0, ""),
            ("drainit/5/1", 1, own + 1, ""),
            ("drainit/5/17", 18, own, "pid 18 has this name"),
            ("drainit/5/1", 0, 0, "another PID namespace"),
            ("drainit/5/17", 17, own + 1, "neither you nor root"),
            ("drainit/5/", 17, own, "not one of drainit's"),
        ] {
            let checked = check_server_for(own, &path(name), Peer { pid, uid }, true, |_| true);
            let error = checked.err().unwrap_or_default();
            let is_right = error.contains(says) && error.is_empty() == says.is_empty();
            assert!(is_right, "{name} {pid} {uid}: {error}");
        }
    }

    // holds: C722
    #[test]
    fn a_client_trusts_root_and_the_own_user_but_no_process_below_a_drainit() {
        let socket = Path::new("/run/app/drainit.sock");
        for (own, pid, uid, is_in_its_directory, is_below, trusts) in [
            (0, 1, 1000, false, true, true),
            (0, 17, 0, false, true, true),
            (0, 17, 1000, false, false, true),
            (0, 17, 1000, true, true, false),
            // A drainit of another container.
            (0, 0, 1000, true, false, true),
            (0, 0, 1000, false, false, false),
            (1000, 0, 0, false, true, true),
            (1000, 0, 1000, false, true, true),
            (1000, 0, 1001, true, false, false),
            (1000, 17, 1000, false, true, true),
            (1000, 17, 1001, true, false, false),
        ] {
            let server = Peer { pid, uid };
            let checked = check_server_for(own, socket, server, is_in_its_directory, |_| is_below);
            let case = format!("{own} {pid} {uid} {is_in_its_directory} {is_below}");
            assert_eq!(checked.is_ok(), trusts, "{case}: {checked:?}");
        }
        let mut child = std::process::Command::new("true").spawn().unwrap();
        assert!(below_init(child.id().cast_signed()));
        child.wait().unwrap();
    }

    #[test]
    fn the_client_must_be_root_or_our_own_user() {
        let own = 1000;
        for (pid, uid, is_private, may) in [
            (5, own, true, true),
            (5, 0, true, true),
            (5, own + 1, true, false),
            (0, own, true, false),
            (0, own, false, true),
            (0, own + 1, false, false),
        ] {
            let allowed = check_client_for(own, Peer { pid, uid }, is_private);
            assert_eq!(allowed.is_ok(), may, "{pid} {uid} {is_private}: {allowed:?}");
        }
    }
}
