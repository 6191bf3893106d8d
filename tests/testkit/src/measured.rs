//! Writes the results of a bench into its page of the docs, with the machine and the version.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use crate::envoy::checkout;

/// Replaces the named parts of a page. Each part is between two marks, and the first mark has its
/// name. The rest of the page is written by hand.
pub fn write_page(page: &str, command: &str, parts: &[(&str, String)]) {
    let path = checkout().join("docs/measured").join(page);
    let mut text = fs::read_to_string(&path).unwrap();
    for (name, part) in parts {
        let (begin, end) = (format!("<!-- {command}: {name} -->\n"), "<!-- end -->\n");
        let (before, rest) = text.split_once(&begin).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        text = format!("{before}{begin}\n{}\n\n{end}{after}", part.trim());
    }
    fs::write(path, text).unwrap();
}

/// Returns the cores, the processor and the kernel of this machine.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release: Vec<_> = kernel.trim().splitn(3, '.').take(2).collect();
    let cores = available_parallelism().map_or(1, usize::from);
    format!("{cores} cores ({model}), Linux {}", release.join("."))
}

/// Returns the version of this drainit.
pub fn version(drainit: &Path) -> String {
    let output = Command::new(drainit).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().trim().trim_start_matches("drainit ").to_owned()
}
