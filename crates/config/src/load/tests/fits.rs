//! Compares the plans of random configs with what `check` says of these configs.

use std::collections::BTreeMap;

use super::*;
use crate::check::{takes_the_rest, without_rest};
use crate::keys::{Config, Drain, DrainMethod, Hook};
use crate::plan::Plan;
use crate::plan::timeline::{ShutdownStep, StepKind};
use crate::testing::random::Random;
use crate::types::Time;

/// A key with a time in milliseconds, or in half of the cases an empty text.
fn key(random: &mut Random, key: &str, bound: u64) -> String {
    match random.one_in(2) {
        true => String::new(),
        false => format!(", {key}: {}ms", random.below(bound) + 1),
    }
}

fn hooks(random: &mut Random, bound: u64) -> String {
    let mut text = "hooks: {x-a: b".to_owned();
    for hook in ["pre_stop", "post_stop"] {
        if random.one_in(4) {
            text += &format!(", {hook}: {{command: [x]{}}}", key(random, "timeout", bound));
        }
    }
    text + "}"
}

/// A config in which `${GRACE}` is the grace period.
fn config(random: &mut Random) -> String {
    let delay = random.pick(&["readiness_delay", "unready_delay"]);
    let (delay, hooks_of_all) = (key(random, delay, 5900), hooks(random, 4000));
    let mut text =
        format!("shutdown: {{grace_period: '${{GRACE}}'{delay}}}\n{hooks_of_all}\nprocesses:\n");
    for id in 0..1 + random.below(4) {
        let needs: Vec<_> = (0..id).filter(|_| random.one_in(2)).collect();
        let needs: Vec<_> = needs.iter().map(|id| format!("p{id}")).collect();
        text += &format!("  p{id}: {{command: [x], depends_on: [{}]", needs.join(", "));
        text += &key(random, "stop_grace_period", 6000);
        let drain = ["exec: {command: [x]", "envoy: {admin: 'unix:/a'", ""];
        let drain = random.pick(&drain);
        if !drain.is_empty() {
            let longest = random.pick(&[1000, 9000]);
            let times = key(random, "time", longest) + &key(random, "min", 9000);
            text += &format!(", drain: {{{drain}{times}}}}}");
        }
        text += &format!(", {}}}\n", hooks(random, 2000));
    }
    text
}

/// The times of a shutdown, as simple sums along the longest chain of dependencies. Each wait that
/// the config does not set takes the same time.
struct Sums {
    /// The whole shutdown, if every drain takes its `time`.
    whole: Duration,
    /// The whole shutdown, if every drain takes its `min`.
    least: Duration,
    /// The delays, every drain with its `min`, and the time that these waits leave to the stops.
    traffic: Duration,
}

impl Sums {
    /// `undeclared` is the time of each hook, each stop and each drain that the config does not set.
    /// A drain takes at least its `min`.
    fn of(config: &Config, undeclared: [Duration; 3]) -> Self {
        let [of_hook, of_stop, of_drain] = undeclared;
        let second = Duration::from_secs(1);
        let hook = |hook: &Option<Hook>| {
            hook.as_ref().map_or(Duration::ZERO, |it| it.timeout.unwrap_or(of_hook))
        };
        let closes = |process: &Process| match process.drain.as_ref().map(|drain| &drain.method) {
            Some(DrainMethod::Envoy(_)) => CLOSING,
            _ => Duration::ZERO,
        };
        let stop = |process: &Process| process.stop_grace_period.unwrap_or(of_stop);
        // The waits before the drains, and the delay that runs at the same time as the first drain.
        let before = config.shutdown.readiness_delay.max(hook(&config.hooks.pre_stop));
        let beside = config.shutdown.unready_delay;
        let drains = |beside: Duration, of: &dyn Fn(&Drain) -> Duration| {
            let own = |process: &Process| process.drain.as_ref().map_or(Duration::ZERO, of);
            let chains = chains(config, &|process| own(process) + closes(process));
            let first = config.processes.iter().zip(&chains).filter(|(it, _)| it.drain.is_some());
            let first = first.map(|(it, chain)| *chain + beside.saturating_sub(own(it)));
            first.max().unwrap_or_default()
        };
        let time = |drain: &Drain| drain.time.unwrap_or(of_drain.max(drain.min));
        // The `min`s of all drains pass at the same time. A later drain takes a second.
        let mins = config.processes.iter().filter_map(|it| Some(it.drain.as_ref()?.min));
        let mins = mins.max().map_or(Duration::ZERO, |min| min.max(beside));
        let later = drains(Duration::ZERO, &|_| second);
        let stops =
            longest(config, &|it| stop(it) + hook(&it.hooks.pre_stop) + hook(&it.hooks.post_stop));
        let stops = stops + hook(&config.hooks.post_stop) + CLOSING;
        let window = config.shutdown.window();
        let kept = longest(config, &|process| stop(process).min(second)).min(window / 4);
        Self {
            whole: before + drains(beside, &time) + stops,
            least: before + mins + later + stops,
            traffic: before + mins + longest(config, &closes) + CLOSING + kept,
        }
    }
}

