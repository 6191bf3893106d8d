//! Single schedules with known actions: the promises one by one.

use std::slice::from_ref;

use crate::config::{Restart, RestartPolicy};
use crate::core::event::{Load, Unit};
use crate::core::note::{AfterEnd, Evidence, Hurry, StartFailure};
use crate::core::phase::Phase;
use crate::core::spec::{DrainSpec, Wait};
use crate::simulation::*;

pub(super) const ENGINE: ProcessId = ProcessId(0);
pub(super) const ROUTER: ProcessId = ProcessId(1);
pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;

/// A router that depends on an engine, both without readiness probes; the window is 30 s − 2 s.
pub(super) fn gateway() -> Spec {
    let process = |dependencies: &[ProcessId], dependents: &[ProcessId]| ProcessSpec {
        dependencies: dependencies.iter().map(|on| (*on, StartCondition::Ready)).collect(),
        dependents: dependents.to_vec(),
        followers: Vec::new(),
        left_out: false,
        oneshot: false,
        success_codes: vec![0],
        timeout: None,
        conditional: false,
        readiness_timeout: None,
        liveness_retries: None,
        update: Update::StopFirst,
        handover: None,
        base_id: None,
        copy_of: None,
        restart: Restart { policy: RestartPolicy::No, delay: MS(1000), max: Some(5) },
        on_exit: OnExit::Shutdown,
        required: true,
        stop_signal: Signal::TERM,
        stop: Wait::new(Some(MS(5000))),
        hooks: HookWaits::default(),
        drain: None,
        listens: false,
        forward_signals: Vec::new(),
        watch: Vec::new(),
    };
    let mut router = process(&[ENGINE], &[]);
    let drain = DrainSpec {
        time: MS(15_000),
        min: MS(5000),
        closes: true,
        exit_at: 0,
        gradual: false,
        signal: None,
    };
    router.drain = Some(drain);
    Spec {
        window: MS(28_000),
        reserve: MS(2000),
        readiness_delay: Duration::ZERO,
        unready_delay: Duration::ZERO,
        stop_signals: vec![Signal::TERM],
        hooks: HookWaits::default(),
        processes: vec![process(&[], &[ROUTER]), router],
        order: vec![ENGINE, ROUTER],
    }
}

/// A machine with a clock in milliseconds.
pub(super) struct Play {
    pub(super) machine: Machine,
}

impl Play {
    /// Starts every process at 0.
    pub(super) fn up(spec: Spec) -> Self {
        let mut play = Self { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
        assert_eq!(play.at(0, Event::Start), [Action::Spawn(ENGINE)]);
        assert_eq!(play.at(0, Event::Spawned(ENGINE)), [Action::Spawn(ROUTER)]);
        play.at(0, Event::Spawned(ROUTER));
        play
    }

    /// The actions of an event without the notes.
    pub(super) fn at(&mut self, millis: u64, event: Event) -> Vec<Action> {
        let mut actions = self.machine.handle(Time(MS(millis)), event);
        actions.retain(|action| !matches!(action, Action::Note(_)));
        actions
    }

    pub(super) fn notes(&mut self, millis: u64, event: Event) -> Vec<Note> {
        let note = |action| if let Action::Note(note) = action { Some(note) } else { None };
        self.machine.handle(Time(MS(millis)), event).into_iter().filter_map(note).collect()
    }

    /// The actions of a reload without the notes.
    pub(super) fn reload(&mut self, millis: u64, new: &Spec, plan: &[Placed]) -> Vec<Action> {
        let mut actions = self.machine.reload(Time(MS(millis)), new, plan).unwrap();
        actions.retain(|action| !matches!(action, Action::Note(_)));
        actions
    }

    /// Sends samples and returns the actions with their times.
    fn samples(&mut self, from: u64, to: u64, active: u64) -> Vec<(u64, Action)> {
        let mut seen = Vec::new();
        for millis in (from..=to).step_by(50) {
            let load = load(active, 100);
            let actions = self.at(millis, Event::DrainSample { process: ROUTER, load });
            seen.extend(actions.into_iter().map(|action| (millis, action)));
        }
        seen
    }
}

fn load(active: u64, total: u64) -> Load {
    Load { active: Some(active), total: Some(total), ..Load::default() }
}

fn drain(longest: u64) -> Action {
    Action::Drain { process: ROUTER, min: MS(5000), longest: MS(longest) }
}

pub(super) fn stop(process: ProcessId) -> Action {
    Action::Stop { process, signal: Signal::TERM }
}

/// When the next timer is due.
pub(super) fn wakes_at(play: &Play) -> u64 {
    play.machine.next_wakeup().unwrap().0.as_millis() as u64
}

pub(super) fn exited(process: ProcessId) -> Event {
    Event::Exited { process, end: End::Code(0), remains: false }
}

#[test]
fn ends_before_a_limit_count_although_they_are_seen_after_it() {
    let late = |handle: fn(&mut Machine, Time, Event) -> Vec<Action>| {
        let mut spec = gateway();
        for process in &mut spec.processes {
            (process.dependencies, process.dependents, process.drain) = Default::default();
        }
        let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
        for event in [Event::Start, Event::Spawned(ENGINE), Event::Spawned(ROUTER)] {
            play.at(0, event);
        }
        play.at(100, Event::Signal(Signal::TERM));
        let ended = [ROUTER, ENGINE].map(|process| {
            let event = Event::Exited { process, end: End::Code(0), remains: false };
            handle(&mut play.machine, Time(MS(60_000)), event)
        });
        let last = play.machine.handle(Time(MS(60_000)), Event::Tick);
        let all = ended.into_iter().flatten().chain(last);
        all.filter(|action| matches!(action, Action::Kill(_))).count()
    };
    assert_eq!((late(Machine::handle), late(Machine::handle_early)), (1, 0));
}

#[test]
fn after_the_deadline_there_is_no_more_time_to_ask_for() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    play.at(10, Event::Signal(Signal::TERM));
    let asked = Event::TimeoutExtended { process: ROUTER, by: MS(5000) };
    let late = play.machine.handle_early(Time(MS(600_000)), asked);
    assert!(late.is_empty(), "{late:?}");
}

#[test]
fn an_idle_gateway_is_drained_for_min_and_stopped_in_order() {
    let mut play = Play::up(gateway());
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready, drain(15_000)]);
    assert!(play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true }).is_empty());
    let seen = play.samples(50, 5000, 0);
    assert_eq!(seen, [(5000, Action::CloseListeners(ROUTER))], "quiet before, but min is held");
    // Only a poll after the close shows that no connection slipped in.
    assert!(play.at(5010, Event::ListenersClosed(ROUTER)).is_empty());
    let seen = play.samples(5050, 5050, 0);
    assert_eq!(seen, [(5050, Action::EndDrain(ROUTER)), (5050, stop(ROUTER))]);
    assert_eq!(play.at(5100, exited(ROUTER)), [stop(ENGINE)]);
    assert_eq!(play.at(5200, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
    assert_eq!(play.at(5200, Event::Leftovers(0)), [Action::Exit(0)]);
}

#[test]
fn rare_samples_show_quiet_only_with_a_fresh_one() {
    let sample = Event::DrainSample { process: ROUTER, load: load(0, 100) };
    let up = || {
        let mut play = Play::up(gateway());
        play.at(0, Event::Signal(Signal::TERM));
        play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
        assert!(play.at(1000, sample).is_empty());
        assert!(play.at(3000, sample).is_empty());
        play
    };
    let mut play = up();
    assert!(play.at(4900, sample).is_empty());
    assert_eq!(play.machine.next_wakeup(), Some(Time(MS(5000))));
    assert_eq!(play.at(5000, Event::Tick), [Action::CloseListeners(ROUTER)]);
    // Connections may have come since 3 s.
    let mut play = up();
    assert_eq!(play.machine.next_wakeup(), Some(Time(MS(15_000))));
    assert!(play.at(5000, Event::Tick).is_empty());
    assert_eq!(play.at(5100, sample), [Action::CloseListeners(ROUTER)]);
}

#[test]
fn a_gradual_drain_asks_the_last_clients_when_min_is_over_or_in_time() {
    let up = |window| {
        let mut spec = Spec { window: MS(window), ..gateway() };
        spec.processes[ROUTER.index()].drain.as_mut().unwrap().gradual = true;
        Play::up(spec)
    };
    let all = Action::FailHealthcheck(ROUTER);
    let mut play = up(28_000);
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready, drain(15_000)]);
    assert!(play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true }).is_empty());
    assert_eq!(play.machine.next_wakeup(), Some(Time(MS(5000))));
    let seen = play.samples(50, 5000, 0);
    assert_eq!(seen, [(5000, all.clone()), (5000, Action::CloseListeners(ROUTER))]);
    // Half of a shorter drain is left for them.
    let mut play = up(10_000);
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready, drain(5000)]);
    assert!(play.at(2499, Event::Tick).is_empty());
    assert_eq!(play.at(2500, Event::Tick), from_ref(&all));
    // At once if requests fail, if the process does not ask anybody, or if there is little time.
    let mut play = up(28_000);
    play.at(0, Event::Signal(Signal::TERM));
    assert_eq!(play.at(1000, exited(ENGINE)), from_ref(&all));
    let mut play = up(28_000);
    play.at(0, Event::Signal(Signal::TERM));
    let refused = Event::DrainAnswered { process: ROUTER, accepted: false };
    assert_eq!(play.at(2000, refused), from_ref(&all));
    let mut play = up(28_000);
    assert_eq!(play.at(0, exited(ENGINE)), [Action::Unready, drain(5000), all]);
}

#[test]
fn a_drain_is_over_when_no_more_than_exit_at_are_left() {
    let mut spec = gateway();
    spec.processes[ROUTER.index()].drain.as_mut().unwrap().exit_at = 2;
    let mut play = Play::up(spec);
    play.at(0, Event::Signal(Signal::TERM));
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    assert!(play.samples(50, 6000, 3).is_empty(), "one too many");
    let seen = play.samples(6050, 6250, 2);
    assert_eq!(seen, [(6250, Action::CloseListeners(ROUTER))]);
    assert!(play.at(6260, Event::ListenersClosed(ROUTER)).is_empty());
    assert!(play.samples(6300, 6300, 3).is_empty(), "one slipped in before the close");
    let sample = Event::DrainSample { process: ROUTER, load: load(2, 100) };
    let notes = play.notes(6350, sample);
    let is_over = |note: &Note| {
        matches!(note, Note::DrainOver { why: DrainEnd::Quiet, last, .. }
        if last.active == Some(2))
    };
    assert!(notes.iter().any(is_over), "{notes:?}");
}

#[test]
fn a_broadcast_signal_is_recognised() {
    let told = |notes: Vec<Note>| {
        let mut notes = notes.into_iter().filter_map(|note| match note {
            Note::EndedUndrained { process: ROUTER, signal: Signal::TERM, evidence } => {
                Some(evidence)
            }
            _ => None,
        });
        let with = notes.next();
        assert_eq!(notes.next(), None, "said once");
        with
    };
    let term = Event::Signal(Signal::TERM);
    // TERM ends Envoy with code 0, other processes with the signal.
    let by_term = Event::Exited { process: ROUTER, end: End::Signal(Signal::TERM), remains: false };
    for end in [exited(ROUTER), by_term] {
        let mut play = Play::up(gateway());
        play.at(1000, term);
        assert_eq!(told(play.notes(1004, end)), Some(Evidence::After(MS(4))));
        // The end is seen before the signal.
        let mut play = Play::up(gateway());
        assert_eq!(told(play.notes(1000, end)), None);
        assert_eq!(told(play.notes(1003, term)), Some(Evidence::Before(MS(3))));
        assert_eq!(told(play.notes(1003, exited(ENGINE))), None);
        // As PID 1 drainit does not receive it.
        let mut play = Play::up(gateway());
        assert_eq!(told(play.notes(1000, exited(ENGINE))), None);
        assert_eq!(told(play.notes(1020, end)), Some(Evidence::OtherEnds));
        let mut play = Play::up(gateway());
        assert_eq!(told(play.notes(1000, exited(ENGINE))), None);
        assert_eq!(told(play.notes(1501, end)), None, "another reason");
        // Long after or before the signal: another reason.
        let mut play = Play::up(gateway());
        play.at(1000, term);
        assert_eq!(told(play.notes(4000, end)), None);
        let mut play = Play::up(gateway());
        play.at(1000, end);
        assert_eq!(told(play.notes(2000, term)), None);
    }
    // A crash is never attributed to a signal, and a drained process has lost nothing.
    let crash = Event::Exited { process: ROUTER, end: End::Code(1), remains: false };
    let mut play = Play::up(gateway());
    play.at(1000, term);
    assert_eq!(told(play.notes(1004, crash)), None);
    let mut play = Play::up(gateway());
    play.at(1000, term);
    play.at(1001, term);
    assert_eq!(told(play.notes(1100, term)), None, "asked to end");
    assert_eq!(told(play.notes(1104, exited(ROUTER))), None);
}

#[test]
fn an_end_that_may_answer_a_drain_is_no_broadcast_signal() {
    let ended_at = |readiness_delay| {
        let mut spec = Spec { readiness_delay, ..gateway() };
        spec.processes[ROUTER.index()].drain.as_mut().unwrap().closes = false;
        let mut play = Play::up(spec);
        play.at(1000, Event::Signal(Signal::TERM));
        let notes = play.notes(1100, exited(ROUTER));
        notes.iter().any(|note| matches!(note, Note::EndedUndrained { .. }))
    };
    assert!(!ended_at(Duration::ZERO), "the drain has begun");
    assert!(ended_at(MS(5000)), "nobody has asked it yet");
}

