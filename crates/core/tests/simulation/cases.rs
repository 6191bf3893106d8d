//! Cases: fixed events with the actions that must follow. Each case tests one promise.

use crate::promises::is_told;
use crate::replacements::restart;
use crate::*;
use drainit_core::final_waits;
use drainit_core::note::DrainTime;

pub(super) const ENGINE: ProcessId = ProcessId(0);
pub(super) const ROUTER: ProcessId = ProcessId(1);
pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;
pub(super) const TERM: Event = Event::Signal(Signal::TERM);
/// As the second stop signal, SIGINT means that the shutdown has to hurry.
const INT: Event = Event::Signal(Signal::INT);

/// A service without a dependency, a probe and a drain.
pub(super) fn service() -> ProcessSpec {
    ProcessSpec {
        dependencies: Vec::new(),
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
        restart: Restart { policy: RestartPolicy::No, delay: MS(1000), max: Some(5) },
        on_exit: OnExit::SHUTDOWN,
        required: true,
        stop_signal: Signal::TERM,
        stop: Some(MS(5000)),
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

/// A router that depends on an engine. The window is 28 s.
pub(super) fn gateway() -> Spec {
    let mut router = service();
    router.dependencies = vec![(ENGINE, StartCondition::Ready)];
    router.drain = Some(DrainSpec {
        time: Some(MS(15_000)),
        min: MS(5000),
        closes: true,
        by_kernel: false,
        exit_at: 0,
        signal: None,
    });
    Spec {
        window: MS(28_000),
        reserve: MS(2000),
        readiness_delay: Duration::ZERO,
        unready_delay: Duration::ZERO,
        counts_stops: false,
        stop_signals: vec![Signal::TERM, Signal::INT],
        hooks: HookWaits::default(),
        processes: vec![service(), router],
        order: vec![ENGINE, ROUTER],
        ranks: Vec::new(),
    }
}

/// The window of [`gateway`], with these processes.
pub(super) fn of_processes(processes: Vec<ProcessSpec>) -> Spec {
    let order = (0..).map(ProcessId).take(processes.len()).collect();
    Spec { processes, order, ..gateway() }
}

/// The drain of the router.
pub(super) fn drain_in(spec: &mut Spec) -> &mut DrainSpec {
    spec.processes[ROUTER.index()].drain.as_mut().unwrap()
}

/// A gateway without a drain.
pub(super) fn plain() -> Spec {
    let mut spec = gateway();
    spec.processes[ROUTER.index()].drain = None;
    spec
}

/// A core whose events a test sends by hand, with times in milliseconds.
pub(super) struct Play {
    pub(super) machine: Machine,
    /// Whether each process that has not ended in its time is exiting.
    exits: bool,
    /// Whether each process that has not ended in its time ignores its stop signal.
    ignores: bool,
    story: String,
}

/// A case that fails shows all of its events, with what the core did. The name of the case is the
/// promise.
impl Drop for Play {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let case = std::thread::current();
            eprintln!("broken: {}\n{}", case.name().unwrap_or_default(), self.story);
        }
    }
}

impl Play {
    fn new(mut spec: Spec) -> Self {
        spec.link();
        let machine = Machine::new(Arc::new(spec), Time(Duration::ZERO));
        Self { machine, exits: false, ignores: false, story: String::new() }
    }

    /// Sends an event, and returns all of the core's actions. Answers looks at once.
    fn all(&mut self, millis: u64, event: Event) -> Vec<Action> {
        let mut actions = self.machine.handle(Time(MS(millis)), event);
        self.story.push_str(&format!("{millis:>8} ms {event:?}\n"));
        actions.iter().for_each(|one| self.story.push_str(&format!("            {one:?}\n")));
        let look = |one: &Action| if let Action::LookForExit(id) = one { Some(*id) } else { None };
        let looks: Vec<_> = actions.iter().filter_map(look).collect();
        actions.retain(|one| look(one).is_none());
        for process in looks {
            actions.extend(self.all(millis, self.seen(process)));
        }
        actions
    }

    fn seen(&self, process: ProcessId) -> Event {
        Event::ExitSeen { process, exits: self.exits, ignores: self.ignores }
    }

    /// Begins the start at 0 ms.
    fn started(spec: Spec) -> Self {
        let mut play = Self::new(spec);
        play.at(0, Event::Start);
        play
    }

    /// Starts all processes at 0 ms.
    pub(super) fn up(spec: Spec) -> Self {
        let mut play = Self::new(spec);
        let mut due = play.at(0, Event::Start);
        while let Some(Action::Spawn(process)) = due.pop() {
            due.extend(play.at(0, Event::Spawned(process)));
        }
        play
    }

    /// Sends an event, and returns the core's actions, without notes and without actions that a
    /// note describes.
    pub(super) fn at(&mut self, millis: u64, event: Event) -> Vec<Action> {
        let mut actions = self.all(millis, event);
        actions.retain(|action| !matches!(action, Action::Note(_)) && !is_told(action));
        actions
    }

    pub(super) fn notes(&mut self, millis: u64, event: Event) -> Vec<Note> {
        let note = |action| if let Action::Note(note) = action { Some(note) } else { None };
        self.all(millis, event).into_iter().filter_map(note).collect()
    }

    /// Begins a reload, and returns the core's first actions, without notes and without new
    /// definitions of unchanged processes.
    pub(super) fn reload(&mut self, millis: u64, new: &Spec, plan: &[Placed]) -> Vec<Action> {
        let mut actions = self.machine.reload(Time(MS(millis)), new.clone(), plan).unwrap();
        actions.retain(|one| !matches!(one, Action::Note(_) | Action::Redefine(_)));
        actions.retain(|one| !is_told(one));
        actions
    }

