//! Finds out why a process could not be started, or why its start would fail.
//!
//! The kernel has one error number for many causes: `ENOENT` can mean a missing program, a missing
//! interpreter or a missing working directory. drainit examines the file system only after a
//! failure, so that a successful start costs nothing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use crate::spawn::SpawnError;
use crate::spawn::User;
use crate::spawn::which::which;
use crate::trusted_path::{Place, is};

/// A start that drainit has attempted, or that it only checks.
pub struct Attempt<'a> {
    /// The path of the program. A relative path starts at the working directory of the child.
    pub program: &'a Path,
    pub working_dir: Option<&'a Path>,
    /// The user of the child; `None` if the child keeps drainit's own user.
    pub user: Option<&'a User>,
}

impl Attempt<'_> {
    /// The path at which drainit itself can open the program.
    fn file(&self) -> PathBuf {
        self.working_dir.map_or_else(|| self.program.to_owned(), |dir| dir.join(self.program))
    }
}

/// Finds the cause of a failed start. `search` is the PATH of the program.
pub fn diagnose(error: io::Error, attempt: &Attempt<'_>, search: Option<&OsStr>) -> SpawnError {
    let path = attempt.file();
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        errno @ (Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP) => {
            // `may` always returns true here: the error of the kernel already says whether the user
            // may execute the program.
            let seen = || foresee(attempt, search, |_, _| true);
            match attempt.working_dir.and_then(wrong_with_dir).or_else(seen) {
                Some(wrong) => wrong,
                None if errno == Errno::EACCES => denied(attempt, path),
                None => SpawnError::Other { path, source: error },
            }
        }
        Errno::ENOEXEC => SpawnError::Format { why: wrong_with_format(&path), path },
        Errno::EPERM => match attempt.user {
            Some(user) => cannot_become(user, remedy()),
            None => SpawnError::Forbidden { path },
        },
        Errno::EINVAL => match attempt.user {
            Some(user) => cannot_become(user, "the container's user namespace has no such id"),
            None => SpawnError::Other { path, source: error },
        },
        Errno::E2BIG => SpawnError::TooBig { path },
        Errno::EAGAIN => SpawnError::TooMany { path },
        Errno::ETXTBSY => SpawnError::Busy { path },
        _ => SpawnError::Other { path, source: error },
    }
}

/// The error that a start would give; `None` if the file system shows no problem. `path` is the
/// `PATH` of the program; `may` returns whether a user may execute a file or enter a directory.
pub fn foresee(
    attempt: &Attempt<'_>,
    path: Option<&OsStr>,
    may: fn(&fs::Metadata, &User) -> bool,
) -> Option<SpawnError> {
    let file = attempt.file();
    let found = match fs::metadata(&file) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Some(denied(attempt, file));
        }
        Err(_) => return Some(SpawnError::Missing { path: file }),
    };
    if found.is_dir() {
        return Some(SpawnError::Directory { path: file });
    }
    if !found.is_file() {
        // The kernel executes only regular files. Opening a FIFO would wait for a writer.
        return Some(SpawnError::Format { path: file, why: "it is not a regular file" });
    }
    if found.permissions().mode() & 0o111 == 0 {
        return Some(SpawnError::NotExecutable { path: file });
    }
    let allowed = match attempt.user {
        Some(user) => {
            let above = file.ancestors().skip(1).filter_map(|dir| fs::metadata(dir).ok());
            may(&found, user) && above.into_iter().all(|dir| may(&dir, user))
        }
        None => nix::unistd::eaccess(&file, nix::unistd::AccessFlags::X_OK).is_ok(),
    };
    if !allowed {
        return Some(denied(attempt, file));
    }
    // An unreadable file may still be executable, but drainit cannot check its content.
    File::open(&file).ok()?;
    let head = head(&file);
    if let Some((what, interpreter, hint)) = interpreter(&head) {
        if !Path::new(&interpreter).exists() || is_cut_by_return(&head) {
            return Some(SpawnError::NoInterpreter { path: file, what, interpreter, hint });
        }
        return behind_env(&head, path, attempt.working_dir).map(|interpreter| {
            SpawnError::NoInterpreter {
                path: file,
                what: "its first line asks env for",
                interpreter,
                hint: "",
            }
        });
    }
    let is_elf = head.starts_with(b"\x7fELF");
    (!is_elf).then(|| SpawnError::Format { why: wrong_with_format(&file), path: file })
}

