//! HTTP/2 and gRPC.
//!
//! A server that drains sends GOAWAY twice (RFC 9113, section 6.8). The first GOAWAY has the
//! highest stream identifier. The second GOAWAY has the last stream that the server serves, and
//! comes when the client has surely seen the first. Open streams last until their client ends them.

use std::io;

use h2::server::{SendResponse, handshake};
use h2::{RecvStream, SendStream};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use tokio::net::TcpStream;

use super::{Phase, Phases, reached};

/// Serves a connection.
pub(super) async fn serve(stream: TcpStream, mut phases: Phases) -> io::Result<()> {
    let mut connection = handshake(stream).await.map_err(io::Error::other)?;
    // A client that connects during the drain has a request to send, so GOAWAY follows only after
    // this request.
    let mut is_used = *phases.borrow() == Phase::Serving;
    let mut is_leaving = false;
    loop {
        tokio::select! {
            biased;
            () = reached(&mut phases, Phase::Draining), if is_used && !is_leaving => {
                connection.graceful_shutdown();
                is_leaving = true;
            }
            request = connection.accept() => match request {
                None => return Ok(()),
                Some(request) => {
                    is_used = true;
                    let (request, respond) = request.map_err(io::Error::other)?;
                    answer(request, respond).map_err(io::Error::other)?;
                }
            }
        }
    }
}

fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let kind = request.headers().get(CONTENT_TYPE).cloned();
    let mut response = Response::new(());
    let Some(kind) = kind.filter(|kind| kind.as_bytes().starts_with(b"application/grpc")) else {
        return respond
            .send_response(response, false)?
            .send_data(Bytes::from_static(b"hello\n"), true);
    };
    response.headers_mut().insert(CONTENT_TYPE, kind);
    let stream = respond.send_response(response, false)?;
    tokio::spawn(echo(request.into_body(), stream));
    Ok(())
}

/// Sends every message of a gRPC stream back until the client ends the stream. The bytes need not
/// be parsed, because they go back in the same order.
async fn echo(mut messages: RecvStream, mut answers: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = messages.data().await {
        let data = data?;
        messages.flow_control().release_capacity(data.len())?;
        // An empty frame, such as the one that ends the client's stream, is not sent back: Envoy
        // rejects such frames as a flood.
        if !data.is_empty() {
            answers.send_data(data, false)?;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    answers.send_trailers(trailers)
}
