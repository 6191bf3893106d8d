//! Draws the random graphs of processes, and the new configs of their reloads.

use crate::cases::service;
use crate::scenario::{Behaviour, NewConfig, Odds, Rng};
use crate::*;

/// The number of processes that the first config does not have and that new configs may add.
const ADDED: usize = 2;

impl Scenario {
    /// A random graph with random events.
    pub(crate) fn new(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let odds = Odds::new(rng);
        let spec = graph(seed, rng, &odds);
        let mut scenario = Self::around(seed, Arc::new(spec), rng, &odds);
        let added: Vec<_> = (0..ADDED).map(|_| process(rng, 0, &odds)).collect();
        for behaviours in [&mut scenario.behaviours, &mut scenario.variants] {
            behaviours.extend(added.iter().map(|process| Behaviour::new(rng, process, &odds)));
        }
        scenario.reloads = reloads(seed, &scenario.spec, &odds);
        // The extra nanosecond keeps noise apart from most other events.
        let off = Duration::from_nanos(1);
        let count = scenario.spec.processes.len() as u16;
        scenario.noise =
            (0..rng.below(4)).map(|_| (rng.millis(30_000) + off, noise(rng, count))).collect();
        stop_before_reload(seed, &mut scenario, &odds);
        scenario
    }

    /// A scenario of the liveness mode. After a random time no more faults begin, and then a stop
    /// signal comes. A process that hangs before that time continues to hang. If the shutdown
    /// begins after that time, it must end by itself, in order and in time.
    pub(crate) fn live(seed: u64) -> Self {
        let mut scenario = Self::new(seed);
        let rng = &mut Rng::new(seed ^ 0x11FE);
        let faults_end = rng.millis(30_000);
        let stop = faults_end + rng.millis(3000) + Duration::from_millis(1);
        let mut spec = (*scenario.spec).clone();
        spec.window = Duration::from_secs(5) + rng.millis(35_000);
        let specs = scenario.reloads.iter_mut().map(|(_, config)| &mut config.spec);
        for spec in specs {
            spec.window += Duration::from_secs(5);
            give_time(spec);
        }
        give_time(&mut spec);
        scenario.spec = Arc::new(spec);
        scenario.stopped_before_start = false;
        // Beside the stop signal below, keeps at most one signal. It comes during the time of
        // faults, and may begin the shutdown.
        scenario.signals.truncate(usize::from(rng.once_in(8)));
        scenario.signals.retain(|(at, _)| *at < faults_end);
        scenario.drain_requested = scenario.drain_requested.filter(|at| *at < stop);
        scenario.noise.clear();
        scenario.signals.push((stop, Signal::TERM));
        scenario.faults_end = Some(faults_end);
        scenario
    }
}

/// Gives each stop some time: drainit kills a process that has no time to stop, even if the process
/// would obey its stop signal.
fn give_time(spec: &mut Spec) {
    for process in &mut spec.processes {
        process.stop = process.stop.map(|limit| limit.max(Duration::from_millis(50)));
    }
}

fn graph(seed: u64, rng: &mut Rng, odds: &Odds) -> Spec {
    let count = 1 + rng.below(7) as u16;
    let mut processes: Vec<ProcessSpec> = (0..count).map(|id| process(rng, id, odds)).collect();
    follow(seed, &mut processes);
    hold(seed, &mut processes);
    by_kind(seed, &mut processes);
    odd_codes(seed, &mut processes);
    overlap(seed, &mut processes);
    watch(seed, &mut processes);
    measure(seed, &mut processes);
    leave_unset(seed, &mut processes);
    end_leftovers(seed, &mut processes);
    let readiness_delay = if rng.once_in(3) { rng.millis(8000) } else { Duration::ZERO };
    let mut spec = Spec {
        window: rng.millis(odds.window),
        reserve: rng.millis(3000),
        readiness_delay,
        unready_delay: if readiness_delay.is_zero() { unready_delay(seed) } else { Duration::ZERO },
        counts_stops: seed.is_multiple_of(3),
        stop_signals: vec![Signal::TERM, Signal::INT],
        hooks: hooks(rng, odds),
        order: (0..count).map(ProcessId).collect(),
        ranks: Vec::new(),
        processes,
    };
    spec.link();
    spec
}