/// Whether the kernel takes a carriage return as part of the interpreter's name: this happens if
/// the `#!` line has no argument.
fn is_cut_by_return(head: &[u8]) -> bool {
    let line = head.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next());
    line.is_some_and(|line| {
        line.ends_with(b"\r") && !line.trim_ascii().iter().any(u8::is_ascii_whitespace)
    })
}

/// The program that `#!/usr/bin/env NAME` names, if that program is not in `PATH`.
fn behind_env(head: &[u8], path: Option<&OsStr>, dir: Option<&Path>) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.trim_ascii().split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    if !words.next()?.ends_with(b"/env") {
        return None;
    }
    let name = words.find(|word| *word != b"-S" && !word.contains(&b'='))?;
    if name.starts_with(b"-") {
        return None;
    }
    let is_missing = which(OsStr::from_bytes(name), path, dir).is_err();
    is_missing.then(|| String::from_utf8_lossy(name).into_owned())
}

pub fn wrong_with_dir(dir: &Path) -> Option<SpawnError> {
    let why = match Place::behind(dir).and_then(|place| place.stat()) {
        Ok(found) if !is(&found, SFlag::S_IFDIR) => "it is not a directory".to_owned(),
        Ok(_) => {
            let may_enter = nix::unistd::eaccess(dir, nix::unistd::AccessFlags::X_OK);
            may_enter.err()?.desc().to_lowercase()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => "it does not exist".to_owned(),
        Err(error) => error.to_string(),
    };
    Some(SpawnError::WorkingDir { path: dir.to_owned(), why })
}

fn denied(attempt: &Attempt<'_>, path: PathBuf) -> SpawnError {
    let uid = attempt.user.map_or_else(|| nix::unistd::geteuid().as_raw(), |user| user.uid);
    SpawnError::Denied { path, whom: format!("uid {uid}") }
}

/// The first 4 KiB of a file; empty if it cannot be read.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(4096).read_to_end(&mut head);
    }
    head
}

/// Returns three parts of the error message: how the program refers to its interpreter, the
/// interpreter, and the usual cause if the interpreter is missing.
fn interpreter(head: &[u8]) -> Option<(&'static str, String, &'static str)> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let hint = if line.ends_with(b"\r") {
            " (the line ends with a carriage return: save the file with Unix line ends)"
        } else {
            ""
        };
        let word = line.trim_ascii().split(u8::is_ascii_whitespace).next()?;
        return Some(("its first line asks for", String::from_utf8_lossy(word).into_owned(), hint));
    }
    let loader = elf_loader(head)?;
    let hint = " (a program for another C library: glibc on Alpine, or musl elsewhere; or a dynamic one in an empty image)";
    Some(("it is linked for the loader", loader, hint))
}

/// The loader that an ELF file names (`PT_INTERP`), if the file has 64 bits and the byte order of
/// this machine.
fn elf_loader(head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, width: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(width)?)?;
        let fold = |value, byte: &u8| (value << 8) | u64::from(*byte);
        Some(if cfg!(target_endian = "little") {
            bytes.iter().rev().fold(0, fold)
        } else {
            bytes.iter().fold(0, fold)
        })
    };
    if !head.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let (table, width, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let header = usize::try_from(table.checked_add(index * width)?).ok()?;
        if number(header, 4)? == PT_INTERP {
            let start = usize::try_from(number(header.checked_add(8)?, 8)?).ok()?;
            let name = head.get(start..)?.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    None
}

fn wrong_with_format(path: &Path) -> &'static str {
    let head = head(path);
    if head.starts_with(b"\x7fELF") {
        "it is built for another processor (was the image built for this architecture?)"
    } else if head.is_empty() {
        "it is empty"
    } else if head.starts_with(b"\xef\xbb\xbf#!") {
        "it begins with a byte order mark; remove it"
    } else {
        "it is neither a binary nor a script with a `#!` line"
    }
}

