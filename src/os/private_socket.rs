//! drainit's private control socket: an abstract Unix socket, which needs no directory and no
//! permission, so that it works in every container.
//!
//! The name of the socket contains the PID namespace and drainit's pid, because the containers of a
//! pod, or all containers of a host, can share the namespace of abstract names. A name does not
//! prove which process listens, and every process that shares the abstract names can connect.
//! Therefore the client and the server check each other's credentials, which come from the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use nix::sys::socket::UnixAddr;
use nix::unistd::geteuid;

use crate::os::stale_socket::has_listener;
use crate::os::{Peer, Pid};

/// The inode of drainit's PID namespace.
///
/// # Errors
/// Fails without `/proc`.
pub(crate) fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// The name of the socket of the drainit with this pid, without the leading byte 0.
fn name(namespace: u64, pid: Pid) -> String {
    format!("drainit/{namespace}/{pid}")
}

/// An abstract name as a path, with a leading byte 0 (unix(7)).
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("\0{name}"))
}

/// Whether the path is an abstract name.
pub(crate) fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"\0")
}

/// Listens on the socket of this process in this PID namespace. Also returns the name of the
/// socket.
///
/// # Errors
/// Fails if another process has the name.
pub(crate) fn listen(namespace: u64) -> (String, io::Result<UnixListener>) {
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
pub(crate) fn init_socket() -> io::Result<PathBuf> {
    Ok(path(&name(namespace()?, 1)))
}

/// Returns the socket of PID 1 of this namespace. If PID 1 is not a drainit, as under `docker run
/// --init` or with a shared PID namespace, returns the socket of the only drainit in the namespace.
///
/// # Errors
/// Fails without `/proc`.
pub(crate) fn find() -> io::Result<PathBuf> {
    let init = init_socket()?;
    if is_there(&init) {
        return Ok(init);
    }
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    Ok(only_other(namespace()?, &table).unwrap_or(init))
}

/// Finds the only drainit of this PID namespace in `/proc/net/unix`; `None` if there is no drainit
/// or more than one. The table also has an entry for each accepted connection, with the name of the
/// listener, so a name can occur several times.
fn only_other(namespace: u64, table: &str) -> Option<PathBuf> {
    let prefix = format!("@drainit/{namespace}/");
    let names = table.lines().filter_map(|line| line.rsplit_once(' ')?.1.strip_prefix(&*prefix));
    let pids: BTreeSet<Pid> = names.filter_map(|pid| pid.parse().ok()).collect();
    let only = (pids.len() == 1).then_some(pids.first()).flatten();
    only.map(|pid| path(&name(namespace, *pid)))
}

/// Whether a process listens on an abstract name. Does not wait, even if the backlog is full.
pub(crate) fn is_there(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    let address = UnixAddr::new_abstract(name.get(1..).unwrap_or_default());
    address.and_then(|address| has_listener(&address)).unwrap_or(false)
}

/// Checks for a client that the server is the process whose pid is in the abstract name, and that
/// the client's user trusts the server's user.
///
/// # Errors
/// Returns a message that says who has taken the name.
pub(crate) fn check_server(path: &Path, server: Peer) -> Result<(), String> {
    check_server_for(geteuid().as_raw(), path, server)
}

fn check_server_for(own: u32, path: &Path, server: Peer) -> Result<(), String> {
    let text = path.to_string_lossy();
    let named = text.rsplit_once('/').and_then(|(_, pid)| pid.parse::<Pid>().ok());
    let Peer { pid, uid } = server;
    let says = |what: String| Err(format!("{what}, so the answer may not be drainit's"));
    match named {
        _ if pid == 0 => says("a process of another PID namespace has this name".to_owned()),
        Some(named) if named != pid => says(format!("pid {pid} has this name")),
        None => says("the name is not one of drainit's".to_owned()),
        // Only the init of this namespace can be PID 1. A client trusts root and its own user, and
        // root may ask the drainit of any user.
        Some(_) if pid == 1 || uid == 0 || own == 0 || uid == own => Ok(()),
        Some(_) => {
            says(format!("pid {pid} belongs to the user {uid}, who is neither you nor root"))
        }
    }
}

/// Checks for the server that this client may send requests. `is_private` says that the client has
/// connected to the private socket, to which every process can connect.
///
/// # Errors
/// Returns a message that says who may send requests.
pub(crate) fn check_client(client: Peer, is_private: bool) -> Result<(), String> {
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
pub(crate) fn peer(stream: &tokio::net::UnixStream) -> io::Result<Peer> {
    let cred = stream.peer_cred()?;
    Ok(Peer { pid: cred.pid().unwrap_or(0), uid: cred.uid() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_a_number() {
        let link = format!("pid:[{}]", namespace().unwrap());
        assert_eq!(fs::read_link("/proc/self/ns/pid").unwrap(), Path::new(&link));
    }

    #[test]
    fn name_has_a_single_listener() {
        // No namespace has the inode 1.
        let (name, first) = listen(1);
        assert_eq!(listen(1).1.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(is_there(&path(&name)));
        drop(first);
        assert!(!is_there(&path(&name)));
        listen(1).1.unwrap();
    }

    #[test]
    fn only_drainit_of_namespace_is_found() {
        let table = "Num RefCount Protocol Flags Type St Inode Path
0: 00000002 00000000 00010000 0001 01 100 @drainit/5/17
0: 00000003 00000000 00000000 0001 03 101 @drainit/5/17
0: 00000002 00000000 00010000 0001 01 102 @drainit/6/8
0: 00000002 00000000 00010000 0001 01 102 @drainit/6/9
0: 00000002 00000000 00010000 0001 01 104
0: 00000002 00000000 00010000 0001 01 105 @drainit/5/x
";
        let found = |namespace| only_other(namespace, table);
        assert_eq!(found(5), Some(path("drainit/5/17")));
        assert_eq!((found(6), found(7)), (None, None));
    }

    #[test]
    fn server_must_match_abstract_name() {
        let own = 1000;
        let check = |name: &str, pid, uid| check_server_for(own, &path(name), Peer { pid, uid });
        assert_eq!(check_server_for(0, &path("drainit/5/17"), Peer { pid: 17, uid: own }), Ok(()));
        assert_eq!(check("drainit/5/17", 17, own), Ok(()));
        assert_eq!(check("drainit/5/17", 17, 0), Ok(()));
        assert_eq!(check("drainit/5/1", 1, own + 1), Ok(()));
        for (name, pid, uid, says) in [
            ("drainit/5/17", 18, own, "pid 18 has this name"),
            ("drainit/5/1", 0, 0, "another PID namespace"),
            ("drainit/5/17", 17, own + 1, "neither you nor root"),
            ("drainit/5/", 17, own, "not one of drainit's"),
        ] {
            let error = check(name, pid, uid).unwrap_err();
            assert!(error.contains(says), "{name} {pid} {uid}: {error}");
        }
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
