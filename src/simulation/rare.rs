//! Single schedules that random ones hardly ever reach. Each was written for a change of the core
//! that no other test noticed; see `docs/simulation.md`, "Mutants".

use crate::config::{Restart, RestartPolicy};
use crate::core::budget::Budget;
use crate::core::event::Load;
use crate::core::note::{AfterEnd, Hurry, StartFailure};
use crate::core::phase::Phase;
use crate::core::state::Lifecycle;
use crate::simulation::cases::{
    ENGINE, MS, Play, ROUTER, WEB, exited, followers, gateway, stop, wakes_at,
};
use crate::simulation::replacements::{NEW, NEXT, beside, changed, overlapping, restart, up};
use crate::simulation::*;

const TERM: Event = Event::Signal(Signal::TERM);

/// A gateway without a drain.
fn plain() -> Spec {
    let mut spec = gateway();
    spec.processes[ROUTER.index()].drain = None;
    spec
}

fn hook(process: Option<ProcessId>, stage: Stage) -> HookId {
    HookId { process, stage }
}

fn remaining(process: ProcessId) -> Event {
    Event::Exited { process, end: End::Code(7), remains: true }
}

fn stop_group(process: ProcessId) -> Action {
    Action::StopGroup { process, signal: Signal::TERM }
}

fn ask_to_stop(process: ProcessId) -> Event {
    Event::Requested { process, request: Request::Stop }
}

#[test]
fn the_hooks_of_the_container_have_their_time() {
    let mut spec = plain();
    let wait = |limit| Some(Wait::new(Some(MS(limit))));
    let [before, after] = [Stage::PreStop, Stage::PostStop].map(|stage| hook(None, stage));
    spec.hooks = HookWaits { pre_stop: wait(3000), post_stop: wait(10_000), pre_start: None };
    let mut play = Play::up(spec.clone());
    assert_eq!(play.at(0, TERM), [Action::Unready, Action::RunHook(before)]);
    assert!(play.at(2999, Event::Tick).is_empty());
    assert_eq!(play.at(3000, Event::Tick), [Action::AbortHook(before), stop(ROUTER)]);
    play.at(3100, exited(ROUTER));
    play.at(3200, exited(ENGINE));
    assert_eq!(play.at(3200, Event::Leftovers(0)), [Action::RunHook(after)]);
    assert_eq!(wakes_at(&play), 13_200);
    // A shorter window leaves the first one its share, and the last one a part of the reserve.
    let mut play = Play::up(Spec { window: MS(6000), ..spec });
    play.at(0, TERM);
    assert_eq!(wakes_at(&play), 1384, "3 of 13 parts");
    let ended = Event::HookEnded { hook: before, success: true };
    assert_eq!(play.at(100, ended), [stop(ROUTER)]);
    play.at(200, exited(ROUTER));
    play.at(300, exited(ENGINE));
    assert_eq!(play.at(300, Event::Leftovers(0)), [Action::RunHook(after)]);
    assert!(play.at(6499, Event::Tick).is_empty());
    assert_eq!(play.at(6500, Event::Tick), [Action::AbortHook(after), Action::Exit(0)]);
}

#[test]
fn a_oneshot_that_completes_is_no_sign_of_a_broadcast_signal() {
    let mut spec = gateway();
    spec.processes[ENGINE.index()].oneshot = true;
    spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, StartCondition::Started)];
    let mut play = Play::up(spec);
    play.at(1000, exited(ENGINE));
    let notes = play.notes(1020, exited(ROUTER));
    assert!(!notes.iter().any(|note| matches!(note, Note::EndedUndrained { .. })), "{notes:?}");
}

/// A gateway whose router is restarted, and has ended at 0 with others left in its group.
fn with_rest() -> Play {
    let mut spec = plain();
    let always = Restart { policy: RestartPolicy::Always, delay: MS(100), max: Some(5) };
    spec.processes[ROUTER.index()].restart = always;
    let mut play = Play::up(spec);
    assert_eq!(play.at(0, remaining(ROUTER)), [stop_group(ROUTER)]);
    play
}

#[test]
fn a_request_to_stop_cancels_the_restart_after_the_rest_of_a_group() {
    let done = Note::RequestDone { process: ROUTER, request: Request::Stop };
    let mut play = with_rest();
    play.at(10, ask_to_stop(ROUTER));
    assert_eq!(play.notes(20, Event::GroupGone(ROUTER)).last(), Some(&done));
    assert_eq!(play.machine.next_wakeup(), None, "it stays down");
    let mut play = with_rest();
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    play.at(5010, ask_to_stop(ROUTER));
    play.at(5020, Event::GroupGone(ROUTER));
    assert_eq!(play.machine.state().life(ROUTER), Lifecycle::Stopped { failed: false });
}

#[test]
fn the_wait_after_an_earlier_kill_is_fitted_into_the_stop() {
    // 5 s without a deadline, and a quarter of what is left, at most 200 ms, with one.
    let spec = Spec { window: MS(400), ..plain() };
    let mut play = Play::up(spec.clone());
    assert_eq!(play.at(0, ask_to_stop(ROUTER)), [stop(ROUTER)]);
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    play.at(5000, TERM);
    assert_eq!(play.at(5100, Event::Tick), [stop(ENGINE)]);
    // It never becomes longer.
    let mut play = Play::up(Spec { window: MS(4000), ..spec });
    play.at(0, ask_to_stop(ROUTER));
    play.at(5000, Event::Tick);
    play.at(9900, TERM);
    assert_eq!(wakes_at(&play), 10_000);
    // The same for the rest of a group.
    let mut spec = plain();
    spec.window = MS(400);
    spec.processes[ROUTER.index()].on_exit = OnExit::Ignore;
    let mut play = Play::up(spec);
    assert_eq!(play.at(0, remaining(ROUTER)), [stop_group(ROUTER)]);
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    play.at(5000, TERM);
    assert_eq!(play.at(5100, Event::Tick), [stop(ENGINE)]);
}

#[test]
fn the_rest_of_a_group_has_the_time_of_its_process() {
    // The rest of it, if it was asked to end.
    let mut play = Play::up(plain());
    assert_eq!(play.at(0, TERM), [Action::Unready, stop(ROUTER)]);
    assert_eq!(play.at(3000, remaining(ROUTER)), [stop_group(ROUTER)]);
    assert!(play.at(4999, Event::Tick).is_empty());
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    // All of it, if it ends by itself.
    let mut play = Play::up(gateway());
    play.at(0, TERM);
    assert_eq!(play.at(1000, remaining(ROUTER)), [Action::EndDrain(ROUTER), stop_group(ROUTER)]);
    assert_eq!(play.at(6000, Event::Tick), [Action::Kill(ROUTER)]);
}

#[test]
fn there_is_no_hook_without_time_for_it() {
    let mut spec = plain();
    spec.processes[ROUTER.index()].hooks.post_stop = Some(Wait::new(None));
    let mut play = Play::up(spec);
    play.at(0, TERM);
    play.at(100, TERM);
    assert_eq!(play.at(200, TERM), [Action::Kill(ROUTER), Action::Kill(ENGINE)]);
    assert_eq!(play.at(201, exited(ROUTER)), []);
}

#[test]
fn a_third_signal_ends_hooks_and_the_rest_of_a_group_at_once() {
    let [before, after] = [Stage::PreStop, Stage::PostStop].map(|stage| hook(Some(ROUTER), stage));
    let up = || {
        let mut spec = plain();
        let router = &mut spec.processes[ROUTER.index()];
        router.hooks.pre_stop = Some(Wait::new(None));
        router.hooks.post_stop = Some(Wait::new(None));
        let mut play = Play::up(spec);
        assert_eq!(play.at(0, TERM), [Action::Unready, Action::RunHook(before)]);
        play
    };
    let third = |play: &mut Play, at| {
        play.at(at, TERM);
        play.at(at + 100, TERM)
    };
    let ended = Event::HookEnded { hook: before, success: true };
    let mut play = up();
    assert_eq!(play.at(10, ended), [stop(ROUTER)]);
    assert_eq!(play.at(20, remaining(ROUTER)), [stop_group(ROUTER)]);
    assert_eq!(third(&mut play, 30), [Action::Kill(ROUTER), Action::Kill(ENGINE)]);
    let mut play = up();
    play.at(10, ended);
    assert_eq!(play.at(20, exited(ROUTER)), [Action::RunHook(after)]);
    assert_eq!(third(&mut play, 30), [Action::AbortHook(after), Action::Kill(ENGINE)]);
}

#[test]
fn a_drain_says_why_it_is_over() {
    let why = |window, at: &[(u64, Event)]| {
        let mut play = Play::up(Spec { window: MS(window), ..gateway() });
        let mut found = None;
        for (at, event) in at {
            for note in play.notes(*at, *event) {
                if let Note::DrainOver { why, .. } = note {
                    assert_eq!(found.replace(why), None);
                }
            }
        }
        found.unwrap()
    };
    let answered = |accepted| (5, Event::DrainAnswered { process: ROUTER, accepted });
    let closed = Event::ListenersClosed(ROUTER);
    let at_time = |at| [(0, TERM), answered(true), (at, Event::Tick), (at + 10, closed)];
    assert_eq!(why(28_000, &at_time(15_000)), DrainEnd::TimeOver);
    assert_eq!(why(25_000, &at_time(15_000)), DrainEnd::TimeOver, "just enough");
    assert_eq!(why(24_000, &at_time(14_000)), DrainEnd::DeadlineNeedsIt);
    let refused = [(0, TERM), answered(false), (5000, Event::Tick)];
    assert_eq!(why(28_000, &refused), DrainEnd::MinHeld);
    // A stop during a held drain that leaves it its time, and one that does not.
    let held = |window: u64, over| {
        let drain = (0, Event::DrainRequested);
        why(window, &[drain, answered(true), (10, TERM), (over, Event::Tick), (over + 10, closed)])
    };
    assert_eq!(held(28_000, 15_000), DrainEnd::TimeOver);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let of = |process| {
        let hooks = [Stage::PreStart, Stage::PreStop, Stage::PostStop]
            .map(|stage| Event::HookEnded { hook: hook(Some(process), stage), success: false });
        let others = [
            Event::HookEnded { hook: hook(None, Stage::PreStart), success: false },
            Event::HookEnded { hook: hook(None, Stage::PreStop), success: false },
            Event::Spawned(process),
            Event::SpawnFailed { process, exit_code: 126 },
            Event::Condition { process, holds: false },
            Event::GroupGone(process),
            Event::Drained(process),
            Event::ListenersClosed(process),
            Event::DrainAnswered { process, accepted: false },
        ];
        [&hooks[..], &others[..]].concat()
    };
    let again = |play: &mut Play, at, process, also: &[Event]| {
        let before = play.machine.state().life(process);
        for event in of(process).iter().chain(also) {
            let actions = play.machine.handle(Time(MS(at)), *event);
            assert_eq!(actions, [], "{event:?} in {before:?}");
        }
        assert_eq!(play.machine.state().life(process), before);
    };
    let gone = [exited(ROUTER), remaining(ROUTER)];
    // While it runs, is being stopped, is killed, and is gone.
    let mut play = Play::up(plain());
    again(&mut play, 10, ROUTER, &[]);
    play.at(20, TERM);
    again(&mut play, 30, ROUTER, &[]);
    again(&mut play, 30, ENGINE, &[]);
    play.at(5020, Event::Tick);
    again(&mut play, 5030, ROUTER, &[]);
    play.at(5040, exited(ROUTER));
    again(&mut play, 5050, ROUTER, &gone);
    // After a request.
    let mut play = Play::up(plain());
    play.at(20, ask_to_stop(ROUTER));
    again(&mut play, 30, ROUTER, &[]);
    play.at(40, exited(ROUTER));
    again(&mut play, 50, ROUTER, &gone);
    again(&mut play, 50, ENGINE, &[]);
}

