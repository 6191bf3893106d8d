//! An HTTP/1.1 client for servers on this machine. Each request has a limit of time and of size.
//!
//! The client uses hyper directly on a TCP or Unix stream, without proxy variables, redirects, name
//! resolution or a pool. A request ends at its limit, whatever the server does.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::keys::Address;
use crate::language::mask::masked;
use crate::os::on_thread::{LONGEST_WAY, on_thread, peer_at};
use crate::os::own_connections;
use crate::os::private_socket;
use crate::types::{ChildText, Reason, human};

/// The limit of an answer's head and of hyper's read buffer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// While the backlog of an abstract socket is full, a connect to this socket is retried for this
/// long.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(3);
const BACKLOG_PAUSE: Duration = Duration::from_millis(2);

/// A complete answer with any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The body, within the limit of the caller.
    pub body: Vec<u8>,
}

impl Response {
    /// The body, if the status is 200.
    ///
    /// # Errors
    /// Returns [`HttpError::Status`] for every other status.
    pub fn into_ok_body(self) -> Result<Vec<u8>, HttpError> {
        if self.status == StatusCode::OK {
            Ok(self.body)
        } else {
            Err(HttpError::Status(self.status))
        }
    }
}

/// The reason why a request has no usable answer. A message shows this text after the name of the
/// server.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connect failed, the connection broke, or `beside` failed.
    #[error("{}", describe_io(.0))]
    Io(io::Error),
    /// The exchange took longer than this limit.
    #[error("no answer within {}", human(*.0))]
    Timeout(Duration),
    /// The status is not a success.
    #[error("answered {0}")]
    Status(StatusCode),
    /// The body is longer than this many bytes.
    #[error("answered more than {0} bytes")]
    TooLarge(usize),
    /// The connection ended too early.
    #[error("closed the connection before its answer was complete")]
    Incomplete,
    /// The answer is not HTTP/1.
    #[error("answered something that is not HTTP ({0})")]
    Protocol(hyper::Error),
    /// The body does not have the expected format.
    #[error("{MALFORMED} ({})", masked(.0))]
    Malformed(ChildText),
    /// The caller does not trust the server, or the abstract name of the socket does not have the
    /// pid of the server.
    #[error("{0}")]
    Untrusted(String),
    /// The path or the query of the URL, which may be secret, is not valid in a request.
    #[error("the path or the query of its URL has a character that HTTP forbids")]
    Path,
}

/// The words for an answer that a client over TCP may see. The answer itself is not among them.
const MALFORMED: &str = "answered something else than asked for";

impl HttpError {
    /// An answer that does not have the expected format. The text says why, and may quote the
    /// answer.
    pub(crate) fn malformed(why: impl AsRef<[u8]>) -> Self {
        Self::Malformed(ChildText::new(why))
    }

    /// The words for everybody, and the text with the answer of the server.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::with_full(MALFORMED, self.to_string()),
            _ => self.to_string().into(),
        }
    }
}

impl From<hyper::Error> for HttpError {
    fn from(error: hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Self::Incomplete;
        }
        let cause = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<io::Error>());
        match cause {
            Some(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Self::Incomplete,
            Some(cause) => match cause.raw_os_error() {
                Some(code) => Self::Io(io::Error::from_raw_os_error(code)),
                None => Self::Protocol(error),
            },
            None => Self::Protocol(error),
        }
    }
}

/// An I/O error in lower case and without its number, such as `connection refused`.
pub fn describe_io(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::WouldBlock {
        // connect(2) on a Unix socket fails with EAGAIN if the backlog of the listener is full.
        return "does not accept connections (its backlog is full)".to_owned();
    }
    if error.kind() == io::ErrorKind::AddrInUse && error.raw_os_error().is_some() {
        // musl and glibc have different texts for this error.
        return error.kind().to_string();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Reads a large answer on a thread of its own.
///
/// # Errors
/// Fails if `read` takes longer than `limit`, or if no further thread can start.
pub(crate) async fn beside<T: Send + 'static>(
    limit: Duration,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    let read = on_thread(limit, read).await;
    read.map_err(|error| HttpError::Io(io::Error::other(error)))
}

/// Whose answer a request accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// The answer of any server at the address.
    Anybody,
    /// Only the answer of a drainit that the caller trusts. Over TCP, the client cannot check this.
    Drainit,
}

