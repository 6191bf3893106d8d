//! A blocking client that reports the result and the time of each request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use testkit::event::now;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestResult {
    /// The server answered, with or without closing the connection.
    Answered { closes: bool },
    /// The request was sent, and the connection ended without an answer.
    Cut,
    /// The connection was refused.
    Refused,
}

/// An answer after which the server keeps the connection open.
pub(crate) const STAYS: RequestResult = RequestResult::Answered { closes: false };
pub(crate) const CLOSES: RequestResult = RequestResult::Answered { closes: true };

impl RequestResult {
    pub(crate) fn is_answered(self) -> bool {
        self == STAYS || self == CLOSES
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// The time at which the request was answered, cut or refused.
    pub(crate) over: Duration,
    pub(crate) went: RequestResult,
}

/// A client that keeps one connection until the server closes it.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// A client whose connection has had an answer, and stays open.
    #[track_caller]
    pub(crate) fn connected(address: SocketAddr) -> Self {
        let mut client = Self::new(address);
        assert_eq!(client.request(0).went, STAYS);
        client
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request that the server answers after this many milliseconds.
    pub(crate) fn request(&mut self, answer_after: u64) -> Request {
        match self.send(answer_after) {
            Ok(()) => self.receive(),
            Err(went) => Request { over: now(), went },
        }
    }

    /// Sends a request, and does not wait for the answer.
    pub(crate) fn send(&mut self, answer_after: u64) -> Result<(), RequestResult> {
        let stream = self.open().map_err(|_| RequestResult::Refused)?;
        let request = format!("GET /{answer_after} HTTP/1.1\r\nHost: gateway\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|_| {
            self.stream = None;
            RequestResult::Cut
        })
    }

    /// Waits for the answer to the request that was sent.
    pub(crate) fn receive(&mut self) -> Request {
        let answer = self.stream.as_mut().map(answer).and_then(Result::ok).flatten();
        let went =
            answer.map_or(RequestResult::Cut, |(_, closes)| RequestResult::Answered { closes });
        if went != STAYS {
            self.stream = None;
        }
        Request { over: now(), went }
    }

    /// Sends a request that the server answers after this many milliseconds. The thread waits for
    /// the answer.
    #[track_caller]
    pub(crate) fn ask(mut self, answer_after: u64) -> JoinHandle<Request> {
        self.send(answer_after).unwrap();
        thread::spawn(move || self.receive())
    }

    /// Sends a request that must be answered. Returns the body of the answer, and whether the server
    /// closes the connection.
    #[track_caller]
    pub(crate) fn get(&mut self) -> (String, bool) {
        self.send(0).unwrap();
        answer(self.stream.as_mut().unwrap()).unwrap().expect("the connection was cut")
    }

    /// Checks whether the server has closed the kept connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return true };
        stream.set_nonblocking(true).unwrap();
        let read = stream.read(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        !read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn open(&mut self) -> io::Result<&mut TcpStream> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address)?,
        };
        Ok(self.stream.insert(stream))
    }
}

/// Reads an answer, which must be 200. Returns its body and whether the server closes the
/// connection, or `None` if the connection ended before the answer.
fn answer(stream: &mut TcpStream) -> io::Result<Option<(String, bool)>> {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200 "), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.is_some_and(|length| length.parse() == Ok(body.len())) {
                return Ok(Some((body.to_owned(), head.contains("connection: close"))));
            }
        }
        let mut part = [0; 1024];
        match stream.read(&mut part)? {
            0 => return Ok(None),
            length => answer.extend_from_slice(&part[..length]),
        }
    }
}
