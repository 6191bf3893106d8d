//! The servers and messages by which a process shows a probe that it is ready.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::sync::OnceLock;
use std::thread;

/// Accepts connections, and closes them at once.
pub(crate) fn unix(path: &str) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
}

/// The socket that this process has bound in [`share`], with its inode.
static SHARED: OnceLock<(String, u64)> = OnceLock::new();

/// Like [`unix`], but only if nothing exists at the path. Returns whether the path was free.
pub(crate) fn share(path: &str) -> bool {
    let Ok(listener) = UnixListener::bind(path) else { return false };
    SHARED.set((path.to_owned(), fs::metadata(path).unwrap().ino())).unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    true
}

/// The path of the shared socket of this process, if the path no longer leads to that socket.
pub(crate) fn lost() -> Option<&'static str> {
    let (path, inode) = SHARED.get()?;
    let is_there = fs::metadata(path).is_ok_and(|found| found.ino() == *inode);
    (!is_there).then_some(path)
}

/// Accepts connections, and closes them at once.
pub(crate) fn tcp(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
}

/// `ADDRESS,N[,STATUS]`: answers the first N requests with STATUS (503), all others with 200.
pub(crate) fn http(what: &str) {
    let mut words = what.split(',');
    let address = words.next().unwrap();
    let mut refused: u32 = words.next().unwrap().parse().unwrap();
    let refusal = words.next().unwrap_or("503").to_owned();
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            if !matches!(stream.read(&mut request), Ok(1..)) {
                continue;
            }
            let status = if refused == 0 { "200" } else { &refusal };
            refused = refused.saturating_sub(1);
            let answer =
                format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// Sends a message to the socket of sd_notify(3). A name that begins with `@` is abstract.
pub(crate) fn notify(text: &str) {
    let name = std::env::var("NOTIFY_SOCKET").expect("no NOTIFY_SOCKET");
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).unwrap(),
        None => SocketAddr::from_pathname(name).unwrap(),
    };
    let text = text.replace("OWN", &std::process::id().to_string());
    let sent = UnixDatagram::unbound().unwrap().send_to_addr(text.as_bytes(), &address);
    // Nobody listens any more if the main process has ended meanwhile.
    assert!(sent.is_ok() || sent.is_err_and(|it| it.kind() == ErrorKind::ConnectionRefused));
}

/// Like [`notify`], without an end.
pub(crate) fn swamp(text: &str) {
    loop {
        notify(text);
    }
}

/// Sends a message to every sd_notify(3) socket of the drainit that has started this process,
/// including the sockets for other processes. Waits until there is a socket.
pub(crate) fn forge(text: &str) {
    // Other tests run at the same time, so only sockets with the PID of the parent count.
    let own = format!("drainit/{}/", std::os::unix::process::parent_id());
    let addresses = || {
        let list = std::fs::read_to_string("/proc/net/unix").unwrap();
        let paths = list.lines().filter_map(|line| line.rsplit_once(" @"));
        let names = paths.map(|(_, name)| name.to_owned()).filter(|name| name.starts_with(&own));
        names.collect::<Vec<_>>()
    };
    let sent = |name: &String| {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        UnixDatagram::unbound().unwrap().send_to_addr(text.as_bytes(), &address).is_ok()
    };
    while addresses().iter().filter(|name| sent(name)).count() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