fn process(rng: &mut Rng, id: u16, odds: &Odds) -> ProcessSpec {
    let oneshot = rng.once_in(8);
    let mut dependencies = Vec::new();
    for on in 0..id {
        if rng.once_in(3) {
            let condition = match rng.below(3) {
                0 => StartCondition::Started,
                1 => StartCondition::Ready,
                // If the dependency is a service, it never completes, so this process never starts.
                // `drainit check` refuses such a config, but the core must cope with it.
                _ => StartCondition::Completed,
            };
            dependencies.push((ProcessId(on), condition));
        }
    }
    let drain = (!oneshot && rng.once_in(2)).then(|| {
        let time = rng.millis(20_000) + Duration::from_millis(1);
        // A drain without `min` does not begin after an unexpected end.
        let min = rng.millis(6000).max(Duration::from_millis(1)).min(time);
        let closes = !rng.once_in(3);
        let signal = (!closes && rng.once_in(2)).then_some(Signal::USR1);
        // This value is derived from `min` and not drawn, so that old seeds still give the same
        // scenarios.
        let exit_at = if closes { (min.as_millis() as u64 % 4).saturating_sub(1) } else { 0 };
        let by_kernel = closes && exit_at == 1;
        DrainSpec { time: Some(time), min, closes, by_kernel, exit_at, signal }
    });
    // Not drawn, so that old seeds still give the same scenarios.
    let off = if id.is_multiple_of(4) { DrainOff::Time } else { DrainOff::Condition };
    let drain_off = (drain.is_none() && !oneshot && id.is_multiple_of(2)).then_some(off);
    ProcessSpec {
        dependencies,
        oneshot,
        success_codes: if rng.once_in(4) { vec![0, 7] } else { vec![0] },
        timeout: (oneshot && rng.once_in(2)).then(|| rng.millis(6000) + Duration::from_millis(1)),
        conditional: rng.once_in(6),
        readiness_timeout: (!oneshot && rng.once_in(2))
            .then(|| rng.millis(4000) + Duration::from_millis(1)),
        liveness_retries: (!oneshot && rng.once_in(3)).then(|| 1 + rng.below(3) as u32),
        restart: Restart {
            policy: match rng.below(3) {
                0 => RestartPolicy::Always,
                1 => RestartPolicy::OnFailure,
                _ => RestartPolicy::No,
            },
            delay: rng.millis(2000),
            max: rng.maybe(3, |rng| rng.below(4) as u32),
        },
        required: !rng.once_in(4),
        on_exit: OnExit::always(match rng.below(4) {
            _ if rng.once_in(odds.ignore) => ExitPolicy::Ignore,
            0 => ExitPolicy::FailureShutdown,
            _ => ExitPolicy::Shutdown,
        }),
        stop: rng.once_in(2).then(|| rng.millis(15_000)),
        shows_listener: rng.once_in(2),
        hooks: hooks(rng, odds),
        drain,
        drain_off,
        listens: rng.once_in(3),
        forward_signals: if rng.once_in(2) { vec![Signal::USR1] } else { Vec::new() },
        ..service()
    }
}

/// Draws, with a separate generator, the processes of which it is known how long they need to end.
fn measure(seed: u64, processes: &mut [ProcessSpec]) {
    let rng = &mut Rng::new(seed ^ 0x70E4);
    if rng.once_in(3) {
        for process in processes {
            process.to_end = rng.maybe(2, |rng| rng.millis(12_000));
        }
    }
}

/// Makes stores of some processes, and lets some drains last as long as the deadline allows.
fn leave_unset(seed: u64, processes: &mut [ProcessSpec]) {
    let rng = &mut Rng::new(seed ^ 0x05E7);
    for process in processes {
        process.is_store = rng.once_in(4);
        if let Some(drain) = process.drain.as_mut().filter(|_| rng.once_in(2)) {
            drain.time = None;
        }
    }
}