#[test]
fn a_restarted_process_is_drained_and_its_former_end_is_not_reported() {
    let mut spec = gateway();
    let always = Restart { policy: RestartPolicy::Always, delay: MS(100), max: Some(5) };
    spec.processes[ROUTER.index()].restart = always;
    let mut play = Play::up(spec);
    play.at(1000, exited(ROUTER));
    assert_eq!(play.at(1100, Event::Tick), [Action::Spawn(ROUTER)]);
    play.at(1100, Event::Spawned(ROUTER));
    let notes = play.notes(1200, Event::Signal(Signal::TERM));
    assert!(!notes.iter().any(|note| matches!(note, Note::EndedUndrained { .. })), "{notes:?}");
}

#[test]
fn a_busy_process_is_drained_until_time_is_over() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    assert!(play.samples(50, 14_950, 3).is_empty());
    assert_eq!(play.at(15_000, Event::Tick), [Action::CloseListeners(ROUTER)]);
    let actions = play.at(15_010, Event::ListenersClosed(ROUTER));
    assert_eq!(actions, [Action::EndDrain(ROUTER), stop(ROUTER)]);
}

#[test]
fn a_drain_without_time_is_skipped_and_reported() {
    let mut spec = gateway();
    spec.window = MS(10_000);
    let drain = DrainSpec {
        time: MS(15_000),
        min: MS(0),
        closes: true,
        exit_at: 0,
        gradual: false,
        signal: None,
    };
    spec.processes[ROUTER.index()].drain = Some(drain);
    let mut play = Play::up(spec.clone());
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready, stop(ROUTER)]);
    let mut play = Play::up(spec.clone());
    assert!(play.notes(0, Event::Signal(Signal::TERM)).contains(&Note::NotDrained(ROUTER)));
    // A drain that is turned off is not reported.
    spec.processes[ROUTER.index()].drain = Some(DrainSpec { time: MS(0), ..drain });
    let mut play = Play::up(spec);
    assert!(!play.notes(0, Event::Signal(Signal::TERM)).contains(&Note::NotDrained(ROUTER)));
}

#[test]
fn a_missing_statistic_is_unknown_never_zero() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    for millis in (50..15_000).step_by(50) {
        let half = Load { active: Some(0), ..Load::default() };
        for load in [Load::default(), half] {
            assert!(play.at(millis, Event::DrainSample { process: ROUTER, load }).is_empty());
        }
    }
    assert_eq!(play.at(15_000, Event::Tick), [Action::CloseListeners(ROUTER)]);
}

#[test]
fn a_new_connection_restarts_the_quiet_time() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    // Connections open and close between two samples: never open, never quiet.
    for (count, millis) in (50..=8000).step_by(50).enumerate() {
        let load = load(0, count as u64);
        assert!(
            play.at(millis, Event::DrainSample { process: ROUTER, load }).is_empty(),
            "{millis}"
        );
    }
    let load = load(0, 159);
    assert!(play.at(8050, Event::DrainSample { process: ROUTER, load }).is_empty());
    // The absence of samples shows nothing.
    assert!(play.at(8300, Event::Tick).is_empty());
    let look = Event::DrainSample { process: ROUTER, load };
    assert_eq!(play.at(8301, look), [Action::CloseListeners(ROUTER)]);
}

#[test]
fn with_an_unreachable_admin_only_min_is_waited() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    assert!(play.at(2000, Event::DrainAnswered { process: ROUTER, accepted: false }).is_empty());
    assert!(play.at(4999, Event::Tick).is_empty());
    assert_eq!(play.at(5000, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
}

#[test]
fn a_second_signal_cuts_waits_and_a_third_kills() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    let second = play.at(1000, Event::Signal(Signal::TERM));
    assert_eq!(second, [Action::EndDrain(ROUTER), stop(ROUTER)]);
    let third = play.at(1500, Event::Signal(Signal::TERM));
    assert_eq!(third, [Action::Kill(ROUTER), Action::Kill(ENGINE)]);
    let killed =
        |process| Event::Exited { process, end: End::Signal(Signal::KILL), remains: false };
    play.at(1501, killed(ROUTER));
    assert_eq!(play.at(1502, killed(ENGINE)), [Action::Sweep(Signal::KILL)]);
    assert_eq!(play.at(1502, Event::Leftovers(0)), [Action::Exit(137)]);
}

#[test]
fn a_second_signal_ends_a_hook_that_has_begun_before_the_shutdown() {
    let mut spec = gateway();
    spec.processes[ENGINE.index()].hooks.pre_stop = Some(Wait::new(Some(MS(10_000))));
    let mut play = Play::up(spec);
    let hook = HookId { process: Some(ENGINE), stage: Stage::PreStop };
    assert_eq!(play.at(0, ask(ENGINE, Request::Restart)), [Action::RunHook(hook)]);
    assert_eq!(play.at(100, Event::Signal(Signal::TERM)), [Action::Unready, drain(8000)]);
    let second = play.at(1000, Event::Signal(Signal::TERM));
    let ended = [Action::EndDrain(ROUTER), Action::AbortHook(hook), stop(ENGINE), stop(ROUTER)];
    assert_eq!(second, ended);
}

#[test]
fn a_signal_repeated_at_once_counts_once() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    assert!(play.at(1, Event::Signal(Signal::TERM)).is_empty());
    assert!(play.at(2, Event::Signal(Signal::TERM)).is_empty());
    assert!(!play.at(500, Event::Signal(Signal::TERM)).is_empty());
    for (millis, is_one) in [(4, true), (6, false)] {
        let mut play = Play::up(gateway());
        play.at(0, Event::Signal(Signal::TERM));
        assert_eq!(play.at(millis, Event::Signal(Signal::TERM)).is_empty(), is_one, "{millis}");
    }
}

#[test]
fn a_signal_that_arrives_while_the_first_is_handled_counts_once() {
    for (millis, is_one) in [(104, true), (106, false)] {
        let mut play = Play::up(gateway());
        play.at(0, Event::Signal(Signal::TERM));
        play.at(100, Event::SignalHandled);
        assert_eq!(play.at(millis, Event::Signal(Signal::TERM)).is_empty(), is_one, "{millis}");
    }
}

#[test]
fn the_end_of_the_drained_process_ends_the_wait() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    assert_eq!(play.at(700, exited(ROUTER)), [Action::EndDrain(ROUTER), stop(ENGINE)]);
}

#[test]
fn after_an_unasked_end_drains_wait_only_for_min_and_its_code_is_kept() {
    let mut play = Play::up(gateway());
    let crash = Event::Exited { process: ENGINE, end: End::Code(7), remains: false };
    assert_eq!(play.at(0, crash), [Action::Unready, drain(5000)]);
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    assert!(play.samples(50, 4950, 9).is_empty());
    assert_eq!(play.at(5000, Event::Tick), [Action::CloseListeners(ROUTER)]);
    assert_eq!(
        play.at(5010, Event::ListenersClosed(ROUTER)),
        [Action::EndDrain(ROUTER), stop(ROUTER)]
    );
    assert_eq!(play.at(5020, exited(ROUTER)), [Action::Sweep(Signal::TERM)]);
    assert_eq!(play.at(5020, Event::Leftovers(0)), [Action::Exit(7)]);
}

#[test]
fn a_process_that_ignores_its_signal_is_killed_and_the_order_is_kept() {
    let mut play = Play::up(Spec { processes: undrained(gateway().processes), ..gateway() });
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready, stop(ROUTER)]);
    assert!(play.at(4999, Event::Tick).is_empty());
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    let killed = Event::Exited { process: ROUTER, end: End::Signal(Signal::KILL), remains: false };
    assert_eq!(play.at(5001, killed), [stop(ENGINE)]);
    play.at(5100, exited(ENGINE));
    assert_eq!(play.at(5100, Event::Leftovers(0)), [Action::Exit(137)]);
}

#[test]
fn a_stop_grace_period_of_0_kills_at_once() {
    let mut spec = gateway();
    spec.processes = undrained(spec.processes);
    spec.processes[ROUTER.index()].stop = Wait::new(Some(MS(0)));
    let mut play = Play::up(spec);
    let killed = [Action::Unready, stop(ROUTER), Action::Kill(ROUTER)];
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), killed);
}

#[test]
fn waits_shrink_to_leave_time_for_later_ones() {
    let mut spec = Spec { window: MS(6000), ..gateway() };
    spec.processes = undrained(spec.processes);
    let mut play = Play::up(spec);
    let limit = |notes: Vec<Note>| {
        notes.into_iter().find_map(|note| match note {
            Note::Stopping { limit, .. } => Some(limit),
            _ => None,
        })
    };
    // 5 s and 5 s were declared, and 6 s are left: half of it for each.
    assert_eq!(limit(play.notes(0, Event::Signal(Signal::TERM))), Some(MS(3000)));
    play.at(3000, Event::Tick);
    // drainit sent this KILL, so it is not attributed to the OOM killer.
    let killed =
        play.notes(3000, Event::Exited { process: ROUTER, end: End::OutOfMemory, remains: false });
    let (end, took) = (End::Signal(Signal::KILL), Some(MS(3000)));
    assert_eq!(
        killed[0],
        Note::Stopped { process: ROUTER, end, took, killed: true, handed_over: false }
    );
    assert_eq!(limit(killed), Some(MS(3000)));
    assert_eq!(play.at(6000, Event::Tick), [Action::Kill(ENGINE)]);
}

/// Python, engine and router, as in `docs/shutdown.md`.
fn example(window: u64) -> Spec {
    let mut spec = Spec { window: MS(window), ..gateway() };
    let mut python = spec.processes[0].clone();
    python.dependents = vec![ProcessId(1)];
    spec.processes.insert(0, python);
    for (place, below) in [(1, 0), (2, 1)] {
        spec.processes[place].dependencies = vec![(ProcessId(below), StartCondition::Ready)];
    }
    spec.processes[1].dependents = vec![ProcessId(2)];
    for process in &mut spec.processes {
        process.stop = Wait::new(None);
    }
    spec.order = spec.ids().collect();
    spec
}

#[test]
fn the_examples_of_the_page_have_their_figures() {
    let [python, engine, router] = [0, 1, 2].map(ProcessId);
    let limit = |notes: &[Note]| {
        notes.iter().find_map(|note| match note {
            Note::Stopping { process, limit, .. } => Some((*process, limit.as_millis() as u64)),
            _ => None,
        })
    };
    // The window, the drain, and the times of the router after all of it, of the engine and of
    // python after quick ones.
    for (window, longest, times) in
        [(28_000, 15_000, [10_000, 10_000, 10_000]), (8000, 5000, [1000, 2000, 3000])]
    {
        let up = |accepted| {
            let mut play =
                Play { machine: Machine::new(Rc::new(example(window)), Time(Duration::ZERO)) };
            play.at(0, Event::Start);
            for id in [python, engine, router] {
                play.at(0, Event::Spawned(id));
            }
            let begun = play.at(0, Event::Signal(Signal::TERM));
            let drain = Action::Drain { process: router, min: MS(5000), longest: MS(longest) };
            assert_eq!(begun, [Action::Unready, drain]);
            play.at(1, Event::DrainAnswered { process: router, accepted });
            play
        };
        let mut play = up(true);
        play.at(longest, Event::Tick);
        let stopping = play.notes(longest, Event::ListenersClosed(router));
        assert_eq!(limit(&stopping), Some((router, times[0])));
        let mut play = up(false);
        assert_eq!(limit(&play.notes(5000, Event::Tick)).unwrap().0, router);
        assert_eq!(limit(&play.notes(5000, exited(router))), Some((engine, times[1])));
        assert_eq!(limit(&play.notes(5000, exited(engine))), Some((python, times[2])));
    }
}

#[test]
fn a_drain_leaves_later_drains_their_min() {
    let mut spec = Spec { window: MS(10_000), ..gateway() };
    for (process, min) in [(ENGINE, 3000), (ROUTER, 1000)] {
        let drain =
            DrainSpec { min: MS(min), ..gateway().processes[ROUTER.index()].drain.unwrap() };
        spec.processes[process.index()].drain = Some(drain);
        spec.processes[process.index()].stop = Wait::new(Some(MS(1000)));
    }
    let mut play = Play::up(spec);
    let drain = Action::Drain { process: ROUTER, min: MS(1000), longest: MS(5000) };
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready, drain]);
}

#[test]
fn the_heaviest_of_several_paths_counts() {
    let mut spec = Spec { window: MS(8000), ..gateway() };
    spec.processes = undrained(spec.processes);
    // Two that are stopped at the same time, after the router.
    let light = ProcessId(2);
    spec.processes.push(spec.processes[ENGINE.index()].clone());
    spec.processes[light.index()].stop = Wait::new(Some(MS(1000)));
    let router = &mut spec.processes[ROUTER.index()];
    router.dependencies.push((light, StartCondition::Ready));
    router.stop = Wait::new(Some(MS(5000)));
    spec.order = vec![ENGINE, light, ROUTER];
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    play.at(0, Event::Start);
    for id in [ENGINE, light, ROUTER] {
        play.at(0, Event::Spawned(id));
    }
    let notes = play.notes(0, Event::Signal(Signal::TERM));
    // 5 s and 5 s were declared, and 8 s are left.
    let stopping = Note::Stopping { process: ROUTER, signal: Signal::TERM, limit: MS(4000) };
    assert!(notes.contains(&stopping), "{notes:?}");
}