    /// Sends samples with this number of open connections, and returns the actions that follow,
    /// with their times.
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

pub(super) fn load(active: u64, total: u64) -> Load {
    Load { active: Some(active), total: Some(total), ..Load::default() }
}

fn drain(longest: u64) -> Action {
    Action::Drain { process: ROUTER, min: MS(5000), longest: MS(longest) }
}

pub(super) fn stop(process: ProcessId) -> Action {
    Action::Stop { process, signal: Signal::TERM }
}

/// The time of the next timer, in milliseconds.
pub(super) fn wakes_at(play: &Play) -> u64 {
    play.machine.next_wakeup().unwrap().0.as_millis() as u64
}

/// The end of a process that leaves no group.
pub(super) fn ended(process: ProcessId, end: End) -> Event {
    Event::Exited { process, end, remains: false }
}

pub(super) fn exited(process: ProcessId) -> Event {
    ended(process, End::Code(0))
}

/// An end by a SIGKILL that drainit has not sent.
pub(super) fn killed(process: ProcessId) -> Event {
    ended(process, End::Signal(Signal::KILL))
}

// holds: S1, S44, C160
#[test]
fn an_idle_gateway_is_drained_for_min_and_stopped_in_order() {
    let mut play = Play::up(gateway());
    assert_eq!(play.at(0, TERM), [Action::Unready, drain(15_000)]);
    assert!(play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true }).is_empty());
    let seen = play.samples(50, 5000, 0);
    assert_eq!(
        seen,
        [(5000, Action::CloseListeners(ROUTER))],
        "quiet earlier, but `min` is not over"
    );
    // Envoy may have accepted a connection just before it closed the listeners. Only a count after
    // the closing shows such a connection.
    assert!(play.at(5010, Event::ListenersClosed(ROUTER)).is_empty());
    let seen = play.samples(5050, 5050, 0);
    assert_eq!(seen, [(5050, Action::EndDrain(ROUTER)), (5050, stop(ROUTER))]);
    assert_eq!(play.at(5100, exited(ROUTER)), [stop(ENGINE)]);
    assert_eq!(play.at(5200, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
    assert_eq!(play.at(5200, Event::NothingLeft), [Action::Exit(0)]);
}

// holds: S116, S117, S217
#[test]
fn an_end_before_the_drain_is_reported() {
    let is_passed = |spec: Spec, before: &[(u64, Event)], end| {
        let mut play = Play::up(spec);
        for (at, event) in before {
            play.at(*at, *event);
        }
        play.notes(1100, end).contains(&Note::EndedUndrained(ROUTER))
    };
    let term = (1000, TERM);
    for end in [exited(ROUTER), ended(ROUTER, End::Signal(Signal::TERM))] {
        assert!(is_passed(gateway(), &[term], end), "the end of an Envoy never answers its drain");
        assert!(!is_passed(gateway(), &[term, (1080, INT)], end), "the router was asked to end");
        assert!(!is_passed(gateway(), &[], end), "there is no shutdown");
    }
    let mut spec = gateway();
    drain_in(&mut spec).closes = false;
    assert!(!is_passed(spec.clone(), &[term], exited(ROUTER)), "the end may answer the drain");
    let mut counted = gateway();
    drain_in(&mut counted).signal = Some(Signal::QUIT);
    assert!(!is_passed(counted, &[term], exited(ROUTER)), "the end may answer the signal");
    spec.readiness_delay = MS(5000);
    assert!(is_passed(spec, &[term], exited(ROUTER)), "the drain has not begun");
}

// holds: S920, S922
#[test]
fn the_stop_of_a_process_notes_a_drain_that_is_off() {
    for (off, why) in [
        (Some(DrainOff::Time), Some(WhyUndrained::Time)),
        (Some(DrainOff::Condition), Some(WhyUndrained::OnlyIf)),
        (None, None),
    ] {
        let mut spec = plain();
        spec.processes[ROUTER.index()].drain_off = off;
        let noted = |event: Event, up: bool| {
            let mut play = if up { Play::up(spec.clone()) } else { Play::started(spec.clone()) };
            let notes = play.notes(1000, event).into_iter();
            let why = notes.filter_map(|note| match note {
                Note::NotDrained { process, why } => Some((process, why)),
                _ => None,
            });
            why.collect::<Vec<_>>()
        };
        let one: Vec<_> = why.map(|why| (ROUTER, why)).into_iter().collect();
        assert_eq!(noted(TERM, true), one);
        assert_eq!(
            noted(Event::Requested { process: ROUTER, request: Request::Restart }, true),
            one
        );
        assert_eq!(noted(TERM, false), [], "the router does not serve yet");
    }
}

// holds: S235
#[test]
fn a_long_drain_is_noted_once_a_minute() {
    let mut spec = gateway();
    spec.window = MS(400_000);
    drain_in(&mut spec).time = Some(MS(300_000));
    let mut play = Play::up(spec);
    play.at(0, TERM);
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    let noted: Vec<_> = (1000..200_000)
        .step_by(250)
        .filter(|millis| {
            let sample = Event::DrainSample { process: ROUTER, load: load(3, 100) };
            let notes = play.notes(*millis, sample);
            notes.iter().any(|note| {
                matches!(note, Note::StillDraining { process: ROUTER, load, left }
                if load.active == Some(3) && *left == MS(300_000 - millis))
            })
        })
        .collect();
    assert_eq!(noted, [60_000, 120_000, 180_000]);
}

// holds: S109
#[test]
fn a_signal_that_arrives_while_the_first_is_handled_counts_once() {
    for (millis, is_one) in [(104, true), (106, false)] {
        let mut play = Play::up(gateway());
        play.at(0, TERM);
        play.at(100, Event::SignalHandled);
        assert_eq!(play.at(millis, INT).is_empty(), is_one, "{millis}");
    }
}

#[test]
fn every_later_stop_signal_has_a_line_in_a_stop_and_in_a_search_for_leftovers() {
    for signal in [Signal::TERM, Signal::INT].map(Event::Signal) {
        for is_search in [false, true] {
            let mut play = Play::up(plain());
            play.at(0, TERM);
            if is_search {
                play.at(10, exited(ROUTER));
                assert_eq!(play.at(20, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
            }
            let notes = [100, 200, 300, 400].map(|at| play.notes(at, signal)).concat();
            let is_answered = notes.iter().any(|note| matches!(note, Note::Hurried(_)));
            assert!(is_answered, "{signal:?} {is_search} {notes:?}");
        }
    }
}

/// A chain of three processes, as in `docs/reference/shutdown.md`: the router depends on the
/// engine, and the engine on python.
fn example(window: u64) -> Spec {
    let mut spec = Spec { window: MS(window), ..gateway() };
    spec.processes.insert(0, service());
    for (place, below) in [(1, 0), (2, 1)] {
        spec.processes[place].dependencies = vec![(ProcessId(below), StartCondition::Ready)];
    }
    spec.processes.iter_mut().for_each(|process| process.stop = None);
    spec.order = spec.ids().collect();
    spec
}

// holds: S78, S79, C621
#[test]
fn the_core_agrees_with_the_examples_of_the_page() {
    let [python, engine, router] = [0, 1, 2].map(ProcessId);
    let limit = |notes: &[Note]| {
        notes.iter().find_map(|note| match note {
            Note::Stopping { process, limit, .. } => Some((*process, limit.as_millis() as u64)),
            _ => None,
        })
    };
    // For each window: the longest drain, and the times that the router, the engine and python get
    // to stop. The router gets its time after the longest drain. The engine and python get their
    // times if the drain was shorter, and the process that depends on them has ended at once.
    for (window, longest, times) in
        [(28_000, 15_000, [11_000, 22_000, 23_000]), (8000, 5000, [1000, 2000, 3000])]
    {
        let up = |accepted| {
            let mut play = Play::up(example(window));
            let begun = play.at(0, TERM);
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

// holds: S280
#[test]
fn completed_oneshots_take_nothing_of_the_time_of_their_dependents() {
    // A chain of three tasks, and behind it a server whose stop takes 6 s of a window of 8 s.
    let server = ProcessId(3);
    let one = |id: u16| ProcessSpec {
        oneshot: ProcessId(id) != server,
        stop: (ProcessId(id) == server).then_some(MS(6000)),
        dependencies: (id.saturating_sub(1)..id)
            .map(|on| (ProcessId(on), StartCondition::Completed))
            .collect(),
        ..service()
    };
    let spec = of_processes((0..4).map(one).collect());
    let mut play = Play::started(Spec { window: MS(8000), ..spec });
    for id in 0..3 {
        play.at(0, Event::Spawned(ProcessId(id)));
        let next = Action::Spawn(ProcessId(id + 1));
        assert_eq!(play.at(0, exited(ProcessId(id))), [next]);
    }
    play.at(0, Event::Spawned(server));
    assert_eq!(play.at(1000, TERM), [Action::Unready, stop(server)]);
    assert_eq!(wakes_at(&play), 7000);
    assert_eq!(play.at(7000, Event::Tick), [Action::Kill(server)]);
}

// holds: S13, S17, S18, S19, S20, S22, S219
#[test]
fn readyz_stays_good_for_unready_delay_while_the_drain_runs() {
    let spec = Spec { unready_delay: MS(8000), ..gateway() };
    let held = Action::Drain { process: ROUTER, min: MS(8000), longest: MS(15_000) };
    for cause in [TERM, Event::DrainRequested] {
        let mut play = Play::up(spec.clone());
        assert_eq!(play.at(0, cause), [Action::StayReady, held.clone()]);
        play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
        assert!(
            play.samples(50, 7950, 0).is_empty(),
            "`/readyz` stays good although the router is quiet"
        );
        assert!(stays_ready(&play));
        assert_eq!(play.at(8000, Event::Tick), [Action::Unready, Action::CloseListeners(ROUTER)]);
        assert!(!stays_ready(&play));
    }
    // If a dependency ends, `/readyz` turns 503 at once, and not only after `unready_delay`.
    let mut play = Play::up(spec);
    play.at(0, TERM);
    assert_eq!(play.at(1000, exited(ENGINE)), [Action::Unready]);
}

fn stays_ready(play: &Play) -> bool {
    matches!(play.machine.phase(), Phase::Draining(draining) if draining.stays_ready())
}

// holds: S66, S67, C604
#[test]
fn scans_repeat_until_no_descendant_is_left() {
    let mut play = Play::up(plain());
    play.at(0, TERM);
    play.at(10, exited(ROUTER));
    assert_eq!(play.at(20, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
    assert!(play.at(20, Event::Swept { any: false }).is_empty());
    assert_eq!(play.at(5020, Event::Tick), [Action::Sweep(Signal::KILL)]);
    for now in (5040..5220).step_by(20) {
        assert!(play.at(now - 20, Event::Swept { any: false }).is_empty());
        assert_eq!(play.at(now, Event::Tick), [Action::Sweep(Signal::KILL)]);
    }
    assert!(play.at(5200, Event::Swept { any: false }).is_empty());
    let end = play.machine.handle(Time(MS(5220)), Event::Tick);
    assert_eq!(end, [Action::Note(Note::LeftoversRemain), Action::Exit(137)]);
}

// holds: S66
#[test]
fn a_long_scan_leaves_time_to_reap() {
    let mut play = Play::up(plain());
    play.at(0, TERM);
    play.at(10, exited(ROUTER));
    assert_eq!(play.at(20, exited(ENGINE)), [Action::Sweep(Signal::TERM)]);
    // Until the scan is over, another event does not begin another scan.
    assert!(play.at(319, exited(ROUTER)).is_empty());
    // The pause before the next scan is as long as this scan was.
    assert!(play.at(320, Event::Swept { any: true }).is_empty());
    assert!(play.at(619, Event::Tick).is_empty());
    assert_eq!(play.at(620, Event::Tick), [Action::Sweep(Signal::TERM)]);
    assert!(play.at(920, Event::Swept { any: false }).is_empty());
    assert_eq!(play.at(5020, Event::Tick), [Action::Sweep(Signal::KILL)]);
    // The scan that sends SIGKILL takes a while. The wait after SIGKILL begins when the scan ends.
    assert!(play.at(5319, Event::Tick).is_empty());
    assert!(play.at(5320, Event::Swept { any: true }).is_empty());
    assert!(play.at(5519, Event::Tick).is_empty());
    assert_eq!(play.at(5519, Event::NothingLeft), [Action::Exit(137)]);
}

// holds: C197
#[test]
fn a_dependency_that_has_ended_for_good_fulfils_every_condition() {
    for condition in [StartCondition::Started, StartCondition::Ready, StartCondition::Completed] {
        let mut spec = gateway();
        let engine = &mut spec.processes[ENGINE.index()];
        (engine.on_exit, engine.required) = (OnExit::IGNORE, false);
        // The engine ends before it is ready.
        engine.readiness_timeout = Some(MS(3000));
        spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, condition)];
        let mut play = Play::started(spec);
        let mut started = play.at(0, Event::Spawned(ENGINE));
        started.extend(play.at(100, ended(ENGINE, End::Code(7))));
        assert_eq!(started, [Action::Spawn(ROUTER)], "{condition:?}");
    }
}

/// Stores without drains, each with the process on which it depends, and its `stop` in ms.
fn stops_of(of: &[(Option<ProcessId>, Option<u64>)]) -> Spec {
    let one = |&(on, stop): &(Option<ProcessId>, _)| ProcessSpec {
        dependencies: on.into_iter().map(|on| (on, StartCondition::Ready)).collect(),
        stop: Option::map(stop, MS),
        is_store: true,
        ..service()
    };
    of_processes(of.iter().map(one).collect())
}

/// A chain of three services without keys, of which the last depends on the second, and the second
/// on the first.
fn bare_chain() -> Spec {
    let below = [None, Some(ProcessId(0)), Some(ProcessId(1))];
    let mut spec = stops_of(&below.map(|on| (on, None)));
    spec.processes.iter_mut().for_each(|process| process.is_store = false);
    spec
}

// holds: S78, S892
#[test]
fn a_later_stop_that_declares_nothing_keeps_a_second_and_a_store_ten() {
    let web = ProcessId(2);
    let limit = |spec| {
        let notes = Play::up(spec).notes(0, TERM).into_iter();
        let mut limits = notes.filter_map(|note| match note {
            Note::Stopping { process, limit, .. } if process == web => Some(limit.as_millis()),
            _ => None,
        });
        limits.next()
    };
    assert_eq!(limit(bare_chain()), Some(26_000));
    // The store is the first of the chain, or the second.
    for store in [0, 1] {
        let mut spec = bare_chain();
        spec.processes[store].is_store = true;
        assert_eq!(limit(spec), Some(28_000 - 1000 - 9334), "{store}");
    }
    // Two stores share what is left of a short window.
    let mut spec = Spec { window: MS(9000), ..bare_chain() };
    spec.processes[..2].iter_mut().for_each(|process| process.is_store = true);
    assert_eq!(limit(spec), Some(3000));
}

// holds: S892, C1004
#[test]
fn a_store_keeps_the_same_from_a_drain_with_a_time_as_long_as_the_window() {
    let longest = |time| {
        let mut spec = idle_levels(2);
        (spec.processes[0].is_store, spec.processes[0].drain) = (true, None);
        (spec.processes[0].stop, spec.processes[1].stop) = (None, None);
        spec.processes[1].drain.as_mut().unwrap().time = time;
        let mut play = Play::up(spec);
        let all = play.all(0, TERM);
        all.iter().find_map(|action| match action {
            Action::Drain { longest, .. } => Some(*longest),
            _ => None,
        })
    };
    let unset = longest(None);
    assert!(unset < Some(MS(20_000)), "{unset:?}");
    for time in [28_000, 300_000] {
        assert_eq!(longest(Some(MS(time))), unset, "{time}");
    }
}

// holds: S891
#[test]
fn a_process_that_ignores_a_stop_signal_takes_only_a_share() {
    let web = ProcessId(2);
    for (ignores, at) in [(true, 9334), (false, 26_000)] {
        let mut play = Play::up(bare_chain());
        play.ignores = ignores;
        play.at(0, TERM);
        assert_eq!(play.at(at - 2, Event::Tick), [], "{ignores}");
        assert_eq!(play.at(at, Event::Tick), [Action::Kill(web)], "{ignores}");
    }
    // A process that nothing waits for has all of the time, although waiting cannot help.
    let mut play = Play::up(stops_of(&[(None, None)]));
    play.ignores = true;
    play.at(0, TERM);
    assert_eq!(play.at(27_999, Event::Tick), []);
}

/// A chain of services that are drained by the kernel's counts, with a default `min` and no `time`.
fn idle_levels(count: u16) -> Spec {
    let level = |id: u16| {
        let mut process = gateway().processes.remove(ROUTER.index());
        let on = id.checked_sub(1).map(|on| (ProcessId(on), StartCondition::Ready));
        process.dependencies = on.into_iter().collect();
        process.stop = None;
        process.drain =
            process.drain.map(|drain| DrainSpec { time: None, by_kernel: true, ..drain });
        process
    };
    of_processes((0..count).map(level).collect())
}

// holds: S890, C1003
#[test]
fn five_idle_levels_drain_as_quickly_as_a_single_level() {
    let idle = Load { active: Some(0), total: Some(1), ..Load::default() };
    let mut play = Play::up(idle_levels(5));
    play.at(0, TERM);
    let mut at = 0;
    let mut begun = Vec::new();
    for id in (0..5).rev().map(ProcessId) {
        begun.push(at);
        play.at(at, Event::DrainAnswered { process: id, accepted: true });
        // The first level waits for `min`, and each other level only for a quiet time.
        let quiet = at + 210;
        let until = if id.index() == 4 { 5000 } else { quiet };
        for sample in (at..=until).step_by(105) {
            play.at(sample, Event::DrainSample { process: id, load: idle });
        }
        play.at(until, Event::DrainSample { process: id, load: idle });
        play.at(until, Event::Tick);
        play.at(until + 5, Event::ListenersClosed(id));
        play.at(until + 5, Event::DrainSample { process: id, load: idle });
        at = until + 5;
    }
    let is_drained = |id| play.machine.state().drained_by(ProcessId(id)).is_none();
    assert!((0..5).all(is_drained), "the drains began at {begun:?}");
    assert!(at < 6500, "the drains began at {begun:?}, and were over at {at}");
}

// holds: S895, C1002
#[test]
fn a_drain_without_a_time_lasts_for_what_the_deadline_leaves() {
    let longest = |spec: Spec, event: Event| {
        let mut play = Play::up(spec);
        let all = play.all(0, event);
        all.iter().find_map(|action| match action {
            Action::Drain { min, longest, .. } => Some((min.as_millis(), longest.as_millis())),
            _ => None,
        })
    };
    let unset = |mut spec: Spec| {
        drain_in(&mut spec).time = None;
        spec
    };
    // Two declared stops of 5 s and the close come after it.
    assert_eq!(longest(unset(gateway()), TERM), Some((5000, 17_750)));
    assert_eq!(longest(unset(gateway()), Event::DrainRequested), Some((5000, 17_750)));
    // Each other level keeps a second for its drain, and a second for its stop.
    let counts = MS(250).as_millis();
    assert_eq!(longest(idle_levels(1), TERM), Some((5000, 27_000 - counts)));
    assert_eq!(longest(idle_levels(3), TERM), Some((5000, 28_000 - 3000 - 4 * counts)));
    // After an unexpected end, `min` is the longest wait, with or without `time`.
    let ended = |spec| longest(spec, exited(ENGINE));
    assert_eq!(ended(unset(gateway())), Some((5000, 5000)));
    assert_eq!(ended(gateway()), Some((5000, 5000)));
}

// holds: S893
#[test]
fn a_time_that_ends_a_drain_leaves_a_note_of_what_was_not_used() {
    let over = |window: u64, time: u64| {
        let mut spec = Spec { window: MS(window), ..gateway() };
        drain_in(&mut spec).time = Some(MS(time));
        let mut play = Play::up(spec);
        play.at(0, TERM);
        play.at(1, Event::DrainAnswered { process: ROUTER, accepted: true });
        play.at(time, Event::Tick);
        let notes = play.notes(time, Event::ListenersClosed(ROUTER)).into_iter();
        notes
            .filter_map(|note| match note {
                Note::DrainOver { why, time, unused, .. } => Some((why, time, unused)),
                _ => None,
            })
            .next()
    };
    // Two declared stops of 5 s and the close keep 10.25 s.
    let used = |left| Some((DrainEnd::TimeOver, DrainTime::Set(MS(15_000)), MS(left)));
    assert_eq!(over(118_000, 15_000), used(118_000 - 15_000 - 10_250));
    assert_eq!(over(28_000, 15_000), used(2750));
    assert_eq!(over(25_250, 15_000), used(0));
}

// holds: C1017
#[test]
fn a_drain_outside_a_shutdown_without_a_time_lasts_as_long_as_a_shutdown() {
    let over = |time: Option<Duration>, at: u64| {
        let mut spec = gateway();
        drain_in(&mut spec).time = time;
        let mut play = Play::up(spec);
        play.at(0, ask(ROUTER, Request::Stop));
        play.at(1, Event::DrainAnswered { process: ROUTER, accepted: true });
        assert!(play.at(at - 1, Event::Tick).is_empty(), "before its end");
        play.at(at, Event::Tick);
        let notes = play.notes(at, Event::ListenersClosed(ROUTER)).into_iter();
        notes
            .filter_map(|note| match note {
                Note::DrainOver { why, time, .. } => Some((why, time)),
                _ => None,
            })
            .next()
    };
    assert_eq!(over(None, 28_000), Some((DrainEnd::TimeOver, DrainTime::Unset)));
    let set = MS(15_000);
    assert_eq!(over(Some(set), 15_000), Some((DrainEnd::TimeOver, DrainTime::Set(set))));
}

// holds: C111, C112, C114, C117
#[test]
fn a_stop_signal_continues_a_held_drain() {
    let mut play = Play::up(gateway());
    assert_eq!(play.at(0, Event::DrainRequested), [Action::Unready, drain(15_000)]);
    assert_eq!(play.machine.state().drained_by(ROUTER), Some(Time(MS(15_000))));
    assert!(play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true }).is_empty());
    assert!(play.at(10, Event::DrainRequested).is_empty(), "requested again");
    assert_eq!(play.samples(50, 5000, 0), [(5000, Action::CloseListeners(ROUTER))]);
    play.at(5010, Event::ListenersClosed(ROUTER));
    assert_eq!(play.samples(5050, 5050, 0), [(5050, Action::EndDrain(ROUTER))], "no stop follows");
    assert_eq!(play.machine.next_wakeup(), None);
    // The kubelet's grace period began with the drain, 6 s ago. 22 s of the 28 s are left until the
    // deadline.
    let notes = play.notes(6000, TERM);
    let cause = Cause::Signal(Signal::TERM);
    assert_eq!(
        notes,
        [Note::ShutdownBegan { cause, window: MS(22_000), drained_for: Some(MS(6000)) }]
    );
    let actions = play.at(6010, Event::ListenersClosed(ROUTER));
    assert_eq!(actions, [Action::EndDrain(ROUTER), stop(ROUTER)]);
}

// holds: S46, S185, C641
#[test]
fn the_stop_waits_for_new_requests_as_long_as_a_drain() {
    let closed = Event::ListenersClosed(ROUTER);
    let open = |active| {
        let load = Load { active: Some(active), total: Some(9), unit: Unit::Requests, unsure: 0 };
        Event::DrainSample { process: ROUTER, load }
    };
    let again = |play: &mut Play, at| {
        assert!(play.at(at, open(1)).is_empty());
        assert_eq!(play.machine.state().drained_by(ROUTER), None, "no open request is known");
        assert!(play.at(at, closed).is_empty(), "the stop waits for the request");
        assert_eq!(play.machine.state().drained_by(ROUTER), Some(Time(MS(17_750))));
        assert_eq!(play.machine.next_wakeup(), Some(Time(MS(at + 100))));
        // A late second answer to this count does not answer the next count.
        play.at(at + 50, open(0));
        assert!(play.at(at + 50, closed).is_empty());
        assert_eq!(play.at(at + 100, Event::Tick), [Action::CloseListeners(ROUTER)]);
    };
    // The later steps need the last 10.25 s before the deadline.
    let is_over = [Action::EndDrain(ROUTER), stop(ROUTER)];
    // The stop waits until no request is open.
    let mut play = held(gateway());
    assert_eq!(play.at(6000, TERM), [Action::CloseListeners(ROUTER)]);
    again(&mut play, 6010);
    play.at(6120, open(0));
    assert_eq!(play.at(6120, closed), is_over);
    // The stop waits until its time is over. Then drainit counts for the last time.
    let mut play = held(gateway());
    play.at(10_000, TERM);
    play.at(10_010, open(1));
    assert!(play.notes(10_010, closed).iter().any(|note| matches!(
        note,
        Note::OpenAgain { process: ROUTER, longest, .. } if *longest == MS(7740)
    )));
    assert_eq!(play.at(10_110, Event::Tick), [Action::CloseListeners(ROUTER)]);
    play.at(17_640, open(1));
    play.at(17_640, closed);
    assert_eq!(play.at(17_750, Event::Tick), [Action::CloseListeners(ROUTER)]);
    play.at(17_760, open(1));
    assert_eq!(play.at(17_760, closed), is_over);
    // If the answer to the last count is lost, the stop waits until its time is over.
    let mut play = held(gateway());
    play.at(10_000, TERM);
    again(&mut play, 10_010);
    assert_eq!(play.at(17_750, Event::Tick), is_over);
    // Before each count of the open connections, drainit needs a sample, and the answer that the
    // listeners are closed. If this answer is lost, the next count needs a new sample.
    let mut play = held(gateway());
    play.at(6000, TERM);
    again(&mut play, 6010);
    play.at(6120, open(0));
    assert_eq!(play.at(6360, Event::Tick), [Action::CloseListeners(ROUTER)]);
    assert!(play.at(6370, closed).is_empty());
    // If the process ends during the wait, a note says that its end has cut the open request.
    let mut play = held(gateway());
    play.at(6000, TERM);
    play.at(6010, open(1));
    play.at(6010, closed);
    let notes = play.notes(6020, exited(ROUTER));
    assert!(notes.contains(&Note::EndedUndrained(ROUTER)));
    // The wait ends at a second stop signal, even during the pause between two counts.
    let mut play = held(gateway());
    play.at(6000, TERM);
    play.at(6010, open(1));
    play.at(6010, closed);
    assert_eq!(play.at(6020, INT), is_over);
    // If at most `exit_at` requests are open, the stop does not wait.
    let mut spec = gateway();
    drain_in(&mut spec).exit_at = 1;
    let mut play = held(spec);
    play.at(6000, TERM);
    play.at(6010, open(1));
    assert_eq!(play.at(6010, closed), is_over);
    // If the stop has another cause than a signal, it does not wait for the request.
    let mut play = held(gateway());
    play.at(6000, ended(ENGINE, End::Code(7)));
    play.at(6010, open(1));
    assert_eq!(play.at(6010, closed), is_over);
}

// holds: C112
#[test]
fn a_stop_after_a_held_drain_shortens_a_stop_that_began_in_the_drain() {
    let mut spec = plain();
    let router = &mut spec.processes[ROUTER.index()];
    router.hooks.pre_stop = Some(HookWait::new(Some(MS(15_000))));
    router.stop = Some(MS(20_000));
    spec.processes[ENGINE.index()].stop = Some(MS(10_000));
    let mut play = Play::up(spec);
    let hook = hook(Some(ROUTER), Stage::PreStop);
    assert_eq!(play.at(0, ask(ROUTER, Request::Stop)), [Action::RunHook(hook)]);
    play.at(1000, Event::DrainRequested);
    assert_eq!(play.at(3000, Event::HookEnded { hook, success: true }), [stop(ROUTER)]);
    assert_eq!(wakes_at(&play), 21_000, "the window begins anew while the drain is held");
    // The window began at 1 s, so 24 s are left, of which the engine keeps 10 s.
    play.at(5000, TERM);
    assert_eq!(wakes_at(&play), 19_000);
    assert_eq!(play.at(19_000, Event::Tick), [Action::Kill(ROUTER)]);
}

// holds: S78, S218
#[test]
fn an_end_on_another_path_takes_no_time_from_a_later_stop() {
    let [db, web, logs] = [0, 1, 2].map(ProcessId);
    let mut spec = stops_of(&[(None, None), (Some(db), None), (None, None), (Some(logs), None)]);
    spec.processes[web.index()].hooks.pre_stop = Some(HookWait::new(Some(MS(8000))));
    for end in [7000, 9000] {
        let mut play = Play::up(spec.clone());
        play.at(0, TERM);
        let earlier = (end < 8000).then(|| play.at(end, exited(logs)));
        play.at(8000, Event::Tick);
        earlier.unwrap_or_else(|| play.at(end, exited(logs)));
        assert_eq!(play.at(18_000, Event::Tick), [Action::Kill(web)], "{end}");
        let stopping = Note::Stopping { process: db, signal: Signal::TERM, limit: MS(10_000) };
        assert!(play.notes(18_000, exited(web)).contains(&stopping), "{end}");
    }
}

// holds: S78, S81
#[test]
fn a_stop_under_way_takes_no_time_from_the_shares_of_others() {
    let [db, app, log, side] = [0, 1, 2, 3].map(ProcessId);
    let asked = |process, limit| Note::Stopping { process, signal: Signal::TERM, limit: MS(limit) };
    // A restart has begun 1 s before, and its process hangs. Its dependency keeps half.
    let mut play =
        Play::up(Spec { window: MS(10_000), ..stops_of(&[(None, None), (Some(db), None)]) });
    play.at(0, ask(app, Request::Restart));
    play.at(1000, TERM);
    assert_eq!(play.at(6000, Event::Tick), [Action::Kill(app)]);
    // The dependency hangs in a restart, or its hook runs: it keeps no time from a dependent that
    // still runs.
    let wait = Some(HookWait::new(Some(MS(20_000))));
    for (of_db, (pre_stop, post_stop), event) in [
        (None, (None, None), ask(db, Request::Restart)),
        (Some(20_000), (wait, None), ask(db, Request::Restart)),
        (None, (None, wait), exited(db)),
    ] {
        let mut spec = stops_of(&[(None, of_db), (Some(db), Some(27_000))]);
        let router = &mut spec.processes[db.index()];
        router.hooks = HookWaits { pre_start: None, pre_stop, post_stop };
        router.restart = Restart { policy: RestartPolicy::Always, delay: MS(10_000), max: None };
        let mut play = Play::up(spec);
        play.at(0, event);
        assert!(play.notes(5000, TERM).contains(&asked(app, 27_000)), "{event:?}");
    }
    // Each path counts its own stops.
    let stops = [(None, None), (Some(db), None), (Some(db), Some(12_000))];
    assert!(Play::up(stops_of(&stops)).notes(0, TERM).contains(&asked(app, 18_000)));
    // The share of the path on which it is the shortest: 28 s for four stops, and 8 s for one.
    let all = [stops[0], stops[1], (Some(app), None), (Some(log), None), (Some(db), Some(20_000))];
    assert!(Play::up(stops_of(&all)).notes(0, TERM).contains(&asked(side, 7000)));
    // The longest excess is shared by the most stops, although no single path has both.
    let ten = |on| (Some(ProcessId(on)), Some(10_000));
    let all = [stops[0], ten(0), ten(1), ten(2), ten(3), (Some(db), Some(41_000))];
    assert!(Play::up(stops_of(&all)).notes(0, TERM).contains(&asked(ProcessId(5), 22_400)));
    // A longer path does not lead through the restart.
    let [next, last] = [(Some(app), None), (Some(side), Some(12_000))];
    let mut play = Play::up(stops_of(&[stops[0], stops[2], next, (Some(log), None), last]));
    play.at(0, ask(db, Request::Restart));
    assert!(play.notes(5000, TERM).contains(&asked(ProcessId(4), 12_000)));
    // A hook without a time leaves the written stop after it its time, although a stop ends early.
    let [stop, more] = [(Some(log), Some(5000)), (Some(ProcessId(4)), Some(12_000))];
    let mut spec = stops_of(&[stops[0], stops[1], stops[1], stop, next, more]);
    spec.processes[side.index()].hooks.pre_stop = Some(HookWait::DEFAULT);
    let mut play = Play::up(spec);
    play.at(0, ask(app, Request::Restart));
    play.at(2000, TERM);
    play.at(5000, exited(ProcessId(5)));
    let over = Event::HookEnded { hook: hook(Some(side), Stage::PreStop), success: true };
    assert!(play.notes(8000, over).contains(&asked(side, 5000)));
    // The line before SIGKILL names the process that keeps the time, and not the one under way.
    let mut play = Play::up(stops_of(&[(None, None), (Some(db), None), (Some(app), None)]));
    play.at(0, ask(app, Request::Restart));
    play.at(5000, TERM);
    let why = StopLimit::Kept { by: Some(db), time: MS(10_000), is_declared: false };
    let killed = Note::Killed { process: log, after: Some(MS(18_000)), why };
    assert!(play.notes(23_000, Event::Tick).contains(&killed));
    // An end on another path does not divide the excess again.
    let stops = [(None, None), (Some(db), Some(60_000)), (None, None), (Some(log), Some(20_000))];
    let mut play = Play::up(stops_of(&stops));
    play.at(0, TERM);
    play.at(17_000, exited(side));
    assert_eq!(play.at(18_000, Event::Tick), [Action::Kill(app)]);
}

// holds: S81
#[test]
fn the_excess_of_declared_stops_that_are_over_keeps_no_time() {
    let [db, app, job] = [0, 1, 2].map(ProcessId);
    // The job ends at once. Without it, the stop of the app fits into the window of 28 s.
    for (stop, of_job, on) in [(25_000, 3_600_000, db), (20_000, 40_000, app)] {
        let stops = [(None, None), (Some(db), Some(stop)), (Some(on), Some(of_job))];
        let mut play = Play::up(stops_of(&stops));
        play.at(0, TERM);
        play.at(0, exited(job));
        assert_eq!(play.at(stop - 1, Event::Tick), []);
        assert_eq!(play.at(stop, Event::Tick), [Action::Kill(app)]);
    }
}

// holds: C112
#[test]
fn a_second_signal_after_the_late_stop_of_a_held_drain_cuts_only_waits() {
    let mut spec = gateway();
    spec.hooks.pre_stop = Some(HookWait::new(Some(MS(10_000))));
    let mut play = held(spec);
    let hook = hook(None, Stage::PreStop);
    // The window of the drain is over, so the shutdown has a new window.
    assert!(play.at(40_000, TERM).contains(&Action::RunHook(hook)));
    let actions = play.at(41_000, INT);
    assert_eq!(actions, [Action::AbortHook(hook), stop(ROUTER)]);
    assert_eq!(wakes_at(&play), 46_000);
    assert_eq!(play.at(42_000, exited(ROUTER)), [stop(ENGINE)]);
    assert_eq!(wakes_at(&play), 47_000);
}

/// A gateway whose drain was requested without a stop, and is over at 5.05 s.
fn held(spec: Spec) -> Play {
    let mut play = Play::up(spec);
    play.at(0, Event::DrainRequested);
    play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
    play.samples(50, 5000, 0);
    play.at(5010, Event::ListenersClosed(ROUTER));
    assert_eq!(play.samples(5050, 5050, 0), [(5050, Action::EndDrain(ROUTER))]);
    play
}

// holds: S506
#[test]
fn a_stop_long_after_a_drain_waits_anew_unless_the_time_of_the_drain_is_used_up() {
    let closed = Event::ListenersClosed(ROUTER);
    let open = |active| {
        let load = Load { active: Some(active), total: Some(9), ..Load::default() };
        Event::DrainSample { process: ROUTER, load }
    };
    let is_over = [Action::EndDrain(ROUTER), stop(ROUTER)];
    let used_up = || {
        let mut play = Play::up(gateway());
        play.at(0, Event::DrainRequested);
        play.at(5, Event::DrainAnswered { process: ROUTER, accepted: true });
        play.at(14_990, open(1));
        play.at(15_000, Event::Tick);
        assert_eq!(play.at(15_010, closed), [Action::EndDrain(ROUTER)]);
        play
    };
    for (mut play, at, waits) in [
        (held(gateway()), 9000, Some(17_750)),
        (used_up(), 16_000, None),
        (held(gateway()), 16_000, Some(31_000)),
        (held(gateway()), 90_000, Some(105_000)),
        (used_up(), 90_000, Some(105_000)),
    ] {
        assert_eq!(play.at(at, TERM), [Action::CloseListeners(ROUTER)], "{at}");
        play.at(at + 10, open(1));
        let actions = play.at(at + 10, closed);
        let drained_by = play.machine.state().drained_by(ROUTER);
        assert_eq!(drained_by, waits.map(|at| Time(MS(at))), "{at}");
        if waits.is_none() {
            assert_eq!(actions, is_over, "{at}");
            continue;
        }
        assert_eq!(play.at(at + 110, Event::Tick), [Action::CloseListeners(ROUTER)]);
        play.at(at + 120, open(0));
        assert_eq!(play.at(at + 120, closed), is_over, "{at}");
    }
    // If the end of a process causes the stop, no stop waits.
    let mut play = held(gateway());
    play.at(90_000, ended(ENGINE, End::Code(7)));
    play.at(90_010, open(1));
    assert_eq!(play.at(90_010, closed), is_over);
}

// holds: S62, S63, S74, S925, C82, C501
#[test]
fn processes_are_reaped_after_a_pause_beyond_the_deadline() {
    let mut play = Play::up(gateway());
    play.at(0, TERM);
    // drainit was suspended until after the deadline, before it could ask anybody to end.
    let stops = [ENGINE, ROUTER].map(|process| Action::Stop { process, signal: Signal::TERM });
    let mut actions = play.at(90_000, Event::Tick);
    assert_eq!(actions.remove(0), Action::EndDrain(ROUTER));
    actions.sort_by_key(|action| *action == stops[1]);
    assert_eq!(actions, stops);
    assert!(play.at(90_010, exited(ENGINE)).is_empty());
    assert_eq!(play.at(91_000, Event::Tick), [Action::Kill(ROUTER)]);
    assert_eq!(play.at(91_020, killed(ROUTER)), [Action::Sweep(Signal::KILL)]);
    assert_eq!(play.at(91_020, Event::NothingLeft), [Action::Exit(137)]);
    // drainit does not wait for a process that survives SIGKILL.
    for (deadline, gives_up) in [(28_000, 28_500), (90_000, 91_200)] {
        let mut play = Play::up(gateway());
        play.at(0, TERM);
        play.at(15_000.min(deadline - 1), Event::Tick);
        play.at(deadline, Event::Tick);
        if deadline == 90_000 {
            play.at(91_000, Event::Tick);
        }
        assert_eq!(play.machine.next_wakeup(), Some(Time(MS(gives_up))));
        assert!(play.notes(gives_up, Event::Tick).contains(&Note::Unkillable(ROUTER)));
    }
}

/// A gateway whose drain was requested without a stop, and whose router drains at SIGQUIT.
fn drained_by_quit() -> Play {
    let mut spec = gateway();
    let drain = drain_in(&mut spec);
    (drain.min, drain.closes, drain.signal) = (MS(0), false, Some(Signal::QUIT));
    let mut play = Play::up(spec);
    play.at(0, Event::DrainRequested);
    play.at(1, Event::DrainAnswered { process: ROUTER, accepted: true });
    play
}

// holds: C398, C399, C612
#[test]
fn an_end_that_answers_a_drain_stops_nothing() {
    for (millis, end) in [
        (2000, End::Code(0)),
        (2000, End::Signal(Signal::QUIT)),
        (2000, End::Code(131)),
        // This end comes after the `time` of the drain is over.
        (20_000, End::Code(0)),
    ] {
        let mut play = drained_by_quit();
        play.at(15_000.min(millis - 1), Event::Tick);
        let notes = play.notes(millis, ended(ROUTER, end));
        let took = Some(MS(millis));
        assert_eq!(
            notes[0],
            Note::Stopped { process: ROUTER, end, took, killed: false, handed_over: false }
        );
        assert_eq!(play.machine.next_wakeup(), None, "nothing is being stopped");
        assert_eq!(play.at(21_000, TERM), [stop(ENGINE)]);
        play.at(21_100, exited(ENGINE));
        assert_eq!(play.at(21_100, Event::NothingLeft), [Action::Exit(0)]);
    }
}

// holds: C119
#[test]
fn any_other_end_during_a_held_drain_begins_the_stop() {
    for (end, code) in [
        (End::Code(7), 7),
        (End::Signal(Signal::KILL), 137),
        (End::OutOfMemory(Duration::ZERO), 137),
    ] {
        let mut play = drained_by_quit();
        let actions = play.at(2000, ended(ROUTER, end));
        assert_eq!(actions, [Action::EndDrain(ROUTER), stop(ENGINE)]);
        play.at(2100, exited(ENGINE));
        assert_eq!(play.at(2100, Event::NothingLeft), [Action::Exit(code)]);
    }
}

// holds: C514
#[test]
fn a_held_drain_ends_with_the_last_process() {
    let mut spec = gateway();
    spec.processes.iter_mut().for_each(|process| process.on_exit = OnExit::IGNORE);
    let mut play = held(spec);
    assert_eq!(play.at(6000, exited(ROUTER)), []);
    let notes = play.notes(6100, exited(ENGINE));
    let began = |note: &Note| matches!(note, Note::ShutdownBegan { cause: Cause::AllEnded, .. });
    assert!(notes.iter().any(began), "{notes:?}");
}

// holds: S240
#[test]
fn a_stop_lasts_until_the_process_group_is_gone() {
    let leaves = Event::Exited { process: ROUTER, end: End::Code(0), remains: true };
    // If the process has ended by itself, drainit asked the rest of its group to stop at that
    // moment.
    for (is_asked, took) in [(true, MS(3000)), (false, MS(2990))] {
        let mut play = Play::up(plain());
        if is_asked {
            play.at(0, TERM);
        }
        play.at(10, leaves);
        let notes = play.notes(3000, Event::GroupGone(ROUTER));
        assert_eq!(notes[0], Note::GroupGone { process: ROUTER, took: Some(took) });
    }
}

// holds: S340
#[test]
fn a_kill_of_the_rest_of_a_group_has_the_time_since_the_stop_signal() {
    for is_asked in [true, false] {
        let mut play = Play::up(plain());
        if is_asked {
            play.at(0, TERM);
        }
        play.at(10, Event::Exited { process: ROUTER, end: End::Code(0), remains: true });
        let (at, after) = if is_asked { (10000, MS(10000)) } else { (5010, MS(5000)) };
        let why = StopLimit::Own { is_declared: true };
        let notes = play.notes(at, Event::Tick);
        assert!(
            notes.contains(&Note::Killed { process: ROUTER, after: Some(after), why }),
            "{notes:?}"
        );
    }
}

// holds: S720
#[test]
fn a_restart_waits_for_the_rest_of_the_group_whose_orphans_are_asked_first() {
    let mut spec = gateway();
    let restart = Restart { policy: RestartPolicy::Always, delay: MS(100), max: None };
    spec.processes[ROUTER.index()].restart = restart;
    let crash = Event::Exited { process: ROUTER, end: End::Code(3), remains: true };
    let orphans = Action::StopOrphans { process: ROUTER, signal: Signal::TERM };
    let group = Action::StopGroup { process: ROUTER, signal: Signal::TERM };
    for is_killed in [false, true] {
        let mut play = Play::up(spec.clone());
        assert_eq!(play.at(0, crash), std::slice::from_ref(&orphans));
        if is_killed {
            assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
            assert_eq!(play.at(5000, Event::OrphansGone(ROUTER)), []);
        } else {
            let rest = play.at(100, Event::OrphansGone(ROUTER));
            assert_eq!(rest, std::slice::from_ref(&group));
        }
        assert_eq!(play.at(5001, Event::GroupGone(ROUTER)), []);
        assert_eq!(play.at(5101, Event::Tick), [Action::Spawn(ROUTER)]);
    }
}

// holds: S77
#[test]
fn an_unexpected_end_leaves_the_rest_ten_seconds_at_most_if_nobody_says_otherwise() {
    let crash = Event::Exited { process: ROUTER, end: End::Code(3), remains: true };
    let ended_by_itself = |window, stop, has_leftovers| {
        let mut spec = plain();
        spec.window = MS(window);
        let router = &mut spec.processes[ROUTER.index()];
        router.restart = Restart { policy: RestartPolicy::Always, delay: MS(100), max: None };
        (router.stop, router.ends_leftovers) = (stop, has_leftovers);
        Play::up(spec)
    };
    for (window, stop, limit) in [
        (28_000, None, 10_000),
        (6000, None, 6000),
        (28_000, Some(MS(5000)), 5000),
        (28_000, Some(MS(20_000)), 20_000),
    ] {
        // The rest of its process group.
        let mut play = ended_by_itself(window, stop, false);
        play.at(1000, crash);
        assert_eq!(wakes_at(&play), 1000 + limit, "{window} {stop:?}");
        // Its leftovers, which a restart finds.
        let mut play = ended_by_itself(window, stop, true);
        play.at(1000, ended(ROUTER, End::Code(3)));
        play.at(1100, Event::Tick);
        play.at(1200, Event::Leftovers { process: ROUTER, any: true });
        assert_eq!(wakes_at(&play), 1200 + limit, "{window} {stop:?}");
    }
}

// holds: S900, S901, S904
#[test]
fn a_restart_waits_for_the_leftovers_of_the_earlier_instance() {
    let asked = |signal| Action::EndLeftovers { process: ROUTER, signal };
    let left = |any| Event::Leftovers { process: ROUTER, any };
    let crashed = || {
        let mut spec = plain();
        let router = &mut spec.processes[ROUTER.index()];
        router.restart = Restart { policy: RestartPolicy::Always, delay: MS(100), max: None };
        router.ends_leftovers = true;
        let mut play = Play::up(spec);
        play.at(1000, ended(ROUTER, End::Code(3)));
        assert_eq!(play.at(1100, Event::Tick), [asked(Signal::TERM)]);
        play
    };
    let spawn = [Action::Spawn(ROUTER)];
    assert_eq!(crashed().at(1101, left(false)), spawn);
    // A search that does not end.
    let mut play = crashed();
    assert_eq!(play.at(6099, Event::Tick), []);
    assert_eq!(play.at(6100, Event::Tick), spawn);
    // They obey the stop signal.
    let mut play = crashed();
    assert_eq!(play.at(1101, left(true)), []);
    assert_eq!(play.at(1500, left(true)), []);
    assert_eq!(play.at(2000, left(false)), spawn);
    // They obey only SIGKILL, or not even SIGKILL.
    for obeys in [true, false] {
        let mut play = crashed();
        play.at(1101, left(true));
        assert_eq!(wakes_at(&play), 6101, "stop_grace_period");
        assert_eq!(play.at(6101, Event::Tick), [asked(Signal::KILL)]);
        assert_eq!(play.at(6102, left(true)), []);
        let (at, event) = if obeys { (6103, left(false)) } else { (11_101, Event::Tick) };
        assert_eq!(play.at(at, event), spawn);
    }
    // A stop signal does not wait for them.
    let mut play = crashed();
    play.at(1101, left(true));
    assert_eq!(play.at(1200, TERM), [Action::Unready, stop(ENGINE)]);
    assert_eq!(play.at(1201, left(false)), []);
}

// holds: C96, C153, C170, C344, C345, C346, C355, C523
#[test]
fn a_failed_process_blocks_readiness_only_if_required() {
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
        (router.on_exit, router.required, router.restart) = (OnExit::IGNORE, required, restart);
        router.success_codes = vec![0, 3];
        let mut play = Play::up(spec);
        let end = End::Code(code);
        assert_eq!(
            play.notes(50, ended(ROUTER, end)),
            [Note::Ended { process: ROUTER, end, next }]
        );
        assert_eq!(is_ready(&play), ready);
    }
}

pub(super) fn ask(process: ProcessId, request: Request) -> Event {
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

pub(super) fn is_ready(play: &Play) -> bool {
    let Phase::Running(running) = play.machine.phase() else { panic!("the container continues") };
    running.is_ready(play.machine.state())
}

/// A gateway whose router and engine were stopped, in this order, because of a request to stop the
/// engine.
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

// holds: C206
#[test]
fn a_stopped_process_stays_down_while_the_container_continues() {
    let mut play = stopped();
    assert_eq!(play.machine.next_wakeup(), None);
    for process in [ENGINE, ROUTER] {
        let life = play.machine.state().life(process);
        assert_eq!(life, Lifecycle::Stopped { failed: false });
    }
    assert!(!is_ready(&play), "both are required");
    let again = [began(ENGINE, Request::Stop), done(ENGINE, Request::Stop)];
    assert_eq!(play.notes(7000, ask(ENGINE, Request::Stop)), again);
    assert_eq!(play.machine.state()[ProcessId(0)].restarts.count, 0);
    // All processes have ended, so the shutdown stops no process.
    let signal = play.at(8000, TERM);
    assert_eq!(signal, [Action::Unready, Action::Sweep(Signal::TERM)]);
    assert_eq!(play.at(8000, Event::NothingLeft), [Action::Exit(0)]);
}

/// A gateway whose router has `autostart: false`, so that only an operator's request starts it.
fn by_request() -> Spec {
    let mut spec = gateway();
    let router = &mut spec.processes[ROUTER.index()];
    (router.autostart, router.required) = (false, false);
    spec
}

// holds: C685
#[test]
fn a_changed_autostart_takes_effect_at_the_reload() {
    let mut play = Play::up(plain());
    let mut spec = by_request();
    spec.processes[ROUTER.index()].required = false;
    let same = [Placed::Same(ENGINE), Placed::Same(ROUTER)];
    assert_eq!(play.reload(1000, &spec, &same), []);
    play.at(1100, ask(ROUTER, Request::Stop));
    assert!(is_ready(&play), "the router does not count for readiness");
    // The next config has no `autostart: false`. From that reload on, the router again counts for
    // the readiness of the container.
    let before = plain();
    play.at(1200, exited(ROUTER));
    assert_eq!(play.reload(1300, &before, &same), []);
    play.at(1400, ask(ROUTER, Request::Start));
    play.at(1400, Event::Spawned(ROUTER));
    play.at(1500, ask(ROUTER, Request::Stop));
    assert!(!is_ready(&play), "the router is being stopped");
}

// holds: C207, C331
#[test]
fn a_restart_leaves_dependents_alone_and_is_not_counted() {
    let mut play = Play::up(plain());
    assert_eq!(play.at(1000, ask(ENGINE, Request::Restart)), [stop(ENGINE)]);
    // If the process crashes during its restart, it is started again, as after a clean end.
    assert_eq!(play.at(1100, ended(ENGINE, End::Code(7))), [Action::Spawn(ENGINE)]);
    let notes = play.notes(1100, Event::Spawned(ENGINE));
    assert_eq!(notes, [Note::Started(ENGINE), done(ENGINE, Request::Restart)]);
    assert_eq!(play.machine.state()[ProcessId(0)].restarts.count, 0);
    // A process that ignores its stop signal is killed, as in a shutdown, and then started again.
    play.at(2000, ask(ENGINE, Request::Restart));
    assert!(play.at(6999, Event::Tick).is_empty());
    assert_eq!(play.at(7000, Event::Tick), [Action::Kill(ENGINE)]);
    assert_eq!(play.at(7001, exited(ENGINE)), [Action::Spawn(ENGINE)]);
}

fn extended(process: ProcessId, by: u64) -> Event {
    Event::TimeoutExtended { process, by: MS(by) }
}

// holds: C252, C253, C254, C255
#[test]
fn more_time_is_granted_as_far_as_the_later_stops_allow() {
    let mut play = Play::up(plain());
    assert_eq!(play.at(0, TERM), [Action::Unready, stop(ROUTER)]);
    let longer = |limit| Note::TimeoutExtended { process: ROUTER, limit: MS(limit) };
    assert_eq!(play.notes(1000, extended(ROUTER, 2000)), [], "4 s are left already");
    assert_eq!(play.notes(4000, extended(ROUTER, 10_000)), [longer(10_000)]);
    assert_eq!(play.machine.next_wakeup(), Some(Time(MS(14_000))));
    assert_eq!(
        play.notes(4500, extended(ROUTER, 10_000)),
        [],
        "the last note is less than 1 s old"
    );
    assert_eq!(play.machine.next_wakeup(), Some(Time(MS(14_500))));
    // The deadline is at 28 s. The engine needs the last 5 s, so the router can run until 23 s.
    assert_eq!(play.notes(13_000, extended(ROUTER, 60_000)), [longer(10_000)]);
    assert!(play.at(22_999, Event::Tick).is_empty());
    assert_eq!(play.at(23_000, Event::Tick), [Action::Kill(ROUTER)]);
    assert_eq!(play.notes(23_001, extended(ROUTER, 60_000)), []);
    let stopped = Note::Stopping { process: ENGINE, signal: Signal::TERM, limit: MS(4998) };
    assert!(play.notes(23_002, exited(ROUTER)).contains(&stopped));
}

/// A gateway whose engine is a oneshot with a `timeout` of 1 s, and whose router waits for the
/// oneshot.
fn slow_task(keys: impl Fn(&mut ProcessSpec)) -> Play {
    let mut spec = gateway();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.oneshot, engine.timeout) = (true, Some(MS(1000)));
    engine.stop = Some(MS(200));
    keys(engine);
    spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, StartCondition::Completed)];
    let mut play = Play::new(spec);
    assert_eq!(play.at(0, Event::Start), [Action::Spawn(ENGINE)]);
    assert_eq!(play.at(0, Event::Spawned(ENGINE)), []);
    assert_eq!(play.at(999, Event::Tick), []);
    play
}

// holds: C154, C481
#[test]
fn a_oneshot_that_takes_too_long_is_stopped_and_has_failed() {
    let stop = Action::Stop { process: ENGINE, signal: Signal::TERM };
    let gone = |code| ended(ENGINE, End::Code(code));
    let why = Failure::TimedOut { after: MS(1000) };
    // If the oneshot ends with code 0 just after its `timeout`, it has failed all the same.
    let mut play = slow_task(|_| {});
    assert_eq!(play.at(1000, Event::Tick), std::slice::from_ref(&stop));
    let notes = play.notes(1050, gone(0));
    let failed = Note::Failed { process: ENGINE, why, next: AfterEnd::Shutdown };
    assert!(notes.contains(&failed), "{notes:?}");
    let cause = Cause::Failed { process: ENGINE, why };
    assert!(
        notes.contains(&Note::ShutdownBegan { cause, window: MS(28_000), drained_for: None }),
        "{notes:?}"
    );
    assert_eq!(cause.exit_code(false), 1);

    // drainit kills the oneshot, and starts it again because of its restart policy. The router
    // starts once the oneshot completes.
    let mut play = slow_task(|engine| engine.restart.policy = RestartPolicy::OnFailure);
    assert_eq!(play.at(1000, Event::Tick), std::slice::from_ref(&stop));
    assert_eq!(play.at(1200, Event::Tick), [Action::Kill(ENGINE)]);
    assert_eq!(play.at(1201, killed(ENGINE)), []);
    assert_eq!(play.at(2201, Event::Tick), [Action::Spawn(ENGINE)]);
    play.at(2201, Event::Spawned(ENGINE));
    assert_eq!(play.at(2300, gone(0)), [Action::Spawn(ROUTER)]);

    // With `on_exit: ignore` the container continues after the failure, but is not ready.
    let mut play = slow_task(|engine| engine.on_exit = OnExit::IGNORE);
    assert_eq!(play.at(1000, Event::Tick), [stop]);
    assert_eq!(play.at(1050, gone(0)), [Action::Spawn(ROUTER)]);
    play.at(1050, Event::Spawned(ROUTER));
    assert!(!is_ready(&play));
}

// holds: C782
#[test]
fn a_failed_start_of_a_required_process_stops_the_container_whatever_on_exit_says() {
    let mut spec = gateway();
    let engine = &mut spec.processes[ENGINE.index()];
    (engine.required, engine.on_exit) = (true, OnExit::IGNORE);
    engine.readiness_timeout = Some(MS(1000));
    engine.hooks.pre_start = Some(HookWait::DEFAULT);
    let hook = HookId { process: Some(ENGINE), stage: Stage::PreStart };
    let hook_ended = |success| Event::HookEnded { hook, success };
    let exit_code = 127;
    for (events, why) in [
        (vec![(1, hook_ended(false))], Failure::Hook),
        (
            vec![(1, hook_ended(true)), (1, Event::SpawnFailed { process: ENGINE, exit_code })],
            Failure::Spawn { exit_code },
        ),
        (
            vec![(1, hook_ended(true)), (1, Event::Spawned(ENGINE)), (1001, Event::Tick)],
            Failure::NotReady { after: MS(1000) },
        ),
    ] {
        let mut play = Play::started(spec.clone());
        let told: Vec<_> =
            events.into_iter().flat_map(|(at, event)| play.notes(at, event)).collect();
        let cause = Cause::Failed { process: ENGINE, why };
        let begins =
            |note: &Note| matches!(note, Note::ShutdownBegan { cause: of, .. } if *of == cause);
        assert!(told.iter().any(begins), "{told:?}");
    }
}

// holds: S1, C220, C350, C351
#[test]
fn the_container_continues_without_a_process_that_may_be_missing() {
    let optional = |restart: RestartPolicy| {
        let mut spec = gateway();
        let engine = &mut spec.processes[ENGINE.index()];
        (engine.required, engine.on_exit) = (false, OnExit::IGNORE);
        engine.restart = Restart { policy: restart, delay: MS(100), max: None };
        spec
    };
    let failed = |why, next| Note::Failed { process: ENGINE, why, next };
    let spawn_failed = Event::SpawnFailed { process: ENGINE, exit_code: 127 };

    // The command of the engine does not exist, but the router starts.
    let mut missing = Play::started(optional(RestartPolicy::No));
    assert_eq!(missing.at(1, spawn_failed), [Action::Spawn(ROUTER)]);
    assert!(missing.notes(2, Event::Spawned(ROUTER)).contains(&Note::AllReady));

    // The start of the engine fails and is tried again.
    let mut missing = Play::started(optional(RestartPolicy::OnFailure));
    let next = AfterEnd::Restart { delay: MS(100), attempt: 1 };
    assert_eq!(missing.notes(1, spawn_failed), [failed(Failure::Spawn { exit_code: 127 }, next)]);
    assert_eq!(missing.at(101, Event::Tick), [Action::Spawn(ENGINE)]);
    assert_eq!(missing.at(101, Event::Spawned(ENGINE)), [Action::Spawn(ROUTER)]);

    // The `pre_start` hook of the engine fails.
    let mut spec = optional(RestartPolicy::No);
    spec.processes[ENGINE.index()].hooks.pre_start = Some(HookWait::DEFAULT);
    let mut hook = Play::started(spec);
    let id = HookId { process: Some(ENGINE), stage: Stage::PreStart };
    assert_eq!(hook.at(1, Event::HookEnded { hook: id, success: false }), [Action::Spawn(ROUTER)]);

    // The values of the engine's variables cannot be read, so its hook does not run.
    let mut spec = optional(RestartPolicy::No);
    spec.processes[ENGINE.index()].hooks.pre_start = Some(HookWait::DEFAULT);
    let mut values = Play::started(spec.clone());
    let failed = Event::SpawnFailed { process: ENGINE, exit_code: 1 };
    assert_eq!(values.at(1, failed), [Action::AbortHook(id), Action::Spawn(ROUTER)]);
    spec.processes[ENGINE.index()].required = true;
    spec.processes[ENGINE.index()].on_exit = OnExit::SHUTDOWN;
    let mut values = Play::started(spec);
    let cause = Cause::Failed { process: ENGINE, why: Failure::Spawn { exit_code: 1 } };
    let window = gateway().window;
    assert_eq!(values.notes(1, failed), [Note::ShutdownBegan { cause, window, drained_for: None }]);

    // The engine is not ready in time, so drainit stops it.
    let mut spec = optional(RestartPolicy::No);
    spec.processes[ENGINE.index()].readiness_timeout = Some(MS(1000));
    let mut slow = Play::started(spec);
    slow.at(0, Event::Spawned(ENGINE));
    let stop = Action::Stop { process: ENGINE, signal: Signal::TERM };
    assert_eq!(slow.at(1000, Event::Tick), [stop]);
    assert_eq!(slow.at(1001, ended(ENGINE, End::Signal(Signal::TERM))), [Action::Spawn(ROUTER)]);
}

/// Processes without drains that have all started. `of` has an element for each process: the
/// dependencies that this process follows. A process whose index is in `slow` has a readiness
/// probe.
pub(super) fn followers(of: &[&[u16]], slow: &[u16]) -> Play {
    let mut one = service();
    one.restart.policy = RestartPolicy::Always;
    let mut spec = of_processes(vec![one; of.len()]);
    for (id, needs) in spec.order.clone().into_iter().zip(of) {
        let needs = needs.iter().map(|on| ProcessId(*on));
        let process = &mut spec.processes[id.index()];
        process.dependencies = needs.clone().map(|on| (on, StartCondition::Ready)).collect();
        process.readiness_timeout = slow.contains(&id.0).then_some(MS(3000));
        process.follows = needs.collect();
    }
    let all = spec.order.clone();
    let mut play = Play::started(spec);
    for id in all {
        play.at(0, Event::Spawned(id));
        play.at(0, Event::Ready(id));
    }
    assert!(is_ready(&play));
    play
}

pub(super) const APP: ProcessId = ProcessId(1);
pub(super) const WEB: ProcessId = ProcessId(2);

#[test]
fn a_failed_start_fails_a_request_for_a_dependent_of_a_dependent() {
    let mut one = service();
    (one.required, one.on_exit) = (false, OnExit::IGNORE);
    let mut spec = of_processes(vec![one; 4]);
    let top = ProcessId(3);
    for (process, needs) in [(WEB, &[ENGINE, APP][..]), (top, &[WEB])] {
        let needs = needs.iter().map(|on| (*on, StartCondition::Ready));
        spec.processes[process.index()].dependencies = needs.collect();
    }
    spec.processes[APP.index()].readiness_timeout = Some(MS(3000));
    let mut play = Play::started(spec);
    play.at(0, Event::Spawned(APP));
    let spawn_failed = Event::SpawnFailed { process: ENGINE, exit_code: 127 };
    play.at(0, spawn_failed);
    // `WEB` waits only for `APP`, because the container may continue without `ENGINE`. After a
    // request to start `ENGINE`, `WEB` waits for both.
    play.at(100, ask(top, Request::Start));
    assert_eq!(play.at(200, ask(ENGINE, Request::Start)), [Action::Spawn(ENGINE)]);
    let notes = play.notes(300, spawn_failed);
    let why = RequestError::Failed { process: ENGINE, why: Failure::Spawn { exit_code: 127 } };
    for process in [ENGINE, top] {
        assert!(notes.contains(&failed(process, Request::Start, why)), "{notes:?}");
    }
}

// holds: C205
#[test]
fn a_request_for_what_is_about_to_be_restarted_needs_no_second_restart() {
    let mut play = followers(&[&[], &[0], &[]], &[]);
    play.at(1000, ask(ENGINE, Request::Restart));
    play.at(1100, exited(ENGINE));
    assert_eq!(play.at(1100, Event::Spawned(ENGINE)), [stop(APP)]);
    assert_eq!(play.notes(1200, ask(APP, Request::Restart)), [began(APP, Request::Restart)]);
    assert_eq!(play.at(1300, exited(APP)), [Action::Spawn(APP)]);
    let notes = play.notes(1300, Event::Spawned(APP));
    assert!(notes.contains(&done(APP, Request::Restart)), "{notes:?}");
}

fn hook(process: Option<ProcessId>, stage: Stage) -> HookId {
    HookId { process, stage }
}

// holds: S38
#[test]
fn the_reason_why_a_drain_is_over_is_noted() {
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
    assert_eq!(why(25_250, &at_time(15_000)), DrainEnd::TimeOver, "just enough");
    assert_eq!(why(24_250, &at_time(14_000)), DrainEnd::Deadline);
    let refused = [(0, TERM), answered(false), (5000, Event::Tick)];
    assert_eq!(why(28_000, &refused), DrainEnd::NotAccepted);
    // A stop signal during a drain without a stop does not shorten that drain.
    let held = |window: u64, over| {
        let drain = (0, Event::DrainRequested);
        why(window, &[drain, answered(true), (10, TERM), (over, Event::Tick), (over + 10, closed)])
    };
    assert_eq!(held(28_000, 15_000), DrainEnd::TimeOver);
}

// holds: C625
#[test]
fn a_signal_is_forwarded_to_running_processes_with_forward_signals() {
    let mut spec = plain();
    spec.stop_signals = vec![Signal::TERM, Signal::INT];
    for process in &mut spec.processes {
        process.forward_signals = vec![Signal::USR1, Signal::TERM, Signal::USR2];
    }
    let mut play = Play::up(spec);
    let to = |process| Action::Signal { process, signal: Signal::USR1 };
    let other = Event::Signal(Signal::USR1);
    assert_eq!(play.at(10, other), [to(ENGINE), to(ROUTER)]);
    // A signal counts wherever it is in the list.
    let second = |process| Action::Signal { process, signal: Signal::USR2 };
    assert_eq!(play.at(10, Event::Signal(Signal::USR2)), [second(ENGINE), second(ROUTER)]);
    assert_eq!(play.at(10, Event::Signal(Signal::HUP)), []);
    // A stop signal is not forwarded.
    assert_eq!(play.at(20, TERM), [Action::Unready, stop(ROUTER)]);
    play.at(30, exited(ROUTER));
    assert_eq!(play.at(40, other), [to(ENGINE)]);
}

#[test]
fn a_start_does_not_repeat_a_completed_oneshot() {
    let mut spec = plain();
    spec.processes[ENGINE.index()].oneshot = true;
    spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, StartCondition::Completed)];
    let mut play = Play::up(spec);
    assert_eq!(play.at(10, exited(ENGINE)), [Action::Spawn(ROUTER)]);
    play.at(10, Event::Spawned(ROUTER));
    play.at(20, ask(ROUTER, Request::Stop));
    play.at(30, exited(ROUTER));
    assert_eq!(play.at(100, ask(ROUTER, Request::Start)), [Action::Spawn(ROUTER)]);
}