const ACCEPTED: Event = Event::DrainAnswered { process: ROUTER, accepted: true };
const CLOSED: Event = Event::ListenersClosed(ROUTER);

fn sample(active: u64) -> Event {
    let load = Load { active: Some(active), total: Some(9), ..Load::default() };
    Event::DrainSample { process: ROUTER, load }
}

/// Sends samples until the process has been quiet for long enough.
fn quiet(play: &mut Play, until: u64) {
    for at in [until - 200, until - 100, until] {
        play.at(at, sample(0));
    }
}

fn why_over(notes: &[Note]) -> Option<DrainEnd> {
    notes.iter().find_map(|note| match note {
        Note::DrainOver { why, .. } => Some(*why),
        _ => None,
    })
}

#[test]
fn only_the_answer_to_a_close_or_its_limit_goes_on() {
    let up = || {
        let mut play = Play::up(gateway());
        play.at(0, TERM);
        play.at(5, ACCEPTED);
        quiet(&mut play, 5000);
        assert!(play.at(5100, sample(0)).is_empty(), "the close is not answered");
        play
    };
    let mut play = up();
    assert!(play.at(5250, Event::Tick).is_empty());
    assert_eq!(play.at(5300, sample(0)), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    // An answer after `time` is over.
    let mut play = Play::up(gateway());
    play.at(0, TERM);
    play.at(5, ACCEPTED);
    quiet(&mut play, 14_950);
    assert_eq!(why_over(&play.notes(15_010, CLOSED)), Some(DrainEnd::TimeOver));
}

/// A gateway whose router is drained by a request, from 0 on, and then a shutdown at 1000.
fn drained_before(window: u64, gradual: bool) -> Play {
    let mut spec = Spec { window: MS(window), ..gateway() };
    spec.processes[ROUTER.index()].drain.as_mut().unwrap().gradual = gradual;
    let mut play = Play::up(spec);
    play.at(0, ask_to_stop(ROUTER));
    play.at(5, ACCEPTED);
    assert_eq!(play.at(1000, TERM), [Action::Unready]);
    play
}

#[test]
fn an_earlier_drain_is_fitted_into_the_stop() {
    let mut play = drained_before(28_000, false);
    assert_eq!(play.at(15_000, Event::Tick), [Action::CloseListeners(ROUTER)]);
    assert_eq!(why_over(&play.notes(15_010, CLOSED)), Some(DrainEnd::TimeOver), "it fits");
    let mut play = drained_before(10_000, false);
    assert_eq!(play.at(5000, Event::Tick), [Action::CloseListeners(ROUTER)], "`min` is kept");
    assert_eq!(why_over(&play.notes(5010, CLOSED)), Some(DrainEnd::DeadlineNeedsIt));
    // The last clients have half of what is left.
    let mut play = drained_before(10_000, true);
    assert!(play.at(2999, Event::Tick).is_empty());
    assert_eq!(play.at(3000, Event::Tick), [Action::FailHealthcheck(ROUTER)]);
    // A close that goes on.
    let mut play = Play::up(Spec { window: MS(400), ..gateway() });
    play.at(0, ask_to_stop(ROUTER));
    play.at(5, ACCEPTED);
    quiet(&mut play, 5000);
    play.at(5010, TERM);
    assert_eq!(wakes_at(&play), 5110);
}

#[test]
fn only_what_serves_keeps_the_container_ready() {
    let mut spec = Spec { unready_delay: MS(8000), ..gateway() };
    let router = &mut spec.processes[ROUTER.index()];
    (router.on_exit, router.required) = (OnExit::Ignore, false);
    let mut play = Play::up(spec);
    play.at(100, exited(ROUTER));
    assert_eq!(play.at(200, TERM), [Action::Unready, stop(ENGINE)]);
}

/// A gateway whose router is being drained for a request from outside since 0.
fn held(change: impl Fn(&mut Spec)) -> Play {
    let mut spec = gateway();
    change(&mut spec);
    let mut play = Play::up(spec);
    play.at(0, Event::DrainRequested);
    play.at(5, ACCEPTED);
    play
}

#[test]
fn an_end_during_a_held_drain_is_what_the_config_calls_it() {
    for (on_exit, code) in [(OnExit::Shutdown, 0), (OnExit::FailureShutdown, 1)] {
        let mut play = held(|spec| spec.processes[ENGINE.index()].on_exit = on_exit);
        play.at(1000, exited(ENGINE));
        play.at(1010, exited(ROUTER));
        assert_eq!(play.at(1020, Event::Leftovers(0)), [Action::Exit(code)]);
    }
}

#[test]
fn hooks_during_a_held_drain_have_their_time() {
    let mut play = held(|spec| {
        let engine = &mut spec.processes[ENGINE.index()];
        (engine.on_exit, engine.hooks.post_stop) = (OnExit::Ignore, Some(Wait::new(None)));
    });
    let after = hook(Some(ENGINE), Stage::PostStop);
    assert_eq!(play.at(1000, exited(ENGINE)), [Action::RunHook(after)]);
    assert_eq!(wakes_at(&play), 11_000);
}

#[test]
fn a_stop_that_fits_exactly_goes_on_with_the_window_of_the_held_drain() {
    let window = |need, at| {
        let mut play = held(|spec| {
            spec.processes[ROUTER.index()].drain.as_mut().unwrap().time = MS(27_000);
            spec.processes.iter_mut().for_each(|one| one.stop = Wait::new(Some(MS(need))));
        });
        let notes = play.notes(at, TERM);
        let Some(Note::ShutdownBegan { window, .. }) = notes.first() else { panic!("{notes:?}") };
        window.as_millis()
    };
    // For each of the two.
    assert_eq!((window(5000, 18_000), window(5000, 18_001)), (10_000, 28_000));
    assert_eq!((window(1000, 26_000), window(1000, 26_001)), (2000, 28_000));
}

#[test]
fn the_end_of_what_may_end_shortens_no_drain() {
    let mut spec = gateway();
    spec.processes[ENGINE.index()].on_exit = OnExit::Ignore;
    let mut play = Play::up(spec.clone());
    play.at(0, TERM);
    play.at(5, ACCEPTED);
    play.at(1000, exited(ENGINE));
    assert!(play.at(14_999, Event::Tick).is_empty());
    spec.processes[ENGINE.index()].on_exit = OnExit::Shutdown;
    spec.processes[ENGINE.index()].oneshot = true;
    spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, StartCondition::Started)];
    let mut play = Play::up(spec);
    play.at(0, TERM);
    play.at(5, ACCEPTED);
    play.at(1000, exited(ENGINE));
    assert!(play.at(14_999, Event::Tick).is_empty());
}

/// A container whose `post_stop` hook has begun at 20, or that looks for leftovers since then.
fn finishing(with_hook: bool) -> Play {
    let mut spec = plain();
    spec.hooks.post_stop = with_hook.then(|| Wait::new(Some(MS(10_000))));
    let mut play = Play::up(spec);
    play.at(0, TERM);
    play.at(10, exited(ROUTER));
    play.at(20, exited(ENGINE));
    if with_hook {
        let hook = hook(None, Stage::PostStop);
        assert_eq!(play.at(20, Event::Leftovers(0)), [Action::RunHook(hook)]);
    }
    play
}

#[test]
fn at_the_end_a_third_signal_waits_for_nothing() {
    let hook = hook(None, Stage::PostStop);
    let mut play = finishing(true);
    let ended = Event::HookEnded { hook, success: true };
    assert_eq!(play.at(30, ended), [Action::Exit(0)]);
    let other = Event::Signal(Signal::USR1);
    let mut play = finishing(true);
    for at in [30, 50, 70] {
        assert_eq!(play.at(at, other), []);
    }
    assert_eq!(play.notes(100, TERM), [], "the second one cuts nothing here");
    let third = play.machine.handle(Time(MS(200)), TERM);
    let hurried = Action::Note(Note::Hurried(Hurry::KillAll));
    let timed_out = Action::Note(Note::HookTimedOut(hook));
    assert_eq!(third, [hurried, Action::AbortHook(hook), timed_out, Action::Exit(0)]);
    let mut play = finishing(false);
    play.at(25, Event::Leftovers(2));
    assert_eq!(play.at(30, TERM), []);
    assert_eq!(play.at(40, TERM), [Action::Sweep(Signal::KILL)]);
    assert_eq!(play.at(45, Event::Leftovers(0)), [Action::Exit(0)], "nothing was killed");
}

const CRASH: fn(ProcessId) -> Event =
    |process| Event::Exited { process, end: End::Code(7), remains: false };

/// A router that is an Envoy with this change; its new epoch is ready at 1500.
fn taken_over(change: impl Fn(&mut ProcessSpec)) -> Play {
    let mut spec = overlapping();
    let router = &mut spec.processes[ROUTER.index()];
    (router.update, router.handover) = (Update::HotRestart, Some(MS(12_000)));
    router.restart.policy = RestartPolicy::Always;
    change(router);
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    play.at(1500, Event::Ready(NEW));
    play
}

/// It is not started again, and the container goes on without it.
fn ends_for_good(router: &mut ProcessSpec) {
    (router.restart.policy, router.on_exit) = (RestartPolicy::No, OnExit::Ignore);
}

