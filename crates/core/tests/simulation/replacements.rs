//! Cases of replacements and reloads: fixed events, with the actions that must follow.

use crate::cases::{
    APP, ENGINE, MS, Play, ROUTER, TERM, WEB, ask, exited, followers, gateway, is_ready, killed,
    plain, stop, wakes_at,
};
use crate::*;

/// The slot of the first new instance in `gateway`, whose two processes have the slots 0 and 1.
pub(super) const NEW: ProcessId = ProcessId(2);

/// A gateway whose router has a readiness timeout of 1 s, and `update: start-first`.
pub(super) fn overlapping() -> Spec {
    let mut spec = gateway();
    spec.processes[ROUTER.index()].update = Update::StartFirst;
    spec.processes[ROUTER.index()].readiness_timeout = Some(MS(1000));
    spec
}

pub(super) fn restart(process: ProcessId) -> Event {
    ask(process, Request::Restart)
}

/// A gateway whose router becomes ready at 100 ms.
pub(super) fn up() -> Play {
    up_of(overlapping())
}

fn up_of(spec: Spec) -> Play {
    let mut play = Play::up(spec);
    play.at(100, Event::Ready(ROUTER));
    play
}

/// A ready gateway. At 1000 ms a request restarts the router, and a new instance starts beside the
/// old one.
pub(super) fn beside() -> Play {
    let mut play = up();
    let begun = play.at(1000, restart(ROUTER));
    assert_eq!(
        begun,
        [Action::Adopt { slot: NEW, of: ROUTER, is_newer: false }, Action::Spawn(NEW)]
    );
    play.at(1000, Event::Spawned(NEW));
    play
}

pub(super) fn drain_of(process: ProcessId) -> Action {
    Action::Drain { process, min: MS(5000), longest: MS(15_000) }
}

// holds: C206, C332, C656
#[test]
fn the_old_instance_is_drained_and_stopped_once_the_new_instance_is_ready() {
    let mut play = beside();
    assert!(is_ready(&play));
    assert_eq!(play.at(1500, Event::Ready(NEW)), [drain_of(ROUTER)]);
    assert!(is_ready(&play));
    let over = play.at(7000, Event::Drained(ROUTER));
    assert_eq!(over, [Action::EndDrain(ROUTER), stop(ROUTER)]);
    let notes = play.notes(7100, exited(ROUTER));
    let done = Note::RequestDone { process: NEW, request: Request::Restart };
    assert_eq!(notes.last(), Some(&done));
    // The next new instance gets the slot that the old instance has left.
    let begun = play.at(8000, restart(NEW));
    assert_eq!(
        begun,
        [Action::Adopt { slot: ROUTER, of: NEW, is_newer: false }, Action::Spawn(ROUTER)]
    );
}

/// The old instance crashes while the new one starts, and its group remains, so its restart waits.
/// The new instance, which takes over, has nothing to wait for.
#[test]
fn a_restart_that_waits_for_the_group_of_an_old_instance_is_not_inherited() {
    let mut spec = overlapping();
    spec.processes[ROUTER.index()].restart.policy = RestartPolicy::Always;
    let mut play = replacing(spec);
    play.at(1100, Event::Exited { process: ROUTER, end: End::Code(3), remains: true });
    play.at(1500, Event::Ready(NEW));
    play.at(1600, Event::GroupGone(ROUTER));
    play.at(2000, ask(NEW, Request::Stop));
    play.at(20_000, exited(NEW));
    let begun = play.at(21_000, ask(NEW, Request::Start));
    assert_eq!(begun, [Action::Spawn(NEW)]);
}

#[test]
fn an_unchanged_process_gets_the_hooks_of_the_new_config() {
    // The hook of an unchanged process may differ, because the core also counts drainit's own check
    // of an Envoy's config as a `pre_start` hook.
    let engine = |pre_start: Option<HookWait>| {
        changed(|spec| {
            let engine = &mut spec.processes[ENGINE.index()];
            (engine.update, engine.hooks.pre_start) = (Update::StopFirst, pre_start);
        })
    };
    let hook = HookId { process: Some(ENGINE), stage: Stage::PreStart };
    let unchanged = [Placed::Same(ENGINE), Placed::Same(ROUTER)];
    let mut play = up_of(engine(None));
    play.reload(1000, &engine(Some(HookWait::DEFAULT)), &unchanged);
    play.at(2000, restart(ENGINE));
    assert_eq!(play.at(2100, exited(ENGINE)), [Action::RunHook(hook)]);
    play.at(2200, Event::HookEnded { hook, success: true });
    play.at(2200, Event::Spawned(ENGINE));
    play.reload(3000, &engine(None), &unchanged);
    play.at(4000, restart(ENGINE));
    assert_eq!(play.at(4100, exited(ENGINE)), [Action::Spawn(ENGINE)]);
}

