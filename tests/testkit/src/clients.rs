//! Sends load from a separate thread, for programs that are not async.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use super::load::{IdleClose, Load, Plan, Report, Service};

/// 100 keep-alive clients, 1 request/s each, for longer than any rollout.
pub const USUAL: Plan = Plan {
    clients: 100,
    rate: 1.0,
    length: Duration::from_secs(600),
    idle_close: IdleClose::Unnoticed,
};

/// Running clients, which end when this value is dropped.
#[derive(Debug)]
pub struct Clients {
    stop: Sender<()>,
    thread: thread::JoinHandle<Report>,
}

impl Clients {
    /// Starts the load on this address.
    pub fn start(address: SocketAddr, plan: Plan) -> Self {
        let (stop, stopped) = channel();
        Self { stop, thread: thread::spawn(move || load(address, plan, &stopped)) }
    }

    /// Ends the load.
    pub fn stop(self) -> Report {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

fn load(address: SocketAddr, plan: Plan, stopped: &Receiver<()>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let load = Load::start(&Service::new(&[address]), plan);
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        load.end_after(Duration::ZERO);
        load.finish().await
    })
}

/// Whether a gateway serves a request.
pub fn answers(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}
