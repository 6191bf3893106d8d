//! Single schedules of replacements and reloads.

use crate::config::RestartPolicy;
use crate::core::spec::Wait;
use crate::core::state::Lifecycle;
use crate::simulation::cases::{ENGINE, MS, Play, ROUTER, exited, gateway, stop};
use crate::simulation::*;

/// The first slot after those of the config, and the one after it.
const NEW: ProcessId = ProcessId(2);
const NEXT: ProcessId = ProcessId(3);

/// A gateway whose router is ready 1 s after its start at the latest, and overlaps.
fn overlapping() -> Spec {
    let mut spec = gateway();
    spec.processes[ROUTER.index()].update = Update::StartFirst;
    spec.processes[ROUTER.index()].readiness_timeout = Some(MS(1000));
    spec
}

fn restart(process: ProcessId) -> Event {
    Event::Requested { process, request: Request::Restart }
}

/// Everything is ready at 100.
fn up() -> Play {
    let mut play = Play::up(overlapping());
    play.at(100, Event::Ready(ROUTER));
    play
}

/// The same, with a new router that has been started at 1000.
fn beside() -> Play {
    let mut play = up();
    let from = Source::Copy(ROUTER);
    let begun = play.at(1000, restart(ROUTER));
    assert_eq!(begun, [Action::Adopt { slot: NEW, from }, Action::Spawn(NEW)]);
    play.at(1000, Event::Spawned(NEW));
    play
}

fn drain_of(process: ProcessId) -> Action {
    Action::Drain { process, min: MS(5000), longest: MS(15_000) }
}

fn is_ready(play: &Play) -> bool {
    match play.machine.phase() {
        crate::core::phase::Phase::Running(running) => running.is_ready(play.machine.state()),
        _ => false,
    }
}

#[test]
fn the_old_one_is_drained_and_stopped_once_the_new_one_is_ready() {
    let mut play = beside();
    assert!(is_ready(&play));
    assert_eq!(play.at(1500, Event::Ready(NEW)), [drain_of(ROUTER)]);
    assert!(is_ready(&play));
    let over = play.at(7000, Event::Drained(ROUTER));
    assert_eq!(over, [Action::EndDrain(ROUTER), stop(ROUTER)]);
    let notes = play.notes(7100, exited(ROUTER));
    let done = Note::RequestDone { process: NEW, request: Request::Restart };
    assert_eq!(notes.last(), Some(&done));
    // The next one takes the slot that is free.
    let from = Source::Copy(NEW);
    let begun = play.at(8000, restart(NEW));
    assert_eq!(begun, [Action::Adopt { slot: ROUTER, from }, Action::Spawn(ROUTER)]);
}

#[test]
fn a_new_one_that_does_not_get_ready_is_taken_back() {
    let mut play = beside();
    let why = RequestError::NotReady { process: NEW, after: MS(1000) };
    let notes = play.notes(2000, Event::Tick);
    assert!(notes.contains(&Note::TakenBack { process: NEW, old: ROUTER, why }), "{notes:?}");
    assert_eq!(play.at(2100, exited(NEW)), []);
    assert!(is_ready(&play));
    assert_eq!(play.machine.state().role(NEW), Role::Retired);
    // A stop drains only the one that serves.
    let stopped = play.at(3000, Event::Signal(Signal::TERM));
    assert_eq!(stopped, [Action::Unready, drain_of(ROUTER)]);
}

#[test]
fn a_stop_drains_both() {
    let mut play = beside();
    play.at(1500, Event::Ready(NEW));
    let stopped = play.at(2000, Event::Signal(Signal::TERM));
    assert_eq!(stopped, [Action::Unready, drain_of(NEW)], "the other drain goes on");
    assert_eq!(play.at(8000, Event::Drained(NEW)), [Action::EndDrain(NEW)]);
    let both = play.at(8100, Event::Drained(ROUTER));
    assert_eq!(both, [Action::EndDrain(ROUTER), stop(ROUTER), stop(NEW)]);
    assert_eq!(play.at(8200, exited(NEW)), []);
    assert_eq!(play.at(8300, exited(ROUTER)), [stop(ENGINE)], "after both");
}

#[test]
fn the_end_of_the_old_one_is_a_failure_only_before_the_new_one_is_ready() {
    let mut play = beside();
    let notes = play.notes(1200, exited(ROUTER));
    assert!(notes.iter().any(|note| matches!(note, Note::ShutdownBegan { .. })), "{notes:?}");
    let mut play = beside();
    play.at(1500, Event::Ready(NEW));
    let notes = play.notes(1600, exited(ROUTER));
    let done = Note::RequestDone { process: NEW, request: Request::Restart };
    assert_eq!(notes.last(), Some(&done), "{notes:?}");
}