/// The gateway of [`overlapping`], with changes.
pub(super) fn changed(change: impl Fn(&mut Spec)) -> Spec {
    let mut spec = overlapping();
    change(&mut spec);
    spec
}

/// A gateway whose router is an Envoy with `hot-restart` and follows the engine. An old epoch lives
/// for at most 12 s beside a newer one.
fn envoys() -> Spec {
    changed(|spec| {
        spec.processes[ROUTER.index()].follows = vec![ENGINE];
        let router = &mut spec.processes[ROUTER.index()];
        router.update = Update::HotRestart;
        router.handover = Some(MS(12_000));
        router.restart.policy = RestartPolicy::Always;
        router.watch = vec![WatchAction::Restart];
    })
}

/// A gateway whose router is an Envoy. At 1000 ms a new epoch has started beside the old epoch.
pub(super) fn epochs() -> Play {
    replacing(envoys())
}

/// At 100 ms the router is ready, and at 1000 ms a new instance has started beside it.
fn replacing(spec: Spec) -> Play {
    let mut play = up_of(spec);
    play.at(1000, restart(ROUTER));
    play.at(1000, Event::Spawned(NEW));
    play
}

// holds: C198, C205
#[test]
fn a_requested_overlap_begins_once_the_requested_restart_of_a_dependency_is_over() {
    for (follows, works) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut spec = overlapping();
        if follows {
            spec.processes[ROUTER.index()].follows = vec![ENGINE];
        }
        let mut play = up_of(spec);
        assert_eq!(play.at(1000, restart(ENGINE)), [stop(ENGINE)]);
        let adopt = Action::Adopt { slot: NEW, of: ROUTER, is_newer: false };
        assert_eq!(play.at(1000, restart(ROUTER)), [adopt]);
        assert_eq!(play.at(1100, exited(ENGINE)), [Action::Spawn(ENGINE)]);
        if !works {
            // The old instance keeps running, because the new one may need the new dependency.
            let why = Failure::Spawn { exit_code: 127 };
            let why = RequestError::Failed { process: ENGINE, why };
            let notes = play.notes(1100, Event::SpawnFailed { process: ENGINE, exit_code: 127 });
            let (process, request) = (ROUTER, Request::Restart);
            assert!(notes.contains(&Note::RequestFailed { process, request, why }), "{notes:?}");
            let rolled_back = Note::RolledBack { process: NEW, old: ROUTER, why };
            assert!(notes.contains(&rolled_back), "{notes:?}");
            let router = play.machine.state().life(ROUTER);
            assert!(matches!(router, Lifecycle::Ready { .. }), "{router:?}");
            continue;
        }
        assert_eq!(play.at(1100, Event::Spawned(ENGINE)), [Action::Spawn(NEW)]);
        play.at(1100, Event::Spawned(NEW));
        assert_eq!(play.at(1200, Event::Ready(NEW)), [drain_of(ROUTER)]);
        let notes = play.notes(1300, exited(ROUTER));
        let done = Note::RequestDone { process: NEW, request: Request::Restart };
        assert_eq!(notes.last(), Some(&done), "{notes:?}");
        assert!(play.machine.state().is_current(NEW), "the router is replaced only once");
    }
    // A request to stop the process cancels a new instance that has not started.
    let mut play = up();
    play.at(1000, restart(ENGINE));
    play.at(1000, restart(ROUTER));
    assert_eq!(play.at(1050, ask(ROUTER, Request::Stop)), [drain_of(ROUTER)]);
    assert_eq!(play.at(1100, exited(ENGINE)), [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(1100, Event::Spawned(ENGINE)), []);
}

fn why_doomed(left: u64) -> RequestError {
    RequestError::Doomed { process: NEW, left: MS(left) }
}

