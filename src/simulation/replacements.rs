//! Single schedules of replacements and reloads.

use crate::config::RestartPolicy;
use crate::core::spec::Wait;
use crate::core::state::Lifecycle;
use crate::simulation::cases::{
    APP, ENGINE, MS, Play, ROUTER, WEB, exited, followers, gateway, stop, wakes_at,
};
use crate::simulation::*;

/// The first slot after those of the config, and the one after it.
pub(super) const NEW: ProcessId = ProcessId(2);
pub(super) const NEXT: ProcessId = ProcessId(3);

/// A gateway whose router is ready 1 s after its start at the latest, and overlaps.
pub(super) fn overlapping() -> Spec {
    let mut spec = gateway();
    spec.processes[ROUTER.index()].update = Update::StartFirst;
    spec.processes[ROUTER.index()].readiness_timeout = Some(MS(1000));
    spec
}

pub(super) fn restart(process: ProcessId) -> Event {
    Event::Requested { process, request: Request::Restart }
}

/// Everything is ready at 100.
pub(super) fn up() -> Play {
    let mut play = Play::up(overlapping());
    play.at(100, Event::Ready(ROUTER));
    play
}

/// The same, with a new router that has been started at 1000.
pub(super) fn beside() -> Play {
    let mut play = up();
    let from = Source::Copy(ROUTER);
    let begun = play.at(1000, restart(ROUTER));
    assert_eq!(begun, [Action::Adopt { slot: NEW, from }, Action::Spawn(NEW)]);
    play.at(1000, Event::Spawned(NEW));
    play
}

