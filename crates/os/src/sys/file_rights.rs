//! The rights of one thread to files. In Linux, each thread has its own ids, groups and
//! capabilities. The functions of the C library change all threads, so this file makes direct
//! system calls.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::unistd::{AccessFlags, Gid, Uid, getgroups, setfsgid, setfsuid};

use crate::sys::checked;

/// `_LINUX_CAPABILITY_VERSION_3` and the pid 0, which means the calling thread (capset(2)).
const HEADER: [u32; 2] = [0x2008_0522, 0];

/// The effective, permitted and inheritable capabilities: first the lower 32 of each, then the
/// upper ones.
type Capabilities = [u32; 6];

/// The capabilities that this thread may use, as bits (capabilities(7)).
pub(crate) fn permitted_capabilities() -> io::Result<u64> {
    let [_, low, _, _, high, _] = capabilities()?;
    Ok(u64::from(high) << 32 | u64::from(low))
}

fn capabilities() -> io::Result<Capabilities> {
    let (mut header, mut found): (_, Capabilities) = (HEADER, [0; 6]);
    // SAFETY: the kernel may write its own version to `header`, and writes two structures of three
    // numbers to `found`.
    let result =
        unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), found.as_mut_ptr()) };
    checked(libc::c_int::try_from(result).unwrap_or(-1))?;
    Ok(found)
}

/// Makes the permitted capabilities effective, or, without `is_effective`, none of them.
fn set_effective(is_effective: bool) -> io::Result<()> {
    let [_, low, inheritable, _, high, more] = capabilities()?;
    let bits = |permitted| if is_effective { permitted } else { 0 };
    let wanted: Capabilities = [bits(low), low, inheritable, bits(high), high, more];
    // SAFETY: both arrays are valid to read, and as long as this version of the call says.
    let result = unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), wanted.as_ptr()) };
    checked(libc::c_int::try_from(result).unwrap_or(-1)).map(drop)
}

/// Gives this thread the rights to files of a user, and no more. The thread keeps its other ids, so
/// that the user can neither signal nor trace this thread, and may call this function again.
///
/// # Errors
/// Fails if drainit lacks the capability SETUID or SETGID, or if the user namespace does not map
/// one of the ids. The thread then has the rights of nobody in particular, and must end.
pub(crate) fn take_file_rights(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    set_effective(true)?;
    let has_groups = getgroups().is_ok_and(|now| {
        now.len() == groups.len() && now.iter().all(|group| groups.contains(&group.as_raw()))
    });
    if !has_groups {
        // SAFETY: the array is valid to read, and as long as the first argument says.
        let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
        checked(libc::c_int::try_from(result).unwrap_or(-1))?;
    }
    // These calls report no error, but the next call returns the id of the thread. The kernel
    // ignores -1, which is not an id.
    setfsgid(Gid::from_raw(gid));
    setfsuid(Uid::from_raw(uid));
    let is_gid = setfsgid(Gid::from_raw(u32::MAX)).as_raw() == gid;
    if !is_gid || setfsuid(Uid::from_raw(u32::MAX)).as_raw() != uid {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    set_effective(false)
}

/// Whether this thread has this access to an open file or directory, as the kernel would decide in
/// open(2) (Linux 5.8).
pub(crate) fn may_access(file: BorrowedFd<'_>, access: AccessFlags) -> io::Result<()> {
    const THE_FILE_ITSELF: &CStr = c"";
    let flags = libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    // SAFETY: the path is a string that ends with NUL; the rest are integers.
    let result = unsafe {
        let (file, path) = (file.as_raw_fd(), THE_FILE_ITSELF.as_ptr());
        libc::syscall(libc::SYS_faccessat2, file, path, access.bits(), flags)
    };
    checked(libc::c_int::try_from(result).unwrap_or(-1)).map(drop)
}

/// Whether an open directory has a POSIX access control list. Returns `false` if its file system
/// has no such lists.
pub(crate) fn has_acl(directory: BorrowedFd<'_>) -> bool {
    let name = c"system.posix_acl_access";
    // SAFETY: the name is a string that ends with NUL. With the size 0, the kernel writes nothing.
    let size = unsafe { libc::fgetxattr(directory.as_raw_fd(), name.as_ptr(), ptr::null_mut(), 0) };
    let error = || io::Error::last_os_error().raw_os_error();
    size >= 0 || !matches!(error(), Some(libc::ENODATA | libc::EOPNOTSUPP))
}

/// Gives up all capabilities of this thread but some, and makes these effective.
#[cfg(test)]
pub(crate) fn keep_capabilities(kept: u64) -> io::Result<()> {
    let permitted = permitted_capabilities()? & kept;
    let [low, high] = [permitted as u32, (permitted >> 32) as u32];
    let wanted: Capabilities = [low, low, 0, high, high, 0];
    // SAFETY: both arrays are valid to read, and as long as this version of the call says.
    let result = unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), wanted.as_ptr()) };
    checked(libc::c_int::try_from(result).unwrap_or(-1)).map(drop)
}

/// Sets the access control list of a file, in the form of the kernel (`linux/posix_acl_xattr.h`).
#[cfg(test)]
pub(crate) fn set_acl(file: BorrowedFd<'_>, list: &[u8]) -> io::Result<()> {
    let (name, value) = (c"system.posix_acl_access".as_ptr(), list.as_ptr().cast());
    // SAFETY: the name ends with NUL, and the list is valid to read for its length.
    checked(unsafe { libc::fsetxattr(file.as_raw_fd(), name, value, list.len(), 0) }).map(drop)
}