// holds: C655
#[test]
fn a_dependent_follows_a_oneshot_that_a_reload_makes_into_a_service() {
    let config = |oneshot, condition| {
        let mut spec = plain();
        let engine = &mut spec.processes[ENGINE.index()];
        engine.oneshot = oneshot;
        spec.processes[ROUTER.index()].follows = vec![ENGINE];
        spec.processes[ROUTER.index()].dependencies = vec![(ENGINE, condition)];
        spec
    };
    let mut play = Play::up(config(true, StartCondition::Completed));
    assert_eq!(play.at(10, exited(ENGINE)), [Action::Spawn(ROUTER)]);
    play.at(10, Event::Spawned(ROUTER));
    let service = config(false, StartCondition::Ready);
    let actions = play.reload(20, &service, &[Placed::Changed(ENGINE), Placed::Same(ROUTER)]);
    assert!(actions.contains(&Action::Spawn(ENGINE)), "{actions:?}");
    assert!(play.at(30, Event::Spawned(ENGINE)).contains(&stop(ROUTER)));
}

// holds: C710
#[test]
fn the_late_answer_of_only_if_does_not_start_a_newer_start() {
    let mut spec = plain();
    spec.processes[ENGINE.index()].conditional = true;
    let mut play = Play::new(spec);
    let check = |check| Action::CheckCondition { process: ENGINE, check };
    let answer = |check, holds| Event::Condition { process: ENGINE, check, holds };
    assert_eq!(play.at(0, Event::Start), [check(1)]);
    play.at(10, ask(ENGINE, Request::Stop));
    assert_eq!(play.at(20, ask(ENGINE, Request::Start)), [check(2)]);
    for late in [answer(1, true), answer(1, false)] {
        assert_eq!(play.at(30, late), []);
        assert_eq!(play.machine.state().life(ENGINE), Lifecycle::Checking { check: 2 });
    }
    assert_eq!(play.at(40, answer(2, true)), [Action::Spawn(ENGINE)]);
}

