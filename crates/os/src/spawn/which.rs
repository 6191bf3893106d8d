//! Finds the file that a command names, as `execvp` does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The search path if `PATH` is not set: musl's default, which includes glibc's default.
pub(super) const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// Returns the paths at which `program` may be, in the order of `path` (the variable `PATH`). A
/// relative result starts at the working directory of the child. A name with a slash is not
/// searched for: it is the only candidate.
pub(super) fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.into()];
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let directories = path.as_bytes().split(|byte| *byte == b':').filter(|_| !program.is_empty());
    directories
        .map(|directory| {
            // An empty entry means the working directory. `./` makes the result a path with a
            // slash.
            let directory = if directory.is_empty() { b"." } else { directory };
            Path::new(OsStr::from_bytes(directory)).join(program)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn::diagnose::{Attempt, which};
    use crate::testing::temp_dir::TempDir;

    // holds: C51
    #[test]
    fn the_path_is_searched_in_order() {
        let dir = TempDir::new();
        dir.file("a/tool", 0o644, "");
        dir.file("b/tool", 0o755, "#!/bin/sh\n");
        dir.file("c/tool/inside", 0o755, "");
        let here = Some(dir.root());
        let find = |path: &str| {
            let (program, search) = (OsStr::new("tool"), Some(OsStr::new(path)));
            let found = which(&Attempt { program, search, working_dir: here, user: None });
            found.map_err(|error| error.to_string())
        };
        assert_eq!(find("nowhere:c:a:b"), Ok("b/tool".into()));
        assert!(find("a:c").unwrap_err().contains("a/tool` is not executable"));
        assert!(find("c:nowhere").unwrap_err().contains("(`c:nowhere`)"));
        dir.file("tool", 0o755, "#!/bin/sh\n");
        assert_eq!(find("c:"), Ok("./tool".into()));
    }
}
