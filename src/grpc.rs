//! Asks a gRPC server for its health: one call of `grpc.health.v1.Health/Check`, over HTTP/2
//! without TLS, as the kubelet's probe makes it. Hyper does the protocol.

use std::error::Error;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::{Answerer, HttpError, connect_unix};
use crate::keys::{Address, GrpcTarget};
use crate::language::mask::masked;
use crate::os::own_connections;
use crate::types::{ChildText, Reason};

/// The largest body of an answer, in bytes. A healthy server sends seven bytes.
const MAX_BODY: usize = 1024;
/// The names of the statuses of gRPC, from 0.
const STATUSES: &str = "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS \
    PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED \
    INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED";
const NO_SERVICE: &str = "has no health service (UNIMPLEMENTED): add grpc.health.v1.Health to the server, or probe with `tcp`";

/// The reason why a server is not healthy. A message shows this text after the name of the server.
#[derive(Debug, Error)]
pub(crate) enum GrpcError {
    /// The connect failed, or there was no complete answer.
    #[error(transparent)]
    Request(#[from] HttpError),
    /// There is no answer, or the answer does not say that the server is healthy.
    #[error("{}", .0.full())]
    Answer(Reason),
}

/// The connection has broken, or the server has refused the call or broken a rule of HTTP/2.
fn broken(error: impl Into<Box<dyn Error + Send + Sync>>) -> GrpcError {
    let error = error.into();
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    // The cause may contain bytes of the server, such as the data of its GOAWAY.
    let (own, cause) = ("did not answer by HTTP/2", masked(&ChildText::new(cause)));
    GrpcError::Answer(Reason::with_full(own, format!("{own} ({cause})")))
}

/// Asks the server once, for at most `limit`.
///
/// # Errors
/// Fails unless the server answers `SERVING`.
pub(crate) async fn check(target: &GrpcTarget, limit: Duration) -> Result<(), GrpcError> {
    let asked = async {
        match &target.address {
            Address::Tcp(address) => {
                let stream = own_connections::connect(*address).await.map_err(HttpError::Io)?;
                ask(stream, &address.to_string(), &target.service).await
            }
            Address::Unix(path) => {
                let stream = connect_unix(path, Answerer::Anybody).await?;
                ask(stream, "localhost", &target.service).await
            }
        }
    };
    timeout(limit, asked).await.unwrap_or(Err(HttpError::Timeout(limit).into()))
}

/// Spawns Hyper's tasks. When the call that owns the set ends, the tasks end, too, and so does the
/// connection.
#[derive(Clone)]
struct Tasks(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade()
            && let Ok(mut tasks) = tasks.lock()
        {
            tasks.spawn(task);
        }
    }
}

