//! Removes a socket that an earlier run of a process has left, or that drainit has made. This
//! module removes only sockets, and follows no symbolic link of another user.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::on_thread::{Share, locked};
use crate::trusted_path::{PeerSocket, Place, is};
use crate::{errno, on_thread};
use drainit_core::types::harmless;

/// Removes the socket at `path`, if there is one. Never removes the socket at `own`, even if `path`
/// leads there through links.
///
/// # Errors
/// Fails if the path leads through a symbolic link of another user. Also fails if the path leads to
/// the socket at `own` or to something other than a socket, or if the kernel refuses.
pub fn remove(path: &Path, own: Option<&Path>) -> io::Result<()> {
    match try_remove(path, own) {
        // ENOTDIR: a part of the path is a file, so the socket does not exist.
        Err(error) if matches!(errno(&error), Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
        removed => removed,
    }
}

fn try_remove(path: &Path, own: Option<&Path>) -> io::Result<()> {
    let place = Place::of(path)?;
    // Other processes can still change the entries of the directory, but `place` keeps referring to
    // the same directory.
    let found = place.stat()?;
    if !is(&found, SFlag::S_IFSOCK) {
        return Err(io::Error::other("it is not a socket, so it is left alone"));
    }
    if own.and_then(identity) == Some((found.st_dev, found.st_ino)) {
        let message = "it is drainit's own `control.socket`, so it is left alone";
        return Err(io::Error::other(message));
    }
    let (directory, name) = place.parts();
    Ok(unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?)
}

/// Whether a process listens on the socket at `path`. Does not wait, even if the listener hangs and
/// its backlog is full.
///
/// # Errors
/// Fails if the kernel refuses the connection for another reason than a missing listener or file.
pub(crate) fn is_listening(path: &Path) -> io::Result<bool> {
    // If the path cannot be followed, a later bind to the path reports the reason.
    let Ok(peer) = PeerSocket::at(path) else { return Ok(false) };
    Ok(has_listener(&UnixAddr::new(&peer.address)?)?)
}

/// Connects without waiting. Fails with `EAGAIN` if the backlog of the listener is full.
pub(super) fn connect_now(address: &UnixAddr) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), address)?;
    Ok(fd)
}

