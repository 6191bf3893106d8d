//! The plan of a reload: the place of each process of the new config among those that run, and the
//! steps that follow from it, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::config::{Config, Update};
use crate::core::slots::Placed;
use crate::core::spec::{ProcessSpec, Spec};
use crate::load::forms::Word;
use crate::plan::changes;
use crate::plan::changes::Definition;
use crate::types::suggest::list;
use crate::types::{ProcessId, human};

/// The keys that say only how drainit treats a process later. Where nothing else differs, it goes
/// on untouched.
const TAKEN_OVER: [&str; 2] = ["depends_on", "update"];

/// A process that drainit has.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    pub slot: ProcessId,
    pub definition: Definition<'a>,
    pub spec: &'a ProcessSpec,
    pub life: Life,
}

/// How far a process is, as far as a reload cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Runs,
    /// It has ended for good, or was left out.
    Over,
    /// A requested start or the last reload could not bring it up.
    Failed,
    /// It was stopped by hand, and stays down.
    Stopped,
}

/// The steps of a reload.
#[derive(Debug)]
pub struct Reload<'a> {
    /// The place of each process of the new config.
    pub placed: Vec<Placed>,
    /// First the removed ones, dependents first; then those that are replaced or started, dependencies first.
    pub steps: Vec<Step<'a>>,
    /// The processes that nothing happens to.
    pub untouched: Vec<&'a str>,
    /// Keys of the container that have other values from now on.
    pub of_container: Vec<&'static str>,
}