// holds: S172
#[test]
fn a_process_that_ends_long_after_sigkill_is_not_restarted() {
    let mut play = Play::up(plain());
    play.at(0, restart(ROUTER));
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    let unkillable = failed(ROUTER, Request::Restart, RequestError::Unkillable(ROUTER));
    assert!(play.notes(10_000, Event::Tick).contains(&unkillable));
    assert_eq!(play.at(19_000, exited(ROUTER)), []);
    assert_eq!(play.machine.state().life(ROUTER), Lifecycle::Stopped { failed: true });
    // A reload does not start a process whose old instance survives SIGKILL.
    let mut play = Play::up(plain());
    play.reload(0, &plain(), &[Placed::Same(ENGINE), Placed::Changed(ROUTER)]);
    assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
    let why = RequestError::Unkillable(ROUTER);
    assert_eq!(play.notes(10_000, Event::Tick), [Note::ReloadFailed { why }]);
    assert_eq!(play.at(19_000, exited(ROUTER)), []);
    assert_eq!(play.machine.state().life(ROUTER), Lifecycle::Stopped { failed: true });
    // A later restart keeps the definition from before the failed reload.
    assert_eq!(play.at(20_000, ask(ROUTER, Request::Start)), [Action::Spawn(ROUTER)]);
    play.at(20_000, Event::Spawned(ROUTER));
    assert_eq!(play.at(21_000, restart(ROUTER)), [stop(ROUTER)]);
    assert_eq!(play.at(21_100, exited(ROUTER)), [Action::Spawn(ROUTER)]);
}