#[test]
fn what_happens_to_the_new_one_before_the_old_one_is_gone_fails_the_request() {
    let failed = |notes: Vec<Note>, why| {
        let failed = Note::RequestFailed { process: NEW, request: Request::Restart, why };
        assert!(notes.contains(&failed), "{notes:?}");
    };
    let mut play = beside();
    play.at(1500, Event::Ready(NEW));
    let end = End::Code(7);
    let notes = play.notes(1600, Event::Exited { process: NEW, end, remains: false });
    failed(notes, RequestError::Ended { process: NEW, end, was_ready: true });
    let mut play = beside();
    play.at(1500, Event::Ready(NEW));
    failed(play.notes(1600, Event::Unhealthy(NEW)), RequestError::Unhealthy(NEW));
}

#[test]
fn a_restart_is_not_done_with_an_instance_that_was_started_before_it() {
    let refused = Err(RequestError::Busy(ROUTER));
    let play = beside();
    assert_eq!(play.machine.may_request(ROUTER, Request::Restart), refused);
    assert_eq!(play.machine.may_request(ROUTER, Request::Stop), Ok(()));
    // The old one is on its way down, and the new one not started.
    let mut play = Play::up(gateway());
    play.at(1000, restart(ENGINE));
    assert_eq!(play.machine.may_request(ENGINE, Request::Restart), Ok(()));
    play.at(1100, exited(ENGINE));
    let refused = Err(RequestError::Busy(ENGINE));
    assert_eq!(play.machine.may_request(ENGINE, Request::Restart), refused);
    play.at(1100, Event::Spawned(ENGINE));
    assert_eq!(play.machine.may_request(ENGINE, Request::Restart), Ok(()));
}

#[test]
fn a_reload_is_not_ready_while_it_waits_for_the_end_of_the_old_one() {
    let mut play = up();
    play.reload(1000, &overlapping(), &[Placed::Changed(ENGINE), Placed::Same(ROUTER)]);
    assert_eq!(play.machine.state().life(NEW), Lifecycle::Waiting);
    assert!(!is_ready(&play));
    play.at(1100, exited(ENGINE));
    play.at(1100, Event::Spawned(NEW));
    assert!(is_ready(&play));
}

#[test]
fn an_envoy_with_another_base_id_starts_after_the_old_one() {
    let envoy = |base: &str| {
        changed(|spec| {
            spec.processes[ROUTER.index()].update = Update::HotRestart;
            spec.processes[ROUTER.index()].base_id = Some(base.to_owned());
        })
    };
    let plan = [Placed::Same(ENGINE), Placed::Changed(ROUTER)];
    let mut play = Play::up(envoy("1"));
    play.at(100, Event::Ready(ROUTER));
    let begun = play.reload(1000, &envoy("1"), &plan);
    assert_eq!(begun.last(), Some(&Action::Spawn(NEW)));
    let mut play = Play::up(envoy("1"));
    play.at(100, Event::Ready(ROUTER));
    let begun = play.reload(1000, &envoy("2"), &plan);
    assert_eq!(begun.last(), Some(&drain_of(ROUTER)));
}

#[test]
fn a_process_that_goes_on_has_the_hooks_of_its_new_update() {
    // The check of the config of a hot restart is a `pre_start` hook.
    let engine = |pre_start: Option<Wait>| {
        changed(|spec| {
            let engine = &mut spec.processes[ENGINE.index()];
            (engine.update, engine.hooks.pre_start) = (Update::StopFirst, pre_start);
        })
    };
    let hook = HookId { process: Some(ENGINE), stage: Stage::PreStart };
    let goes_on = [Placed::Same(ENGINE), Placed::Same(ROUTER)];
    let mut play = Play::up(engine(None));
    play.at(100, Event::Ready(ROUTER));
    play.reload(1000, &engine(Some(Wait::DEFAULT)), &goes_on);
    play.at(2000, restart(ENGINE));
    assert_eq!(play.at(2100, exited(ENGINE)), [Action::RunHook(hook)]);
    play.at(2200, Event::HookEnded { hook, success: true });
    play.at(2200, Event::Spawned(ENGINE));
    play.reload(3000, &engine(None), &goes_on);
    play.at(4000, restart(ENGINE));
    assert_eq!(play.at(4100, exited(ENGINE)), [Action::Spawn(ENGINE)]);
}

/// The gateway again, with changes.
fn changed(change: impl Fn(&mut Spec)) -> Spec {
    let mut spec = overlapping();
    change(&mut spec);
    spec
}

