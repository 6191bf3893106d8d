//! Replays the corpus, and mutates it. Every run has the same inputs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::fuzzing::{NEXT, TARGETS, Target};
use crate::testing::random::Random;

/// Words that have a meaning for one of the parsers.
const WORDS: &str = "\n¦\0¦- ¦: ¦\"¦'¦${A:-¦}¦&a ¦*a¦\n  ¦--¦\r\n¦999999999999999999999¦\u{e9}";
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
    let mut bytes = random.pick(corpus);
    for _ in 0..=random.below(4) {
        let at = random.index(bytes.len() + 1);
        let end = bytes.len().min(at + random.index(12));
        let new = match random.below(9) {
            0 | 1 => Vec::new(),
            2 | 3 => {
                let other = random.pick(corpus);
                let from = random.index(other.len() + 1);
                other[from..other.len().min(from + random.index(80))].to_vec()
            }
            4 | 5 => random.part(WORDS).into(),
            6 => vec![NEXT],
            _ => vec![u8::try_from(random.below(256)).unwrap()],
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