// holds: C481, C482
#[test]
fn a_failed_hook_before_a_restart_is_a_failed_start() {
    let mut spec = plain();
    let router = &mut spec.processes[ROUTER.index()];
    router.liveness_retries = Some(1);
    router.hooks.pre_start = Some(HookWait::new(None));
    router.restart = Restart { policy: RestartPolicy::Always, delay: MS(100), max: Some(2) };
    let mut play = Play::new(spec);
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
    let why = Failure::Hook;
    assert_eq!(notes, [Note::Failed { process: ROUTER, why, next }]);
    assert_eq!(play.at(330, Event::Tick), [Action::RunHook(id)]);
    let notes = play.notes(340, failed);
    let cause = Cause::Failed { process: ROUTER, why };
    let window = play.machine.state().spec.window;
    assert!(
        notes.contains(&Note::ShutdownBegan { cause, window, drained_for: None }),
        "restart_max: {notes:?}"
    );
}

#[test]
fn a_reload_is_refused_while_a_process_survives_sigkill() {
    for request in [ask(ROUTER, Request::Stop), restart(ROUTER)] {
        let mut play = Play::up(plain());
        play.at(0, request);
        assert_eq!(play.at(5000, Event::Tick), [Action::Kill(ROUTER)]);
        assert_eq!(play.machine.may_reload(), Err(RequestError::Reloading));
        play.at(10_000, Event::Tick);
        assert_eq!(play.machine.may_reload(), Err(RequestError::Unkillable(ROUTER)));
    }
}

