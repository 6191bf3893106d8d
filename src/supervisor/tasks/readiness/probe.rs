//! Waits until the `readiness` probe of a process succeeds, and tells each failure.
//!
//! Each pause is an eighth of the time already waited, but at most `interval`, or a second if the
//! config has no `interval`. After a failed command, the pause is the `interval` itself if there is
//! one, and at least 100 ms otherwise.

use std::fmt::Display;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use hyper::Method;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use crate::envoy::ready::{check_epoch, check_ready};
use crate::grpc::{self, GrpcError};
use crate::http::{HttpError, describe_io, status};
use crate::keys::{Address, HttpTarget, Probe};
use crate::os::is_own_lack;
use crate::os::on_thread::{on_thread, peer_at};
use crate::os::own_connections;
use crate::os::trusted_path::Place;
use crate::supervisor::tasks::run_command::AttemptFailure;
use crate::types::{Reason, harmless, human};

/// The time limit of each early attempt. The limit is short, so that another request follows soon
/// if a server loses a request. A later attempt may take as long as drainit has already waited.
/// Thus a server that needs seconds for an answer can become ready, too.
pub(crate) const FIRST_LIMIT: Duration = Duration::from_secs(1);
/// The shortest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause if the config has no `interval`. A server writes a line to its access log for
/// each attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The shortest pause between two commands if the config has no `interval`.
const COMMAND_PAUSE: Duration = Duration::from_millis(100);

/// Runs the command of an `exec` probe to its end. The error says why the command failed. The
/// command is killed after a limit, and when the future is dropped.
pub(crate) type RunCommand = dyn Fn(&[String]) -> RunningCommand;

/// A command that a [`RunCommand`] runs.
pub(crate) type RunningCommand = Pin<Box<dyn Future<Output = Result<(), AttemptFailure>>>>;

/// Finds out whether somebody else answers at an address. The text says who answers.
pub(crate) type Doubt = dyn Fn(SocketAddr) -> Pin<Box<dyn Future<Output = Option<String>>>>;

/// Returns when the probe succeeds and nobody else answers, and tells why each earlier attempt has
/// failed. There is no time limit; the caller drops the future instead.
///
/// For `log` and `notify`, which other code handles, this function never returns.
pub(crate) async fn wait_ready(
    probe: &Probe,
    interval: Option<Duration>,
    tell: &dyn Fn(Reason),
    run: &RunCommand,
    doubt: &Doubt,
) {
    let began = Instant::now();
    let try_once = async || {
        let attempt = attempt(probe, FIRST_LIMIT.max(began.elapsed()), run).await;
        attempt.map_err(|failure| tell(failure.why.map(|why| harmless(why).into_owned())))?;
        let Some(address) = asked(probe) else { return Ok(()) };
        match doubt(address).await {
            None => Ok(()),
            Some(who) => {
                tell(harmless(&who).into_owned().into());
                Err(())
            }
        }
    };
    match probe {
        Probe::Unix(_)
        | Probe::File(_)
        | Probe::Tcp(_)
        | Probe::Http(_)
        | Probe::Grpc(_)
        | Probe::Envoy(_) => {
            wait_retrying(FIRST_PAUSE, interval, try_once).await;
        }
        Probe::Exec(_) => {
            wait_retrying(interval.unwrap_or(COMMAND_PAUSE), interval, try_once).await;
        }
        Probe::Log(_) | Probe::Notify => pending().await,
    }
}

/// Returns when this epoch of an Envoy has taken over the admin from the older epoch. As with
/// [`wait_ready`], there is no time limit.
pub(crate) async fn wait_epoch(
    epoch: &(Address, u32),
    interval: Option<Duration>,
    tell: &dyn Fn(Reason),
) {
    let began = Instant::now();
    let try_once = async || ask_epoch(epoch, FIRST_LIMIT.max(began.elapsed())).await.map_err(tell);
    wait_retrying(FIRST_PAUSE, interval, try_once).await;
}

/// Checks once, for at most `limit`, whether this epoch of an Envoy has taken over. The error says
/// why it has not.
pub(crate) async fn ask_epoch(
    (admin, epoch): &(Address, u32),
    limit: Duration,
) -> Result<(), Reason> {
    check_epoch(admin, *epoch, limit).await.map_err(|reason| reason.behind(&admin.to_string()))
}

