//! The scenario of a run: how each process behaves, and when signals, requests and faults come.

use crate::*;

/// A small generator (xorshift64*), so that a seed gives the same scenario with every version of
/// Rust.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    /// True with a probability of 1 in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn one_of<const N: usize>(&mut self, values: [u64; N]) -> u64 {
        values[self.below(N as u64) as usize]
    }

    fn pick<'t, T>(&mut self, all: &'t [T]) -> Option<&'t T> {
        all.get(self.below(all.len().max(1) as u64) as usize)
    }

    pub(crate) fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }

    /// A random time. In half of all cases, its upper bound is 10 ms plus 1/16 of the limit; in the
    /// other half, the bound is 10 ms plus 5/4 of the limit.
    fn about(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX / 8);
        let below = if self.once_in(2) { limit / 16 } else { limit + limit / 4 };
        self.millis(below + 10)
    }

    pub(super) fn maybe<T>(
        &mut self,
        never_once_in: u64,
        value: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        if self.once_in(never_once_in) { None } else { Some(value(self)) }
    }
}

/// A kind of fault. Its probability is in [`Odds`].
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A process ends by itself, or a oneshot fails.
    Ends,
    /// The command of a process cannot be executed.
    SpawnFails,
    /// A process never becomes ready.
    NeverReady,
    /// The liveness probes of a process fail.
    Hangs,
    /// A process does not end after its stop signal.
    IgnoresStop,
    /// A process does not end after SIGKILL.
    SurvivesKill,
    /// Other members of the process group outlive the process.
    LeavesGroup,
    /// A hook does not end.
    HookHangs,
    HookFails,
    /// A process does not answer the request to drain.
    DrainUnanswered,
    DrainRefused,
    /// A process never reports that it is drained.
    NeverReports,
    /// A process does not answer the request to close its listeners.
    CloseUnanswered,
    /// The connections of a process cannot be counted.
    NoStatistics,
    /// An Envoy was never live, and reports that when its drain begins.
    NotLive,
    /// Leftovers exist.
    Leftovers,
}

/// Probabilities (each `1 in n`) and longest times of one scenario, drawn from the seed. Most
/// scenarios have only some kinds of faults. If all kinds had fixed rates, two rare faults would
/// hardly ever come together, and frequent faults would hide each other.
pub(super) struct Odds {
    faults: [u64; Fault::Leftovers as usize + 1],
    /// The probability that the container outlives the end of a process (`on_exit: ignore`).
    pub(super) ignore: u64,
    /// The probability that a process or the container has a certain hook.
    pub(super) hook: u64,
    /// The longest window, in milliseconds.
    pub(super) window: u64,
    /// The longest time before a signal, in milliseconds.
    pub(super) signal: u64,
}

impl Odds {
    /// Odds so small that the fault practically never happens.
    const NEVER: u64 = 1_000_000;

    pub(super) fn new(rng: &mut Rng) -> Self {
        let calm = rng.once_in(3);
        let faults = [(); Fault::Leftovers as usize + 1]
            .map(|()| if calm || rng.once_in(2) { Self::NEVER } else { rng.one_of([2, 4, 8, 30]) });
        Self {
            faults,
            ignore: if calm { Self::NEVER } else { rng.one_of([1, 1, 3, 10]) },
            hook: rng.one_of([1, 2, 6, 20]),
            window: rng.one_of([3000, 10_000, 40_000]),
            signal: rng.one_of([3000, 20_000]),
        }
    }

    fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) spec: Arc<Spec>,
    pub(crate) behaviours: Vec<Behaviour>,
    /// Other behaviours of processes. Every second new slot of a run gets one of these behaviours.
    pub(crate) variants: Vec<Behaviour>,
    pub(crate) signals: Vec<(Duration, Signal)>,
    /// The time of a `POST /drain`.
    pub(crate) drain_requested: Option<Duration>,
    /// Requests of the operator.
    pub(crate) requests: Vec<(Duration, Event)>,
    /// Changes of watched files.
    pub(crate) changes: Vec<(Duration, Event)>,
    /// New configs.
    pub(crate) reloads: Vec<(Duration, NewConfig)>,
    /// False events, which the supervisor would not send at that time. They must not make the core
    /// break a promise.
    pub(crate) noise: Vec<(Duration, Event)>,
    /// The pauses in which drainit cannot run, sorted, each with its begin and end.
    pub(crate) pauses: Vec<(Duration, Duration)>,
    /// Whether clients connect again for a while after all connections have closed.
    pub(crate) open_again: bool,
    pub(crate) starts: StartOdds,
    /// When and how the container's hooks end.
    pub(crate) hooks: HookEnds,
    pub(crate) leftovers: usize,
    pub(crate) missed_scans: u64,
    pub(crate) leftovers_end_after_term: Option<Duration>,
    /// Whether the stop signal has already arrived when the core starts.
    pub(crate) stopped_before_start: bool,
    /// From this time on no fault begins, and every process obeys ([`Scenario::live`]). `None` in
    /// safety mode.
    pub(crate) faults_end: Option<Duration>,
}

/// A config for a reload.
#[derive(Clone, Debug)]
pub(crate) struct NewConfig {
    /// The processes of the config. Their ids are valid only in this config.
    pub(crate) spec: Spec,
    /// For each process of the config: its index in the whole scenario, and the version of its
    /// definition.
    pub(crate) processes: Vec<(usize, u32)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    pub(crate) condition: bool,
    pub(crate) hooks: HookEnds,
    pub(crate) spawn_fails: Option<u8>,
    pub(crate) ready_after: Option<Duration>,
    /// When the process ends by itself, and its exit code; 200 + n means the signal n.
    pub(crate) dies_after: Option<(Duration, u8)>,
    pub(crate) ends_after_term: Option<Duration>,
    pub(crate) ends_after_kill: Option<Duration>,
    /// How long the process takes to exit when it ends by itself after its stop signal, because the
    /// kernel frees much memory. SIGKILL has no effect in this time. `None` if the exit takes no
    /// time, and the stop signal ends the process.
    pub(crate) exits_for: Option<Duration>,
    /// When the liveness probes of the process begin to fail.
    pub(crate) hangs_after: Option<Duration>,
    /// The process asks for more time at two moments: the first duration after its start, and the
    /// first duration after its stop signal. The second duration is the time that the process asks
    /// for.
    pub(crate) extends: Option<(Duration, Duration)>,
    /// How long other members of the process group live after their stop signal; `Err` means until
    /// SIGKILL. `None` if no other member outlives the process.
    pub(crate) group: Option<Result<Duration, ()>>,
    /// How long the processes that an instance has left outside of its process group live after
    /// they were asked to end; `Err` means until SIGKILL. `None` if an instance leaves no process.
    pub(crate) leaves: Option<Result<Duration, ()>>,
    /// How long a search for these processes takes; `None` if it never ends.
    pub(crate) search: Option<Duration>,
    pub(crate) drain_answer: Option<(Duration, bool)>,
    /// When the process itself reports that it is drained. An Envoy never makes this report.
    pub(crate) reports_after: Option<Duration>,
    pub(crate) close_answer: Option<Duration>,
    pub(crate) stats_unknown: bool,
    /// When an Envoy says that it has never been live.
    pub(crate) not_live: Option<Duration>,
    pub(crate) endpoint_removed: Duration,
    pub(crate) connections_end: Duration,
}

impl Scenario {
    /// When drainit notices an event that happens at `at`: at once, or at the end of a pause. Both
    /// times count from the start.
    pub(crate) fn seen_at(&self, at: Duration) -> Duration {
        // A pause may begin when the previous pause ends.
        let end = |at, (from, to): &_| if (*from..*to).contains(&at) { *to } else { at };
        self.pauses.iter().fold(at, end)
    }

