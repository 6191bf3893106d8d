//! The client of the Python Executor, which uses HTTP/1.1 over a Unix socket, with one connection
//! for each question, and does not retry.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

type Problem = Box<dyn Error + Send + Sync>;

#[derive(Debug)]
pub(crate) struct Client(pub(crate) PathBuf);

impl Client {
    /// Whether policy allows this request.
    pub(crate) async fn allows(&self, method: &str, path: &str) -> Result<bool, Problem> {
        timeout(ANSWER_TIMEOUT, ask(&self.0, method, path)).await?
    }
}

async fn ask(socket: &Path, method: &str, path: &str) -> Result<bool, Problem> {
    let question = json!({ "method": method, "path": path }).to_string();
    let mut stream = UnixStream::connect(socket).await?;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        question.len()
    );
    stream.write_all((head + &question).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is not complete")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(head.into());
    }
    Ok(serde_json::from_str::<Value>(body)?["allow"] == true)
}