/// One step: a process, and its change.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    pub name: &'a str,
    pub effect: Effect<'a>,
    /// The longest time that it takes once it has begun; `None`: a oneshot has no limit.
    pub longest: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// It is drained and stopped.
    Removed,
    /// It is replaced, because these keys differ. `is_apart`: it is an Envoy, and cannot take over
    /// from the one that runs.
    Replaced { update: Update, keys: Vec<&'static str>, is_apart: bool },
    /// It does not run, and starts, because these keys differ, or because it has failed.
    StartsAgain { keys: Vec<&'static str> },
    /// It was stopped by hand, and starts because this process, which starts, needs it.
    Needed { by: &'a str },
    /// It was stopped by hand, and stays down; these keys differ.
    StaysDown { keys: Vec<&'static str> },
    /// It is restarted, because it depends on this process with `restart: true`.
    Follows { update: Update, on: &'a str },
    /// It is new.
    Starts,
    /// It is new, and its `only_if` cannot hold.
    LeftOut,
    /// It is not touched; drainit takes over these keys.
    TakenOver { keys: Vec<&'static str> },
}

impl<'a> Reload<'a> {
    /// `new`: the new config, with its spec and the container's arguments for each process.
    /// `running` has its processes in file order.
    #[must_use]
    pub fn new(
        old: &Config,
        running: &[Running<'a>],
        new: &'a Config,
        spec: &Spec,
        args: &'a [Vec<String>],
    ) -> Self {
        let by_name: BTreeMap<_, _> =
            running.iter().map(|one| (one.definition.process.name.as_str(), one)).collect();
        let differences: Vec<_> = new
            .processes
            .iter()
            .zip(args)
            .map(|(process, args)| {
                let one = *by_name.get(process.name.as_str())?;
                let keys = changes::of_process(one.definition, Definition { process, args });
                Some((one, keys))
            })
            .collect();
        // A later hot restart needs an instance that was started for it.
        let is_replaced = |one: &Running<'_>, keys: &[&str], spec: &ProcessSpec| {
            one.life == Life::Failed
                || keys.iter().any(|key| !TAKEN_OVER.contains(key))
                || spec.is_apart(one.spec)
        };
        let placed = differences
            .iter()
            .zip(&spec.processes)
            .map(|(found, spec)| match found {
                Some((one, keys)) if is_replaced(one, keys, spec) => Placed::Changed(one.slot),
                Some((one, _)) => Placed::Same(one.slot),
                None => Placed::New,
            })
            .collect();
        let named: BTreeSet<_> =
            new.processes.iter().map(|process| process.name.as_str()).collect();
        let gone =
            running.iter().filter(|one| !named.contains(one.definition.process.name.as_str()));
        let mut steps: Vec<_> = dependents_first(gone)
            .into_iter()
            .map(|one| Step {
                name: &one.definition.process.name,
                effect: Effect::Removed,
                longest: Some(one.stop()),
            })
            .collect();
        let mut untouched = Vec::new();
        // A process that is started anew has those follow that ask for it.
        let mut is_new = vec![false; new.processes.len()];
        for id in &spec.order {
            let (process, spec) = (&new.processes[id.index()], &spec.processes[id.index()]);
            let started = |on: &&crate::config::Dependency| {
                let place = new.processes.iter().position(|other| other.name == on.process);
                on.restart && place.is_some_and(|place| is_new[place])
            };
            let on = process.depends_on.iter().find(started).map(|on| on.process.as_str());
            let (effect, stops) = match (&differences[id.index()], on) {
                (None, _) if spec.left_out => (Effect::LeftOut, None),
                (None, _) => (Effect::Starts, None),
                (Some((one, keys)), _) if is_replaced(one, keys, spec) => match one.life {
                    Life::Runs => {
                        let is_apart = spec.is_apart(one.spec);
                        let update = if is_apart { Update::StopFirst } else { process.update };
                        let keys = keys.clone();
                        (Effect::Replaced { update, keys, is_apart }, Some(one))
                    }
                    Life::Over | Life::Failed => (Effect::StartsAgain { keys: keys.clone() }, None),
                    Life::Stopped => (Effect::StaysDown { keys: keys.clone() }, None),
                },
                (Some((one, _)), Some(on)) if one.life == Life::Runs => {
                    (Effect::Follows { update: process.update, on }, Some(one))
                }
                (Some((_, keys)), _) if keys.is_empty() => {
                    untouched.push(process.name.as_str());
                    continue;
                }
                (Some((_, keys)), _) => (Effect::TakenOver { keys: keys.clone() }, None),
            };
            let starts = match effect {
                Effect::StaysDown { .. } | Effect::LeftOut | Effect::TakenOver { .. } => {
                    Some(Duration::ZERO)
                }
                _ => {
                    is_new[id.index()] = true;
                    start(spec)
                }
            };
            // The new epoch ends the old one, after a time of its own.
            let ends = |one: &Running<'_>| match effect {
                Effect::Replaced { update: Update::HotRestart, .. }
                | Effect::Follows { update: Update::HotRestart, .. } => {
                    one.end(spec.handover.unwrap_or_default())
                }
                _ => one.stop(),
            };
            let stops = stops.map(|one| ends(one)).unwrap_or_default();
            let given_up = if is_new[id.index()] { give_up(spec) } else { Duration::ZERO };
            // Beside the old one, either of the two is stopped.
            let stops = match process.update {
                Update::StopFirst => stops.saturating_add(given_up),
                Update::StartFirst | Update::HotRestart => stops.max(given_up),
            };
            let longest = starts.map(|starts| starts.saturating_add(stops));
            steps.push(Step { name: &process.name, effect, longest });
        }
        start_needed(&mut steps, &mut untouched, new, spec, &by_name);
        let of_container = changes::taken_over(old, new);
        Self { placed, steps, untouched, of_container }
    }

    /// The steps for a terminal, one a line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let rows: Vec<_> = self.steps.iter().map(|step| (step.name, step.what(), step)).collect();
        let width = |of: &mut dyn Iterator<Item = usize>| of.max().unwrap_or_default();
        let first = width(&mut rows.iter().map(|(name, ..)| name.chars().count()));
        let second = width(&mut rows.iter().map(|(_, what, _)| what.chars().count()));
        for (name, what, step) in rows {
            let line = format!("{name:first$}  {what:second$}  {}", step.why());
            let _ = write!(out, "{}", line.trim_end());
            match step.longest {
                Some(Duration::ZERO) => out.push('\n'),
                Some(longest) => out.push_str(&format!("; at most {}\n", human(longest))),
                None => out.push_str("; without a limit\n"),
            }
        }
        if !self.of_container.is_empty() {
            let keys = list(self.of_container.iter().copied());
            let _ = writeln!(out, "from now on with the new {keys}");
        }
        if self.steps.is_empty() && self.of_container.is_empty() {
            out.push_str("nothing has changed\n");
        } else if !self.untouched.is_empty() {
            let _ = writeln!(out, "not touched: {}", self.untouched.join(", "));
        }
        out
    }

    /// The same for programs. Times are seconds; `longest` is null where there is no limit.
    #[must_use]
    pub fn json(&self) -> String {
        let steps = self.steps.iter().map(|step| {
            let mut one = json!({
                "process": step.name,
                "action": step.action(),
                "longest": step.longest.map(|longest| longest.as_secs_f64()),
            });
            let (update, keys, dependency) = match &step.effect {
                Effect::Replaced { update, keys, .. } => (Some(*update), keys.as_slice(), None),
                Effect::Follows { update, on } => (Some(*update), &[][..], Some(*on)),
                Effect::StartsAgain { keys }
                | Effect::StaysDown { keys }
                | Effect::TakenOver { keys } => (None, keys.as_slice(), None),
                Effect::Needed { by } => (None, &[][..], Some(*by)),
                Effect::Removed | Effect::Starts | Effect::LeftOut => (None, &[][..], None),
            };
            if let Some(update) = update {
                one["update"] = json!(update.word());
            }
            if !keys.is_empty() {
                one["keys"] = json!(keys);
            }
            if let Some(dependency) = dependency {
                one["dependency"] = json!(dependency);
            }
            one
        });
        let steps: Vec<_> = steps.collect();
        let whole = json!({
            "steps": steps, "untouched": self.untouched, "container": self.of_container,
        });
        format!("{whole}\n")
    }
}

impl Step<'_> {
    /// Whether it starts the process, and what that needs.
    fn starts(&self) -> bool {
        matches!(
            self.effect,
            Effect::Replaced { .. }
                | Effect::StartsAgain { .. }
                | Effect::Needed { .. }
                | Effect::Starts
        )
    }

    /// For programs.
    fn action(&self) -> &'static str {
        match self.effect {
            Effect::Removed => "remove",
            Effect::Replaced { .. } => "replace",
            Effect::Follows { .. } => "follow",
            Effect::StartsAgain { .. } | Effect::Needed { .. } | Effect::Starts => "start",
            Effect::StaysDown { .. } | Effect::LeftOut | Effect::TakenOver { .. } => "keep",
        }
    }

    fn what(&self) -> &'static str {
        match self.effect {
            Effect::Removed => "stopped",
            Effect::Replaced { update, .. } | Effect::Follows { update, .. } => match update {
                Update::StopFirst => "replaced, stop-first",
                Update::StartFirst => "replaced, start-first",
                Update::HotRestart => "replaced, hot-restart",
            },
            Effect::StartsAgain { .. } | Effect::Needed { .. } | Effect::Starts => "started",
            Effect::StaysDown { .. } => "stays stopped",
            Effect::LeftOut => "left out",
            Effect::TakenOver { .. } => "goes on",
        }
    }

    fn why(&self) -> String {
        let differ = |keys: &[&'static str]| {
            let differ = if keys.len() == 1 { "differs" } else { "differ" };
            format!("{} {differ}", list(keys.iter().copied()))
        };
        match &self.effect {
            Effect::Removed => "not in the config any more".to_owned(),
            Effect::StartsAgain { keys } if keys.is_empty() => "has failed".to_owned(),
            Effect::Needed { by } => format!("stopped by hand; {by} needs it"),
            Effect::Replaced { keys, is_apart: true, .. } => {
                format!("{}, so Envoy cannot take over", differ(keys))
            }
            Effect::Replaced { keys, .. }
            | Effect::StartsAgain { keys }
            | Effect::TakenOver { keys } => differ(keys),
            Effect::StaysDown { keys } => format!("stopped by hand; {}", differ(keys)),
            Effect::Follows { on, .. } => format!("follows {on} (`restart: true`)"),
            Effect::Starts => "new".to_owned(),
            Effect::LeftOut => "new; its `only_if` does not hold".to_owned(),
        }
    }
}

