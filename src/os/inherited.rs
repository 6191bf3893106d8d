//! Descriptors that drainit was started with, by the paths that name them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::os::sys;

/// Whose descriptor a path names.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Own(RawFd),
    OfAnother,
}

/// Whether the path names a descriptor: `/dev/stdout`, `/dev/stderr`, `/dev/fd/N`,
/// `/proc/self/fd/N` or `/proc/PID/fd/N`.
pub(crate) fn is_descriptor(path: &Path) -> bool {
    named(path).is_some()
}

fn named(path: &Path) -> Option<Named> {
    let names = path.components().map(|name| name.as_os_str().to_str());
    let names: Vec<_> = names.collect::<Option<_>>()?;
    let (whose, number) = match names[..] {
        ["/", "dev", "stdout"] => return Some(Named::Own(1)),
        ["/", "dev", "stderr"] => return Some(Named::Own(2)),
        ["/", "dev", "fd", number] => ("self", number),
        ["/", "proc", whose, "fd", number] => (whose, number),
        _ => return None,
    };
    let number = RawFd::try_from(number.parse::<u32>().ok()?).ok()?;
    if whose == "self" || whose.parse() == Ok(std::process::id()) {
        Some(Named::Own(number))
    } else {
        whose.parse::<u32>().ok().map(|_| Named::OfAnother)
    }
}

/// Opens a descriptor to append to, without waiting for anybody.
///
/// One of a plain file is duplicated: what is opened anew has an offset of its own, and each of the
/// two would overwrite what the other has written. All else is opened anew, so that `O_NONBLOCK`
/// concerns nobody else.
///
/// # Errors
/// It is not open, or the kernel refuses to open it anew.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    /// Not the number of a standard stream.
    const FIRST: RawFd = 3;
    if let Some(Named::Own(descriptor)) = named(path) {
        let shared = File::from(sys::duplicate(&descriptor, FIRST)?);
        if shared.metadata()?.is_file() {
            return Ok(shared);
        }
    }
    // Not for reading: with a reader of our own, processes that write to the same pipe would not
    // notice that its reader is gone.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new().append(true).custom_flags(flags.bits()).open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn only_paths_of_descriptors_name_one() {
        let pid = std::process::id();
        for (path, expected) in [
            ("/dev/stdout".to_owned(), Some(Named::Own(1))),
            ("/dev//stderr".to_owned(), Some(Named::Own(2))),
            ("/dev/fd/3".to_owned(), Some(Named::Own(3))),
            ("/proc/self/fd/12".to_owned(), Some(Named::Own(12))),
            (format!("/proc/{pid}/fd/1"), Some(Named::Own(1))),
            (format!("/proc/{}/fd/1", pid + 1), Some(Named::OfAnother)),
            ("/dev/fd/x".to_owned(), None),
            ("/dev/fd/-1".to_owned(), None),
            ("/dev/fd/4294967295".to_owned(), None),
            ("/dev/fd".to_owned(), None),
            ("/dev/null".to_owned(), None),
            ("/dev/shm/stdout".to_owned(), None),
            ("/proc/sys/fd/1".to_owned(), None),
            ("/srv/dev/stdout".to_owned(), None),
            ("dev/stdout".to_owned(), None),
        ] {
            assert_eq!(named(Path::new(&path)), expected, "{path}");
        }
    }

    #[test]
    fn a_plain_file_keeps_one_offset() {
        let dir = TempDir::new();
        let path = dir.root().join("out");
        // As a shell opens it for `>`.
        let mut first = File::create(&path).unwrap();
        let number = first.as_raw_fd();
        first.write_all(b"1\n").unwrap();
        for by in ["/dev/fd", "/proc/self/fd"] {
            let mut second = open(Path::new(&format!("{by}/{number}"))).unwrap();
            second.write_all(b"2\n").unwrap();
            first.write_all(b"3\n").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n3\n2\n3\n");
    }

    #[test]
    fn a_pipe_keeps_its_own_flags() {
        let (_reader, writer) = io::pipe().unwrap();
        let opened = open(Path::new(&format!("/dev/fd/{}", writer.as_raw_fd()))).unwrap();
        let is_blocking = |fd: BorrowedFd<'_>| {
            let flags = fcntl(fd, FcntlArg::F_GETFL).unwrap();
            !OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK)
        };
        assert!(!is_blocking(opened.as_fd()));
        assert!(is_blocking(writer.as_fd()));
    }
}