/// A web process follows an app, and the app follows an engine. A reload has begun to replace the
/// engine, and the old engine has ended at 1100 ms.
fn followed(change: impl Fn(&mut Spec)) -> Play {
    let mut play = followers(&[&[], &[0], &[1]], &[1, 2]);
    let mut spec = (*play.machine.state().spec).clone();
    change(&mut spec);
    let same = [APP, WEB].map(Placed::Same);
    play.reload(1000, &spec, &[Placed::Changed(ENGINE), same[0], same[1]]);
    play.at(1100, exited(ENGINE));
    play
}

/// The slot of a new instance beside the app in [`followed`].
const BESIDE: ProcessId = ProcessId(3);

// holds: C208, C477
#[test]
fn a_reload_fails_with_a_follower() {
    let mut play = followed(|_| {});
    play.at(1100, Event::Spawned(ENGINE));
    play.at(1200, exited(APP));
    play.at(1200, Event::Spawned(APP));
    assert_eq!(play.at(4200, Event::Tick), [stop(APP)], "the container continues");
    let why = RequestError::Failed { process: APP, why: Failure::NotReady { after: MS(3000) } };
    assert_eq!(play.notes(4300, exited(APP)).last(), Some(&Note::ReloadFailed { why }));
    assert_eq!(play.machine.state().life(APP), Lifecycle::Stopped { failed: true });
    // If the new app starts beside the old one, its failure also makes the reload fail, but the old
    // app keeps running.
    let mut play = followed(|spec| spec.processes[APP.index()].update = Update::StartFirst);
    play.at(1100, Event::Spawned(ENGINE));
    play.at(1100, Event::Spawned(BESIDE));
    assert_eq!(play.at(4100, Event::Tick), [stop(BESIDE)]);
    let why = RequestError::Failed { process: BESIDE, why: Failure::NotReady { after: MS(3000) } };
    assert_eq!(play.notes(4200, exited(BESIDE)).last(), Some(&Note::ReloadFailed { why }));
    assert!(play.machine.state().is_current(APP));
    // A stop signal during the reload makes the reload fail.
    let mut play = followed(|_| {});
    play.at(1100, Event::Spawned(ENGINE));
    let why = RequestError::ShuttingDown;
    let notes = play.notes(1200, TERM);
    assert!(notes.contains(&Note::ReloadFailed { why }), "{notes:?}");
}

#[test]
fn after_a_failure_of_a_reload_a_follower_keeps_the_old_definition() {
    let mut play = followers(&[&[], &[], &[0]], &[]);
    let spec = Spec::clone(&play.machine.state().spec);
    let changed = [ENGINE, APP, WEB].map(Placed::Changed);
    assert_eq!(play.reload(1000, &spec, &changed), [stop(ENGINE)]);
    play.at(1100, exited(ENGINE));
    assert_eq!(play.at(1100, Event::Spawned(ENGINE)), [stop(APP)]);
    play.at(1200, exited(APP));
    let failed = Event::SpawnFailed { process: APP, exit_code: 127 };
    assert_eq!(play.at(1200, failed), [stop(WEB)]);
    assert_eq!(play.at(1300, exited(WEB)), [Action::Spawn(WEB)]);
}

#[test]
fn the_drain_continues_for_the_old_epoch_when_the_new_epoch_crashes() {
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    assert_eq!(play.at(2000, TERM), [Action::Unready, drain_of(NEW)]);
    let notes = play.notes(4000, killed(NEW));
    // `min` counts from the stop signal.
    let (longest, min) = (MS(15_000), MS(3000));
    let began = Note::DrainBegan { process: ROUTER, longest, min, counted: false };
    assert_eq!(
        notes.last(),
        Some(&began),
        "the old epoch gets no request, because its admin is closed"
    );
    assert_eq!(play.at(18_999, Event::Tick), [], "the end of the handover kills nothing now");
    assert_eq!(play.at(19_000, Event::Tick), [Action::EndDrain(ROUTER), stop(ROUTER)]);
    assert_eq!(play.at(19_100, exited(ROUTER)), [stop(ENGINE)]);
    // If the new epoch crashes after its drain, the old epoch needs no drain: the drain of the new
    // epoch has also counted the old epoch's connections.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(2000, Event::DrainRequested);
    play.at(2010, Event::DrainAnswered { process: NEW, accepted: false });
    assert_eq!(play.at(7000, Event::Tick), [Action::EndDrain(NEW)], "only `min` counts");
    assert_eq!(play.at(8000, killed(NEW)), [stop(ROUTER)]);
}

