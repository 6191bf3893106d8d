//! Receives the messages of sd_notify(3) on a datagram socket for each process. The sockets have
//! abstract names, which need no file system.
//!
//! Abstract names belong to the network namespace, which the containers of a pod share. A name is
//! therefore random, and drainit checks the credentials of the sender, which come from the kernel.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::net;
use std::str::Utf8Error;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, recvmsg, setsockopt, socket,
    sockopt,
};
use nix::{cmsg_space, libc};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::{Peer, Pid};
use drainit_core::types::{ChildText, ProcessId};

/// The longest datagram that is accepted, in bytes. systemd has the same limit.
const MAX_DATAGRAM: usize = 4096;

/// [`NotifySocket::take_all`] takes at most this many datagrams. The kernel queues fewer datagrams
/// by default (`net.unix.max_dgram_qlen`), but a process may send more meanwhile.
const MAX_WAITING: usize = 512;

/// The known assignments in a datagram. A datagram without a known assignment is not reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyMessage {
    /// `READY=1`
    pub ready: bool,
    /// `STOPPING=1`
    pub stopping: bool,
    /// `DRAINED=1`: the answer to the signal of `drain: {notify: …}`. systemd does not know this
    /// extension of drainit, and ignores it.
    pub drained: bool,
    /// `WATCHDOG=1`
    pub alive: bool,
    /// `WATCHDOG=trigger`: the process has found a failure of its own.
    pub trigger: bool,
    /// `EXTEND_TIMEOUT_USEC=…`
    pub extend: Option<Duration>,
    /// `STATUS=…`, one line for people.
    pub status: Option<ChildText>,
    /// `MAINPID=…`
    pub main: Option<Pid>,
}

impl NotifyMessage {
    /// Parses a datagram. Unknown assignments (`ERRNO`, `BUSERROR`, …) and assignments that are not
    /// UTF-8 are ignored.
    pub fn parse(datagram: &[u8]) -> Self {
        let mut message = Self::default();
        for line in datagram.split(|byte| *byte == b'\n') {
            match line {
                b"READY=1" => message.ready = true,
                b"STOPPING=1" => message.stopping = true,
                b"DRAINED=1" => message.drained = true,
                b"WATCHDOG=1" => message.alive = true,
                b"WATCHDOG=trigger" => message.trigger = true,
                _ => {
                    let Some((name, Ok(value))) = split(line) else { continue };
                    match name {
                        b"STATUS" => message.status = Some(ChildText::new(value)),
                        b"MAINPID" => message.main = value.trim().parse().ok().or(message.main),
                        b"EXTEND_TIMEOUT_USEC" => {
                            let usec = value.trim().parse().ok();
                            message.extend = usec.map(Duration::from_micros).or(message.extend);
                        }
                        _ => {}
                    }
                }
            }
        }
        message
    }

    /// Adds the assignments of a later message.
    fn add(&mut self, later: Self) {
        self.ready |= later.ready;
        self.stopping |= later.stopping;
        self.drained |= later.drained;
        self.alive |= later.alive;
        self.trigger |= later.trigger;
        self.extend = later.extend.or(self.extend);
        self.status = later.status.or_else(|| self.status.take());
        self.main = later.main.or(self.main);
    }
}

/// The name and the value of an assignment; `None` if the line has no `=`.
fn split(line: &[u8]) -> Option<(&[u8], Result<&str, Utf8Error>)> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    Some((&line[..equals], str::from_utf8(&line[equals + 1..])))
}

/// Lists the names of the assignments that are set.
impl fmt::Display for NotifyMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.ready, "READY=1"),
            (self.stopping, "STOPPING=1"),
            (self.drained, "DRAINED=1"),
            (self.alive, "WATCHDOG=1"),
            (self.trigger, "WATCHDOG=trigger"),
            (self.extend.is_some(), "EXTEND_TIMEOUT_USEC="),
            (self.status.is_some(), "STATUS="),
            (self.main.is_some(), "MAINPID="),
        ];
        let set: Vec<_> = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, it)| *it).collect();
        f.write_str(&set.join(" "))
    }
}

/// The socket for the messages of one process.
pub struct NotifySocket {
    socket: UnixDatagram,
    /// The abstract name, without its leading zero byte.
    name: String,
}

impl NotifySocket {
    /// # Errors
    /// Fails if the kernel has no descriptor or memory left.
    pub fn bind(process: ProcessId) -> io::Result<Self> {
        let random = RandomState::new().build_hasher().finish();
        let name = format!("drainit/{}/{random:016x}/{}", std::process::id(), process.0);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&fd, sockopt::PassCred, &true)?;
        bind(fd.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        Ok(Self { socket: UnixDatagram::from_std(net::UnixDatagram::from(fd))?, name })
    }

