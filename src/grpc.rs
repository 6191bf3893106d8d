//! Asks a gRPC server for its health: one call of `grpc.health.v1.Health/Check`, over HTTP/2
//! without TLS, as the kubelet's probe makes it.
//!
//! The client implements only what one call on a connection of its own needs. The client does not
//! allow the server a dynamic table of header fields, so each block of fields can be read without
//! the blocks before it. The client decodes no Huffman codes, but compares the name `grpc-status`
//! with its only two encodings. The client never enlarges the flow-control window of 64 KiB, so an
//! answer has at most 64 KiB. docs/dev/decisions/0011 has the reasons.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Address, GrpcTarget};
use crate::http::{Answerer, HttpError, connect_unix};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `SETTINGS_HEADER_TABLE_SIZE` and `SETTINGS_ENABLE_PUSH`, both 0.
const SETTINGS_VALUES: [u8; 12] = [0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
/// The types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// The flags of frames. `ACK` and `END_STREAM` are the same bit.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// The stream of the call.
const CALL: u32 = 1;
/// The largest frame, and the largest incomplete block of fields, in bytes.
const MAX_FRAME: usize = 16 * 1024;
/// The most bytes that a server may send before its answer is complete.
const MAX_TOTAL: usize = 256 * 1024;

/// `grpc-status`, plain and with the Huffman code of RFC 7541, which has one encoding for each
/// text.
const GRPC_STATUS: [&[u8]; 2] = [b"grpc-status", &[0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f]];
/// The statuses of a call that succeeded, of an unknown service, and of an unknown method.
const OK: u16 = 0;
const NOT_FOUND: u16 = 5;
const UNIMPLEMENTED: u16 = 12;
/// The names of the statuses of gRPC, from 0.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// The `ServingStatus` of a server that serves.
const SERVING: u64 = 1;

/// The reason why a server is not healthy. A message shows this text after the name of the server.
#[derive(Debug, Error)]
pub(crate) enum GrpcError {
    /// The connect failed, the connection broke, or the answer exceeded a limit.
    #[error(transparent)]
    Request(#[from] HttpError),
    /// The answer breaks a rule of HTTP/2.
    #[error("answered something that is not HTTP/2 ({0})")]
    NotHttp2(&'static str),
    /// The answer breaks a rule of gRPC.
    #[error("answered something that is not gRPC ({0})")]
    NotGrpc(&'static str),
    /// The server has reset the stream of the call, or will not handle the call.
    #[error("refused the call (HTTP/2 error {0})")]
    Refused(u32),
    /// The status of HTTP is not 200.
    #[error("answered HTTP status {0}")]
    Http(u16),
    /// The status of gRPC is not `OK`.
    #[error("{}", StatusText(.0, .1))]
    Status(u16, String),
    /// The health is not `SERVING`.
    #[error("its health is {}", Health(*.0))]
    Health(u64),
}

/// Describes the gRPC status of an answer. The text is the name of the service that the call asked
/// for.
struct StatusText<'a>(&'a u16, &'a str);

impl Display for StatusText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.0 {
            UNIMPLEMENTED => f.write_str(
                "has no health service (UNIMPLEMENTED): add grpc.health.v1.Health to the server, \
                 or probe with `tcp`",
            ),
            NOT_FOUND => write!(f, "does not know the health of the service `{}`", self.1),
            status => match STATUSES.get(usize::from(status)) {
                Some(name) => write!(f, "answered gRPC status {status} ({name})"),
                None => write!(f, "answered gRPC status {status}"),
            },
        }
    }
}

/// Names a `ServingStatus`.
struct Health(u64);

impl Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("UNKNOWN"),
            2 => f.write_str("NOT_SERVING"),
            3 => f.write_str("SERVICE_UNKNOWN"),
            other => write!(f, "the unknown value {other}"),
        }
    }
}

