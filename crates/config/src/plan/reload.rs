//! The plan of a reload: the place of each process of the new config among those that run, and what
//! follows from the difference, in order.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;

use serde_json::json;

use crate::config::{Config, Update};
use crate::core::slots::Placed;
use crate::core::spec::{ProcessSpec, Spec};
use crate::load::forms::Word;
use crate::plan::changes;
use crate::plan::changes::Definition;
use crate::types::ProcessId;
use crate::types::suggest::list;

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
    /// First the removed ones, dependents first; then the others, dependencies first.
    pub steps: Vec<Step<'a>>,
    /// The processes that nothing happens to.
    pub untouched: Vec<&'a str>,
    /// Keys of the container that have other values from now on.
    pub of_container: Vec<&'static str>,
}

/// What happens to a process, and why.
#[derive(Debug)]
pub struct Step<'a> {
    pub name: &'a str,
    pub action: Action,
    /// How it is replaced.
    update: Option<Update>,
    /// The keys that differ.
    keys: Vec<&'static str>,
    /// The process because of which it is restarted or started.
    dependency: Option<&'a str>,
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is drained and stopped.
    Remove,
    Replace,
    /// It is restarted, because it depends on a process that is, with `restart: true`.
    Follow,
    Start,
    /// It was stopped by hand.
    StayDown,
    /// Its `only_if` cannot hold.
    LeaveOut,
    /// It is not touched; drainit takes over the keys that differ.
    TakeOver,
}

