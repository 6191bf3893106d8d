//! The service `grpc.health.v1.Health`, as far as a probe needs it: its method `Check`.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use prost::Message;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckRequest {
    /// Empty for the server as a whole.
    #[prost(string, tag = "1")]
    pub(crate) service: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct CheckResponse {
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
}

const SERVING: i32 = 1;

/// The health of a server that is healthy whenever it can answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Health;

impl NamedService for Health {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl Service<http::Request<Body>> for Health {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            if !request.uri().path().ends_with("/Check") {
                return Ok(Status::unimplemented("only Check").into_http());
            }
            Ok(Grpc::new(ProstCodec::default()).unary(Check, request).await)
        })
    }
}

struct Check;

impl UnaryService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = Ready<Result<Response<CheckResponse>, Status>>;

    fn call(&mut self, request: Request<CheckRequest>) -> Self::Future {
        ready(match request.into_inner().service.as_str() {
            "" => Ok(Response::new(CheckResponse { status: SERVING })),
            other => Err(Status::not_found(other)),
        })
    }
}