/// Like [`is_listening`], but takes an address.
fn has_listener(address: &UnixAddr) -> Result<bool, Errno> {
    match connect_now(address) {
        Ok(_) | Err(Errno::EAGAIN) => Ok(true),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The bits of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;

/// The reason why drainit does not replace a socket.
pub const IN_USE: &str = "another process listens on it";

/// Whether a process other than this one listens on the socket at `path`; `own` is the path of
/// drainit's own socket. Returns `false` for a socket to which drainit cannot connect, such as a
/// datagram socket.
pub fn is_taken(path: &Path, own: Option<&Path>) -> bool {
    let is_own = own.and_then(identity).is_some_and(|own| identity(path) == Some(own));
    !is_own && is_listening(path).unwrap_or(false)
}

/// The file of a socket that drainit has made. Dropping this value removes the file on a thread of
/// its own. If another file is at the path by then, that file stays. [`finish_removals`] waits for
/// the removal.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The device and the inode of the file.
    made: Option<(u64, u64)>,
}

impl SocketFile {
    /// The socket that was just bound to `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), made: identity(path) }
    }

    /// Whether the file still exists, so that clients find the socket.
    pub fn is_there(&self) -> bool {
        self.made.is_some() && identity(&self.path) == self.made
    }

    /// Changes the permissions of the file.
    ///
    /// # Errors
    /// Fails if another file has taken the place of the socket, or if the kernel refuses.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let file = Place::of(&self.path)?.open(OFlag::O_PATH, Mode::empty())?;
        let found = fstat(&file)?;
        if Some((found.st_dev, found.st_ino)) != self.made {
            return Err(Errno::ENOENT.into());
        }
        if found.st_mode & PERMISSIONS == mode {
            return Ok(());
        }
        // `set_permissions` gets the path of the open descriptor, because a symbolic link may have
        // replaced the file at `self.path` since the check.
        let found = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(found, Permissions::from_mode(mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let (path, made) = (std::mem::take(&mut self.path), self.made);
        let shown = path.display().to_string();
        let removal = Removal::begin(vec![path]);
        let begun = on_thread::begin(Share::Sockets(None), move || {
            for path in &removal.paths {
                if made.is_some() && identity(path) == made {
                    let _ = remove(path, None);
                }
            }
        });
        if let Err(why) = begun {
            tracing::warn!("the socket {} is left: {why}", harmless(&shown));
        }
    }
}

/// The sockets whose removals are under way.
static REMOVALS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static REMOVED: Condvar = Condvar::new();

/// A removal that is under way until this value is dropped.
pub struct Removal {
    pub paths: Vec<PathBuf>,
}

impl Removal {
    pub fn begin(paths: Vec<PathBuf>) -> Self {
        locked(&REMOVALS).extend_from_slice(&paths);
        Self { paths }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let mut removals = locked(&REMOVALS);
        for path in &self.paths {
            if let Some(place) = removals.iter().position(|removed| removed == path) {
                removals.swap_remove(place);
            }
        }
        REMOVED.notify_all();
    }
}

/// Waits until some removals have ended: those of the paths for which `of` returns true. Waits for
/// at most `within`.
pub fn wait_for_removals(within: Duration, of: impl Fn(&PathBuf) -> bool) {
    // The caller continues in any case, even after a timeout or a failed removal.
    let _ =
        REMOVED.wait_timeout_while(locked(&REMOVALS), within, |removals| removals.iter().any(&of));
}

/// Waits for the removals of all sockets.
pub fn finish_removals(within: Duration) {
    wait_for_removals(within, |_| true);
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = Place::of(path).and_then(|place| place.stat()).ok()?;
    Some((found.st_dev, found.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::isolated::in_own_process;
    use crate::testing::temp_dir::TempDir;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::socket::{Backlog, listen};

    const LONG: Duration = Duration::from_secs(10);

    // holds: C157, C618
    #[test]
    fn only_sockets_are_removed() {
        let dir = TempDir::new();
        let at = |name: &str| dir.root().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink("real", at("relative")).unwrap();
        symlink(at("relative"), at("absolute")).unwrap();
        for way in ["real", "relative", "absolute", "./real/../absolute//."] {
            let _socket = UnixListener::bind(at("real/s")).unwrap();
            remove(&at(way).join("s"), None).unwrap();
            assert!(!at("real/s").exists(), "{way}");
        }
        for missing in ["none", "none/s", "real/s/t", "file/s"] {
            fs::write(at("file"), "").unwrap();
            remove(&at(missing), None).unwrap();
        }
        let _socket = UnixListener::bind(at("s")).unwrap();
        symlink("s", at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for kept in ["file", "real", "link"] {
            let error = remove(&at(kept), None).unwrap_err().to_string();
            assert!(error.contains("not a socket"), "{kept}: {error}");
            assert!(fs::symlink_metadata(at(kept)).is_ok(), "{kept}");
        }
        assert_eq!(errno(&remove(&at("loop/s"), None).unwrap_err()), Errno::ELOOP);
    }

    #[test]
    fn own_socket_is_neither_removed_nor_in_use() {
        in_own_process(|| {
            let dir = TempDir::new();
            let at = |name: &str| dir.root().join(name);
            let own = UnixListener::bind(at("own")).unwrap();
            let other = UnixListener::bind(at("other")).unwrap();
            symlink(dir.root(), at("way")).unwrap();
            for (path, is_taken_by_others) in [("own", false), ("way/own", false), ("other", true)]
            {
                assert!(is_listening(&at(path)).unwrap(), "{path}");
                assert_eq!(is_taken(&at(path), Some(&at("own"))), is_taken_by_others, "{path}");
                let removed = remove(&at(path), Some(&at("own")));
                assert_eq!(removed.is_ok(), is_taken_by_others, "{path}: {removed:?}");
            }
            assert!(at("own").exists() && !at("other").exists());
            assert!(is_taken(&at("own"), None));
            drop((own, other));
            for path in ["own", "other", "none/s"] {
                assert!(!is_listening(&at(path)).unwrap(), "{path}");
                assert!(!is_taken(&at(path), None), "{path}");
            }
            remove(&at("own"), None).unwrap();
            assert!(!at("own").exists());
        });
    }

    #[test]
    fn a_listener_with_a_full_queue_is_not_waited_for() {
        let dir = TempDir::new();
        let path = dir.path("s");
        let listener = UnixListener::bind(&path).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        for _ in 0..3 {
            assert!(is_listening(&path).unwrap());
        }
    }

    #[test]
    fn socket_file_is_removed_unless_replaced() {
        let dir = TempDir::new();
        let path = dir.root().join("s");
        let _socket = UnixListener::bind(&path).unwrap();
        drop(SocketFile::new(&path));
        finish_removals(LONG);
        assert!(!path.exists());
        let _socket = UnixListener::bind(&path).unwrap();
        let file = SocketFile::new(&path);
        fs::rename(&path, dir.root().join("moved")).unwrap();
        let _socket = UnixListener::bind(&path).unwrap();
        assert!(!file.is_there());
        drop(file);
        finish_removals(LONG);
        assert!(path.exists());
    }

    #[test]
    fn replaced_socket_keeps_permissions_of_other_file() {
        let dir = TempDir::new();
        let at = |name: &str| dir.root().join(name);
        let mode = |name: &str| at(name).metadata().unwrap().permissions().mode() & 0o777;
        let _socket = UnixListener::bind(at("s")).unwrap();
        let file = SocketFile::new(&at("s"));
        file.set_mode(0o620).unwrap();
        assert_eq!((mode("s"), file.is_there()), (0o620, true));
        fs::write(at("secret"), "").unwrap();
        fs::set_permissions(at("secret"), Permissions::from_mode(0o600)).unwrap();
        fs::rename(at("s"), at("moved")).unwrap();
        symlink("secret", at("s")).unwrap();
        assert!(file.set_mode(0o666).is_err() && !file.is_there());
        assert_eq!((mode("secret"), mode("moved")), (0o600, 0o620));
    }
}