impl Running<'_> {
    /// The longest time from the beginning of its drain until it is gone.
    fn stop(&self) -> Duration {
        let drain = self.spec.drain.map(|drain| drain.time).unwrap_or_default();
        self.end(drain.saturating_add(self.spec.stop.limit))
    }

    fn end(&self, within: Duration) -> Duration {
        if self.life != Life::Runs {
            return Duration::ZERO;
        }
        with_stop_hooks(self.spec, within)
    }
}

/// The longest time of a start, from its `pre_start` hook on; `None` where it has no limit.
fn start(spec: &ProcessSpec) -> Option<Duration> {
    let hook = spec.hooks.pre_start.map(|wait| wait.limit).unwrap_or_default();
    let within = if spec.oneshot { Some(spec.timeout?) } else { spec.readiness_timeout };
    Some(hook.saturating_add(within.unwrap_or_default()))
}

/// The longest time to stop what is not ready in time, before the reload fails.
fn give_up(spec: &ProcessSpec) -> Duration {
    if spec.readiness_timeout.or(spec.timeout).is_none() {
        return Duration::ZERO;
    }
    with_stop_hooks(spec, spec.stop.limit)
}

/// A time with those of the hooks around a stop.
fn with_stop_hooks(spec: &ProcessSpec, within: Duration) -> Duration {
    let hooks = [spec.hooks.pre_stop, spec.hooks.post_stop].into_iter().flatten();
    hooks.fold(within, |all, hook| all.saturating_add(hook.limit))
}