/// Like [`check`], over this connection and without a limit.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authority: &str,
    service: &str,
) -> Result<(), GrpcError> {
    let owner = Arc::new(Mutex::new(JoinSet::new()));
    let tasks = Tasks(Arc::downgrade(&owner));
    let connected = http2::handshake(tasks.clone(), TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(broken)?;
    // The result is dropped, because Hyper also passes an error to the waiting call.
    tasks.execute(async move { drop(connection.await) });
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("drainit/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(question(service)))
        .map_err(|_| HttpError::Path)?;
    let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    if head.status != 200 {
        return Err(GrpcError::Answer(
            format!("answered HTTP status {}", head.status.as_u16()).into(),
        ));
    }
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(broken)?;
    // An answer without a message has the status in its head.
    let trailers = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
    let status = trailers.or(head.headers.get("grpc-status")).map(|status| status.to_str());
    let status = status.transpose().ok().flatten().unwrap_or_default().to_owned();
    judge(&status, &body.to_bytes(), service).map_err(GrpcError::Answer)
}

/// Returns the reason why this answer does not mean that the service is healthy.
fn judge(status: &str, body: &[u8], service: &str) -> Result<(), Reason> {
    let number: Option<u16> = status.parse().ok();
    let name = number.and_then(|number| STATUSES.split(' ').nth(number.into()));
    Err(match (status, body) {
        // The only field of the message is the `ServingStatus`. A missing field is 0.
        ("0", [0, 0, 0, 0, 2, 8, 1]) => return Ok(()),
        ("0", [0, 0, 0, 0, 0] | [0, 0, 0, 0, 2, 8, 0]) => "its health is UNKNOWN".to_owned(),
        ("0", [0, 0, 0, 0, 2, 8, 2]) => "its health is NOT_SERVING".to_owned(),
        ("0", [0, 0, 0, 0, 2, 8, 3]) => "its health is SERVICE_UNKNOWN".to_owned(),
        ("0", _) => "answered something that is not gRPC (a malformed message)".to_owned(),
        ("", _) => "answered something that is not gRPC (it has no grpc-status)".to_owned(),
        ("5", _) => format!("does not know the health of the service `{service}`"),
        ("12", _) => NO_SERVICE.to_owned(),
        _ => match number {
            Some(number) => {
                format!("answered gRPC status {number} ({})", name.unwrap_or("unknown"))
            }
            None => {
                let said = masked(&ChildText::new(status));
                let full = format!("answered gRPC status {said} (unknown)");
                return Err(Reason::with_full("answered an unknown gRPC status", full));
            }
        },
    }
    .into())
}

/// A `HealthCheckRequest` with the length that gRPC puts before it. The only field, `service`, has
/// the number 1 and the wire type of texts, 2.
fn question(service: &str) -> Bytes {
    let (mut fields, mut length) = (vec![1 << 3 | 2], service.len());
    while length >= 128 {
        fields.push(length as u8 | 128);
        length >>= 7;
    }
    fields.push(length as u8);
    fields.extend(service.as_bytes());
    [&[0][..], &(fields.len() as u32).to_be_bytes(), &fields].concat().into()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use hyper::HeaderMap;
    use hyper::body::{Body, Incoming};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioExecutor;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// An answer of a server: the status of HTTP, the status of gRPC, whether the latter is in the
    /// trailers, and the message.
    type Said = (u16, Option<&'static str>, bool, Vec<u8>);

    fn response(
        said: &Said,
    ) -> hyper::Response<impl Body<Data = Bytes, Error = Infallible> + use<>> {
        let (status, grpc_status, in_trailers, body) = said;
        let fields = grpc_status.iter().map(|status| {
            (hyper::header::HeaderName::from_static("grpc-status"), status.parse().unwrap())
        });
        let fields: HeaderMap = fields.collect();
        let trailers = in_trailers.then(|| Ok(fields.clone()));
        let body = Full::from(body.clone()).with_trailers(ready(trailers));
        let mut response = hyper::Response::new(body);
        *response.status_mut() = (*status).try_into().unwrap();
        if !in_trailers {
            response.headers_mut().extend(fields);
        }
        response
    }

    #[derive(prost::Message)]
    struct Question {
        #[prost(string, tag = "1")]
        service: String,
    }

    fn health(number: u8) -> Vec<u8> {
        vec![0, 0, 0, 0, 2, 8, number]
    }

    // holds: C870, C871
    #[tokio::test]
    async fn only_a_server_that_serves_is_healthy() {
        let ok = |body| (200, Some("0"), true, body);
        let malformed = "answered something that is not gRPC (a malformed message)";
        for (said, expected) in [
            (ok(health(1)), ""),
            ((200, Some("0"), false, health(1)), ""),
            (ok(health(0)), "its health is UNKNOWN"),
            (ok(vec![0; 5]), "its health is UNKNOWN"),
            (ok(health(2)), "its health is NOT_SERVING"),
            (ok(health(3)), "its health is SERVICE_UNKNOWN"),
            (ok(health(9)), malformed),
            (ok(vec![]), malformed),
            (ok(vec![1; 7]), malformed),
            (ok(vec![0; 5000]), "did not answer by HTTP/2 (length limit exceeded)"),
            ((200, None, true, health(1)), "answered something that is not gRPC (it has no grpc"),
            ((200, Some("5"), false, vec![]), "does not know the health of the service `SERVICE`"),
            ((200, Some("12"), false, vec![]), "has no health service (UNIMPLEMENTED): "),
            ((200, Some("14"), true, vec![]), "answered gRPC status 14 (UNAVAILABLE)"),
            ((200, Some("99"), true, vec![]), "answered gRPC status 99 (unknown)"),
            ((200, Some("x"), true, vec![]), "answered gRPC status x (unknown)"),
            ((404, Some("12"), false, vec![]), "answered HTTP status 404"),
            ((503, None, false, vec![]), "answered HTTP status 503"),
        ] {
            for length in [0, 1, 127, 128, 300, 20_000] {
                let service = "s".repeat(length);
                let given = (said.clone(), service.clone());
                let answer = move |request: hyper::Request<Incoming>| {
                    let (said, service) = given.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let length = (body.len() as u32 - 5).to_be_bytes();
                        assert_eq!(body[..5], [&[0][..], &length].concat());
                        let question = <Question as prost::Message>::decode(&body[5..]).unwrap();
                        assert_eq!(question.service, service);
                        assert_eq!(head.uri, "http://authority:1/grpc.health.v1.Health/Check");
                        let fields = ["content-type", "te"].map(|name| &head.headers[name]);
                        assert_eq!(fields, ["application/grpc", "trailers"]);
                        assert_eq!(head.method, hyper::Method::POST);
                        Ok::<_, Infallible>(response(&said))
                    }
                };
                let (client, server) = duplex(1024 * 1024);
                let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(server), service_fn(answer));
                let (asked, _) = tokio::join!(ask(client, "authority:1", &service), serve);
                let why = asked.map_or_else(|error| error.to_string(), |()| String::new());
                let expected = expected.replace("SERVICE`", &format!("{service}`"));
                let is_right = why.starts_with(&expected) && why.is_empty() == expected.is_empty();
                assert!(is_right, "{said:?}: {why}");
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_http2_is_an_error_and_the_connection_ends() {
        for bytes in
            [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"", b"\0\0\0\x04\0\0\0\0", &[0xff; 99]]
        {
            let (client, mut server) = duplex(1024 * 1024);
            server.write_all(bytes).await.unwrap();
            server.shutdown().await.unwrap();
            let why = ask(client, "a", "").await.unwrap_err().to_string();
            assert!(why.starts_with("did not answer by HTTP/2 ("), "{bytes:?}: {why}");
            // The end of the call closes the connection.
            server.read_to_end(&mut Vec::new()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_call_without_an_answer_leaves_no_connection() {
        let (client, mut server) = duplex(1024 * 1024);
        // SETTINGS, and nothing else.
        server.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let asked = timeout(Duration::from_millis(50), ask(client, "a", "")).await;
        assert!(asked.is_err());
        server.read_to_end(&mut Vec::new()).await.unwrap();
    }
}