// holds: S272
#[test]
fn unread_output_leaves_half_of_a_stop() {
    let patience = |window: u64, reserve: u64| {
        final_waits::patience(&Spec { window: MS(window), reserve: MS(reserve), ..gateway() })
    };
    assert_eq!(patience(28_000, 2000), MS(2000));
    assert_eq!(patience(500, 700), MS(700), "the reserve");
    assert_eq!(patience(28_000, 8000), MS(2500), "half of stop_grace_period");
    // The shortest stop decides, wherever it is, unless its process is left out or has no time.
    for (stops, expected) in [
        ([Some(1000), Some(4000)], 500),
        ([Some(4000), Some(1000)], 500),
        ([Some(0), Some(3000)], 1500),
        ([Some(3000), Some(0)], 1500),
        ([None, Some(3000)], 1500),
        ([Some(3000), None], 1500),
        ([None, None], 5000),
    ] {
        let mut spec = Spec { reserve: MS(8000), ..gateway() };
        for (process, stop) in spec.processes.iter_mut().zip(stops) {
            process.stop = stop.map(MS);
        }
        assert_eq!(final_waits::patience(&spec), MS(expected), "{stops:?}");
        spec.processes.push(ProcessSpec { left_out: true, stop: Some(MS(10)), ..service() });
        assert_eq!(final_waits::patience(&spec), MS(expected), "{stops:?}");
    }
}

