//! Tests when the budget is made again.

use super::*;
use crate::cause::Cause;
use crate::spec::HookWaits;
use crate::types::{OnExit, Restart, RestartPolicy, Signal, StartCondition, Update};

const DOWN: Lifecycle = Lifecycle::Done;
const UP: Lifecycle = Lifecycle::Ready { since: Time(Duration::ZERO) };

fn process(dependencies: &[ProcessId]) -> ProcessSpec {
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

/// A base, two processes that depend on the base, and a process on its own.
fn state() -> State {
    let [base, one, two, alone] = [0, 1, 2, 3].map(ProcessId);
    let mut spec = Spec {
        window: Duration::from_secs(28),
        reserve: Duration::from_secs(2),
        readiness_delay: Duration::ZERO,
        unready_delay: Duration::ZERO,
        counts_stops: false,
        stop_signals: vec![Signal::TERM],
        hooks: HookWaits::default(),
        processes: vec![process(&[]), process(&[base]), process(&[base]), process(&[])],
        order: vec![base, one, two, alone],
        ranks: Vec::new(),
    };
    spec.link();
    State::new(Arc::new(spec), Time::default())
}

// holds: S218
#[test]
fn an_end_before_that_of_any_dependent_makes_the_budget_again() {
    let [base, one, two, alone] = [0, 1, 2, 3].map(ProcessId);
    for (dependents, touched, is_again) in [
        ([UP, DOWN], &[base][..], true),
        ([DOWN, UP], &[base], true),
        ([UP, UP], &[base], true),
        ([DOWN, DOWN], &[base], false),
        // One process of the step decides, wherever it is in the list.
        ([DOWN, UP], &[base, alone], true),
        ([DOWN, UP], &[alone, base], true),
        ([DOWN, DOWN], &[alone, base], false),
    ] {
        let mut state = state();
        let window = state.spec.window;
        let cause = Cause::Signal(Signal::TERM);
        state.shutdown = Some(Shutdown::new(cause, Time::default(), window));
        let lives = [(base, DOWN), (one, dependents[0]), (two, dependents[1]), (alone, DOWN)];
        lives.into_iter().for_each(|(id, life)| state.set(id, life));
        state.step.touched = touched.to_vec();
        let _ = state.budget();
        state.plan_again(None, &[]);
        assert_eq!(state.replan.is_some(), is_again, "{dependents:?} {touched:?}");
    }
}
