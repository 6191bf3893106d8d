//! The effect that a signal would have on a process, from `/proc/PID/status` (proc(5)).

use std::fs;

use crate::Pid;
use crate::descendants::is_proc_ours;
use drainit_core::types::{Disposition, Signal};

/// The signals that do not end a process that has no handler for them (signal(7)): SIGCHLD,
/// SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG and SIGWINCH.
const HARMLESS: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];

/// The effect that this signal would have on the process. `None` if the process does not exist, or
/// without a `/proc` of drainit's PID namespace. Also `None` for SIGKILL, which no process can
/// catch.
pub fn disposition(pid: Pid, signal: Signal) -> Option<Disposition> {
    if signal == Signal::KILL || !is_proc_ours() {
        return None;
    }
    // The name of the program need not be UTF-8.
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let effect = parse(&String::from_utf8_lossy(&status), signal)?;
    // While a thread waits in sigtimedwait(2), the kernel takes the signals that the thread waits for
    // out of its mask (kernel/signal.c, do_sigtimedwait), so the thread seems to miss them. tini
    // waits so.
    let is_missed = matches!(effect, Disposition::Ignored | Disposition::Fatal);
    Some(if is_missed && waits_in(pid, "do_sigtimedwait") { Disposition::Caught } else { effect })
}

/// Whether the main thread of a process waits in this function of the kernel (proc(5), `wchan`).
/// `false` if drainit may not see that.
pub(crate) fn waits_in(pid: Pid, function: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|at| at.starts_with(function))
}

fn parse(status: &str, signal: Signal) -> Option<Disposition> {
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let has = |set: &str| {
        let bits = u64::from_str_radix(field(set)?, 16).ok()?;
        Some(bits >> (signal.number() - 1) & 1 == 1)
    };
    let is_alone = field("Threads")? == "1";
    // The first process of a PID namespace gets no signal that it does not catch.
    let is_init = field("NSpid").is_some_and(|pids| pids.ends_with("\t1"));
    Some(if is_alone && field("VmSize").is_none() {
        Disposition::Exiting
    } else if has("SigCgt")? || !has("SigIgn")? && has("SigBlk")? {
        // A shell that starts a program blocks for a moment also the signals that it ignores.
        Disposition::Caught
    } else if has("SigIgn")? || is_init || HARMLESS.contains(&signal.number()) {
        Disposition::Ignored
    } else {
        Disposition::Fatal
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that ignores SIGHUP, blocks SIGUSR1 and catches SIGTERM.
    const STATUS: &str = "Name:\tSigCgt: x\nState:\tS (sleeping)\nNSpid:\t7\nVmSize:\t  9 kB\n\
                          Threads:\t1\nSigBlk:\t0000000000000200\nSigIgn:\t0000000000000001\n\
                          SigCgt:\t0000000000004000\n";

    #[test]
    fn disposition_comes_from_the_masks_of_the_process() {
        let of = |status: &str, signal| parse(status, signal);
        let inner = STATUS.replace("NSpid:\t7", "NSpid:\t7\t1");
        let ignores = STATUS.replace("SigIgn:\t0000000000000001", "SigIgn:\t0000000000000200");
        let no_map = STATUS.replace("VmSize:\t  9 kB\n", "");
        // The main thread has ended, and another thread may still work.
        let threads = no_map.replace("Threads:\t1", "Threads:\t2");
        for (status, signal, expected) in [
            (STATUS, "TERM", Disposition::Caught),
            (STATUS, "USR1", Disposition::Caught),
            (STATUS, "HUP", Disposition::Ignored),
            (STATUS, "INT", Disposition::Fatal),
            (STATUS, "RTMAX", Disposition::Fatal),
            (STATUS, "WINCH", Disposition::Ignored),
            (&ignores, "USR1", Disposition::Ignored),
            (&inner, "INT", Disposition::Ignored),
            (&inner, "TERM", Disposition::Caught),
            (&no_map, "TERM", Disposition::Exiting),
            (&threads, "TERM", Disposition::Caught),
        ] {
            assert_eq!(of(status, Signal::parse(signal).unwrap()), Some(expected), "{signal}");
        }
        for broken in ["", "Threads:\t1\nVmSize:\t1\n", "Threads:\t1\nVmSize:\t1\nSigCgt:\tx\n"] {
            assert_eq!(of(broken, Signal::TERM), None, "{broken}");
        }
        let own = std::process::id().cast_signed();
        assert!(disposition(own, Signal::TERM).is_some());
        assert_eq!(disposition(own, Signal::KILL), None);
        assert_eq!(disposition(Pid::MAX, Signal::TERM), None);
    }
}
