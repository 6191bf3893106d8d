//! Tests the example of a server that drains itself: it loses no request, and streams end whole.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::example::{Example, roll};
use crate::support::{LONG, Signal, ms};

const GATEWAY: Example = Example::new("self-draining", "GATEWAY_");

#[test]
fn a_server_that_drains_itself_loses_no_request() {
    let Some(rolled) = roll(&GATEWAY, "") else { return };
    rolled.assert_nothing_lost().ended.assert_took(rolled.t0, ms(5000)..ms(14_000));
    rolled.ended.assert_line("ends with 0 connections");
}

#[test]
fn a_stream_of_a_server_that_drains_itself_ends_whole() {
    let Some(pod) = GATEWAY.start("") else { return };
    let mut stream = TcpStream::connect(pod.address).unwrap();
    write!(stream, "GET /chat?seconds=12 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    let t0 = pod.running.signal(Signal::SIGTERM);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    // The stream outlives the 10 s that drainit gives without `stop_grace_period`.
    let ended = pod.running.wait_exit(LONG);
    ended.assert_code(0).assert_took(t0, ms(11_000)..ms(14_000)).assert_no_line("warning|killed");
}

/// At its own deadline, before drainit would kill it, the server cuts a stream that is still open.
#[test]
fn a_self_draining_server_ends_before_kill() {
    let Some(pod) = GATEWAY.start("env: {GATEWAY_STOP_SECONDS: '8'}") else { return };
    let mut stream = TcpStream::connect(pod.address).unwrap();
    write!(stream, "GET /chat?seconds=60 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    let t0 = pod.running.signal(Signal::SIGTERM);
    let ended = pod.running.wait_exit(LONG);
    ended.assert_code(0).assert_took(t0, ms(3000)..ms(7000));
    ended.assert_line("ends with 1 connections");
}