// holds: S840
#[test]
fn a_process_that_is_exiting_gets_the_time_that_is_left_and_is_not_killed() {
    for ends_at in [20_000, 24_500] {
        let mut play = Play::up(plain());
        play.exits = true;
        assert_eq!(play.at(1000, TERM), [Action::Unready, stop(ROUTER)]);
        assert_eq!(wakes_at(&play), 6000, "stop_grace_period");
        assert_eq!(play.at(6000, Event::Tick), []);
        assert_eq!(wakes_at(&play), 24_000, "the engine keeps its own stop_grace_period");
        if ends_at > 24_000 {
            assert_eq!(play.at(24_000, Event::Tick), [Action::Kill(ROUTER)]);
        }
        let notes = play.notes(ends_at, exited(ROUTER));
        let took = Some(MS(ends_at - 1000));
        let end = End::Code(0);
        let stopped =
            Note::Stopped { process: ROUTER, end, took, killed: false, handed_over: false };
        assert!(notes.contains(&stopped), "{notes:?}");
        play.at(ends_at + 10, exited(ENGINE));
        assert_eq!(play.at(ends_at + 10, Event::Swept { any: false }), []);
        assert_eq!(play.at(ends_at + 20, Event::NothingLeft), [Action::Exit(0)]);
    }
}