#[test]
fn a_reload_replaces_dependencies_first() {
    let mut play = up();
    let plan = [Placed::Changed(ENGINE), Placed::Changed(ROUTER)];
    let adopt = |slot, index| Action::Adopt { slot, from: Source::Config(index) };
    let first = play.reload(1000, &changed(|_| {}), &plan);
    assert_eq!(first, [adopt(NEW, 0), adopt(NEXT, 1), stop(ENGINE)]);
    assert_eq!(play.at(1100, exited(ENGINE)), [Action::Spawn(NEW)]);
    assert_eq!(play.at(1100, Event::Spawned(NEW)), [Action::Spawn(NEXT)]);
    play.at(1100, Event::Spawned(NEXT));
    assert_eq!(play.at(1200, Event::Ready(NEXT)), [drain_of(ROUTER)]);
    play.at(7000, Event::Drained(ROUTER));
    assert_eq!(play.notes(7100, exited(ROUTER)).last(), Some(&Note::ReloadDone));
}

#[test]
fn what_is_the_same_is_not_touched_and_a_second_reload_is_refused() {
    let mut play = up();
    let same = [Placed::Same(ENGINE), Placed::Same(ROUTER)];
    let notes = play.machine.reload(Time(MS(1000)), &overlapping(), &same);
    assert_eq!(notes, Ok(vec![Action::Note(Note::ReloadDone)]));
    let plan = [Placed::Same(ENGINE), Placed::Changed(ROUTER)];
    play.reload(2000, &overlapping(), &plan);
    assert_eq!(play.machine.may_reload(), Err(RequestError::Reloading));
    let why = RequestError::Reloading;
    let refused = Note::RequestFailed { process: ENGINE, request: Request::Restart, why };
    assert_eq!(play.notes(2100, restart(ENGINE)).last(), Some(&refused));
}

#[test]
fn a_failure_ends_a_reload_and_what_has_not_begun_is_as_it_was() {
    let mut play = up();
    let new = changed(|spec| spec.processes[ENGINE.index()].readiness_timeout = Some(MS(500)));
    play.reload(1000, &new, &[Placed::Changed(ENGINE), Placed::Changed(ROUTER)]);
    play.at(1100, exited(ENGINE));
    play.at(1100, Event::Spawned(NEW));
    assert_eq!(play.at(1600, Event::Tick), [stop(NEW)]);
    let notes = play.notes(1700, exited(NEW));
    let why = RequestError::NotReady { process: NEW, after: MS(500) };
    assert_eq!(notes.last(), Some(&Note::ReloadFailed { why }));
    assert!(play.machine.state().is_current(ROUTER));
    assert_eq!(play.machine.state().life(NEW), Lifecycle::Stopped { failed: true });
}

#[test]
fn a_process_is_removed_when_nothing_needs_it() {
    let mut play = up();
    let new = changed(|spec| {
        spec.processes.remove(ENGINE.index());
        spec.processes[0].dependencies.clear();
        spec.order = vec![ProcessId(0)];
    });
    let adopt = Action::Adopt { slot: NEW, from: Source::Config(0) };
    let first = play.reload(1000, &new, &[Placed::Changed(ROUTER)]);
    assert_eq!(first, [adopt, Action::Spawn(NEW)], "the old router needs it");
    play.at(1000, Event::Spawned(NEW));
    play.at(1200, Event::Ready(NEW));
    play.at(7000, Event::Drained(ROUTER));
    assert_eq!(play.at(7100, exited(ROUTER)), [stop(ENGINE)]);
    assert_eq!(play.notes(7200, exited(ENGINE)).last(), Some(&Note::ReloadDone));
}

#[test]
fn a_reload_may_turn_a_dependency_around() {
    let mut play = up();
    let new = changed(|spec| {
        let on = (ROUTER, StartCondition::Ready);
        spec.processes[ENGINE.index()].dependencies = vec![on];
        spec.processes[ENGINE.index()].dependents.clear();
        spec.processes[ROUTER.index()].dependencies.clear();
        spec.processes[ROUTER.index()].dependents = vec![ENGINE];
        spec.order = vec![ROUTER, ENGINE];
    });
    play.reload(1000, &new, &[Placed::Changed(ENGINE), Placed::Changed(ROUTER)]);
    // The router, which has slot 3 now, comes first.
    play.at(1000, Event::Spawned(NEXT));
    play.at(1200, Event::Ready(NEXT));
    play.at(7000, Event::Drained(ROUTER));
    assert_eq!(play.at(7100, exited(ROUTER)), [stop(ENGINE)]);
    assert_eq!(play.at(7200, exited(ENGINE)), [Action::Spawn(NEW)]);
    assert_eq!(play.notes(7200, Event::Spawned(NEW)).last(), Some(&Note::ReloadDone));
}

