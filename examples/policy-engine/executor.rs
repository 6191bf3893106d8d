//! The client of the Python Executor, which uses HTTP/1.1 over a Unix socket, keeps its
//! connections, and does not retry.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The time after which the client closes an idle connection. This time is shorter than the 5 s of
/// the server, so that the server never closes first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

type Problem = Box<dyn Error + Send + Sync>;
type Connection = SendRequest<Full<Bytes>>;

#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    /// The idle connections, each with the time of its last answer.
    idle: Mutex<Vec<(Instant, Connection)>>,
}

impl Client {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::default() }
    }

    /// Whether policy allows this request.
    pub(crate) async fn allows(&self, method: &str, path: &str) -> Result<bool, Problem> {
        timeout(ANSWER_TIMEOUT, self.ask(method, path)).await?
    }

    async fn ask(&self, method: &str, path: &str) -> Result<bool, Problem> {
        let question = serde_json::json!({ "method": method, "path": path }).to_string();
        let request = Request::post("/")
            .header("Host", "localhost")
            .body(Full::new(Bytes::from(question)))?;
        let mut connection = self.connection().await?;
        let response = connection.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status()).into());
        }
        let body = response.into_body().collect().await?.to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&body)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), connection));
        Ok(answer["allow"] == true)
    }

    /// An open connection, or a new one.
    async fn connection(&self) -> Result<Connection, Problem> {
        while let Some((used, mut connection)) = self.take_idle() {
            if used.elapsed() < IDLE_TIMEOUT && connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = UnixStream::connect(&self.socket).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn take_idle(&self) -> Option<(Instant, Connection)> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}
