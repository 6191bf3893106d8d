//! Tells the service manager above drainit, with sd_notify(3), that everything is ready. The
//! service manager is systemd (for a unit with `Type=notify`), Podman (with
//! `--sdnotify=container`), or another drainit.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::on_thread::{self, Share};
use drainit_core::types::harmless;

/// Sends `READY=1` if a service manager has passed a `NOTIFY_SOCKET`. The work runs on a thread of
/// its own, because the socket may be on a file system that hangs. A failure is only logged,
/// because the processes do their work without this message, too.
pub fn ready() {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let begun = on_thread::begin(Share::Container, move || {
        if let Err(error) = send(&address, b"READY=1") {
            let address = harmless(&address.to_string_lossy()).into_owned();
            tracing::warn!("cannot send READY=1 to NOTIFY_SOCKET={address}: {error}");
        }
    });
    if let Err(why) = begun {
        tracing::warn!("cannot send READY=1 to NOTIFY_SOCKET: {why}");
    }
}

/// The longest wait for a receiver whose queue is full.
const LONGEST: Duration = Duration::from_millis(100);

/// Sends a datagram to a path or, if `address` begins with `@`, to an abstract name.
fn send(address: &OsStr, datagram: &[u8]) -> io::Result<()> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(LONGEST))?;
    socket.send_to_addr(datagram, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn ready_reaches_path_and_abstract_name() {
        let directory = TempDir::new();
        let path = directory.path("notify");
        let abstract_name = format!("drainit-test/{}", std::process::id());
        let named = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let receivers = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{abstract_name}").into(), UnixDatagram::bind_addr(&named).unwrap()),
        ];
        for (address, receiver) in receivers {
            send(&address, b"READY=1").unwrap();
            let mut datagram = [0; 16];
            let length = receiver.recv(&mut datagram).unwrap();
            assert_eq!(&datagram[..length], b"READY=1", "{}", address.display());
        }
    }
}
