//! Plays random graphs in both modes, safety and liveness. A test that fails prints the seed. These
//! commands play seed 42 again, and print all of its steps:
//!
//! ```text
//! DRAINIT_SIM_SEED=42 cargo test -p drainit-core tests::safety -- --nocapture
//! DRAINIT_SIM_SEED=42 cargo test -p drainit-core tests::liveness -- --nocapture
//! ```
//!
//! `make simulate` plays more than the default of 10,000 seeds for each mode.

use crate::count::breaches;
use crate::*;

/// Seeds that have once shown a breach of a promise, or a mistake of the simulation itself. Most of
/// them are larger than the seeds that `cargo test` plays. If the generator changes, a seed gives
/// another schedule. Therefore a breach that is hard to find again also has a case in `cases.rs`.
const FAILED: &[u64] = &[
    5_350, 10_976, 13_000, 17_633, 48_919, 53_220, 65_526, 71_516, 73_701, 79_336, 100_691,
    155_439, 207_606, 216_139, 313_245, 368_462, 380_553, 427_783, 482_932, 511_144, 524_825,
    541_900, 733_261, 815_866, 818_183, 826_145, 827_239, 848_681, 909_046, 1_040_371, 1_103_522,
    1_123_265, 1_182_730, 1_304_452, 1_353_629, 1_445_400, 1_603_843, 1_624_034, 1_673_765,
    1_998_072, 2_109_652, 2_144_429, 2_244_741, 2_307_893, 2_441_234, 2_735_350, 2_805_046,
    3_277_115, 3_585_392, 3_610_291, 3_616_911, 3_682_421, 3_730_674, 3_807_073, 3_903_693,
    4_340_865, 4_357_070, 4_529_269, 4_529_544, 4_588_601, 4_755_865, 4_796_940, 4_955_626,
    4_982_766, 4_989_017, 5_108_312, 6_019_203, 6_086_966,
];

#[test]
fn safety_every_promise_holds_at_every_step() {
    play_all("safety", Scenario::new);
}

#[test]
fn liveness_without_further_faults_every_stop_ends_in_order_and_in_time() {
    play_all("liveness", Scenario::live);
}

/// All actions of a run, with their times, but without the cause of the shutdown. `None` if nobody
/// has asked for the shutdown.
fn asked_actions(scenario: &Scenario) -> Option<Vec<(Time, Action)>> {
    let (mut all, mut is_asked) = (Vec::new(), true);
    let played = watch(scenario, &mut |at, seen| {
        let Seen::Action(action) = seen else { return };
        let mut action = action.clone();
        if let Action::Note(Note::ShutdownBegan { cause, .. }) = &mut action {
            is_asked = cause.is_asked();
            *cause = Cause::ShutdownRequested;
        }
        all.push((at, action));
    });
    played.unwrap();
    is_asked.then_some(all)
}

// holds: S722
#[test]
fn a_requested_shutdown_does_what_sigterm_does() {
    let mut compared = 0;
    let runs = number("DRAINIT_SIM_RUNS").unwrap_or(1000).min(1000);
    for seed in 0..runs {
        let mut term = Scenario::new(seed);
        let first = (Duration::from_millis(seed * 7 % 5000), Signal::TERM);
        term.signals.retain(|(at, signal)| *signal == Signal::USR1 || *at > first.0);
        if !term.spec.stop_signals.contains(&Signal::TERM) || term.stopped_before_start {
            continue;
        }
        // Otherwise, a start could bring a stop signal that comes earlier.
        term.starts.left_out = u64::MAX;
        let mut requested = term.clone();
        term.signals.insert(0, first);
        requested.requests.insert(0, (first.0, Event::ShutdownRequested));
        // A further request changes nothing.
        let again = first.0 + Duration::from_millis(seed % 3000);
        requested.requests.push((again, Event::ShutdownRequested));
        let done = asked_actions(&requested);
        compared += usize::from(done.is_some());
        assert_eq!(done, asked_actions(&term), "{seed}");
    }
    assert!(compared as u64 * 4 > runs, "{compared}");
}

/// Reads a number from an environment variable; `None` if the variable is not set.
pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Plays the [`FAILED`] seeds, and as many others as `DRAINIT_SIM_RUNS` says. If `DRAINIT_SIM_SEED`
/// is set, plays only that seed, and prints all of its steps.
fn play_all(mode: &str, scenario: impl Fn(u64) -> Scenario + Copy + Sync) {
    if let Some(seed) = number("DRAINIT_SIM_SEED") {
        let scenario = scenario(seed);
        eprintln!("{scenario:#?}\n{}", story(&scenario));
        run(&scenario).unwrap();
        return;
    }
    let seeds = 0..number("DRAINIT_SIM_RUNS").unwrap_or(10_000);
    let failed = FAILED.iter().filter_map(|&seed| run(&scenario(seed)).err());
    let broken: Vec<_> = failed.chain(breaches(seeds, scenario)).collect();
    if let [first, ..] = &broken[..] {
        let seeds: Vec<_> = broken.iter().map(|it| (it.seed, it.why)).take(100).collect();
        let scenario = scenario(first.seed);
        panic!(
            "{mode}: {first:?}\n{:#?}\n{}\nthese seeds are broken: {seeds:?}",
            scenario.spec,
            story(&scenario)
        );
    }
}

/// All steps of a run, each on its own line with its time.
fn story(scenario: &Scenario) -> String {
    let mut story = String::new();
    let _ = watch(scenario, &mut |at, seen| {
        story.push_str(&format!("{:>12.3} {seen:?}\n", at.0.as_secs_f64() - 1000.0));
    });
    story
}
