//! Whether the SIGTERM that stops a container reaches drainit. The container runtime sends the
//! signal to PID 1. If PID 1 is not drainit, each process between PID 1 and drainit must pass the
//! signal on.
//!
//! The kernel shows whether a process catches SIGTERM. The kernel drops a SIGTERM for PID 1 that PID
//! 1 does not catch. Whether a program passes on what it catches is known only of the programs in
//! this file: dash 0.5.12, bash 5.2, busybox 1.35, mksh, ksh93 and zsh, npm 10.8, make 4.3, sudo
//! 1.9.13, tini 0.19, dumb-init 1.2.5, catatonit and util-linux 2.38 were run as PID 1. drainit does
//! not know what any other program does, and then says nothing.

use std::fmt;
use std::fs;

use crate::Pid;
use crate::descendants::{Stat, is_proc_ours, status_field};
use crate::disposition::{disposition, waits_in};
use drainit_core::types::{Disposition, Signal};

/// At most this many ancestors are read.
const MOST_ANCESTORS: usize = 64;

/// Shells pass no signal on. A shell that has a trap runs the trap only after its command in the
/// foreground has ended. (bash with a trap for EXIT alone ends at once.)
const SHELLS: &[&str] = &["sh", "ash", "bash", "busybox", "dash", "ksh", "ksh93", "mksh", "zsh"];

/// Programs that pass SIGTERM on to the process that they have started, or to its group. `npm` also
/// has the name `npm start` and similar.
const RELAYS: &[&str] = &[
    "catatonit",
    "docker-init",
    "dumb-init",
    "gmake",
    "make",
    "npm",
    "podman-init",
    "sudo",
    "tini",
    "tini-static",
];

/// Programs of util-linux that pass SIGTERM on, and send SIGKILL 2 s later (`su_main` in
/// login-utils/su-common.c).
const KILLERS: &[&str] = &["runuser", "su"];

/// The way in which a process handles SIGTERM, as the kernel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnTerm {
    /// The process has a handler, or reads the signal.
    Catches,
    /// Without a handler. PID 1 then loses the signal, and any other process ends or ignores it.
    Misses,
    Unknown,
}

/// The kind of a process, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Shell,
    Relay,
    Killer,
    Other,
}

impl Kind {
    /// The kind of a process with this `comm` and this first argument. The `comm` of a script is the
    /// name of the script, and its first argument is then the path of the interpreter.
    fn of(comm: &str, program: &str) -> Self {
        let name = |text: &str| {
            let word = text.split(' ').next().unwrap_or_default();
            let word = word.rsplit('/').next().unwrap_or_default();
            word.trim_start_matches('-').to_owned()
        };
        let names = [name(comm), name(program)];
        let is_in = |all: &[&str]| names.iter().any(|name| all.contains(&name.as_str()));
        match () {
            () if is_in(KILLERS) => Self::Killer,
            () if is_in(RELAYS) => Self::Relay,
            () if is_in(SHELLS) => Self::Shell,
            () => Self::Other,
        }
    }
}

/// A process above drainit.
#[derive(Clone, Debug)]
struct Ancestor {
    pid: Pid,
    /// Its `comm`.
    name: String,
    kind: Kind,
    /// Its process group.
    group: Pid,
    on_term: OnTerm,
}

/// How drainit itself was started.
#[derive(Clone, Copy, Debug)]
struct Started {
    group: Pid,
    /// Whether a script has started drainit in the background. Such a process ignores SIGINT and
    /// SIGQUIT.
    in_background: bool,
}

/// The process above drainit at which the container's SIGTERM is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostStop {
    pid: Pid,
    name: String,
    /// Whether the process passes SIGTERM on, but sends SIGKILL soon after.
    kills: bool,
}

impl fmt::Display for LostStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, kills } = self;
        match kills {
            true => write!(
                f,
                "{name} (pid {pid}) will kill drainit 2s after SIGTERM; let drainit change the user \
                 (`user`), or start drainit by `exec setpriv`"
            ),
            false => write!(
                f,
                "SIGTERM will not reach drainit, because {name} (pid {pid}) does not pass it on; \
                 start drainit by `exec`, such as `exec drainit run`"
            ),
        }
    }
}