/// Names what was stopped by hand and starts nevertheless, because a process that starts needs it.
fn start_needed<'a>(
    steps: &mut Vec<Step<'a>>,
    untouched: &mut Vec<&'a str>,
    new: &'a Config,
    spec: &Spec,
    by_name: &BTreeMap<&str, &Running<'_>>,
) {
    // From dependents to dependencies, because these have dependencies, too.
    for id in spec.order.iter().rev() {
        let process = &new.processes[id.index()];
        let name = process.name.as_str();
        let starts = steps.iter().find(|step| step.name == name).is_some_and(Step::starts);
        if !starts {
            continue;
        }
        for on in &process.depends_on {
            let is_stopped =
                by_name.get(on.process.as_str()).is_some_and(|one| one.life == Life::Stopped);
            let place = new.processes.iter().position(|other| other.name == on.process);
            let Some(place) = place.filter(|_| is_stopped) else { continue };
            let needed = new.processes[place].name.as_str();
            let effect = Effect::Needed { by: name };
            let step = Step { name: needed, effect, longest: start(&spec.processes[place]) };
            untouched.retain(|name| *name != needed);
            match steps.iter().position(|step| step.name == needed) {
                Some(known) if steps[known].starts() => {}
                Some(known) => steps[known] = step,
                None => {
                    let before = steps.iter().position(|step| step.name == name);
                    steps.insert(before.unwrap_or_default(), step);
                }
            }
        }
    }
}

