//! Writes `/dev/termination-log`, which `kubectl describe pod` shows.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::on_thread::wait_for;
use crate::trusted_path::Place;
use drainit_core::types::harmless_lines;

/// Kubernetes creates this file; drainit never does.
const PATH: &str = "/dev/termination-log";
/// The number of bytes that Kubernetes shows.
const MAX: usize = 4096;
/// The time limit for writing after a failure of drainit itself, when no deadline is known.
pub const LONGEST: Duration = Duration::from_millis(200);

/// Writes the text if the file exists, within `limit`: a hanging file system must not delay the
/// exit.
pub fn write(text: &str, limit: Duration) {
    let text = text.to_owned();
    let write = move || write_to(Path::new(PATH), &text);
    if let Err(error) = wait_for(limit, write) {
        tracing::warn!("{PATH} is not written: {error}");
    }
}

fn write_to(path: &Path, text: &str) -> io::Result<()> {
    let text = harmless_lines(text);
    let mut end = text.len().min(MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // If the path is a pipe, opening it must not delay the exit.
    let flags = OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NONBLOCK;
    let opened = Place::behind(path).and_then(|place| place.open(flags, Mode::empty()));
    let written = opened.and_then(|mut file| file.write_all(&text.as_bytes()[..end]));
    // Outside Kubernetes there is no such file.
    written.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    // holds: S130
    #[test]
    fn long_text_is_cut_and_missing_file_is_not_made() {
        let dir = TempDir::new();
        let path = dir.path("termination-log");
        write_to(&path, "stopped in").unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "x".repeat(9000)).unwrap();
        write_to(&path, "stopped in").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "stopped in");
        // A character is not cut in half.
        write_to(&path, &format!("{}…", "x".repeat(MAX - 1))).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x".repeat(MAX - 1));
    }
}
