//! Finds the file that a command names, as `execvp` does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;

use crate::spawn::error::SpawnError;

/// The search path if `PATH` is not set: musl's default, which includes glibc's default.
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

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

/// Searches for `program` in `path`, as seen from the `working_dir` of the child. A relative result
/// starts at that directory, too. A name with a slash is returned unchanged, even if there is no
/// such file.
///
/// # Errors
/// Fails if no file has the name, or if none of the files with the name may be executed.
pub fn which(
    program: &OsStr,
    path: Option<&OsStr>,
    working_dir: Option<&Path>,
) -> Result<PathBuf, SpawnError> {
    if program.as_bytes().contains(&b'/') {
        return Ok(program.into());
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut not_executable = None;
    for candidate in candidates(program, Some(path)) {
        let seen_from_here =
            working_dir.map_or_else(|| candidate.clone(), |dir| dir.join(&candidate));
        if !seen_from_here.is_file() {
            continue;
        }
        if nix::unistd::eaccess(&seen_from_here, AccessFlags::X_OK).is_ok() {
            return Ok(candidate);
        }
        not_executable.get_or_insert(candidate);
    }
    Err(match not_executable {
        Some(path) => SpawnError::NotExecutable { path },
        None => SpawnError::not_in_path(program, path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    // holds: C51
    #[test]
    fn the_path_is_searched_in_order() {
        let dir = TempDir::new();
        dir.file("a/tool", 0o644, "");
        dir.file("b/tool", 0o755, "");
        dir.file("c/tool/inside", 0o755, "");
        let here = Some(dir.root());
        let find = |path: &str| {
            let found = which(OsStr::new("tool"), Some(OsStr::new(path)), here);
            found.map_err(|error| error.to_string())
        };
        assert_eq!(find("nowhere:c:a:b"), Ok("b/tool".into()));
        assert!(find("a:c").unwrap_err().starts_with("`a/tool` is not executable"));
        assert!(find("c:nowhere").unwrap_err().contains("(c:nowhere)"));
        dir.file("tool", 0o755, "");
        assert_eq!(find("c:"), Ok("./tool".into()));
    }
}