/// Asks the server once, for at most `limit`.
///
/// # Errors
/// Fails unless the server answers `SERVING`.
pub(crate) async fn check(target: &GrpcTarget, limit: Duration) -> Result<(), GrpcError> {
    let asked = async {
        match &target.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(HttpError::Io)?;
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

/// Like [`check`], over this connection and without a limit.
pub(crate) async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    authority: &str,
    service: &str,
) -> Result<(), GrpcError> {
    stream.write_all(&call(authority, service)).await.map_err(failed)?;
    let (mut answer, mut total) = (GrpcAnswer::default(), 0);
    while !answer.is_over {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.map_err(failed)?;
        let [a, b, c, kind, flags, stream_id @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        total += head.len() + length;
        if !answer.has_settings && kind != SETTINGS || length > MAX_FRAME {
            return Err(GrpcError::NotHttp2("not a frame that can come here"));
        }
        if total > MAX_TOTAL {
            return Err(HttpError::TooLarge(MAX_TOTAL).into());
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.map_err(failed)?;
        let id = u32::from_be_bytes(stream_id) & !(1 << 31);
        if let Some(reply) = answer.take(kind, flags, id, &payload)? {
            stream.write_all(&reply).await.map_err(failed)?;
        }
    }
    answer.health(service)
}

fn failed(error: io::Error) -> GrpcError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => HttpError::Incomplete,
        _ => HttpError::Io(error),
    }
    .into()
}

/// All bytes of a call.
fn call(authority: &str, service: &str) -> Vec<u8> {
    // The numbers are indices into the static table (RFC 7541, appendix A): `:method: POST`,
    // `:scheme: http`, and the names `:path`, `:authority`, `content-type` and `user-agent`.
    let mut fields = vec![0x80 | 3, 0x80 | 6];
    for (index, value) in [
        (4, "/grpc.health.v1.Health/Check"),
        (1, authority),
        (31, "application/grpc"),
        (58, concat!("drainit/", env!("CARGO_PKG_VERSION"))),
    ] {
        integer(&mut fields, 4, index);
        text(&mut fields, value);
    }
    fields.push(0);
    text(&mut fields, "te");
    text(&mut fields, "trailers");
    let mut message = Vec::new();
    if !service.is_empty() {
        // The field `service`: its number is 1, and its wire type is that of texts, 2.
        message.push(1 << 3 | 2);
        varint(&mut message, service.len());
        message.extend(service.as_bytes());
    }
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    let frames = [
        frame(SETTINGS, 0, 0, &SETTINGS_VALUES),
        frame(HEADERS, END_HEADERS, CALL, &fields),
        frame(DATA, END_STREAM, CALL, &body),
    ];
    [PREFACE.to_vec(), frames.concat()].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Writes an integer in the code of RFC 7541. The first byte has `bits` bits for the integer.
fn integer(to: &mut Vec<u8>, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    to.push(value.min(most) as u8);
    if value >= most {
        varint(to, value - most);
    }
}

fn varint(to: &mut Vec<u8>, mut value: usize) {
    while value >= 128 {
        to.push(value as u8 | 128);
        value >>= 7;
    }
    to.push(value as u8);
}

fn text(to: &mut Vec<u8>, text: &str) {
    integer(to, 7, text.len());
    to.extend(text.as_bytes());
}

/// The answer of the server so far.
#[derive(Debug, Default)]
struct GrpcAnswer {
    has_settings: bool,
    /// Whether the server has ended the call.
    is_over: bool,
    /// The incomplete block of fields, and whether this block ends the call.
    block: Option<(Vec<u8>, bool)>,
    http_status: Option<u16>,
    grpc_status: Option<u16>,
    body: Vec<u8>,
}

impl GrpcAnswer {
    /// Handles a frame. Returns the frame to send to the server, if there is one.
    fn take(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<Option<Vec<u8>>, GrpcError> {
        let broken = GrpcError::NotHttp2("a frame is malformed");
        if self.block.is_some() && (kind, stream) != (CONTINUATION, CALL) {
            return Err(GrpcError::NotHttp2("a block of fields is interrupted"));
        }
        let number =
            |at: usize| Some(u32::from_be_bytes(payload.get(at..at + 4)?.try_into().ok()?));
        match (kind, stream) {
            (SETTINGS, 0) => {
                self.has_settings = true;
                return Ok((flags & ACK == 0).then(|| frame(SETTINGS, ACK, 0, &[])));
            }
            (PING, 0) if flags & ACK == 0 => return Ok(Some(frame(PING, ACK, 0, payload))),
            (GOAWAY, 0) => {
                let last = number(0).ok_or(broken)?;
                if last & !(1 << 31) < CALL {
                    return Err(GrpcError::Refused(number(4).unwrap_or_default()));
                }
            }
            (HEADERS, CALL) => {
                let fields = unpadded(flags, payload).ok_or(broken)?;
                let skipped = if flags & PRIORITY == 0 { 0 } else { 5 };
                let fields = fields.get(skipped..).unwrap_or_default().to_vec();
                self.block = Some((fields, flags & END_STREAM != 0));
                self.fields(flags)?;
            }
            (CONTINUATION, CALL) => {
                let (block, _) = self.block.as_mut().ok_or(broken)?;
                block.extend(payload);
                self.fields(flags)?;
            }
            (DATA, CALL) => {
                self.body.extend(unpadded(flags, payload).ok_or(broken)?);
                self.is_over = flags & END_STREAM != 0;
            }
            (RST_STREAM, CALL) => return Err(GrpcError::Refused(number(0).unwrap_or_default())),
            (PUSH_PROMISE, _) => return Err(broken),
            // Other frames, such as WINDOW_UPDATE, do not change the call.
            _ => {}
        }
        Ok(None)
    }

    /// Reads the block of fields, if this frame completes it.
    fn fields(&mut self, flags: u8) -> Result<(), GrpcError> {
        let broken = || GrpcError::NotHttp2("a block of fields is malformed");
        if flags & END_HEADERS == 0 {
            let is_long = self.block.as_ref().is_some_and(|(block, _)| block.len() > MAX_FRAME);
            return if is_long { Err(broken()) } else { Ok(()) };
        }
        let Some((block, ends)) = self.block.take() else { return Ok(()) };
        let mut rest = &block[..];
        while !rest.is_empty() {
            match field(&mut rest).ok_or_else(broken)? {
                Field::HttpStatus(status) => self.http_status = Some(status),
                Field::GrpcStatus(status) => self.grpc_status = Some(status),
                Field::Other => {}
            }
        }
        self.is_over = ends;
        Ok(())
    }

    /// Judges the complete answer.
    fn health(&self, service: &str) -> Result<(), GrpcError> {
        match (self.http_status, self.grpc_status) {
            (Some(200), Some(OK)) => {}
            (Some(200), Some(status)) => return Err(GrpcError::Status(status, service.to_owned())),
            (Some(200), None) => return Err(GrpcError::NotGrpc("it has no grpc-status")),
            (Some(status), _) => return Err(GrpcError::Http(status)),
            (None, _) => return Err(GrpcError::NotGrpc("it has no status")),
        }
        let [0, a, b, c, d, message @ ..] = &self.body[..] else {
            return Err(GrpcError::NotGrpc("it has no plain message"));
        };
        if message.len() != u32::from_be_bytes([*a, *b, *c, *d]) as usize {
            return Err(GrpcError::NotGrpc("it has not one message"));
        }
        match serving_status(message).ok_or(GrpcError::NotGrpc("its message is malformed"))? {
            SERVING => Ok(()),
            other => Err(GrpcError::Health(other)),
        }
    }
}

/// The payload of a frame without its padding.
fn unpadded(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    if flags & PADDED == 0 {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

/// A field of an answer. `Other` is every field that does not matter.
#[derive(Debug, PartialEq, Eq)]
enum Field {
    HttpStatus(u16),
    GrpcStatus(u16),
    Other,
}

/// Takes the next field of a block (RFC 7541, section 6).
fn field(rest: &mut &[u8]) -> Option<Field> {
    let first = *rest.first()?;
    let bits = match first {
        0x80.. => {
            let index = take_integer(rest, 7)?;
            let status = match index {
                8 => 200,
                9 => 204,
                10 => 206,
                11 => 304,
                12 => 400,
                13 => 404,
                14 => 500,
                0 => return None,
                _ => return Some(Field::Other),
            };
            return Some(Field::HttpStatus(status));
        }
        0x40.. => 6,
        0x20.. => {
            take_integer(rest, 5)?;
            return Some(Field::Other);
        }
        _ => 4,
    };
    let index = take_integer(rest, bits)?;
    let is_grpc_status = match index {
        0 => GRPC_STATUS[usize::from(is_huffman(rest))] == take_text(rest)?,
        _ => false,
    };
    let (is_coded, value) = (is_huffman(rest), take_text(rest)?);
    Some(match index {
        0 if is_grpc_status => Field::GrpcStatus(decimal(is_coded, value)?),
        8..=14 => Field::HttpStatus(decimal(is_coded, value)?),
        _ => Field::Other,
    })
}

/// Takes an integer in the code of RFC 7541. The first byte has `bits` bits for the integer.
fn take_integer(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let most = (1 << bits) - 1;
    let (first, mut after) = rest.split_first()?;
    let mut value = usize::from(*first) & most;
    if value == most {
        value += take_varint(&mut after).and_then(|more| usize::try_from(more).ok())?;
    }
    *rest = after;
    Some(value)
}

/// Takes a number of up to 28 bits. Each byte has seven of these bits. A longer number is refused,
/// because nothing here needs it.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

fn is_huffman(rest: &[u8]) -> bool {
    rest.first().is_some_and(|first| first & 0x80 != 0)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_integer(rest, 7)?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

/// Reads a number. In the Huffman code, only numbers below 1000 are found.
fn decimal(is_coded: bool, text: &[u8]) -> Option<u16> {
    match is_coded {
        true => (0..1000).find(|number| huffman(*number) == text),
        false => str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// A number in the Huffman code of RFC 7541. `0` to `2` take five bits each, and `3` to `9` take
/// six bits each. Bits that are 1 fill the last byte.
fn huffman(number: u16) -> Vec<u8> {
    let (mut code, mut length) = (0_u32, 0);
    for digit in number.to_string().bytes().map(|digit| u32::from(digit - b'0')) {
        let (bits, width) = if digit < 3 { (digit, 5) } else { (digit + 0b01_0110, 6) };
        (code, length) = (code << width | bits, length + width);
    }
    while length % 8 != 0 {
        (code, length) = (code << 1 | 1, length + 1);
    }
    let [.., a, b, c] = code.to_be_bytes();
    [a, b, c].into_iter().skip(3 - length / 8).collect()
}

/// Reads a `HealthCheckResponse`: its field 1 is the `ServingStatus`. If the field is missing, the
/// status is 0.
fn serving_status(mut rest: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let skipped = match key & 7 {
            0 => {
                let value = take_varint(&mut rest)?;
                if key >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(take_varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        rest = rest.get(skipped..)?;
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use http_body_util::{BodyExt, Full};
    use hyper::HeaderMap;
    use hyper::body::{Body, Bytes, Incoming};
    use hyper::header::HeaderName;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::duplex;

    use super::*;
    use crate::testing::random::Random;

    /// Asks a server that answers with these bytes, and returns the reason of a failure.
    async fn asked(answer: &[u8], service: &str) -> Result<(), String> {
        replies(answer, service).await.0
    }

    /// Like [`asked`], and also returns the bytes that the server got after the call.
    async fn replies(answer: &[u8], service: &str) -> (Result<(), String>, Vec<u8>) {
        let (client, mut server) = duplex(1024 * 1024);
        server.write_all(answer).await.unwrap();
        server.shutdown().await.unwrap();
        let asked = ask(client, "a", service).await.map_err(|error| error.to_string());
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        let replies = question.strip_prefix(&call("a", service)[..]).unwrap();
        (asked, replies.to_vec())
    }

    fn plain(name: &str, value: &str) -> Vec<u8> {
        let mut field = vec![0x40];
        text(&mut field, name);
        text(&mut field, value);
        field
    }

    // holds: C871
    #[tokio::test]
    async fn a_server_without_the_health_service_is_not_healthy() {
        let only_trailers = |status: &str| {
            let fields = [vec![0x88], plain("grpc-status", status)].concat();
            let (head, tail) = fields.split_at(3);
            let padded = [&[2, 0, 0, 0, 0, 0][..], head, &[0, 0]].concat();
            [
                frame(SETTINGS, 0, 0, &[]),
                frame(SETTINGS, ACK, 0, &[]),
                frame(SETTINGS, ACK, 0, &[]),
                frame(PING, 0, 0, &[7; 8]),
                frame(PING, ACK, 0, &[8; 8]),
                frame(8, 0, 0, &[0, 0, 1, 0]),
                // The fields come in two frames. The first frame has padding and a priority.
                frame(HEADERS, END_STREAM | PADDED | PRIORITY, CALL, &padded),
                frame(CONTINUATION, END_HEADERS, CALL, tail),
            ]
            .concat()
        };
        let (why, replies) = replies(&only_trailers("12"), "").await;
        let expected = [frame(SETTINGS, ACK, 0, &[]), frame(PING, ACK, 0, &[7; 8])];
        assert_eq!(replies, expected.concat());
        let why = why.unwrap_err();
        assert!(why.starts_with("has no health service (UNIMPLEMENTED): "), "{why}");
        let why = asked(&only_trailers("5"), "policy").await;
        assert_eq!(why, Err("does not know the health of the service `policy`".to_owned()));
    }

    /// The unchanged answers of gRPC core (Python), grpc-go, tonic and nghttp2 (Node).
    // holds: C870, C871
    #[tokio::test]
    async fn answers_of_real_servers_are_understood() {
        let packed = include_bytes!("../tests/fuzz/corpus/grpc");
        let (mut rest, mut count) = (&packed[..], 0);
        while let Some(line) = rest.iter().position(|byte| *byte == b'\n') {
            let head = str::from_utf8(&rest[..line]).unwrap();
            let (name, length) = head.split_once(' ').unwrap();
            let (bytes, after) = rest[line + 1..].split_at(length.parse().unwrap());
            let (server, kind) = name.split_once('-').unwrap();
            let expected = match kind {
                "serving" => "",
                "not-serving" => "its health is NOT_SERVING",
                "unknown-service" => "does not know the health of the service `other`",
                "without" => "has no health service (UNIMPLEMENTED)",
                _ => "answered HTTP status 404",
            };
            let service = if kind == "unknown-service" { "other" } else { "" };
            // The first byte of each answer is only for the fuzzing.
            let said = asked(&bytes[1..], service).await.err().unwrap_or_default();
            let is_right = said.starts_with(expected) && said.is_empty() == expected.is_empty();
            assert!(is_right, "{server}, {kind}: {said}");
            (rest, count) = (&after[1..], count + 1);
        }
        assert_eq!(count, 12);
    }

    #[derive(prost::Message)]
    struct Question {
        #[prost(string, tag = "1")]
        service: String,
    }

    /// The random answer of a server, with its meaning.
    struct Said {
        status: u16,
        grpc_status: Option<u16>,
        in_trailers: bool,
        health: Option<u64>,
        others: usize,
    }

    impl Said {
        fn random(random: &mut Random) -> Self {
            Self {
                status: random.pick(&[200, 200, 200, 200, 204, 206, 302, 304, 400, 404, 500, 503]),
                grpc_status: (!random.one_in(7)).then(|| random.pick(&[0, 0, 0, 12, 14, 123])),
                in_trailers: random.one_in(2),
                health: (!random.one_in(7)).then(|| random.pick(&[1, 1, 0, 2, 127, 300])),
                others: random.below(9) as usize,
            }
        }

        fn response(&self) -> hyper::Response<impl Body<Data = Bytes, Error = Infallible> + use<>> {
            let mut fields = HeaderMap::new();
            fields.extend(
                self.grpc_status
                    .map(|it| ("grpc-status".parse::<HeaderName>().unwrap(), it.into())),
            );
            let mut body = vec![];
            if let Some(health) = self.health {
                let mut message = vec![];
                prost::encoding::string::encode(9, &"x".repeat(self.others), &mut message);
                prost::encoding::uint64::encode(1, &health, &mut message);
                prost::encoding::fixed32::encode(7, &1, &mut message);
                body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
            }
            let trailers = self.in_trailers.then(|| Ok(fields.clone()));
            let mut response =
                hyper::Response::new(Full::from(body).with_trailers(ready(trailers)));
            *response.status_mut() = self.status.try_into().unwrap();
            let headers = response.headers_mut();
            if !self.in_trailers {
                headers.extend(fields);
            }
            for number in 0..self.others {
                headers.insert(format!("x-{number}").parse::<HeaderName>().unwrap(), number.into());
            }
            response
        }

        fn means(&self) -> Result<(), String> {
            let error = match (self.status, self.grpc_status, self.health) {
                (200, Some(0), Some(1)) => return Ok(()),
                (200, Some(0), Some(health)) => GrpcError::Health(health),
                (200, Some(0), None) => GrpcError::NotGrpc("it has no plain message"),
                (200, Some(status), _) => GrpcError::Status(status, String::new()),
                (200, None, _) => GrpcError::NotGrpc("it has no grpc-status"),
                (status, ..) => GrpcError::Http(status),
            };
            Err(error.to_string())
        }
    }

    // holds: C870
    #[tokio::test]
    async fn another_implementation_understands_and_is_understood() {
        let random = &mut Random(7);
        for _ in 0..300 {
            let length = random.pick(&[0, 1, 9, 125, 126, 127, 128, 129, 255, 300]);
            let (service, authority) = ("s".repeat(length), "a".repeat(length + 1));
            let said = Said::random(random);
            let expected = [authority.clone(), service.clone()];
            let answer = |request: hyper::Request<Incoming>| {
                let (response, expected) = (said.response(), expected.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let question = <Question as prost::Message>::decode(&body[5..]).unwrap();
                    assert_eq!(
                        body[..5],
                        [&[0][..], &(body.len() as u32 - 5).to_be_bytes()].concat()
                    );
                    assert_eq!(
                        [head.uri.authority().unwrap().to_string(), question.service],
                        expected
                    );
                    assert_eq!(
                        (head.method, head.uri.path()),
                        (hyper::Method::POST, "/grpc.health.v1.Health/Check")
                    );
                    let field = |name: &str| head.headers[name].to_str().unwrap().to_owned();
                    assert_eq!(
                        [field("content-type"), field("te")],
                        ["application/grpc", "trailers"]
                    );
                    assert_eq!(field("user-agent"), concat!("drainit/", env!("CARGO_PKG_VERSION")));
                    Ok::<_, Infallible>(response)
                }
            };
            let (client, server) = duplex(1024 * 1024);
            let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(server), service_fn(answer));
            let (asked, _) = tokio::join!(ask(client, &authority, &service), serve);
            let asked = asked.map_err(|error| error.to_string());
            assert_eq!(asked, said.means());
        }
    }

    #[tokio::test]
    async fn malformed_answers_are_errors() {
        let settings = frame(SETTINGS, 0, 0, &[]);
        let after = |more: Vec<u8>| [settings.clone(), more].concat();
        let fields = |fields: &[u8]| after(frame(HEADERS, END_HEADERS | END_STREAM, CALL, fields));
        let interrupted = [frame(HEADERS, 0, CALL, &[0x88]), frame(DATA, 0, CALL, &[])].concat();
        for (bytes, why) in [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "is not HTTP/2"),
            (settings.clone(), "closed the connection"),
            (settings[..5].to_vec(), "closed the connection"),
            (after(frame(DATA, PADDED, CALL, &[9, 0])), "a frame is malformed"),
            (after(frame(GOAWAY, 0, 0, &[0; 8])), "refused the call (HTTP/2 error 0)"),
            (after(frame(RST_STREAM, 0, CALL, &[0, 0, 0, 7])), "refused the call (HTTP/2 error 7)"),
            (after(frame(PUSH_PROMISE, 0, CALL, &[])), "a frame is malformed"),
            (after(frame(CONTINUATION, 0, CALL, &[])), "a frame is malformed"),
            (after(interrupted), "is interrupted"),
            (after(vec![0xff; 9]), "not a frame that can come here"),
            (fields(&[0x80]), "a block of fields is malformed"),
            (fields(&[0x40, 0x8a, 1]), "a block of fields is malformed"),
            (fields(&[0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), "a block of fields is malformed"),
            (fields(&[0x8d]), "answered HTTP status 404"),
            (fields(&[0x48, 3, b'5', b'0', b'3']), "answered HTTP status 503"),
            (fields(&[0x48, 0x82, 0x6c, 0x0f]), "block of fields is malformed"),
            (fields(&[]), "it has no status"),
        ] {
            let said = asked(&bytes, "").await.unwrap_err();
            assert!(said.contains(why), "{bytes:?}: {said}");
        }
    }

    #[test]
    fn numbers_have_the_codes_of_rfc_7541() {
        // RFC 7541 has the codes of 302 and 307 in C.6.1 and C.6.2.
        assert_eq!(huffman(302), [0x64, 0x02]);
        assert_eq!(huffman(307), [0x64, 0x0e, 0xff]);
        assert_eq!(huffman(12), [0x08, 0xbf]);
        assert!((0..1000).all(|number| decimal(true, &huffman(number)) == Some(number)));
        assert_eq!(decimal(true, &[0x64, 0x03]), None);
        assert_eq!([decimal(false, b"1x"), decimal(false, b"")], [None, None]);
    }
}