    pub(super) fn around(seed: u64, spec: Arc<Spec>, rng: &mut Rng, odds: &Odds) -> Self {
        let mut behaviours = || -> Vec<_> {
            spec.processes.iter().map(|process| Behaviour::new(rng, process, odds)).collect()
        };
        let (mut behaviours, mut variants) = (behaviours(), behaviours());
        succeed(seed, &spec, &mut behaviours);
        succeed(seed, &spec, &mut variants);
        slow_exits(seed, behaviours.iter_mut().chain(&mut variants));
        leavers(seed, behaviours.iter_mut().chain(&mut variants));
        let drain_requested = rng.once_in(3).then(|| rng.millis(odds.signal));
        // In half of all cases, a stop signal follows the requested drain, as it does in Kubernetes
        // after a `preStop` hook that runs `drainit drain`.
        let follows = if rng.once_in(2) { drain_requested } else { None };
        let mut at = match follows {
            Some(asked) => asked + rng.millis(odds.window),
            None => rng.millis(odds.signal),
        };
        let mut signals = Vec::new();
        for _ in 0..1 + rng.below(4) {
            signals.extend(rng.pick(&spec.stop_signals).map(|signal| (at, *signal)));
            at += rng.millis(odds.signal);
        }
        if rng.once_in(3) {
            signals.truncate(1);
        }
        signals.push((rng.millis(40_000), Signal::USR1));
        Self {
            seed,
            behaviours,
            variants,
            signals,
            drain_requested,
            requests: requests(seed, spec.processes.len() as u16, odds, drain_requested),
            changes: changes(seed, &spec, odds),
            reloads: Vec::new(),
            noise: Vec::new(),
            pauses: pauses(seed, odds),
            // A separate generator draws this value, so that other values of the seed stay the
            // same.
            open_again: Rng::new(seed ^ 0x0A6A).once_in(4),
            starts: StartOdds::new(seed),
            hooks: hook_ends(rng, &spec.hooks, odds),
            leftovers: if rng.once_in(odds.of(Fault::Leftovers)) {
                rng.below(4) as usize
            } else {
                0
            },
            missed_scans: if rng.once_in(3) { rng.below(4) } else { 0 },
            leftovers_end_after_term: rng.maybe(3, |rng| rng.millis(2500)),
            stopped_before_start: rng.once_in(50),
            faults_end: None,
            spec,
        }
    }
}

/// Probabilities of faults at a start, each `1 in n`. Every start draws anew whether a fault
/// happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartOdds {
    /// The command cannot be executed, although an earlier start has executed it.
    pub(crate) spawn_fails: u64,
    /// The values of the process's variables cannot be read, so that its `pre_start` hook does not
    /// run.
    pub(crate) values_missing: u64,
    /// `only_if` gives the opposite of its usual answer.
    pub(crate) condition_changes: u64,
    /// The start is skipped, because a stop signal is pending.
    pub(crate) left_out: u64,
    /// The start takes a while, because a file system is slow.
    pub(crate) slow: u64,
}

impl StartOdds {
    pub(super) const NONE: Self = Self {
        spawn_fails: Odds::NEVER,
        values_missing: Odds::NEVER,
        condition_changes: Odds::NEVER,
        left_out: Odds::NEVER,
        slow: Odds::NEVER,
    };

    /// Whether an `only_if` may change its answer.
    pub(crate) fn may_change_conditions(&self) -> bool {
        self.condition_changes != Odds::NEVER
    }

    /// Draws the odds with a separate generator, so that other values of the seed stay the same.
    fn new(seed: u64) -> Self {
        let rng = &mut Rng::new(seed ^ 0x57A7);
        if rng.once_in(2) {
            return Self::NONE;
        }
        let mut odds = |values| if rng.once_in(2) { Odds::NEVER } else { rng.one_of(values) };
        Self {
            spawn_fails: odds([2, 3, 5, 20]),
            values_missing: odds([2, 3, 5, 20]),
            condition_changes: odds([2, 3, 5, 20]),
            left_out: odds([5, 10, 20, 40]),
            slow: odds([1, 2, 5, 20]),
        }
    }
}

