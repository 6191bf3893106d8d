//! The script that rehearses a stop of a user's image in CI.

use std::process::Command;

use testkit::envoy::checkout;

use crate::support::docker_images::{envoy_image, images};
use crate::support::example::is_installed;

/// Whether an image passes, and what the script says.
fn rehearse(image: &str) -> (bool, String) {
    let mut script = Command::new(checkout().join("examples/rehearse.sh"));
    let ended = script.args([image, "10000"]).output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn an_image_that_drains_passes_the_rehearsal_and_envoy_alone_fails() {
    let Some(images) = images() else { return };
    if !is_installed("wrk") {
        return;
    }
    let (passes, said) = rehearse(&images.gateway);
    assert!(passes && said.contains("drain envoy: "), "{said}");
    let (passes, said) = rehearse(&envoy_image());
    assert!(!passes && said.contains("requests failed"), "{said}");
}
