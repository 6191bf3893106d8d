//! Tests the example of long streams: a stream that is open when the container stops ends
//! completely.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use testkit::envoy::{self, checkout};

use crate::support::http::free_address;
use crate::support::said;
use crate::support::{LONG, Rig, Signal};

/// Opens a stream, and returns a thread that reads the stream to its end.
fn open(address: SocketAddr, seconds: u32) -> thread::JoinHandle<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /chat?seconds={seconds} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut head = [0; 1024];
    let read = stream.read(&mut head).unwrap();
    let mut text = String::from_utf8_lossy(&head[..read]).into_owned();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    thread::spawn(move || {
        // The client keeps its connection, which the drain must not wait for.
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
    let Some(rig) = Rig::new() else { return };
    let drainit = rig
        .cwd(checkout())
        .env("ENVOY", &envoy::binary(envoy::DEFAULT).unwrap().display().to_string())
        .env("STREAMS_RUN_DIR", "DIR")
        .env("STREAMS_ADDRESS", &address.ip().to_string())
        .env("STREAMS_PORT", &address.port().to_string())
        .env("STREAMS_SERVER_PORT", &free_address().port().to_string())
        .env("STREAMS_CONTROL", &control.to_string())
        .env("TERMINATION_GRACE_PERIOD_SECONDS", "900")
        .start_with(&["run", "-c", "examples/streams/drainit.yaml"]);
    drainit.wait_for_line(said::ALL_READY);
    // The streams last longer than `min`, so that only they hold the drain.
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
