//! Finds out why a process could not be started, or why its start would fail.
//!
//! The kernel has one error number for many causes: `ENOENT` can mean a missing program, a missing
//! interpreter or a missing working directory. drainit examines the file system only after a
//! failure, so that a successful start costs nothing.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::SFlag;
use nix::unistd::AccessFlags;

use crate::spawn::SpawnError;
use crate::spawn::User;
use crate::spawn::which::{DEFAULT_PATH, candidates};
use crate::trusted_path::{Place, is};

/// A start that drainit has attempted, or that it only checks.
pub struct Attempt<'a> {
    /// The program, as the command names it. A relative path starts at the working directory of the
    /// child.
    pub program: &'a OsStr,
    /// The `PATH` of the program.
    pub search: Option<&'a OsStr>,
    pub working_dir: Option<&'a Path>,
    /// The user of the child; `None` if the child keeps drainit's own user.
    pub user: Option<&'a User>,
}

/// The machines of ELF files (`e_machine`) that this machine can execute: its own, and the one with
/// 32 bits, which many kernels execute, too. Empty if they are not known.
const MACHINES: &[u16] = if cfg!(target_arch = "x86_64") {
    &[62, 3]
} else if cfg!(target_arch = "aarch64") {
    &[183, 40]
} else {
    &[]
};

/// The number of scripts that the kernel follows from interpreter to interpreter.
const MOST_SCRIPTS: u32 = 5;

/// Finds the cause of a failed start.
pub fn diagnose(error: io::Error, attempt: &Attempt<'_>) -> SpawnError {
    let path = || match Path::new(attempt.program) {
        path if attempt.program.as_bytes().contains(&b'/') => in_dir(attempt.working_dir, path),
        name => name.to_owned(),
    };
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        errno
        @ (Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP | Errno::ENOEXEC) => {
            let refused = attempt.working_dir.and_then(wrong_with_dir);
            match refused.map_or_else(|| which(attempt), Err) {
                Err(wrong) => wrong,
                Ok(_) if errno == Errno::EACCES => to_denied(attempt.user, path()),
                Ok(_) => SpawnError::Other { path: path(), source: error },
            }
        }
        Errno::EPERM => match attempt.user {
            Some(user) => cannot_become(user, remedy()),
            None => SpawnError::Forbidden { path: path() },
        },
        Errno::EINVAL => match attempt.user {
            Some(user) => cannot_become(user, "the container's user namespace has no such id"),
            None => SpawnError::Other { path: path(), source: error },
        },
        Errno::E2BIG => SpawnError::TooBig { path: path() },
        Errno::EAGAIN => SpawnError::TooMany { path: path() },
        Errno::ETXTBSY => SpawnError::Busy { path: path() },
        _ => SpawnError::Other { path: path(), source: error },
    }
}

/// The error that a start would give, or with which the program would end at once because its
/// script cannot be run. `None` if the file system shows no problem.
pub fn foresee(attempt: &Attempt<'_>) -> Option<SpawnError> {
    let path = match which(attempt) {
        Ok(path) => in_dir(attempt.working_dir, &path),
        Err(wrong) => return Some(wrong),
    };
    let found = fs::metadata(&path).ok()?;
    let is_readable = match attempt.user {
        Some(user) => allows(&found, user, 4),
        None => may(&path, AccessFlags::R_OK),
    };
    let head = head(&path);
    if !is_readable {
        // Only the first bytes of a program are known if drainit itself may read the file.
        return head
            .starts_with(b"#!")
            .then(|| SpawnError::UnreadableScript { whom: whom(attempt.user), path });
    }
    let (name, hint) = behind_env(&head)?;
    let named = Attempt { program: OsStr::from_bytes(name), ..*attempt };
    which(&named).is_err().then(|| SpawnError::NoInterpreter {
        path,
        what: "its first line asks env for",
        interpreter: String::from_utf8_lossy(name.trim_ascii()).into_owned(),
        hint,
    })
}

/// Searches for the program of the attempt in its `PATH`, as the kernel and the user of the child
/// see it. A relative result starts at the working directory of the child.
///
/// # Errors
/// Fails if no file has the name, or if the kernel would refuse to execute it.
pub(super) fn which(attempt: &Attempt<'_>) -> Result<PathBuf, SpawnError> {
    let Attempt { program, search, .. } = *attempt;
    let is_path = program.as_bytes().contains(&b'/');
    let search = search.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut first = None;
    for candidate in candidates(program, Some(search)) {
        match refusal(&candidate, attempt, 0) {
            None => return Ok(candidate),
            Some(wrong) if is_path => return Err(wrong),
            Some(SpawnError::Missing { .. } | SpawnError::Directory { .. }) => {}
            Some(wrong @ (SpawnError::Format { .. } | SpawnError::Other { .. })) => {
                return Err(wrong);
            }
            // The kernel is asked for the file of the next directory, too.
            Some(wrong) => drop(first.get_or_insert(wrong)),
        }
    }
    Err(first.unwrap_or_else(|| SpawnError::not_in_path(program, search)))
}