#[test]
fn an_old_epoch_is_asked_after_its_drain_when_no_newer_one_comes() {
    let mut play = taken_over(ends_for_good);
    assert_eq!(play.at(2000, CRASH(NEW)), []);
    assert_eq!(play.at(17_000, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    // It has a hook before its stop meanwhile.
    let before = hook(Some(ROUTER), Stage::PreStop);
    let hooked = |router: &mut ProcessSpec| router.hooks.pre_stop = Some(Wait::new(None));
    let ended = Event::HookEnded { hook: before, success: true };
    let mut play = taken_over(|router| {
        ends_for_good(router);
        hooked(router);
    });
    play.at(1600, CRASH(NEW));
    let notes = play.notes(1700, ended);
    assert!(!notes.iter().any(|note| matches!(note, Note::HandedOver { .. })), "{notes:?}");
    assert_eq!(play.at(16_600, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    // One that comes takes over from it.
    let mut play = taken_over(hooked);
    play.at(1600, CRASH(NEW));
    assert_eq!(play.at(1700, ended), []);
    assert_eq!(play.at(2600, Event::Tick), [Action::Spawn(NEW)]);
    // It does not wait for the hook.
    let mut play = taken_over(hooked);
    play.at(1600, CRASH(NEW));
    assert_eq!(play.at(2600, Event::Tick), [Action::Spawn(NEW)]);
}

#[test]
fn the_time_of_an_old_epoch_counts_from_the_last_that_takes_over() {
    let mut play = taken_over(|_| {});
    play.at(2000, CRASH(NEW));
    assert_eq!(play.at(3000, Event::Tick), [Action::Spawn(NEW)]);
    play.at(3000, Event::Spawned(NEW));
    assert_eq!(play.machine.state().life(ROUTER), stopping(1500, 16_000), "1 s to be ready");
    play.at(3500, Event::Ready(NEW));
    assert_eq!(play.machine.state().life(ROUTER), stopping(1500, 15_500));
}

fn stopping(since: u64, kill_at: u64) -> Lifecycle {
    Lifecycle::Stopping { since: Time(MS(since)), kill_at: Time(MS(kill_at)) }
}

#[test]
fn an_epoch_passes_its_stop_on_to_the_older_one() {
    let mut play = taken_over(|router| router.drain = None);
    assert_eq!(play.at(2000, TERM), [Action::Unready, stop(NEW)]);
    assert_eq!(play.machine.state().life(ROUTER), stopping(2000, 7000));
    // How long it has taken is not said: it was not asked.
    let end = End::Code(0);
    let notes = play.notes(2100, exited(ROUTER));
    let ended =
        Note::Stopped { process: ROUTER, end, took: None, killed: false, handed_over: true };
    assert_eq!(notes, [ended]);
}

#[test]
fn what_starts_beside_another_and_is_no_epoch_is_stopped_and_started_as_ever() {
    // It is stopped by its signal.
    let mut play = beside();
    assert_eq!(play.at(2000, Event::Tick), [stop(NEW)]);
    // It is not taken back with the old one.
    let mut spec = overlapping();
    let always = Restart { policy: RestartPolicy::Always, delay: MS(1000), max: Some(5) };
    spec.processes[ROUTER.index()].restart = always;
    let up = || {
        let mut play = Play::up(spec.clone());
        play.at(100, Event::Ready(ROUTER));
        play.at(1000, restart(ROUTER));
        play.at(1000, Event::Spawned(NEW));
        play
    };
    let mut play = up();
    let notes = play.notes(1200, CRASH(ROUTER));
    assert!(!notes.iter().any(|note| matches!(note, Note::TakenBack { .. })), "{notes:?}");
    // It does not wait for the end of the old one.
    let mut play = up();
    play.at(1500, Event::Ready(NEW));
    assert_eq!(play.at(7000, Event::Drained(ROUTER))[1..], [stop(ROUTER)]);
    play.at(7100, CRASH(NEW));
    assert_eq!(play.at(8100, Event::Tick), [Action::Spawn(NEW)]);
}

#[test]
fn the_first_epoch_of_a_process_that_was_none_takes_over_from_nobody() {
    let reloaded = || {
        let mut play = up();
        let new = changed(|spec| {
            let router = &mut spec.processes[ROUTER.index()];
            (router.update, router.handover) = (Update::HotRestart, Some(MS(12_000)));
            router.restart.policy = RestartPolicy::Always;
        });
        play.reload(1000, &new, &[Placed::Same(ENGINE), Placed::Changed(ROUTER)]);
        play.at(1000, Event::Spawned(NEW));
        play
    };
    let mut play = reloaded();
    assert_eq!(play.at(2000, Event::Tick), [stop(NEW)], "not KILL");
    let mut play = reloaded();
    play.at(1500, Event::Ready(NEW));
    assert_eq!(play.at(7000, Event::Drained(ROUTER))[1..], [stop(ROUTER)]);
    play.at(7100, CRASH(NEW));
    assert_eq!(play.at(8100, Event::Tick), [Action::Spawn(NEW)], "it does not wait");
}

#[test]
fn a_new_config_may_leave_a_process_out_and_a_restart_may_not() {
    let conditional = |spec: &mut Spec| spec.processes[ROUTER.index()].conditional = true;
    let skips = Event::Condition { process: NEW, holds: false };
    let mut play = up();
    let plan = [Placed::Same(ENGINE), Placed::Changed(ROUTER)];
    let begun = play.reload(1000, &changed(conditional), &plan);
    assert_eq!(begun.last(), Some(&Action::CheckCondition(NEW)));
    let notes = play.notes(1100, skips);
    assert!(notes.contains(&Note::TakesOver { process: NEW, old: ROUTER }), "{notes:?}");
    assert!(notes.contains(&Note::Skipped(NEW)), "{notes:?}");
}

#[test]
fn what_survives_kill_fails_the_restart_and_the_reload_that_replace_it() {
    let kill_fails = |play: &mut Play| {
        play.at(7000, Event::Drained(ROUTER));
        assert_eq!(play.at(12_000, Event::Tick), [Action::Kill(ROUTER)]);
        play.notes(17_000, Event::Tick)
    };
    let why = RequestError::Unkillable(ROUTER);
    let mut play = beside();
    play.at(1500, Event::Ready(NEW));
    let notes = kill_fails(&mut play);
    let failed = Note::RequestFailed { process: NEW, request: Request::Restart, why };
    assert_eq!(notes, [failed]);
    let mut play = up();
    play.reload(1000, &overlapping(), &[Placed::Same(ENGINE), Placed::Changed(ROUTER)]);
    play.at(1000, Event::Spawned(NEW));
    play.at(1500, Event::Ready(NEW));
    assert_eq!(kill_fails(&mut play), [Note::ReloadFailed { why }]);
}

#[test]
fn a_reload_waits_for_the_answer_to_every_request() {
    // A start that only shortens a pause.
    let mut spec = overlapping();
    spec.processes[ROUTER.index()].restart.policy = RestartPolicy::Always;
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(200, CRASH(ROUTER));
    assert_eq!(play.machine.may_reload(), Ok(()));
    let start = Event::Requested { process: ROUTER, request: Request::Start };
    assert_eq!(play.at(300, start), [Action::Spawn(ROUTER)]);
    play.at(300, Event::Spawned(ROUTER));
    assert_eq!(play.machine.may_reload(), Err(RequestError::Reloading));
    play.at(400, Event::Ready(ROUTER));
    assert_eq!(play.machine.may_reload(), Ok(()));
}

#[test]
fn a_signal_is_forwarded_to_what_wants_it_and_runs() {
    let mut spec = plain();
    spec.stop_signals = vec![Signal::TERM, Signal::INT];
    for process in &mut spec.processes {
        process.forward_signals = vec![Signal::USR1, Signal::TERM];
    }
    let mut play = Play::up(spec);
    let to = |process| Action::Signal { process, signal: Signal::USR1 };
    let other = Event::Signal(Signal::USR1);
    assert_eq!(play.at(10, other), [to(ENGINE), to(ROUTER)]);
    assert_eq!(play.at(10, Event::Signal(Signal::HUP)), []);
    assert_eq!(play.at(20, TERM), [Action::Unready, stop(ROUTER)], "a stop signal is not");
    play.at(30, exited(ROUTER));
    assert_eq!(play.at(40, other), [to(ENGINE)]);
}

#[test]
fn every_failed_liveness_check_is_counted() {
    let total = |play: &Play| play.machine.state().probe_failures[ROUTER.index()].total;
    let mut play = Play::up(plain());
    play.at(10, Event::Unhealthy(ROUTER));
    assert_eq!(total(&play), 1);
    play.at(20, Event::Unhealthy(ROUTER));
    assert_eq!(total(&play), 1, "it is being stopped");
}

/// The reasons to believe that a signal came to every process.
fn told(notes: &[Note]) -> usize {
    notes.iter().filter(|note| matches!(note, Note::EndedUndrained { .. })).count()
}

#[test]
fn only_a_stop_signal_and_the_end_of_a_current_instance_look_like_a_broadcast() {
    let mut play = Play::up(gateway());
    play.at(1000, Event::Signal(Signal::USR1));
    assert_eq!(told(&play.notes(1004, exited(ROUTER))), 0);
    // A new instance that ends beside the one that serves takes nothing away from anybody.
    let mut play = beside();
    play.at(1500, exited(NEW));
    assert_eq!(told(&play.notes(1510, TERM)), 0);
    // Its drain may have ended it, also long after.
    let mut spec = gateway();
    let drain = spec.processes[ROUTER.index()].drain.as_mut().unwrap();
    (drain.closes, drain.signal) = (true, Some(Signal::QUIT));
    let mut play = Play::up(spec);
    play.at(1000, TERM);
    assert_eq!(told(&play.notes(1100, exited(ROUTER))), 0);
}

#[test]
fn what_survives_kill_fails_no_reload_that_does_not_concern_it() {
    let mut play = up();
    let mut new = overlapping();
    let mut added = new.processes[ROUTER.index()].clone();
    added.readiness_timeout = Some(MS(60_000));
    new.processes.push(added);
    new.processes[ENGINE.index()].dependents.push(ProcessId(2));
    new.order.push(ProcessId(2));
    play.reload(1000, &new, &[Placed::Same(ENGINE), Placed::Same(ROUTER), Placed::New]);
    play.at(1000, Event::Spawned(NEW));
    play.at(1000, Event::Unhealthy(ROUTER));
    play.at(7000, Event::Drained(ROUTER));
    assert_eq!(play.at(12_000, Event::Tick), [Action::Kill(ROUTER)]);
    play.at(12_200, Event::Tick);
    assert_eq!(play.notes(20_000, Event::Ready(NEW)).last(), Some(&Note::ReloadDone));
}

/// A further process that needs these, at the end of a config.
fn add(spec: &mut Spec, needs: &[(ProcessId, StartCondition)], timeout: Option<u64>) -> ProcessId {
    let id = ProcessId(spec.processes.len() as u16);
    let mut added = plain().processes[ROUTER.index()].clone();
    (added.dependencies, added.readiness_timeout) = (needs.to_vec(), timeout.map(MS));
    for (on, _) in needs {
        spec.processes[on.index()].dependents.push(id);
    }
    spec.processes.push(added);
    spec.order.push(id);
    id
}

#[test]
fn a_reload_shortens_no_pause() {
    let mut spec = overlapping();
    spec.processes[ENGINE.index()].restart.policy = RestartPolicy::Always;
    let mut play = Play::up(spec.clone());
    play.at(100, Event::Ready(ROUTER));
    play.at(900, CRASH(ENGINE));
    let begun = play.reload(1000, &spec, &[Placed::Same(ENGINE), Placed::Changed(ROUTER)]);
    assert_eq!(begun[1..], [Action::Spawn(NEW)]);
    assert_eq!(wakes_at(&play), 1900);
}

#[test]
fn a_reload_fails_where_what_it_has_to_start_needs_a_process_on_its_way_down() {
    let mut play = Play::up(plain());
    play.at(10, ask_to_stop(ROUTER));
    play.at(20, exited(ROUTER));
    assert_eq!(play.at(100, Event::Unhealthy(ENGINE)), [stop(ENGINE)]);
    let mut new = plain();
    add(&mut new, &[(ROUTER, StartCondition::Ready)], None);
    let plan = [Placed::Same(ENGINE), Placed::Same(ROUTER), Placed::New];
    let begun = play.machine.reload(Time(MS(150)), &new, &plan).unwrap();
    let failed = Note::ReloadFailed { why: RequestError::Busy(ENGINE) };
    assert_eq!(begun.last(), Some(&Action::Note(failed)), "{begun:?}");
}

#[test]
fn a_reload_replaces_at_once_what_has_its_dependencies() {
    let mut spec = plain();
    let last = add(&mut spec, &[(ROUTER, StartCondition::Ready)], None);
    let mut play = Play::up(spec.clone());
    play.at(0, Event::Spawned(last));
    // The router in the middle stays.
    let plan = [Placed::Changed(ENGINE), Placed::Same(ROUTER), Placed::Changed(last)];
    let begun = play.reload(1000, &spec, &plan);
    assert_eq!(begun[2..], [stop(last), stop(ENGINE)]);
}

#[test]
fn a_reload_has_its_limit_of_slots() {
    let with = |count| {
        let mut play = up();
        play.machine.reload(Time(MS(1000)), &overlapping(), &vec![Placed::New; count]).unwrap()
    };
    let failed = [Action::Note(Note::ReloadFailed { why: RequestError::Reloading })];
    assert_eq!(with(65_534), failed, "two are in use");
    assert_ne!(with(65_533), failed);
}

#[test]
fn followers_are_those_of_the_new_config() {
    let mut spec = plain();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.update, engine.readiness_timeout) = (Update::StartFirst, Some(MS(1000)));
    (engine.restart.policy, engine.restart.delay) = (RestartPolicy::Always, MS(100));
    engine.followers = vec![(ROUTER, StartCondition::Ready)];
    let mut play = Play { machine: Machine::new(Rc::new(spec.clone()), Time(Duration::ZERO)) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    assert_eq!(play.at(100, Event::Ready(ENGINE)), [Action::Spawn(ROUTER)]);
    play.at(100, Event::Spawned(ROUTER));
    spec.processes[ENGINE.index()].followers.clear();
    play.reload(1000, &spec, &[Placed::Changed(ENGINE), Placed::Same(ROUTER)]);
    play.at(1000, Event::Spawned(NEW));
    // The old one is started once more meanwhile.
    play.at(1050, CRASH(ENGINE));
    assert_eq!(play.at(1150, Event::Tick), [Action::Spawn(ENGINE)]);
    play.at(1150, Event::Spawned(ENGINE));
    play.at(1200, Event::Ready(ENGINE));
    assert_eq!(play.at(1300, Event::Ready(NEW)), [stop(ENGINE)]);
    assert_eq!(play.notes(1400, exited(ENGINE)).last(), Some(&Note::ReloadDone), "it goes on");
}

#[test]
fn a_replaced_definition_takes_no_time_from_later_stops() {
    let long =
        |stop| changed(|spec| spec.processes[ROUTER.index()].stop = Wait::new(Some(MS(stop))));
    let mut play = Play::up(long(20_000));
    play.at(100, Event::Ready(ROUTER));
    play.reload(1000, &long(1000), &[Placed::Same(ENGINE), Placed::Changed(ROUTER)]);
    play.at(1000, Event::Spawned(NEW));
    play.at(1500, Event::Ready(NEW));
    play.at(7000, Event::Drained(ROUTER));
    assert_eq!(play.notes(7100, exited(ROUTER)).last(), Some(&Note::ReloadDone));
    let drain = Action::Drain { process: NEW, min: MS(5000), longest: MS(15_000) };
    assert_eq!(play.at(8000, TERM), [Action::Unready, drain]);
}

/// A gateway that goes on without its engine.
fn engine_may_fail() -> Spec {
    let mut spec = plain();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.required, engine.on_exit) = (false, OnExit::Ignore);
    engine.readiness_timeout = Some(MS(1000));
    spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, StartCondition::Started)];
    spec
}

/// The same, with an engine that has failed its liveness check, and is being stopped since 1000.
fn failing() -> Play {
    let mut play = Play::up(engine_may_fail());
    play.at(500, Event::Ready(ENGINE));
    assert_eq!(play.at(1000, Event::Unhealthy(ENGINE)), [stop(ENGINE)]);
    play
}

/// The same; the engine survives KILL.
fn without_engine() -> Play {
    let mut play = failing();
    assert_eq!(play.at(6000, Event::Tick), [Action::Kill(ENGINE)]);
    play.at(11_000, Event::Tick);
    play
}

#[test]
fn a_reload_does_not_wait_for_what_survives_kill() {
    let plan = [Placed::Same(ENGINE), Placed::Same(ROUTER), Placed::New];
    let (mut play, mut new) = (without_engine(), engine_may_fail());
    let slow = add(&mut new, &[], Some(60_000));
    let needs = [(ENGINE, StartCondition::Started), (slow, StartCondition::Ready)];
    add(&mut new, &needs, None);
    let begun = play.reload(12_000, &new, &[&plan[..], &[Placed::New]].concat());
    assert_eq!(begun[2..], [Action::Spawn(NEW)]);
    play.at(12_000, Event::Spawned(NEW));
    assert_eq!(play.at(13_000, Event::Ready(NEW)), [Action::Spawn(NEXT)]);
    assert_eq!(play.notes(13_000, Event::Spawned(NEXT)).last(), Some(&Note::ReloadDone));
}

#[test]
fn sockets_are_held_as_long_as_a_process_serves() {
    let mut spec = gateway();
    for process in &mut spec.processes {
        process.listens = true;
    }
    let mut play = Play::up(spec);
    let drain = Action::Drain { process: ROUTER, min: MS(5000), longest: MS(15_000) };
    assert_eq!(play.at(0, TERM), [Action::Unready, drain]);
    let released = Action::ReleaseSockets;
    let asked = play.at(1000, TERM);
    assert_eq!(asked, [Action::EndDrain(ROUTER), stop(ROUTER), released(ROUTER)]);
    assert_eq!(play.at(1100, exited(ROUTER)), [stop(ENGINE), released(ENGINE)]);
}

#[test]
fn the_grace_period_ends_with_the_reserve() {
    let mut play = finishing(false);
    assert_eq!(play.at(30, Event::Leftovers(0)), [Action::Exit(0)]);
    assert_eq!(play.machine.state().grace_end, Some(Time(MS(30_000))));
}

#[test]
fn a_slot_that_is_used_again_knows_nothing_of_its_former_process() {
    let mut spec = overlapping();
    spec.processes[ROUTER.index()].restart.policy = RestartPolicy::Always;
    spec.processes[ROUTER.index()].liveness_retries = Some(3);
    let mut play = Play::up(spec.clone());
    play.at(100, CRASH(ROUTER));
    play.at(1100, Event::Tick);
    play.at(1100, Event::Spawned(ROUTER));
    play.at(1200, Event::Ready(ROUTER));
    play.at(1300, Event::LivenessProbed { process: ROUTER, is_alive: false });
    play.at(2000, restart(ROUTER));
    play.at(2000, Event::Spawned(NEW));
    play.at(2500, Event::Ready(NEW));
    play.at(8000, Event::Drained(ROUTER));
    play.at(8100, exited(ROUTER));
    let counts = |play: &Play, slot: ProcessId| {
        let state = play.machine.state();
        (state.restarts[slot.index()].total, state.probe_failures[slot.index()].total)
    };
    assert_eq!(counts(&play, NEW), (1, 1), "the process is the same");
    add(&mut spec, &[], Some(1000));
    let plan = [Placed::Same(ENGINE), Placed::Same(NEW), Placed::New];
    let begun = play.reload(9000, &spec, &plan);
    assert_eq!(begun[1..], [Action::Spawn(ROUTER)]);
    assert_eq!(counts(&play, ROUTER), (0, 0));
    assert!(!play.machine.state().reached(ROUTER).started);
}

#[test]
fn the_last_failure_of_a_liveness_check_is_said_once() {
    let mut spec = plain();
    spec.processes[ROUTER.index()].liveness_retries = Some(2);
    let mut play = Play::up(spec);
    let fails = Event::LivenessProbed { process: ROUTER, is_alive: false };
    let first = Note::ProbeFailed { process: ROUTER, failures: 1, retries: 2 };
    assert_eq!(play.notes(10, fails), [first]);
    let second = play.notes(20, fails);
    assert!(!second.iter().any(|note| matches!(note, Note::ProbeFailed { .. })), "{second:?}");
}

#[test]
fn the_container_waits_for_what_is_not_ready() {
    let mut play = Play::up(overlapping());
    let waits = |play: &Play| {
        let Phase::Running(running) = play.machine.phase() else { unreachable!() };
        let waits = [ENGINE, ROUTER].map(|id| play.machine.state().waits_for(id));
        (waits, running.was_ready())
    };
    assert_eq!(waits(&play), ([false, true], false));
    play.at(100, Event::Ready(ROUTER));
    assert_eq!(waits(&play), ([false, false], true));
}

#[test]
fn the_container_is_not_ready_before_a_restart_has_begun() {
    let mut spec = plain();
    spec.processes[ROUTER.index()].restart.policy = RestartPolicy::Always;
    let is_ready = |play: &Play| match play.machine.phase() {
        Phase::Running(running) => running.is_ready(play.machine.state()),
        _ => false,
    };
    // Also while some of its group remain.
    for end in [CRASH(ROUTER), remaining(ROUTER)] {
        let mut play = Play::up(spec.clone());
        assert!(is_ready(&play));
        play.at(100, end);
        assert!(!is_ready(&play));
        play.at(200, Event::GroupGone(ROUTER));
        assert!(!is_ready(&play));
        let waits_until = wakes_at(&play);
        assert_eq!(play.at(waits_until, Event::Tick), [Action::Spawn(ROUTER)]);
        assert!(!is_ready(&play));
        play.at(waits_until, Event::Spawned(ROUTER));
        assert!(is_ready(&play));
    }
}

fn ask_to_start(process: ProcessId) -> Event {
    Event::Requested { process, request: Request::Start }
}

fn failures(notes: &[Note]) -> Vec<RequestError> {
    let why = |note: &Note| match note {
        Note::RequestFailed { why, .. } => Some(*why),
        _ => None,
    };
    notes.iter().filter_map(why).collect()
}

#[test]
fn requests_while_a_process_is_replaced() {
    // One instance serves, so it is started.
    let mut play = beside();
    let started = Note::RequestDone { process: ROUTER, request: Request::Start };
    assert_eq!(play.notes(1100, ask_to_start(ROUTER)).last(), Some(&started));
    // None serves, and the old one is about to be.
    let mut spec = overlapping();
    spec.processes[ROUTER.index()].restart.policy = RestartPolicy::Always;
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    play.at(1100, CRASH(ROUTER));
    let busy = [RequestError::Busy(ROUTER)];
    assert_eq!(failures(&play.notes(1200, ask_to_start(ROUTER))), busy);
    // The slot is no longer that of the process.
    let mut play = beside();
    play.at(1500, Event::Ready(NEW));
    assert_eq!(failures(&play.notes(1600, ask_to_stop(ROUTER))), busy);
}

/// A gateway whose router was stopped by a request, and takes 10 s to be ready; its engine is
/// restarted.
fn router_down() -> Play {
    let mut spec = plain();
    spec.processes[ROUTER.index()].readiness_timeout = Some(MS(10_000));
    spec.processes[ENGINE.index()].restart.policy = RestartPolicy::Always;
    let mut play = Play::up(spec);
    play.at(0, Event::Ready(ROUTER));
    play.at(10, ask_to_stop(ROUTER));
    play.at(20, exited(ROUTER));
    play
}

#[test]
fn a_start_concerns_only_what_it_starts() {
    let mut play = router_down();
    assert_eq!(play.at(100, ask_to_start(ROUTER)), [Action::Spawn(ROUTER)]);
    play.at(100, Event::Spawned(ROUTER));
    assert_eq!(failures(&play.notes(200, CRASH(ENGINE))), [], "it was not down");
    // The pause of a dependency is left to it.
    let mut play = router_down();
    play.at(100, CRASH(ENGINE));
    play.at(200, ask_to_start(ROUTER));
    assert_eq!(wakes_at(&play), 1100);
}

#[test]
fn a_start_repeats_no_task_that_has_completed() {
    let mut spec = plain();
    spec.processes[ENGINE.index()].oneshot = true;
    spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, StartCondition::Completed)];
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    assert_eq!(play.at(10, exited(ENGINE)), [Action::Spawn(ROUTER)]);
    play.at(10, Event::Spawned(ROUTER));
    play.at(20, ask_to_stop(ROUTER));
    play.at(30, exited(ROUTER));
    assert_eq!(play.at(100, ask_to_start(ROUTER)), [Action::Spawn(ROUTER)]);
}

