//! Tests the example of long streams: a stream that is open when the container stops ends
//! completely.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use crate::support::example::{self, Example, is_installed};
use crate::support::http::free_address;
use crate::support::{LONG, Signal, ms};

/// Opens a stream, and returns a thread that reads the stream to its end.
fn open(address: SocketAddr, seconds: u32) -> thread::JoinHandle<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /chat?seconds={seconds} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut head = [0; 1024];
    let read = stream.read(&mut head).unwrap();
    let mut text = String::from_utf8_lossy(&head[..read]).into_owned();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    thread::spawn(move || {
        // A stream ends at `[DONE]`, and not with its connection.
        while !text.contains("[DONE]") {
            match stream.read(&mut head) {
                Ok(0) | Err(_) => break,
                Ok(read) => text.push_str(&String::from_utf8_lossy(&head[..read])),
            }
        }
        text
    })
}

#[test]
fn streams_that_are_open_at_the_stop_end_whole() {
    let (address, control) = (free_address(), free_address());
    let Some(rig) = example::rig() else { return };
    let rig = rig
        .env("STREAMS_RUN_DIR", "DIR")
        .env("STREAMS_ADDRESS", &address.ip().to_string())
        .env("STREAMS_PORT", &address.port().to_string())
        .env("STREAMS_SERVER_PORT", &free_address().port().to_string())
        .env("STREAMS_CONTROL", &control.to_string())
        .env("TERMINATION_GRACE_PERIOD_SECONDS", "900");
    let drainit = example::run(rig, &["examples/streams/drainit.yaml"]);
    // The streams last longer than `min`, so that only the streams hold the drain.
    let streams: Vec<_> = (8..16).map(|seconds| open(address, seconds)).collect();
    drainit.signal(Signal::SIGTERM);
    for stream in streams {
        let text = stream.join().unwrap();
        assert!(text.contains("data: [DONE]"), "{text}");
    }
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line("drain router: 1[5-9].*, no request in flight");
    ended
        .assert_line("requests 8 completed, 0 cut")
        .assert_no_line(r"\[drainit\].*(warning|killed)");
}

// holds: S366
#[test]
fn streams_of_uvicorn_that_are_open_at_the_stop_end_whole() {
    if !is_installed("uvicorn") {
        return;
    }
    let overlay = "env: {LLM_LONGEST_SECONDS: 20}";
    let Some(pod) = Example::new("llm", "LLM_").start(overlay) else { return };
    let streams: Vec<_> = (3..9).map(|seconds| open(pod.address, seconds)).collect();
    pod.running.signal(Signal::SIGTERM);
    for stream in streams {
        let text = stream.join().unwrap();
        assert!(text.contains("data: [DONE]"), "{text}");
    }
    let ended = pod.running.wait_exit(LONG);
    let counts = "connections 6 at the start, .*; requests [0-6] at the start( .perhaps [1-6] more.)?, 0 cut";
    ended.assert_code(0).assert_line(&format!("drain server: .*no request in flight; {counts}"));
    ended.assert_no_line(r"\[drainit\].*(warning|killed)");
}

/// Sends a call to the MCP server, and returns a thread that reads the answer.
fn call(address: SocketAddr, seconds: u32) -> thread::JoinHandle<String> {
    let call = format!(
        r#"{{"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {{"name": "wait", "arguments": {{"seconds": {seconds}}}}}}}"#
    );
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-length: {}", call.len());
    write!(stream, "{head}\r\nconnection: close\r\n\r\n{call}").unwrap();
    thread::spawn(move || {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

// holds: S367
#[test]
fn calls_of_an_mcp_server_are_answered_and_open_event_streams_do_not_hold_the_stop() {
    if !is_installed("python3") {
        return;
    }
    let Some(pod) = Example::new("mcp", "MCP_").start("") else { return };
    let mut events = TcpStream::connect(pod.address).unwrap();
    events.write_all(b"GET /mcp HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut ping = [0; 1024];
    assert!(events.read(&mut ping).unwrap() > 0);
    let calls = [call(pod.address, 8), call(pod.address, 9)];
    let t0 = pod.running.signal(Signal::SIGTERM);
    for call in calls {
        let answer = call.join().unwrap();
        assert!(answer.contains("waited"), "{answer}");
    }
    let ended = pod.running.wait_exit(LONG);
    ended.assert_code(0).assert_took(t0, ms(9000)..ms(16_000));
    ended.assert_line(
        "drain mcp: .*no request in flight; connections 3 at the start, 1 (cut|when last seen)",
    );
}