#[test]
fn the_end_of_the_old_one_ends_no_held_drain() {
    let mut play = beside();
    play.at(1500, Event::Ready(NEW));
    play.at(2000, Event::DrainRequested);
    let crash = |process| Event::Exited { process, end: End::Code(7), remains: false };
    let begins =
        |notes: Vec<Note>| notes.iter().any(|note| matches!(note, Note::ShutdownBegan { .. }));
    assert!(!begins(play.notes(2100, crash(ROUTER))));
    assert!(begins(play.notes(2200, crash(NEW))));
}

#[test]
fn a_new_process_starts_what_was_stopped_by_hand_with_its_new_definition() {
    let mut play = up();
    play.at(1000, Event::Requested { process: ENGINE, request: Request::Stop });
    play.at(7000, Event::Drained(ROUTER));
    play.at(7100, exited(ROUTER));
    play.at(7200, exited(ENGINE));
    let mut new = overlapping();
    let mut added = new.processes[ROUTER.index()].clone();
    added.dependencies = vec![(ROUTER, StartCondition::Ready)];
    new.processes.push(added);
    new.processes[ROUTER.index()].dependents.push(ProcessId(2));
    new.order.push(ProcessId(2));
    let plan = [Placed::Changed(ENGINE), Placed::Same(ROUTER), Placed::New];
    let begun = play.reload(8000, &new, &plan);
    assert_eq!(begun.last(), Some(&Action::Spawn(NEW)), "{begun:?}");
    assert_eq!(play.at(8000, Event::Spawned(NEW)), [Action::Spawn(ROUTER)]);
    play.at(8000, Event::Spawned(ROUTER));
    assert_eq!(play.at(8100, Event::Ready(ROUTER)), [Action::Spawn(NEXT)]);
    play.at(8100, Event::Spawned(NEXT));
    assert_eq!(play.notes(8200, Event::Ready(NEXT)).last(), Some(&Note::ReloadDone));
}

/// A router that is an Envoy, with a new epoch that was started at 1000. An old one lives for 12 s
/// at most.
fn epochs() -> Play {
    let mut spec = overlapping();
    let router = &mut spec.processes[ROUTER.index()];
    router.update = Update::HotRestart;
    router.handover = Some(MS(12_000));
    router.restart.policy = RestartPolicy::Always;
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    play
}

const KILL_OF_THE_NEW_ONE: Action = Action::Stop { process: NEW, signal: Signal::KILL };

#[test]
fn an_old_epoch_is_left_to_the_new_one_until_its_time_is_over() {
    let mut play = epochs();
    assert_eq!(play.at(1500, Event::Ready(NEW)), []);
    assert_eq!(play.at(13_500, Event::Tick), [Action::Kill(ROUTER)]);
}

#[test]
fn an_old_epoch_is_asked_only_when_no_newer_one_lives_and_none_comes() {
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    let crash = |process| Event::Exited { process, end: End::Code(7), remains: false };
    assert_eq!(play.at(2000, crash(NEW)), [], "the next one takes over from it");
    assert_eq!(play.at(3000, Event::Tick), [Action::Spawn(NEW)]);
    play.at(3000, Event::Spawned(NEW));
    assert_eq!(play.at(3100, crash(NEW)), [stop(ROUTER)], "no other can take over from it");
    assert_eq!(play.at(5100, Event::Tick), [], "nor start beside it");
    assert_eq!(play.at(5200, exited(ROUTER)), [Action::Spawn(NEW)]);
}

#[test]
fn a_new_epoch_is_killed_at_the_stop_signal() {
    let mut play = epochs();
    let stopped = play.at(1200, Event::Signal(Signal::TERM));
    assert_eq!(stopped, [Action::Unready, KILL_OF_THE_NEW_ONE, drain_of(ROUTER)]);
}

#[test]
fn a_new_epoch_is_taken_back_when_the_old_one_crashes() {
    let mut play = epochs();
    let crash = Event::Exited { process: ROUTER, end: End::Code(7), remains: false };
    assert_eq!(play.at(1200, crash), [KILL_OF_THE_NEW_ONE]);
    assert_eq!(play.at(2200, Event::Tick), [], "it would be the next epoch");
    let end = End::Signal(Signal::KILL);
    let gone = Event::Exited { process: NEW, end, remains: false };
    assert_eq!(play.at(2300, gone), [Action::Spawn(ROUTER)]);
}