#[test]
fn a_change_waits_for_requests_of_its_own_process_only() {
    let mut spec = plain();
    spec.processes[ENGINE.index()].restart.policy = RestartPolicy::Always;
    spec.processes[ENGINE.index()].readiness_timeout = Some(MS(10_000));
    spec.processes[ROUTER.index()].watch = vec![WatchAction::Signal(Signal::HUP)];
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    assert_eq!(play.at(10, Event::Ready(ENGINE)), [Action::Spawn(ROUTER)]);
    play.at(10, Event::Spawned(ROUTER));
    play.at(20, CRASH(ENGINE));
    assert_eq!(play.at(30, ask_to_start(ENGINE)), [Action::Spawn(ENGINE)]);
    let hup = Action::Signal { process: ROUTER, signal: Signal::HUP };
    assert_eq!(play.at(40, Event::FileChanged { process: ROUTER, watch: 0 }), [hup]);
}

#[test]
fn the_failure_of_a_start_stops_only_what_waits_for_it() {
    let mut spec = plain();
    spec.processes[ENGINE.index()].readiness_timeout = Some(MS(1000));
    spec.processes[ROUTER.index()].readiness_timeout = Some(MS(9000));
    spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, StartCondition::Started)];
    let mut play = Play::up(spec);
    play.at(10, Event::Ready(ENGINE));
    play.at(10, Event::Ready(ROUTER));
    play.at(20, ask_to_stop(ENGINE));
    play.at(30, exited(ROUTER));
    play.at(40, exited(ENGINE));
    assert_eq!(play.at(100, ask_to_start(ROUTER)), [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(100, Event::Spawned(ENGINE)), [Action::Spawn(ROUTER)]);
    play.at(100, Event::Spawned(ROUTER));
    assert_eq!(play.at(1100, Event::Tick), [stop(ENGINE)]);
}