/// The error with which the kernel refuses to execute this file for the user; `None` if it does not.
/// `scripts` is the number of scripts of which each is the interpreter of the one before.
fn refusal(path: &Path, attempt: &Attempt<'_>, scripts: u32) -> Option<SpawnError> {
    let file = in_dir(attempt.working_dir, path);
    let found = match fs::metadata(&file) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Some(to_denied(attempt.user, file));
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
    if found.mode() & 0o111 == 0 {
        return Some(SpawnError::NotExecutable { path: file });
    }
    let is_allowed = |user: &User| {
        let enters = |dir: &PathBuf| fs::metadata(dir).is_ok_and(|dir| allows(&dir, user, 1));
        allows(&found, user, 1) && directories(&file).iter().all(enters)
    };
    if !may(&file, AccessFlags::X_OK) || !attempt.user.is_none_or(is_allowed) {
        return Some(to_denied(attempt.user, file));
    }
    // An unreadable file may still be executable, but drainit cannot check its content.
    File::open(&file).ok()?;
    let head = head(&file);
    if let Some(why) = wrong_with_format(&head) {
        return Some(SpawnError::Format { why, path: file });
    }
    let (what, interpreter, hint) = interpreter(&head)?;
    if scripts == MOST_SCRIPTS && head.starts_with(b"#!") {
        return Some(SpawnError::Other { path: file, source: Errno::ELOOP.into() });
    }
    Some(match refusal(Path::new(&interpreter), attempt, scripts + 1)? {
        SpawnError::Missing { .. } => {
            let interpreter = interpreter.trim_end().to_owned();
            SpawnError::NoInterpreter { path: file, what, interpreter, hint }
        }
        wrong => wrong,
    })
}

/// The path at which drainit itself can open a path of the child.
fn in_dir(dir: Option<&Path>, path: &Path) -> PathBuf {
    dir.map_or_else(|| path.to_owned(), |dir| dir.join(path))
}

/// Whether drainit itself has this access.
fn may(path: &Path, access: AccessFlags) -> bool {
    nix::unistd::eaccess(path, access).is_ok()
}

/// Whether the mode lets a user read (4) or execute (1) a file, or enter a directory (1). root may
/// read every file, enter every directory, and execute a file with any execute bit.
pub fn allows(found: &Metadata, user: &User, access: u32) -> bool {
    let mode = found.mode();
    let bits = if user.uid == 0 {
        return access != 1 || found.is_dir() || mode & 0o111 != 0;
    } else if user.uid == found.uid() {
        mode >> 6
    } else if user.gid == found.gid() || user.groups.contains(&found.gid()) {
        mode >> 3
    } else {
        mode
    };
    bits & access != 0
}

/// The directories above a file, and above the file to which its path leads through links.
fn directories(file: &Path) -> Vec<PathBuf> {
    let real = file.canonicalize().unwrap_or_default();
    let above = [file, &real].into_iter().flat_map(|path| path.ancestors().skip(1));
    above.map(|dir| if dir == Path::new("") { ".".into() } else { dir.to_owned() }).collect()
}

/// The first line of a script behind `#!`, as the kernel reads it. A carriage return at its end
/// belongs to the last word.
fn shebang(head: &[u8]) -> Option<&[u8]> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    line.get(start..end)
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The hint if a line ends with a carriage return.
fn hint_at_return(line: &[u8]) -> &'static str {
    match line.ends_with(b"\r") {
        true => " (the line ends with a carriage return: save the file with Unix line ends)",
        false => "",
    }
}

