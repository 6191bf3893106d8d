//! The HTTP/2 and gRPC clients. The library honours GOAWAY: it then sends no further request, and
//! says which requests the server has not processed.

use h2::client::{SendRequest, handshake};
use h2::{Reason, RecvStream, SendStream};
use hyper::Request;
use hyper::body::Bytes;
use testkit::load::Failure;
use tokio::net::TcpStream;

use super::Plan;
use super::client::{Connection, Next, Problem};

/// A gRPC message: a 0 for "not compressed", the length, and a content of six bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x06hello\n";

/// A connection on which one request is sent at a time.
pub(super) struct Http2(SendRequest<Bytes>);

impl Connection for Http2 {
    /// Opens a connection, which a task of the current runtime then reads.
    async fn open(stream: TcpStream, _: &Plan) -> Result<Self, Failure> {
        let (sender, connection) = handshake(stream).await.map_err(|error| failure(&error))?;
        tokio::spawn(async move {
            // The requests on the connection fail by themselves when the connection ends.
            let _ = connection.await;
        });
        Ok(Self(sender))
    }

    /// Sends a request and reads the whole response.
    async fn ask(&mut self, path: &str) -> Result<Next, Problem> {
        let request = Request::get(format!("http://server{path}")).body(());
        let request = request.map_err(|_| Failure::Nonsense)?;
        let (response, _) = self.send(request, true).await?;
        let response = response.await.map_err(|error| problem(&error))?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(|error| failure(&error))?;
            let _ = body.flow_control().release_capacity(data.len());
            text.extend(data);
        }
        match status {
            200 if text.ends_with(b"hello\n") => Ok(Next::SameConnection),
            200 => Err(Failure::Nonsense.into()),
            status => Err(Failure::Status(status).into()),
        }
    }
}

impl Http2 {
    async fn send(
        &mut self,
        request: Request<()>,
        is_whole: bool,
    ) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>), Problem> {
        std::future::poll_fn(|context| self.0.poll_ready(context))
            .await
            .map_err(|_| Problem::NotSent)?;
        self.0.send_request(request, is_whole).map_err(|_| Problem::NotSent)
    }
}

/// A connection with one gRPC stream at a time.
pub(super) struct Grpc {
    connection: Http2,
    stream: Option<(SendStream<Bytes>, RecvStream)>,
}

impl Connection for Grpc {
    async fn open(stream: TcpStream, plan: &Plan) -> Result<Self, Failure> {
        Ok(Self { connection: Http2::open(stream, plan).await?, stream: None })
    }

    /// Sends a message and waits until the server has sent it back.
    async fn ask(&mut self, _: &str) -> Result<Next, Problem> {
        if let Some((messages, answers)) = &mut self.stream {
            messages
                .send_data(Bytes::from_static(MESSAGE), false)
                .map_err(|error| failure(&error))?;
            return Ok(read(answers).await?);
        }
        let request = Request::post("http://server/echo.Echo/Stream")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(|_| Failure::Nonsense)?;
        let (response, mut messages) = self.connection.send(request, false).await?;
        // An error is ignored: if the stream has already ended, the response below gives the
        // reason.
        let _ = messages.send_data(Bytes::from_static(MESSAGE), false);
        let response = response.await.map_err(|error| problem(&error))?;
        if response.status().as_u16() != 200 {
            return Err(Failure::Status(response.status().as_u16()).into());
        }
        let mut answers = response.into_body();
        let next = read(&mut answers).await?;
        self.stream = Some((messages, answers));
        Ok(next)
    }

    /// Ends the stream and reads its status.
    async fn end(&mut self) -> Result<Next, Failure> {
        let Some((mut messages, mut answers)) = self.stream.take() else {
            return Ok(Next::SameConnection);
        };
        messages.send_data(Bytes::new(), true).map_err(|error| failure(&error))?;
        if answers.data().await.is_some() {
            return Err(Failure::Nonsense);
        }
        let trailers = answers.trailers().await.map_err(|error| failure(&error))?;
        let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        if status.is_some_and(|status| status == "0") {
            Ok(Next::SameConnection)
        } else {
            Err(Failure::Nonsense)
        }
    }
}

/// Reads one message.
async fn read(answers: &mut RecvStream) -> Result<Next, Failure> {
    let mut message = Vec::with_capacity(MESSAGE.len());
    while message.len() < MESSAGE.len() {
        let data = answers.data().await.ok_or(Failure::EndOfFile)?;
        let data = data.map_err(|error| failure(&error))?;
        let _ = answers.flow_control().release_capacity(data.len());
        message.extend(data);
    }
    if message == MESSAGE { Ok(Next::SameConnection) } else { Err(Failure::Nonsense) }
}

/// The server has not processed the request in two cases: the stream of the request is above the
/// last stream of a GOAWAY (RFC 9113, section 6.8), or was reset with REFUSED_STREAM (section 8.7).
/// All other errors are losses.
fn problem(error: &h2::Error) -> Problem {
    let is_above_last = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (is_above_last || is_refused) {
        Problem::NotProcessed
    } else {
        Problem::Lost(failure(error))
    }
}

fn failure(error: &h2::Error) -> Failure {
    if error.is_io() { Failure::EndOfFile } else { Failure::Reset }
}