#[test]
fn a_dependency_that_is_left_out_fails_no_start() {
    let mut spec = plain();
    spec.processes[ENGINE.index()].conditional = true;
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    play.at(0, Event::Start);
    play.at(0, Event::Condition { process: ENGINE, holds: true });
    play.at(0, Event::Spawned(ENGINE));
    play.at(0, Event::Spawned(ROUTER));
    play.at(20, ask_to_stop(ENGINE));
    play.at(30, exited(ROUTER));
    play.at(40, exited(ENGINE));
    assert_eq!(play.at(100, ask_to_start(ROUTER)), [Action::CheckCondition(ENGINE)]);
    let skipped =
        play.machine.handle(Time(MS(110)), Event::Condition { process: ENGINE, holds: false });
    assert_eq!(skipped, [Action::Note(Note::Skipped(ENGINE)), Action::Spawn(ROUTER)]);
}

#[test]
fn what_survives_kill_is_not_started_again_when_it_ends_after_all() {
    let mut play = Play::up(plain());
    play.at(0, restart(ROUTER));
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    let unkillable = [RequestError::Unkillable(ROUTER)];
    assert_eq!(failures(&play.notes(10_000, Event::Tick)), unkillable);
    assert_eq!(play.at(19_000, exited(ROUTER)), []);
    assert_eq!(play.machine.state().life(ROUTER), Lifecycle::Stopped { failed: true });
    // One that a reload puts in its place does not start, either.
    let mut play = Play::up(plain());
    play.reload(0, &plain(), &[Placed::Same(ENGINE), Placed::Changed(ROUTER)]);
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    let why = RequestError::Unkillable(ROUTER);
    assert_eq!(play.notes(10_000, Event::Tick), [Note::ReloadFailed { why }]);
    assert_eq!(play.machine.state().life(NEW), Lifecycle::Stopped { failed: true });
    assert_eq!(play.at(9000, exited(ROUTER)), []);
    assert_eq!(play.machine.state().life(NEW), Lifecycle::Stopped { failed: true });
}

#[test]
fn an_epoch_that_has_not_taken_over_passes_nothing_on() {
    let mut spec = overlapping();
    spec.processes[ENGINE.index()].drain = spec.processes[ROUTER.index()].drain;
    let router = &mut spec.processes[ROUTER.index()];
    (router.update, router.handover) = (Update::HotRestart, Some(MS(12_000)));
    router.restart.policy = RestartPolicy::Always;
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    play.at(1500, Event::Ready(NEW));
    play.at(2000, CRASH(NEW));
    play.at(3000, Event::Tick);
    play.at(3000, Event::Spawned(NEW));
    let kill = Action::Stop { process: NEW, signal: Signal::KILL };
    let drain = Action::Drain { process: ENGINE, min: MS(5000), longest: MS(5000) };
    assert_eq!(play.at(3100, TERM), [Action::Unready, kill]);
    // The old one serves until the drains are over, and needs the engine for its own.
    assert_eq!(play.at(3200, CRASH(NEW)), []);
    assert_eq!(play.at(18_100, Event::Tick), [Action::EndDrain(ROUTER), drain]);
}

#[test]
fn a_drain_is_requested_in_vain_before_everything_was_ready() {
    let mut play = Play::up(overlapping());
    assert_eq!(play.at(10, Event::DrainRequested), []);
    assert_eq!(play.at(100, Event::Ready(ROUTER)), []);
    assert_eq!(play.at(110, Event::DrainRequested).len(), 2);
}

#[test]
fn a_process_that_is_to_end_before_it_has_begun_serves_nobody() {
    let up = || {
        let mut spec = gateway();
        spec.processes[ROUTER.index()].restart.policy = RestartPolicy::Always;
        let mut play = Play::up(spec);
        play.at(0, CRASH(ROUTER));
        assert_eq!(play.at(1000, Event::Tick), [Action::Spawn(ROUTER)]);
        assert_eq!(play.at(1001, ask_to_stop(ROUTER)), []);
        play
    };
    assert_eq!(up().at(1002, Event::Spawned(ROUTER)), [stop(ROUTER)], "no drain");
    let notes = up().notes(1002, Event::SpawnFailed { process: ROUTER, exit_code: 126 });
    assert_eq!(notes, [Note::RequestDone { process: ROUTER, request: Request::Stop }]);
}

#[test]
fn a_process_is_started_again_after_the_rest_of_its_group() {
    let mut play = with_rest();
    assert_eq!(play.at(20, Event::GroupGone(ROUTER)), []);
    assert_eq!(play.at(120, Event::Tick), [Action::Spawn(ROUTER)]);
}

#[test]
fn a_hook_leaves_the_stops_a_quarter_of_a_short_window() {
    let up = |window, change: &dyn Fn(&mut HookWaits)| {
        let mut spec = Spec { window: MS(window), ..plain() };
        change(&mut spec.processes[ROUTER.index()].hooks);
        let mut play = Play::up(spec);
        play.at(0, TERM);
        play
    };
    let long = Some(Wait::new(Some(MS(60_000))));
    assert_eq!(wakes_at(&up(4000, &|hooks| hooks.pre_stop = long)), 3000);
    let mut play = up(2000, &|hooks| hooks.post_stop = long);
    play.at(0, exited(ROUTER));
    assert_eq!(wakes_at(&play), 1500);
}

#[test]
fn what_survives_kill_fails_no_other_restart() {
    let mut spec = overlapping();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.update, engine.readiness_timeout) = (Update::StartFirst, Some(MS(60_000)));
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    play.at(0, Event::Ready(ENGINE));
    play.at(0, Event::Spawned(ROUTER));
    play.at(0, Event::Ready(ROUTER));
    for (process, new) in [(ENGINE, NEW), (ROUTER, NEXT)] {
        play.at(1000, restart(process));
        play.at(1000, Event::Spawned(new));
    }
    play.at(1500, Event::Ready(NEXT));
    play.at(7000, Event::Drained(ROUTER));
    assert_eq!(play.at(12_000, Event::Tick), [Action::Kill(ROUTER)]);
    let failed = Note::RequestFailed {
        process: NEXT,
        request: Request::Restart,
        why: RequestError::Unkillable(ROUTER),
    };
    assert_eq!(play.notes(17_000, Event::Tick), [failed]);
}

#[test]
fn what_survives_kill_fails_a_reload_only_where_it_is_a_step_of_it() {
    for is_step in [true, false] {
        let mut spec = plain();
        spec.processes[ROUTER.index()].readiness_timeout = Some(MS(60_000));
        let other = add(&mut spec, &[], None);
        let mut play = Play { machine: Machine::new(Rc::new(spec.clone()), Time(Duration::ZERO)) };
        play.at(0, Event::Start);
        for process in [ENGINE, other, ROUTER] {
            play.at(0, Event::Spawned(process));
        }
        play.at(0, Event::Ready(ROUTER));
        play.at(10, ask_to_stop(ROUTER));
        play.at(20, exited(ROUTER));
        // It starts the router, too.
        add(&mut spec, &[(ROUTER, StartCondition::Ready)], None);
        let placed = if is_step { Placed::Changed(other) } else { Placed::Same(other) };
        let plan = [Placed::Same(ENGINE), Placed::Same(ROUTER), placed, Placed::New];
        let begun = play.reload(1000, &spec, &plan);
        assert_eq!(begun.last(), Some(&Action::Spawn(ROUTER)));
        play.at(1000, Event::Spawned(ROUTER));
        play.at(1000, Event::Unhealthy(other));
        assert_eq!(play.at(6000, Event::Tick), [Action::Kill(other)]);
        play.at(11_000, Event::Tick);
        let added = ProcessId(if is_step { 4 } else { 3 });
        assert_eq!(play.at(12_000, Event::Ready(ROUTER)), [Action::Spawn(added)]);
        let notes = play.notes(12_000, Event::Spawned(added));
        let failed = Note::ReloadFailed { why: RequestError::Unkillable(other) };
        let answer = if is_step { failed } else { Note::ReloadDone };
        assert_eq!(notes.last(), Some(&answer));
    }
}

#[test]
fn what_is_left_out_or_replaced_is_as_if_it_were_not_there() {
    let mut spec = gateway();
    let engine = &mut spec.processes[ENGINE.index()];
    engine.stop = Wait::new(Some(MS(20_000)));
    engine.leave_out();
    let (now, deadline) = (Time(Duration::ZERO), Time(spec.window));
    let drain = |spec| Budget::new(spec).drain(ROUTER, MS(15_000), MS(5000), now, deadline);
    assert_eq!(drain(&spec), MS(15_000), "the stops leave it all of its time");
    let mut play = beside();
    play.at(1500, Event::Ready(NEW));
    play.at(7000, Event::Drained(ROUTER));
    play.at(7100, exited(ROUTER));
    let replaced = play.machine.state().process(ROUTER);
    assert!(replaced.left_out && replaced.dependencies.is_empty() && !replaced.required);
}

#[test]
fn a_note_is_about_one_instance_or_about_none() {
    assert_eq!(Note::Started(NEW).instance(), Some(NEW));
    assert_eq!(Note::AllReady.instance(), None);
}

