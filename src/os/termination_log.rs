//! Writes `/dev/termination-log`, which `kubectl describe pod` shows.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::types::harmless_lines;

/// Kubernetes creates this file; drainit never does.
const PATH: &str = "/dev/termination-log";
/// Kubernetes shows no more bytes.
const MAX: usize = 4096;

/// Writes the text if the file exists.
pub(crate) fn write(text: &str) {
    write_to(Path::new(PATH), text);
}

fn write_to(path: &Path, text: &str) {
    let text = harmless_lines(text);
    let mut end = text.len().min(MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Where a container has a pipe there, opening it must not delay the exit.
    let opened =
        OpenOptions::new().write(true).truncate(true).custom_flags(libc::O_NONBLOCK).open(path);
    if let Ok(mut file) = opened
        && let Err(error) = file.write_all(&text.as_bytes()[..end])
    {
        tracing::debug!("{}: {error}", path.display());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn the_text_is_cut_and_no_file_is_made() {
        let dir = TempDir::new();
        let path = dir.path("termination-log");
        write_to(&path, "stopped in");
        assert!(!path.exists());
        std::fs::write(&path, "x".repeat(9000)).unwrap();
        write_to(&path, "stopped in");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "stopped in");
        // A character is not cut in half.
        write_to(&path, &format!("{}…", "x".repeat(MAX - 1)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x".repeat(MAX - 1));
    }
}
