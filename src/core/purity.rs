//! Checks the sources of the pure rooms: no clock, no system calls, no async, no environment.

use std::fs;
use std::path::Path;

/// Names of the outside world.
const IMPURE: [&str; 12] = [
    "tokio",
    "nix::",
    "libc::",
    "std::process",
    "std::env",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Instant",
    "SystemTime",
    "thread",
];
/// Names of what changes behind a shared reference, as in a static. The simulation only watches.
const SHARED: [&str; 4] = ["Cell", "Mutex", "Atomic", "Lock<"];

#[test]
fn pure_rooms_do_not_name_the_outside_world() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![root.join("graph.rs"), root.join("exec/machine.rs")];
    for directory in ["types", "config", "core", "core/phase", "plan", "report", "simulation"] {
        let entries = fs::read_dir(root.join(directory)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let mut checked = 0;
    for file in files.iter().filter(|file| {
        file.is_file()
            && !["purity.rs", "tests.rs", "page_tests.rs", "agreement.rs"]
                .iter()
                .any(|name| file.ends_with(name))
    }) {
        checked += 1;
        let text = fs::read_to_string(file).unwrap();
        let tests = text.find("\nmod tests {");
        let code = text[..tests.unwrap_or(text.len())]
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let shared = if file.starts_with(root.join("simulation")) { &[][..] } else { &SHARED };
        for (number, line) in code.enumerate() {
            for word in IMPURE.iter().chain(shared) {
                assert!(
                    !line.contains(word),
                    "{}: code line {}: {line}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
    assert!(checked >= 30, "only {checked} files were found");
}
