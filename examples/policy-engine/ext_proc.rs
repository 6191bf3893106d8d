//! The part of Envoy's `ext_proc` protocol that this Policy Engine uses: the messages of Envoy
//! about a request, and the answers. Fields have their numbers from
//! `envoy/service/ext_proc/v3/external_processor.proto` and `envoy/config/core/v3/base.proto`;
//! other fields are skipped on the wire.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use prost::{Message, Oneof};
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// One message of Envoy.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessingRequest {
    #[prost(oneof = "Part", tags = "2, 3")]
    pub(crate) part: Option<Part>,
}

/// The part of an exchange that Envoy asks about.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Part {
    #[prost(message, tag = "2")]
    RequestHeaders(HttpHeaders),
    #[prost(message, tag = "3")]
    ResponseHeaders(HttpHeaders),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpHeaders {
    #[prost(message, optional, tag = "1")]
    pub(crate) headers: Option<HeaderMap>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub(crate) headers: Vec<HeaderValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) raw_value: Vec<u8>,
}

impl HttpHeaders {
    /// The value of a header. Envoy puts it into one of two fields.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let header = self.headers.as_ref()?.headers.iter().find(|header| header.key == key)?;
        let raw = || String::from_utf8_lossy(&header.raw_value).into_owned();
        Some(if header.raw_value.is_empty() { header.value.clone() } else { raw() })
    }
}

/// The answer to one message.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessingResponse {
    #[prost(oneof = "Answer", tags = "1, 2, 7")]
    pub(crate) answer: Option<Answer>,
}

/// The decision on the exchange.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Answer {
    /// The request continues.
    #[prost(message, tag = "1")]
    RequestHeaders(Continue),
    /// The response continues.
    #[prost(message, tag = "2")]
    ResponseHeaders(Continue),
    /// The Policy Engine answers the request itself.
    #[prost(message, tag = "7")]
    Immediate(ImmediateResponse),
}

/// A `HeadersResponse` without a mutation, which leaves the headers unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Continue {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ImmediateResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<HttpStatus>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
}

/// The answers on one stream, which is one HTTP exchange.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

/// The service `envoy.service.ext_proc.v3.ExternalProcessor`; `Process` is its only method.
#[derive(Clone, Debug)]
pub(crate) struct ExternalProcessor<F>(pub(crate) F);

impl<F> NamedService for ExternalProcessor<F> {
    const NAME: &'static str = "envoy.service.ext_proc.v3.ExternalProcessor";
}

impl<F> Service<http::Request<Body>> for ExternalProcessor<F>
where
    F: Fn(Streaming<ProcessingRequest>) -> Answers + Clone + Send + Sync + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let process = Process(self.0.clone());
        Box::pin(async move {
            if !request.uri().path().ends_with("/Process") {
                return Ok(Status::unimplemented("only Process").into_http());
            }
            Ok(Grpc::new(ProstCodec::default()).streaming(process, request).await)
        })
    }
}

struct Process<F>(F);

impl<F> StreamingService<ProcessingRequest> for Process<F>
where
    F: Fn(Streaming<ProcessingRequest>) -> Answers,
{
    type Response = ProcessingResponse;
    type ResponseStream = Answers;
    type Future = std::future::Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<ProcessingRequest>>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0(request.into_inner()))))
    }
}
