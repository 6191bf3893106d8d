//! The server that the replace bench restarts. The server speaks HTTP/1.1 with WebSockets, HTTP/2
//! with gRPC, and TCP, and is as polite as each protocol permits:
//!
//!     bench-server HTTP1 HTTP2 TCP
//!
//! The arguments are addresses. If the supervisor hands over sockets in the same order
//! (`LISTEN_FDS`), the server ignores the addresses. The server takes `START_MILLISECONDS` to start
//! and then reports `READY=1`.
//!
//! SIGUSR1 begins a drain, in which the server announces the end of every connection; `DRAINED=1`
//! reports the end of the drain. A server that opened its own sockets still accepts connections. A
//! server whose sockets were handed over leaves new connections in the kernel's queue. At SIGTERM,
//! the server also stops accepting, and ends when its last client has gone.
#![allow(clippy::print_stderr)]

use std::error::Error;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, io, process};

use benches::load::Protocol;
use benches::server::{Phase, Phases, reached, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// The length of the queue for new connections. Most servers use this length.
const BACKLOG: u32 = 1024;

/// The number of open connections, by the phase in which they were opened.
#[derive(Debug, Default)]
struct Connections {
    early: AtomicUsize,
    late: AtomicUsize,
    ended: Notify,
}

impl Connections {
    fn of(&self, phase: Phase) -> &AtomicUsize {
        if phase == Phase::Serving { &self.early } else { &self.late }
    }

    /// Returns when all connections that were opened in these phases have ended.
    async fn gone(&self, phases: &[Phase]) {
        loop {
            let ended = self.ended.notified();
            if phases.iter().all(|phase| self.of(*phase).load(Ordering::SeqCst) == 0) {
                return;
            }
            ended.await;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let milliseconds = env::var("START_MILLISECONDS").ok().and_then(|text| text.parse().ok());
    sleep(Duration::from_millis(milliseconds.unwrap_or_default())).await;
    let (mut drain, mut terminate) =
        (signal(SignalKind::user_defined1())?, signal(SignalKind::terminate())?);
    let (phase, phases) = watch::channel(Phase::Serving);
    let connections = Arc::new(Connections::default());
    let (listeners, is_handed_over) = listeners()?;
    for (listener, protocol) in
        listeners.into_iter().zip([Protocol::Http1, Protocol::Http2, Protocol::Tcp])
    {
        let accept_until = if is_handed_over { Phase::Draining } else { Phase::Stopping };
        let accepting =
            accept(listener, protocol, phases.clone(), accept_until, connections.clone());
        tokio::spawn(async move {
            if let Err(problem) = accepting.await {
                eprintln!("bench-server: cannot accept: {problem}");
                process::exit(1);
            }
        });
    }
    notify("READY=1")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = drain.recv() => {
            phase.send_replace(Phase::Draining);
            tokio::select! {
                _ = terminate.recv() => {}
                () = connections.gone(&[Phase::Serving]) => {
                    notify("DRAINED=1")?;
                    terminate.recv().await;
                }
            }
        }
    }
    phase.send_replace(Phase::Stopping);
    // Lets the listeners accept the connections in their queues before the wait for open
    // connections.
    tokio::task::yield_now().await;
    connections.gone(&[Phase::Serving, Phase::Stopping]).await;
    Ok(())
}

/// Returns the sockets, and whether they were handed over.
fn listeners() -> Result<(Vec<TcpListener>, bool), Box<dyn Error>> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let is_ours = number("LISTEN_PID") == i32::try_from(process::id()).ok();
    if let (Some(count), true) = (number("LISTEN_FDS"), is_ours) {
        let listeners = (3..3 + count).map(|descriptor| {
            // SAFETY: by sd_listen_fds(3) these descriptors are open and belong to this process,
            // and each of them is taken only once.
            #[allow(unsafe_code)]
            let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
            let listener = std::net::TcpListener::from(descriptor);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        return Ok((listeners.collect::<io::Result<_>>()?, true));
    }
    let listeners = env::args().skip(1).map(|address| {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address.parse::<SocketAddr>()?)?;
        Ok(socket.listen(BACKLOG)?)
    });
    Ok((listeners.collect::<Result<_, Box<dyn Error>>>()?, false))
}

async fn accept(
    listener: TcpListener,
    protocol: Protocol,
    mut phases: Phases,
    until: Phase,
    connections: Arc<Connections>,
) -> io::Result<()> {
    let mut ending = phases.clone();
    loop {
        tokio::select! {
            biased;
            () = reached(&mut ending, until) => break,
            accepted = listener.accept() => {
                let phase = *phases.borrow_and_update();
                spawn(accepted?.0, protocol, phase, &phases, &connections);
            }
        }
    }
    if until == Phase::Draining {
        // The supervisor keeps the socket and the connections in its queue.
        return Ok(());
    }
    // Closing the listener would reset the connections in its queue, so they are accepted.
    let listener = listener.into_std()?;
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        spawn(TcpStream::from_std(stream)?, protocol, until, &phases, &connections);
    }
    Ok(())
}

fn spawn(
    stream: TcpStream,
    protocol: Protocol,
    phase: Phase,
    phases: &Phases,
    connections: &Arc<Connections>,
) {
    connections.of(phase).fetch_add(1, Ordering::SeqCst);
    let (phases, connections) = (phases.clone(), Arc::clone(connections));
    tokio::spawn(async move {
        // Errors are ignored, because the client counts a connection that ends too soon.
        let _ = serve(stream, protocol, phases).await;
        connections.of(phase).fetch_sub(1, Ordering::SeqCst);
        connections.ended.notify_waiters();
    });
}

/// Sends a message to the supervisor, as sd_notify(3) does.
fn notify(message: &str) -> io::Result<()> {
    let Ok(name) = env::var("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.strip_prefix('@') {
        Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name)?,
        None => std::os::unix::net::SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}