/// Tries once, for at most `limit`. A command has the limit of `run` instead. For `log` and
/// `notify`, this function never returns.
pub(crate) async fn attempt(
    probe: &Probe,
    limit: Duration,
    run: &RunCommand,
) -> Result<(), AttemptFailure> {
    let at = |place: &dyn Display, result: Result<(), AttemptFailure>| {
        result.map_err(|failure| failure.at(place))
    };
    match probe {
        Probe::Unix(path) => at(&path.display(), connect_unix(path, limit).await),
        Probe::File(path) => {
            let file = path.clone();
            let found = on_thread(limit, move || exists(&file)).await;
            let found = found.map_err(|why| AttemptFailure::from(io::Error::other(why)));
            at(&path.display(), found.and_then(|found| Ok(found?)))
        }
        Probe::Tcp(address) => {
            let connect = bounded(limit, own_connections::connect(*address)).await;
            at(address, connect.and_then(|stream| Ok(refuse_own_connection(&stream)?)))
        }
        Probe::Http(target) => at(target, get(target, limit).await),
        Probe::Grpc(target) => at(target, grpc::check(target, limit).await.map_err(of_grpc)),
        Probe::Envoy(admin) => {
            at(admin, check_ready(admin, limit).await.map_err(AttemptFailure::from))
        }
        Probe::Exec(command) => run(command).await,
        Probe::Log(_) | Probe::Notify => pending().await,
    }
}

/// The TCP address that a probe asks; `None` for a probe that asks no such address.
fn asked(probe: &Probe) -> Option<SocketAddr> {
    let address = match probe {
        Probe::Tcp(address) => return Some(*address),
        Probe::Http(target) => &target.address,
        Probe::Grpc(target) => &target.address,
        Probe::Envoy(admin) => admin,
        Probe::Unix(_) | Probe::File(_) | Probe::Exec(_) | Probe::Log(_) | Probe::Notify => {
            return None;
        }
    };
    match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    }
}

/// Retries until an attempt succeeds. The first pause is `shortest`.
async fn wait_retrying(
    shortest: Duration,
    interval: Option<Duration>,
    attempt: impl AsyncFn() -> Result<(), ()>,
) {
    let begin = Instant::now();
    while attempt().await.is_err() {
        sleep(pause(begin.elapsed(), shortest, interval)).await;
    }
}

/// The pause before the next attempt.
fn pause(waited: Duration, shortest: Duration, interval: Option<Duration>) -> Duration {
    (waited / 8).clamp(shortest, interval.unwrap_or(LONGEST_PAUSE).max(shortest))
}

async fn bounded<T>(
    limit: Duration,
    attempt: impl Future<Output = io::Result<T>>,
) -> Result<T, AttemptFailure> {
    match timeout(limit, attempt).await {
        Ok(result) => result.map_err(AttemptFailure::from),
        Err(_) => Err(format!("no answer within {}", human(limit)).into()),
    }
}

/// Turns an error of a request into a failure. Marks drainit's own failures, such as a lack of
/// descriptors, because they say nothing about the server.
pub(crate) fn of_request(error: &HttpError) -> AttemptFailure {
    let is_own = matches!(error, HttpError::Io(error) if is_own_lack(error));
    AttemptFailure { why: error.reason(), is_own }
}

/// Like [`of_request`], for an error of a gRPC request.
fn of_grpc(error: GrpcError) -> AttemptFailure {
    match error {
        GrpcError::Request(error) => of_request(&error),
        GrpcError::Answer(reason) => reason.map(|why| harmless(why).into_owned()).into(),
    }
}

async fn connect_unix(path: &Path, limit: Duration) -> Result<(), AttemptFailure> {
    let connect =
        async || UnixStream::connect(&peer_at(path.to_owned()).await?.address).await.map(drop);
    bounded(limit, connect()).await
}

fn exists(path: &Path) -> Result<(), String> {
    let found = Place::behind(path).and_then(|place| place.stat());
    found.map(drop).map_err(|error| describe_io(&error))
}

/// Refuses a connection of drainit to itself. TCP allows such a connection: connecting to a port
/// without a listener can succeed if the port is also the local port (simultaneous open).
fn refuse_own_connection(stream: &TcpStream) -> Result<(), String> {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) if local != peer => Ok(()),
        (Ok(_), Ok(_)) => Err("connection refused".to_owned()),
        (Err(error), _) | (_, Err(error)) => Err(describe_io(&error)),
    }
}

