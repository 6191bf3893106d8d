//! Promises that hold for the longest shutdown of every graph.

use std::time::Duration;

use crate::scenario::Scenario;
use drainit_core::budget::drain_wish;
use drainit_core::spec::{DrainSpec, ProcessSpec, Spec, Wait};
use drainit_core::types::{ProcessId, StartCondition, Time};
use drainit_journal::timeline::{ShutdownStep, StepKind, Timeline};

/// The random graph of a seed, changed so that every process becomes ready.
fn startable(seed: u64) -> Spec {
    let mut spec = Spec::clone(&Scenario::new(seed).spec);
    for index in 0..spec.processes.len() {
        let mut needs = std::mem::take(&mut spec.processes[index].dependencies);
        for (on, condition) in &mut needs {
            if !spec.processes[on.index()].oneshot {
                *condition = StartCondition::Ready;
            }
        }
        spec.processes[index].dependencies = needs;
        if spec.processes[index].conditional && seed.is_multiple_of(2) {
            spec.processes[index].leave_out();
        }
    }
    spec
}

/// Calls `check` with the longest shutdowns of many graphs. The last argument says whether a stop
/// signal is the cause of the shutdown.
fn for_each(check: impl Fn(&Spec, &Timeline, bool)) {
    for seed in 0..5000 {
        let spec = startable(seed);
        for asked in [true, false] {
            check(&spec, &Timeline::worst(&spec, asked), asked);
            if let Some((_, timeline)) = Timeline::worst_in_oneshot(&spec, asked) {
                check(&spec, &timeline, asked);
            }
        }
    }
}

fn ends(step: &ShutdownStep) -> Time {
    step.ends.unwrap()
}

// holds: S71, S92, S93
#[test]
fn the_critical_path_leads_without_a_gap_from_t0_to_an_end_in_time() {
    for_each(|spec, timeline, _| {
        let story = || format!("{spec:#?}\n{timeline:#?}");
        assert!(timeline.total <= spec.window + spec.after_deadline(), "{}", story());
        let end = timeline.critical_steps().fold(Time::default(), |end, step| {
            assert_eq!(step.begins, end, "{}", story());
            ends(step)
        });
        assert_eq!(end, Time(timeline.total), "{}", story());
        let takes = timeline.critical_steps().map(ShutdownStep::takes);
        assert_eq!(takes.sum::<Duration>(), timeline.total, "{}", story());
    });
}

// holds: S11, S12, C615
#[test]
fn drains_begin_after_the_delay_and_the_hook() {
    for_each(|spec, timeline, _| {
        let is_first = |step: &&ShutdownStep| match step.kind {
            StepKind::ReadinessDelay => true,
            StepKind::PreStop => step.process.is_none(),
            _ => false,
        };
        let steps = timeline.steps.iter().filter(|step| step.kind != StepKind::Count);
        let (first, others): (Vec<&ShutdownStep>, Vec<&ShutdownStep>) = steps.partition(is_first);
        assert!(first.iter().all(|step| step.begins == Time::default()), "{spec:#?}\n{first:#?}");
        let begun = first.into_iter().map(ends).max().unwrap_or_default();
        assert!(others.iter().all(|step| step.begins >= begun), "{spec:#?}\n{timeline:#?}");
    });
}

// holds: S38, S111
#[test]
fn drains_last_at_most_time_or_after_an_unasked_end_min() {
    for_each(|spec, timeline, asked| {
        for step in timeline.steps.iter().filter(|step| step.kind == StepKind::Drain) {
            let drain = spec.processes[step.process.unwrap().index()].drain.unwrap();
            let most = match asked {
                true => drain.time.max(spec.unready_delay),
                false => drain.min.max(Duration::from_secs(1)),
            };
            assert!(step.takes() <= most, "{step:?}\n{spec:#?}\n{timeline:#?}");
        }
    });
}

/// For each process: the largest sum of weights on a path from it through its dependencies.
pub(super) fn sums_below(
    spec: &Spec,
    weight: impl Fn(ProcessId, &ProcessSpec) -> Duration,
) -> Vec<Duration> {
    let mut sums = vec![Duration::ZERO; spec.processes.len()];
    for id in &spec.order {
        let of = &spec.processes[id.index()];
        let below = of.dependencies.iter().map(|(on, _)| sums[on.index()]).max();
        sums[id.index()] = below.unwrap_or_default() + weight(*id, of);
    }
    sums
}

/// The largest sum of weights along a path of dependencies.
fn longest_path(spec: &Spec, weight: impl Fn(&ProcessSpec) -> Duration) -> Duration {
    sums_below(spec, |_, of| weight(of)).into_iter().max().unwrap_or_default()
}

// holds: S21, S75, S78, S79
#[test]
fn waits_that_fit_are_granted_in_full() {
    let fitting = std::cell::Cell::new(0);
    for_each(|spec, timeline, asked| {
        let need = |hook: Option<Wait>| hook.map_or(Duration::ZERO, |wait| wait.need);
        let before = (spec.readiness_delay + spec.unready_delay).max(need(spec.hooks.pre_stop));
        let stops = longest_path(spec, |of| {
            need(of.hooks.pre_stop) + of.stop.need + need(of.hooks.post_stop)
        });
        // The time for the closing of the listeners after each drain, and for the final counts.
        let asks = Duration::from_millis(250);
        let drains = |of: &dyn Fn(DrainSpec) -> Duration| {
            let time = |drain| of(drain) + if drain.closes { asks } else { Duration::ZERO };
            longest_path(spec, |of| of.drain.map_or(Duration::ZERO, time))
        };
        let fits_drains = |drains: Duration| before + drains + asks + stops;
        let wish = |drain: DrainSpec| drain_wish(drain, asked);
        let last = need(spec.hooks.post_stop);
        let fits = fits_drains(drains(&wish)) + last <= spec.window;
        let least = longest_path(spec, |of| of.stop.need.min(Duration::from_secs(1)));
        let least = least.min(spec.window / 4);
        let fits_min = before + drains(&|drain| drain.min) + least <= spec.window;
        fitting.set(fitting.get() + u32::from(fits));
        for step in &timeline.steps {
            let of = step.process.map(|id| &spec.processes[id.index()]);
            let hooks = of.map_or(&spec.hooks, |of| &of.hooks);
            let drain = of.and_then(|of| of.drain);
            let declared = |wait: Option<Wait>| wait.filter(|wait| wait.is_declared());
            let wait = match step.kind {
                StepKind::PreStop => declared(hooks.pre_stop),
                StepKind::PostStop => declared(hooks.post_stop),
                StepKind::Stop => declared(of.map(|of| of.stop)),
                StepKind::ReadinessDelay => Some(Wait::new(Some(spec.readiness_delay))),
                StepKind::Drain => drain.map(|drain| Wait::new(Some(wish(drain)))),
                _ => None,
            };
            let is_full = wait.is_none_or(|wait| step.takes() >= wait.limit);
            assert!(is_full || !fits, "{step:?} is cut\n{spec:#?}\n{timeline:#?}");
            let min = drain.filter(|_| step.kind == StepKind::Drain).map(|drain| drain.min);
            let is_held = min.is_none_or(|min| step.takes() >= min);
            assert!(is_held || !fits_min, "{step:?}, less than `min`\n{spec:#?}\n{timeline:#?}");
        }
    });
    assert!(fitting.get() > 1000, "only {} shutdowns fit", fitting.get());
}