impl Behaviour {
    pub(super) fn new(rng: &mut Rng, process: &ProcessSpec, odds: &Odds) -> Self {
        let most = odds.signal + 5000;
        let of = |fault| odds.of(fault);
        let dies = process.oneshot || rng.once_in(of(Fault::Ends));
        let code = match rng.below(4) {
            _ if process.oneshot && !rng.once_in(of(Fault::Ends)) => 0,
            0 => 0,
            1 => 200 + 11,
            _ => 7,
        };
        let start = process.readiness_timeout.unwrap_or(Duration::from_secs(3));
        let stop = process.stop.unwrap_or(Duration::from_secs(10));
        let drain = process
            .drain
            .map_or(Duration::from_secs(20), |drain| drain.time.unwrap_or(Duration::from_secs(30)));
        Self {
            condition: !rng.once_in(4),
            hooks: hook_ends(rng, &process.hooks, odds),
            spawn_fails: rng.once_in(of(Fault::SpawnFails)).then_some(127),
            ready_after: rng.maybe(of(Fault::NeverReady), |rng| rng.about(start)),
            dies_after: dies.then(|| (rng.millis(most), code)),
            ends_after_term: rng.maybe(of(Fault::IgnoresStop), |rng| rng.about(stop)),
            ends_after_kill: rng.maybe(of(Fault::SurvivesKill), |rng| rng.millis(3)),
            exits_for: None,
            hangs_after: rng.once_in(of(Fault::Hangs)).then(|| rng.millis(most)),
            extends: rng.once_in(3).then(|| (rng.millis(4000), rng.millis(15_000))),
            group: rng
                .once_in(of(Fault::LeavesGroup))
                .then(|| rng.maybe(3, |rng| rng.about(stop)).ok_or(())),
            leaves: None,
            search: Some(Duration::ZERO),
            drain_answer: rng.maybe(of(Fault::DrainUnanswered), |rng| {
                (rng.millis(2000), !rng.once_in(of(Fault::DrainRefused)))
            }),
            reports_after: rng.maybe(of(Fault::NeverReports), |rng| rng.about(drain)),
            close_answer: rng.maybe(of(Fault::CloseUnanswered), |rng| rng.millis(240)),
            stats_unknown: rng.once_in(of(Fault::NoStatistics)),
            endpoint_removed: rng.millis(8000),
            connections_end: rng.about(drain),
            not_live: rng.once_in(of(Fault::NotLive)).then(|| rng.millis(2000)),
        }
    }
}

/// Lets a process that ends well end with a code that is a success for this process, drawn with a
/// separate generator. Some processes end with 0 although 0 does not count as a success.
fn succeed(seed: u64, spec: &Spec, behaviours: &mut [Behaviour]) {
    let rng = &mut Rng::new(seed ^ 0x5CCD);
    for (process, behaviour) in spec.processes.iter().zip(behaviours) {
        let codes = &process.success_codes;
        if let Some((_, code @ 0)) = &mut behaviour.dies_after
            && !rng.once_in(8)
        {
            *code = *rng.pick(codes).unwrap_or(code);
        }
    }
}

/// Draws, with a separate generator, the processes that take long to exit.
fn slow_exits<'a>(seed: u64, behaviours: impl Iterator<Item = &'a mut Behaviour>) {
    let rng = &mut Rng::new(seed ^ 0x5107);
    if rng.once_in(2) {
        let longest = rng.one_of([100, 3000, 20_000]);
        for behaviour in behaviours {
            behaviour.exits_for = rng.maybe(3, |rng| rng.millis(longest));
        }
    }
}

/// Draws, with a separate generator, the processes that leave others outside of their process group.
fn leavers<'a>(seed: u64, behaviours: impl Iterator<Item = &'a mut Behaviour>) {
    let rng = &mut Rng::new(seed ^ 0x1EAF);
    if rng.once_in(2) {
        let longest = rng.one_of([100, 3000, 20_000]);
        for behaviour in behaviours {
            let lives = |rng: &mut Rng| rng.maybe(3, |rng| rng.millis(longest)).ok_or(());
            behaviour.leaves = rng.maybe(3, lives);
            behaviour.search = rng.maybe(8, |rng| rng.millis(40) * rng.below(2) as u32);
        }
    }
}

/// For each [`Stage`]: how long its hook runs, and whether the hook succeeds; `None` if it never
/// ends.
type HookEnds = [Option<(Duration, bool)>; 3];

fn hook_ends(rng: &mut Rng, hooks: &HookWaits, odds: &Odds) -> HookEnds {
    [hooks.pre_start, hooks.pre_stop, hooks.post_stop].map(|wait| {
        let limit = wait.unwrap_or(HookWait::DEFAULT).limit;
        rng.maybe(odds.of(Fault::HookHangs), |rng| {
            (rng.about(limit), !rng.once_in(odds.of(Fault::HookFails)))
        })
    })
}