/// Looks for the process above drainit at which the container's SIGTERM is lost. `None` if there is
/// no such process, or if that is unknown, as without a `/proc` of drainit's PID namespace. Call this
/// before drainit changes how it handles signals.
pub fn find() -> Option<LostStop> {
    let own = std::process::id().cast_signed();
    if own == 1 || !is_proc_ours() {
        return None;
    }
    let stat = Stat::read(own)?;
    let mut above = Vec::new();
    let mut next = stat.parent;
    // The parent of PID 1 is 0. The container runtime has started a process with another PID whose
    // parent is 0, and signals this process itself.
    while next > 0 && above.len() < MOST_ANCESTORS {
        let ancestor = Stat::read(next)?;
        next = ancestor.parent;
        above.push(describe(&ancestor));
    }
    above.reverse();
    // If PID 1 ignores these signals, too, the whole container was started in the background.
    let in_background = ignores_keyboard(own)? && !ignores_keyboard(1)?;
    lost_at(&above, Started { group: stat.process.group, in_background })
        .cloned()
        .map(|Ancestor { pid, name, kind, .. }| LostStop { pid, name, kills: kind == Kind::Killer })
}

/// Whether a process ignores both signals that a terminal sends for a key, SIGINT and SIGQUIT.
fn ignores_keyboard(pid: Pid) -> Option<bool> {
    let ignored = u64::from_str_radix(&status_field(pid, "SigIgn:")?, 16).ok()?;
    let ignores = |signal: Signal| ignored >> (signal.number() - 1) & 1 == 1;
    Some(ignores(Signal::INT) && ignores(Signal::QUIT))
}

fn describe(stat: &Stat) -> Ancestor {
    let (pid, name) = (stat.process.pid, stat.process.name.clone());
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
    let kind = Kind::of(&name, &String::from_utf8_lossy(program));
    let on_term = match disposition(pid, Signal::TERM) {
        Some(Disposition::Caught) => OnTerm::Catches,
        // Another program may be between two calls of sigtimedwait(2), unless it waits for its child.
        Some(Disposition::Ignored | Disposition::Fatal)
            if kind == Kind::Shell || waits_in(pid, "do_wait") =>
        {
            OnTerm::Misses
        }
        _ => OnTerm::Unknown,
    };
    Ancestor { pid, name, kind, group: stat.process.group, on_term }
}

