//! Compares paths by their text.

use std::path::{Component, Path, PathBuf};

/// Whether both paths have the same normal form.
pub fn is_same(a: &Path, b: &Path) -> bool {
    normal(a) == normal(b)
}

/// The absolute path without `.`, `..` and doubled slashes, and with `/run` in place of `/var/run`.
/// Does not look at the file system, because the config may be for another machine.
pub fn normal(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal.strip_prefix("/var/run").map(|rest| Path::new("/run").join(rest)).unwrap_or(normal)
}
