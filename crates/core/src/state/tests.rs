//! Tests when the budget is made again.

use super::*;
use crate::cause::Cause;
use crate::spec::tests::{process, spec};
use crate::types::{Signal, StartCondition};

const DOWN: Lifecycle = Lifecycle::Done;
const UP: Lifecycle = Lifecycle::Ready { since: Time(Duration::ZERO) };

/// A base, two processes that depend on the base, and a process on its own.
fn state() -> State {
    let base = ProcessId(0);
    let spec = spec(vec![process(&[]), process(&[base]), process(&[base]), process(&[])]);
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

#[test]
fn a_process_waits_for_each_dependency_that_has_not_met_the_condition() {
    let [a, b, app] = [0, 1, 2].map(ProcessId);
    let spec = spec(vec![process(&[]), process(&[]), process(&[a, b])]);
    let mut state = State::new(Arc::new(spec), Time::default());
    state.set(app, Lifecycle::Waiting);
    assert_eq!([a, b].map(|on| state.waiting_for(on)), [vec![app], vec![app]]);
    state[b].reached = Some(StartCondition::Started);
    assert_eq!([a, b].map(|on| state.waiting_for(on)), [vec![app], vec![]]);
}
