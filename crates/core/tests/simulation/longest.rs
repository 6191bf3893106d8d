//! Promises that hold for the longest shutdown of every graph.

use std::time::Duration;

use crate::scenario::Scenario;
use drainit_core::spec::Spec;
use drainit_core::timeline::{Step, StepKind, Timeline};
use drainit_core::types::{StartCondition, Time};

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

/// Calls `check` with each longest shutdown of many graphs. The last argument says whether a stop
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

fn ends(step: &Step) -> Time {
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
        let takes = timeline.critical_steps().map(Step::takes);
        assert_eq!(takes.sum::<Duration>(), timeline.total, "{}", story());
    });
}

// holds: S11, S12, C615
#[test]
fn drains_begin_after_the_delay_and_the_hook() {
    for_each(|spec, timeline, _| {
        let is_first = |step: &&Step| match step.kind {
            StepKind::ReadinessDelay => true,
            StepKind::PreStop => step.process.is_none(),
            _ => false,
        };
        let (first, others): (Vec<&Step>, Vec<&Step>) = timeline.steps.iter().partition(is_first);
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
