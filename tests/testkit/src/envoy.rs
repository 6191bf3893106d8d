//! The Envoy executables that `make envoy` downloads.

use std::io;
use std::path::{Path, PathBuf};

/// The default version, `ENVOY_VERSION` in the Makefile.
pub const DEFAULT: &str = "1.40.0";
/// The tested versions, `ENVOY_TESTED` in the Makefile.
pub const TESTED: [&str; 5] = ["1.36.4", "1.37.0", "1.38.3", "1.39.3", "1.40.0"];

/// The root of the checkout.
pub fn checkout() -> &'static Path {
    let testkit = Path::new(env!("CARGO_MANIFEST_DIR"));
    testkit.ancestors().nth(2).unwrap_or(testkit)
}

/// The executable of this version, or an error that says how to get it.
pub fn binary(version: &str) -> io::Result<PathBuf> {
    let path = checkout().join("target/envoy").join(version).join("envoy");
    if path.is_file() {
        return Ok(path);
    }
    Err(io::Error::other(format!(
        "no Envoy {version} at {}: run make envoy ENVOY_VERSION={version}",
        path.display()
    )))
}
