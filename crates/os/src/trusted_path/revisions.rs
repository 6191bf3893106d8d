//! The volumes of ConfigMaps and Secrets. The kubelet puts each revision of the files into a new
//! directory, and then turns the link `..data` to it, so that all files change at one moment.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::stat::{FileStat, stat};

use crate::trusted_path::{MAX_LINKS, steps};

/// The name of the link.
pub const DATA: &str = "..data";

/// The revisions that were opened. Each directory's `..data` is read once: later paths through it
/// lead to the same revision, even if the link has been turned meanwhile.
#[derive(Debug, Default)]
pub struct Revisions {
    /// The target of `..data`, by the device and the inode of its directory.
    opened: RefCell<BTreeMap<(u64, u64), PathBuf>>,
    used: Cell<usize>,
}

impl Revisions {
    /// The target of the `..data` in this directory, which is `now` at the first call.
    pub(super) fn target(&self, directory: &FileStat, now: PathBuf) -> PathBuf {
        self.used.set(self.used.get() + 1);
        let key = (directory.st_dev, directory.st_ino);
        self.opened.borrow_mut().entry(key).or_insert(now).clone()
    }

    /// The number of directories whose `..data` was read.
    pub fn count(&self) -> usize {
        self.opened.borrow().len()
    }

    /// Whether `look` leads through a `..data`.
    pub fn is_used_by<T>(&self, look: impl FnOnce() -> T) -> (T, bool) {
        let before = self.used.get();
        let out = look();
        (out, self.used.get() > before)
    }

    /// The path of the same file without links, for a path whose links drainit follows whoever owns
    /// them. `None` if the path leads through no `..data`, or through too many links.
    pub fn path(&self, path: &Path) -> Option<PathBuf> {
        let (mut walked, mut todo) = (PathBuf::new(), steps(path));
        let (mut links, before) = (0, self.used.get());
        while let Some(step) = todo.pop() {
            let next = walked.join(&step);
            let Ok(mut target) = fs::read_link(&next) else {
                walked = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            if step == DATA {
                let directory =
                    if walked.as_os_str().is_empty() { Path::new(".") } else { &walked };
                target = self.target(&stat(directory).ok()?, target);
            }
            todo.extend(steps(&target));
        }
        (self.used.get() > before).then_some(walked)
    }
}
