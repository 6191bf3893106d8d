//! Tests the script with which a user's CI rehearses the stop of an image or a program.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use crate::support::*;

/// Whether the rehearsal passes, and what the script says.
fn rehearse(words: &[&str]) -> (bool, String) {
    rehearse_with(&[("CLIENTS", "20")], words)
}

fn rehearse_with(variables: &[(&str, &str)], words: &[&str]) -> (bool, String) {
    let mut script = Command::new(checkout().join("examples/rehearse.sh"));
    let ended = script.args(words).envs(variables.iter().copied()).output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8_lossy(&said).into_owned())
}

// holds: S443
#[test]
fn an_image_that_drains_passes_the_rehearsal_and_envoy_alone_fails() {
    let Some(images) = images().filter(|_| is_installed("wrk")) else { return };
    let (passes, said) = rehearse(&[&images.gateway, "10000"]);
    assert!(passes && said.contains("drain envoy: "), "{said}");
    assert!(said.contains(" answered, 0 failed; connections: 0 cut\n"), "{said}");
    assert!(said.contains(" s of 30 s, exit code 0\n"), "{said}");
    let (passes, said) = rehearse(&[&envoy_image(), "10000"]);
    assert!(!passes && said.contains(" requests failed while "), "{said}");
}

/// A script in place of `docker`: this machine is the container, which always ends with 0.
const FAKE_DOCKER: &str = r#"#!/bin/sh
case $1 in
run) case $* in *DRAINIT_GRACE_PERIOD=7*) echo no entrypoint >&2 && exit 127 ;; *) echo container ;; esac ;;
port) echo "$ADDRESS" ;;
inspect) case $3 in *Running*) echo true ;; *) echo 0 ;; esac ;;
exec) shift 2 && exec "$@" ;;
esac
"#;

#[test]
fn a_hook_that_fails_or_hangs_is_reported_and_the_stop_goes_on() {
    if !is_installed("wrk") {
        return;
    }
    let dir = TempDir::for_everybody();
    dir.write("docker", FAKE_DOCKER);
    fs::set_permissions(dir.path("docker"), fs::Permissions::from_mode(0o755)).unwrap();
    // wrk opens two connections for its first request.
    let [address, silent] = [usize::MAX, 2].map(|answered| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let mut waiting = Vec::new();
            for (number, client) in server.incoming().enumerate() {
                if number < answered {
                    std::thread::spawn(move || answer(&client.unwrap()));
                } else {
                    waiting.push(client);
                }
            }
        });
        address
    });
    let tmp = dir.path("tmp").display().to_string();
    fs::create_dir(&tmp).unwrap();
    let path = format!("{}:{}", dir.path(".").display(), std::env::var("PATH").unwrap());
    for (grace, hook, says) in [
        ("30", "false", "the preStop hook has failed with code 1\n"),
        ("1", "sleep 60", "the preStop hook was still running after 3 s\n"),
        ("30", "true", ""),
        ("29", "true", "no request was answered: raise AFTER above the time of an answer\n"),
        ("7", "true", "no entrypoint"),
        ("08", "true", "08 is not a whole number such as 8"),
    ] {
        let address = if grace == "29" { &silent } else { &address };
        let machine = [("PATH", &*path), ("ADDRESS", address), ("TMPDIR", &tmp)];
        let keys = [("GRACE", grace), ("PRE_STOP", hook), ("CLIENTS", "2"), ("MAX_SECONDS", "9")];
        let (passes, said) = rehearse_with(&[&machine[..], &keys].concat(), &["image", "80"]);
        assert!(said.contains(says), "{grace} {hook}\n{said}");
        assert_eq!(passes, says.is_empty(), "{grace} {hook}\n{said}");
        let stops = !["08", "7"].contains(&grace);
        assert_eq!(said.contains("time to stop: "), stops, "{grace} {hook}\n{said}");
        assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0, "{grace} {hook}\n{said}");
    }
}

/// Answers each request of a client.
fn answer(mut client: &TcpStream) {
    let mut request = [0; 4096];
    while client.read(&mut request).is_ok_and(|length| length > 0) {
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

#[test]
fn a_rehearsal_of_a_program_refuses_a_taken_port_and_a_line_without_dashes() {
    if !is_installed("wrk") {
        return;
    }
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let usage = "examples/rehearse.sh --command PORT [PATH] -- COMMAND";
    let cases: &[(&[&str], &str)] = &[
        (&["--", "true"], "another program listens at port"),
        (&["/path", "--", "true"], "another program listens at port"),
        (&["python3", "-m", "http.server"], usage),
        (&["/path", "true", "--"], usage),
        (&["/path", "--"], usage),
        (&["--"], usage),
        (&[], usage),
    ];
    for (words, says) in cases {
        let (passes, said) = rehearse(&[&["--command", &port], *words].concat());
        assert!(!passes && said.contains(says), "{words:?}\n{said}");
    }
}
