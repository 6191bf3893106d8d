//! Which file a command means.
//!
//! `execvp` could tell, but only after a full fork: std gives up the fast path of `posix_spawn` for a bare name together
//! with an environment. It also could not say afterwards what it found.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;

/// Where programs are looked for without a `PATH`; musl's choice, and a superset of glibc's.
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// What the search for a program has led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// This is it; relative paths count from the child's working directory.
    Program(PathBuf),
    /// There is a file of that name, but none that may be executed.
    NotExecutable(PathBuf),
    /// There is nothing of that name in these directories.
    NotFound(OsString),
}

/// ImageLookup for `program` as `execvp` does, in the `path` and from the `working_dir` that the child gets. A name with a
/// slash means that very file, which is not looked at here.
pub(crate) fn which(program: &OsStr, path: Option<&OsStr>, working_dir: Option<&Path>) -> Lookup {
    if program.as_bytes().contains(&b'/') {
        return Lookup::Program(program.into());
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut not_executable = None;
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        // An empty entry is the working directory, and the name must keep a slash.
        let directory = if directory.is_empty() { b"." } else { directory };
        let candidate = Path::new(OsStr::from_bytes(directory)).join(program);
        let seen_from_here =
            working_dir.map_or_else(|| candidate.clone(), |dir| dir.join(&candidate));
        if !seen_from_here.is_file() {
            continue;
        }
        if nix::unistd::eaccess(&seen_from_here, AccessFlags::X_OK).is_ok() {
            return Lookup::Program(candidate);
        }
        not_executable.get_or_insert(candidate);
    }
    not_executable.map_or_else(|| Lookup::NotFound(path.into()), Lookup::NotExecutable)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn the_path_is_searched_in_order() {
        let dir = TempDir::new();
        dir.file("a/tool", 0o644, "");
        dir.file("b/tool", 0o755, "");
        dir.file("c/tool/inside", 0o755, "");
        let here = Some(dir.root());
        let find = |path: &str| which(OsStr::new("tool"), Some(OsStr::new(path)), here);
        assert_eq!(find("nowhere:c:a:b"), Lookup::Program("b/tool".into()));
        assert_eq!(find("a:c"), Lookup::NotExecutable("a/tool".into()));
        assert_eq!(find("c:nowhere"), Lookup::NotFound("c:nowhere".into()));
        dir.file("tool", 0o755, "");
        assert_eq!(find("c:"), Lookup::Program("./tool".into()));
    }

    #[test]
    fn a_name_with_a_slash_is_not_searched_for() {
        for name in ["./tool", "/bin/nothing", "bin/tool"] {
            assert_eq!(which(OsStr::new(name), None, None), Lookup::Program(name.into()));
        }
    }

    #[test]
    fn without_a_path_the_usual_places_are_searched() {
        assert!(matches!(which(OsStr::new("sh"), None, None), Lookup::Program(_)));
    }
}