/// For each process, the sum along the longest chain of its dependencies.
fn chains(config: &Config, own: &dyn Fn(&Process) -> Duration) -> Vec<Duration> {
    let mut sums: BTreeMap<&str, Duration> = BTreeMap::new();
    let sum = |process| {
        let process: &Process = process;
        let below = process.depends_on.iter().map(|on| sums[&*on.process]).max();
        let sum = own(process) + below.unwrap_or_default();
        sums.insert(&process.name, sum);
        sum
    };
    config.processes.iter().map(|process| &**process).map(sum).collect()
}

fn longest(config: &Config, own: &dyn Fn(&Process) -> Duration) -> Duration {
    chains(config, own).into_iter().max().unwrap_or_default()
}

/// The time that is always kept for closing the listeners of an Envoy, or for the last count of its
/// connections.
const CLOSING: Duration = Duration::from_millis(250);

// holds: S75, S79, S80, S81, S89, S90, C88, C373, C657
#[test]
fn check_accepts_exactly_the_configs_whose_plan_cuts_nothing() {
    let random = &mut Random(0x5EED);
    let (mut accepted, mut warned, mut refused, mut fitting) = (0, 0, 0, 0);
    for _ in 0..1200 {
        let (text, grace) = (config(random), 8 + random.below(24));
        let mut written = load(&[&text], &[("GRACE", "1h")]).unwrap().config;
        written.shutdown.grace_period = Duration::from_secs(grace);
        // An undeclared wait gets at least 1 s. If so much is left, a hook gets up to 10 s, and a
        // stop gets the whole window.
        let second = Duration::from_secs(1);
        let window = written.shutdown.window();
        let sums = Sums::of(&written, [second, second, Duration::ZERO]);
        let most = Sums::of(&written, [10 * second, window, window]);
        let loaded = match load(&[&text], &[("GRACE", &grace.to_string())]) {
            Ok(loaded) => loaded,
            Err(problems) => {
                let is_min =
                    |it: &crate::load::Diagnostic| it.message.starts_with("`min` does not");
                assert!(problems.iter().any(is_min), "{problems:?}\n{text}");
                assert!(sums.traffic > written.shutdown.window(), "{problems:?}\n{grace}\n{text}");
                refused += 1;
                continue;
            }
        };
        let is_warned =
            loaded.warnings.iter().any(|it| it.message.starts_with("the declared waits do not"));
        let plan = Plan::new(&loaded.config, &loaded.graph);
        let times = without_rest(&loaded.config);
        let times = times.as_ref().map(|config| Plan::new(config, &loaded.graph));
        let times = times.as_ref().unwrap_or(&plan);
        let mut cuts = 0;
        for (timeline, asked) in times.timelines() {
            let all = times.cuts(timeline, asked);
            let is_rest = |step: &ShutdownStep| {
                let process = step.process.map(|id| &loaded.config.processes[id.index()]);
                step.kind == StepKind::Drain
                    && process.is_some_and(|it| takes_the_rest(it, times.window()))
            };
            cuts += all.filter(|(step, _)| !is_rest(step)).count();
        }
        for (timeline, asked) in plan.timelines() {
            let delays = timeline.steps.iter().filter(|it| it.kind == StepKind::ReadinessDelay);
            let from = delays.map(|it| it.begins + it.takes()).max().unwrap_or_default();
            for step in timeline.steps.iter().filter(|step| step.kind == StepKind::Drain) {
                let drain = loaded.config.processes[step.process.unwrap().index()].drain.as_ref();
                let min = drain.and_then(|drain| drain.method.times().min.map(|_| drain.min));
                let delay = loaded.config.shutdown.unready_delay;
                let delay = Some(delay).filter(|_| asked && step.begins == Time::default());
                let least = min.max(delay.filter(|_| sums.least <= plan.window()));
                let ends = (step.begins + step.takes()).since(from);
                assert!(least.is_none_or(|least| ends >= least), "{step:?}\n{text}");
            }
        }
        let shown = || format!("{}\n{grace} s\n{text}", crate::plan::text::text(&plan));
        assert_eq!(is_warned, cuts > 0, "{}", shown());
        // An Envoy that does not close its listeners may delay the stop by an eighth of the time
        // left.
        let closing = plan.window() / 8 * u32::try_from(text.matches("envoy").count()).unwrap();
        let most = most.whole + closing;
        let least = match most <= plan.window() {
            true => most - closing,
            false => sums.whole.min(plan.window()),
        };
        // A hook that runs before the drains also uses up the `unready_delay`.
        let least = least.saturating_sub(CLOSING + written.shutdown.unready_delay);
        // After a SIGKILL, a hook of the container may use a part of `reserve`.
        let most = most.min(written.shutdown.grace_period);
        let says = plan.longest();
        assert!(least <= says && says <= most, "{least:?} {says:?} {most:?} {}", shown());
        if sums.whole <= plan.window() {
            fitting += 1;
            assert_eq!(cuts, 0, "{}", shown());
        }
        *(if is_warned { &mut warned } else { &mut accepted }) += 1;
    }
    let counts = [accepted, warned, refused, fitting];
    assert!(counts.into_iter().min() > Some(20), "{counts:?}");
}