// holds: S840
#[test]
fn the_rest_of_a_group_that_is_exiting_gets_the_time_that_is_left_and_is_not_killed() {
    for (exits, killed) in [(true, vec![]), (false, vec![Action::Kill(ROUTER)])] {
        let mut play = Play::up(plain());
        play.exits = exits;
        play.at(1000, TERM);
        let exited = Event::Exited { process: ROUTER, end: End::Code(0), remains: true };
        let asked = Action::StopOrphans { process: ROUTER, signal: Signal::TERM };
        assert_eq!(play.at(1100, exited), [asked]);
        assert_eq!(play.at(6000, Event::Tick), killed, "stop_grace_period");
        if exits {
            assert_eq!(wakes_at(&play), 24_000, "the engine keeps its own stop_grace_period");
            assert_eq!(play.at(20_000, Event::GroupGone(ROUTER)), [stop(ENGINE)]);
        }
    }
}

// holds: S840
#[test]
fn an_exit_that_an_operator_asked_for_gets_no_more_time_than_sigkill() {
    let mut play = Play::up(plain());
    play.exits = true;
    play.at(0, ask(ROUTER, Request::Stop));
    assert_eq!(play.at(5000, Event::Tick), []);
    assert_eq!(play.at(10_000, Event::Tick), [Action::Kill(ROUTER)]);
    assert!(
        play.notes(10_100, exited(ROUTER))
            .iter()
            .any(|note| { matches!(note, Note::Stopped { killed: false, .. }) })
    );
}

// holds: S842
#[test]
fn a_drain_that_fills_the_deadline_leaves_the_time_that_the_process_needs_to_end() {
    for (measured, left) in
        [(None, 1000), (Some(200), 1000), (Some(3300), 3300), (Some(60_000), 10_000)]
    {
        let mut spec = gateway();
        drain_in(&mut spec).time = Some(MS(60_000));
        spec.processes[ROUTER.index()].stop = None;
        let mut play = Play::up(spec);
        if let Some(measured) = measured {
            let time = MS(measured);
            assert_eq!(play.at(100, Event::TimeToEnd { process: ROUTER, time }), []);
        }
        let notes = play.notes(1000, TERM);
        // The engine keeps 5 s, and the last count 250 ms.
        let longest = MS(28_000 - 5000 - 250 - left);
        let began = Note::DrainBegan { process: ROUTER, longest, min: MS(5000), counted: true };
        assert!(notes.contains(&began), "{measured:?}: {notes:?}");
    }
}