/// The process at which a SIGTERM for PID 1 is lost. `above` has the ancestors of drainit, from PID
/// 1 to the parent.
fn lost_at(above: &[Ancestor], own: Started) -> Option<&Ancestor> {
    let (init, between) = above.split_first()?;
    if init.pid != 1 {
        return None;
    }
    // A script that starts drainit in the background continues meanwhile, and may pass signals on,
    // or stop drainit itself. A program that drainit does not know, such as a test, may do the same.
    if own.in_background || between.iter().any(|one| one.kind == Kind::Other) {
        return None;
    }
    // Only a shell with job control puts its command into a process group of its own: somebody has
    // typed the command, or the script has written `set -m`.
    let groups = above.iter().skip(1).map(|one| one.group).chain([own.group]);
    let mut links = above.iter().zip(groups);
    if links.any(|(one, next)| one.kind == Kind::Shell && one.group != next) {
        return None;
    }
    for one in above {
        match (one.kind, one.on_term) {
            (Kind::Killer, _) | (Kind::Shell | Kind::Other, OnTerm::Misses) => return Some(one),
            (Kind::Shell, OnTerm::Catches) if one.pid == 1 => return Some(one),
            (Kind::Relay, _) => {}
            // drainit does not know what the process does. A shell below an init such as dumb-init
            // may even wait for drainit, because the init sends the signal to the whole group.
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use OnTerm::{Catches, Misses, Unknown};

    /// The ancestors of drainit in a text such as `sh- make+ su?`. The mark says what the process
    /// does with SIGTERM: `-` misses, `+` catches, `?` unknown. A `/` before a name begins a new
    /// process group. `0` in front means that no ancestor is PID 1.
    fn above(text: &str) -> (Vec<Ancestor>, Pid) {
        let (mut pid, mut group) = (1, 1);
        let mut all = Vec::new();
        for word in text.split(' ') {
            let name = word.trim_start_matches('/');
            if name.len() < word.len() {
                group = pid;
            }
            if name == "0" {
                pid = 8;
                continue;
            }
            let Some((name, mark)) = name.split_at_checked(name.len().saturating_sub(1)) else {
                continue;
            };
            if name.is_empty() {
                continue;
            }
            let on_term = match mark {
                "-" => Misses,
                "+" => Catches,
                "?" => Unknown,
                other => panic!("{other}"),
            };
            let (comm, program) = name.split_once('=').unwrap_or((name, ""));
            let kind = Kind::of(comm, program);
            all.push(Ancestor { pid, name: comm.to_owned(), kind, group, on_term });
            pid += 1;
        }
        (all, group)
    }

    // holds: S910, S911
    #[test]
    fn signal_is_lost_only_where_that_is_known() {
        for (chain, expected) in [
            // A script or the shell form of ENTRYPOINT as PID 1.
            ("sh-", Some("sh")),
            ("entrypoint.sh=/bin/sh-", Some("entrypoint.sh")),
            ("entrypoint.sh=/usr/bin/bash+", Some("entrypoint.sh")),
            ("busybox-", Some("busybox")),
            ("sh- sh-", Some("sh")),
            ("entrypoint.sh=/bin/sh- sudo+", Some("entrypoint.sh")),
            // Another program that waits for its child.
            ("python3-", Some("python3")),
            ("python3?", None),
            ("node+", None),
            // Programs that pass the signal on.
            ("make+", None),
            ("make+ sh-", Some("sh")),
            ("npm+", None),
            ("npm+ sh-", Some("sh")),
            ("sudo+", None),
            ("sudo+ sh-", Some("sh")),
            ("su+", Some("su")),
            ("runuser?", Some("runuser")),
            ("sh- su+", Some("sh")),
            ("tini? su+ /sh-", Some("su")),
            // Inits.
            ("tini? /", None),
            ("tini- /", None),
            ("docker-init?", None),
            ("catatonit+", None),
            ("dumb-init+ /", None),
            ("tini? /entry=/bin/sh-", Some("entry")),
            ("dumb-init+ /bash-", Some("bash")),
            ("dumb-init+ /bash+", None),
            ("s6-svscan+ s6-supervise+", None),
            ("systemd+", None),
            ("systemd+ sh-", None),
            ("systemd+ sshd+ bash- make+", None),
            ("systemd+ containerd-shim+ sh-", None),
            ("supervisord+ sh-", None),
            ("drainit+", None),
            ("drainit+ sh-", None),
            // docker exec, and a container of a pod with one PID namespace for all containers.
            ("0", None),
            ("0 sh-", None),
            // Somebody types the command, in the container or on a machine.
            ("bash- /", None),
            ("sh- bash- /", None),
            ("bash- /run.sh=/bin/sh-", None),
            ("systemd+ login+ zsh- /", None),
            ("init- SessionLeader- Relay- bash- /make+", None),
            // Tests, and other programs that stop drainit themselves.
            ("sh- pytest-", None),
            ("make+ cargo- main-", None),
            ("sh- bash- node+", None),
            // Without access to `/proc` of PID 1, which has another user.
            ("entrypoint.sh?", None),
            ("sh?", None),
        ] {
            let (all, group) = above(chain);
            let all = all.as_slice();
            let lost = |own| lost_at(all, own).map(|one| one.name.as_str());
            let own = Started { group, in_background: false };
            assert_eq!(lost(own), expected, "{chain}");
            assert_eq!(lost(Started { in_background: true, ..own }), None, "{chain} &");
        }
        assert_eq!(lost_at(&[], Started { group: 0, in_background: false }).map(|it| it.pid), None);
    }

    #[test]
    fn kind_comes_from_comm_or_first_argument() {
        for (comm, program, expected) in [
            ("sh", "/bin/sh", Kind::Shell),
            ("bash", "-bash", Kind::Shell),
            ("entrypoint.sh", "/bin/ash", Kind::Shell),
            ("npm start", "npm start", Kind::Relay),
            ("npm run x", "", Kind::Relay),
            ("tini", "/usr/bin/tini", Kind::Relay),
            ("su", "su", Kind::Killer),
            ("sushi", "sushi", Kind::Other),
            ("node", "node", Kind::Other),
            ("", "", Kind::Other),
        ] {
            assert_eq!(Kind::of(comm, program), expected, "{comm} {program}");
        }
    }

    // holds: S910
    #[test]
    fn the_message_names_the_process_and_the_remedy() {
        let lost = LostStop { pid: 1, name: "sh".to_owned(), kills: false };
        let text = lost.to_string();
        assert!(
            text.contains("because sh (pid 1)") && text.contains("`exec drainit run`"),
            "{text}"
        );
        let lost = LostStop { pid: 7, name: "su".to_owned(), kills: true };
        assert!(lost.to_string().starts_with("su (pid 7) will kill drainit 2s after SIGTERM"));
    }
}