/// Draws, with a separate generator, the processes whose leftovers have to end before the next
/// start.
fn end_leftovers(seed: u64, processes: &mut [ProcessSpec]) {
    let rng = &mut Rng::new(seed ^ 0x1EF7);
    for process in processes {
        process.ends_leftovers = process.update != Update::HotRestart && !rng.once_in(4);
    }
}

/// Gives some processes `update: start-first` or `hot-restart`, so that a new instance starts
/// before the old one is stopped.
fn overlap(seed: u64, processes: &mut [ProcessSpec]) {
    let rng = &mut Rng::new(seed ^ 0x0517);
    let once_in = rng.one_of([1, 2, 6, 1_000_000]);
    for process in processes.iter_mut().filter(|process| !process.oneshot) {
        if rng.once_in(once_in) {
            process.update = Update::StartFirst;
            if rng.once_in(2) {
                hot_restart(rng, process);
            }
        }
    }
}

/// Lets some processes watch files.
fn watch(seed: u64, processes: &mut [ProcessSpec]) {
    let rng = &mut Rng::new(seed ^ 0x3A7C);
    if rng.once_in(2) {
        return;
    }
    for process in processes.iter_mut().filter(|process| !process.oneshot) {
        for _ in 0..rng.below(3) {
            let is_signal = rng.once_in(3);
            let action =
                if is_signal { WatchAction::Signal(Signal::HUP) } else { WatchAction::Restart };
            process.watch.push(action);
        }
    }
}

/// Makes a process an Envoy that is hot-restarted.
fn hot_restart(rng: &mut Rng, process: &mut ProcessSpec) {
    process.update = Update::HotRestart;
    // The extra nanoseconds keep the end of an older epoch apart from all other events.
    let off = Duration::from_nanos(1_000_300);
    process.handover = Some(rng.millis(10_000) + Duration::from_secs(10) + off);
    process.base_id = Some("0".to_owned());
    // The process needs a readiness probe, because `drainit check` refuses a hot restart without
    // one.
    process.readiness_timeout.get_or_insert(Duration::from_secs(3));
}

/// Draws new configs at random times, with a separate generator. A new config changes, adds or
/// removes processes, or changes dependencies. Some configs turn dependencies around.
fn reloads(seed: u64, spec: &Spec, odds: &Odds) -> Vec<(Duration, NewConfig)> {
    let rng = &mut Rng::new(seed ^ 0x4E10);
    if rng.once_in(2) {
        return Vec::new();
    }
    let mut at = rng.millis(odds.signal);
    let mut version = 0;
    // Here the dependencies name processes by their index in this list.
    let mut known: Vec<Option<(u32, ProcessSpec)>> =
        spec.processes.iter().map(|process| Some((0, process.clone()))).collect();
    known.extend([(); ADDED].map(|()| None));
    // A process depends only on processes that come before it in this order.
    let mut order: Vec<usize> = (0..known.len()).collect();
    let turns = &mut Rng::new(seed ^ 0x7042);
    let mut reloads = Vec::new();
    for number in 0..1 + rng.below(3) {
        let once_in = rng.one_of([2, 4]);
        let is_turned = turns.once_in(3);
        for place in (1..order.len()).filter(|_| is_turned) {
            order.swap(place, turns.below(place as u64 + 1) as usize);
        }
        for (rank, place) in order.iter().copied().enumerate() {
            let draw = |rng: &mut Rng| {
                let mut drawn = process(rng, rank as u16, odds);
                let needs = drawn.dependencies.iter_mut().map(|(on, _)| on);
                needs.for_each(|on| *on = ProcessId(order[on.index()] as u16));
                drawn
            };
            let one = &mut known[place];
            let is_added = one.is_none();
            if is_added && !rng.once_in(3) {
                continue;
            }
            if !is_added && rng.once_in(6) {
                *one = None;
            } else if is_added || rng.once_in(once_in) {
                version += 1;
                let mut new = draw(rng);
                if !new.oneshot && rng.once_in(2) {
                    new.update = Update::StartFirst;
                    if rng.once_in(2) {
                        hot_restart(rng, &mut new);
                    }
                }
                if new.base_id.is_some() && rng.once_in(4) {
                    new.base_id = Some("1".to_owned());
                }
                by_kind(seed ^ u64::from(version), std::slice::from_mut(&mut new));
                odd_codes(seed ^ u64::from(version), std::slice::from_mut(&mut new));
                *one = Some((version, new));
            } else if let Some((_, same)) = one
                && (rng.once_in(3) || is_turned)
            {
                let other = draw(rng);
                same.dependencies = other.dependencies;
                same.update = if rng.once_in(2) { Update::StartFirst } else { Update::StopFirst };
            }
        }
        let window = rng.millis(odds.window);
        let Some(config) = config(&known, &order, spec, window, seed ^ number) else { break };
        let off = Duration::from_nanos(200 + number);
        reloads.push((at + off, config));
        at += rng.millis(odds.signal);
    }
    reloads
}