    /// The value of `NOTIFY_SOCKET` for the process.
    pub fn env_value(&self) -> String {
        format!("@{}", self.name)
    }

    /// Waits for the next message that has a known assignment, and for which `accepts` returns
    /// true. Cancel safe.
    ///
    /// The sender may have exited already, like `systemd-notify --no-block`. A sender outside
    /// drainit's PID namespace is refused, because such a sender has no pid here.
    ///
    /// # Errors
    /// Fails if the socket is broken. The kernel documents no cause for this.
    pub async fn recv(
        &self,
        accepts: impl Fn(Peer, &NotifyMessage) -> bool,
    ) -> io::Result<NotifyMessage> {
        loop {
            let fd = self.socket.as_raw_fd();
            let received = self.socket.async_io(Interest::READABLE, || receive(fd)).await?;
            if let Some(message) = accept(received, &accepts) {
                return Ok(message);
            }
            // A flood of refused messages must not block the other tasks.
            tokio::task::yield_now().await;
        }
    }

    /// Takes the messages that have arrived, without waiting, and makes one message of them.
    /// Accepts the same messages as [`Self::recv`].
    pub fn take_all(&self, accepts: impl Fn(Peer, &NotifyMessage) -> bool) -> NotifyMessage {
        let mut all = NotifyMessage::default();
        // `accepts` reads `/proc`, and in a flood many messages have the same sender. Therefore the
        // last result of `accepts` also holds for further messages of that sender.
        let last = Cell::new(None);
        let accepts = |sender, message: &NotifyMessage| match last.get() {
            Some((known, is_accepted)) if known == sender => is_accepted,
            _ => {
                let is_accepted = accepts(sender, message);
                last.set(Some((sender, is_accepted)));
                is_accepted
            }
        };
        // Reads without asking the runtime, because the runtime may not know yet that the socket is
        // readable.
        for _ in 0..MAX_WAITING {
            let Ok(received) = receive(self.socket.as_raw_fd()) else { break };
            all.add(accept(received, &accepts).unwrap_or_default());
        }
        all
    }
}

/// Returns the message if it has a known assignment, its sender has a pid, and `accepts` returns
/// true for it.
fn accept(
    received: Option<(Peer, NotifyMessage)>,
    accepts: &impl Fn(Peer, &NotifyMessage) -> bool,
) -> Option<NotifyMessage> {
    let (sender, message) = received?;
    let is_accepted =
        message != NotifyMessage::default() && sender.pid > 0 && accepts(sender, &message);
    is_accepted.then_some(message)
}

