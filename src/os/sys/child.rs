//! Creates children: `posix_spawn`, and what happens between fork and exec.

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use crate::os::sys::{SignalSet, checked, set_foreground_group, set_mask, set_parent_death_signal};
use crate::types::Signal;

/// The user and groups that a child changes to; `None` keeps what it has.
#[derive(Debug, Default)]
pub(crate) struct NewUser {
    pub(crate) groups: Option<Vec<Gid>>,
    pub(crate) gid: Option<Gid>,
    pub(crate) uid: Option<Uid>,
}

/// Changes the user of the child before its exec. Groups come first: without the user id of root
/// they cannot be changed.
pub(crate) fn become_user(command: &mut Command, user: NewUser) {
    let change = move || -> io::Result<()> {
        if let Some(groups) = &user.groups {
            nix::unistd::setgroups(groups)?;
        }
        if let Some(gid) = user.gid {
            nix::unistd::setresgid(gid, gid, gid)?;
        }
        if let Some(uid) = user.uid {
            nix::unistd::setresuid(uid, uid, uid)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor
    // takes a lock, and an error is a bare number.
    unsafe { command.pre_exec(change) };
}

/// The limits and the umask that a child starts with.
#[derive(Debug)]
pub(crate) struct ChildLimits {
    pub(crate) limits: Vec<ChildLimit>,
    /// `None` keeps that of drainit.
    pub(crate) umask: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildLimit {
    pub(crate) resource: Resource,
    pub(crate) soft: rlim_t,
    pub(crate) hard: rlim_t,
}

/// Sets the limits and the umask of the child before its exec.
pub(crate) fn limit_child(command: &mut Command, wanted: ChildLimits) {
    let limit = move || -> io::Result<()> {
        for ChildLimit { resource, soft, hard } in &wanted.limits {
            setrlimit(*resource, *soft, *hard)?;
        }
        if let Some(umask) = wanted.umask {
            nix::sys::stat::umask(Mode::from_bits_truncate(umask));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor
    // takes a lock, and an error is a bare number.
    unsafe { command.pre_exec(limit) };
}

/// Gives descriptors of drainit other numbers in the child, and keeps them open at its exec. No
/// target may be a source.
pub(crate) fn move_descriptors(command: &mut Command, moves: Vec<(i32, i32)>) {
    let move_all = move || -> io::Result<()> {
        for &(source, target) in &moves {
            // SAFETY: takes two integers; the target belongs to nothing that the child uses.
            checked(unsafe { libc::dup2(source, target) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls.
    unsafe { command.pre_exec(move_all) };
}

/// Signals, group and session that a child starts with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildSetup {
    /// The blocked signals.
    pub(crate) mask: SignalSet,
    /// The signals that get their default disposition; the others keep that of drainit.
    pub(crate) defaults: SignalSet,
    pub(crate) place: Place,
    /// The kernel kills it when drainit dies.
    pub(crate) dies_with_us: bool,
    /// It gets the descriptors of a socket activation: `LISTEN_PID` is its pid.
    pub(crate) listens: bool,
}

/// The process group and session of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Those of drainit.
    Same,
    /// It leads a group.
    Group,
    /// It leads a group in the foreground of the terminal on stdin.
    Foreground,
    /// It leads a session.
    Session,
    /// It leads a session, whose controlling terminal is the one on stdin.
    SessionWithTerminal,
}

/// Environment and standard streams of a child.
#[derive(Debug, Default)]
pub(crate) struct Belongings<'a> {
    /// Its environment, `NAME=VALUE`; `None`: drainit's.
    pub(crate) env: Option<&'a [CString]>,
    /// Its descriptors 0, 1 and 2; `None`: drainit's. None of them may be 0, 1 or 2 here.
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
}

/// Starts a program by `posix_spawn`, which copies nothing of drainit. It supports neither places
/// with a terminal nor [`ChildSetup::dies_with_us`].
pub(crate) fn posix_spawn(
    program: &CStr,
    args: &[CString],
    belongings: &Belongings<'_>,
    setup: &ChildSetup,
) -> io::Result<i32> {
    let (args, env) = (pointers(args), belongings.env.map(pointers));
    let flags = libc::POSIX_SPAWN_SETSIGMASK
        | libc::POSIX_SPAWN_SETSIGDEF
        | match setup.place {
            Place::Same => 0,
            Place::Group | Place::Foreground => libc::POSIX_SPAWN_SETPGROUP,
            Place::Session | Place::SessionWithTerminal => libc::POSIX_SPAWN_SETSID.into(),
        };
    let mut attributes = MaybeUninit::<libc::posix_spawnattr_t>::uninit();
    let mut actions = MaybeUninit::<libc::posix_spawn_file_actions_t>::uninit();
    let mut pid = 0;
    // SAFETY: attributes and actions are initialised first and destroyed last; the vectors end with
    // a null pointer, and what they point to outlives the call; nothing else runs that could change
    // `environ` meanwhile.
    let error = unsafe {
        let (attributes, actions) = (attributes.as_mut_ptr(), actions.as_mut_ptr());
        refused(libc::posix_spawnattr_init(attributes))?;
        if let Err(error) = refused(libc::posix_spawn_file_actions_init(actions)) {
            libc::posix_spawnattr_destroy(attributes);
            return Err(error);
        }
        libc::posix_spawnattr_setflags(attributes, flags.try_into().unwrap_or(0));
        libc::posix_spawnattr_setpgroup(attributes, 0);
        libc::posix_spawnattr_setsigmask(attributes, &library_set(setup.mask));
        libc::posix_spawnattr_setsigdefault(attributes, &library_set(setup.defaults));
        let added = belongings.stdio.iter().zip(0..).filter_map(|(fd, target)| {
            let source = fd.as_ref()?.as_raw_fd();
            Some(libc::posix_spawn_file_actions_adddup2(actions, source, target))
        });
        let error = match added.max().unwrap_or(0) {
            0 => {
                let env = env.as_ref().map_or(environ, |env| env.as_ptr());
                let (program, args) = (program.as_ptr(), args.as_ptr());
                libc::posix_spawn(&raw mut pid, program, actions, attributes, args, env)
            }
            error => error,
        };
        libc::posix_spawn_file_actions_destroy(actions);
        libc::posix_spawnattr_destroy(attributes);
        error
    };
    refused(error).map(|()| pid)
}

unsafe extern "C" {
    static environ: *const *mut libc::c_char;
}

const LISTEN_PID: &str = "LISTEN_PID=";

/// Executes this program as the last step between fork and exec. std would call `execvp`, which
/// runs `/bin/sh` on ENOEXEC. Without `env`, the child gets drainit's environment. With it,
/// `LISTEN_PID` can be set to its pid.
pub(crate) fn exec_as(
    command: &mut Command,
    program: CString,
    args: Vec<CString>,
    env: Option<Vec<CString>>,
    listens: bool,
) {
    // Addresses are `Send`, unlike pointers. A CString that is moved keeps its text in place.
    let addresses = |words: &[CString]| -> Vec<usize> {
        pointers(words).into_iter().map(|pointer| pointer as usize).collect()
    };
    let (argv, mut envp) = (addresses(&args), env.as_deref().map(addresses));
    // Has room for any pid, which is not known before the fork.
    let mut own = [LISTEN_PID.as_bytes(), &[0; 11]].concat();
    if let (true, Some(envp)) = (listens, &mut envp) {
        envp.insert(0, own.as_ptr() as usize);
    }
    let exec = move || -> io::Result<()> {
        write!(&mut own[LISTEN_PID.len()..], "{}", std::process::id())?;
        // Keeps the targets of the addresses.
        let _ = (&args, &env);
        // SAFETY: both vectors end with a null pointer, and what they point to is owned by this
        // closure; nothing else runs in the child that could change `environ`.
        unsafe {
            let envp = envp.as_ref().map_or(environ.cast(), |envp| envp.as_ptr().cast());
            libc::execve(program.as_ptr(), argv.as_ptr().cast(), envp);
        }
        Err(io::Error::last_os_error())
    };
    // SAFETY: between fork and exec the closure writes a number into memory that it has, and makes
    // system calls.
    unsafe { command.pre_exec(exec) };
}

/// Converts the result of the `posix_spawn` functions, which is an error number.
fn refused(error: libc::c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// The array of pointers for `execve`.
fn pointers(words: &[CString]) -> Vec<*mut libc::c_char> {
    words
        .iter()
        .map(|word| word.as_ptr().cast_mut())
        .chain(std::iter::once(ptr::null_mut()))
        .collect()
}

/// Converts to the C library's set, which begins with that of the kernel.
fn library_set(set: SignalSet) -> libc::sigset_t {
    // SAFETY: all zeroes is a valid sigset_t, which is longer than a SignalSet, aligned at least as
    // it is, and has no other content than bits.
    unsafe {
        let mut library: libc::sigset_t = std::mem::zeroed();
        (&raw mut library).cast::<SignalSet>().write(set);
        library
    }
}

/// Applies any [`ChildSetup`] between fork and exec.
pub(crate) fn set_up_child(command: &mut Command, setup: ChildSetup) {
    let set_up = move || -> io::Result<()> {
        match setup.place {
            Place::Same => {}
            Place::Group | Place::Foreground => {
                // SAFETY: takes two integers.
                checked(unsafe { libc::setpgid(0, 0) })?;
            }
            Place::Session | Place::SessionWithTerminal => {
                // SAFETY: takes nothing.
                checked(unsafe { libc::setsid() })?;
            }
        }
        // Best effort: the child can run without the terminal.
        match setup.place {
            // Everything is blocked still, TTOU too.
            Place::Foreground => drop(set_foreground_group(nix::unistd::getpid().as_raw())),
            Place::SessionWithTerminal => {
                // SAFETY: takes three integers.
                unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
            }
            _ => {}
        }
        if setup.dies_with_us {
            set_parent_death_signal(Signal::KILL)?;
        }
        for number in (1..=64).filter(|number| setup.defaults >> (number - 1) & 1 == 1) {
            give_default(number);
        }
        set_mask(setup.mask).map(drop)
    };
    // SAFETY: between fork and exec the closure only makes system calls.
    unsafe { command.pre_exec(set_up) };
}

/// Gives a signal its default disposition. The C library would refuse this for its own signals.
/// Async-signal-safe.
fn give_default(number: libc::c_int) {
    // The kernel's structure has no more than four words, and all zeroes is the default.
    const DEFAULT: [u64; 4] = [0; 4];
    let nothing: *mut u64 = ptr::null_mut();
    // SAFETY: the structure is valid to read, and runs no code of ours. KILL and STOP are refused.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            DEFAULT.as_ptr(),
            nothing,
            size_of::<SignalSet>(),
        )
    };
}