/// Makes a config of the processes in `known`, in the order `order`. An index in `known` is the
/// index of the process in the whole scenario; an entry is the version and the definition, or
/// `None` if this config does not have the process.
fn config(
    known: &[Option<(u32, ProcessSpec)>],
    order: &[usize],
    spec: &Spec,
    window: Duration,
    seed: u64,
) -> Option<NewConfig> {
    let places: Vec<usize> =
        order.iter().copied().filter(|place| known[*place].is_some()).collect();
    if places.is_empty() {
        return None;
    }
    let mut processes: Vec<ProcessSpec> = Vec::new();
    let mut versions = Vec::new();
    for &place in &places {
        let Some((version, of)) = &known[place] else { continue };
        let mut of = of.clone();
        of.follows.clear();
        of.dependencies.retain_mut(|(on, _)| {
            let place = places.iter().position(|known| *known == on.index());
            *on = ProcessId(place.unwrap_or_default() as u16);
            place.is_some()
        });
        processes.push(of);
        versions.push((place, *version));
    }
    follow(seed, &mut processes);
    hold(seed, &mut processes);
    let order = (0..processes.len() as u16).map(ProcessId).collect();
    let mut spec = Spec { window, processes, order, ..spec.clone() };
    spec.link();
    Some(NewConfig { spec, processes: versions })
}

/// Sometimes adds a rare case to the scenario, drawn with a separate generator. A request stops a
/// process and two levels of its dependents. Then a reload changes the process, and adds a process
/// that depends on the highest of these levels. Some of these processes fail.
fn stop_before_reload(seed: u64, scenario: &mut Scenario, odds: &Odds) {
    let rng = &mut Rng::new(seed ^ 0x57AC);
    let spec = Arc::clone(&scenario.spec);
    let needs = |id: ProcessId| spec.processes[id.index()].dependencies.iter().map(|(on, _)| *on);
    let chains = spec.ids().flat_map(|top| {
        needs(top).flat_map(move |middle| needs(middle).map(move |below| [below, middle, top]))
    });
    let chains: Vec<_> = chains.collect();
    if chains.is_empty() || !rng.once_in(4) {
        return;
    }
    let [below, middle, top] = chains[rng.below(chains.len() as u64) as usize];
    let added = spec.processes.len();
    let mut known: Vec<_> =
        spec.processes.iter().map(|process| Some((0, process.clone()))).collect();
    known[below.index()] = Some((1, process(rng, below.0, odds)));
    let mut new = process(rng, 0, odds);
    let condition = if rng.once_in(2) { StartCondition::Started } else { StartCondition::Ready };
    new.dependencies = vec![(top, condition)];
    known.push(Some((1, new)));
    let order: Vec<usize> = (0..known.len()).collect();
    let Some(config) = config(&known, &order, &spec, spec.window, seed) else { return };
    let mut at = rng.millis(odds.signal);
    let process = below;
    let stop = Event::Requested { process, request: Request::Stop };
    scenario.requests.push((at + Duration::from_nanos(1), stop));
    scenario.reloads.clear();
    // The core may refuse the first reload, because the stop is still under way. Therefore a second
    // reload follows.
    for number in 0..2 {
        at += rng.millis(30_000);
        scenario.reloads.push((at + Duration::from_nanos(200 + number), config.clone()));
    }
    for place in [below.index(), middle.index(), top.index(), added] {
        let of = if rng.once_in(2) { &mut scenario.behaviours } else { &mut scenario.variants };
        match rng.below(6) {
            0 => of[place].dies_after = Some((rng.millis(3000), 7)),
            1 => of[place].ready_after = None,
            2 => of[place].spawn_fails = Some(127),
            _ => {}
        }
    }
    let later = at + Duration::from_secs(20);
    let signals = scenario.signals.iter_mut().map(|(at, _)| at);
    for at in signals.chain(&mut scenario.drain_requested) {
        *at += later;
    }
}