impl Action {
    /// For programs, and for people.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Remove => ("remove", "stopped"),
            Self::Replace => ("replace", "replaced"),
            Self::Follow => ("follow", "replaced"),
            Self::Start => ("start", "started"),
            Self::StayDown => ("keep", "stays stopped"),
            Self::LeaveOut => ("keep", "left out"),
            Self::TakeOver => ("keep", "goes on"),
        }
    }
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
        let known = found(running, new, spec, args);
        let needed_by = needed(&known, new, spec);
        let mut steps = removed(running, new);
        let mut untouched = Vec::new();
        // A process that is started anew has those follow that ask for it.
        let mut anew = HashSet::new();
        for id in &spec.order {
            let (process, spec) = (&new.processes[id.index()], &spec.processes[id.index()]);
            let mut step = Step::new(&process.name, Action::Start, String::new());
            let mut on = process.depends_on.iter();
            let on = on.find(|on| on.restart && anew.contains(on.process.as_str()));
            let Some(Known { one, keys, is_replaced }) = &known[id.index()] else {
                step.why = "new".to_owned();
                if spec.left_out {
                    step.action = Action::LeaveOut;
                    step.why = "new; its `only_if` does not hold".to_owned();
                } else {
                    anew.insert(&*process.name);
                }
                steps.push(step);
                continue;
            };
            let differ = differ(keys);
            match (one.life, on) {
                (Life::Stopped, _) if needed_by[id.index()].is_some() => {
                    step.dependency = needed_by[id.index()];
                    let by = step.dependency.unwrap_or_default();
                    step.why = format!("stopped by hand; {by} needs it");
                    steps.push(step);
                    continue;
                }
                (Life::Stopped, _) if *is_replaced => {
                    step.action = Action::StayDown;
                    step.why = format!("stopped by hand; {differ}");
                }
                (Life::Runs, _) if *is_replaced => {
                    step.action = Action::Replace;
                    let is_apart = spec.is_apart(one.spec);
                    let end = if is_apart { ", so Envoy cannot take over" } else { "" };
                    step.update = Some(if is_apart { Update::StopFirst } else { process.update });
                    step.why = format!("{differ}{end}");
                }
                (Life::Over | Life::Failed, _) if *is_replaced => {
                    step.why = if keys.is_empty() { "has failed".to_owned() } else { differ };
                }
                (Life::Runs, Some(on)) => {
                    step.action = Action::Follow;
                    step.update = Some(process.update);
                    step.dependency = Some(&on.process);
                    step.why = format!("follows {} (`restart: true`)", on.process);
                }
                _ if keys.is_empty() => {
                    untouched.push(process.name.as_str());
                    continue;
                }
                _ => {
                    step.action = Action::TakeOver;
                    step.why = differ;
                }
            }
            if !matches!(step.action, Action::StayDown | Action::TakeOver) {
                anew.insert(&process.name);
            }
            if step.action != Action::Follow {
                step.keys.clone_from(keys);
            }
            steps.push(step);
        }
        let place = |known: &Option<Known<'_, '_>>| match known {
            Some(Known { one, is_replaced: true, .. }) => Placed::Changed(one.slot),
            Some(Known { one, .. }) => Placed::Same(one.slot),
            None => Placed::New,
        };
        let placed = known.iter().map(place).collect();
        Self { placed, steps, untouched, of_container: changes::taken_over(old, new) }
    }

    /// The steps for a terminal, one a line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let what = |step: &Step<'_>| match step.update {
            Some(update) => format!("{}, {}", step.action.words().1, update.word()),
            None => step.action.words().1.to_owned(),
        };
        let width = |of: &dyn Fn(&Step<'_>) -> usize| self.steps.iter().map(of).max().unwrap_or(0);
        let name = width(&|step| step.name.chars().count());
        let second = width(&|step| what(step).len());
        for step in &self.steps {
            let _ = writeln!(out, "{:name$}  {:second$}  {}", step.name, what(step), step.why);
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

    /// The same for programs.
    #[must_use]
    pub fn json(&self) -> String {
        let steps = self.steps.iter().map(|step| {
            let mut one = json!({"process": step.name, "action": step.action.words().0});
            if let Some(update) = step.update {
                one["update"] = json!(update.word());
            }
            if !step.keys.is_empty() {
                one["keys"] = json!(step.keys);
            }
            if let Some(dependency) = step.dependency {
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

impl<'a> Step<'a> {
    fn new(name: &'a str, action: Action, why: String) -> Self {
        Self { name, action, update: None, keys: Vec::new(), dependency: None, why }
    }
}

/// "`command` differs"
fn differ(keys: &[&'static str]) -> String {
    let differ = if keys.len() == 1 { "differs" } else { "differ" };
    format!("{} {differ}", list(keys.iter().copied()))
}

/// A process that both configs have.
struct Known<'r, 'a> {
    one: &'r Running<'a>,
    /// The keys that differ.
    keys: Vec<&'static str>,
    /// Whether it gets a new instance.
    is_replaced: bool,
}

/// For each process of the new config, the one that drainit has.
fn found<'r, 'a>(
    running: &'r [Running<'a>],
    new: &'a Config,
    spec: &Spec,
    args: &'a [Vec<String>],
) -> Vec<Option<Known<'r, 'a>>> {
    let by_name: BTreeMap<_, _> =
        running.iter().map(|one| (one.definition.process.name.as_str(), one)).collect();
    let processes = new.processes.iter().zip(args).zip(&spec.processes);
    let known = processes.map(|((process, args), spec)| {
        let one = *by_name.get(process.name.as_str())?;
        let keys = changes::of_process(one.definition, Definition { process, args });
        // A later hot restart needs an instance that was started for it.
        let is_replaced = one.life == Life::Failed
            || keys.iter().any(|key| !TAKEN_OVER.contains(key))
            || spec.is_apart(one.spec);
        Some(Known { one, keys, is_replaced })
    });
    known.collect()
}

/// For each process that was stopped by hand and starts nevertheless, the one that needs it and starts.
fn needed<'a>(
    known: &[Option<Known<'_, '_>>],
    new: &'a Config,
    spec: &Spec,
) -> Vec<Option<&'a str>> {
    let mut needed_by = vec![None; known.len()];
    for id in spec.order.iter().rev() {
        let starts = match &known[id.index()] {
            None => !spec.processes[id.index()].left_out,
            Some(known) if known.one.life == Life::Stopped => needed_by[id.index()].is_some(),
            Some(known) => known.is_replaced,
        };
        if starts {
            for (on, _) in &spec.processes[id.index()].dependencies {
                needed_by[on.index()].get_or_insert(new.processes[id.index()].name.as_str());
            }
        }
    }
    needed_by
}

/// The processes that the new config does not have, each before those that it depends on.
fn removed<'a>(running: &[Running<'a>], new: &Config) -> Vec<Step<'a>> {
    let stays: HashSet<_> = new.processes.iter().map(|process| &*process.name).collect();
    let is_gone = |one: &&Running<'a>| !stays.contains(&*one.definition.process.name);
    let mut left: Vec<_> = running.iter().filter(is_gone).collect();
    let mut out = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let needed: BTreeSet<_> =
            left.iter().flat_map(|one| one.spec.dependencies.iter().map(|(on, _)| *on)).collect();
        let (rest, next): (Vec<&Running<'a>>, Vec<_>) =
            left.into_iter().partition(|one| needed.contains(&one.slot));
        for one in next {
            let why = "not in the config any more".to_owned();
            out.push(Step::new(&one.definition.process.name, Action::Remove, why));
        }
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
older   stopped                not in the config any more
old     stopped                not in the config any more
base    goes on                `update` differs
engine  replaced, stop-first   `stop_signal` and `environment` differ
router  replaced, stop-first   follows engine (`restart: true`)
web     replaced, start-first  `command` differs
task    started                `command` differs
manual  stays stopped          stopped by hand; `command` differs
added   started                new
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
                "keys": ["stop_signal", "environment"],
            })
        );
        assert_eq!(step("router")["dependency"], "engine");
        assert_eq!(json["container"], serde_json::json!(["shutdown"]));
        assert!(!shown.contains("secret") && !json.to_string().contains("secret"));
    }

    #[test]
    fn nothing_has_changed() {
        assert_eq!(text(OLD, OLD, life), "nothing has changed\n");
        let other = OLD.replace("[web]", "[web, -v]");
        assert_eq!(
            text(OLD, &other, life),
            "web  replaced, start-first  `command` differs\n\
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
        let shown = |old: &str, new: &str| text(old, new, |_| Life::Runs);
        let plain = envoy(1, "stop-first", "");
        let hot = envoy(1, "hot-restart", "");
        assert_eq!(
            shown(&plain, &hot),
            "e  replaced, stop-first  `update` differs, so Envoy cannot take over\n"
        );
        assert_eq!(
            shown(&hot, &envoy(2, "hot-restart", "")),
            "e  replaced, stop-first  `command` differs, so Envoy cannot take over\n"
        );
        assert_eq!(
            shown(&hot, &envoy(1, "hot-restart", ", -l, debug")),
            "e  replaced, hot-restart  `command` differs\n"
        );
        assert_eq!(shown(&hot, &plain), "e  goes on  `update` differs\n");
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