#[test]
fn hooks_and_delays_shrink_before_stops() {
    let mut spec = Spec { window: MS(5000), readiness_delay: MS(60_000), ..gateway() };
    spec.hooks.pre_stop = Some(Wait::new(Some(MS(60_000))));
    let router = &mut spec.processes[ROUTER.index()];
    router.drain = None;
    router.stop = Wait::new(Some(MS(80)));
    router.hooks.pre_stop = Some(Wait::new(Some(MS(4000))));
    router.hooks.post_stop = Some(Wait::new(Some(MS(4000))));
    let mut play = Play::up(spec);
    play.at(0, Event::Signal(Signal::TERM));
    let begun = play.machine.next_wakeup().unwrap();
    // 1.08 s are for the stops.
    assert_eq!(begun, Time(MS(3920)));
    let hook = HookId { process: None, stage: Stage::PreStop };
    let notes = play.notes(3920, Event::HookEnded { hook, success: true });
    let limit = MS(80);
    let stopping = Note::Stopping { process: ROUTER, signal: Signal::TERM, limit };
    assert!(notes.contains(&stopping), "{notes:?}");
    // Together the stops keep at most a quarter.
    let mut play = Play::up(Spec { window: MS(2000), readiness_delay: MS(60_000), ..gateway() });
    play.at(0, Event::Signal(Signal::TERM));
    assert_eq!(wakes_at(&play), 1500);
}

#[test]
fn there_is_no_readiness_delay_without_processes() {
    let processes = undrained(gateway().processes);
    let mut play = Play::up(Spec { readiness_delay: MS(5000), processes, ..gateway() });
    assert_eq!(play.at(0, exited(ROUTER)), [Action::Unready]);
    assert_eq!(play.at(10, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
}

#[test]
fn the_delay_is_for_what_was_ready() {
    let delay = MS(3000);
    let mut play = Play::up(Spec { readiness_delay: delay, ..gateway() });
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready]);
    assert!(play.at(2999, Event::Tick).is_empty());
    assert_eq!(play.at(3000, Event::Tick), [drain(15_000)]);
    // The engine is not ready yet.
    let mut spec = Spec { readiness_delay: delay, ..gateway() };
    spec.processes[ENGINE.index()].readiness_timeout = Some(MS(10_000));
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready, stop(ENGINE)]);
}

#[test]
fn it_stays_ready_for_a_while_and_refuses_nobody_meanwhile() {
    let spec = Spec { unready_delay: MS(8000), ..gateway() };
    let held = Action::Drain { process: ROUTER, min: MS(8000), longest: MS(15_000) };
    for cause in [Event::Signal(Signal::TERM), Event::DrainRequested] {
        let mut play = Play::up(spec.clone());
        assert_eq!(play.at(0, cause), [Action::StayReady, held.clone()]);
        play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
        assert!(play.samples(50, 7950, 0).is_empty(), "quiet, and still ready");
        assert!(stays_ready(&play));
        assert_eq!(play.at(8000, Event::Tick), [Action::Unready, Action::CloseListeners(ROUTER)]);
        assert!(!stays_ready(&play));
    }
    // A second signal ends it: the processes are stopped.
    let mut play = Play::up(spec.clone());
    play.at(0, Event::Signal(Signal::TERM));
    let hurried = play.at(1000, Event::Signal(Signal::TERM));
    assert_eq!(hurried, [Action::EndDrain(ROUTER), Action::Unready, stop(ROUTER)]);
    // So does the end of a process that it needs, and with an unasked end it does not begin.
    let mut play = Play::up(spec.clone());
    play.at(0, Event::Signal(Signal::TERM));
    assert_eq!(play.at(1000, exited(ENGINE)), [Action::Unready]);
    let mut play = Play::up(spec.clone());
    assert_eq!(play.at(0, exited(ENGINE)), [Action::Unready, drain(5000)]);
    // Without a drain there is nothing to stay ready for.
    let processes = undrained(gateway().processes);
    let mut play = Play::up(Spec { processes, ..spec.clone() });
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready, stop(ROUTER)]);
    // If it is longer than `time`, the drain is, too.
    let mut play = Play::up(Spec { unready_delay: MS(17_000), ..spec });
    let all = Action::Drain { process: ROUTER, min: MS(17_000), longest: MS(17_000) };
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::StayReady, all]);
}

fn stays_ready(play: &Play) -> bool {
    matches!(play.machine.phase(), Phase::Draining(draining) if draining.stays_ready())
}