async fn get(target: &HttpTarget, limit: Duration) -> Result<(), AttemptFailure> {
    match status(&target.address, Method::GET, &target.path, limit).await {
        Ok(status) if status.is_success() || status.is_redirection() => Ok(()),
        Ok(status) => Err(format!("answered {status}").into()),
        Err(error) => Err(of_request(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;
    use std::future::ready;
    use std::os::unix::fs::symlink;
    use std::rc::Rc;

    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
    };

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::testing::http_server::{Behaviour::*, Server};
    use crate::testing::temp_dir::TempDir;

    /// If a test waits for this long, the test fails.
    const NEVER: Duration = Duration::from_secs(30);

    /// The wait for a probe to succeed.
    struct Wait {
        ready: Pin<Box<dyn Future<Output = ()>>>,
        last: Rc<RefCell<String>>,
    }

    impl Wait {
        fn on(probe: Probe, interval: Duration) -> Self {
            let last = Rc::<RefCell<String>>::default();
            let shared = Rc::clone(&last);
            let ready = Box::pin(async move {
                let tell = |why: Reason| drop(shared.replace(why.full().to_owned()));
                let run = |_: &[String]| -> RunningCommand { panic!("nothing to run") };
                wait_ready(&probe, Some(interval), &tell, &run, &|_| Box::pin(ready(None))).await;
            });
            Self { ready, last }
        }

        /// Waits until another attempt of the probe fails for this reason.
        async fn fails(&mut self, why: &str) {
            let pause = Duration::from_millis(5);
            let fails = async {
                while !self.last.take().ends_with(why) {
                    assert!(timeout(pause, &mut self.ready).await.is_err(), "is ready");
                }
            };
            timeout(NEVER, fails).await.unwrap_or_else(|_| panic!("never: {why}"));
        }

        async fn ready(mut self) {
            timeout(NEVER, &mut self.ready).await.unwrap_or_else(|_| panic!("{:?}", self.last));
        }
    }

    #[test]
    fn a_lack_of_descriptors_says_nothing_about_the_server() {
        let lack = || HttpError::Io(io::Error::from_raw_os_error(24));
        assert!(of_request(&lack()).is_own && of_grpc(GrpcError::Request(lack())).is_own);
    }

    // holds: C210
    #[tokio::test]
    async fn socket_is_ready_only_when_listening() {
        let dir = TempDir::new();
        let base = dir.root();
        symlink("run", base.join("var")).unwrap();
        let path = base.join("var/gw/a.sock");
        let mut wait = Wait::on(Probe::Unix(path.clone()), NEVER);
        wait.fails("no such file or directory").await;
        fs::create_dir_all(base.join("run/gw")).unwrap();
        wait.fails("no such file or directory").await;
        // The socket is bound but does not listen, so connections are refused.
        let unbound =
            socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(std::os::fd::AsRawFd::as_raw_fd(&unbound), &UnixAddr::new(&path).unwrap()).unwrap();
        wait.fails("connection refused").await;
        listen(&unbound, Backlog::new(1).unwrap()).unwrap();
        wait.ready().await;
    }

    // holds: C222
    #[tokio::test]
    async fn unanswered_attempt_is_followed_by_another() {
        let server = Server::tcp(&[Hang, Answer(200, "")]);
        let target = HttpTarget { address: server.address.clone(), path: "/ready".to_owned() };
        let wait = Wait::on(Probe::Http(target), Duration::from_millis(10));
        let is_ready = timeout(FIRST_LIMIT * 4, wait.ready).await.is_ok();
        assert!(is_ready, "{:?}", wait.last);
    }

    #[tokio::test]
    async fn server_that_needs_longer_than_the_first_limit_becomes_ready() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let target = HttpTarget { address, path: "/ready".to_owned() };
        let answer_late = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    sleep(FIRST_LIMIT * 3 / 2).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                });
            }
        };
        tokio::select! {
            () = Wait::on(Probe::Http(target), Duration::from_millis(10)).ready() => {}
            () = answer_late => {}
        }
    }

    #[tokio::test]
    async fn connection_to_own_port_is_refused() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        let stream = socket.connect(own).await.unwrap();
        assert_eq!(refuse_own_connection(&stream), Err("connection refused".to_owned()));
    }

    // holds: C218, C628
    #[test]
    fn pauses_grow_with_the_wait_up_to_the_interval() {
        let ms = Duration::from_millis;
        let after = |waited| pause(ms(waited), FIRST_PAUSE, Some(ms(100)));
        assert_eq!([0, 400, 5400].map(after), [FIRST_PAUSE, ms(50), ms(100)]);
        assert_eq!(pause(ms(400), FIRST_PAUSE, Some(Duration::ZERO)), FIRST_PAUSE);
        let of_command = |waited| pause(ms(waited), ms(250), Some(ms(250)));
        assert_eq!([0, 400, 5400].map(of_command), [ms(250); 3]);
    }

    // holds: C1105
    #[test]
    fn pauses_without_an_interval_grow_up_to_a_second() {
        let ms = Duration::from_millis;
        let after = |waited| pause(ms(waited), FIRST_PAUSE, None);
        assert_eq!([0, 400, 4000, 60_000].map(after), [FIRST_PAUSE, ms(50), ms(500), ms(1000)]);
        let of_command = |waited| pause(ms(waited), COMMAND_PAUSE, None);
        assert_eq!([0, 4000, 60_000].map(of_command), [ms(100), ms(500), ms(1000)]);
        // A server that is ready after 5 s is asked at most 30 times between 100 ms and then.
        let (mut waited, mut asked) = (ms(100), 0);
        while waited < ms(5000) {
            (waited, asked) = (waited + pause(waited, FIRST_PAUSE, None), asked + 1);
        }
        assert!((20..40).contains(&asked), "{asked}");
    }
}