/// In an order in which each comes before those that it depends on.
fn dependents_first<'r, 'a: 'r>(
    removed: impl Iterator<Item = &'r Running<'a>>,
) -> Vec<&'r Running<'a>> {
    let mut left: Vec<_> = removed.collect();
    let mut out = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let needed: BTreeSet<_> =
            left.iter().flat_map(|one| one.spec.dependencies.iter().map(|(on, _)| *on)).collect();
        let (rest, next): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|one| needed.contains(&one.slot));
        out.extend(next);
        left = rest;
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::load::Loaded;
    use crate::load::testing::load;

    fn loaded(text: &str) -> Loaded {
        load(&[text], &[]).unwrap()
    }

    /// Runs a function with the reload from one config to another; `life` is that of each process.
    fn between<T>(
        old: &str,
        new: &str,
        life: impl Fn(&str) -> Life,
        with: impl FnOnce(&Reload<'_>) -> T,
    ) -> T {
        let (old, new) = (loaded(old), loaded(new));
        let specs = [&old, &new].map(|loaded| loaded.config.spec(&loaded.graph));
        let slots = specs[0].ids().zip(&old.config.processes).zip(&specs[0].processes);
        let running: Vec<_> = slots
            .map(|((slot, process), spec)| {
                let definition = Definition { process, args: &[] };
                Running { slot, definition, spec, life: life(&process.name) }
            })
            .collect();
        let args = vec![Vec::new(); new.config.processes.len()];
        with(&Reload::new(&old.config, &running, &new.config, &specs[1], &args))
    }

    fn text(old: &str, new: &str, life: impl Fn(&str) -> Life) -> String {
        between(old, new, life, |reload| reload.text())
    }

    const OLD: &str = "
processes:
  base: {command: [base], stop_grace_period: 5s}
  engine: {command: [engine], depends_on: [base], environment: {TOKEN: secret}}
  router: {command: [router], depends_on: {engine: {restart: true}}, drain: {signal: {signal: USR1}}}
  web: {command: [web], update: start-first, readiness: {tcp: '127.0.0.1:1'}, stop_grace_period: 5s}
  task: {command: [task], type: oneshot}
  manual: {command: [manual]}
  old: {command: [old], stop_grace_period: 3s}
  older: {command: [older], depends_on: [old], stop_grace_period: 3s}
";

    const NEW: &str = "
shutdown: {grace_period: 60s}
processes:
  router: {command: [router], depends_on: {engine: {restart: true}}, drain: {signal: {signal: USR1}}}
  base: {command: [base], stop_grace_period: 5s, update: start-first}
  engine: {command: [engine], depends_on: [base], environment: {TOKEN: other, MORE: x}, stop_signal: INT}
  web: {command: [web, -v], update: start-first, readiness: {tcp: '127.0.0.1:1'}, stop_grace_period: 5s}
  task: {command: [task, again], type: oneshot}
  manual: {command: [manual, -v]}
  added: {command: [added], hooks: {pre_start: {command: [a], timeout: 7s}}}
  never: {command: [never], only_if: {value: '', is: x}}
";

    fn life(name: &str) -> Life {
        match name {
            "task" => Life::Over,
            "manual" => Life::Stopped,
            _ => Life::Runs,
        }
    }

    #[test]
    fn each_step_says_what_and_why_and_no_value() {
        let shown = text(OLD, NEW, life);
        assert_eq!(
            shown,
            "\
older   stopped                not in the config any more; at most 3s
old     stopped                not in the config any more; at most 3s
base    goes on                `update` differs
engine  replaced, stop-first   `stop_signal` and `environment` differ; at most 10s
router  replaced, stop-first   follows engine (`restart: true`); at most 25s
web     replaced, start-first  `command` differs; at most 35s
task    started                `command` differs; without a limit
manual  stays stopped          stopped by hand; `command` differs
added   started                new; at most 7s
never   left out               new; its `only_if` does not hold
from now on with the new `shutdown`
"
        );
        let json = between(OLD, NEW, life, |reload| reload.json());
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let step = |name: &str| {
            let steps = json["steps"].as_array().unwrap();
            steps.iter().find(|step| step["process"] == name).unwrap().clone()
        };
        assert_eq!(
            step("engine"),
            serde_json::json!({
                "process": "engine", "action": "replace", "update": "stop-first",
                "keys": ["stop_signal", "environment"], "longest": 10.0,
            })
        );
        assert_eq!(step("router")["dependency"], "engine");
        assert!(step("task")["longest"].is_null());
        assert_eq!(json["container"], serde_json::json!(["shutdown"]));
        assert!(!shown.contains("secret") && !json.to_string().contains("secret"));
    }

    #[test]
    fn places_are_by_name() {
        let placed = between(OLD, NEW, life, |reload| reload.placed.clone());
        let [same, changed] =
            [Placed::Same, Placed::Changed].map(|place| move |id| place(ProcessId(id)));
        assert_eq!(
            placed,
            [
                same(2),
                same(0),
                changed(1),
                changed(3),
                changed(4),
                changed(5),
                Placed::New,
                Placed::New
            ]
        );
    }

    #[test]
    fn nothing_has_changed() {
        assert_eq!(text(OLD, OLD, life), "nothing has changed\n");
        let other = OLD.replace("[web]", "[web, -v]");
        assert_eq!(
            text(OLD, &other, life),
            "web  replaced, start-first  `command` differs; at most 35s\n\
             not touched: base, engine, router, task, manual, old, older\n"
        );
    }

    #[test]
    fn what_has_failed_is_tried_again() {
        let config = "processes: {a: {command: [a]}, b: {command: [b], depends_on: [a]}}";
        let failed = |name: &str| if name == "b" { Life::Failed } else { Life::Runs };
        assert_eq!(text(config, config, failed), "b  started  has failed\nnot touched: a\n");
        let placed = between(config, config, failed, |reload| reload.placed.clone());
        assert_eq!(placed, [Placed::Same(ProcessId(0)), Placed::Changed(ProcessId(1))]);
    }

    #[test]
    fn an_envoy_takes_over_only_from_one_that_was_started_for_it() {
        let envoy = |base: u32, update: &str, more: &str| {
            format!(
                "processes: {{e: {{command: [envoy, -c, /e, --base-id, '{base}', \
                 --drain-time-s, '60', --parent-shutdown-time-s, '90'{more}], update: {update}, \
                 readiness: {{http: 'http://127.0.0.1:1/ready'}}, \
                 drain: {{envoy: {{admin: 'http://127.0.0.1:1'}}}}}}}}"
            )
        };
        let first_word = |old: &str, new: &str| {
            let shown = text(old, new, |_| Life::Runs);
            shown.split(';').next().unwrap_or_default().to_owned()
        };
        let plain = envoy(1, "stop-first", "");
        let hot = envoy(1, "hot-restart", "");
        assert_eq!(
            first_word(&plain, &hot),
            "e  replaced, stop-first  `update` differs, so Envoy cannot take over"
        );
        assert_eq!(
            first_word(&hot, &envoy(2, "hot-restart", "")),
            "e  replaced, stop-first  `command` differs, so Envoy cannot take over"
        );
        // Its config is checked for 10 s at most, it starts for 30 s at most, and the old one has 10 s
        // more than its --parent-shutdown-time-s.
        assert_eq!(
            text(&hot, &envoy(1, "hot-restart", ", -l, debug"), |_| Life::Runs),
            "e  replaced, hot-restart  `command` differs; at most 2m 20s\n"
        );
        assert_eq!(first_word(&hot, &plain), "e  goes on  `update` differs\n");
    }

    #[test]
    fn what_was_stopped_by_hand_is_started_if_a_new_process_needs_it() {
        let old = "processes: {a: {command: [a]}, b: {command: [b], depends_on: [a]}, \
                   c: {command: [c]}, d: {command: [d]}}";
        let new = "processes: {a: {command: [a, -v]}, b: {command: [b], depends_on: [a]}, \
                   c: {command: [c]}, d: {command: [d]}, e: {command: [e], depends_on: [b, d]}}";
        let life = |name: &str| if name == "d" { Life::Runs } else { Life::Stopped };
        assert_eq!(
            text(old, new, life),
            "a  started  stopped by hand; b needs it\n\
             b  started  stopped by hand; e needs it\n\
             e  started  new\n\
             not touched: c, d\n"
        );
    }

    #[test]
    fn a_follower_of_a_process_that_stays_down_is_not_touched() {
        let old =
            "processes: {a: {command: [a]}, b: {command: [b], depends_on: {a: {restart: true}}}}";
        let new = old.replace("[a]", "[a, b]");
        let stopped = |name: &str| if name == "a" { Life::Stopped } else { Life::Runs };
        assert_eq!(
            text(old, &new, stopped),
            "a  stays stopped  stopped by hand; `command` differs\nnot touched: b\n"
        );
    }
}
