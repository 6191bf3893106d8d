//! Processes for the tests of the core, and tests of the sums of a path.

use super::*;
use crate::types::{OnExit, Restart, RestartPolicy, StartCondition, Update};

/// A service with these dependencies, and with the default for every other key.
pub(crate) fn process(dependencies: &[ProcessId]) -> ProcessSpec {
    ProcessSpec {
        dependencies: dependencies.iter().map(|on| (*on, StartCondition::Started)).collect(),
        dependents: Vec::new(),
        follows: Vec::new(),
        left_out: false,
        autostart: true,
        oneshot: false,
        success_codes: vec![0],
        timeout: None,
        conditional: false,
        readiness_timeout: None,
        liveness_retries: None,
        update: Update::StopFirst,
        handover: None,
        base_id: None,
        restart: Restart { policy: RestartPolicy::No, delay: Duration::ZERO, max: None },
        on_exit: OnExit::SHUTDOWN,
        required: true,
        stop_signal: Signal::TERM,
        stop: None,
        to_end: None,
        is_store: false,
        shows_listener: false,
        ends_leftovers: false,
        hooks: HookWaits::default(),
        drain: None,
        drain_off: None,
        listens: false,
        forward_signals: Vec::new(),
        watch: Vec::new(),
    }
}

/// A container with these processes, whose window has 28 s.
pub(crate) fn spec(processes: Vec<ProcessSpec>) -> Spec {
    let mut spec = Spec {
        window: Duration::from_secs(28),
        reserve: Duration::from_secs(2),
        readiness_delay: Duration::ZERO,
        unready_delay: Duration::ZERO,
        counts_stops: false,
        stop_signals: vec![Signal::TERM],
        hooks: HookWaits::default(),
        order: (0..).map(ProcessId).take(processes.len()).collect(),
        processes,
        ranks: Vec::new(),
    };
    spec.link();
    spec
}

#[test]
fn too_many_sums_become_the_largest_of_each_part() {
    let sum = |(seconds, steps): &(u64, u32)| (Duration::from_secs(*seconds), *steps);
    for (sums, most, expected) in [
        (&[(1, 4), (4, 1), (2, 2)][..], 3, &[(1, 4), (4, 1), (2, 2)][..]),
        (&[(1, 4), (4, 1), (2, 2)], 2, &[(4, 4)]),
        (&[(4, 1), (1, 4), (2, 2)], 2, &[(4, 4)]),
        (&[(2, 2), (1, 4), (4, 1)], 2, &[(4, 4)]),
        (&[(2, 2), (4, 1), (1, 4)], 2, &[(4, 4)]),
        // A sum that another sum covers does not count, wherever that one is.
        (&[(1, 4), (4, 1), (3, 1)], 2, &[(1, 4), (4, 1)]),
        (&[(1, 4), (3, 1), (4, 1)], 2, &[(1, 4), (4, 1)]),
        (&[(1, 4), (2, 3), (4, 1), (3, 1)], 3, &[(1, 4), (2, 3), (4, 1)]),
        (&[(1, 4), (2, 3), (4, 1), (1, 3)], 3, &[(1, 4), (2, 3), (4, 1)]),
        (&[(1, 4), (2, 3), (4, 1), (2, 2)], 3, &[(1, 4), (2, 3), (4, 1)]),
    ] {
        let (first, others) = largest(sums.iter().map(sum), most);
        let found: Vec<_> = [first].into_iter().chain(others).collect();
        assert_eq!(found, expected.iter().map(sum).collect::<Vec<_>>(), "{sums:?} {most}");
    }
}

#[test]
fn the_last_probe_gets_an_eighth_of_the_timeout_and_a_second_at_least() {
    let seconds = Duration::from_secs;
    for (timeout, limit) in [(None, 1), (Some(4), 1), (Some(8), 1), (Some(16), 2), (Some(80), 10)] {
        let of = ProcessSpec { readiness_timeout: timeout.map(seconds), ..process(&[]) };
        assert_eq!(of.last_probe(), seconds(limit), "{timeout:?}");
    }
}

#[test]
fn a_new_slot_comes_after_every_dependency() {
    let [base, old, late, new] = [0, 1, 2, 3].map(ProcessId);
    // Each list depends on a process that comes after the old instance, in another place.
    for dependencies in [&[base, late][..], &[late, base], &[late], &[base]] {
        let first = process(&[base]);
        let mut spec = spec(vec![process(&[]), first, process(&[]), process(dependencies)]);
        spec.order = vec![base, old, late];
        spec.number();
        spec.add_beside(new, old);
        let ranks = |all: &[ProcessId]| all.iter().map(|on| spec.rank(*on)).max();
        assert!(ranks(dependencies) < Some(spec.rank(new)), "{dependencies:?} {:?}", spec.order);
        for on in dependencies {
            assert!(spec.of(*on).dependents.contains(&new), "{dependencies:?}");
        }
    }
}

#[test]
fn a_dependent_also_depends_on_the_new_slot_as_on_the_old() {
    let [a, b, slot] = [0, 1, 9].map(ProcessId);
    for (old, condition) in [(a, StartCondition::Started), (b, StartCondition::Ready)] {
        for follows in [vec![a, b], vec![b, a], vec![]] {
            let mut of = ProcessSpec { follows, ..process(&[a, b]) };
            of.dependencies[1].1 = StartCondition::Ready;
            let follows = of.follows.len() + usize::from(!of.follows.is_empty());
            of.depend_also_on(slot, old);
            assert_eq!(of.dependencies.last(), Some(&(slot, condition)));
            assert_eq!(of.follows.len(), follows);
            assert_eq!(of.follows.contains(&slot), follows > 0);
        }
    }
}

#[test]
fn every_follower_of_several_dependencies_is_listed_with_the_condition_of_the_dependency() {
    let [a, b, by] = [0, 1, 2].map(ProcessId);
    for (follows, followed) in [(vec![a], [true, false]), (vec![b], [false, true])] {
        let mut of = ProcessSpec { follows, ..process(&[a, b]) };
        of.dependencies[1].1 = StartCondition::Ready;
        let spec = spec(vec![process(&[]), process(&[]), of]);
        let conditions = [(a, StartCondition::Started), (b, StartCondition::Ready)];
        for ((on, condition), is_followed) in conditions.into_iter().zip(followed) {
            let expected = is_followed.then_some((by, condition));
            assert_eq!(spec.followers(on).next(), expected, "{on:?}");
        }
    }
}
