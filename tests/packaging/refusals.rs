//! Tests a release that `packaging` refuses before it builds anything.

use std::process::Command;

use testkit::envoy::checkout;

#[test]
fn a_tag_that_differs_from_cargo_toml_is_not_released() {
    let mut release = Command::new(checkout().join("packaging/release.sh"));
    let output = release.env("TAG", "v0.0.0-not-this").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let version = concat!("Cargo.toml has version ", env!("CARGO_PKG_VERSION"));
    assert!(errors.contains("the tag is v0.0.0-not-this") && errors.contains(version), "{errors}");
}