#[test]
fn a_stop_of_the_new_epoch_ends_the_pre_stop_hook_of_the_old_epoch() {
    let mut spec = overlapping();
    let router = &mut spec.processes[ROUTER.index()];
    (router.update, router.handover) = (Update::HotRestart, Some(MS(12_000)));
    (router.drain, router.hooks.pre_stop) = (None, Some(HookWait::new(Some(MS(9000)))));
    let mut play = replacing(spec);
    let hook = |slot| HookId { process: Some(slot), stage: Stage::PreStop };
    assert_eq!(play.at(1500, Event::Ready(NEW)), [Action::RunHook(hook(ROUTER))]);
    play.at(2000, ask(NEW, Request::Stop));
    // When the new epoch is asked to end, it also ends the old epoch. Therefore drainit aborts the
    // old epoch's hook.
    let asked = play.at(2100, Event::HookEnded { hook: hook(NEW), success: true });
    assert_eq!(asked, [stop(NEW), Action::AbortHook(hook(ROUTER))]);
    assert_eq!(play.at(2200, exited(NEW)), [stop(ROUTER)]);
}

#[test]
fn a_doomed_epoch_that_has_not_taken_over_runs_no_pre_stop_hook() {
    let mut spec = envoys();
    let router = &mut spec.processes[ROUTER.index()];
    (router.drain, router.hooks.pre_stop) = (None, Some(HookWait::new(Some(MS(9000)))));
    let mut play = replacing(spec);
    let hook = HookId { process: Some(ROUTER), stage: Stage::PreStop };
    play.at(1500, Event::Ready(NEW));
    play.at(1600, Event::HookEnded { hook, success: true });
    // The new epoch crashes, and is started again beside the old epoch, which crashes, too.
    play.at(2000, killed(NEW));
    assert_eq!(play.at(3000, Event::Tick), [Action::Spawn(NEW)]);
    play.at(3000, Event::Spawned(NEW));
    let doomed = Note::Doomed { process: NEW, within: MS(15_000) };
    assert_eq!(play.notes(3100, killed(ROUTER)).last(), Some(&doomed));
    let stopped = play.at(3200, ask(NEW, Request::Stop));
    assert_eq!(stopped, [Action::Stop { process: NEW, signal: Signal::KILL }]);
}

#[test]
fn a_reload_fails_when_envoy_will_abort_the_new_epoch() {
    let mut play = up_of(envoys());
    play.reload(1000, &envoys(), &[Placed::Same(ENGINE), Placed::Changed(ROUTER)]);
    play.at(1000, Event::Spawned(NEW));
    play.at(1500, Event::Ready(NEW));
    let failed = Note::ReloadFailed { why: why_doomed(15_000) };
    assert_eq!(play.notes(1700, killed(ROUTER)).last(), Some(&failed));
    // A reload starts no other epoch beside an epoch that Envoy will abort.
    assert_eq!(play.reload(2000, &envoys(), &[Placed::Same(ENGINE), Placed::Changed(NEW)]), []);
    let aborted = play.at(12_000, killed(NEW));
    assert_eq!(aborted, [Action::Redefine(NEW), Action::Spawn(NEW)]);
}

#[test]
fn an_old_epoch_without_a_newer_epoch_is_stopped_after_the_handover_time() {
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    assert_eq!(play.at(13_000, killed(NEW)), [], "the next epoch takes over from the old epoch");
    assert_eq!(play.at(13_500, Event::Tick), [stop(ROUTER)]);
    assert_eq!(play.at(14_000, Event::Tick), [], "no epoch starts beside an epoch that ends");
    assert_eq!(play.at(14_100, exited(ROUTER)), [Action::Spawn(NEW)]);
    // If the old epoch does not end, drainit sends SIGKILL after that epoch's whole stop limit. The
    // failure of the newer epoch does not shorten the limit.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(13_000, killed(NEW));
    play.at(13_500, Event::Tick);
    play.at(14_000, Event::Tick);
    let limit = play.machine.state().process(ROUTER).stop.unwrap();
    assert_eq!(wakes_at(&play), 13_500 + u64::try_from(limit.as_millis()).unwrap());
    // If the old epoch has ended, but other members of its process group live, drainit stops these
    // members when it would have stopped the epoch.
    let mut play = epochs();
    play.at(1500, Event::Ready(NEW));
    play.at(2000, Event::Exited { process: ROUTER, end: End::Code(0), remains: true });
    play.at(13_000, killed(NEW));
    let group = Action::StopOrphans { process: ROUTER, signal: Signal::TERM };
    assert_eq!(play.at(13_500, Event::Tick), [group]);
    play.at(14_000, Event::Tick);
    assert_eq!(play.at(14_100, Event::GroupGone(ROUTER)), [Action::Spawn(NEW)]);
}

