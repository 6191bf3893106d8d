//! Plays random drains of real servers, and compares the report with the results of the clients.

use crate::support::*;

/// The number of schedules that play at the same time. Each has up to three servers, and mostly
/// waits.
const AT_ONCE: usize = 4;

// holds: S360, S361, S431, S504
#[test]
fn every_answer_that_a_stop_cuts_is_in_the_report() {
    if !namespace::is_possible() {
        return;
    }
    let seeds = std::env::var("DRAINIT_RANDOM_DRAINS").unwrap_or_else(|_| "1-24".to_owned());
    let (first, last) = seeds.split_once('-').expect("DRAINIT_RANDOM_DRAINS is such as 1-24");
    let seeds: Vec<u32> = (first.parse().unwrap()..=last.parse().unwrap()).collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drain/random.py");
    for seeds in seeds.chunks(AT_ONCE) {
        in_parallel(seeds.iter().copied(), |seed| {
            let mut command = Command::new("python3");
            command.arg("-B").arg(&script).arg(env!("CARGO_BIN_EXE_drainit"));
            let output = command.arg(seed.to_string()).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
        });
    }
}