#[test]
fn leftover_processes_get_term_then_kill() {
    let mut play = Play::up(Spec { processes: undrained(gateway().processes), ..gateway() });
    play.at(0, Event::Signal(Signal::TERM));
    play.at(10, exited(ROUTER));
    assert_eq!(play.at(20, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
    assert!(play.at(20, Event::Leftovers(2)).is_empty());
    assert!(play.at(39, Event::Tick).is_empty());
    // Descendants that were found since.
    assert_eq!(play.at(40, Event::Tick), [Action::Sweep(Signal::TERM)]);
    assert!(play.at(59, Event::Tick).is_empty());
    assert_eq!(play.at(2019, Event::Tick), [Action::Sweep(Signal::TERM)]);
    assert_eq!(play.at(2020, Event::Tick), [Action::Sweep(Signal::KILL)]);
    assert!(play.at(2020, Event::Leftovers(1)).is_empty());
    assert_eq!(play.at(2025, Event::Leftovers(0)), [Action::Exit(137)]);
}

#[test]
fn scans_repeat_until_no_descendant_is_left() {
    let mut play = Play::up(Spec { processes: undrained(gateway().processes), ..gateway() });
    play.at(0, Event::Signal(Signal::TERM));
    play.at(10, exited(ROUTER));
    assert_eq!(play.at(20, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
    assert!(play.at(20, Event::Tick).is_empty());
    assert_eq!(play.at(2020, Event::Tick), [Action::Sweep(Signal::KILL)]);
    for now in (2040..2220).step_by(20) {
        assert!(play.at(now - 20, Event::Tick).is_empty());
        assert_eq!(play.at(now, Event::Tick), [Action::Sweep(Signal::KILL)]);
    }
    assert!(play.at(2200, Event::Tick).is_empty());
    let end = play.machine.handle(Time(MS(2220)), Event::Tick);
    assert_eq!(end, [Action::Note(Note::LeftoversRemain), Action::Exit(137)]);
}

#[test]
fn a_long_scan_leaves_time_to_reap() {
    let mut play = Play::up(Spec { processes: undrained(gateway().processes), ..gateway() });
    play.at(0, Event::Signal(Signal::TERM));
    play.at(10, exited(ROUTER));
    assert_eq!(play.at(20, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
    // The pause is as long as the scan.
    assert!(play.at(320, Event::Leftovers(5000)).is_empty());
    assert!(play.at(619, Event::Tick).is_empty());
    assert_eq!(play.at(620, Event::Tick), [Action::Sweep(Signal::TERM)]);
    assert!(play.at(920, Event::Tick).is_empty());
    assert_eq!(play.at(2020, Event::Tick), [Action::Sweep(Signal::KILL)]);
    // The last of them was killed just now.
    assert!(play.at(2320, Event::Leftovers(5000)).is_empty());
    assert!(play.at(2519, Event::Tick).is_empty());
    assert_eq!(play.at(2519, Event::Leftovers(0)), [Action::Exit(137)]);
}

#[test]
fn restart_pauses_grow_until_the_limit() {
    let mut spec = gateway();
    spec.processes[1].restart =
        Restart { policy: RestartPolicy::OnFailure, delay: MS(100), max: Some(2) };
    let mut play = Play::up(spec);
    let crash = Event::Exited { process: ROUTER, end: End::Signal(Signal::KILL), remains: false };
    let mut now = 0;
    for (attempt, delay) in [(1, 100), (2, 200)] {
        let next = AfterEnd::Restart { delay: MS(delay), attempt };
        let end = End::Signal(Signal::KILL);
        assert_eq!(play.notes(now, crash), [Note::Ended { process: ROUTER, end, next }]);
        now += delay;
        assert_eq!(play.at(now, Event::Tick), [Action::Spawn(ROUTER)]);
        play.at(now, Event::Spawned(ROUTER));
    }
    assert_eq!(play.at(now, crash), [Action::Unready, stop(ENGINE)]);
    play.at(now, exited(ENGINE));
    assert_eq!(play.at(now, Event::Leftovers(0)), [Action::Exit(137)], "128 + KILL: its own code");
}

#[test]
fn hooks_do_not_run_again_for_a_restart() {
    let mut spec = gateway();
    let hook = Some(Wait::new(None));
    let engine = &mut spec.processes[ENGINE.index()];
    engine.hooks = HookWaits { pre_start: hook, pre_stop: hook, post_stop: hook };
    engine.restart.policy = RestartPolicy::Always;
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    let id = HookId { process: Some(ENGINE), stage: Stage::PreStart };
    assert_eq!(play.at(0, Event::Start), [Action::RunHook(id)]);
    let started = play.at(0, Event::HookEnded { hook: id, success: true });
    assert_eq!(started, [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(0, Event::Spawned(ENGINE)), [Action::Spawn(ROUTER)]);
    play.at(0, Event::Spawned(ROUTER));
    assert!(play.at(100, exited(ENGINE)).is_empty(), "no post_stop");
    assert_eq!(play.at(1100, Event::Tick), [Action::Spawn(ENGINE)], "no pre_start");
}

#[test]
fn a_late_start_stops_the_container_whatever_its_policy() {
    for on_exit in [OnExit::Shutdown, OnExit::FailureShutdown, OnExit::Ignore] {
        let mut spec = gateway();
        let engine = &mut spec.processes[ENGINE.index()];
        (engine.on_exit, engine.restart.policy) = (on_exit, RestartPolicy::Always);
        engine.readiness_timeout = Some(MS(3000));
        let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
        play.at(0, Event::Start);
        play.at(0, Event::Spawned(ENGINE));
        assert_eq!(play.at(3000, Event::Tick), [Action::Unready, stop(ENGINE)]);
        play.at(3001, exited(ENGINE));
        assert_eq!(play.at(3001, Event::Leftovers(0)), [Action::Exit(1)]);
    }
}

#[test]
fn a_dependency_that_has_ended_for_good_fulfils_every_condition() {
    for condition in [StartCondition::Started, StartCondition::Ready, StartCondition::Completed] {
        let mut spec = gateway();
        let engine = &mut spec.processes[ENGINE.index()];
        (engine.on_exit, engine.required) = (OnExit::Ignore, false);
        // It ends before it is ready.
        engine.readiness_timeout = Some(MS(3000));
        spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, condition)];
        let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
        play.at(0, Event::Start);
        let mut started = play.at(0, Event::Spawned(ENGINE));
        let crash = Event::Exited { process: ENGINE, end: End::Code(7), remains: false };
        started.extend(play.at(100, crash));
        assert_eq!(started, [Action::Spawn(ROUTER)], "{condition:?}");
    }
}

#[test]
fn a_stop_signal_after_a_crash_does_not_hurry() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Exited { process: ENGINE, end: End::Code(7), remains: false });
    assert_eq!(play.notes(100, Event::Signal(Signal::TERM)), [Note::Hurried(Hurry::Continue)]);
    let second = play.at(200, Event::Signal(Signal::TERM));
    assert_eq!(second, [Action::EndDrain(ROUTER), stop(ROUTER)]);
    assert_eq!(play.at(300, Event::Signal(Signal::TERM)), [Action::Kill(ROUTER)]);
}

#[test]
fn no_process_is_started_after_the_stop_has_begun() {
    let mut spec = gateway();
    spec.processes[0].readiness_timeout = Some(MS(10_000));
    let mut machine = Machine::new(Rc::new(spec), Time(Duration::ZERO));
    machine.handle(Time(Duration::ZERO), Event::Start);
    machine.handle(Time(Duration::ZERO), Event::Spawned(ENGINE));
    let mut play = Play { machine };
    assert_eq!(play.at(50, Event::Signal(Signal::TERM)), [Action::Unready, stop(ENGINE)]);
    assert!(play.at(60, Event::Ready(ENGINE)).is_empty());
    play.at(70, exited(ENGINE));
    assert_eq!(play.at(70, Event::Leftovers(0)), [Action::Exit(0)]);
}

fn undrained(mut processes: Vec<ProcessSpec>) -> Vec<ProcessSpec> {
    for process in &mut processes {
        process.drain = None;
    }
    processes
}

#[test]
fn a_requested_drain_stops_nothing_and_a_signal_continues_from_it() {
    let mut play = Play::up(gateway());
    assert_eq!(play.at(0, Event::DrainRequested), [Action::Unready, drain(15_000)]);
    assert_eq!(play.machine.state().drained_by(ROUTER), Some(Time(MS(15_000))));
    assert!(play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true }).is_empty());
    assert!(play.at(10, Event::DrainRequested).is_empty(), "asked again");
    assert_eq!(play.samples(50, 5000, 0), [(5000, Action::CloseListeners(ROUTER))]);
    play.at(5010, Event::ListenersClosed(ROUTER));
    assert_eq!(play.samples(5050, 5050, 0), [(5050, Action::EndDrain(ROUTER))], "and no stop");
    assert_eq!(play.machine.next_wakeup(), None);
    // The kubelet's grace period began with the drain: 28 s − 6 s are left.
    let notes = play.notes(6000, Event::Signal(Signal::TERM));
    let cause = Cause::Signal(Signal::TERM);
    assert_eq!(notes, [Note::ShutdownBegan { cause, window: MS(22_000) }]);
    let actions = play.at(6010, Event::ListenersClosed(ROUTER));
    assert_eq!(actions, [Action::EndDrain(ROUTER), stop(ROUTER)]);
}

#[test]
fn what_is_open_again_after_a_drain_is_waited_for_while_its_time_lasts() {
    let (closed, term) = (Event::ListenersClosed(ROUTER), Event::Signal(Signal::TERM));
    let open = |active| {
        let load = Load { active: Some(active), total: Some(9), unit: Unit::Requests };
        Event::DrainSample { process: ROUTER, load }
    };
    let again = |play: &mut Play, at| {
        assert!(play.at(at, open(1)).is_empty());
        assert_eq!(play.machine.state().drained_by(ROUTER), None, "nothing is known to be open");
        assert!(play.at(at, closed).is_empty(), "it is waited for");
        assert_eq!(play.machine.state().drained_by(ROUTER), Some(Time(MS(15_000))));
        assert_eq!(play.machine.next_wakeup(), Some(Time(MS(at + 100))));
        // An answer that comes twice is none to the next count.
        play.at(at + 50, open(0));
        assert!(play.at(at + 50, closed).is_empty());
        assert_eq!(play.at(at + 100, Event::Tick), [Action::CloseListeners(ROUTER)]);
    };
    let is_over = [Action::EndDrain(ROUTER), stop(ROUTER)];
    // Until nothing is open.
    let mut play = held(gateway());
    assert_eq!(play.at(6000, term), [Action::CloseListeners(ROUTER)]);
    again(&mut play, 6010);
    play.at(6120, open(0));
    assert_eq!(play.at(6120, closed), is_over);
    // Until the time of the drain is over, and it is counted for the last time.
    let mut play = held(gateway());
    play.at(14_980, term);
    play.at(14_990, open(1));
    assert!(play.notes(14_990, closed).iter().any(|note| matches!(
        note,
        Note::OpenAgain { process: ROUTER, longest, .. } if *longest == MS(10)
    )));
    assert_eq!(play.at(15_000, Event::Tick), [Action::CloseListeners(ROUTER)]);
    play.at(15_010, open(1));
    assert_eq!(play.at(15_010, closed), is_over);
    // The same where the last answer is lost.
    let mut play = held(gateway());
    play.at(14_640, term);
    again(&mut play, 14_650);
    assert_eq!(play.at(15_000, Event::Tick), is_over);
    // A poll for a count whose answer is lost says nothing of the next one.
    let mut play = held(gateway());
    play.at(6000, term);
    again(&mut play, 6010);
    play.at(6120, open(0));
    assert_eq!(play.at(6360, Event::Tick), [Action::CloseListeners(ROUTER)]);
    assert!(play.at(6370, closed).is_empty());
    // Its end is told of: it cuts what it was waited for.
    let mut play = held(gateway());
    play.at(6000, term);
    play.at(6010, open(1));
    play.at(6010, closed);
    let notes = play.notes(6020, exited(ROUTER));
    assert!(notes.iter().any(|note| matches!(note, Note::EndedUndrained { process: ROUTER, .. })));
    // Until a second signal, and while it is paused.
    let mut play = held(gateway());
    play.at(6000, term);
    play.at(6010, open(1));
    play.at(6010, closed);
    assert_eq!(play.at(6020, term), is_over);
    // The connections that `exit_at` allows are not waited for.
    let mut spec = gateway();
    spec.processes[ROUTER.index()].drain.as_mut().unwrap().exit_at = 1;
    let mut play = held(spec);
    play.at(6000, term);
    play.at(6010, open(1));
    assert_eq!(play.at(6010, closed), is_over);
    // Not for what the stop of the container for a failure would need.
    let mut play = held(gateway());
    play.at(6000, Event::Exited { process: ENGINE, end: End::Code(7), remains: false });
    play.at(6010, open(1));
    assert_eq!(play.at(6010, closed), is_over);
}

#[test]
fn every_process_is_counted_again_while_one_is_waited_for() {
    let closed = |process| Event::ListenersClosed(process);
    let open = |process, active| {
        let load = Load { active: Some(active), total: Some(9), unit: Unit::Requests };
        Event::DrainSample { process, load }
    };
    let mut spec = gateway();
    spec.processes[ENGINE.index()].drain = spec.processes[ROUTER.index()].drain;
    let mut play = Play::up(spec);
    play.at(0, Event::DrainRequested);
    for (process, from) in [(ROUTER, 0), (ENGINE, 5050)] {
        play.at(from + 5, Event::DrainAnswered { process, accepted: true });
        for millis in (from + 50..=from + 5000).step_by(50) {
            play.at(millis, open(process, 0));
        }
        play.at(from + 5010, closed(process));
        play.at(from + 5050, open(process, 0));
    }
    let mut counts = |at, event| {
        let mut actions = play.at(at, event);
        actions.sort_by_key(|action| format!("{action:?}"));
        actions
    };
    let both = [ENGINE, ROUTER].map(Action::CloseListeners);
    assert_eq!(counts(11_000, Event::Signal(Signal::TERM)), both);
    for (process, active) in [(ENGINE, 0), (ROUTER, 1)] {
        counts(11_010, open(process, active));
        counts(11_010, closed(process));
    }
    assert_eq!(counts(11_110, Event::Tick), both[1..]);
    counts(11_120, open(ROUTER, 1));
    counts(11_120, closed(ROUTER));
    assert_eq!(counts(11_220, Event::Tick), both);
    counts(11_230, open(ENGINE, 0));
    counts(11_230, closed(ENGINE));
    // An answer is lost: what was open may still be.
    assert_eq!(counts(11_470, Event::Tick), both);
    for process in [ENGINE, ROUTER] {
        counts(11_480, open(process, 0));
    }
    counts(11_480, closed(ENGINE));
    assert_eq!(counts(11_480, closed(ROUTER)), [Action::EndDrain(ROUTER), stop(ROUTER)]);
}

/// A gateway with a requested drain that is over at 5.05 s.
fn held(spec: Spec) -> Play {
    let mut play = Play::up(spec);
    play.at(0, Event::DrainRequested);
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    play.samples(50, 5000, 0);
    play.at(5010, Event::ListenersClosed(ROUTER));
    assert_eq!(play.samples(5050, 5050, 0), [(5050, Action::EndDrain(ROUTER))]);
    play
}

#[test]
fn a_process_drained_earlier_is_counted_again_before_its_stop() {
    let look = || Action::CloseListeners(ROUTER);
    let mut play = held(gateway());
    assert_eq!(play.at(6000, Event::Signal(Signal::TERM)), [look()]);
    let actions = play.at(6010, Event::ListenersClosed(ROUTER));
    assert_eq!(actions, [Action::EndDrain(ROUTER), stop(ROUTER)]);
    // An admin that hangs is not waited for long.
    let mut play = held(gateway());
    assert_eq!(play.at(6000, Event::Signal(Signal::TERM)), [look()]);
    assert!(play.at(6249, Event::Tick).is_empty());
    assert_eq!(play.machine.next_wakeup(), Some(Time(MS(6250))));
    assert_eq!(play.at(6250, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    assert!(play.at(6300, Event::ListenersClosed(ROUTER)).is_empty());
    // After a second signal it is not waited for at all.
    let mut play = held(gateway());
    assert_eq!(play.at(6000, Event::Signal(Signal::TERM)), [look()]);
    let second = play.at(6100, Event::Signal(Signal::TERM));
    assert_eq!(second, [Action::EndDrain(ROUTER), stop(ROUTER)]);
    // A process that is gone by then is not polled.
    let mut play = held(gateway());
    assert_eq!(play.at(6000, exited(ROUTER)), [stop(ENGINE)]);
    let mut play = held(gateway());
    assert_eq!(play.at(6000, Event::Signal(Signal::TERM)), [look()]);
    assert_eq!(play.at(6100, exited(ROUTER)), [Action::EndDrain(ROUTER), stop(ENGINE)]);
}

#[test]
fn while_a_drain_is_held_nothing_is_restarted() {
    for (on_exit, policy) in [
        (OnExit::Shutdown, RestartPolicy::Always),
        (OnExit::Shutdown, RestartPolicy::OnFailure),
        (OnExit::Ignore, RestartPolicy::Always),
    ] {
        let mut spec = gateway();
        spec.processes[0].restart = Restart { policy, delay: MS(1000), max: Some(5) };
        spec.processes[0].on_exit = on_exit;
        let mut play = held(spec);
        let end = Event::Exited { process: ENGINE, end: End::Code(7), remains: false };
        let actions = play.at(6000, end);
        if on_exit == OnExit::Ignore {
            assert!(actions.is_empty(), "the container goes on without it: {actions:?}");
            assert_eq!(play.machine.next_wakeup(), None);
            continue;
        }
        // The runtime restarts the container instead.
        assert_eq!(actions, [Action::CloseListeners(ROUTER)]);
        let actions = play.at(6010, Event::ListenersClosed(ROUTER));
        assert_eq!(actions, [Action::EndDrain(ROUTER), stop(ROUTER)]);
        assert_eq!(play.at(6100, exited(ROUTER)), [Action::Sweep(Signal::TERM)]);
        assert_eq!(play.at(6100, Event::Leftovers(0)), [Action::Exit(7)]);
    }
    // Nor is a process that waited for its restart when the drain was requested.
    let mut spec = gateway();
    spec.processes[0].restart.policy = RestartPolicy::Always;
    let mut play = Play::up(spec);
    play.at(0, Event::Exited { process: ENGINE, end: End::Code(7), remains: false });
    assert_eq!(play.at(10, Event::DrainRequested), [Action::Unready, drain(15_000)]);
    play.at(11, Event::DrainAnswered { process: ROUTER, accepted: true });
    assert!(play.at(2000, Event::Tick).is_empty());
}

#[test]
fn a_process_that_is_busy_again_is_counted_when_its_time_is_over() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    assert_eq!(play.samples(50, 5000, 0), [(5000, Action::CloseListeners(ROUTER))]);
    // A connection slipped in before the listeners were closed, and stays open.
    play.at(5010, Event::ListenersClosed(ROUTER));
    assert!(play.samples(5050, 14_950, 1).is_empty());
    assert_eq!(play.at(15_000, Event::Tick), [Action::CloseListeners(ROUTER)]);
    let actions = play.at(15_010, Event::ListenersClosed(ROUTER));
    assert_eq!(actions, [Action::EndDrain(ROUTER), stop(ROUTER)]);
}

#[test]
fn a_signal_during_a_requested_drain_is_the_first() {
    let mut play = Play::up(gateway());
    play.at(0, Event::DrainRequested);
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    assert!(play.at(1000, Event::Signal(Signal::TERM)).is_empty(), "it goes on");
    let second = play.at(2000, Event::Signal(Signal::TERM));
    assert_eq!(second, [Action::EndDrain(ROUTER), stop(ROUTER)]);
}

#[test]
fn an_earlier_drain_takes_nothing_from_the_grace_period() {
    let mut play = Play::up(gateway());
    play.at(0, Event::DrainRequested);
    play.at(100, Event::DrainAnswered { process: ROUTER, accepted: false });
    assert_eq!(play.at(5000, Event::Tick), [Action::EndDrain(ROUTER)]);
    let notes = play.notes(600_000, Event::Signal(Signal::TERM));
    let cause = Cause::Signal(Signal::TERM);
    assert_eq!(notes[0], Note::ShutdownBegan { cause, window: MS(28_000) });
}

#[test]
fn after_a_pause_beyond_the_deadline_ends_are_still_reaped() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    // The container was paused.
    let kills = [ENGINE, ROUTER].map(Action::Kill);
    let mut actions = play.at(90_000, Event::Tick);
    assert_eq!(actions.remove(0), Action::EndDrain(ROUTER));
    actions.sort_by_key(|action| *action == kills[1]);
    assert_eq!(actions, kills);
    let killed =
        |process| Event::Exited { process, end: End::Signal(Signal::KILL), remains: false };
    assert!(play.at(90_010, killed(ENGINE)).is_empty());
    assert_eq!(play.at(90_020, killed(ROUTER)), [Action::Sweep(Signal::KILL)]);
    assert_eq!(play.at(90_020, Event::Leftovers(0)), [Action::Exit(137)]);
    // A process that survives KILL is not waited for.
    for (deadline, gives_up) in [(28_000, 28_500), (90_000, 90_200)] {
        let mut play = Play::up(gateway());
        play.at(0, Event::Signal(Signal::TERM));
        play.at(15_000.min(deadline - 1), Event::Tick);
        play.at(deadline, Event::Tick);
        assert_eq!(play.machine.next_wakeup(), Some(Time(MS(gives_up))));
        assert!(play.notes(gives_up, Event::Tick).contains(&Note::Unkillable(ROUTER)));
    }
}

#[test]
fn a_drain_ends_when_the_process_reports_it() {
    let mut spec = gateway();
    let drain = DrainSpec {
        time: MS(15_000),
        min: MS(1000),
        closes: false,
        exit_at: 0,
        gradual: false,
        signal: None,
    };
    spec.processes[1].drain = Some(drain);
    let mut play = Play::up(spec.clone());
    play.at(0, Event::Signal(Signal::TERM));
    play.at(1, Event::DrainAnswered { process: ROUTER, accepted: true });
    assert!(play.at(9000, Event::Tick).is_empty());
    assert_eq!(play.at(9001, Event::Drained(ROUTER)), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    let mut play = Play::up(spec);
    play.at(0, Event::Signal(Signal::TERM));
    assert!(play.at(10, Event::Drained(ROUTER)).is_empty(), "min is held");
    assert_eq!(play.at(1000, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
}

/// A router that QUIT drains, and a drain of it that was requested.
fn drained_by_quit() -> Play {
    let mut spec = gateway();
    let signal = Some(Signal::QUIT);
    let drain = DrainSpec {
        time: MS(15_000),
        min: MS(0),
        closes: false,
        exit_at: 0,
        gradual: false,
        signal,
    };
    spec.processes[1].drain = Some(drain);
    let mut play = Play::up(spec);
    play.at(0, Event::DrainRequested);
    play.at(1, Event::DrainAnswered { process: ROUTER, accepted: true });
    play
}

#[test]
fn an_end_that_answers_a_drain_is_no_reason_to_stop() {
    for (millis, end) in [
        (2000, End::Code(0)),
        (2000, End::Signal(Signal::QUIT)),
        (2000, End::Code(131)),
        // Its time was over already.
        (20_000, End::Code(0)),
    ] {
        let mut play = drained_by_quit();
        play.at(15_000.min(millis - 1), Event::Tick);
        let notes = play.notes(millis, Event::Exited { process: ROUTER, end, remains: false });
        let took = Some(MS(millis));
        assert_eq!(
            notes[0],
            Note::Stopped { process: ROUTER, end, took, killed: false, handed_over: false }
        );
        assert_eq!(play.machine.next_wakeup(), None, "nothing is stopped");
        assert_eq!(play.at(21_000, Event::Signal(Signal::TERM)), [stop(ENGINE)]);
        play.at(21_100, exited(ENGINE));
        assert_eq!(play.at(21_100, Event::Leftovers(0)), [Action::Exit(0)]);
    }
}

#[test]
fn any_other_end_during_a_requested_drain_is_a_reason_to_stop() {
    for (end, code) in
        [(End::Code(7), 7), (End::Signal(Signal::KILL), 137), (End::OutOfMemory, 137)]
    {
        let mut play = drained_by_quit();
        let actions = play.at(2000, Event::Exited { process: ROUTER, end, remains: false });
        assert_eq!(actions, [Action::EndDrain(ROUTER), stop(ENGINE)]);
        play.at(2100, exited(ENGINE));
        assert_eq!(play.at(2100, Event::Leftovers(0)), [Action::Exit(code)]);
    }
}

#[test]
fn a_requested_drain_ends_with_the_last_process_of_a_container() {
    let mut spec = gateway();
    spec.processes.iter_mut().for_each(|process| process.on_exit = OnExit::Ignore);
    let mut play = held(spec);
    assert_eq!(play.at(6000, exited(ROUTER)), []);
    let notes = play.notes(6100, exited(ENGINE));
    let began = |note: &Note| matches!(note, Note::ShutdownBegan { cause: Cause::AllEnded, .. });
    assert!(notes.iter().any(began), "{notes:?}");
}

#[test]
fn an_earlier_wait_is_fitted_into_the_stop() {
    let mut spec = gateway();
    spec.window = MS(4000);
    spec.processes[ROUTER.index()].drain = None;
    for process in &mut spec.processes {
        process.stop = Wait::new(None);
    }
    let crash = Event::Exited { process: ROUTER, end: End::Code(3), remains: true };
    // The shutdown begins by the crash itself, or by a signal while a restart waits for the group.
    for restart in [RestartPolicy::No, RestartPolicy::Always] {
        spec.processes[ROUTER.index()].restart.policy = restart;
        let mut play = Play::up(spec.clone());
        play.at(0, crash);
        play.at(0, Event::Signal(Signal::TERM));
        let kill_at = play.machine.next_wakeup().unwrap();
        assert_eq!(kill_at, Time(MS(3000)), "the engine's second is kept");
        assert_eq!(play.at(3000, Event::Tick), [Action::Kill(ROUTER)]);
        assert_eq!(play.at(3001, Event::GroupGone(ROUTER)), [stop(ENGINE)]);
    }
}

#[test]
fn an_earlier_hook_is_fitted_into_the_stop() {
    let mut spec = gateway();
    spec.window = MS(4000);
    let router = &mut spec.processes[ROUTER.index()];
    (router.drain, router.on_exit) = (None, OnExit::Ignore);
    router.hooks.post_stop = Some(Wait::new(Some(MS(60_000))));
    spec.processes[ENGINE.index()].stop = Wait::new(Some(MS(1000)));
    let mut play = Play::up(spec);
    let hook = HookId { process: Some(ROUTER), stage: Stage::PostStop };
    assert_eq!(play.at(0, exited(ROUTER)), [Action::RunHook(hook)]);
    play.at(1000, Event::Signal(Signal::TERM));
    let over = play.machine.next_wakeup().unwrap();
    assert!(over < Time(MS(5000)), "{over:?}");
    let abort = Action::AbortHook(hook);
    assert_eq!(play.machine.handle(over, Event::Tick)[0], abort);
}

#[test]
fn dependencies_do_not_wait_for_a_process_that_survives_kill() {
    let mut play = Play::up(gateway());
    play.at(0, Event::Signal(Signal::TERM));
    play.at(1000, Event::Signal(Signal::TERM));
    assert_eq!(play.at(6000, Event::Tick), [Action::Kill(ROUTER)]);
    assert!(play.at(6199, Event::Tick).is_empty());
    assert_eq!(play.at(6200, Event::Tick), [stop(ENGINE)]);
    // It may still end.
    assert!(play.at(6300, exited(ROUTER)).is_empty());
    assert_eq!(play.at(6400, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
}

#[test]
fn others_of_its_group_that_survive_their_kill_do_not_hold_its_dependencies_back() {
    let mut spec = gateway();
    spec.processes[ROUTER.index()].drain = None;
    let mut play = Play::up(spec);
    play.at(0, Event::Signal(Signal::TERM));
    play.at(0, Event::Exited { process: ROUTER, end: End::Code(0), remains: true });
    let kill_at = play.machine.next_wakeup().unwrap();
    assert_eq!(play.machine.handle(kill_at, Event::Tick)[0], Action::Kill(ROUTER));
    let gives_up_at = play.machine.next_wakeup().unwrap();
    assert_eq!(gives_up_at, kill_at + MS(200));
    assert_eq!(play.machine.handle(gives_up_at, Event::Tick)[0], stop(ENGINE));
    assert!(play.machine.next_wakeup().unwrap() > gives_up_at);
}

#[test]
fn after_a_stop_signal_before_the_start_nothing_is_started() {
    let mut spec = gateway();
    spec.hooks = HookWaits {
        pre_start: Some(Wait::new(None)),
        pre_stop: Some(Wait::new(None)),
        post_stop: Some(Wait::new(None)),
    };
    let mut machine = Machine::new(Rc::new(spec), Time(MS(100)));
    let mut at = |millis, event| {
        let mut actions = machine.handle(Time(MS(millis)), event);
        actions.retain(|action| !matches!(action, Action::Note(_)));
        actions
    };
    let stopped = [Action::Unready, Action::Sweep(Signal::TERM)];
    assert_eq!(at(100, Event::Signal(Signal::TERM)), stopped);
    assert!(at(110, Event::Start).is_empty());
    assert_eq!(at(110, Event::Leftovers(0)), [Action::Exit(0)]);
}

#[test]
fn a_held_drain_leaves_time_for_the_stop() {
    let window_after = |over: u64, signal: u64| {
        let mut spec = gateway();
        for process in &mut spec.processes {
            process.stop = Wait::new(None);
        }
        let mut play = Play::up(spec);
        play.at(0, Event::DrainRequested);
        play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
        play.samples(over - 200, over, 0);
        play.at(over, Event::ListenersClosed(ROUTER));
        play.samples(over, over, 0);
        match play.notes(signal, Event::Signal(Signal::TERM))[..] {
            [Note::ShutdownBegan { window, .. }, ..] => window,
            ref other => panic!("{other:?}"),
        }
    };
    // Requested by a `preStop` hook: the drain is part of the grace period.
    assert_eq!(window_after(10_000, 10_500), MS(17_500));
    // Requested by hand: the stop comes later.
    assert_eq!(window_after(10_000, 12_100), MS(28_000));
    // Less than 3 s for each of the two stops would be left.
    let mut spec = gateway();
    for process in &mut spec.processes {
        process.stop = Wait::new(None);
    }
    let mut play = Play::up(spec);
    play.at(0, Event::DrainRequested);
    let signal = Event::Signal(Signal::TERM);
    let cause = Cause::Signal(Signal::TERM);
    let began = Note::ShutdownBegan { cause, window: MS(28_000) };
    assert_eq!(play.notes(22_500, signal)[0], began);
}

#[test]
fn a_run_of_60_s_begins_the_count_of_restarts_again() {
    for (lived, attempt) in [(59_999, 2), (60_000, 1)] {
        let mut spec = gateway();
        let policy = RestartPolicy::OnFailure;
        spec.processes[ROUTER.index()].restart = Restart { policy, delay: MS(100), max: Some(9) };
        let mut play = Play::up(spec);
        let end = End::Code(7);
        let crash = Event::Exited { process: ROUTER, end, remains: false };
        play.at(0, crash);
        play.at(100, Event::Tick);
        play.at(100, Event::Spawned(ROUTER));
        let next = AfterEnd::Restart { delay: MS(100) * attempt, attempt };
        let ended = Note::Ended { process: ROUTER, end, next };
        assert_eq!(play.notes(100 + lived, crash), [ended], "{lived}");
    }
}

#[test]
fn a_failed_process_is_missed_only_if_required() {
    let limited = Restart { policy: RestartPolicy::Always, delay: MS(100), max: Some(0) };
    let never = Restart { policy: RestartPolicy::No, ..limited };
    let (gives_up, nothing) = (AfterEnd::GivesUp, AfterEnd::Nothing);
    let stays_down = AfterEnd::StaysDown;
    for (required, restart, code, next, ready) in [
        (true, limited, 1, gives_up, false),
        (true, limited, 0, gives_up, false),
        (true, never, 1, stays_down, false),
        (true, never, 3, nothing, true),
        (true, never, 0, nothing, true),
        (false, limited, 1, gives_up, true),
    ] {
        let mut spec = gateway();
        let router = &mut spec.processes[ROUTER.index()];
        (router.on_exit, router.required, router.restart) = (OnExit::Ignore, required, restart);
        router.success_codes = vec![0, 3];
        let mut play = Play::up(spec);
        let end = End::Code(code);
        let crash = Event::Exited { process: ROUTER, end, remains: false };
        assert_eq!(play.notes(50, crash), [Note::Ended { process: ROUTER, end, next }]);
        let Phase::Running(running) = play.machine.phase() else { panic!("it goes on") };
        assert_eq!(running.is_ready(play.machine.state()), ready);
    }
}

fn ask(process: ProcessId, request: Request) -> Event {
    Event::Requested { process, request }
}

fn done(process: ProcessId, request: Request) -> Note {
    Note::RequestDone { process, request }
}

fn failed(process: ProcessId, request: Request, why: RequestError) -> Note {
    Note::RequestFailed { process, request, why }
}

fn began(process: ProcessId, request: Request) -> Note {
    Note::RequestBegan { process, request }
}

fn is_ready(play: &Play) -> bool {
    let Phase::Running(running) = play.machine.phase() else { panic!("it goes on") };
    running.is_ready(play.machine.state())
}

/// A gateway that a request stops, from its drain to the end of the engine.
fn stopped() -> Play {
    let mut play = Play::up(gateway());
    assert_eq!(play.at(1000, ask(ENGINE, Request::Stop)), [drain(15_000)], "dependents first");
    assert!(!is_ready(&play));
    play.at(1005, Event::DrainAnswered { process: ROUTER, accepted: false });
    let after_min = play.at(6000, Event::Tick);
    assert_eq!(after_min, [Action::EndDrain(ROUTER), stop(ROUTER)]);
    assert_eq!(play.at(6100, exited(ROUTER)), [stop(ENGINE)]);
    assert_eq!(play.notes(6200, exited(ENGINE)).last(), Some(&done(ENGINE, Request::Stop)));
    play
}

#[test]
fn a_stopped_process_stays_down_and_the_container_up() {
    let mut play = stopped();
    assert_eq!(play.machine.next_wakeup(), None);
    for process in [ENGINE, ROUTER] {
        let life = play.machine.state().life(process);
        assert_eq!(life, crate::core::state::Lifecycle::Stopped { failed: false });
    }
    assert!(!is_ready(&play), "both are required");
    let again = [began(ENGINE, Request::Stop), done(ENGINE, Request::Stop)];
    assert_eq!(play.notes(7000, ask(ENGINE, Request::Stop)), again);
    assert_eq!(play.machine.state().restarts[0].total, 0);
    // Nothing is left to stop.
    let signal = play.at(8000, Event::Signal(Signal::TERM));
    assert_eq!(signal, [Action::Unready, Action::Sweep(Signal::TERM)]);
    assert_eq!(play.at(8000, Event::Leftovers(0)), [Action::Exit(0)]);
}

#[test]
fn a_start_begins_with_the_dependencies() {
    let mut play = stopped();
    assert_eq!(play.at(7000, ask(ROUTER, Request::Start)), [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(7000, Event::Spawned(ENGINE)), [Action::Spawn(ROUTER)]);
    let notes = play.notes(7000, Event::Spawned(ROUTER));
    assert_eq!(notes, [Note::Started(ROUTER), done(ROUTER, Request::Start)]);
    assert!(is_ready(&play));
    // The new instance is drained like the first.
    assert_eq!(play.at(8000, Event::Signal(Signal::TERM)), [Action::Unready, drain(15_000)]);
}

#[test]
fn a_restart_leaves_dependents_alone_and_is_not_counted() {
    let mut play = Play::up(Spec { processes: undrained(gateway().processes), ..gateway() });
    assert_eq!(play.at(1000, ask(ENGINE, Request::Restart)), [stop(ENGINE)]);
    // A crash meanwhile is an end like any other.
    let crash = Event::Exited { process: ENGINE, end: End::Code(7), remains: false };
    assert_eq!(play.at(1100, crash), [Action::Spawn(ENGINE)]);
    let notes = play.notes(1100, Event::Spawned(ENGINE));
    assert_eq!(notes, [Note::Started(ENGINE), done(ENGINE, Request::Restart)]);
    assert_eq!(play.machine.state().restarts[0].total, 0);
    // A process that ignores its signal is killed, as in a shutdown, and started again.
    play.at(2000, ask(ENGINE, Request::Restart));
    assert!(play.at(6999, Event::Tick).is_empty());
    assert_eq!(play.at(7000, Event::Tick), [Action::Kill(ENGINE)]);
    assert_eq!(play.at(7001, exited(ENGINE)), [Action::Spawn(ENGINE)]);
}

#[test]
fn a_failed_start_by_request_does_not_end_the_container() {
    let mut spec = Spec { processes: undrained(gateway().processes), ..gateway() };
    spec.processes[1].hooks.pre_start = Some(Wait::new(None));
    spec.processes[1].readiness_timeout = Some(MS(3000));
    let hook = HookId { process: Some(ROUTER), stage: Stage::PreStart };
    let up = || {
        let mut play = Play { machine: Machine::new(Rc::new(spec.clone()), Time(Duration::ZERO)) };
        play.at(0, Event::Start);
        play.at(0, Event::Spawned(ENGINE));
        play.at(0, Event::HookEnded { hook, success: true });
        play.at(0, Event::Spawned(ROUTER));
        play.at(0, Event::Ready(ROUTER));
        play.at(10, ask(ROUTER, Request::Restart));
        assert_eq!(play.at(20, exited(ROUTER)), [Action::RunHook(hook)], "the whole start");
        play
    };
    let has = |notes: Vec<Note>, why| {
        assert!(notes.contains(&failed(ROUTER, Request::Restart, why)), "{notes:?}");
    };
    let mut play = up();
    let notes = play.notes(30, Event::HookEnded { hook, success: false });
    has(notes, RequestError::HookFailed(ROUTER));
    assert!(!is_ready(&play));
    // It can be started again.
    assert_eq!(play.at(40, ask(ROUTER, Request::Start)), [Action::RunHook(hook)]);
    let mut play = up();
    play.at(30, Event::HookEnded { hook, success: true });
    let notes = play.notes(30, Event::SpawnFailed { process: ROUTER, exit_code: 127 });
    has(notes, RequestError::SpawnFailed(ROUTER));
    assert!(!is_ready(&play));
    let mut play = up();
    play.at(30, Event::HookEnded { hook, success: true });
    play.at(30, Event::Spawned(ROUTER));
    let end = End::Code(7);
    let notes = play.notes(40, Event::Exited { process: ROUTER, end, remains: false });
    has(notes, RequestError::Ended { process: ROUTER, end, was_ready: false });
    assert!(!is_ready(&play));
    let mut play = up();
    play.at(30, Event::HookEnded { hook, success: true });
    play.at(30, Event::Spawned(ROUTER));
    let mut actions = play.machine.handle(Time(MS(3030)), Event::Tick);
    let why = RequestError::NotReady { process: ROUTER, after: MS(3000) };
    let notes = actions.extract_if(.., |action| matches!(action, Action::Note(_)));
    assert!(notes.collect::<Vec<_>>().contains(&Action::Note(failed(
        ROUTER,
        Request::Restart,
        why
    ))));
    assert_eq!(actions, [stop(ROUTER)], "it is stopped");
    play.at(3040, exited(ROUTER));
    let life = play.machine.state().life(ROUTER);
    assert_eq!(life, crate::core::state::Lifecycle::Stopped { failed: true });
}

#[test]
fn requests_for_the_same_process_do_not_mix() {
    let mut play = Play::up(Spec { processes: undrained(gateway().processes), ..gateway() });
    play.at(1000, ask(ROUTER, Request::Restart));
    assert!(play.notes(1001, ask(ROUTER, Request::Restart)).is_empty(), "they share an answer");
    let notes = play.notes(1002, ask(ROUTER, Request::Start));
    let busy = failed(ROUTER, Request::Start, RequestError::Busy(ROUTER));
    assert_eq!(notes, [began(ROUTER, Request::Start), busy]);
    // A stop replaces it; the router was asked to end already.
    let notes = play.notes(1003, ask(ENGINE, Request::Stop));
    let superseded = failed(ROUTER, Request::Restart, RequestError::Superseded(ROUTER));
    assert_eq!(notes, [began(ENGINE, Request::Stop), superseded]);
    assert_eq!(play.at(1100, exited(ROUTER)), [stop(ENGINE)]);
    assert_eq!(play.notes(1200, exited(ENGINE)).last(), Some(&done(ENGINE, Request::Stop)));
}

#[test]
fn a_start_waits_for_the_answer_of_a_stop_of_what_is_down() {
    let mut spec = gateway();
    spec.processes[ENGINE.index()].on_exit = OnExit::Ignore;
    let mut play = Play::up(spec);
    play.at(500, Event::Exited { process: ENGINE, end: End::Code(7), remains: false });
    play.at(1000, ask(ENGINE, Request::Stop));
    let busy = failed(ENGINE, Request::Start, RequestError::Busy(ENGINE));
    assert_eq!(play.notes(1100, ask(ENGINE, Request::Start)).last(), Some(&busy));
    let notes = play.notes(1200, exited(ROUTER));
    assert_eq!(notes.last(), Some(&done(ENGINE, Request::Stop)));
}

#[test]
fn a_shutdown_goes_on_where_a_request_has_got() {
    // Its drain is under way.
    let mut play = Play::up(gateway());
    assert_eq!(play.at(1000, ask(ROUTER, Request::Restart)), [drain(15_000)]);
    let notes = play.notes(2000, Event::Signal(Signal::TERM));
    assert_eq!(notes[0], failed(ROUTER, Request::Restart, RequestError::ShuttingDown));
    assert!(play.at(2005, Event::DrainAnswered { process: ROUTER, accepted: false }).is_empty());
    assert_eq!(play.at(6000, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    assert_eq!(play.at(6010, exited(ROUTER)), [stop(ENGINE)]);
    // It was asked to end; the shutdown leaves less time than its own.
    let mut spec = Spec { processes: undrained(gateway().processes), ..gateway() };
    (spec.window, spec.processes[1].stop) = (MS(6000), Wait::new(Some(MS(60_000))));
    let mut play = Play::up(spec);
    assert_eq!(play.at(1000, ask(ROUTER, Request::Stop)), [stop(ROUTER)]);
    assert_eq!(play.at(2000, Event::Signal(Signal::TERM)), [Action::Unready]);
    let kill_at = play.machine.next_wakeup().unwrap();
    assert!(kill_at < Time(MS(8000)), "{kill_at:?}");
    assert_eq!(play.machine.handle(kill_at, Event::Tick)[0], Action::Kill(ROUTER));
    // A requested drain: nothing is started after the stop that is under way.
    let mut play = Play::up(Spec { processes: undrained(gateway().processes), ..gateway() });
    play.at(1000, ask(ROUTER, Request::Restart));
    let notes = play.notes(2000, Event::DrainRequested);
    assert_eq!(notes[0], failed(ROUTER, Request::Restart, RequestError::Drained));
    assert!(play.at(2100, exited(ROUTER)).is_empty());
    let notes = play.notes(2200, ask(ROUTER, Request::Start));
    assert_eq!(notes, [failed(ROUTER, Request::Start, RequestError::Drained)]);
}

#[test]
fn after_a_failed_liveness_check_the_policy_decides() {
    let mut spec = gateway();
    spec.processes[1].restart =
        Restart { policy: RestartPolicy::OnFailure, delay: MS(100), max: Some(1) };
    let mut play = Play::up(spec);
    for attempt in 1..=2 {
        let at = 10_000 * attempt;
        let unhealthy = play.at(at, Event::Unhealthy(ROUTER));
        assert_eq!(unhealthy, [drain(5000)], "drained, but only for min");
        play.at(at + 5000, Event::Tick);
        play.at(at + 5010, Event::ListenersClosed(ROUTER));
        if attempt == 1 {
            play.at(at + 5100, exited(ROUTER));
            assert_eq!(play.at(at + 5200, Event::Tick), [Action::Spawn(ROUTER)]);
            play.at(at + 5200, Event::Spawned(ROUTER));
            assert_eq!(play.machine.state().restarts[1].total, 1, "it is counted");
            continue;
        }
        let notes = play.notes(at + 5100, exited(ROUTER));
        let cause = Cause::Unhealthy(ROUTER);
        assert!(notes.contains(&Note::ShutdownBegan { cause, window: MS(28_000) }), "{notes:?}");
        play.at(at + 5200, exited(ENGINE));
        assert_eq!(play.at(at + 5200, Event::Leftovers(0)), [Action::Exit(1)]);
    }
}

fn extended(process: ProcessId, by: u64) -> Event {
    Event::TimeoutExtended { process, by: MS(by) }
}

#[test]
fn a_process_that_asks_for_more_time_gets_what_the_later_stops_leave() {
    let mut spec = gateway();
    spec.processes = undrained(spec.processes);
    let mut play = Play::up(spec);
    assert_eq!(play.at(0, Event::Signal(Signal::TERM)), [Action::Unready, stop(ROUTER)]);
    let longer = |limit| Note::TimeoutExtended { process: ROUTER, limit: MS(limit) };
    assert_eq!(play.notes(1000, extended(ROUTER, 2000)), [], "it has 4 s");
    assert_eq!(play.notes(4000, extended(ROUTER, 10_000)), [longer(10_000)]);
    assert_eq!(play.machine.next_wakeup(), Some(Time(MS(14_000))));
    assert_eq!(play.notes(4500, extended(ROUTER, 10_000)), [], "noted a moment ago");
    assert_eq!(play.machine.next_wakeup(), Some(Time(MS(14_500))));
    // The engine needs 5 of 28 seconds.
    assert_eq!(play.notes(13_000, extended(ROUTER, 60_000)), [longer(10_000)]);
    assert!(play.at(22_999, Event::Tick).is_empty());
    assert_eq!(play.at(23_000, Event::Tick), [Action::Kill(ROUTER)]);
    assert_eq!(play.notes(23_001, extended(ROUTER, 60_000)), []);
    let stopped = Note::Stopping { process: ENGINE, signal: Signal::TERM, limit: MS(4998) };
    assert!(play.notes(23_002, exited(ROUTER)).contains(&stopped));
}

#[test]
fn a_shutdown_leaves_a_process_the_time_that_it_was_granted_before() {
    let mut spec = gateway();
    spec.processes = undrained(spec.processes);
    spec.processes[1].stop = Wait::new(Some(MS(1000)));
    let mut play = Play::up(spec);
    let restart = Event::Requested { process: ROUTER, request: Request::Restart };
    assert!(play.at(0, restart).contains(&stop(ROUTER)));
    play.at(500, extended(ROUTER, 60_000));
    play.at(10_000, Event::Signal(Signal::TERM));
    // The engine needs 5 of 28 seconds.
    assert!(play.at(32_999, Event::Tick).is_empty());
    assert_eq!(play.at(33_000, Event::Tick), [Action::Kill(ROUTER)]);
}

#[test]
fn a_process_that_asks_for_more_time_may_take_longer_to_start() {
    let mut spec = gateway();
    spec.processes[0].readiness_timeout = Some(MS(10_000));
    let mut machine = Machine::new(Rc::new(spec), Time(Duration::ZERO));
    machine.handle(Time(Duration::ZERO), Event::Start);
    machine.handle(Time(Duration::ZERO), Event::Spawned(ENGINE));
    let mut play = Play { machine };
    play.at(9000, extended(ENGINE, 5000));
    assert_eq!(play.machine.next_wakeup(), Some(Time(MS(14_000))));
    // A message that comes too late changes nothing.
    let failed = Note::NotReady { process: ENGINE, after: MS(14_000) };
    assert!(play.notes(14_000, extended(ENGINE, 5000)).contains(&failed));
}

fn probed(process: ProcessId, is_alive: bool) -> Event {
    Event::LivenessProbed { process, is_alive }
}

#[test]
fn a_liveness_check_fails_after_enough_failures_in_a_row() {
    let mut spec = gateway();
    spec.processes[1].liveness_retries = Some(3);
    spec.processes[1].restart.policy = RestartPolicy::OnFailure;
    let mut machine = Machine::new(Rc::new(spec), Time(Duration::ZERO));
    machine.handle(Time(Duration::ZERO), Event::Start);
    machine.handle(Time(Duration::ZERO), Event::Spawned(ENGINE));
    let mut play = Play { machine };
    assert_eq!(play.at(0, Event::Spawned(ROUTER)), [Action::WatchLiveness(ROUTER)]);
    let failed = |failures| [Note::ProbeFailed { process: ROUTER, failures, retries: 3 }];
    assert_eq!(play.notes(1000, probed(ROUTER, false)), failed(1));
    assert_eq!(play.notes(2000, probed(ROUTER, false)), failed(2));
    assert_eq!(play.notes(3000, probed(ROUTER, true)), []);
    assert_eq!(play.notes(4000, probed(ROUTER, false)), failed(1));
    assert_eq!(play.notes(5000, probed(ROUTER, false)), failed(2));
    // It is drained, but only for `min`: it does not serve its clients.
    assert_eq!(play.at(6000, probed(ROUTER, false)), [drain(5000)]);
    assert_eq!(play.machine.state().probe_failures[1].total, 5);
    assert!(play.at(6001, probed(ROUTER, false)).is_empty(), "once is enough");
    play.at(6002, Event::DrainAnswered { process: ROUTER, accepted: false });
    assert_eq!(play.at(11_000, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    let again = AfterEnd::Restart { delay: MS(1000), attempt: 1 };
    let notes = play.notes(11_100, exited(ROUTER));
    assert!(
        notes.contains(&Note::Unhealthy { process: ROUTER, next: Some(again) }),
        "although its code is 0: {notes:?}"
    );
    assert_eq!(play.at(12_100, Event::Tick), [Action::Spawn(ROUTER)]);
}

#[test]
fn a_shutdown_counts_no_failures_of_liveness_checks() {
    let mut spec = gateway();
    spec.processes[1].liveness_retries = Some(1);
    let mut play = Play::up(spec);
    play.at(0, Event::Signal(Signal::TERM));
    assert!(play.at(1000, probed(ROUTER, false)).is_empty());
    assert!(play.at(1000, Event::Unhealthy(ROUTER)).is_empty());
    assert_eq!(play.machine.state().probe_failures[1].total, 0);
}

#[test]
fn a_code_of_success_codes_is_no_failure() {
    let policy = RestartPolicy::OnFailure;
    for (code, restarts, exit) in [(2, false, Some(0)), (0, false, Some(0)), (1, true, None)] {
        let mut spec = gateway();
        let router = &mut spec.processes[ROUTER.index()];
        (router.success_codes, router.restart.policy) = (vec![0, 2], policy);
        let mut play = Play::up(spec);
        let end = End::Code(code);
        let notes = play.notes(50, Event::Exited { process: ROUTER, end, remains: false });
        let restart =
            |note: &Note| matches!(note, Note::Ended { next: AfterEnd::Restart { .. }, .. });
        assert_eq!(notes.iter().any(restart), restarts, "{notes:?}");
        let cause = notes.iter().find_map(|note| match note {
            Note::ShutdownBegan { cause, .. } => Some(cause.exit_code(false)),
            _ => None,
        });
        assert_eq!(cause, exit);
    }
}

/// An engine that is a oneshot with a `timeout` of 1 s, and a router that waits for it.
fn slow_task(keys: impl Fn(&mut ProcessSpec)) -> Play {
    let mut spec = gateway();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.oneshot, engine.timeout) = (true, Some(MS(1000)));
    engine.stop = Wait::new(Some(MS(200)));
    keys(engine);
    spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, StartCondition::Completed)];
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    assert_eq!(play.at(0, Event::Start), [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(0, Event::Spawned(ENGINE)), []);
    assert_eq!(play.at(999, Event::Tick), []);
    play
}

#[test]
fn a_oneshot_that_takes_too_long_is_stopped_and_has_failed() {
    let stop = Action::Stop { process: ENGINE, signal: Signal::TERM };
    let gone = |code| Event::Exited { process: ENGINE, end: End::Code(code), remains: false };
    let why = StartFailure::TimedOut { after: MS(1000) };
    // Also if it ends well at the last moment.
    let mut play = slow_task(|_| {});
    assert_eq!(play.at(1000, Event::Tick), std::slice::from_ref(&stop));
    let notes = play.notes(1050, gone(0));
    let failed = Note::StartFailed { process: ENGINE, why, next: AfterEnd::Shutdown };
    assert!(notes.contains(&failed), "{notes:?}");
    let cause = Cause::TimedOut(ENGINE);
    assert!(notes.contains(&Note::ShutdownBegan { cause, window: MS(28_000) }), "{notes:?}");
    assert_eq!(cause.exit_code(false), 1);

    // It is killed, and restarted by its policy; what waits for it starts once it completes.
    let mut play = slow_task(|engine| engine.restart.policy = RestartPolicy::OnFailure);
    assert_eq!(play.at(1000, Event::Tick), std::slice::from_ref(&stop));
    assert_eq!(play.at(1200, Event::Tick), [Action::Kill(ENGINE)]);
    let end = End::Signal(Signal::KILL);
    assert_eq!(play.at(1201, Event::Exited { process: ENGINE, end, remains: false }), []);
    assert_eq!(play.at(2201, Event::Tick), [Action::Spawn(ENGINE)]);
    play.at(2201, Event::Spawned(ENGINE));
    assert_eq!(play.at(2300, gone(0)), [Action::Spawn(ROUTER)]);

    // With `on_exit: ignore` the container goes on, and is not ready.
    let mut play = slow_task(|engine| engine.on_exit = OnExit::Ignore);
    assert_eq!(play.at(1000, Event::Tick), [stop]);
    assert_eq!(play.at(1050, gone(0)), [Action::Spawn(ROUTER)]);
    play.at(1050, Event::Spawned(ROUTER));
    let Phase::Running(running) = play.machine.phase() else { panic!("it goes on") };
    assert!(!running.is_ready(play.machine.state()));
}

#[test]
fn the_container_goes_on_without_a_process_that_may_be_missing() {
    let optional = |restart: RestartPolicy| {
        let mut spec = gateway();
        let engine = &mut spec.processes[ENGINE.index()];
        (engine.required, engine.on_exit) = (false, OnExit::Ignore);
        engine.restart = Restart { policy: restart, delay: MS(100), max: None };
        spec
    };
    let play = |spec: Spec| Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    let failed = |why, next| Note::StartFailed { process: ENGINE, why, next };
    let spawn_failed = Event::SpawnFailed { process: ENGINE, exit_code: 127 };

    // Its command does not exist: what depends on it is started.
    let mut missing = play(optional(RestartPolicy::No));
    missing.at(0, Event::Start);
    assert_eq!(missing.at(1, spawn_failed), [Action::Spawn(ROUTER)]);
    assert!(missing.notes(2, Event::Spawned(ROUTER)).contains(&Note::AllReady));

    // It is tried again.
    let mut missing = play(optional(RestartPolicy::OnFailure));
    missing.at(0, Event::Start);
    let next = AfterEnd::Restart { delay: MS(100), attempt: 1 };
    assert_eq!(missing.notes(1, spawn_failed), [failed(StartFailure::Spawn, next)]);
    assert_eq!(missing.at(101, Event::Tick), [Action::Spawn(ENGINE)]);
    assert_eq!(missing.at(101, Event::Spawned(ENGINE)), [Action::Spawn(ROUTER)]);

    // Its hook fails.
    let mut spec = optional(RestartPolicy::No);
    spec.processes[ENGINE.index()].hooks.pre_start = Some(Wait::DEFAULT);
    let mut hook = play(spec);
    hook.at(0, Event::Start);
    let id = HookId { process: Some(ENGINE), stage: Stage::PreStart };
    let ended = Event::HookEnded { hook: id, success: false };
    assert_eq!(hook.at(1, ended), [Action::Spawn(ROUTER)]);

    // Its values cannot be read, so that its hook does not run.
    let mut spec = optional(RestartPolicy::No);
    spec.processes[ENGINE.index()].hooks.pre_start = Some(Wait::DEFAULT);
    let mut values = play(spec.clone());
    values.at(0, Event::Start);
    let failed = Event::SpawnFailed { process: ENGINE, exit_code: 1 };
    assert_eq!(values.at(1, failed), [Action::AbortHook(id), Action::Spawn(ROUTER)]);
    spec.processes[ENGINE.index()].required = true;
    spec.processes[ENGINE.index()].on_exit = OnExit::Shutdown;
    let mut values = play(spec);
    values.at(0, Event::Start);
    let cause = Cause::SpawnFailed { process: ENGINE, exit_code: 1 };
    let window = gateway().window;
    assert_eq!(values.notes(1, failed), [Note::ShutdownBegan { cause, window }]);

    // It is not ready in time, and is stopped.
    let mut spec = optional(RestartPolicy::No);
    spec.processes[ENGINE.index()].readiness_timeout = Some(MS(1000));
    let mut slow = play(spec);
    slow.at(0, Event::Start);
    slow.at(0, Event::Spawned(ENGINE));
    let stop = Action::Stop { process: ENGINE, signal: Signal::TERM };
    assert_eq!(slow.at(1000, Event::Tick), [stop]);
    let end = End::Signal(Signal::TERM);
    let gone = Event::Exited { process: ENGINE, end, remains: false };
    assert_eq!(slow.at(1001, gone), [Action::Spawn(ROUTER)]);
}

fn changed(process: ProcessId, watch: usize) -> Event {
    Event::FileChanged { process, watch }
}

/// A gateway without drains whose router watches two files.
fn watching() -> Spec {
    let mut spec = Spec { processes: undrained(gateway().processes), ..gateway() };
    spec.processes[1].watch = vec![WatchAction::Restart, WatchAction::Signal(Signal::HUP)];
    spec
}

#[test]
fn a_change_restarts_or_signals_what_is_ready() {
    let mut play = Play::up(watching());
    let hup = Action::Signal { process: ROUTER, signal: Signal::HUP };
    assert_eq!(play.at(1000, changed(ROUTER, 1)), [hup]);
    let action = WatchAction::Restart;
    let began = Note::FileChanged { process: ROUTER, watch: 0, action };
    let stopping = Note::Stopping { process: ROUTER, signal: Signal::TERM, limit: MS(5000) };
    assert_eq!(play.notes(2000, changed(ROUTER, 0)), [began, stopping]);
    // The start reads a change that came during the stop.
    assert!(play.at(2001, changed(ROUTER, 0)).is_empty());
    assert!(play.at(2002, changed(ROUTER, 1)).is_empty());
    assert_eq!(play.at(2100, exited(ROUTER)), [Action::Spawn(ROUTER)]);
    let notes = play.notes(2100, Event::Spawned(ROUTER));
    assert_eq!(notes, [Note::Started(ROUTER), done(ROUTER, Request::Restart)]);
    // A request of the operator counts as well.
    play.at(3000, ask(ROUTER, Request::Restart));
    play.at(3001, changed(ROUTER, 0));
    assert_eq!(play.at(3100, exited(ROUTER)), [Action::Spawn(ROUTER)]);
    let notes = play.notes(3100, Event::Spawned(ROUTER));
    assert_eq!(notes, [Note::Started(ROUTER), done(ROUTER, Request::Restart)]);
}

#[test]
fn a_change_during_a_start_is_followed_when_it_is_over() {
    let mut spec = watching();
    spec.processes[1].readiness_timeout = Some(MS(5000));
    spec.processes[1].hooks.pre_start = Some(Wait::new(None));
    let hook = HookId { process: Some(ROUTER), stage: Stage::PreStart };
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    play.at(0, changed(ROUTER, 0));
    play.at(0, Event::Start);
    assert_eq!(play.at(0, Event::Spawned(ENGINE)), [Action::RunHook(hook)]);
    // The hook may have read the file already.
    play.at(10, changed(ROUTER, 0));
    play.at(20, Event::HookEnded { hook, success: true });
    play.at(20, Event::Spawned(ROUTER));
    assert!(play.at(30, changed(ROUTER, 1)).is_empty(), "no signal before it is ready");
    assert_eq!(play.at(100, Event::Ready(ROUTER)), [stop(ROUTER)]);
    // The same during the restart.
    assert_eq!(play.at(200, exited(ROUTER)), [Action::RunHook(hook)]);
    play.at(210, Event::HookEnded { hook, success: true });
    play.at(210, Event::Spawned(ROUTER));
    play.at(220, changed(ROUTER, 0));
    assert_eq!(play.at(300, Event::Ready(ROUTER)), [stop(ROUTER)]);
}

#[test]
fn a_change_mends_what_failed_but_starts_nothing_that_was_stopped() {
    let failed_by = |spec: Spec| {
        let mut play = Play::up(spec);
        play.at(1000, changed(ROUTER, 0));
        play.at(1100, exited(ROUTER));
        let notes = play.notes(1100, Event::SpawnFailed { process: ROUTER, exit_code: 127 });
        let why = RequestError::SpawnFailed(ROUTER);
        assert!(notes.contains(&failed(ROUTER, Request::Restart, why)), "{notes:?}");
        assert!(!is_ready(&play));
        play
    };
    let mut play = failed_by(watching());
    assert!(play.at(1500, changed(ROUTER, 1)).is_empty(), "there is nobody to signal");
    assert_eq!(play.at(2000, changed(ROUTER, 0)), [Action::Spawn(ROUTER)]);
    assert_eq!(
        play.notes(2000, Event::Spawned(ROUTER)),
        [Note::Started(ROUTER), done(ROUTER, Request::Restart)]
    );
    assert!(is_ready(&play));
    play.at(3000, ask(ROUTER, Request::Stop));
    play.at(3100, exited(ROUTER));
    assert!(play.at(4000, changed(ROUTER, 0)).is_empty(), "it was stopped by hand");
    let mut play = failed_by(watching());
    play.at(1500, ask(ROUTER, Request::Stop));
    assert!(play.at(2000, changed(ROUTER, 0)).is_empty(), "a stop of what failed counts");
    // Nor what it needs.
    let mut play = failed_by(watching());
    play.at(1500, ask(ENGINE, Request::Stop));
    play.at(1600, exited(ENGINE));
    assert!(play.at(2000, changed(ROUTER, 0)).is_empty(), "its dependency was stopped by hand");
    assert_eq!(play.at(3000, ask(ENGINE, Request::Start)), [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(3000, Event::Spawned(ENGINE)), [Action::Spawn(ROUTER)]);
}

#[test]
fn a_change_in_a_shutdown_has_no_effect() {
    let mut play = Play::up(watching());
    play.at(1000, Event::Signal(Signal::TERM));
    assert!(play.at(1001, changed(ROUTER, 0)).is_empty());
    assert!(play.at(1002, changed(ROUTER, 1)).is_empty());
    // A restart that is under way becomes a stop.
    let mut play = Play::up(watching());
    assert_eq!(play.at(1000, changed(ROUTER, 0)), [stop(ROUTER)]);
    let notes = play.notes(1001, Event::Signal(Signal::TERM));
    assert_eq!(notes[0], failed(ROUTER, Request::Restart, RequestError::ShuttingDown));
    assert_eq!(play.at(1100, exited(ROUTER)), [stop(ENGINE)]);
}

/// Processes without drains where each follows the dependencies that are named, and is not ready at
/// once if it is in `slow`. All are up.
pub(super) fn followers(of: &[&[u16]], slow: &[u16]) -> Play {
    let mut spec = gateway();
    let mut one = undrained(spec.processes).remove(ENGINE.index());
    one.restart.policy = RestartPolicy::Always;
    spec.processes = vec![one; of.len()];
    spec.order = (0..of.len() as u16).map(ProcessId).collect();
    for (id, needs) in spec.order.clone().into_iter().zip(of) {
        let needs = needs.iter().map(|on| ProcessId(*on));
        let process = &mut spec.processes[id.index()];
        process.dependencies = needs.clone().map(|on| (on, StartCondition::Ready)).collect();
        process.readiness_timeout = slow.contains(&id.0).then_some(MS(3000));
        process.dependents.clear();
        for on in needs {
            spec.processes[on.index()].dependents.push(id);
            spec.processes[on.index()].followers.push((id, StartCondition::Ready));
        }
    }
    let all = spec.order.clone();
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    play.at(0, Event::Start);
    for id in all {
        play.at(0, Event::Spawned(id));
        play.at(0, Event::Ready(id));
    }
    assert!(is_ready(&play));
    play
}

pub(super) const APP: ProcessId = ProcessId(1);
pub(super) const WEB: ProcessId = ProcessId(2);

fn follows(process: ProcessId, on: ProcessId) -> Note {
    Note::Follows { process, on }
}

#[test]
fn a_start_that_fails_fails_no_request_that_does_not_wait_for_it() {
    let mut play = followers(&[&[], &[]], &[0]);
    play.at(1000, ask(ENGINE, Request::Restart));
    play.at(1000, ask(APP, Request::Restart));
    play.at(1100, exited(ENGINE));
    play.at(1100, Event::Spawned(ENGINE));
    play.at(1100, exited(APP));
    let notes = play.notes(1200, Event::SpawnFailed { process: APP, exit_code: 127 });
    let has_failed = |process| failed(process, Request::Restart, RequestError::SpawnFailed(APP));
    assert!(notes.contains(&has_failed(APP)), "{notes:?}");
    assert!(!notes.contains(&has_failed(ENGINE)), "{notes:?}");
    let notes = play.notes(1300, Event::Ready(ENGINE));
    assert!(notes.contains(&done(ENGINE, Request::Restart)), "{notes:?}");
}

#[test]
fn a_process_that_a_reload_adds_is_missed_only_if_it_is_required() {
    for required in [true, false] {
        let mut new = gateway();
        new.processes = undrained(new.processes);
        let router = &mut new.processes[ROUTER.index()];
        (router.required, router.on_exit) = (false, OnExit::Ignore);
        let mut play = Play::up(new.clone());
        new.processes[ROUTER.index()].required = required;
        // The added one is begun when the removed one is gone.
        let removes = play.reload(1000, &new, &[Placed::Same(ENGINE), Placed::New]);
        assert!(removes.contains(&stop(ROUTER)), "{removes:?}");
        assert_eq!(is_ready(&play), !required);
    }
}

#[test]
fn no_reload_begins_before_what_a_request_could_not_start_is_down() {
    let mut play = followers(&[&[]], &[0]);
    play.at(1000, ask(ENGINE, Request::Restart));
    play.at(1100, exited(ENGINE));
    play.at(1100, Event::Spawned(ENGINE));
    let notes = play.notes(4100, Event::Tick);
    let why = RequestError::NotReady { process: ENGINE, after: MS(3000) };
    assert!(notes.contains(&failed(ENGINE, Request::Restart, why)), "{notes:?}");
    assert_eq!(play.machine.may_reload(), Err(RequestError::Reloading));
    play.at(4200, exited(ENGINE));
    assert_eq!(play.machine.may_reload(), Ok(()));
}

#[test]
fn a_dependent_that_asks_for_it_follows_once_its_dependency_is_ready_again() {
    // A web that follows an app that follows an engine that is not ready at once.
    let up = || followers(&[&[], &[0], &[1]], &[0]);
    let mut play = up();
    play.at(1000, ask(ENGINE, Request::Restart));
    assert_eq!(play.at(1100, exited(ENGINE)), [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(1100, Event::Spawned(ENGINE)), [], "it is not ready");
    assert_eq!(play.at(1200, Event::Ready(ENGINE)), [stop(APP)]);
    assert!(!is_ready(&play));
    assert_eq!(play.at(1300, exited(APP)), [Action::Spawn(APP)]);
    let notes = play.notes(1300, Event::Spawned(APP));
    assert!(notes.contains(&follows(WEB, APP)), "{notes:?}");
    assert_eq!(play.at(1400, exited(WEB)), [Action::Spawn(WEB)]);
    assert_eq!(play.at(1400, Event::Spawned(WEB)), []);
    assert!(is_ready(&play));
    let total = |play: &Play, id: ProcessId| play.machine.state().restarts[id.index()].total;
    assert_eq!([APP, WEB].map(|id| total(&play, id)), [0, 0], "they are not counted");

    // After a crash and a failed liveness check, too.
    let mut play = up();
    let crash = Event::Exited { process: ENGINE, end: End::Code(7), remains: false };
    play.at(1000, crash);
    assert_eq!(play.at(2000, Event::Tick), [Action::Spawn(ENGINE)]);
    play.at(2000, Event::Spawned(ENGINE));
    assert_eq!(play.at(2100, Event::Ready(ENGINE)), [stop(APP)]);
    // Again, before the app is gone: it is started once, after that.
    play.at(2200, crash);
    assert_eq!(play.at(2300, exited(APP)), [Action::Spawn(APP)]);
    assert_eq!(play.at(2300, Event::Spawned(APP)), [], "the app will follow again");
    assert_eq!(play.at(4200, Event::Tick), [Action::Spawn(ENGINE)]);
    play.at(4200, Event::Spawned(ENGINE));
    assert_eq!(play.at(4300, Event::Ready(ENGINE)), [stop(APP)], "the new engine is newer");
    assert_eq!(play.at(4400, exited(APP)), [Action::Spawn(APP)]);
    assert_eq!(play.at(4400, Event::Spawned(APP)), [stop(WEB)], "once");
    let mut play = up();
    assert_eq!(play.at(1000, Event::Unhealthy(ENGINE)), [stop(ENGINE)]);
    play.at(1100, exited(ENGINE));
    assert_eq!(play.at(2100, Event::Tick), [Action::Spawn(ENGINE)]);
    play.at(2100, Event::Spawned(ENGINE));
    assert_eq!(play.at(2200, Event::Ready(ENGINE)), [stop(APP)]);
}

#[test]
fn a_follower_that_may_be_missing_is_not_waited_for_while_it_stops() {
    for required in [true, false] {
        let mut spec = gateway();
        spec.processes = undrained(spec.processes);
        spec.processes[ENGINE.index()].followers.push((ROUTER, StartCondition::Ready));
        let router = &mut spec.processes[ROUTER.index()];
        (router.required, router.on_exit) = (required, OnExit::Ignore);
        let mut play = Play::up(spec);
        play.at(1000, ask(ENGINE, Request::Restart));
        play.at(1100, exited(ENGINE));
        assert_eq!(play.at(1100, Event::Spawned(ENGINE)), [stop(ROUTER)]);
        assert_eq!(is_ready(&play), !required);
    }
}

#[test]
fn a_dependent_of_several_follows_once_after_all_of_them() {
    // A web that follows the engine and a mid that follows the app that follows the engine.
    let (mid, web) = (ProcessId(2), ProcessId(3));
    let mut play = followers(&[&[], &[0], &[1], &[0, 2]], &[1]);
    play.at(1000, ask(ENGINE, Request::Restart));
    assert_eq!(play.at(1100, exited(ENGINE)), [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(1100, Event::Spawned(ENGINE)), [stop(APP)], "not the web");
    assert_eq!(play.at(1200, exited(APP)), [Action::Spawn(APP)]);
    assert_eq!(play.at(1200, Event::Spawned(APP)), []);
    assert_eq!(play.at(1300, Event::Ready(APP)), [stop(mid)]);
    assert_eq!(play.at(1400, exited(mid)), [Action::Spawn(mid)]);
    assert_eq!(play.at(1400, Event::Spawned(mid)), [stop(web)]);
    assert_eq!(play.at(1500, exited(web)), [Action::Spawn(web)]);
    assert_eq!(play.at(1500, Event::Spawned(web)), []);
}

#[test]
fn what_does_not_run_does_not_follow() {
    let restart = |play: &mut Play, at: u64| {
        play.at(at, ask(ENGINE, Request::Restart));
        play.at(at, exited(ENGINE));
        play.at(at, Event::Spawned(ENGINE))
    };
    // It was stopped by hand.
    let mut play = followers(&[&[], &[0]], &[]);
    assert_eq!(play.at(1000, ask(APP, Request::Stop)), [stop(APP)]);
    play.at(1000, exited(APP));
    assert_eq!(restart(&mut play, 2000), []);
    // It waits for its own restart.
    let mut play = followers(&[&[], &[0]], &[]);
    play.at(1000, Event::Exited { process: APP, end: End::Code(7), remains: false });
    assert_eq!(restart(&mut play, 1100), []);
    assert_eq!(play.at(2000, Event::Tick), [Action::Spawn(APP)]);
    // It is on its way down already.
    let mut play = followers(&[&[], &[0]], &[]);
    assert_eq!(play.at(1000, ask(APP, Request::Restart)), [stop(APP)]);
    assert_eq!(restart(&mut play, 1100), []);
    assert_eq!(play.at(1200, exited(APP)), [Action::Spawn(APP)]);
    // The container stops, or is drained.
    for event in [Event::Signal(Signal::TERM), Event::DrainRequested] {
        let mut play = followers(&[&[], &[0]], &[0]);
        play.at(1000, ask(ENGINE, Request::Restart));
        play.at(1100, exited(ENGINE));
        play.at(1100, Event::Spawned(ENGINE));
        let first = play.at(1200, event);
        assert!(!first.iter().any(|action| matches!(action, Action::Spawn(_))), "{first:?}");
        assert_eq!(play.at(1300, Event::Ready(ENGINE)), []);
    }
}

#[test]
fn a_request_goes_on_when_its_process_follows() {
    let mut play = followers(&[&[], &[0]], &[0, 1]);
    play.at(1000, ask(APP, Request::Restart));
    assert_eq!(play.at(1100, exited(APP)), [Action::Spawn(APP)]);
    play.at(1100, Event::Spawned(APP));
    play.at(1200, ask(ENGINE, Request::Restart));
    play.at(1300, exited(ENGINE));
    play.at(1300, Event::Spawned(ENGINE));
    // The app has not been ready since, and was started before the new engine.
    assert_eq!(play.at(1400, Event::Ready(ENGINE)), [stop(APP)]);
    assert_eq!(play.at(1500, exited(APP)), [Action::Spawn(APP)]);
    play.at(1500, Event::Spawned(APP));
    let notes = play.notes(1600, Event::Ready(APP));
    assert_eq!(notes.last(), Some(&done(APP, Request::Restart)));
}

#[test]
fn a_follower_that_does_not_start_has_failed_as_after_a_crash() {
    let mut play = followers(&[&[], &[0]], &[1]);
    play.at(1000, ask(ENGINE, Request::Restart));
    play.at(1000, exited(ENGINE));
    play.at(1000, Event::Spawned(ENGINE));
    assert_eq!(play.at(1100, exited(APP)), [Action::Spawn(APP)]);
    // Its `restart` decides about an end.
    play.at(1100, Event::Spawned(APP));
    let crash = Event::Exited { process: APP, end: End::Code(7), remains: false };
    let next = AfterEnd::Restart { delay: MS(1000), attempt: 1 };
    let end = End::Code(7);
    assert_eq!(play.notes(1200, crash), [Note::Ended { process: APP, end, next }]);
    // A start that takes too long ends the container, as always.
    assert_eq!(play.at(2200, Event::Tick), [Action::Spawn(APP)]);
    play.at(2200, Event::Spawned(APP));
    let cause = Cause::NotReady(APP);
    let notes = play.notes(5200, Event::Tick);
    assert!(notes.contains(&Note::ShutdownBegan { cause, window: MS(28_000) }), "{notes:?}");
}