/// Draws, with a separate generator, an operator's requests at random times, often several in a
/// row, and often an earlier one again. `drain` is the time of the first request to drain.
fn requests(seed: u64, count: u16, odds: &Odds, drain: Option<Duration>) -> Vec<(Duration, Event)> {
    let again = &mut Rng::new(seed ^ 0xD2A1);
    let drain = drain.filter(|_| again.once_in(2));
    let drain = drain.map(|at| (at + again.millis(odds.signal), Event::DrainRequested));
    let mut requests = process_requests(seed, count, odds);
    let last = requests.last().map(|(at, _)| *at).unwrap_or_default();
    let repeated = again.pick(&requests).copied().filter(|_| again.once_in(2));
    let at = last + Duration::from_nanos(20) + again.millis(odds.signal);
    requests.extend(repeated.map(|(_, request)| (at, request)));
    requests.extend(drain);
    requests
}

fn process_requests(seed: u64, count: u16, odds: &Odds) -> Vec<(Duration, Event)> {
    let rng = &mut Rng::new(seed ^ 0x0A5C);
    if rng.once_in(3) {
        return Vec::new();
    }
    let gap = rng.one_of([20, 1500, odds.signal]);
    let mut at = rng.millis(odds.signal);
    let mut requests = Vec::new();
    for _ in 0..1 + rng.below(6) {
        let process = ProcessId(rng.below(u64::from(count)) as u16);
        let request = match rng.below(3) {
            0 => Request::Stop,
            1 => Request::Start,
            _ => Request::Restart,
        };
        // In the supervisor, no request comes while drainit carries out the actions for another
        // event. The extra nanoseconds keep requests apart from other events.
        let off = Duration::from_nanos(2 + requests.len() as u64);
        requests.push((at + off, Event::Requested { process, request }));
        at += rng.millis(gap);
    }
    requests
}

/// Draws, with a separate generator, changes of watched files at random times, often several in a
/// row.
fn changes(seed: u64, spec: &Spec, odds: &Odds) -> Vec<(Duration, Event)> {
    let rng = &mut Rng::new(seed ^ 0x3A7D);
    let watched = spec.ids().flat_map(|process| {
        let files = 0..spec.processes[process.index()].watch.len();
        files.map(move |watch| (process, watch))
    });
    let watched: Vec<_> = watched.collect();
    let gap = rng.one_of([20, 1500, odds.signal]);
    let quiet = rng.one_of([1, 1000, 3000]);
    let mut at = rng.millis(odds.signal);
    let mut changes: Vec<(Duration, Event)> = Vec::new();
    for _ in 0..rng.below(7) {
        // Like a request, a change never comes while drainit carries out the actions for another
        // event. The extra nanoseconds also keep changes apart from requests.
        let off = Duration::from_nanos(100 + changes.len() as u64);
        let Some(&(process, watch)) = rng.pick(&watched) else { break };
        // If the file changes again before it is quiet, the second change cancels the earlier
        // `FileQuiet`.
        changes.retain(|(after, event)| {
            let is_same = matches!(event, Event::FileQuiet { process: of, watch: place, .. }
                if (*of, *place) == (process, watch));
            !is_same || *after < at + off
        });
        changes.push((at + off, Event::FileSeen { process, watch }));
        let is_new = !rng.once_in(4);
        let quiet = at + off + Duration::from_millis(1) + rng.millis(quiet);
        changes.push((quiet, Event::FileQuiet { process, watch, is_new }));
        at += rng.millis(gap);
    }
    changes
}

/// Draws, with a separate generator, the pauses in which drainit gets no processor time or is
/// suspended by a signal.
fn pauses(seed: u64, odds: &Odds) -> Vec<(Duration, Duration)> {
    let rng = &mut Rng::new(seed ^ 0x9A05);
    if !rng.once_in(4) {
        return Vec::new();
    }
    let mut at = Duration::ZERO;
    let longest = rng.one_of([300, 5000, 60_000]);
    let mut pauses = Vec::new();
    for _ in 0..1 + rng.below(3) {
        let from = at + rng.millis(odds.signal + odds.window);
        at = from + rng.millis(longest);
        pauses.push((from, at));
    }
    pauses
}