// holds: S52
#[test]
fn a_drain_lasts_for_min_if_a_dependency_ends_before_the_new_instance_serves() {
    let end_of_drain = |mut play: Play| {
        play.at(1600, TERM);
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
    // If a new instance of the engine already serves, the end of the old engine does not shorten
    // the drain of the router.
    let mut spec = overlapping();
    spec.processes[ENGINE.index()].update = Update::StartFirst;
    let mut play = up_of(spec);
    play.at(1500, restart(ENGINE));
    play.at(1500, Event::Spawned(NEW));
    assert_eq!(end_of_drain(play), 16_600);
}

// holds: C253
#[test]
fn the_last_probe_of_an_epoch_grants_no_more_time() {
    let mut play = epochs();
    assert_eq!(play.at(2000, Event::Tick), [Action::ProbeOnce(NEW)]);
    play.at(2005, Event::TimeoutExtended { process: NEW, by: MS(60_000) });
    let (after, process) = (MS(1000), NEW);
    let given_up = Note::Overdue { process, why: Failure::NotReady { after }, after };
    assert!(play.notes(2010, Event::NotLive(NEW)).contains(&given_up));
    // If the last probe is not answered, the epoch gets no more time either.
    let mut play = epochs();
    play.at(2000, Event::Tick);
    play.at(2005, Event::TimeoutExtended { process: NEW, by: MS(60_000) });
    assert!(play.notes(4000, Event::Tick).contains(&given_up));
}

/// Begins a reload that changes the engine and the router. The new engine in slot [`NEW`] serves,
/// and the old engine is being stopped.
fn reloaded(router: Update) -> Play {
    let spec = |update| {
        let mut spec = plain();
        spec.processes[ENGINE.index()].update = Update::StartFirst;
        spec.processes[ROUTER.index()].update = update;
        spec
    };
    let mut play = Play::up(spec(Update::StopFirst));
    let changed = [Placed::Changed(ENGINE), Placed::Changed(ROUTER)];
    let adopt = Action::Adopt { slot: NEW, of: ENGINE, is_newer: true };
    assert_eq!(play.reload(100, &spec(router), &changed), [adopt, Action::Spawn(NEW)]);
    assert_eq!(play.at(200, Event::Spawned(NEW)), [stop(ENGINE)]);
    play
}

#[test]
fn a_changed_dependent_depends_on_the_new_instance_of_a_dependency() {
    let mut play = reloaded(Update::StopFirst);
    assert_eq!(play.at(300, exited(ENGINE)), [stop(ROUTER)]);
    let begun = [Action::Redefine(ROUTER), Action::Spawn(ROUTER)];
    assert_eq!(play.at(400, exited(ROUTER)), begun);
    assert_eq!(play.notes(500, Event::Spawned(ROUTER)).last(), Some(&Note::ReloadDone));
    assert!(play.at(600, TERM).contains(&stop(ROUTER)));
    assert_eq!(play.at(700, exited(ROUTER)), [stop(NEW)]);
    // The new router gets the slot that the old engine has left.
    let mut play = reloaded(Update::StartFirst);
    let adopt = Action::Adopt { slot: ENGINE, of: ROUTER, is_newer: true };
    assert_eq!(play.at(300, exited(ENGINE)), [adopt, Action::Spawn(ENGINE)]);
    assert_eq!(play.at(400, Event::Spawned(ENGINE)), [stop(ROUTER)]);
    assert_eq!(play.notes(500, exited(ROUTER)).last(), Some(&Note::ReloadDone));
    assert!(play.at(600, TERM).contains(&stop(ENGINE)));
    assert_eq!(play.at(700, exited(ENGINE)), [stop(NEW)]);
}
