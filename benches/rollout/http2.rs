//! The HTTP/2 client, on hyper, which honours GOAWAY by itself.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::load::Failure;
use tokio::net::TcpStream;

pub(crate) type Http2 = SendRequest<Empty<Bytes>>;

/// Opens a connection, which a task of the current runtime then reads.
pub(crate) async fn open(stream: TcpStream) -> Result<Http2, Failure> {
    let opened = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = opened.map_err(|_| Failure::Reset)?;
    tokio::spawn(async move {
        // The requests on the connection fail by themselves when the connection ends.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Sends a request and reads the whole response. Returns `None` if the request was never sent,
/// because the connection had been closed or had received GOAWAY.
pub(crate) async fn ask(sender: &mut Http2, path: &str, delay: u32) -> Option<Result<(), Failure>> {
    sender.ready().await.ok()?;
    let request = Request::get(format!("http://pod{path}"))
        .header("x-envoy-fault-delay-request", delay)
        .body(Empty::new());
    let Ok(request) = request else { return Some(Err(Failure::Nonsense)) };
    match sender.try_send_request(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            let body = response.into_body().collect().await;
            Some(match (body, status) {
                (Err(_), _) => Err(Failure::EndOfFile),
                (Ok(_), 200) => Ok(()),
                (Ok(_), status) => Err(Failure::Status(status)),
            })
        }
        Err(mut error) => match error.take_message() {
            Some(_) => None,
            None => Some(Err(Failure::Reset)),
        },
    }
}
