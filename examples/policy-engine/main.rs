//! A Policy Engine. The Router asks it about every request over gRPC (Envoy's `ext_proc`), and the
//! Policy Engine asks the Python Executor.
//!
//!     policy-engine -listen SOCKET -executor SOCKET [-xds-server HOST:PORT]
//!
//! The Policy Engine stops gracefully, like `GracefulStop` of grpc-go: it accepts no new streams,
//! and ends once Envoy has ended all streams. It must be stopped after the Router has ended. If it
//! is stopped earlier, it refuses requests that the Router still serves.

#![allow(clippy::disallowed_methods, reason = "not part of drainit")]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod executor;
mod ext_proc;
mod health;

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::FromRawFd;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ext_proc::{
    Answer, Answers, Continue, ExternalProcessor, HttpHeaders, HttpStatus, ImmediateResponse, Part,
    ProcessingRequest, ProcessingResponse,
};
use tokio::net::UnixListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Status, Streaming};

/// The default paths of the two sockets.
const DIRECTORY: &str = "/var/run/api-platform";

#[derive(Debug)]
struct Options {
    listen: PathBuf,
    executor: PathBuf,
}

impl Options {
    /// Reads options with one dash, like those of Go, or with two.
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let socket = |name: &str| PathBuf::from(DIRECTORY).join(name);
        let executor = std::env::var_os("PYTHON_EXECUTOR_SOCKET");
        let mut options = Self {
            listen: socket("policy-engine.sock"),
            executor: executor.map_or_else(|| socket("python-executor.sock"), PathBuf::from),
        };
        while let Some(arg) = args.next() {
            let value = args.next().ok_or(format!("{arg} needs a value"))?;
            match arg.trim_start_matches('-') {
                "listen" => options.listen = value.into(),
                "executor" => options.executor = value.into(),
                // A real Policy Engine would get its policies from this server. This Policy Engine
                // has a single policy.
                "xds-server" => println!("policy engine: policies from {value}"),
                _ => return Err(format!("no such option: {arg}")),
            }
        }
        Ok(options)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(std::env::args().skip(1))?;
    let engine = Arc::new(Engine {
        executor: executor::Client(options.executor),
        streams: AtomicU64::new(0),
    });
    if let Ok(port) = std::env::var("POLICY_ENGINE_ADMIN_PORT") {
        answer_health(port.parse()?);
    }
    // The handler is installed before the socket exists, so that a process that finds the socket
    // can already stop this process.
    let stop = stop_signal()?;
    let connections = UnixListenerStream::new(listener(&options.listen)?);
    println!("policy engine listens on {}", options.listen.display());

    let service = ExternalProcessor({
        let engine = Arc::clone(&engine);
        move |requests| engine.process(requests)
    });
    Server::builder()
        .add_service(service)
        .add_service(health::Health)
        .serve_with_incoming_shutdown(connections, async {
            let _ = stop.await;
            println!("policy engine stops: it waits for Envoy's streams");
        })
        .await?;
    println!("policy engine is done, {} streams served", engine.streams.load(Relaxed));
    Ok(())
}

/// Answers every request on this port with 200, once the replaced instance has released the port.
fn answer_health(port: u16) {
    std::thread::spawn(move || {
        let listener = loop {
            match std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(listener) => break listener,
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
}

/// The listener that this process was passed as in sd_listen_fds(3), or else a new one.
#[allow(unsafe_code)]
fn listener(path: &Path) -> io::Result<UnixListener> {
    if std::env::var("LISTEN_PID") != Ok(std::process::id().to_string()) {
        return UnixListener::bind(path);
    }
    // SAFETY: descriptor 3 was passed to this process, and nothing else here uses it.
    let listener = unsafe { net::UnixListener::from_raw_fd(3) };
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop_signal() -> io::Result<tokio::sync::oneshot::Receiver<()>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let (sender, stop) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || signals.forever().next().map(|_| sender.send(())));
    Ok(stop)
}

#[derive(Debug)]
struct Engine {
    executor: executor::Client,
    streams: AtomicU64,
}

impl Engine {
    /// Answers one stream, which is one HTTP exchange: first the request, later the response.
    fn process(self: &Arc<Self>, requests: Streaming<ProcessingRequest>) -> Answers {
        self.streams.fetch_add(1, Relaxed);
        let engine = Arc::clone(self);
        Box::pin(requests.then(move |request| {
            let engine = Arc::clone(&engine);
            Box::pin(async move { engine.answer(request?).await }) as Pin<Box<_>>
        }))
    }

    async fn answer(&self, request: ProcessingRequest) -> Result<ProcessingResponse, Status> {
        let answer = match request.part {
            Some(Part::RequestHeaders(headers)) => self.judge(&headers).await,
            Some(Part::ResponseHeaders(_)) => Answer::ResponseHeaders(Continue {}),
            None => return Err(Status::invalid_argument("only headers are processed")),
        };
        Ok(ProcessingResponse { answer: Some(answer) })
    }

    async fn judge(&self, headers: &HttpHeaders) -> Answer {
        let method = headers.get(":method").unwrap_or_default();
        let path = headers.get(":path").unwrap_or_default();
        match self.executor.allows(&method, &path).await {
            Ok(true) => Answer::RequestHeaders(Continue {}),
            Ok(false) => refuse(403, "refused by policy\n"),
            Err(error) => {
                println!("python executor does not answer: {error}");
                refuse(503, "no policy decision\n")
            }
        }
    }
}

fn refuse(code: i32, body: &str) -> Answer {
    Answer::Immediate(ImmediateResponse { status: Some(HttpStatus { code }), body: body.into() })
}