pub(super) fn drain_of(process: ProcessId) -> Action {
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
fn a_new_one_that_is_taken_back_has_no_pre_stop_hook() {
    let mut spec = overlapping();
    spec.processes[ROUTER.index()].hooks.pre_stop = Some(Wait::new(Some(MS(9000))));
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    assert_eq!(play.at(2000, Event::Tick), [stop(NEW)], "it could deregister the old one");
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
fn a_reload_is_not_ready_while_what_it_adds_waits_for_what_it_removes() {
    let mut play = up();
    // The router has another name.
    play.reload(1000, &overlapping(), &[Placed::Same(ENGINE), Placed::New]);
    assert!(is_ready(&play), "the old one serves");
    play.at(7000, Event::Drained(ROUTER));
    assert!(!is_ready(&play) && play.machine.waits_for(NEW));
    assert_eq!(play.at(7100, exited(ROUTER)), [Action::Spawn(NEW)]);
    play.at(7100, Event::Spawned(NEW));
    assert!(!is_ready(&play));
    play.at(7200, Event::Ready(NEW));
    assert!(is_ready(&play) && !play.machine.waits_for(NEW));
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
pub(super) fn changed(change: impl Fn(&mut Spec)) -> Spec {
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

#[test]
fn a_reload_is_answered_when_what_it_needs_survives_kill() {
    let mut play = up();
    play.at(1000, Event::Requested { process: ENGINE, request: Request::Stop });
    play.at(7000, Event::Drained(ROUTER));
    play.at(7100, exited(ROUTER));
    play.at(7200, exited(ENGINE));
    // An added process needs the engine, which does not get ready, and stays.
    let mut new = changed(|spec| spec.processes[ENGINE.index()].readiness_timeout = Some(MS(500)));
    let mut added = new.processes[ROUTER.index()].clone();
    added.dependencies = vec![(ENGINE, StartCondition::Ready)];
    new.processes.push(added);
    new.processes[ENGINE.index()].dependents.push(ProcessId(2));
    new.order.push(ProcessId(2));
    play.reload(8000, &new, &[Placed::Changed(ENGINE), Placed::Same(ROUTER), Placed::New]);
    play.at(8000, Event::Spawned(NEW));
    assert_eq!(play.at(8500, Event::Tick), [stop(NEW)]);
    assert_eq!(play.at(13_500, Event::Tick), [Action::Kill(NEW)]);
    let notes = play.notes(18_500, Event::Tick);
    let why = RequestError::NotReady { process: NEW, after: MS(500) };
    assert_eq!(notes.last(), Some(&Note::ReloadFailed { why }));
}

#[test]
fn nothing_follows_in_the_place_of_what_was_replaced() {
    let mut spec = overlapping();
    spec.processes[ROUTER.index()].dependencies.clear();
    spec.processes[ENGINE.index()].dependents.clear();
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(MS(0))) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    play.at(0, Event::Spawned(ROUTER));
    play.at(100, Event::Ready(ROUTER));
    let follows = vec![(ROUTER, StartCondition::Ready)];
    let new = changed(|spec| spec.processes[ENGINE.index()].followers = follows.clone());
    play.reload(1000, &new, &[Placed::Same(ENGINE), Placed::Changed(ROUTER)]);
    play.at(1000, Event::Spawned(NEW));
    play.at(1500, Event::Ready(NEW));
    play.at(7000, Event::Drained(ROUTER));
    play.at(7100, exited(ROUTER));
    let state = play.machine.state();
    assert_eq!(state.role(ROUTER), Role::Retired);
    assert_eq!(state.process(ENGINE).followers, [(NEW, StartCondition::Ready)]);
}

#[test]
fn a_reload_that_removes_the_last_process_releases_the_sockets() {
    let mut spec = overlapping();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.oneshot, engine.listens) = (true, true);
    let mut play = Play { machine: Machine::new(Rc::new(spec.clone()), Time(MS(0))) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    play.at(100, exited(ENGINE));
    play.at(100, Event::Spawned(ROUTER));
    play.at(200, Event::Ready(ROUTER));
    play.at(1000, Event::Requested { process: ROUTER, request: Request::Stop });
    play.at(7000, Event::Drained(ROUTER));
    play.at(7100, exited(ROUTER));
    spec.processes.pop();
    spec.processes[ENGINE.index()].dependents.clear();
    spec.order = vec![ENGINE];
    let over = play.reload(8000, &spec, &[Placed::Same(ENGINE)]);
    assert_eq!(over.last(), Some(&Action::ReleaseSockets(ENGINE)), "{over:?}");
}

/// A router that is an Envoy, and follows its engine. An old epoch lives for 12 s at most.
fn envoys() -> Spec {
    changed(|spec| {
        spec.processes[ENGINE.index()].followers = vec![(ROUTER, StartCondition::Ready)];
        let router = &mut spec.processes[ROUTER.index()];
        router.update = Update::HotRestart;
        router.handover = Some(MS(12_000));
        router.restart.policy = RestartPolicy::Always;
        router.watch = vec![WatchAction::Restart];
    })
}

/// The same, with a new epoch that was started at 1000.
pub(super) fn epochs() -> Play {
    epochs_of(envoys())
}

fn epochs_of(spec: Spec) -> Play {
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    play
}

pub(super) const KILL_OF_THE_NEW_ONE: Action = Action::Stop { process: NEW, signal: Signal::KILL };

#[test]
fn a_new_epoch_is_asked_once_more_before_it_is_given_up() {
    let ask = [Action::AskEpoch(NEW)];
    // It has taken over since the last poll.
    let mut play = epochs();
    assert_eq!(play.at(2000, Event::Tick), ask);
    let taken_over = Note::TakesOver { process: NEW, old: ROUTER };
    assert!(play.notes(2010, Event::Ready(NEW)).contains(&taken_over));
    let given_up = Note::NotReady { process: NEW, after: MS(1000) };
    let mut play = epochs();
    assert_eq!(play.at(2000, Event::Tick), ask);
    assert!(play.notes(2010, Event::NotLive(NEW)).contains(&given_up));
    // No answer is no, too.
    let mut play = epochs();
    assert_eq!(play.at(2000, Event::Tick), ask);
    assert!(play.notes(4000, Event::Tick).contains(&given_up));
}

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

/// The same, with a new epoch that has taken over at 1500, and whose old one was killed at 1700 by
/// somebody else. Envoy ends the old one at 3000, and aborts the new one at 16,700 at the latest.
fn doomed() -> Play {
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    let notes = play.notes(1700, killed(ROUTER));
    assert!(notes.contains(&Note::EpochDoomed { process: NEW, within: MS(15_000) }), "{notes:?}");
    let why = why_doomed(15_000);
    let failed = Note::RequestFailed { process: NEW, request: Request::Restart, why };
    assert_eq!(notes.last(), Some(&failed), "it is of no use");
    play
}

fn why_doomed(left: u64) -> RequestError {
    RequestError::EpochDoomed { process: NEW, left: MS(left) }
}

#[test]
fn no_restart_begins_while_envoy_is_about_to_abort_the_new_epoch() {
    let mut play = doomed();
    let why = why_doomed(14_700);
    let failed = Note::RequestFailed { process: NEW, request: Request::Restart, why };
    assert_eq!(play.notes(2000, restart(NEW)).last(), Some(&failed));
    // Nor before drainit has looked whether it has, after a pause.
    let late = play.machine.handle_early(Time(MS(16_700)), restart(NEW));
    assert!(!late.contains(&Action::Spawn(ROUTER)), "{late:?}");
    let mut play = doomed();
    // Then Envoy has not aborted it.
    let from = Source::Copy(NEW);
    let begun = play.at(16_700, restart(NEW));
    assert_eq!(begun, [Action::Adopt { slot: ROUTER, from }, Action::Spawn(ROUTER)]);
    // The end of an old one that it has ended is nothing special.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    let done = Note::RequestDone { process: NEW, request: Request::Restart };
    assert_eq!(play.notes(3000, exited(ROUTER)).last(), Some(&done));
}

#[test]
fn a_change_a_follower_and_a_reload_wait_until_envoy_has_aborted_an_epoch() {
    let adopt = Action::Adopt { slot: ROUTER, from: Source::Copy(NEW) };
    let begun = [adopt, Action::Spawn(ROUTER)];
    let mut play = doomed();
    assert_eq!(play.at(2000, Event::FileChanged { process: NEW, watch: 0 }), []);
    assert_eq!(wakes_at(&play), 16_700);
    assert_eq!(play.at(16_700, Event::Tick), begun);
    // A start after the abort reads the new content.
    let mut play = doomed();
    play.at(2000, Event::FileChanged { process: NEW, watch: 0 });
    assert_eq!(play.at(12_000, killed(NEW)), []);
    assert_eq!(play.at(13_000, Event::Tick), [Action::Spawn(NEW)]);
    play.at(13_000, Event::Spawned(NEW));
    assert_eq!(play.at(13_100, Event::Ready(NEW)), []);
    let mut play = doomed();
    play.at(2000, restart(ENGINE));
    play.at(2100, exited(ENGINE));
    assert_eq!(play.at(2100, Event::Spawned(ENGINE)), []);
    assert_eq!(play.at(16_700, Event::Tick), begun);
    let mut play = doomed();
    let same_engine = [Placed::Same(ENGINE), Placed::Changed(NEW)];
    let adopted = [Action::Adopt { slot: ROUTER, from: Source::Config(1) }];
    assert_eq!(play.reload(2000, &envoys(), &same_engine), adopted);
    assert_eq!(play.at(16_700, Event::Tick), [Action::Spawn(ROUTER)]);
    // A reload is not over before what follows in it has.
    let mut play = doomed();
    play.reload(2000, &envoys(), &[Placed::Changed(ENGINE), Placed::Same(NEW)]);
    play.at(2100, exited(ENGINE));
    assert_eq!(play.at(2100, Event::Spawned(ROUTER)), []);
    assert_eq!(play.machine.may_reload(), Err(RequestError::Reloading));
}

#[test]
fn the_next_epoch_after_a_crash_is_doomed_when_it_loses_its_old_one() {
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(2000, killed(NEW));
    assert_eq!(play.at(3000, Event::Tick), [Action::Spawn(NEW)]);
    play.at(3000, Event::Spawned(NEW));
    let notes = play.notes(3200, killed(ROUTER));
    assert!(notes.contains(&Note::EpochDoomed { process: NEW, within: MS(15_000) }), "{notes:?}");
    play.at(3300, Event::Ready(NEW));
    let failed =
        Note::RequestFailed { process: NEW, request: Request::Restart, why: why_doomed(14_200) };
    assert_eq!(play.notes(4000, restart(NEW)).last(), Some(&failed));
}

#[test]
fn a_doomed_epoch_is_killed_after_its_drain() {
    let mut play = doomed();
    assert_eq!(play.at(2000, Event::Signal(Signal::TERM)), [Action::Unready, drain_of(NEW)]);
    play.at(2100, Event::DrainAnswered { process: NEW, accepted: false });
    let over = play.at(7000, Event::Tick);
    assert_eq!(over, [Action::EndDrain(NEW), KILL_OF_THE_NEW_ONE], "it hears nothing else");
    let asked = Event::TimeoutExtended { process: NEW, by: MS(60_000) };
    assert!(play.notes(7000, asked).is_empty(), "KILL gives no time");
    assert_eq!(play.at(7001, killed(NEW)), [stop(ENGINE)]);
}

/// An app that follows an engine, a web that follows the app, and a reload that replaces the engine.
fn followed(change: impl Fn(&mut Spec)) -> Play {
    let mut play = followers(&[&[], &[0], &[1]], &[1, 2]);
    let mut spec = (*play.machine.state().spec).clone();
    change(&mut spec);
    let same = [APP, WEB].map(Placed::Same);
    play.reload(1000, &spec, &[Placed::Changed(ENGINE), same[0], same[1]]);
    play.at(1100, exited(ENGINE));
    play
}

/// The slot of the new engine, and the one after it.
const NEWER: ProcessId = ProcessId(3);
const BESIDE: ProcessId = ProcessId(0);

#[test]
fn a_reload_ends_when_what_follows_is_replaced() {
    let mut play = followed(|_| {});
    assert_eq!(play.at(1100, Event::Spawned(NEWER)), [stop(APP)]);
    play.at(1200, exited(APP));
    play.at(1200, Event::Spawned(APP));
    assert_eq!(play.machine.may_reload(), Err(RequestError::Reloading));
    assert_eq!(play.at(1300, Event::Ready(APP)), [stop(WEB)]);
    play.at(1400, exited(WEB));
    play.at(1400, Event::Spawned(WEB));
    assert_eq!(play.notes(1500, Event::Ready(WEB)).last(), Some(&Note::ReloadDone));
    assert_eq!(play.machine.may_reload(), Ok(()));
    // With an overlap, when the old instance is gone.
    let mut play = followed(|spec| spec.processes[APP.index()].update = Update::StartFirst);
    let from = Source::Copy(APP);
    let begun = play.at(1100, Event::Spawned(NEWER));
    assert_eq!(begun, [Action::Adopt { slot: BESIDE, from }, Action::Spawn(BESIDE)]);
    play.at(1100, Event::Spawned(BESIDE));
    assert_eq!(play.at(1200, Event::Ready(BESIDE)), [stop(APP)]);
    assert_eq!(play.at(1300, exited(APP)), [stop(WEB)]);
    play.at(1400, exited(WEB));
    play.at(1400, Event::Spawned(WEB));
    assert_eq!(play.notes(1500, Event::Ready(WEB)).last(), Some(&Note::ReloadDone));
}

#[test]
fn a_reload_fails_with_what_follows() {
    let mut play = followed(|_| {});
    play.at(1100, Event::Spawned(NEWER));
    play.at(1200, exited(APP));
    play.at(1200, Event::Spawned(APP));
    assert_eq!(play.at(4200, Event::Tick), [stop(APP)], "the container goes on");
    let why = RequestError::NotReady { process: APP, after: MS(3000) };
    assert_eq!(play.notes(4300, exited(APP)).last(), Some(&Note::ReloadFailed { why }));
    assert_eq!(play.machine.state().life(APP), Lifecycle::Stopped { failed: true });
    // With an overlap the old one goes on.
    let mut play = followed(|spec| spec.processes[APP.index()].update = Update::StartFirst);
    play.at(1100, Event::Spawned(NEWER));
    play.at(1100, Event::Spawned(BESIDE));
    assert_eq!(play.at(4100, Event::Tick), [stop(BESIDE)]);
    let why = RequestError::NotReady { process: BESIDE, after: MS(3000) };
    assert_eq!(play.notes(4200, exited(BESIDE)).last(), Some(&Note::ReloadFailed { why }));
    assert!(play.machine.state().is_current(APP));
    // A stop wins.
    let mut play = followed(|_| {});
    play.at(1100, Event::Spawned(NEWER));
    let why = RequestError::ShuttingDown;
    let notes = play.notes(1200, Event::Signal(Signal::TERM));
    assert!(notes.contains(&Note::ReloadFailed { why }), "{notes:?}");
}

#[test]
fn what_follows_in_a_reload_does_so_once() {
    // The app is changed itself.
    let mut play = followers(&[&[], &[0]], &[]);
    let spec = (*play.machine.state().spec).clone();
    play.reload(1000, &spec, &[ENGINE, APP].map(Placed::Changed));
    play.at(1100, exited(ENGINE));
    assert_eq!(play.at(1100, Event::Spawned(NEW)), [stop(APP)]);
    assert_eq!(play.at(1200, exited(APP)), [Action::Spawn(NEXT)]);
    assert_eq!(play.notes(1200, Event::Spawned(NEXT)).last(), Some(&Note::ReloadDone));
    // The engine ends again before the app is ready.
    let mut play = followed(|_| {});
    play.at(1100, Event::Spawned(NEWER));
    play.at(1200, exited(APP));
    play.at(1200, Event::Spawned(APP));
    play.at(1300, Event::Exited { process: NEWER, end: End::Code(7), remains: false });
    play.at(2300, Event::Tick);
    assert_eq!(play.at(2300, Event::Spawned(NEWER)), [], "the reload ends first");
    let notes = play.notes(2400, Event::Ready(APP));
    let done = notes.iter().position(|note| *note == Note::ReloadDone).unwrap();
    assert_eq!(notes[done + 1], Note::Follows { process: APP, on: NEWER });
    // The same after its new instance was taken back, while the reload waits for another process.
    let mut play = followers(&[&[], &[0], &[0]], &[1, 2]);
    let mut spec = (*play.machine.state().spec).clone();
    spec.processes[APP.index()].update = Update::StartFirst;
    let same = [APP, WEB].map(Placed::Same);
    play.reload(1000, &spec, &[Placed::Changed(ENGINE), same[0], same[1]]);
    play.at(1100, exited(ENGINE));
    play.at(1100, Event::Spawned(NEWER));
    play.at(1100, Event::Spawned(BESIDE));
    play.at(3000, exited(WEB));
    play.at(3000, Event::Spawned(WEB));
    assert_eq!(play.at(4100, Event::Tick), [stop(BESIDE)]);
    play.at(4200, exited(BESIDE));
    play.at(4300, Event::Exited { process: NEWER, end: End::Code(7), remains: false });
    assert_eq!(play.at(5300, Event::Tick), [Action::Spawn(NEWER)]);
    assert_eq!(play.at(5300, Event::Spawned(NEWER)), [], "the reload ends first");
    let notes = play.notes(5400, Event::Ready(WEB));
    let failed = notes.iter().position(|note| matches!(note, Note::ReloadFailed { .. })).unwrap();
    assert_eq!(notes[failed + 1], Note::Follows { process: APP, on: NEWER });
}

#[test]
fn a_reload_does_not_wait_for_what_does_not_follow() {
    let done = Some(Note::ReloadDone);
    let stopped = |process| Event::Requested { process, request: Request::Stop };
    let mut play = followers(&[&[], &[0]], &[]);
    play.at(500, stopped(APP));
    play.at(600, exited(APP));
    let spec = (*play.machine.state().spec).clone();
    play.reload(1000, &spec, &[Placed::Changed(ENGINE), Placed::Same(APP)]);
    play.at(1100, exited(ENGINE));
    assert_eq!(play.notes(1100, Event::Spawned(NEW)).last(), done.as_ref());
    // A web that waits for an app that ends again and again.
    let mut play = followers(&[&[], &[], &[0, 1]], &[]);
    play.at(900, Event::Exited { process: APP, end: End::Code(7), remains: false });
    let spec = (*play.machine.state().spec).clone();
    let same = [APP, WEB].map(Placed::Same);
    play.reload(1000, &spec, &[Placed::Changed(ENGINE), same[0], same[1]]);
    play.at(1100, exited(ENGINE));
    assert_eq!(play.notes(1100, Event::Spawned(NEWER)).last(), done.as_ref());
    play.at(1900, Event::Tick);
    assert_eq!(play.at(1900, Event::Spawned(APP)), [stop(WEB)]);
}

#[test]
fn a_reload_waits_for_a_doomed_epoch_that_follows() {
    let mut play = doomed();
    play.reload(2000, &envoys(), &[Placed::Changed(ENGINE), Placed::Same(NEW)]);
    play.at(2100, exited(ENGINE));
    assert_eq!(play.at(2100, Event::Spawned(ROUTER)), []);
    assert_eq!(play.machine.may_reload(), Err(RequestError::Reloading));
    play.at(16_700, Event::Tick);
    play.at(16_700, Event::Spawned(ENGINE));
    play.at(16_800, Event::Ready(ENGINE));
    assert_eq!(play.notes(18_800, exited(NEW)).last(), Some(&Note::ReloadDone));
}

/// The end of a process that somebody else has killed.
fn killed(process: ProcessId) -> Event {
    Event::Exited { process, end: End::Signal(Signal::KILL), remains: false }
}

#[test]
fn the_drain_goes_on_for_an_old_epoch_when_the_new_one_crashes() {
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    assert_eq!(play.at(2000, Event::Signal(Signal::TERM)), [Action::Unready, drain_of(NEW)]);
    let notes = play.notes(4000, killed(NEW));
    let (longest, min) = (MS(15_000), MS(5000));
    let began = Note::DrainBegan { process: ROUTER, longest, min, counted: false };
    assert_eq!(notes.last(), Some(&began), "its admin is closed: it is not asked");
    assert_eq!(play.at(18_999, Event::Tick), [], "it is not killed when it would have been over");
    assert_eq!(play.at(19_000, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    assert_eq!(play.at(19_100, exited(ROUTER)), [stop(ENGINE)]);
    // Connections of an old epoch count in the drain of the new one.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(2000, Event::DrainRequested);
    play.at(2010, Event::DrainAnswered { process: NEW, accepted: false });
    assert_eq!(play.at(7000, Event::Tick), [Action::EndDrain(NEW)], "only min is held");
    assert_eq!(play.at(8000, killed(NEW)), [stop(ROUTER)]);
}

#[test]
fn an_old_epoch_without_a_newer_one_is_drained_at_the_stop_signal() {
    // The new one has crashed, and is not started again yet, or does not serve yet.
    for is_started in [false, true] {
        let mut play = epochs();
        play.at(1500, Event::Ready(NEW));
        play.at(2000, killed(NEW));
        if is_started {
            assert_eq!(play.at(3000, Event::Tick), [Action::Spawn(NEW)]);
            play.at(3000, Event::Spawned(NEW));
        }
        let stopped = play.at(3100, Event::Signal(Signal::TERM));
        let killed_now = if is_started { vec![KILL_OF_THE_NEW_ONE] } else { vec![] };
        assert_eq!(stopped, [vec![Action::Unready], killed_now].concat());
        if is_started {
            assert_eq!(play.at(3200, killed(NEW)), []);
        }
        assert_eq!(play.at(18_100, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    }
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
    let kill = Action::Kill(NEW);
    assert_eq!(play.at(2200, Event::Tick), [kill], "the next epoch waits for its end");
    let end = End::Signal(Signal::KILL);
    let gone = Event::Exited { process: NEW, end, remains: false };
    assert_eq!(play.at(2300, gone), [Action::Spawn(ROUTER)]);
}

#[test]
fn what_an_old_epoch_leaves_is_asked_when_the_new_one_is_gone() {
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    let exited = |process, remains| Event::Exited { process, end: End::Code(0), remains };
    assert_eq!(play.at(2000, exited(ROUTER, true)), [], "one of them may be the Envoy");
    let group = Action::StopGroup { process: ROUTER, signal: Signal::TERM };
    play.at(3000, Event::Signal(Signal::TERM));
    assert_eq!(play.at(9000, Event::Drained(NEW)), [Action::EndDrain(NEW), stop(NEW)]);
    assert_eq!(play.at(9100, exited(NEW, false)), [group]);
    assert_eq!(play.at(9200, Event::GroupGone(ROUTER)), [stop(ENGINE)]);
    // Its own time to end counts from the signal to the new one.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(2000, exited(ROUTER, true));
    play.at(2100, Event::Signal(Signal::TERM));
    play.at(2110, Event::DrainAnswered { process: NEW, accepted: false });
    assert_eq!(play.at(7100, Event::Tick), [Action::EndDrain(NEW), stop(NEW)]);
    let both = [Action::Kill(ROUTER), Action::Kill(NEW)];
    assert_eq!(play.at(wakes_at(&play), Event::Tick), both);
}

#[test]
fn an_epoch_does_not_wait_long_for_a_new_one_that_survives_kill() {
    let mut play = epochs();
    let stopped = play.at(1200, Event::Signal(Signal::TERM));
    assert_eq!(stopped, [Action::Unready, KILL_OF_THE_NEW_ONE, drain_of(ROUTER)]);
    assert_eq!(play.at(2200, Event::Tick), [Action::Kill(NEW)]);
    play.at(2400, Event::Tick);
    assert_eq!(play.at(7000, Event::Drained(ROUTER)), [Action::EndDrain(ROUTER), stop(ROUTER)]);
}

#[test]
fn what_is_stopped_after_it_has_completed_has_to_complete_again() {
    let mut spec = overlapping();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.oneshot, engine.hooks.post_stop) = (true, Some(Wait::DEFAULT));
    let mut play = Play { machine: Machine::new(Rc::new(spec), Time(MS(0))) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    play.at(100, exited(ENGINE));
    play.at(200, Event::Requested { process: ENGINE, request: Request::Stop });
    let hook = HookId { process: Some(ENGINE), stage: Stage::PostStop };
    play.at(300, Event::HookEnded { hook, success: true });
    play.at(300, Event::Spawned(ROUTER));
    play.at(400, exited(ROUTER));
    let state = play.machine.state();
    assert!(!state.reached(ENGINE).completed && !state.went_well[ENGINE.index()]);
}

#[test]
fn a_new_instance_of_what_failed_for_good_has_met_no_condition() {
    let mut spec = overlapping();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.on_exit, engine.readiness_timeout) = (OnExit::Ignore, Some(MS(500)));
    let mut play = Play { machine: Machine::new(Rc::new(spec.clone()), Time(MS(0))) };
    play.at(0, Event::Start);
    play.at(0, Event::Spawned(ENGINE));
    play.at(100, Event::Ready(ENGINE));
    play.at(100, Event::Spawned(ROUTER));
    play.at(200, Event::Ready(ROUTER));
    play.at(300, Event::Exited { process: ENGINE, end: End::Code(7), remains: false });
    play.reload(1000, &spec, &[Placed::Changed(ENGINE), Placed::Same(ROUTER)]);
    assert!(!play.machine.state().reached(NEW).ready);
}

#[test]
fn the_pre_stop_hook_of_an_old_epoch_ends_when_the_new_one_is_asked() {
    let mut spec = overlapping();
    let router = &mut spec.processes[ROUTER.index()];
    (router.update, router.handover) = (Update::HotRestart, Some(MS(12_000)));
    (router.drain, router.hooks.pre_stop) = (None, Some(Wait::new(Some(MS(9000)))));
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    let hook = |slot| HookId { process: Some(slot), stage: Stage::PreStop };
    assert_eq!(play.at(1500, Event::Ready(NEW)), [Action::RunHook(hook(ROUTER))]);
    play.at(2000, Event::Requested { process: NEW, request: Request::Stop });
    // Envoy ends the old one with it.
    let asked = play.at(2100, Event::HookEnded { hook: hook(NEW), success: true });
    assert_eq!(asked, [stop(NEW), Action::AbortHook(hook(ROUTER))]);
    assert_eq!(play.at(2200, exited(NEW)), [stop(ROUTER)]);
}

#[test]
fn an_old_epoch_whose_drain_is_over_is_not_killed_while_others_are_drained() {
    let mut spec = envoys();
    let drain = spec.processes[ROUTER.index()].drain;
    spec.processes[ENGINE.index()].drain = drain;
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    play.at(1500, Event::Ready(NEW));
    play.at(2000, Event::Signal(Signal::TERM));
    play.at(2010, Event::DrainAnswered { process: NEW, accepted: false });
    let engine = Action::Drain { process: ENGINE, min: MS(5000), longest: MS(13_000) };
    assert_eq!(play.at(7000, Event::Tick), [Action::EndDrain(NEW), engine]);
    assert_eq!(play.at(8000, killed(NEW)), []);
    assert_eq!(play.at(13_500, Event::Tick), [], "when the new one would have ended it");
    let over = play.at(13_600, Event::DrainAnswered { process: ENGINE, accepted: false });
    assert_eq!(over, [Action::EndDrain(ENGINE), stop(ROUTER)]);
    assert_eq!(play.at(13_700, exited(ROUTER)), [stop(ENGINE)]);
}

#[test]
fn the_drain_goes_on_for_what_an_old_epoch_leaves() {
    let drains = || {
        let mut play = epochs();
        play.at(1500, Event::Ready(NEW));
        play.at(2000, Event::Exited { process: ROUTER, end: End::Code(0), remains: true });
        play.at(3000, Event::Signal(Signal::TERM));
        assert_eq!(play.at(4000, killed(NEW)), [Action::EndDrain(NEW)]);
        play
    };
    let mut play = drains();
    assert_eq!(wakes_at(&play), 19_000, "the new one would have ended it at 13,500");
    let group = Action::StopGroup { process: ROUTER, signal: Signal::TERM };
    assert_eq!(play.at(19_000, Event::Tick), [Action::EndDrain(ROUTER), group]);
    let mut play = drains();
    let over = [Action::EndDrain(ROUTER), stop(ENGINE)];
    assert_eq!(play.at(5000, Event::GroupGone(ROUTER)), over, "nothing is left of it");
}

#[test]
fn a_reload_fails_when_envoy_is_about_to_abort_its_new_epoch() {
    let mut play = Play::up(envoys());
    play.at(100, Event::Ready(ROUTER));
    play.reload(1000, &envoys(), &[Placed::Same(ENGINE), Placed::Changed(ROUTER)]);
    play.at(1000, Event::Spawned(NEW));
    play.at(1500, Event::Ready(NEW));
    let failed = Note::ReloadFailed { why: why_doomed(15_000) };
    assert_eq!(play.notes(1700, killed(ROUTER)).last(), Some(&failed));
}

#[test]
fn the_drain_of_a_request_goes_on_for_an_old_epoch_when_the_new_one_crashes() {
    let stopped = |process| Event::Requested { process, request: Request::Stop };
    let done = Note::RequestDone { process: NEW, request: Request::Stop };
    let over = [Action::EndDrain(ROUTER), stop(ROUTER)];
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    assert_eq!(play.at(2000, stopped(NEW)), [drain_of(NEW)]);
    assert_eq!(play.at(4000, killed(NEW)), [Action::EndDrain(NEW)]);
    assert_eq!(wakes_at(&play), 19_000, "it is not killed when it would have been over");
    assert_eq!(play.at(19_000, Event::Tick), over);
    assert_eq!(play.notes(19_100, exited(ROUTER)).last(), Some(&done));
    // The new one waits for its next start, or has not taken over.
    for is_started in [false, true] {
        let mut play = epochs();
        play.at(1500, Event::Ready(NEW));
        play.at(2000, killed(NEW));
        if is_started {
            play.at(3000, Event::Tick);
            play.at(3000, Event::Spawned(NEW));
        }
        let begun = play.at(3100, stopped(NEW));
        assert_eq!(begun, if is_started { vec![KILL_OF_THE_NEW_ONE] } else { vec![] });
        if is_started {
            assert_eq!(play.at(3200, killed(NEW)), []);
        }
        assert_eq!(play.at(18_100, Event::Tick), over);
    }
    // Nothing is left of it.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(2000, Event::Exited { process: ROUTER, end: End::Code(0), remains: true });
    play.at(3000, stopped(NEW));
    play.at(4000, killed(NEW));
    assert_eq!(play.at(5000, Event::GroupGone(ROUTER)), [Action::EndDrain(ROUTER)]);
    // A shutdown goes on with it.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(2000, stopped(NEW));
    play.at(4000, killed(NEW));
    assert_eq!(play.at(5000, Event::Signal(Signal::TERM)), [Action::Unready]);
    assert_eq!(play.at(19_000, Event::Tick), over);
    // It has counted in a drain that is over.
    let mut spec = envoys();
    spec.processes[ROUTER.index()].hooks.pre_stop = Some(Wait::new(Some(MS(9000))));
    let mut play = epochs_of(spec);
    let hook = |slot| HookId { process: Some(slot), stage: Stage::PreStop };
    play.at(1500, Event::Ready(NEW));
    play.at(1600, Event::HookEnded { hook: hook(ROUTER), success: true });
    play.at(2000, stopped(NEW));
    play.at(2010, Event::DrainAnswered { process: NEW, accepted: false });
    let counted = [Action::EndDrain(NEW), Action::RunHook(hook(NEW))];
    assert_eq!(play.at(7000, Event::Tick), counted);
    assert_eq!(play.at(8000, killed(NEW)), [Action::AbortHook(hook(NEW)), stop(ROUTER)]);
}

#[test]
fn the_drain_of_an_unhealthy_epoch_goes_on_for_the_old_one() {
    let over = [Action::EndDrain(ROUTER), stop(ROUTER)];
    let drains = |spec: Spec| {
        let mut play = epochs_of(spec);
        play.at(1500, Event::Ready(NEW));
        let min = Action::Drain { process: NEW, min: MS(5000), longest: MS(5000) };
        assert_eq!(play.at(2000, Event::Unhealthy(NEW)), [min]);
        assert_eq!(play.at(3000, killed(NEW)), [Action::EndDrain(NEW)]);
        play
    };
    // The next one takes over from it.
    let mut play = drains(envoys());
    assert_eq!(play.at(4000, Event::Tick), [Action::Spawn(NEW)]);
    play.at(4000, Event::Spawned(NEW));
    assert_eq!(play.at(4100, Event::Ready(NEW)), []);
    assert_eq!(play.at(8000, Event::Tick), [Action::EndDrain(ROUTER)]);
    assert_eq!(play.at(16_100, Event::Tick), [Action::Kill(ROUTER)]);
    // None comes, or only after that.
    for on_exit in [OnExit::Ignore, OnExit::Shutdown] {
        let mut spec = envoys();
        let router = &mut spec.processes[ROUTER.index()];
        (router.restart.policy, router.on_exit) = (RestartPolicy::No, on_exit);
        let mut play = epochs_of(spec);
        play.at(1500, Event::Ready(NEW));
        play.at(2000, Event::Unhealthy(NEW));
        play.at(3000, killed(NEW));
        assert_eq!(play.at(7999, Event::Tick), [], "{on_exit:?}");
        assert_eq!(play.at(8000, Event::Tick), over, "{on_exit:?}");
    }
    // The next one ends it in its own time, or is gone by then.
    let mut spec = envoys();
    let drain = spec.processes[ROUTER.index()].drain.as_mut().unwrap();
    (drain.min, drain.time) = (MS(20_000), MS(20_000));
    let mut play = epochs_of(spec);
    play.at(1500, Event::Ready(NEW));
    play.at(2000, Event::Unhealthy(NEW));
    play.at(3000, killed(NEW));
    play.at(4000, Event::Tick);
    play.at(4000, Event::Spawned(NEW));
    play.at(4100, Event::Ready(NEW));
    play.at(16_000, killed(NEW));
    assert_eq!(play.at(16_100, Event::Tick), over);
    // A stop goes on with it.
    let mut play = drains(envoys());
    assert_eq!(play.at(3500, Event::Signal(Signal::TERM)), [Action::Unready]);
    assert_eq!(play.at(8000, Event::Tick), over);
}

#[test]
fn the_drain_goes_on_for_an_old_epoch_while_its_hook_runs() {
    let mut spec = envoys();
    spec.processes[ROUTER.index()].hooks.pre_stop = Some(Wait { limit: MS(20_000), need: MS(0) });
    let hook = HookId { process: Some(ROUTER), stage: Stage::PreStop };
    let ended = Event::HookEnded { hook, success: true };
    let request = Event::Requested { process: NEW, request: Request::Stop };
    // After `drainit drain` the crash begins the stop, so that only `min` is held.
    let begins =
        [(Event::Signal(Signal::TERM), 15_000), (Event::DrainRequested, 5000), (request, 15_000)];
    for (begin, longest) in begins {
        let drains = || {
            let mut play = epochs_of(spec.clone());
            assert_eq!(play.at(1500, Event::Ready(NEW)), [Action::RunHook(hook)]);
            play.at(2000, begin);
            let notes = play.notes(4000, killed(NEW));
            let (longest, min) = (MS(longest), MS(5000));
            let began = Note::DrainBegan { process: ROUTER, longest, min, counted: false };
            assert!(notes.contains(&began), "{notes:?}");
            play
        };
        let mut play = drains();
        assert_eq!(play.at(5000, ended), []);
        let asked = [Action::EndDrain(ROUTER), stop(ROUTER)];
        assert_eq!(play.at(4000 + longest, Event::Tick), asked, "{begin:?}");
        // The hook takes longer than the drain.
        let mut play = drains();
        assert_eq!(play.at(4000 + longest, Event::Tick), [Action::EndDrain(ROUTER)]);
        assert_eq!(play.at(20_000, ended), [stop(ROUTER)], "{begin:?}");
    }
}

#[test]
fn an_old_epoch_without_a_newer_one_is_asked_when_its_time_is_over() {
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    assert_eq!(play.at(13_000, killed(NEW)), [], "the next one takes over from it");
    assert_eq!(play.at(13_500, Event::Tick), [stop(ROUTER)]);
    assert_eq!(play.at(14_000, Event::Tick), [], "none starts beside one that ends");
    assert_eq!(play.at(14_100, exited(ROUTER)), [Action::Spawn(NEW)]);
    // It has all of its own time to end.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(13_000, killed(NEW));
    play.at(13_500, Event::Tick);
    play.at(14_000, Event::Tick);
    let limit = play.machine.state().process(ROUTER).stop.limit;
    assert_eq!(wakes_at(&play), 13_500 + u64::try_from(limit.as_millis()).unwrap());
    // The same is due to what it leaves.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(2000, Event::Exited { process: ROUTER, end: End::Code(0), remains: true });
    play.at(13_000, killed(NEW));
    let group = Action::StopGroup { process: ROUTER, signal: Signal::TERM };
    assert_eq!(play.at(13_500, Event::Tick), [group]);
    play.at(14_000, Event::Tick);
    assert_eq!(play.at(14_100, Event::GroupGone(ROUTER)), [Action::Spawn(NEW)]);
}

#[test]
fn none_starts_while_the_hook_of_an_epoch_runs_that_lets_no_other_take_over() {
    let mut spec = envoys();
    spec.processes[ROUTER.index()].hooks.pre_stop = Some(Wait::new(Some(MS(20_000))));
    let mut play = epochs_of(spec);
    let hook = HookId { process: Some(ROUTER), stage: Stage::PreStop };
    assert_eq!(play.at(1500, Event::Ready(NEW)), [Action::RunHook(hook)]);
    play.at(2000, killed(NEW));
    assert_eq!(play.at(3000, Event::Tick), [Action::Spawn(NEW)]);
    play.at(3000, Event::Spawned(NEW));
    play.at(3100, killed(NEW));
    assert_eq!(play.at(5100, Event::Tick), []);
    assert_eq!(play.at(6000, Event::HookEnded { hook, success: true }), [stop(ROUTER)]);
    assert_eq!(play.at(6100, exited(ROUTER)), [Action::Spawn(NEW)]);
}

#[test]
fn what_an_old_epoch_leaves_while_its_hook_runs_is_left_to_the_new_one() {
    let mut spec = envoys();
    spec.processes[ROUTER.index()].hooks.pre_stop = Some(Wait::new(Some(MS(20_000))));
    let mut play = epochs_of(spec);
    let hook = HookId { process: Some(ROUTER), stage: Stage::PreStop };
    assert_eq!(play.at(1500, Event::Ready(NEW)), [Action::RunHook(hook)]);
    let ended = Event::Exited { process: ROUTER, end: End::Code(0), remains: true };
    assert_eq!(play.at(3000, ended), [Action::AbortHook(hook)], "one of them may be the Envoy");
    assert_eq!(wakes_at(&play), 15_000, "the new one has all of its time for it");
    assert_eq!(play.at(15_000, Event::Tick), [Action::Kill(ROUTER)]);
}

#[test]
fn a_drain_lasts_only_for_min_when_a_reload_was_about_to_replace_the_dependency() {
    let end_of_drain = |mut play: Play| {
        play.at(1600, Event::Signal(Signal::TERM));
        play.at(1610, Event::DrainAnswered { process: ROUTER, accepted: true });
        play.at(1700, exited(ENGINE));
        wakes_at(&play)
    };
    let mut play = up();
    assert_eq!(play.at(1500, restart(ENGINE)), [stop(ENGINE)]);
    assert_eq!(end_of_drain(play), 6600);
    let mut play = up();
    play.reload(1500, &overlapping(), &[Placed::Changed(ENGINE), Placed::Same(ROUTER)]);
    assert_eq!(end_of_drain(play), 6600);
    // A new instance serves already.
    let mut spec = overlapping();
    spec.processes[ENGINE.index()].update = Update::StartFirst;
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1500, restart(ENGINE));
    play.at(1500, Event::Spawned(NEW));
    assert_eq!(end_of_drain(play), 16_600);
}

#[test]
fn the_rest_of_an_old_epoch_without_any_time_is_killed_at_once() {
    let mut spec = overlapping();
    let router = &mut spec.processes[ROUTER.index()];
    (router.update, router.handover) = (Update::HotRestart, Some(MS(12_000)));
    (router.restart.policy, router.on_exit) = (RestartPolicy::Always, OnExit::Ignore);
    (router.stop, router.drain) = (Wait::new(Some(Duration::ZERO)), None);
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    play.at(1500, Event::Ready(NEW));
    play.at(2000, Event::Exited { process: ROUTER, end: End::Code(0), remains: true });
    play.at(13_000, Event::Exited { process: NEW, end: End::Code(7), remains: false });
    let group = Action::StopGroup { process: ROUTER, signal: Signal::TERM };
    assert_eq!(play.at(13_500, Event::Tick)[..2], [group, Action::Kill(ROUTER)]);
}

#[test]
fn an_epoch_that_is_asked_for_the_last_time_gets_no_more_of_it() {
    let mut play = epochs();
    assert_eq!(play.at(2000, Event::Tick), [Action::AskEpoch(NEW)]);
    play.at(2005, Event::TimeoutExtended { process: NEW, by: MS(60_000) });
    let given_up = Note::NotReady { process: NEW, after: MS(1000) };
    assert!(play.notes(2010, Event::NotLive(NEW)).contains(&given_up));
    // Nor if it does not answer.
    let mut play = epochs();
    play.at(2000, Event::Tick);
    play.at(2005, Event::TimeoutExtended { process: NEW, by: MS(60_000) });
    assert!(play.notes(4000, Event::Tick).contains(&given_up));
}

#[test]
fn a_slot_that_is_used_again_notes_its_first_extension() {
    let mut play = beside();
    let asked = Event::TimeoutExtended { process: NEW, by: MS(5000) };
    let noted = Note::TimeoutExtended { process: NEW, limit: MS(5000) };
    assert_eq!(play.notes(1100, asked), [noted]);
    play.at(1200, exited(NEW));
    assert!(play.at(1300, restart(ROUTER)).contains(&Action::Spawn(NEW)));
    play.at(1300, Event::Spawned(NEW));
    assert_eq!(play.notes(1400, asked), [noted]);
}

#[test]
fn a_stop_after_a_reload_takes_as_long_as_one_before_it() {
    let mut spec = overlapping();
    spec.processes[ROUTER.index()].drain = None;
    let signal = Signal::TERM;
    let stopping = |process| Note::Stopping { process, signal, limit: MS(5000) };
    for engine in [Placed::Same(ENGINE), Placed::Changed(ENGINE)] {
        let mut play = Play::up(spec.clone());
        play.at(100, Event::Ready(ROUTER));
        play.reload(1000, &spec, &[engine, Placed::Same(ROUTER)]);
        let mut below = ENGINE;
        if engine == Placed::Changed(ENGINE) {
            assert_eq!(play.at(1100, exited(ENGINE)), [Action::Spawn(NEW)]);
            assert!(play.notes(1100, Event::Spawned(NEW)).contains(&Note::ReloadDone));
            below = NEW;
        }
        let notes = play.notes(2000, Event::Signal(signal));
        assert!(notes.contains(&stopping(ROUTER)), "{notes:?}");
        assert!(play.at(6999, Event::Tick).is_empty());
        assert_eq!(play.at(7000, Event::Tick), [Action::Kill(ROUTER)]);
        let notes = play.notes(7001, exited(ROUTER));
        assert!(notes.contains(&stopping(below)), "{notes:?}");
        assert!(play.at(12_000, Event::Tick).is_empty());
        assert_eq!(play.at(12_001, Event::Tick), [Action::Kill(below)]);
    }
}