/// Draws `unready_delay` with a separate generator.
fn unready_delay(seed: u64) -> Duration {
    let rng = &mut Rng::new(seed ^ 0x0E4D);
    if rng.once_in(3) { rng.millis(15_000) } else { Duration::ZERO }
}

fn hooks(rng: &mut Rng, odds: &Odds) -> HookWaits {
    let mut hook = || {
        let declared = rng.millis(5000) + Duration::from_millis(1);
        let declared = (!rng.once_in(3)).then_some(declared);
        rng.once_in(odds.hook).then(|| HookWait::new(declared))
    };
    HookWaits { pre_start: hook(), pre_stop: hook(), post_stop: hook() }
}

/// Makes some dependents follow a dependency (`restart: true`), drawn with a separate generator.
fn follow(seed: u64, processes: &mut [ProcessSpec]) {
    let rng = &mut Rng::new(seed ^ 0xF011);
    let once_in = rng.one_of([1, 2, 6, 1_000_000]);
    for process in processes {
        let needs = process.dependencies.iter().filter(|_| rng.once_in(once_in));
        process.follows.extend(needs.map(|(on, _)| *on));
    }
}

/// Sets `on_exit` to another policy for some kinds of ends, drawn with a separate generator.
fn by_kind(seed: u64, processes: &mut [ProcessSpec]) {
    let rng = &mut Rng::new(seed ^ 0x0E41);
    if rng.once_in(2) {
        return;
    }
    for on_exit in processes.iter_mut().map(|process| &mut process.on_exit) {
        let OnExit { success, failure, signal } = on_exit;
        for policy in [success, failure, signal] {
            *policy = match rng.below(6) {
                0 => ExitPolicy::Shutdown,
                1 => ExitPolicy::Ignore,
                _ => *policy,
            };
        }
    }
}

/// Gives some processes success codes without 0, drawn with a separate generator. 0 is then a
/// failure.
fn odd_codes(seed: u64, processes: &mut [ProcessSpec]) {
    let rng = &mut Rng::new(seed ^ 0x0C0D);
    if rng.once_in(2) {
        return;
    }
    for process in processes {
        process.success_codes = match rng.below(4) {
            0 => vec![7],
            1 => vec![3, 9],
            _ => continue,
        };
    }
}

/// Gives some processes `autostart: false`, so that they start only at a request. A process on
/// which a process with `autostart` depends keeps its `autostart`. A separate generator draws the
/// choice.
fn hold(seed: u64, processes: &mut [ProcessSpec]) {
    let rng = &mut Rng::new(seed ^ 0xA070);
    let once_in = rng.one_of([2, 4, 1_000_000, 1_000_000]);
    for id in (0..processes.len()).rev() {
        let depends = |by: &ProcessSpec| by.dependencies.iter().any(|(on, _)| on.index() == id);
        let is_needed = processes.iter().any(|by| by.autostart && depends(by));
        processes[id].autostart = is_needed || !rng.once_in(once_in);
        processes[id].required &= processes[id].autostart;
    }
}

fn noise(rng: &mut Rng, count: u16) -> Event {
    let process = ProcessId(rng.below(u64::from(count)) as u16);
    match rng.below(6) {
        0 => Event::ListenersClosed(process),
        1 => Event::HookEnded {
            hook: HookId { process: Some(process), stage: Stage::PostStop },
            success: false,
        },
        2 => Event::SpawnFailed { process, exit_code: 126 },
        3 => Event::Condition { process, check: 0, holds: true },
        4 => Event::Spawned(process),
        _ => Event::Tick,
    }
}
