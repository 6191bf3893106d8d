//! The two steps between the driver and the init: `door` makes the namespaces and waits for PID 1,
//! and `stage`, which is PID 1 already, prepares the file system, the user and the descriptors, and
//! becomes the init.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{
    AccessFlags, Gid, Uid, access, fchown, getgid, getuid, setgid, setgroups, setsid, setuid,
};

use crate::wire::Lines;
use crate::{proc, sys};

/// A user that no machine has.
const OTHER: u32 = 54321;

/// `door SOCKET OPTIONS… -- INIT…`
pub fn door(program: &str, arguments: &[String]) -> i32 {
    let Some((socket, _)) = arguments.split_first() else { return 2 };
    let Ok(mut lines) = Lines::connect(socket) else { return 2 };
    let child = set_pdeathsig(Signal::SIGKILL)
        .map_err(io::Error::from)
        .and_then(|()| namespaces())
        .map_err(|error| format!("no PID namespace is permitted here: {error}"))
        .and_then(|()| {
            let mut stage = Command::new(program);
            stage.arg("stage").args(arguments).spawn().map_err(|error| error.to_string())
        });
    match child {
        Ok(mut child) => {
            lines.send(&format!("pid {}", child.id()));
            let status = child.wait().map_or(0, ExitStatusExt::into_raw);
            lines.send(&format!("ended {status}"));
            0
        }
        Err(why) => {
            lines.send(&why);
            1
        }
    }
}

/// The next child is PID 1. Without root, a user namespace makes this process root.
fn namespaces() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    if uid.is_root() && unshare(CloneFlags::CLONE_NEWPID).is_ok() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)?;
    map(0, uid.as_raw(), gid.as_raw())
}

/// Says which user outside this user and group of the new namespace are.
fn map(inside: u32, uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{inside} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{inside} {gid} 1"))
}

/// `stage SOCKET OPTIONS… -- INIT…`
pub fn stage(arguments: &[String]) -> i32 {
    let Some(end) = arguments.iter().position(|word| word == "--") else { return 2 };
    let (options, command) = (&arguments[1..end], &arguments[end + 1..]);
    let why = match prepare(options, command) {
        Ok(()) => {
            let closed = if options.iter().any(|option| option == "closed") { 0 } else { 3 };
            (closed..3).for_each(close);
            Command::new(&command[0]).args(&command[1..]).exec()
        }
        Err(error) => error,
    };
    if let Ok(mut lines) = Lines::connect(&arguments[0]) {
        lines.send(&format!("cannot start the init so: {why}"));
    }
    1
}

fn close(fd: i32) {
    let _ = nix::unistd::close(fd);
}

/// Gives the init what a container runtime gives it: default signals, and no descriptor but 0, 1
/// and 2.
fn clean() -> io::Result<()> {
    sys::default_signals();
    SigSet::empty().thread_set_mask()?;
    let more =
        proc::descriptors().unwrap_or_default().into_iter().map(|(fd, _)| fd).filter(|fd| *fd > 2);
    more.for_each(close);
    Ok(())
}

fn prepare(options: &[String], command: &[String]) -> io::Result<()> {
    let has = |name: &str| options.iter().any(|option| option == name);
    clean()?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)
        .map_err(|error| io::Error::other(format!("/proc cannot be mounted: {error}")))?;
    if has("read-only") {
        read_only()?;
    }
    if has("terminal") {
        setsid()?;
        // The first terminal that the leader of a session opens is the terminal of the session.
        fs::OpenOptions::new().read(true).write(true).open("/proc/self/fd/0")?;
    }
    if let Some(count) =
        options.iter().find_map(|option| option.strip_prefix("tasks=")?.parse().ok())
    {
        setrlimit(Resource::RLIMIT_NPROC, count, count)?;
    }
    if has("other-user") {
        become_other_user()?;
        let program = command.iter().rev().nth(3).map_or("", String::as_str);
        access(program, AccessFlags::X_OK)
            .map_err(|_| io::Error::other(format!("user {OTHER} may not execute {program}")))?;
    }
    if has("without-proc") {
        mount(Some("none"), "/proc", Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>)?;
    }
    // A change of the user would forget this.
    Ok(set_pdeathsig(Signal::SIGKILL)?)
}

/// Real root becomes the user. Below a user namespace, whose map has one user, a second namespace
/// gives this user the other number.
fn become_other_user() -> io::Result<()> {
    let is_mapped = |text: String| text.split_whitespace().nth(2) != Some("1");
    if fs::read_to_string("/proc/self/uid_map").is_ok_and(is_mapped) {
        // Like a container runtime, gives the streams to the user, who may open them by name.
        for stream in [io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()] {
            let _ = fchown(stream, Some(Uid::from_raw(OTHER)), Some(Gid::from_raw(OTHER)));
        }
        setgroups(&[])?;
        setgid(Gid::from_raw(OTHER))?;
        return Ok(setuid(Uid::from_raw(OTHER))?);
    }
    unshare(CloneFlags::CLONE_NEWUSER)?;
    map(OTHER, 0, 0)
}

/// Makes every mount read-only, except `/tmp`, `/run`, `/dev` and `/proc`, as `podman run
/// --read-only` does.
fn read_only() -> io::Result<()> {
    const WRITABLE: [&str; 4] = ["/tmp", "/run", "/dev", "/proc"];
    for place in &WRITABLE[..2] {
        if fs::exists(place)? {
            mount(
                Some(*place),
                *place,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
        }
    }
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let [_, _, _, _, place, options, ..] = fields[..] else { continue };
        let place = place.replace("\\040", " ");
        let is_below =
            |parent: &&str| place == **parent || place.starts_with(&format!("{parent}/"));
        if WRITABLE.iter().any(is_below) {
            continue;
        }
        let flag = |option: &str| match option {
            "nosuid" => MsFlags::MS_NOSUID,
            "nodev" => MsFlags::MS_NODEV,
            "noexec" => MsFlags::MS_NOEXEC,
            "noatime" => MsFlags::MS_NOATIME,
            "nodiratime" => MsFlags::MS_NODIRATIME,
            "relatime" => MsFlags::MS_RELATIME,
            _ => MsFlags::empty(),
        };
        let kept = options.split(',').fold(MsFlags::empty(), |kept, option| kept | flag(option));
        let flags = kept | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let result = mount(None::<&str>, place.as_str(), None::<&str>, flags, None::<&str>);
        // A mount below another one cannot be reached, so nobody can write to it.
        if place == "/" {
            result?;
        }
    }
    Ok(())
}
