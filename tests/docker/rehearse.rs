//! The script that rehearses a stop, in CI, of a user's image or program.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use testkit::envoy::{DEFAULT, binary, checkout};

use crate::support::docker_images::{envoy_image, images};
use crate::support::example::is_installed;
use crate::support::namespace::is_root_for;
use crate::support::temp_dir::TempDir;

/// Whether the rehearsal passes, and what the script says.
fn rehearse(words: &[&str]) -> (bool, String) {
    let mut script = Command::new(checkout().join("examples/rehearse.sh"));
    let ended = script.args(words).env("CLIENTS", "20").output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8_lossy(&said).into_owned())
}

// holds: S443
#[test]
fn an_image_that_drains_passes_the_rehearsal_and_envoy_alone_fails() {
    let Some(images) = images() else { return };
    if !is_installed("wrk") {
        return;
    }
    let (passes, said) = rehearse(&[&images.gateway, "10000"]);
    assert!(passes && said.contains("drain envoy: "), "{said}");
    assert!(said.contains(" answered, 0 failed; connections: 0 cut\n"), "{said}");
    assert!(said.contains(" s of 30 s, exit code 0\n"), "{said}");
    let (passes, said) = rehearse(&[&envoy_image(), "10000"]);
    assert!(!passes && said.contains(" requests failed while "), "{said}");
}

#[test]
fn a_program_that_drains_passes_the_rehearsal_without_docker() {
    if !is_installed("wrk") || !is_root_for("a PID namespace") {
        return;
    }
    let dir = TempDir::new();
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [port, admin] = free.map(|listener| listener.local_addr().unwrap().port());
    let config = fs::read_to_string(checkout().join("tests/fixtures/docker-envoy.yaml")).unwrap();
    let config = config.replace("10000", &port.to_string()).replace("9901", &admin.to_string());
    dir.write("envoy.yaml", config);
    let (port, file) = (port.to_string(), dir.join("envoy.yaml"));
    let admin = format!("http://127.0.0.1:{admin}");
    let drainit = [env!("CARGO_BIN_EXE_drainit"), "exec", "--drain-envoy", &admin, "--"];
    let envoy = binary(DEFAULT).unwrap();
    let words = ["-c", file.to_str().unwrap(), "--disable-hot-restart", "--log-level", "error"];
    let envoy = [&[envoy.to_str().unwrap()][..], &words].concat();
    let (passes, said) =
        rehearse(&[&["--command", &port, "/x", "--"], &drainit[..], &envoy].concat());
    assert!(passes && said.contains("drain envoy: "), "{said}");
    assert!(said.contains(" answered, 0 failed; connections: 0 cut\n"), "{said}");
    let (passes, said) = rehearse(&[&["--command", &port, "--"][..], &envoy].concat());
    assert!(!passes && said.contains(" requests failed while "), "{said}");
}