#[test]
fn the_rest_of_an_old_epoch_is_asked_when_no_newer_one_comes() {
    let mut play = taken_over(ends_for_good);
    assert_eq!(play.at(2000, remaining(ROUTER)), [], "one of them may be the Envoy");
    assert_eq!(play.at(3000, CRASH(NEW)), []);
    assert_eq!(play.at(18_000, Event::Tick), [Action::EndDrain(ROUTER), stop_group(ROUTER)]);
    assert_eq!(wakes_at(&play), 23_000);
}

#[test]
fn a_new_definition_inherits_what_its_process_has_reached() {
    let mut play = Play::up(plain());
    play.reload(1000, &plain(), &[Placed::Changed(ENGINE), Placed::Same(ROUTER)]);
    assert!(play.machine.state().is_current(NEW) && play.machine.state().reached(NEW).ready);
}

#[test]
fn an_end_while_the_hook_runs_answers_no_signal() {
    let mut spec = gateway();
    let router = &mut spec.processes[ROUTER.index()];
    let mut drain = router.drain.unwrap();
    (drain.closes, drain.signal) = (false, Some(Signal::TERM));
    (router.drain, router.hooks.pre_stop) = (Some(drain), Some(Wait::DEFAULT));
    let mut play = Play::up(spec);
    play.at(1000, TERM);
    let pre_stop = hook(Some(ROUTER), Stage::PreStop);
    let over = [Action::EndDrain(ROUTER), Action::RunHook(pre_stop)];
    assert_eq!(play.at(7000, Event::Drained(ROUTER)), over);
    let notes = play.notes(7100, exited(ROUTER));
    let is_end = |note: &&Note| matches!(note, Note::Stopped { process: ROUTER, .. });
    let stopped = notes.iter().find(is_end);
    assert!(matches!(stopped, Some(Note::Stopped { took: None, .. })), "{notes:?}");
}

#[test]
fn what_is_stopped_by_hand_with_its_old_epoch_stays_down() {
    let mut play = taken_over(ends_for_good);
    play.at(2000, CRASH(NEW));
    play.at(2100, ask_to_stop(NEW));
    let done = Note::RequestDone { process: NEW, request: Request::Stop };
    assert_eq!(play.notes(2200, CRASH(ROUTER)).last(), Some(&done));
    let mut spec = (*play.machine.state().spec).clone();
    spec.processes.truncate(2);
    let plan = [Placed::Same(ENGINE), Placed::Changed(NEW)];
    let reloaded = play.reload(3000, &spec, &plan);
    assert!(!reloaded.iter().any(|action| matches!(action, Action::Spawn(_))), "{reloaded:?}");
}

#[test]
fn a_stop_of_what_has_completed_stops_nothing() {
    let mut spec = gateway();
    spec.processes[ENGINE.index()].oneshot = true;
    spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, StartCondition::Started)];
    let mut play = Play::up(spec);
    play.at(100, exited(ENGINE));
    let done = Note::RequestDone { process: ENGINE, request: Request::Stop };
    assert_eq!(play.notes(200, ask_to_stop(ENGINE)).last(), Some(&done));
    assert!(matches!(play.machine.state().life(ROUTER), Lifecycle::Ready { .. }));
}

#[test]
fn the_rest_of_a_new_epoch_takes_no_time_from_the_old_one() {
    let mut play = taken_over(|router| {
        ends_for_good(router);
        router.stop = Wait::new(Some(MS(100_000)));
    });
    assert_eq!(play.at(2000, remaining(NEW)), [stop_group(NEW)]);
    play.at(2100, TERM);
    let half = 2100 + 14_000;
    assert_eq!(play.at(half - 1, Event::Tick), [Action::EndDrain(ROUTER)], "its drain is over");
    assert_eq!(play.at(half, Event::Tick), [Action::Kill(NEW)]);
}

#[test]
fn an_old_epoch_without_time_to_end_is_killed_with_the_new_one() {
    let killed = [stop(NEW), Action::Kill(ROUTER), Action::Kill(NEW)];
    for ends_before in [false, true] {
        let mut play = taken_over(|router| router.stop = Wait::new(Some(Duration::ZERO)));
        if ends_before {
            play.at(1900, remaining(ROUTER));
        }
        play.at(2000, TERM);
        let stopped = play.at(3000, TERM);
        assert!(stopped.ends_with(&killed), "{stopped:?}");
    }
}

#[test]
fn an_old_epoch_waits_for_the_rest_of_a_new_one_only_for_its_time() {
    let crashed = |policy| {
        let mut play = taken_over(|router| {
            (router.restart.policy, router.on_exit) = (policy, OnExit::Ignore);
            router.stop = Wait::new(Some(MS(60_000)));
        });
        assert_eq!(play.at(2000, remaining(NEW)), [stop_group(NEW)]);
        play
    };
    let mut play = crashed(RestartPolicy::Always);
    assert_eq!(play.at(13_500, Event::Tick), [stop(ROUTER)]);
    assert_eq!(play.at(62_000, Event::Tick), [Action::Kill(NEW)]);
    assert_eq!(play.at(73_500, Event::Tick), [Action::Kill(ROUTER)]);
    // No other one comes, so it is drained, and asked after the rest.
    let mut play = crashed(RestartPolicy::No);
    assert_eq!(play.at(17_000, Event::Tick), [Action::EndDrain(ROUTER)]);
    assert_eq!(play.at(18_000, Event::GroupGone(NEW)), [stop(ROUTER)]);
}

/// The leader of a process group has ended by KILL, before another member of it.
fn killed_before_its_group(process: ProcessId) -> Event {
    Event::Exited { process, end: End::Signal(Signal::KILL), remains: true }
}

#[test]
fn a_restart_waits_for_the_rest_of_a_killed_group() {
    let mut play = Play::up(plain());
    assert_eq!(play.at(0, restart(ROUTER)), [stop(ROUTER)]);
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    assert_eq!(play.at(5001, killed_before_its_group(ROUTER)), []);
    assert_eq!(play.at(5050, Event::GroupGone(ROUTER)), [Action::Spawn(ROUTER)]);
}

#[test]
fn a_stop_waits_for_the_rest_of_a_killed_group() {
    let mut play = Play::up(plain());
    assert_eq!(play.at(0, TERM), [Action::Unready, stop(ROUTER)]);
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    assert_eq!(play.at(5001, killed_before_its_group(ROUTER)), []);
    assert_eq!(play.at(5050, Event::GroupGone(ROUTER)), [stop(ENGINE)]);
}

#[test]
fn what_ends_before_it_is_ready_gives_1_with_a_held_drain_too() {
    for (is_drained, is_ready) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut spec = overlapping();
        let router = &mut spec.processes[ROUTER.index()];
        router.update = Update::StopFirst;
        router.restart.policy = RestartPolicy::OnFailure;
        let mut play = Play::up(spec);
        play.at(100, Event::Ready(ROUTER));
        play.at(1000, CRASH(ROUTER));
        assert_eq!(play.at(2000, Event::Tick), [Action::Spawn(ROUTER)]);
        play.at(2000, Event::Spawned(ROUTER));
        if is_ready {
            play.at(2040, Event::Ready(ROUTER));
        }
        if is_drained {
            play.at(2050, Event::DrainRequested);
        }
        play.at(2100, exited(ROUTER));
        play.at(3000, exited(ENGINE));
        let code = u8::from(!is_ready);
        assert_eq!(play.at(3100, Event::Leftovers(0)), [Action::Exit(code)], "{is_drained}");
    }
}

#[test]
fn a_start_fails_where_the_rest_of_a_group_survives_kill() {
    for (policy, asked) in [
        (RestartPolicy::Always, Request::Restart),
        (RestartPolicy::Always, Request::Start),
        (RestartPolicy::No, Request::Start),
    ] {
        let mut spec = plain();
        let router = &mut spec.processes[ROUTER.index()];
        (router.restart.policy, router.on_exit) = (policy, OnExit::Ignore);
        let mut play = Play::up(spec);
        play.at(1000, remaining(ROUTER));
        assert_eq!(play.at(6000, Event::Tick), [Action::Kill(ROUTER)]);
        play.at(6010, Event::Requested { process: ROUTER, request: asked });
        let why = RequestError::Unkillable(ROUTER);
        let failed = Note::RequestFailed { process: ROUTER, request: asked, why };
        assert!(play.notes(11_000, Event::Tick).contains(&failed), "{policy:?} {asked:?}");
        let again = play.notes(12_000, Event::Requested { process: ROUTER, request: asked });
        assert!(again.contains(&failed), "{policy:?} {asked:?}");
        // Its restart goes on once the rest is gone.
        let mut next = play.at(13_000, Event::GroupGone(ROUTER));
        next.extend(play.at(14_000, Event::Tick));
        let restarts = policy == RestartPolicy::Always;
        assert_eq!(next.contains(&Action::Spawn(ROUTER)), restarts, "{policy:?} {asked:?}");
    }
}

#[test]
fn a_process_that_is_stopped_because_it_has_failed_is_waited_for() {
    // Nobody needs it, and it is restarted.
    let mut spec = engine_may_fail();
    spec.processes[ENGINE.index()].restart.policy = RestartPolicy::Always;
    let mut play = Play::up(spec);
    let overdue = play.notes(1000, Event::Tick);
    assert!(!overdue.contains(&Note::AllReady), "{overdue:?}");
    play.at(1100, exited(ENGINE));
    play.at(3000, Event::Tick);
    play.at(3000, Event::Spawned(ENGINE));
    assert!(play.notes(3100, Event::Ready(ENGINE)).contains(&Note::AllReady));
    // The same once everything was ready.
    let is_ready = |play: &Play| match play.machine.phase() {
        Phase::Running(running) => running.is_ready(play.machine.state()),
        _ => false,
    };
    assert!(is_ready(&play) && !play.machine.waits_for(ENGINE));
    play.at(4000, Event::Unhealthy(ENGINE));
    assert!(!is_ready(&play));
    assert!(play.machine.waits_for(ENGINE));
    // It is not waited for if KILL does not end it.
    play.at(9000, Event::Tick);
    play.at(14_000, Event::Tick);
    assert!(is_ready(&play));
}

#[test]
fn a_process_with_much_memory_may_take_seconds_to_end_after_its_kill() {
    let mut play = Play::up(plain());
    play.at(0, restart(ROUTER));
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    assert_eq!(play.at(9000, exited(ROUTER)), [Action::Spawn(ROUTER)]);
}

/// A oneshot, restarted on failure, that nothing needs, beside the router.
fn task() -> Play {
    let mut spec = plain();
    spec.processes[ROUTER.index()].dependencies.clear();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.oneshot, engine.on_exit) = (true, OnExit::Ignore);
    engine.dependents.clear();
    engine.restart = Restart { policy: RestartPolicy::OnFailure, delay: MS(100), max: Some(5) };
    engine.success_codes = vec![0, 127];
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    for event in [Event::Start, Event::Spawned(ENGINE), Event::Spawned(ROUTER)] {
        play.at(0, event);
    }
    play
}