/// Sends one request on a connection of its own. `limit` covers everything from the connect to the
/// last byte of the body.
///
/// # Errors
/// Fails if there is no complete answer of at most `max_body` bytes within `limit`. Returns
/// [`HttpError::Untrusted`] if the caller does not trust the server.
pub async fn request(
    (address, from): (&Address, Answerer),
    method: Method,
    path: &str,
    limit: Duration,
    max_body: usize,
) -> Result<Response, HttpError> {
    let request = build(address, method, path)?;
    within(limit, async {
        HttpConnection::open(address, from).await?.exchange(request, Some(max_body)).await
    })
    .await
}

/// Sends a request and returns its status without waiting for the body.
///
/// # Errors
/// Fails if there is no head of an answer within `limit`.
pub async fn status(
    address: &Address,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<StatusCode, HttpError> {
    send(address, build(address, method, path)?, limit).await
}

/// Like [`status`], for a request that is already built.
pub(crate) async fn send(
    address: &Address,
    request: Request<Empty<Bytes>>,
    limit: Duration,
) -> Result<StatusCode, HttpError> {
    within(limit, async {
        Ok(HttpConnection::open(address, Answerer::Anybody)
            .await?
            .exchange(request, None)
            .await?
            .status)
    })
    .await
}

/// A client that keeps its connection to one server.
pub struct Client {
    address: Address,
    kept: Option<HttpConnection>,
}

impl Client {
    /// Connects at the first request.
    pub fn new(address: Address) -> Self {
        Self { address, kept: None }
    }

    /// Sends a `GET`. If the kept connection is stale, sends the request again on a new connection.
    /// `limit` covers both attempts.
    ///
    /// # Errors
    /// As for [`request`]. An error closes the connection.
    pub async fn get(
        &mut self,
        path: &str,
        limit: Duration,
        max_body: usize,
    ) -> Result<Response, HttpError> {
        let request = build(&self.address, Method::GET, path)?;
        within(limit, async {
            // This call takes the connection out of `kept` until the answer is complete. If the
            // future is dropped earlier, the connection with half an answer is closed.
            if let Some(mut kept) = self.kept.take() {
                match kept.exchange(request.clone(), Some(max_body)).await {
                    Err(HttpError::Incomplete | HttpError::Io(_)) => {}
                    answer => {
                        self.kept = answer.is_ok().then_some(kept);
                        return answer;
                    }
                }
            }
            let mut fresh = HttpConnection::open(&self.address, Answerer::Anybody).await?;
            let answer = fresh.exchange(request, Some(max_body)).await?;
            self.kept = Some(fresh);
            Ok(answer)
        })
        .await
    }
}

async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    timeout(limit, exchange).await.unwrap_or(Err(HttpError::Timeout(limit)))
}

pub(crate) fn build(
    address: &Address,
    method: Method,
    path: &str,
) -> Result<Request<Empty<Bytes>>, HttpError> {
    let host = match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .header("user-agent", concat!("drainit/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|_| HttpError::Path)
}

/// A connection, and the task that reads and writes it. Dropping the value closes the connection.
pub(crate) struct HttpConnection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<()>,
}

impl HttpConnection {
    async fn open(address: &Address, from: Answerer) -> Result<Self, HttpError> {
        match address {
            Address::Tcp(address) => {
                Self::over(own_connections::connect(*address).await.map_err(HttpError::Io)?).await
            }
            Address::Unix(path) => Self::over(connect_unix(path, from).await?).await,
        }
    }

    pub(crate) async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        stream: S,
    ) -> Result<Self, HttpError> {
        let (sender, connection) =
            Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        // The result is dropped, because Hyper also passes an error to the waiting exchange.
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }

    /// Sends the request and reads the answer. Without `max_body`, reads only the head.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Empty<Bytes>>,
        max_body: Option<usize>,
    ) -> Result<Response, HttpError> {
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = match max_body {
            Some(max) => collect(answer.into_body(), max).await?,
            None => Vec::new(),
        };
        Ok(Response { status, body })
    }
}

