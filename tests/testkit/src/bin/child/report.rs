//! Reports what a process inherits: arguments, environment, ids and descriptors.

use std::collections::BTreeMap;
use std::fs;

use nix::unistd::{getegid, geteuid, getgroups, getpgrp, getpid, getppid, getsid};
use serde_json::{Value, json};
use testkit::event::now;

/// The inherited values, read before this program opens any descriptor.
pub(crate) struct Given {
    descriptors: BTreeMap<i32, String>,
    args: Vec<String>,
}

impl Given {
    /// Reads the values at the start. The first word of the command line is the name of the
    /// process, and not an argument.
    pub(crate) fn at_start(args: &[String]) -> Self {
        Self { descriptors: descriptors(), args: args.iter().skip(1).cloned().collect() }
    }

    /// Everything that a supervisor can get wrong: descriptors beside the three standard
    /// descriptors, blocked and ignored signals (without SIGPIPE, which Rust ignores), and a shared
    /// process group. The first word is the time of the fork in ticks of 10 ms.
    pub(crate) fn audit(&self) -> String {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let since = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let set = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap() & !(1 << 12)
        };
        let mut found = Vec::new();
        found.extend(self.descriptors.range(3..).map(|(number, to)| format!("{number}={to}")));
        found.extend((set("SigBlk:") != 0).then(|| format!("blocked {:x}", set("SigBlk:"))));
        found.extend((set("SigIgn:") != 0).then(|| format!("ignored {:x}", set("SigIgn:"))));
        found.extend((getpgrp() != getpid()).then(|| format!("group {}", getpgrp())));
        format!("{since} {}", found.join(" "))
    }

    /// Writes the report atomically.
    pub(crate) fn write(&self, path: &str) {
        let groups: Vec<u32> = getgroups().unwrap().into_iter().map(|gid| gid.as_raw()).collect();
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let report: Value = json!({
            "args": self.args,
            "env": environment,
            "uid": geteuid().as_raw(),
            "gid": getegid().as_raw(),
            "groups": groups,
            "cwd": std::env::current_dir().unwrap(),
            "fds": self.descriptors,
            "pid": std::process::id(),
            "ppid": getppid().as_raw(),
            "pgid": getpgrp().as_raw(),
            "sid": getsid(None).unwrap().as_raw(),
        });
        // The name needs the time: copies of a process write to the same path, and may have the
        // same PID in separate containers.
        let unfinished = format!("{path}.{}.new", now().as_nanos());
        fs::write(&unfinished, report.to_string()).unwrap();
        fs::rename(unfinished, path).unwrap();
    }
}

/// The targets of the open descriptors, without the descriptor that reads the directory.
fn descriptors() -> BTreeMap<i32, String> {
    // Without /proc the list is empty. Tests that check the list have a /proc.
    fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?.display().to_string()))
        })
        .filter(|(_, target)| !target.ends_with("/fd"))
        .collect()
}
