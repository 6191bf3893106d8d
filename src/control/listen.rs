//! The listeners of the control server, bound before any process starts.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::http::describe_io;
use crate::keys::{Control, ControlSocket};
use crate::os::held_sockets::HeldSocket;
use crate::os::private_socket;
use crate::os::stale_socket::SocketFile;

/// The permissions of `control.socket`.
const MODE: u32 = 0o600;

/// The listeners of `control:`. When this value is dropped, the listeners are closed and the socket
/// is removed.
#[derive(Debug)]
pub struct ControlListeners {
    pub(crate) tcp: Option<TcpListener>,
    pub(crate) unix: Option<BoundSocket>,
    /// The reason why there is no private socket, although the config does not turn the socket off.
    pub(crate) missing: Option<String>,
}

impl ControlListeners {
    /// Binds the configured listeners.
    ///
    /// # Errors
    /// Fails if any listener cannot be bound. In this case, the other listeners are closed.
    pub fn bind(control: &Control) -> Result<Self, String> {
        let tcp = control.listen.map(bind_tcp).transpose()?;
        let (unix, missing) = match &control.socket {
            ControlSocket::Path(path) => (Some(BoundSocket::bind(path)?), None),
            ControlSocket::Private => BoundSocket::bind_privately(),
            ControlSocket::Off => (None, None),
        };
        Ok(Self { tcp, unix, missing })
    }
}

/// Describes the error of a bind. Names the directory of the socket if that directory is missing.
fn why_not(path: &Path, error: &io::Error) -> String {
    match path.parent() {
        Some(directory) if error.kind() == io::ErrorKind::NotFound => {
            format!("its directory {} does not exist", directory.display())
        }
        _ => describe_io(error),
    }
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, String> {
    let bind = || {
        // The backlog is as long as the kernel allows. A shorter backlog drops real requests in a
        // burst of connections, and a client retries only after a second.
        let listener = TcpListener::from(HeldSocket::tcp(address, None, &[])?.into_parts().0);
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error| format!("control.listen {address}: {}", describe_io(&error)))
}

/// A Unix socket: drainit's private socket, or a socket in the file system with mode 0600. Dropping
/// `name` removes the file.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub(crate) listener: UnixListener,
    /// The file of the socket; `None` for the private socket, which has no file.
    pub(crate) name: Option<SocketFile>,
}

impl BoundSocket {
    fn bind(path: &Path) -> Result<Self, String> {
        let bind = || {
            let (descriptor, name) = HeldSocket::unix(path, MODE, None)?.into_parts();
            let listener = UnixListener::from(descriptor);
            listener.set_nonblocking(true)?;
            Ok(Self { listener, name })
        };
        bind().map_err(|error| {
            format!("control.socket {}: {}", path.display(), why_not(path, &error))
        })
    }

    /// Returns the private socket, or the reason why there is none. Without `/proc`, returns
    /// neither. drainit also starts without the private socket, because only drainit's own commands
    /// need it.
    fn bind_privately() -> (Option<Self>, Option<String>) {
        // A container without `/proc` is configured in this way on purpose, so a warning at every
        // start would help nobody.
        let Ok(namespace) = private_socket::namespace() else { return (None, None) };
        match private_socket::listen(namespace) {
            (_, Ok(listener)) => (Some(Self { listener, name: None }), None),
            // Only a process in another container of the pod, or in a container with the host's
            // network, can have taken the socket's name.
            (name, Err(error)) => {
                let why = format!(
                    "no control socket, so `drainit status` and similar commands cannot reach \
                     drainit: @{name}: {}; `control: {{socket: PATH}}` names another socket",
                    describe_io(&error)
                );
                (None, Some(why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};

    use super::*;
    use crate::os::stale_socket;
    use crate::testing::temp_dir::TempDir;

    fn socket_at(path: &Path) -> Result<ControlListeners, String> {
        let socket = ControlSocket::Path(path.to_owned());
        ControlListeners::bind(&Control { socket, ..Control::default() })
    }

    // holds: C89
    #[test]
    fn default_is_the_private_socket() {
        let listeners = ControlListeners::bind(&Control::default()).unwrap();
        assert!(listeners.tcp.is_none() && listeners.unix.is_some_and(|unix| unix.name.is_none()));
        let off = Control { socket: ControlSocket::Off, ..Control::default() };
        let listeners = ControlListeners::bind(&off).unwrap();
        assert!(listeners.unix.is_none() && listeners.missing.is_none());
    }

    // holds: C93, C609
    #[test]
    fn only_stale_socket_is_replaced_by_a_private_socket_that_is_removed_at_the_end() {
        let dir = TempDir::new();
        let path = dir.path("control.sock");
        // The stale socket is bound, but never listens. A socket that has listened would continue
        // to listen while a child of another test holds its descriptor for a moment.
        let stale = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
        bind(stale.unwrap().as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        let living = socket_at(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = format!("control.socket {}: another process listens on it", path.display());
        assert_eq!(socket_at(&path).unwrap_err(), text);
        drop(living);
        stale_socket::finish_removals(Duration::from_secs(10));
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let text =
            format!("control.socket {}: it is not a socket, so it is left alone", path.display());
        assert_eq!(socket_at(&path).unwrap_err(), text);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
