//! Creates children, and prepares them between fork and exec.
//!
//! drainit does not wait for the exec of a child, because the file system of the program may hang.
//! If another thread of drainit holds a lock at the fork, nobody ever unlocks this lock in the
//! child. Therefore the code that runs in the child makes system calls only: it does not allocate,
//! lock or panic.

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, rlim_t};
use nix::unistd::{ForkResult, Gid, Pid, Uid};

use crate::sys::{SignalSet, duplicate};
use drainit_core::types::Signal;

/// The first descriptor of a socket activation.
const FIRST_SOCKET: RawFd = 3;
/// The exit code of a child whose exec has failed. The code is never shown: drainit reports the
/// error instead.
const FAILED: usize = 127;

/// The user and groups that a child changes to; `None` means no change.
#[derive(Debug, Default)]
pub(crate) struct NewUser {
    pub(crate) groups: Option<Vec<Gid>>,
    pub(crate) gid: Option<Gid>,
    pub(crate) uid: Option<Uid>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildLimit {
    pub(crate) resource: Resource,
    pub(crate) soft: rlim_t,
    pub(crate) hard: rlim_t,
}

/// The signals, group and session that a child starts with.
#[derive(Clone, Copy, Debug)]
pub struct ChildSetup {
    /// The blocked signals.
    pub mask: SignalSet,
    /// The signals that get their default disposition. All other signals keep drainit's
    /// disposition.
    pub defaults: SignalSet,
    pub place: ChildPlace,
    /// Whether the kernel kills the child when drainit dies.
    pub dies_with_us: bool,
    /// Whether the child gets the descriptors of a socket activation, with its own pid in
    /// `LISTEN_PID`.
    pub listens: bool,
}

/// The process group and session of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildPlace {
    /// The group and session of drainit.
    Same,
    /// The child leads a group.
    Group,
    /// The child leads a group in the foreground of the terminal on stdin.
    Foreground,
    /// The child leads a session.
    Session,
    /// The child leads a session whose controlling terminal is the terminal on stdin.
    SessionWithTerminal,
}

/// Everything that a child needs for its exec.
#[derive(Debug)]
pub(crate) struct ChildPlan {
    /// The program, or the files that a search in `PATH` tries, in that order.
    pub(crate) programs: Vec<CString>,
    pub(crate) args: Vec<CString>,
    /// The environment; `None` means drainit's own.
    pub(crate) env: Option<Vec<CString>>,
    /// Whether `/bin/sh` runs a file that the kernel cannot execute (ENOEXEC), as in execvp(3).
    pub(crate) runs_scripts: bool,
    /// The working directory, as a descriptor that stays open until the child is created. `None`
    /// means drainit's own directory.
    pub(crate) working_dir: Option<RawFd>,
    pub(crate) user: Option<NewUser>,
    pub(crate) limits: Vec<ChildLimit>,
    pub(crate) umask: Option<u32>,
    pub(crate) setup: ChildSetup,
}

/// The memory that a child uses until its exec.
struct Child {
    plan: ChildPlan,
    /// The descriptors 0, 1 and 2; `None` means drainit's own.
    stdio: [Option<RawFd>; 3],
    /// The descriptors from 3 on.
    sockets: Vec<RawFd>,
    programs: Vec<*const c_char>,
    argv: Vec<*const c_char>,
    /// The arguments of `/bin/sh`, with room for the name of the script at index 1; empty without
    /// `runs_scripts`.
    script: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// `LISTEN_PID=` and room for any pid.
    listen_pid: Box<[u8; 24]>,
    /// The pipe that gets the error of a failed exec. A successful exec closes the pipe.
    report: RawFd,
}

/// A child whose exec was still under way at the last check.
#[derive(Debug)]
pub(crate) struct PendingExec {
    report: Rc<OwnedFd>,
}

impl PendingExec {
    /// Returns `Some(Ok(()))` if the exec has succeeded, or if the child has ended before the exec.
    /// Returns `None` if the exec is still under way. The error of a failed exec is returned only
    /// once.
    pub(crate) fn outcome(&self) -> Option<Result<(), i32>> {
        let mut error = [0; size_of::<i32>()];
        match nix::unistd::read(&*self.report, &mut error) {
            Ok(0) => Some(Ok(())),
            Ok(_) => Some(Err(i32::from_ne_bytes(error))),
            Err(_) => None,
        }
    }

    /// Returns a descriptor that is readable once there is an outcome.
    pub(crate) fn report(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.report)
    }
}