#[test]
fn what_a_oneshot_leaves_ends_with_it_unless_it_has_completed() {
    let mut play = task();
    assert_eq!(play.at(0, remaining(ENGINE)), [stop_group(ENGINE)], "before the next one starts");
    assert_eq!(play.at(50, Event::GroupGone(ENGINE)), []);
    assert_eq!(play.at(150, Event::Tick), [Action::Spawn(ENGINE)]);
    let mut play = task();
    assert_eq!(play.at(0, TERM), [Action::Unready, stop(ROUTER), stop(ENGINE)]);
    let ended = Event::Exited { process: ENGINE, end: End::Code(0), remains: true };
    assert_eq!(play.at(10, ended), [stop_group(ENGINE)], "a trap may exit with 0");
    let state = task().machine.state().clone();
    assert!(state.completes(ENGINE, End::Code(0)));
    assert!(!state.completes(ENGINE, End::Code(7)) && !state.completes(ROUTER, End::Code(0)));
}

#[test]
fn what_cannot_be_executed_has_not_completed_whatever_its_code() {
    let mut play = task();
    play.at(0, Event::Exited { process: ENGINE, end: End::Code(7), remains: false });
    assert_eq!(play.at(100, Event::Tick), [Action::Spawn(ENGINE)]);
    let notes = play.notes(100, Event::SpawnFailed { process: ENGINE, exit_code: 127 });
    assert!(matches!(notes[..], [Note::Ended { next: AfterEnd::Restart { .. }, .. }]), "{notes:?}");
}

#[test]
fn a_hook_that_fails_before_a_restart_is_a_failed_start() {
    let mut spec = plain();
    let router = &mut spec.processes[ROUTER.index()];
    router.liveness_retries = Some(1);
    router.hooks.pre_start = Some(Wait::new(None));
    router.restart = Restart { policy: RestartPolicy::Always, delay: MS(100), max: Some(2) };
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    let id = hook(Some(ROUTER), Stage::PreStart);
    for event in [Event::Start, Event::Spawned(ENGINE)] {
        play.at(0, event);
    }
    play.at(0, Event::HookEnded { hook: id, success: true });
    play.at(0, Event::Spawned(ROUTER));
    play.at(10, Event::LivenessProbed { process: ROUTER, is_alive: false });
    play.at(20, exited(ROUTER));
    assert_eq!(play.at(120, Event::Tick), [Action::RunHook(id)]);
    let failed = Event::HookEnded { hook: id, success: false };
    let notes = play.notes(130, failed);
    let next = AfterEnd::Restart { delay: MS(200), attempt: 2 };
    let why = StartFailure::Hook;
    assert_eq!(notes, [Note::StartFailed { process: ROUTER, why, next }]);
    assert_eq!(play.at(330, Event::Tick), [Action::RunHook(id)]);
    let notes = play.notes(340, failed);
    let cause = Cause::HookFailed(Some(ROUTER));
    let window = play.machine.state().spec.window;
    assert!(notes.contains(&Note::ShutdownBegan { cause, window }), "restart_max: {notes:?}");
}

#[test]
fn a_start_that_is_left_out_for_a_stop_owes_its_hook() {
    let mut spec = plain();
    let router = &mut spec.processes[ROUTER.index()];
    router.hooks.post_stop = Some(Wait::new(None));
    router.restart = Restart { policy: RestartPolicy::Always, delay: MS(100), max: None };
    let mut play = Play::up(spec);
    play.at(0, exited(ROUTER));
    assert_eq!(play.at(100, Event::Tick), [Action::Spawn(ROUTER)]);
    play.at(100, TERM);
    let left_out = Event::SpawnFailed { process: ROUTER, exit_code: 126 };
    let after = Action::RunHook(hook(Some(ROUTER), Stage::PostStop));
    assert_eq!(play.at(100, left_out), [after]);
}

#[test]
fn a_restart_whose_values_are_missing_leaves_its_hook_to_the_next() {
    let mut spec = plain();
    let router = &mut spec.processes[ROUTER.index()];
    router.hooks.pre_start = Some(Wait::new(None));
    router.liveness_retries = Some(1);
    router.restart = Restart { policy: RestartPolicy::Always, delay: MS(100), max: None };
    let before = hook(Some(ROUTER), Stage::PreStart);
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(Duration::ZERO)) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    play.at(0, Event::HookEnded { hook: before, success: true });
    play.at(0, Event::Spawned(ROUTER));
    assert_eq!(play.at(1000, Event::Unhealthy(ROUTER)), [stop(ROUTER)]);
    play.at(1010, exited(ROUTER));
    assert_eq!(play.at(1110, Event::Tick), [Action::RunHook(before)]);
    play.at(1110, Event::SpawnFailed { process: ROUTER, exit_code: 1 });
    assert_eq!(play.at(1310, Event::Tick), [Action::RunHook(before)]);
    // The hook has run: a spawn that fails after it is repeated alone.
    play.at(1320, Event::HookEnded { hook: before, success: true });
    play.at(1320, Event::SpawnFailed { process: ROUTER, exit_code: 127 });
    assert_eq!(play.at(1720, Event::Tick), [Action::Spawn(ROUTER)]);
}

#[test]
fn a_start_that_is_left_out_after_the_hook_owes_no_other_one() {
    let mut spec = plain();
    spec.processes[ROUTER.index()].hooks.post_stop = Some(Wait::new(None));
    let mut play = Play::up(spec);
    play.at(0, Event::Requested { process: ROUTER, request: Request::Restart });
    let after = hook(Some(ROUTER), Stage::PostStop);
    assert_eq!(play.at(10, exited(ROUTER)), [Action::RunHook(after)]);
    let ended = Event::HookEnded { hook: after, success: true };
    assert_eq!(play.at(20, ended), [Action::Spawn(ROUTER)]);
    play.at(20, TERM);
    let left_out = Event::SpawnFailed { process: ROUTER, exit_code: 126 };
    assert_eq!(play.at(20, left_out), [stop(ENGINE)]);
}

#[test]
fn a_restart_that_fails_for_good_after_the_hook_owes_no_other_one() {
    let mut spec = plain();
    let router = &mut spec.processes[ROUTER.index()];
    let hooks = HookWaits { pre_start: Some(Wait::new(None)), ..HookWaits::default() };
    router.hooks = HookWaits { post_stop: Some(Wait::new(None)), ..hooks };
    router.liveness_retries = Some(1);
    router.restart = Restart { policy: RestartPolicy::Always, delay: MS(100), max: Some(1) };
    let [before, after] = [Stage::PreStart, Stage::PostStop].map(|stage| hook(Some(ROUTER), stage));
    let restarted = || {
        let mut play = Play { machine: Machine::new(Rc::new(spec.clone()), Time(Duration::ZERO)) };
        play.at(0, Event::Start);
        play.at(0, Event::Spawned(ENGINE));
        play.at(0, Event::HookEnded { hook: before, success: true });
        play.at(0, Event::Spawned(ROUTER));
        play.at(1000, Event::Unhealthy(ROUTER));
        assert_eq!(play.at(1010, exited(ROUTER)), [Action::RunHook(after)]);
        play.at(1020, Event::HookEnded { hook: after, success: true });
        assert_eq!(play.at(1120, Event::Tick), [Action::RunHook(before)]);
        play
    };
    let mut play = restarted();
    let unreadable = Event::SpawnFailed { process: ROUTER, exit_code: 1 };
    let actions = play.at(1120, unreadable);
    assert_eq!(actions, [Action::AbortHook(before), Action::Unready, stop(ENGINE)]);
    // `post_stop` undoes the work of `pre_start`, which has ended in the meantime.
    let mut play = restarted();
    play.at(1130, Event::HookEnded { hook: before, success: true });
    let not_found = Event::SpawnFailed { process: ROUTER, exit_code: 127 };
    assert_eq!(play.at(1130, not_found), [Action::Unready, Action::RunHook(after)]);
}

#[test]
fn a_copy_that_is_never_started_runs_the_hook_of_the_instance_that_ended_beside_it() {
    let mut spec = plain();
    let router = &mut spec.processes[ROUTER.index()];
    router.update = Update::StartFirst;
    router.on_exit = OnExit::Ignore;
    router.hooks.post_stop = Some(Wait::new(None));
    let mut play = Play::up(spec);
    let actions = play.at(0, Event::Requested { process: ROUTER, request: Request::Restart });
    let copy = actions.iter().find_map(|action| match action {
        Action::Spawn(copy) => Some(*copy),
        _ => None,
    });
    let copy = copy.unwrap();
    assert_eq!(play.at(10, exited(ROUTER)), []);
    play.at(20, TERM);
    let left_out = Event::SpawnFailed { process: copy, exit_code: 126 };
    let after = Action::RunHook(hook(Some(copy), Stage::PostStop));
    assert_eq!(play.at(20, left_out), [after]);
}

#[test]
fn a_start_fails_with_the_restart_of_a_dependency_that_ran_when_it_was_asked_for() {
    let last = ProcessId(2);
    let mut play = followers(&[&[], &[], &[0, 1]], &[0]);
    for process in [last, ENGINE] {
        play.at(0, ask_to_stop(process));
        play.at(0, exited(process));
    }
    let start = Event::Requested { process: last, request: Request::Start };
    assert_eq!(play.at(100, start), [Action::Spawn(ENGINE)]);
    play.at(100, Event::Spawned(ENGINE));
    assert_eq!(play.at(200, restart(ROUTER)), [stop(ROUTER)]);
    assert_eq!(play.at(210, exited(ROUTER)), [Action::Spawn(ROUTER)]);
    let notes = play.notes(210, Event::SpawnFailed { process: ROUTER, exit_code: 127 });
    for (process, request) in [(ROUTER, Request::Restart), (last, Request::Start)] {
        let why = RequestError::SpawnFailed(ROUTER);
        assert!(notes.contains(&Note::RequestFailed { process, request, why }), "{notes:?}");
    }
}

#[test]
fn a_held_drain_without_processes_waits_for_the_stop() {
    let mut play = Play::up(plain());
    play.at(0, ask_to_stop(ENGINE));
    play.at(10, exited(ROUTER));
    play.at(20, exited(ENGINE));
    assert_eq!(play.at(30, Event::DrainRequested), [Action::Unready]);
    assert_eq!(play.machine.next_wakeup(), None);
    assert_eq!(play.at(40, TERM), [Action::Sweep(Signal::TERM)]);
}

#[test]
fn a_dependency_whose_end_does_not_matter_keeps_nothing_down() {
    let mut spec = plain();
    spec.processes[ENGINE.index()].on_exit = OnExit::Ignore;
    let mut play = Play::up(spec);
    let end = End::Code(7);
    play.at(100, Event::Exited { process: ENGINE, end, remains: false });
    play.at(200, ask_to_stop(ROUTER));
    play.at(300, exited(ROUTER));
    assert_eq!(play.at(400, ask_to_start(ROUTER)), [Action::Spawn(ROUTER)]);
}

