use super::*;
use crate::spec::tests::{process, spec};

// holds: S75, S76, S77, S78, S218
#[test]
fn a_step_gets_what_later_steps_do_not_keep() {
    let s = Duration::from_secs;
    for (steps, kept, limit, keeps, left, granted) in [
        (1, 5, 10, 10, 20, 10),
        (1, 5, 10, 10, 12, 7),
        (1, 10, 28, 10, 28, 18),
        (1, 20, 28, 10, 28, 8),
        (1, 3600, 28, 10, 28, 10),
        (1, 10, 10, 10, 10, 5),
        (2, 20, 20, 20, 12, 4),
        (1, 10, 10, 10, 0, 0),
        (0, 0, 3600, 3600, 28, 28),
    ] {
        let times = Times { kept: s(kept), ..Times::default() };
        let later = Path { steps, times };
        let is = later.grants(s(limit), s(keeps), Some(s(left)));
        assert_eq!(is, s(granted), "{later:?} {limit} {keeps} {left}");
    }
}

const DRAIN: DrainSpec = DrainSpec {
    time: None,
    min: Duration::ZERO,
    closes: false,
    by_kernel: false,
    exit_at: 0,
    signal: None,
};

/// A process that stops within so many seconds.
fn stops(seconds: u64, dependencies: &[ProcessId]) -> ProcessSpec {
    ProcessSpec { stop: Some(Duration::from_secs(seconds)), ..process(dependencies) }
}

#[test]
fn the_keeper_is_the_dependency_that_keeps_the_most_time() {
    let [a, b, app] = [0, 1, 2].map(ProcessId);
    let s = Duration::from_secs;
    for (times, dependencies, keeper, kept) in [
        ([3, 5], [a, b], b, 5),
        ([5, 3], [a, b], a, 5),
        ([3, 5], [b, a], b, 5),
        ([5, 3], [b, a], a, 5),
    ] {
        let processes = vec![stops(times[0], &[]), stops(times[1], &[]), stops(1, &dependencies)];
        let spec = spec(processes);
        let found = Budget::of(&spec).keeper(&spec, app);
        assert_eq!(found, Some((Some(keeper), s(kept))), "{times:?} {dependencies:?}");
    }
}

#[test]
fn the_unready_delay_leaves_the_time_after_the_drain_with_the_longest_path() {
    let drained = |of: ProcessSpec| ProcessSpec { drain: Some(DRAIN), ..of };
    let [one, two, three] = [0, 1, 2].map(ProcessId);
    let long = |below| drained(stops(4, &[below]));
    let short = || drained(stops(4, &[]));
    for processes in [
        vec![stops(4, &[]), stops(4, &[one]), long(two), short()],
        vec![short(), stops(4, &[]), stops(4, &[two]), long(three)],
    ] {
        let spec = Spec { unready_delay: Duration::from_secs(60), ..spec(processes) };
        let delay = Budget::of(&spec).unready_delay(&spec, spec.window);
        assert_eq!(delay, spec.window - LEAST_STOP * 3, "{:?}", spec.order);
    }
}

#[test]
fn a_hook_without_a_time_before_the_drains_uses_what_the_later_steps_do_not_keep() {
    let s = Duration::from_secs;
    let spec = spec(vec![stops(5, &[])]);
    let budget = Budget::of(&spec);
    for (left, granted) in [(28, 10), (12, 7), (7, 2), (5, 1), (3, 1), (1, 0)] {
        assert_eq!(budget.before_drains(HookWait::DEFAULT, s(left)), s(granted), "{left}");
    }
}

#[test]
fn a_short_drain_below_keeps_only_the_time_of_the_drain() {
    let ms = Duration::from_millis;
    let on = ProcessId(0);
    for (time, kept) in [(200, 200), (1000, 1000), (5000, 1000)] {
        let below = DrainSpec { time: Some(ms(time)), ..DRAIN };
        let below = ProcessSpec { drain: Some(below), ..stops(0, &[]) };
        let above = ProcessSpec { drain: Some(DRAIN), ..stops(0, &[on]) };
        let spec = spec(vec![below, above]);
        let longest = Budget::of(&spec).longest_drain(&spec, ProcessId(1));
        assert_eq!(longest, spec.window - ms(kept), "{time}");
    }
}

#[test]
fn a_count_without_a_deadline_is_as_long_in_a_short_window() {
    let drain = DrainSpec { by_kernel: true, ..DRAIN };
    let of = ProcessSpec { drain: Some(drain), ..process(&[]) };
    let budget_of = |window| Spec { window, ..spec(vec![of.clone()]) };
    for window in [MIN_CLOSING, MIN_CLOSING * 4, MIN_CLOSING * 40] {
        let spec = budget_of(window);
        let budget = Budget::of(&spec);
        assert_eq!(budget.closing(&spec, ProcessId(0), None), MIN_CLOSING, "{window:?}");
        let left = Some(MIN_CLOSING);
        assert_eq!(budget.closing(&spec, ProcessId(0), left), MIN_CLOSING / 4, "{window:?}");
    }
}

// holds: S218
#[test]
fn ends_free_time_if_a_path_declares_too_much_and_any_process_has_another_step() {
    let drained =
        |seconds, below: &[_]| ProcessSpec { drain: Some(DRAIN), ..stops(seconds, below) };
    let on = ProcessId(0);
    for (processes, frees) in [
        (vec![stops(20, &[]), stops(20, &[on]), stops(1, &[])], false),
        (vec![drained(20, &[]), stops(20, &[on]), stops(1, &[])], true),
        (vec![stops(20, &[]), drained(20, &[on]), stops(1, &[])], true),
        (vec![stops(20, &[]), stops(20, &[on]), drained(1, &[])], true),
        (vec![drained(10, &[]), drained(10, &[on]), drained(1, &[])], false),
        // The path that declares too much comes first or last.
        (vec![stops(1, &[]), drained(1, &[on]), stops(30, &[])], true),
        (vec![drained(30, &[]), stops(1, &[]), stops(1, &[])], true),
    ] {
        let spec = spec(processes);
        let times: Vec<_> = spec.processes.iter().map(|of| (of.stop, of.is_drained())).collect();
        assert_eq!(Budget::of(&spec).ends_free_time, frees, "{times:?}");
    }
}