/// The program for which the first line of a script asks env, and a hint if this program is
/// missing. Only with `-S`, env splits its argument and drops a carriage return.
fn behind_env(head: &[u8]) -> Option<(&[u8], &'static str)> {
    let line = shebang(head)?;
    let (env, argument) = line.split_at(line.iter().position(is_blank)?);
    if !env.ends_with(b"/env") {
        return None;
    }
    let argument = argument.trim_ascii_start();
    if !argument.starts_with(b"-S") && argument.contains(&b'=') {
        return None;
    }
    let split = argument.strip_prefix(b"-S").map(|words| {
        let mut words = words.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.find(|word| !word.contains(&b'='))
    });
    let name = split.unwrap_or(Some(argument))?;
    (!name.starts_with(b"-")).then(|| (name, hint_at_return(name)))
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

fn to_denied(user: Option<&User>, path: PathBuf) -> SpawnError {
    SpawnError::Denied { path, whom: whom(user) }
}

fn whom(user: Option<&User>) -> String {
    let uid = user.map_or_else(|| nix::unistd::geteuid().as_raw(), |user| user.uid);
    format!("uid {uid}")
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
    if let Some(line) = shebang(head) {
        let word = line.split(is_blank).next()?;
        let name = String::from_utf8_lossy(word).into_owned();
        return Some(("its first line asks for", name, hint_at_return(line)));
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

/// The reason why the kernel cannot execute a file that begins with `head`. `None` if it can, or if
/// a handler of the kernel (binfmt_misc) may execute the file, such as an emulator.
fn wrong_with_format(head: &[u8]) -> Option<&'static str> {
    let why = if head.starts_with(b"\x7fELF") {
        let machine = head.get(18..20)?;
        if MACHINES.is_empty() || MACHINES.iter().any(|own| own.to_ne_bytes() == machine) {
            return None;
        }
        "it is built for another processor (was the image built for this architecture?)"
    } else if head.starts_with(b"#!") {
        return None;
    } else if head.is_empty() {
        "it is empty"
    } else if head.starts_with(b"\xef\xbb\xbf#!") {
        "it begins with a byte order mark; remove it"
    } else {
        "it is neither a binary nor a script with a `#!` line"
    };
    let is_handler = |name: &OsStr| name != "register" && name != "status";
    let mut all = fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().flatten();
    (!all.any(|entry| is_handler(&entry.file_name()))).then_some(why)
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
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::spawn::SpawnRequest;
    use crate::spawn::tests::end_of;
    use crate::testing::isolated::in_own_process_of_root;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn an_error_of_the_kernel_is_explained() {
        let user = User { uid: 10001, gid: 10001, groups: vec![] };
        let program = OsStr::new("/bin/sh");
        for (errno, user, says) in [
            (Errno::EINVAL, Some(&user), "user namespace has no such id"),
            (Errno::EINVAL, None, "Invalid argument"),
            (Errno::EPERM, Some(&user), "cannot become 10001:10001"),
            (Errno::EACCES, Some(&user), "uid 10001"),
            (Errno::ENOENT, None, "No such file"),
            (Errno::EAGAIN, None, "no room for another process"),
        ] {
            let attempt = Attempt { program, search: None, working_dir: None, user };
            let error = diagnose(errno.into(), &attempt).to_string();
            assert!(error.contains(says), "{errno}: {error}");
        }
    }

    #[test]
    fn a_program_behind_options_of_env_is_found() {
        let hint = hint_at_return(b"\r");
        for (line, expected) in [
            ("-S A=1 python3 -u\r", Some(("python3", ""))),
            ("python3", Some(("python3", ""))),
            (" python3\t ", Some(("python3", ""))),
            ("python3\r", Some(("python3\r", hint))),
            ("python3 -u", Some(("python3 -u", ""))),
            ("A=1 python3", None),
            ("-i", None),
        ] {
            let head = format!("#!/usr/bin/env {line}\nx");
            let expected = expected.map(|(name, hint)| (name.as_bytes(), hint));
            assert_eq!(behind_env(head.as_bytes()), expected, "{line}");
        }
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
    fn a_static_program_is_complete_and_a_fifo_is_no_program() {
        let dir = TempDir::new();
        dir.file("static", 0o755, b"\x7fELF\x02");
        nix::unistd::mkfifo(&dir.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (name, says) in [("static", None), ("fifo", Some("it is not a regular file"))] {
            let path = dir.path(name);
            let program = path.as_os_str();
            let attempt = Attempt { program, search: None, working_dir: None, user: None };
            let error = foresee(&attempt).map(|error| error.to_string());
            assert_eq!(error.is_some(), says.is_some(), "{name}: {error:?}");
            assert!(error.is_none_or(|error| error.ends_with(says.unwrap_or(""))), "{name}");
        }
    }

    // holds: C774, C775
    #[test]
    fn a_start_fails_as_foreseen() {
        in_own_process_of_root(|| {
            let dir = TempDir::new();
            let at = |name: &str| dir.path(name).display().to_string();
            std::fs::set_permissions(dir.root(), Permissions::from_mode(0o755)).unwrap();
            for (name, mode, content) in [
                ("closed/tool", 0o755, "#!/bin/sh\n".to_owned()),
                ("open/tool", 0o755, "#!/bin/sh\n".to_owned()),
                ("open/private", 0o711, "#!/bin/sh\n".to_owned()),
                ("open/dos", 0o755, "#!/usr/bin/env sh\r\n".to_owned()),
                ("open/dos-s", 0o755, "#!/usr/bin/env -S sh -e\r\n".to_owned()),
                ("open/two-words", 0o755, "#!/usr/bin/env sh -e\n".to_owned()),
                ("open/behind-closed", 0o755, format!("#!{}\n", at("closed/tool"))),
                ("open/text", 0o755, "true\n".to_owned()),
                ("open/behind-text", 0o755, format!("#!{}\n", at("open/text"))),
                ("open/behind-script", 0o755, format!("#!{}\n", at("open/tool"))),
                ("skipped/tool", 0o755, "#!/none\n".to_owned()),
                ("only-skipped/one", 0o755, "#!/none\n".to_owned()),
            ] {
                dir.file(name, mode, content);
            }
            for number in 1..=6 {
                let before = if number == 1 { "tool".into() } else { format!("n{}", number - 1) };
                let script = format!("#!{}\n", at(&format!("open/{before}")));
                dir.file(&format!("open/n{number}"), 0o755, script);
            }
            let mut foreign = std::fs::read("/bin/true").unwrap();
            foreign[18] = 0xf3;
            dir.file("open/foreign", 0o755, foreign);
            for name in ["open", "skipped", "only-skipped"] {
                std::fs::set_permissions(dir.path(name), Permissions::from_mode(0o755)).unwrap();
            }
            std::fs::set_permissions(dir.path("closed"), Permissions::from_mode(0o700)).unwrap();
            std::os::unix::fs::symlink(dir.path("closed/tool"), dir.path("open/link")).unwrap();
            std::os::unix::fs::symlink("link", dir.path("open/link-of-link")).unwrap();
            let user = User { uid: 1234, gid: 1234, groups: vec![] };
            for (program, search, says) in [
                ("open/tool", "", ""),
                ("open/link", "", "uid 1234 may not execute"),
                ("open/link-of-link", "", "uid 1234 may not execute"),
                ("closed/tool", "", "uid 1234 may not execute"),
                ("open/private", "", "uid 1234 may not read"),
                ("open/dos", "", "`sh`, which does not exist in this image (the line ends with a"),
                ("open/dos-s", "", ""),
                ("open/two-words", "", "asks env for `sh -e`"),
                ("open/behind-closed", "", "closed/tool`"),
                ("open/behind-text", "", "open/text` is not a program"),
                ("open/behind-script", "", ""),
                ("open/n4", "", ""),
                ("open/n5", "", "Too many levels"),
                ("open/foreign", "", "built for another processor"),
                ("tool", "closed:open", ""),
                ("tool", "skipped:open", ""),
                ("one", "only-skipped:open", "asks for `/none`"),
                ("tool", "closed", "uid 1234 may not execute"),
                ("none", "closed:open", "in none of the directories"),
            ] {
                let program = if search.is_empty() { at(program) } else { program.to_owned() };
                let search: Vec<_> = search.split(':').map(at).collect();
                let search = format!("{}:/bin", search.join(":"));
                let attempt = Attempt {
                    program: OsStr::new(&program),
                    search: Some(OsStr::new(&search)),
                    working_dir: None,
                    user: Some(&user),
                };
                let foreseen = foresee(&attempt).map(|wrong| wrong.to_string());
                let foreseen = foreseen.unwrap_or_default();
                let is_so =
                    if says.is_empty() { foreseen.is_empty() } else { foreseen.contains(says) };
                assert!(is_so, "{program}: {foreseen}");
                // The start fails, for the same reason.
                let mut request = SpawnRequest::new(vec![program.clone().into()]);
                request.env = Some(vec![("PATH".into(), search.clone().into())]);
                request.user = Some(user.clone());
                match request.spawn() {
                    // The script ends with 126 or 127.
                    Ok(pid) => assert_eq!(end_of(pid).is_success(), says.is_empty(), "{program}"),
                    Err(error) => assert_eq!(error.to_string(), foreseen, "{program}"),
                }
            }
        });
    }
}