/// Creates a child, and does not wait for its exec. With [`ChildPlace::Group`] or
/// [`ChildPlace::Foreground`], the group exists on return. `stdio` becomes the child's descriptors
/// 0, 1 and 2; `None` means drainit's own. The descriptors in `stdio` must have numbers above 2.
/// `sockets` becomes the child's descriptors from 3 on.
pub(crate) fn start(
    plan: ChildPlan,
    stdio: [Option<BorrowedFd<'_>>; 3],
    sockets: &[OwnedFd],
) -> io::Result<(i32, PendingExec)> {
    let (report, mut write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let mut kept = Vec::new();
    if let (false, Ok(count)) = (sockets.is_empty(), RawFd::try_from(sockets.len())) {
        // Moves the pipe and the sockets to numbers above those that the child's sockets will have.
        let above = FIRST_SOCKET.saturating_add(count);
        write = duplicate(&write, above)?;
        kept = sockets.iter().map(|socket| duplicate(socket, above)).collect::<io::Result<_>>()?;
    }
    let place = plan.setup.place;
    let stdio = stdio.map(|descriptor| descriptor.map(|descriptor| descriptor.as_raw_fd()));
    let sockets = kept.iter().map(AsRawFd::as_raw_fd).collect();
    let mut child = Child::new(plan, stdio, sockets, write.as_raw_fd());
    // SAFETY: the child makes system calls only, and never returns from `run`.
    let pid = match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => run(&mut child),
        ForkResult::Parent { child } => child,
    };
    if matches!(place, ChildPlace::Group | ChildPlace::Foreground) {
        // The child makes the same call, so that the group exists for both processes, whichever
        // call comes first. An error is ignored, because the child may have ended.
        let _ = nix::unistd::setpgid(pid, Pid::from_raw(0));
    }
    Ok((pid.as_raw(), PendingExec { report: Rc::new(report) }))
}

/// Runs in the child.
fn run(child: &mut Child) -> ! {
    let Err(error) = child.execute();
    let error = (&raw const error).addr();
    // A failed write is ignored, because there is no other way to report the error.
    let _ = call(libc::SYS_write, [argument(child.report), error, size_of::<i32>(), 0, 0]);
    loop {
        let _ = call(libc::SYS_exit_group, [FAILED, 0, 0, 0, 0]);
    }
}

impl Child {
    fn new(plan: ChildPlan, stdio: [Option<RawFd>; 3], sockets: Vec<RawFd>, report: RawFd) -> Self {
        let mut child = Self {
            programs: plan.programs.iter().map(|program| program.as_ptr()).collect(),
            argv: pointers(&plan.args),
            script: Vec::new(),
            envp: plan.env.as_deref().map(pointers).unwrap_or_default(),
            plan,
            stdio,
            sockets,
            listen_pid: Box::new([0; 24]),
            report,
        };
        if child.plan.runs_scripts {
            let rest = child.argv.iter().skip(1).copied();
            child.script = [SHELL.as_ptr(), ptr::null()].into_iter().chain(rest).collect();
        }
        if child.plan.setup.listens && child.plan.env.is_some() {
            let own = child.listen_pid.as_ptr();
            child.envp.insert(0, own.cast());
        }
        child
    }

    /// Becomes the program. Returns only on failure, with the error number of the kernel.
    fn execute(&mut self) -> Result<Infallible, i32> {
        for (source, target) in self.stdio.iter().zip(0..) {
            if let Some(source) = *source {
                call(libc::SYS_dup3, [argument(source), target, 0, 0, 0])?;
            }
        }
        if let Some(directory) = self.plan.working_dir {
            call(libc::SYS_fchdir, [argument(directory), 0, 0, 0, 0])?;
        }
        // The limits are set before the user, because the new user may not be allowed to raise
        // limits.
        for ChildLimit { resource, soft, hard } in &self.plan.limits {
            let limit = libc::rlimit64 { rlim_cur: *soft, rlim_max: *hard };
            let limit = (&raw const limit).addr();
            call(libc::SYS_prlimit64, [0, *resource as usize, limit, 0, 0])?;
        }
        if let Some(umask) = self.plan.umask {
            call(libc::SYS_umask, [umask as usize, 0, 0, 0, 0])?;
        }
        if let Some(user) = &self.plan.user {
            become_user(user)?;
        }
        self.set_up()?;
        for (source, target) in self.sockets.iter().zip(FIRST_SOCKET..) {
            call(libc::SYS_dup3, [argument(*source), argument(target), 0, 0, 0])?;
        }
        if self.plan.setup.listens {
            name_pid(&mut *self.listen_pid, call(libc::SYS_getpid, [0; 5])?);
        }
        let mask = (&raw const self.plan.setup.mask).addr();
        let length = size_of::<SignalSet>();
        call(libc::SYS_rt_sigprocmask, [argument(libc::SIG_SETMASK), mask, 0, length, 0])?;
        Err(self.try_programs())
    }

    /// Sets the group, session, terminal and signals.
    fn set_up(&self) -> Result<(), i32> {
        let setup = &self.plan.setup;
        match setup.place {
            ChildPlace::Same => 0,
            ChildPlace::Group | ChildPlace::Foreground => call(libc::SYS_setpgid, [0; 5])?,
            ChildPlace::Session | ChildPlace::SessionWithTerminal => {
                call(libc::SYS_setsid, [0; 5])?
            }
        };
        // Errors are ignored, because the child can run without the terminal. SIGTTOU cannot stop
        // the child here, because all signals are still blocked.
        let stdin = argument(libc::STDIN_FILENO);
        if setup.place == ChildPlace::Foreground {
            let group: i32 = call(libc::SYS_getpid, [0; 5])?.try_into().unwrap_or(0);
            let group = (&raw const group).addr();
            let _ = call(libc::SYS_ioctl, [stdin, libc::TIOCSPGRP as usize, group, 0, 0]);
        } else if setup.place == ChildPlace::SessionWithTerminal {
            let _ = call(libc::SYS_ioctl, [stdin, libc::TIOCSCTTY as usize, 0, 0, 0]);
        }
        if setup.dies_with_us {
            let (option, signal) = (argument(libc::PR_SET_PDEATHSIG), Signal::KILL.number());
            call(libc::SYS_prctl, [option, argument(signal), 0, 0, 0])?;
        }
        for number in (1..=64).filter(|number| setup.defaults >> (number - 1) & 1 == 1) {
            // The kernel's structure has at most four words, and all zeroes mean the default. This
            // is a direct system call, because the C library would refuse the signals that it
            // reserves. Errors are ignored, because the kernel refuses SIGKILL and SIGSTOP, which
            // always have the default.
            static DEFAULT: [u64; 4] = [0; 4];
            let (default, length) = (DEFAULT.as_ptr().addr(), size_of::<SignalSet>());
            let _ = call(libc::SYS_rt_sigaction, [number, default, 0, length, 0]);
        }
        Ok(())
    }

    /// Executes the first program that exists and may be executed, as execvp(3) does. Returns only
    /// on failure, with an error number.
    fn try_programs(&mut self) -> i32 {
        let envp = match &self.plan.env {
            Some(_) => self.envp.as_ptr().addr(),
            // SAFETY: nothing in drainit changes its environment.
            None => unsafe { environ.addr() },
        };
        let (mut refusal, is_searched) = (libc::ENOENT, self.programs.len() > 1);
        for program in &self.programs {
            let execute = |program: *const c_char, argv: &[*const c_char]| {
                let (program, argv) = (program.addr(), argv.as_ptr().addr());
                call(libc::SYS_execve, [program, argv, envp, 0, 0]).err().unwrap_or(libc::EIO)
            };
            match execute(*program, &self.argv) {
                libc::ENOENT | libc::ENOTDIR if is_searched => {}
                libc::EACCES => refusal = libc::EACCES,
                libc::ENOEXEC if self.plan.runs_scripts => {
                    if let Some(name) = self.script.get_mut(1) {
                        *name = *program;
                    }
                    return execute(SHELL.as_ptr(), &self.script);
                }
                error => return error,
            }
        }
        refusal
    }
}

const SHELL: &CStr = c"/bin/sh";

unsafe extern "C" {
    static environ: *const *mut c_char;
}

/// `_LINUX_CAPABILITY_VERSION_3` and the pid 0, which means the caller (capset(2)).
static CAPABILITY_HEADER: [u32; 2] = [0x2008_0522, 0];
/// The effective, permitted and inheritable capabilities, in two words each.
static NO_CAPABILITIES: [u32; 6] = [0; 6];

/// Changes the user, and gives up all capabilities. The groups are changed before the user, because
/// only root may change the groups.
fn become_user(user: &NewUser) -> Result<(), i32> {
    if let Some(groups) = &user.groups {
        // A `Gid` has the same layout as its number.
        call(libc::SYS_setgroups, [groups.len(), groups.as_ptr().addr(), 0, 0, 0])?;
    }
    if let Some(gid) = user.gid {
        let gid = gid.as_raw() as usize;
        call(libc::SYS_setresgid, [gid, gid, gid, 0, 0])?;
    }
    if let Some(uid) = user.uid {
        let uid = uid.as_raw() as usize;
        call(libc::SYS_setresuid, [uid, uid, uid, 0, 0])?;
    }
    // The kernel itself takes capabilities away only when root becomes another user, and only if
    // the securebits permit this. Without permitted capabilities, there are no ambient
    // capabilities.
    let (header, none) = (CAPABILITY_HEADER.as_ptr().addr(), NO_CAPABILITIES.as_ptr().addr());
    call(libc::SYS_capset, [header, none, 0, 0, 0]).map(drop)
}

/// Writes `LISTEN_PID=` and the number, with a NUL at the end. Formatting the number allocates
/// nothing.
fn name_pid(mut text: &mut [u8], pid: usize) {
    // There is room for any pid.
    let _ = write!(text, "LISTEN_PID={pid}\0");
}

/// The array of pointers for `execve`, with a null pointer at the end.
fn pointers(words: &[CString]) -> Vec<*const c_char> {
    words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
}

/// Converts a number that is not negative to an argument of a system call.
const fn argument(number: c_int) -> usize {
    number as usize
}

/// Makes a system call, and returns its error number on failure. Every address among the arguments
/// must be valid for that call.
fn call(number: c_long, arguments: [usize; 5]) -> Result<usize, i32> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the kernel reads and writes only what the arguments point to. The callers, which are
    // all in this file, pass addresses that are valid for the call.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    usize::try_from(result).map_err(|_| Errno::last_raw())
}
