//! Facts of `/proc` about a process.

use std::fs;
use std::path::Path;

/// The field of `/proc/PID/status`; `None` if the process is gone.
pub fn status(pid: i32, field: &str) -> Option<String> {
    find(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, field)
}

/// The value of a field in the text of a `status` file.
pub fn find(text: &str, field: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

/// The letter of the state, such as `S` or `Z`; `None` if the process is gone.
pub fn state(pid: i32) -> Option<char> {
    status(pid, "State")?.chars().next()
}

/// The signals of a set such as `SigBlk`, as bits: bit 0 is signal 1.
pub fn signals(pid: i32, field: &str) -> u64 {
    status(pid, field).map_or(0, |hex| set(&hex))
}

/// A set of signals in hexadecimal digits.
pub fn set(hex: &str) -> u64 {
    u64::from_str_radix(hex.trim(), 16).unwrap_or(0)
}

/// Whether a set has a signal.
pub fn has(set: u64, signal: i32) -> bool {
    set & (1 << (signal - 1)) != 0
}

/// The name of a signal, such as `SIGTERM` or `signal 37`.
pub fn signal_name(signal: i32) -> String {
    let name = nix::sys::signal::Signal::try_from(signal).map(|signal| signal.as_str().to_owned());
    name.unwrap_or_else(|_| format!("signal {signal}"))
}

/// The names of the signals in a set, for a reader.
pub fn list(set: u64) -> String {
    let names = (1..=64).filter(|signal| has(set, *signal)).map(signal_name);
    names.collect::<Vec<_>>().join(", ")
}

/// The path of the program that the process executes.
pub fn program(pid: i32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.to_string_lossy().into_owned())
}

/// Whether the process has a child.
pub fn has_child(pid: i32) -> bool {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.is_ok_and(|list| !list.trim().is_empty())
}

/// How often the threads of a process have got a processor.
pub fn switches(pid: i32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let texts = threads
        .flatten()
        .map(|thread| fs::read_to_string(thread.path().join("status")).unwrap_or_default());
    let count = |text: String| {
        let fields = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"];
        fields.iter().filter_map(|field| find(&text, field)?.parse::<u64>().ok()).sum::<u64>()
    };
    texts.map(count).sum()
}

/// The open descriptors of this process with what they lead to, without the one that lists them.
pub fn descriptors() -> Option<Vec<(i32, String)>> {
    let names = fs::read_dir("/proc/self/fd").ok()?.flatten();
    let mut open: Vec<_> = names
        .filter_map(|entry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((fd, target.to_string_lossy().into_owned()))
        })
        .filter(|(_, target)| !(target.starts_with("/proc/") && target.ends_with("/fd")))
        .collect();
    open.sort_unstable();
    Some(open)
}

/// The name of a process, for a message.
pub fn name(pid: i32) -> String {
    let name = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm"));
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_sets_are_read() {
        let text = "Name:\tx\nSigBlk:\t0000000000004002\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(find(text, "SigBlk").as_deref(), Some("0000000000004002"));
        assert_eq!(find(text, "Sig"), None);
        assert_eq!(find(text, "voluntary_ctxt_switches"), None);
        assert_eq!(list(set("0000000000004002")), "SIGINT, SIGTERM");
        assert!(has(set("4002"), 15) && !has(set("4002"), 14));
    }
}