pub(crate) async fn connect_unix(path: &Path, from: Answerer) -> Result<UnixStream, HttpError> {
    // The server must prove that it is the right drainit. Everybody can take an abstract name, and
    // everybody who may change the directory of a path can put a socket there.
    let check = |server, is_in_its_directory| {
        private_socket::check_server(path, server, is_in_its_directory)
            .map_err(HttpError::Untrusted)
    };
    if private_socket::is_abstract(path) {
        let stream = connect_among_others(path).await.map_err(HttpError::Io)?;
        check(private_socket::peer(&stream).map_err(HttpError::Io)?, false)?;
        return Ok(stream);
    }
    let socket = peer_at(path.to_owned()).await.map_err(HttpError::Io)?;
    let stream = UnixStream::connect(&socket.address).await.map_err(HttpError::Io)?;
    if from == Answerer::Drainit {
        let server = private_socket::peer(&stream).map_err(HttpError::Io)?;
        // A file system that hangs must not delay the command.
        let is_in_its_directory = on_thread(LONGEST_WAY, move || socket.could_be_of(server.uid));
        check(server, is_in_its_directory.await.unwrap_or(false))?;
    }
    Ok(stream)
}

/// Connects to an abstract name. Everybody can fill the backlog of such a socket. While the backlog
/// is full, the kernel refuses a connect that does not block, so this function retries for a while.
async fn connect_among_others(path: &Path) -> io::Result<UnixStream> {
    let until = Instant::now() + BACKLOG_PATIENCE;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                sleep(BACKLOG_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

async fn collect(mut body: Incoming, max: usize) -> Result<Vec<u8>, HttpError> {
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if data.len() > max - collected.len() {
            return Err(HttpError::TooLarge(max));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::http_server::{Behaviour::*, Server};

    const LIMIT: Duration = Duration::from_millis(500);

    async fn get(server: &Server) -> Result<Response, HttpError> {
        request((&server.address, Answerer::Anybody), Method::GET, "/x?y=1", LIMIT, 1000).await
    }

    #[tokio::test]
    async fn no_server_can_exceed_the_limit() {
        for (behaviour, message) in [
            (Hang, "no answer within 500ms"),
            (Trickle, "no answer within 500ms"),
            (Endless, "answered more than 1000 bytes"),
            (Oversized, "answered more than 1000 bytes"),
            (CloseHalfWay, "closed the connection before its answer was complete"),
            (CloseAtOnce, "closed the connection before its answer was complete"),
            (NotHttp, "answered something that is not HTTP (invalid HTTP version parsed)"),
            (EndlessHead, "answered something that is not HTTP (message head is too large)"),
        ] {
            for server in [Server::tcp(&[behaviour]), Server::unix(&[behaviour])] {
                let begin = Instant::now();
                let error = get(&server).await.unwrap_err();
                assert_eq!(error.to_string(), message, "{behaviour:?}");
                assert!(begin.elapsed() < LIMIT * 4, "{behaviour:?}: {:?}", begin.elapsed());
            }
        }
    }

    #[tokio::test]
    async fn status_is_returned_before_the_body_arrives() {
        let server = Server::tcp(&[Endless]);
        assert_eq!(status(&server.address, Method::GET, "/", LIMIT).await.unwrap(), StatusCode::OK);
        let server = Server::tcp(&[Hang]);
        assert!(status(&server.address, Method::GET, "/", LIMIT).await.is_err());
    }

    #[tokio::test]
    async fn client_keeps_connection() {
        for kept in [KeepAlive(3), Reset(3)] {
            let server = Server::unix(&[kept, Answer(200, "second connection")]);
            let mut client = Client::new(server.address.clone());
            for _ in 0..3 {
                assert_eq!(client.get("/", LIMIT, 100).await.unwrap().body, b"kept");
            }
            assert_eq!(server.connections(), 1);
            // The server closes the connection after the third request, but the fourth request
            // succeeds on a new connection.
            assert_eq!(client.get("/", LIMIT, 100).await.unwrap().body, b"second connection");
            assert_eq!(server.connections(), 2);
        }
    }

    #[tokio::test]
    async fn client_is_usable_after_failed_and_abandoned_calls() {
        let server = Server::tcp(&[Hang, Trickle, Answer(200, "fine")]);
        let mut client = Client::new(server.address.clone());
        assert!(matches!(client.get("/", LIMIT, 100).await, Err(HttpError::Timeout(_))));
        assert!(timeout(LIMIT / 3, client.get("/", LIMIT, 100)).await.is_err());
        assert_eq!(client.get("/", LIMIT, 100).await.unwrap().body, b"fine");
        assert_eq!(server.connections(), 3);
    }
}
