//! Checks how an ELF file is loaded, with the readelf of the linker's package.

use std::path::Path;
use std::process::Command;

use regex_lite::Regex;

/// Asserts that a file is a static PIE with full RELRO. The kernel can load it at any address,
/// without a loader or a library; each page is either writable or executable; and relocation data
/// does not stay writable.
#[track_caller]
pub(crate) fn assert_hardened(path: &Path) {
    let mut readelf = Command::new("readelf");
    let output = readelf.args(["--wide", "--segments", "--dynamic"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for (pattern, is_wanted, why) in [
        (r"Elf file type is DYN ", true, "a fixed address"),
        (r"(?m)^ *INTERP ", false, "a loader"),
        (r"(?m)^ *GNU_RELRO ", true, "no RELRO"),
        (r"(?m)^ *LOAD .* RWE ", false, "writable code"),
        (r"\(FLAGS\) .*BIND_NOW", true, "only partial RELRO"),
    ] {
        let is_there = Regex::new(pattern).unwrap().is_match(&text);
        assert_eq!(is_there, is_wanted, "{} has {why}:\n{text}", path.display());
    }
}
