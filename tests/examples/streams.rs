//! Tests the examples of long streams: a stream that is open when the container stops ends
//! completely.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use crate::support::example::{Example, Pod, roll};
use crate::support::*;

const SELF_DRAINING: Example = Example::new("self-draining", "GATEWAY_");

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

/// Opens streams that last for these seconds, stops the pod, and asserts that each stream ends
/// whole. Returns the end, and the time of the stop signal.
fn stop_with_streams(pod: Pod, seconds: Range<u32>) -> (Ended, Duration) {
    let streams: Vec<_> = seconds.map(|seconds| open(pod.address, seconds)).collect();
    let t0 = pod.running.signal(Signal::SIGTERM);
    for stream in streams {
        let text = stream.join().unwrap();
        assert!(text.contains("data: [DONE]"), "{text}");
    }
    let ended = pod.running.wait_exit(LONG);
    ended.assert_code(0).assert_no_line(r"\[drainit\].*(warning|killed)");
    (ended, t0)
}

#[test]
fn streams_that_are_open_at_the_stop_end_whole() {
    let [port, control] = [free_address().port().to_string(), free_address().to_string()];
    let variables = format!("STREAMS_SERVER_PORT: '{port}', STREAMS_CONTROL: '{control}'");
    let overlay = format!("env: {{{variables}}}\nshutdown: {{grace_period: 900s}}");
    let Some(pod) = Example::new("streams", "STREAMS_").start(&overlay) else { return };
    // The streams last longer than `min`, so that only the streams hold the drain.
    let (ended, _) = stop_with_streams(pod, 8..16);
    ended.assert_line("drain router: 1[5-9].*, no request in flight");
    ended.assert_line("requests 8 completed, 0 (cut|in flight when last seen)");
}

// holds: S366
#[test]
fn streams_of_uvicorn_that_are_open_at_the_stop_end_whole() {
    if !is_installed("uvicorn") {
        return;
    }
    let overlay = "env: {LLM_LONGEST_SECONDS: 20}";
    let Some(pod) = Example::new("llm", "LLM_").start(overlay) else { return };
    let (ended, _) = stop_with_streams(pod, 3..9);
    let counts = "connections 6 at the start, .*; requests [0-6] at the start( .perhaps [1-6] more.)?, 0 cut";
    ended.assert_line(&format!("drain server: .*no request in flight; {counts}"));
}

#[test]
fn a_stream_of_a_server_that_drains_itself_ends_whole() {
    let Some(pod) = SELF_DRAINING.start("") else { return };
    // The stream outlives the 10 s that drainit gives without `stop_grace_period`.
    let (ended, t0) = stop_with_streams(pod, 12..13);
    ended.assert_took(t0, ms(11_000)..ms(14_000));
}

#[test]
fn a_server_that_drains_itself_loses_no_request() {
    let Some(rolled) = roll(&SELF_DRAINING, "") else { return };
    rolled.assert_nothing_lost().ended.assert_took(rolled.t0, ms(5000)..ms(14_000));
    rolled.ended.assert_line("ends with 0 connections");
}

/// At its own deadline, before drainit would kill it, the server cuts a stream that is still open.
#[test]
fn a_self_draining_server_ends_before_kill() {
    let Some(pod) = SELF_DRAINING.start("env: {GATEWAY_STOP_SECONDS: '8'}") else { return };
    let _stream = open(pod.address, 60);
    let t0 = pod.running.signal(Signal::SIGTERM);
    let ended = pod.running.wait_exit(LONG);
    ended.assert_code(0).assert_took(t0, ms(3000)..ms(7000));
    ended.assert_line("ends with 1 connections");
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
        "drain mcp: .*no request in flight; connections 3 at the start, 1 (at the end|when last seen)",
    );
}

/// Begins turns of the agent that take these seconds, and stops it: the end, and the numbers of turns
/// that began and that were done.
fn stop_with_turns(overlay: &str, seconds: Range<u32>) -> Option<(Ended, [usize; 2])> {
    let pod = is_installed("uvicorn").then(|| Example::new("turns", "TURNS_").start(overlay))??;
    for seconds in seconds {
        let mut stream = TcpStream::connect(pod.address).unwrap();
        let head = format!("POST /turns?seconds={seconds} HTTP/1.1\r\nhost: a\r\n");
        write!(stream, "{head}connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    }
    let ended = pod.running.stop();
    let turns = ["a turn begins", "a turn is done"].map(|text| ended.record.lines_with(text));
    Some((ended, turns))
}

// holds: C1046, C1047
#[test]
fn turns_of_an_agent_that_no_connection_shows_are_done_before_the_stop() {
    let Some((ended, turns)) = stop_with_turns("", 7..12) else { return };
    assert_eq!(turns, [5, 5], "{}", ended.record);
    ended.assert_code(0).assert_no_line(r"\[drainit\].*(warning|killed)");
    ended.assert_line("drain agent: 1[0-3].*, complete");
}

/// The turns are such that only the app can know of them.
#[test]
fn a_drain_that_counts_only_connections_loses_turns_of_an_agent() {
    let overlay = "processes: {agent: {drain: !override {connections: {}}}}";
    let Some((ended, turns)) = stop_with_turns(overlay, 29..31) else { return };
    assert_eq!(turns, [2, 0], "{}", ended.record);
}