pub(crate) fn cannot_become(user: &User, remedy: &'static str) -> SpawnError {
    let own = format!("uid {}", nix::unistd::geteuid());
    SpawnError::User { own, wanted: format!("{}:{}", user.uid, user.gid), remedy }
}

pub fn remedy() -> &'static str {
    if nix::unistd::geteuid().is_root() {
        "add the capabilities SETUID and SETGID, or remove `user:`"
    } else {
        "remove `user:` or start the container as root"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn an_error_of_the_kernel_is_explained() {
        let user = User { uid: 10001, gid: 10001, groups: vec![] };
        let program = Path::new("/bin/sh");
        for (errno, user, says) in [
            (Errno::EINVAL, Some(&user), "user namespace has no such id"),
            (Errno::EINVAL, None, "Invalid argument"),
            (Errno::EPERM, Some(&user), "cannot become 10001:10001"),
            (Errno::EACCES, Some(&user), "uid 10001"),
            (Errno::ENOENT, None, "No such file"),
            (Errno::EAGAIN, None, "no room for another process"),
        ] {
            let attempt = Attempt { program, working_dir: None, user };
            let error = diagnose(errno.into(), &attempt, None).to_string();
            assert!(error.contains(says), "{errno}: {error}");
        }
    }

    #[test]
    fn a_program_behind_options_of_env_is_found() {
        let line = b"#!/usr/bin/env -S A=1 no-such-program\n";
        assert_eq!(behind_env(line, None, None).unwrap(), "no-such-program");
    }

    #[test]
    fn the_loader_is_found_in_any_program_header() {
        for index in 0..3_u16 {
            let mut head = [0; 300];
            let header = 64 + 56 * usize::from(index);
            head[..5].copy_from_slice(b"\x7fELF\x02");
            head[32..40].copy_from_slice(&64_u64.to_ne_bytes());
            head[54..58].copy_from_slice(&[56_u16.to_ne_bytes(), 3_u16.to_ne_bytes()].concat());
            head[header..][..4].copy_from_slice(&3_u32.to_ne_bytes());
            head[header + 8..][..8].copy_from_slice(&290_u64.to_ne_bytes());
            head[290..298].copy_from_slice(b"/ld.so.1");
            assert_eq!(elf_loader(&head).as_deref(), Some("/ld.so.1"), "{index}");
        }
    }

    #[test]
    fn a_directory_behind_a_loop_of_links_is_not_called_missing() {
        let dir = TempDir::new();
        std::os::unix::fs::symlink("loop", dir.path("loop")).unwrap();
        let error = wrong_with_dir(&dir.path("loop")).unwrap().to_string();
        assert!(!error.contains("does not exist"), "{error}");
    }

    #[test]
    fn a_static_program_is_complete() {
        let dir = TempDir::new();
        dir.file("static", 0o755, b"\x7fELF\x02");
        let program = &dir.path("static");
        let attempt = Attempt { program, working_dir: None, user: None };
        assert!(foresee(&attempt, None, |_, _| true).is_none());
    }

    #[test]
    fn a_fifo_is_not_a_program() {
        let dir = TempDir::new();
        let program = &dir.path("fifo");
        nix::unistd::mkfifo(program, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let attempt = Attempt { program, working_dir: None, user: None };
        let error = foresee(&attempt, None, |_, _| true).unwrap().to_string();
        assert!(error.ends_with("it is not a regular file"), "{error}");
    }

    #[test]
    fn each_directory_of_a_program_has_to_be_entered() {
        let user = User { uid: 10001, gid: 10001, groups: vec![] };
        let program = Path::new("/bin/sh");
        let attempt = Attempt { program, working_dir: None, user: Some(&user) };
        let foresee = |may| foresee(&attempt, None, may);
        assert!(foresee(|_, _| true).is_none());
        assert!(matches!(foresee(|found, _| found.is_file()), Some(SpawnError::Denied { .. })));
        assert!(matches!(foresee(|found, _| found.is_dir()), Some(SpawnError::Denied { .. })));
    }
}