/// Receives one datagram with its sender; `None` if the datagram is too long or has no credentials.
/// The buffer for control data has room for the credentials only, so the kernel closes any
/// descriptors in the datagram (`FDSTORE`, `BARRIER`). The sender of a `BARRIER` waits until its
/// descriptor is closed.
fn receive(fd: i32) -> io::Result<Option<(Peer, NotifyMessage)>> {
    let mut buffer = [0; MAX_DATAGRAM];
    let mut control = cmsg_space!(libc::ucred);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let received = loop {
        match recvmsg::<()>(fd, &mut slices, Some(&mut control), MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    if received.flags.contains(MsgFlags::MSG_TRUNC) {
        return Ok(None);
    }
    let length = received.bytes;
    Ok(sender(&control).map(|sender| (sender, NotifyMessage::parse(&buffer[..length]))))
}

/// The credentials, which come first in the control data. This function parses the control data
/// itself. nix returns no control data at all if a part (such as the descriptors) did not fit.
fn sender(control: &[u8]) -> Option<Peer> {
    let number = |at| Some(i32::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    let data = size_of::<libc::cmsghdr>();
    let kind = (number(data - 8)?, number(data - 4)?);
    let is_credentials = kind == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);
    let sender = || Some(Peer { pid: number(data)?, uid: number(data + 4)?.cast_unsigned() });
    is_credentials.then(sender)?
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    use nix::sys::socket::{ControlMessage, sendmsg};
    use tokio::time::timeout;

    use super::*;

    fn listener() -> NotifySocket {
        NotifySocket::bind(ProcessId(3)).unwrap()
    }

    fn send(to: &NotifySocket, datagram: &[u8]) {
        let address = SocketAddr::from_abstract_name(&to.name).unwrap();
        net::UnixDatagram::unbound().unwrap().send_to_addr(datagram, &address).unwrap();
    }

    async fn next(socket: &NotifySocket) -> Option<NotifyMessage> {
        let own = i32::try_from(std::process::id()).unwrap();
        let received = socket.recv(|sender, _| sender.pid == own);
        timeout(Duration::from_millis(50), received).await.ok().map(Result::unwrap)
    }

    // holds: C247
    #[tokio::test]
    async fn known_messages_arrive() {
        let socket = listener();
        assert!(socket.env_value().starts_with("@drainit/"), "{}", socket.env_value());
        let none = NotifyMessage::default;
        let unknown = b"MAINPID=none\nWATCHDOG=0\nWATCHDOG_USEC=5000000\nEXTEND_TIMEOUT_USEC=soon";
        let status = |text: &str| Some(ChildText::new(text));
        let extend = Some(Duration::from_millis(1500));
        let serves = NotifyMessage { status: status("serving"), main: Some(7), ..none() };
        let serves = Some(NotifyMessage { ready: true, ..serves });
        let alive = Some(NotifyMessage { alive: true, extend, ..none() });
        for (datagram, says) in [
            (&b""[..], None),
            (unknown, None),
            (b"READY=0\nSTATUS=\xff\xfe\nREADY", None),
            (b"STATUS=warming up", Some(NotifyMessage { status: status("warming up"), ..none() })),
            (b"MAINPID=7\nREADY=1\nSTATUS=serving\n", serves),
            (b"STOPPING=1", Some(NotifyMessage { stopping: true, ..none() })),
            (b"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=1500000", alive),
            (b"WATCHDOG=trigger", Some(NotifyMessage { trigger: true, ..none() })),
        ] {
            send(&socket, datagram);
            assert_eq!(next(&socket).await, says, "{}", datagram.escape_ascii());
        }
    }

    #[tokio::test]
    async fn strangers_and_oversized_datagrams_are_refused() {
        let socket = listener();
        send(&socket, b"READY=1");
        let refused = timeout(Duration::from_millis(50), socket.recv(|_, _| false)).await;
        assert!(refused.is_err());
        let mut long = b"READY=1\n".to_vec();
        long.resize(MAX_DATAGRAM + 1, b'x');
        send(&socket, &long);
        assert_eq!(next(&socket).await, None);
        long.truncate(MAX_DATAGRAM);
        send(&socket, &long);
        assert!(next(&socket).await.unwrap().ready);
    }

    #[test]
    fn sender_without_pid_is_refused() {
        let message = || NotifyMessage { ready: true, ..NotifyMessage::default() };
        for (pid, is_accepted) in [(0, false), (1, true)] {
            let received = Some((Peer { pid, uid: 0 }, message()));
            assert_eq!(accept(received, &|_, _| true).is_some(), is_accepted, "{pid}");
        }
    }

    #[tokio::test]
    async fn received_descriptors_are_closed() {
        let socket = listener();
        let (mut read, write) = io::pipe().unwrap();
        let sender = net::UnixDatagram::unbound().unwrap();
        sendmsg(
            sender.as_raw_fd(),
            &[IoSlice::new(b"READY=1\nFDSTORE=1")],
            &[ControlMessage::ScmRights(&[write.as_raw_fd()])],
            MsgFlags::empty(),
            Some(&UnixAddr::new_abstract(socket.name.as_bytes()).unwrap()),
        )
        .unwrap();
        drop(write);
        assert!(next(&socket).await.unwrap().ready);
        // The read end is at the end of file, so every copy of the write end is closed.
        assert_eq!(io::Read::read(&mut read, &mut [0]).unwrap(), 0);
    }

    #[tokio::test]
    async fn messages_taken_together_equal_a_single_message_with_all_lines() {
        let socket = listener();
        assert_eq!(socket.take_all(|_, _| true), NotifyMessage::default());
        let lines = "READY=1 STOPPING=1 DRAINED=1 WATCHDOG=1 WATCHDOG=trigger MAINPID=7 MAINPID=8 \
                     STATUS=a STATUS=b EXTEND_TIMEOUT_USEC=1 EXTEND_TIMEOUT_USEC=2 BUSERROR=x";
        let lines: Vec<_> = lines.split(' ').collect();
        for first in &lines {
            for second in &lines {
                send(&socket, first.as_bytes());
                send(&socket, second.as_bytes());
                // Only the first look at the sender accepts it.
                let looks = Cell::new(0);
                let taken = socket.take_all(|_, _| looks.replace(looks.get() + 1) == 0);
                assert_eq!(taken, NotifyMessage::parse(format!("{first}\n{second}").as_bytes()));
            }
        }
    }
}
