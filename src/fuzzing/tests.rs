//! Replays the corpus, and mutates it. Every run has the same inputs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::fuzzing::{NEXT, TARGETS, Target};
use crate::testing::random::Random;

/// Words that have a meaning for one of the parsers.
const WORDS: [&[u8]; 16] = [
    b"\n",
    b"\0",
    b"- ",
    b": ",
    b"\"",
    b"'",
    b"${A:-",
    b"}",
    b"&a ",
    b"*a",
    b"\n  ",
    b"--",
    b"\r\n",
    b"999999999999999999999",
    b"\xc3\xa9",
    &[NEXT],
];
const LONGEST: usize = 2000;
/// The maximum CPU time for one input, in a build without optimization.
const PATIENCE: Duration = Duration::from_secs(5);

/// The inputs of a target. `tests/fuzz/run.sh` packs the file, and describes its format.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let packed = std::fs::read(directory.join(name)).unwrap();
    let (mut rest, mut inputs) = (&packed[..], Vec::new());
    while !rest.is_empty() {
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let (_, length) = str::from_utf8(&rest[..line]).unwrap().split_once(' ').unwrap();
        let end = line + 1 + length.parse::<usize>().unwrap();
        inputs.push(rest[line + 1..end].to_vec());
        rest = rest[end..].strip_prefix(b"\n").unwrap();
    }
    inputs
}

/// An input with one to four changes. A change removes a part, or replaces it by a part of another
/// input, a word or a byte.
fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut below = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    let mut bytes = corpus[below(corpus.len())].clone();
    for _ in 0..=below(4) {
        let at = below(bytes.len() + 1);
        let end = bytes.len().min(at + below(12));
        let other = &corpus[below(corpus.len())];
        let from = below(other.len() + 1);
        let new = match below(4) {
            0 => Vec::new(),
            1 => other[from..other.len().min(from + below(80))].to_vec(),
            2 => WORDS[below(WORDS.len())].to_vec(),
            _ => vec![u8::try_from(below(256)).unwrap()],
        };
        bytes.splice(at..end, new);
    }
    bytes.truncate(LONGEST);
    bytes
}

/// The CPU time of this thread, which does not depend on the load of the machine.
fn used() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[track_caller]
fn run(name: &str, target: Target, bytes: &[u8]) {
    let before = used();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(bytes))) {
        let message = panic.downcast_ref::<String>().map_or("", String::as_str);
        panic!("{name} fails with b\"{}\": {message}", bytes.escape_ascii());
    }
    assert!(used() - before < PATIENCE, "{name} takes long with b\"{}\"", bytes.escape_ascii());
}

#[test]
fn inputs_neither_panic_nor_hang() {
    let runs = std::env::var("DRAINIT_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok());
    std::thread::scope(|scope| {
        for (name, target) in TARGETS {
            scope.spawn(move || {
                let corpus = corpus(name);
                corpus.iter().for_each(|bytes| run(name, target, bytes));
                let mut random = Random(1);
                for _ in 0..runs.unwrap_or(1000) {
                    run(name, target, &mutated(&mut random, &corpus));
                }
            });
        }
    });
}
