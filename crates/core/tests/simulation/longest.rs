//! Promises that hold for the longest shutdown of every graph.

use crate::*;
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
        let begins = timeline.critical_steps().next().map(|step| step.begins);
        let end = timeline.critical_steps().fold(begins.unwrap_or_default(), |end, step| {
            assert_eq!(step.begins, end, "{}", story());
            ends(step)
        });
        assert_eq!(end, Time(timeline.total), "{}", story());
        // Only a stop beside the drains begins without an earlier step.
        let is_stop = |kind| matches!(kind, StepKind::PreStop | StepKind::Stop);
        let first = timeline.critical_steps().next();
        let is_beside = first.is_none_or(|step| step.begins.0.is_zero() || is_stop(step.kind));
        assert!(is_beside, "{}", story());
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
        // A stop that no drain needs may begin earlier.
        let is_step = |step: &&ShutdownStep| {
            is_first(step) || matches!(step.kind, StepKind::Drain | StepKind::Close)
        };
        let steps = timeline.steps.iter().filter(is_step);
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
                true => drain.longest(spec.window).max(spec.unready_delay),
                false => drain.min,
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

fn has_stop_beside_drains(timeline: &Timeline) -> bool {
    let stops = timeline.steps.iter().filter(|step| step.kind == StepKind::Stop);
    stops.map(|step| step.begins.0).any(|begins| begins < timeline.drained_at())
}

// holds: S21, S75, S78, S79
#[test]
fn waits_that_fit_are_granted_in_full() {
    let fitting = std::cell::Cell::new(0);
    for_each(|spec, timeline, asked| {
        let need = |hook: Option<HookWait>| hook.map_or(Duration::ZERO, |wait| wait.need);
        let before = (spec.readiness_delay + spec.unready_delay).max(need(spec.hooks.pre_stop));
        let second = Duration::from_secs(1);
        let stops = longest_path(spec, |of| {
            let least = of.to_end.unwrap_or_default().clamp(second, 10 * second);
            need(of.hooks.pre_stop) + of.stop.unwrap_or(least) + need(of.hooks.post_stop)
        });
        // The time for the closing of the listeners after each drain, and for the final counts.
        let asks = Duration::from_millis(250);
        let drains = |of: &dyn Fn(DrainSpec) -> Duration, asks: Duration| {
            let time = |drain| of(drain) + if drain.closes { asks } else { Duration::ZERO };
            longest_path(spec, |of| of.drain.map_or(Duration::ZERO, time))
        };
        // A drain without `time` takes what the deadline leaves, and fits if its `min` fits.
        let wish = |drain: DrainSpec| drain.time.filter(|_| asked).unwrap_or(drain.min);
        let last = need(spec.hooks.post_stop);
        let fits = before + drains(&wish, asks) + asks + stops + last <= spec.window;
        // A drain without `time` leaves later drains a second.
        let is_open = |of: &ProcessSpec| of.drain.is_some_and(|drain| drain.time.is_none());
        let is_open = asked && spec.processes.iter().any(is_open);
        let least = longest_path(spec, |of| of.stop.unwrap_or(second).min(second));
        let least = least.min(spec.window / 4);
        // A first and a last count surround the drains, whose `min`s pass at the same time. Before
        // the last of them, the others get a second each.
        let mins = spec.processes.iter().filter_map(|of| Some(of.drain?.min));
        let minima = asks + mins.max().unwrap_or_default() + drains(&|_| second, asks) + asks;
        let fits_min = before + minima + least <= spec.window;
        let delays = timeline.steps.iter().filter(|step| step.kind == StepKind::ReadinessDelay);
        let from = delays.map(ends).max().unwrap_or_default();
        fitting.set(fitting.get() + u32::from(fits));
        for step in &timeline.steps {
            let of = step.process.map(|id| &spec.processes[id.index()]);
            let hooks = of.map_or(&spec.hooks, |of| &of.hooks);
            let drain = of.and_then(|of| of.drain);
            let declared = |wait: Option<HookWait>| wait.filter(|wait| wait.is_declared());
            let wait = match step.kind {
                StepKind::PreStop => declared(hooks.pre_stop),
                StepKind::PostStop => declared(hooks.post_stop),
                StepKind::Stop => of.and_then(|of| of.stop).map(|limit| HookWait::new(Some(limit))),
                StepKind::ReadinessDelay => Some(HookWait::new(Some(spec.readiness_delay))),
                StepKind::Drain => drain.map(|drain| HookWait::new(Some(wish(drain)))),
                _ => None,
            };
            let is_open = is_open && step.kind == StepKind::Drain;
            let is_full = is_open || wait.is_none_or(|wait| step.takes() >= wait.limit);
            // A stop beside the drains may leave later stops less than a sum along one path.
            // With a measurement, the hook before such a stop may be cut, too.
            let is_measured = spec.processes.iter().any(|of| of.to_end.is_some());
            let is_stop =
                step.kind == StepKind::Stop || step.kind == StepKind::PreStop && is_measured;
            let is_beside = is_stop && has_stop_beside_drains(timeline);
            assert!(is_full || !fits || is_beside, "{step:?} is cut\n{spec:#?}\n{timeline:#?}");
            let min = drain.filter(|_| step.kind == StepKind::Drain).map(|drain| drain.min);
            let is_held = min.is_none_or(|min| ends(step).since(from) >= min);
            assert!(is_held || !fits_min, "{step:?}, less than `min`\n{spec:#?}\n{timeline:#?}");
        }
    });
    assert!(fitting.get() > 1000, "only {} shutdowns fit", fitting.get());
}