#[test]
fn the_copies_of_a_process_follow_a_changed_file_one_after_the_other() {
    let mut spec = plain();
    for process in &mut spec.processes {
        process.copy_of = Some("app".to_owned());
        process.watch = vec![WatchAction::Restart];
        process.readiness_timeout = Some(MS(1000));
        // Only so that they are started in order.
        for (_, condition) in &mut process.dependencies {
            *condition = StartCondition::Started;
        }
    }
    let begin = || {
        let mut play = Play::up(spec.clone());
        play.at(100, Event::Ready(ENGINE));
        play.at(100, Event::Ready(ROUTER));
        let changed = |process| Event::FileChanged { process, watch: 0 };
        assert_eq!(play.at(200, changed(ENGINE)), [stop(ENGINE)]);
        assert_eq!(play.at(200, changed(ROUTER)), []);
        assert_eq!(play.at(300, exited(ENGINE)), [Action::Spawn(ENGINE)]);
        play.at(300, Event::Spawned(ENGINE));
        play
    };
    assert_eq!(begin().at(400, Event::Ready(ENGINE)), [stop(ROUTER)]);
    // A file that is wrong costs one of them.
    let mut play = begin();
    let end = End::Code(1);
    assert_eq!(play.at(400, Event::Exited { process: ENGINE, end, remains: false }), []);
    assert_eq!(play.machine.state().life(ENGINE), Lifecycle::Stopped { failed: true });
    // The next change tries the same one first.
    let again = Event::FileChanged { process: ENGINE, watch: 0 };
    assert_eq!(play.at(500, again), [Action::Spawn(ENGINE)]);
    // A process that is none of the copies holds nothing up.
    let mut beside = spec.clone();
    let web = add(&mut beside, &[(ROUTER, StartCondition::Started)], Some(1000));
    let mut play = Play::up(beside);
    play.at(0, Event::Spawned(web));
    for process in [ENGINE, ROUTER, web] {
        play.at(100, Event::Ready(process));
    }
    assert_eq!(play.at(200, restart(web)), [stop(web)]);
    assert_eq!(play.at(300, Event::FileChanged { process: ENGINE, watch: 0 }), [stop(ENGINE)]);
}

/// A web that waits for an engine, which has started, and a router, which is not ready.
fn waiting_for_two(on_exit: OnExit) -> Play {
    let mut spec = plain();
    let mut web = spec.processes[ROUTER.index()].clone();
    web.dependencies = [ENGINE, ROUTER].map(|on| (on, StartCondition::Ready)).to_vec();
    for on in [ENGINE, ROUTER] {
        spec.processes[on.index()].dependents = vec![WEB];
    }
    spec.processes[ROUTER.index()].dependencies.clear();
    spec.processes[ROUTER.index()].readiness_timeout = Some(MS(60_000));
    spec.processes[ENGINE.index()].on_exit = on_exit;
    spec.processes.push(web);
    spec.order.push(WEB);
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(MS(0))) };
    play.at(0, Event::Start);
    for process in [ENGINE, ROUTER] {
        play.at(0, Event::Spawned(process));
    }
    play
}

/// Restarts the engine, which survives KILL.
fn survives(play: &mut Play) -> Vec<Note> {
    assert_eq!(play.at(200, restart(ENGINE)), [stop(ENGINE)]);
    let kill_at = wakes_at(play);
    assert_eq!(play.at(kill_at, Event::Tick), [Action::Kill(ENGINE)]);
    play.notes(kill_at + 5000, Event::Tick)
}

#[test]
fn a_request_fails_with_the_restart_of_a_dependency_that_it_waits_for() {
    let has_failed = |notes: &[Note], asked: Request| {
        let is_failed = |note: &Note| {
            let Note::RequestFailed { process, request, .. } = *note else { return false };
            (process, request) == (WEB, asked)
        };
        assert!(notes.iter().any(is_failed), "{notes:?}");
    };
    for on_exit in [OnExit::Shutdown, OnExit::Ignore] {
        let mut play = waiting_for_two(on_exit);
        assert_eq!(play.at(100, restart(WEB)), []);
        assert_eq!(play.at(200, restart(ENGINE)), [stop(ENGINE)]);
        assert_eq!(play.at(300, exited(ENGINE)), [Action::Spawn(ENGINE)]);
        let notes = play.notes(400, Event::SpawnFailed { process: ENGINE, exit_code: 127 });
        has_failed(&notes, Request::Restart);
        // The same where it never ends.
        let mut play = waiting_for_two(on_exit);
        assert_eq!(play.at(100, restart(WEB)), []);
        has_failed(&survives(&mut play), Request::Restart);
        let mut play = waiting_for_two(on_exit);
        play.at(100, ask_to_stop(WEB));
        assert_eq!(play.at(150, ask_to_start(WEB)), []);
        has_failed(&survives(&mut play), Request::Start);
    }
}

#[test]
fn nothing_starts_beside_a_dependency_whose_restart_has_failed() {
    for survives_kill in [true, false] {
        let mut play = waiting_for_two(OnExit::Shutdown);
        assert_eq!(play.at(100, restart(WEB)), []);
        if survives_kill {
            survives(&mut play);
        } else {
            play.at(200, restart(ENGINE));
            play.at(300, exited(ENGINE));
            play.at(400, Event::SpawnFailed { process: ENGINE, exit_code: 127 });
        }
        // It was ready once; its restart has failed, so it is not any more.
        assert_eq!(play.at(20_000, Event::Ready(ROUTER)), []);
        if survives_kill {
            assert_eq!(play.at(21_000, exited(ENGINE)), []);
        }
        // Once it was started by hand, the first start follows.
        assert_eq!(play.at(22_000, ask_to_start(ENGINE)), [Action::Spawn(ENGINE)]);
        assert_eq!(play.at(22_000, Event::Spawned(ENGINE)), [Action::Spawn(WEB)]);
    }
}

#[test]
fn a_condition_that_held_stays_fulfilled_where_restart_decides_about_what_survives_kill() {
    let mut play = waiting_for_two(OnExit::Shutdown);
    assert_eq!(play.at(100, restart(WEB)), []);
    assert_eq!(play.at(200, Event::Unhealthy(ENGINE)), [stop(ENGINE)]);
    let kill_at = wakes_at(&play);
    assert_eq!(play.at(kill_at, Event::Tick), [Action::Kill(ENGINE)]);
    let has_failed = |note: &Note| matches!(note, Note::RequestFailed { .. });
    let notes = play.notes(kill_at + 5000, Event::Tick);
    assert!(!notes.iter().any(has_failed), "{notes:?}");
    assert_eq!(play.at(20_000, Event::Ready(ROUTER)), [Action::Spawn(WEB)]);
}

/// A router that was asked to start, and waits for an engine that is not ready.
fn asked_while_the_engine_starts() -> Play {
    let mut spec = plain();
    spec.processes[ENGINE.index()].readiness_timeout = Some(MS(60_000));
    spec.processes[ROUTER.index()].dependencies[0].1 = StartCondition::Ready;
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(MS(0))) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    play.at(100, ask_to_stop(ROUTER));
    assert_eq!(play.at(150, ask_to_start(ROUTER)), []);
    play
}

#[test]
fn a_start_waits_for_a_dependency_that_is_restarted_before_it_was_ready() {
    let mut play = asked_while_the_engine_starts();
    let notes = play.notes(300, restart(ENGINE));
    let has_failed = |note: &Note| matches!(note, Note::RequestFailed { .. });
    assert!(!notes.iter().any(has_failed), "{notes:?}");
    assert_eq!(play.at(400, exited(ENGINE)), [Action::Spawn(ENGINE)]);
    play.at(400, Event::Spawned(ENGINE));
    assert_eq!(play.at(500, Event::Ready(ENGINE)), [Action::Spawn(ROUTER)]);
}

#[test]
fn a_start_that_has_failed_for_what_survives_kill_is_not_made_up_for_later() {
    let mut play = asked_while_the_engine_starts();
    survives(&mut play);
    assert_eq!(play.at(21_000, exited(ENGINE)), []);
    assert_eq!(play.at(22_000, ask_to_start(ENGINE)), [Action::Spawn(ENGINE)]);
    play.at(22_000, Event::Spawned(ENGINE));
    assert_eq!(play.at(23_000, Event::Ready(ENGINE)), []);
}

#[test]
fn a_start_that_has_failed_for_what_survives_kill_has_failed_at_once() {
    let mut play = waiting_for_two(OnExit::Shutdown);
    play.at(100, ask_to_stop(WEB));
    assert_eq!(play.at(150, ask_to_start(WEB)), []);
    survives(&mut play);
    assert_eq!(play.machine.state().life(WEB), Lifecycle::Stopped { failed: true });
    // It is not made up for later.
    assert_eq!(play.at(21_000, exited(ENGINE)), []);
    play.at(21_500, Event::Ready(ROUTER));
    assert_eq!(play.at(22_000, ask_to_start(ENGINE)), [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(22_000, Event::Spawned(ENGINE)), []);
}

#[test]
fn a_reload_is_refused_because_of_what_survives_kill() {
    for request in [ask_to_stop(ROUTER), restart(ROUTER)] {
        let mut play = Play::up(plain());
        play.at(0, request);
        assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
        assert_eq!(play.machine.may_reload(), Err(RequestError::Reloading));
        play.at(10_000, Event::Tick);
        assert_eq!(play.machine.may_reload(), Err(RequestError::Unkillable(ROUTER)));
    }
}

#[test]
fn a_start_ends_the_pause_of_what_waits_for_the_rest_of_its_group() {
    let mut spec = plain();
    let restart = Restart { policy: RestartPolicy::Always, delay: MS(20_000), max: Some(5) };
    spec.processes[ROUTER.index()].restart = restart;
    let mut play = Play::up(spec.clone());
    assert_eq!(play.at(0, remaining(ROUTER)), [stop_group(ROUTER)]);
    assert_eq!(play.at(10, ask_to_start(ROUTER)), []);
    assert_eq!(play.at(20, Event::GroupGone(ROUTER)), [Action::Spawn(ROUTER)]);
    // The same once the rest was killed.
    let mut play = Play::up(spec);
    assert_eq!(play.at(0, remaining(ROUTER)), [stop_group(ROUTER)]);
    let kill_at = wakes_at(&play);
    assert_eq!(play.at(kill_at, Event::Tick), [Action::Kill(ROUTER)]);
    assert_eq!(play.at(kill_at + 10, ask_to_start(ROUTER)), []);
    assert_eq!(play.at(kill_at + 20, Event::GroupGone(ROUTER)), [Action::Spawn(ROUTER)]);
}

#[test]
fn a_start_ends_the_pause_of_no_other_that_waits_for_the_rest_of_its_group() {
    let mut spec = plain();
    let always = Restart { policy: RestartPolicy::Always, delay: MS(20_000), max: Some(5) };
    spec.processes[ENGINE.index()].restart = always;
    for is_killed in [true, false] {
        let mut play = Play::up(spec.clone());
        play.at(0, ask_to_stop(ROUTER));
        play.at(10, exited(ROUTER));
        assert_eq!(play.at(100, remaining(ENGINE)), [stop_group(ENGINE)]);
        let mut now = 100;
        if is_killed {
            now = wakes_at(&play);
            assert_eq!(play.at(now, Event::Tick), [Action::Kill(ENGINE)]);
        }
        play.at(now + 10, ask_to_start(ROUTER));
        let started = play.at(now + 20, Event::GroupGone(ENGINE));
        assert!(!started.contains(&Action::Spawn(ENGINE)), "{started:?}");
    }
}

#[test]
fn a_start_needs_nothing_of_what_has_ended_for_good_and_leaves_a_rest() {
    let mut spec = plain();
    spec.processes[ENGINE.index()].on_exit = OnExit::Ignore;
    let mut play = Play::up(spec);
    assert_eq!(play.at(100, remaining(ENGINE)), [stop_group(ENGINE)]);
    play.at(200, ask_to_stop(ROUTER));
    play.at(300, exited(ROUTER));
    assert_eq!(play.at(400, ask_to_start(ROUTER)), [Action::Spawn(ROUTER)]);
    assert_eq!(play.at(500, Event::GroupGone(ENGINE)), []);
}
