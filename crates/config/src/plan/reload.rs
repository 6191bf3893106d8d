//! The plan of a reload: which [`ProcessId`] (slot) each process of the new config gets, and what
//! the reload does step by step.

#[cfg(test)]
mod oracle;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use crate::core::slots::Placed;
use crate::core::spec::{ProcessSpec, Spec};
use crate::core::state::Lifecycle;
use crate::keys::{Config, Dependency, Update};
use crate::plan::changes;
use crate::plan::changes::ProcessDefinition;
use crate::types::ProcessId;
use crate::types::suggest::list;

/// Keys that only say how drainit will treat the process later. If no other key has changed, the
/// reload does not restart the process.
const TAKEN_OVER: [&str; 3] = ["autostart", "depends_on", "update"];

/// A process as the running drainit has it.
#[derive(Clone, Copy, Debug)]
pub struct RunningProcess<'a> {
    pub slot: ProcessId,
    pub definition: ProcessDefinition<'a>,
    pub spec: &'a ProcessSpec,
    pub life: Life,
}

/// The state of a process, in the detail that a reload needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Runs,
    /// The process has ended for good, or was never started because of its `only_if`.
    Over,
    /// The last start by a request or by a reload has failed.
    Failed,
    /// The process stays down until a request starts it: an operator has stopped it, or its
    /// `autostart` is false.
    Stopped,
}

impl From<Lifecycle> for Life {
    fn from(lifecycle: Lifecycle) -> Self {
        match lifecycle {
            Lifecycle::Stopped { failed: false } => Self::Stopped,
            Lifecycle::Stopped { failed: true } => Self::Failed,
            Lifecycle::Done => Self::Over,
            _ => Self::Runs,
        }
    }
}

#[derive(Debug)]
pub struct ReloadPlan<'a> {
    /// For each process of the new config: whether it is new, unchanged or changed, and its slot.
    /// `None` if there are too many processes.
    pub placed: Option<Vec<Placed>>,
    /// First the steps of the processes that the reload removes, dependents first; then the steps
    /// of the other processes, dependencies first.
    steps: Vec<ReloadStep<'a>>,
    /// The names of the processes that the reload starts or replaces.
    pub anew: HashSet<&'a str>,
    /// The names of the processes that stay as they are.
    untouched: Vec<&'a str>,
    /// The changed keys of the container whose new values the reload takes over.
    of_container: Vec<&'static str>,
}

#[derive(Debug)]
struct ReloadStep<'a> {
    name: &'a str,
    /// How the reload treats the process, such as "replaced, stop-first".
    what: String,
    why: String,
}

/// A process that is in both the running config and the new config.
struct Known<'r, 'a> {
    one: &'r RunningProcess<'a>,
    /// The keys whose values differ between the two configs.
    keys: Vec<&'static str>,
    /// Whether the process counts as [`Placed::Changed`].
    is_replaced: bool,
}

impl<'a> ReloadPlan<'a> {
    /// Compares the running config `old` with the config `new`. `spec` and `args` belong to the new
    /// config; `args` has the container's arguments for each process of the new config. In
    /// `running`, each process comes after its dependencies.
    pub fn new(
        old: &Config,
        running: &[RunningProcess<'a>],
        new: &'a Config,
        spec: &Spec,
        args: &'a [Vec<String>],
    ) -> Self {
        let known = found(running, new, spec, args);
        let mut steps: Vec<_> = removed(running, new).collect();
        let mut untouched = Vec::new();
        // Dependents with `restart: true` follow these processes, and are restarted, too.
        let mut anew = HashSet::new();
        let needed = needed(new, spec, &known);
        // The processes that are replaced after all other steps, because they follow a dependency.
        let mut last = HashSet::new();
        for id in &spec.order {
            let (process, spec) = (&new.processes[id.index()], &spec.processes[id.index()]);
            let name = process.name.as_str();
            let replaced = |update: Update| format!("replaced, {}", update.name());
            let mut needs = process.depends_on.iter();
            let on = needs.find(|on| on.restart && anew.contains(on.process.as_str()));
            let (is_anew, mut what, mut why) = match &known[id.index()] {
                known if needed.contains_key(id) && !spec.left_out => {
                    let why = match known {
                        Some(Known { keys, .. }) if !keys.is_empty() => differ(keys) + "; ",
                        Some(_) => String::new(),
                        None => "new; ".to_owned(),
                    };
                    (true, "started".to_owned(), format!("{why}{} needs it", needed[id]))
                }
                None if spec.left_out => {
                    (false, "left out".to_owned(), "new; its `only_if` does not hold".to_owned())
                }
                None if !spec.autostart => {
                    (false, "stays stopped".to_owned(), "new; has `autostart: false`".to_owned())
                }
                None => (true, "started".to_owned(), "new".to_owned()),
                Some(Known { one, keys, is_replaced: true })
                    if spec.left_out && one.life != Life::Stopped =>
                {
                    let what = if one.life == Life::Runs { "stopped" } else { "left out" };
                    let why = format!("{}; its `only_if` does not hold", differ(keys));
                    (false, what.to_owned(), why)
                }
                Some(Known { one, keys, is_replaced: true }) => match one.life {
                    Life::Runs if spec.is_apart(one.spec) => {
                        let why = format!("{}, so Envoy cannot take over", differ(keys));
                        (true, replaced(Update::StopFirst), why)
                    }
                    Life::Runs => (true, replaced(process.update), differ(keys)),
                    Life::Over | Life::Failed if spec.autostart => {
                        (true, "started".to_owned(), differ(keys))
                    }
                    Life::Over | Life::Failed => (false, "stays stopped".to_owned(), differ(keys)),
                    Life::Stopped => stays_stopped(keys),
                },
                Some(Known { one, keys, .. }) => match on.filter(|_| one.life == Life::Runs) {
                    Some(on) => {
                        last.insert(name);
                        let why = format!("follows {} (`restart: true`)", on.process);
                        (true, replaced(process.update), why)
                    }
                    None if keys.is_empty() => {
                        untouched.push(name);
                        continue;
                    }
                    None if one.life == Life::Stopped => stays_stopped(keys),
                    None => (false, "continues".to_owned(), differ(keys)),
                },
            };
            // The reload replaces some dependencies only after all steps. A dependent with
            // `restart: true` that was started or replaced in one of these steps is then replaced
            // once more, after its dependency. A oneshot has ended by that time, so it is not
            // replaced.
            let follows = |on: &&Dependency| on.restart && last.contains(on.process.as_str());
            if let Some(on) = process.depends_on.iter().find(follows)
                && is_anew
                && !last.contains(name)
                && !spec.oneshot
            {
                let again = if what == "started" { "replaced" } else { "again" };
                what = format!("{what}, then {again}");
                why = format!("{why}; follows {} (`restart: true`)", on.process);
                last.insert(name);
            }
            anew.extend(is_anew.then_some(name));
            steps.push(ReloadStep { name, what, why });
        }
        let used: HashSet<_> = running.iter().map(|one| one.slot).collect();
        let mut free = (0..u16::MAX).map(ProcessId).filter(|slot| !used.contains(slot));
        let place = |known: &Option<Known<'_, '_>>| match known {
            Some(Known { one, is_replaced: true, .. }) => Some(Placed::Changed(one.slot)),
            Some(Known { one, .. }) => Some(Placed::Same(one.slot)),
            None => free.next().map(Placed::New),
        };
        let placed = known.iter().map(place).collect();
        let of_container = changes::taken_over(old, new);
        Self { placed, steps, anew, untouched, of_container }
    }

    /// The steps as text for a terminal, with a line for each process.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let width =
            |of: &dyn Fn(&ReloadStep<'_>) -> usize| self.steps.iter().map(of).max().unwrap_or(0);
        let (name, what) = (width(&|step| step.name.chars().count()), width(&|it| it.what.len()));
        for step in &self.steps {
            let _ = writeln!(out, "{:name$}  {:what$}  {}", step.name, step.what, step.why);
        }
        if !self.of_container.is_empty() {
            let keys = list(self.of_container.iter().copied());
            let _ = writeln!(out, "from now on, the container has the new {keys}");
        }
        if self.steps.is_empty() && self.of_container.is_empty() {
            out.push_str("nothing has changed\n");
        } else if !self.untouched.is_empty() {
            let _ = writeln!(out, "not touched: {}", self.untouched.join(", "));
        }
        out
    }
}

/// The reason for a step, such as "`command` differs", or "has failed" if the reload only tries a
/// failed process again.
fn differ(keys: &[&'static str]) -> String {
    let names = || list(keys.iter().copied());
    match keys.len() {
        0 => "has failed".to_owned(),
        1 => format!("{} differs", names()),
        _ => format!("{} differ", names()),
    }
}

/// The processes that are down, and that the reload starts because another process needs them,
/// directly or indirectly. The other process is one that the reload starts or replaces; the map has
/// its name as the value.
fn needed<'a>(
    new: &'a Config,
    spec: &Spec,
    known: &[Option<Known<'_, '_>>],
) -> BTreeMap<ProcessId, &'a str> {
    let mut needed = BTreeMap::new();
    for id in &spec.order {
        let process = &spec.processes[id.index()];
        let begins = match &known[id.index()] {
            None => process.autostart,
            Some(Known { one, is_replaced: true, .. }) => match one.life {
                Life::Runs => true,
                Life::Over | Life::Failed => process.autostart,
                Life::Stopped => false,
            },
            Some(_) => false,
        };
        let of = |process: &ProcessSpec| process.dependencies.clone();
        let mut needs = if begins { of(process) } else { Vec::new() };
        while let Some((on, _)) = needs.pop() {
            let other = &spec.processes[on.index()];
            let is_down = match &known[on.index()] {
                None => !other.autostart,
                Some(Known { one, is_replaced, .. }) => match one.life {
                    Life::Stopped => true,
                    Life::Over | Life::Failed => *is_replaced && !other.autostart,
                    Life::Runs => false,
                },
            };
            if is_down && !needed.contains_key(&on) {
                needed.insert(on, &*new.processes[id.index()].name);
                needs.extend(of(other));
            }
        }
    }
    needed
}

/// The step of a process that stays down until a request starts it.
fn stays_stopped(keys: &[&'static str]) -> (bool, String, String) {
    let why = format!("{}; it waits for a request", differ(keys));
    (false, "stays stopped".to_owned(), why)
}

/// For each process of the new config: the process with the same name in the running drainit, if
/// there is one.
fn found<'r, 'a>(
    running: &'r [RunningProcess<'a>],
    new: &'a Config,
    spec: &Spec,
    args: &'a [Vec<String>],
) -> Vec<Option<Known<'r, 'a>>> {
    let by_name: BTreeMap<_, _> =
        running.iter().map(|one| (one.definition.process.name.as_str(), one)).collect();
    let processes = new.processes.iter().zip(args).zip(&spec.processes);
    let known = processes.map(|((process, args), spec)| {
        let one = *by_name.get(process.name.as_str())?;
        let keys = changes::of_process(one.definition, ProcessDefinition { process, args });
        // If an instance runs without `hot-restart` or with another base ID, a later hot restart
        // could not take over from it. The reload therefore replaces such an instance now.
        let is_replaced = one.life == Life::Failed
            || keys.iter().any(|key| !TAKEN_OVER.contains(key))
            || spec.is_apart(one.spec);
        Some(Known { one, keys, is_replaced })
    });
    known.collect()
}

/// The steps for the processes that the new config does not have, dependents first.
fn removed<'a>(
    running: &[RunningProcess<'a>],
    new: &Config,
) -> impl Iterator<Item = ReloadStep<'a>> {
    let stays: HashSet<_> = new.processes.iter().map(|process| &*process.name).collect();
    let names = running.iter().rev().map(|one| &*one.definition.process.name);
    let why = "not in the config any more";
    names.filter(move |name| !stays.contains(name)).map(move |name| ReloadStep {
        name,
        what: "stopped".to_owned(),
        why: why.to_owned(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::Loaded;
    use crate::load::testing::load;

    /// The text of the reload from one config to the other. `life` gives the state of each process.
    pub(crate) fn reload(old: &Loaded, new: &Loaded, life: impl Fn(&str) -> Life) -> String {
        let specs = [old, new].map(|loaded| loaded.config.spec(&loaded.graph));
        let running: Vec<_> = (specs[0].order.iter())
            .map(|&slot| {
                let process = &old.config.processes[slot.index()];
                let definition = ProcessDefinition { process, args: &[] };
                let (spec, life) = (&specs[0].processes[slot.index()], life(&process.name));
                RunningProcess { slot, definition, spec, life }
            })
            .collect();
        let args = vec![Vec::new(); new.config.processes.len()];
        ReloadPlan::new(&old.config, &running, &new.config, &specs[1], &args).text()
    }

    fn text(old: &str, new: &str, life: impl Fn(&str) -> Life) -> String {
        let [old, new] = [old, new].map(|text| load(&[text], &[]).unwrap());
        reload(&old, &new, life)
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
    fn each_step_has_an_action_and_a_reason_and_no_value() {
        let shown = text(OLD, NEW, life);
        assert_eq!(
            shown,
            "\
older   stopped                not in the config any more
old     stopped                not in the config any more
base    continues              `update` differs
engine  replaced, stop-first   `stop_signal` and `environment` differ
router  replaced, stop-first   follows engine (`restart: true`)
web     replaced, start-first  `command` differs
task    started                `command` differs
manual  stays stopped          `command` differs; it waits for a request
added   started                new
never   left out               new; its `only_if` does not hold
from now on, the container has the new `shutdown`
"
        );
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn failed_processes_are_tried_again() {
        let config = "processes: {a: {command: [a]}, b: {command: [b], depends_on: [a]}}";
        let failed = |name: &str| if name == "b" { Life::Failed } else { Life::Runs };
        assert_eq!(text(config, config, failed), "b  started  has failed\nnot touched: a\n");
    }

    #[test]
    fn an_envoy_takes_over_only_from_an_epoch_that_was_started_for_a_hot_restart() {
        let envoy = |base: u32, update: &str, more: &str| {
            format!(
                "processes: {{e: {{command: [envoy, -c, /e, --base-id, '{base}', \
                 --drain-time-s, '60', --parent-shutdown-time-s, '90'{more}], update: {update}, \
                 readiness: {{http: 'http://127.0.0.1:1/ready'}}, \
                 drain: {{envoy: {{admin: 'http://127.0.0.1:1'}}}}}}}}"
            )
        };
        let (plain, hot) = (envoy(1, "stop-first", ""), envoy(1, "hot-restart", ""));
        for (old, new, expected) in [
            (&plain, &hot, "replaced, stop-first  `update` differs, so Envoy cannot take over"),
            (
                &hot,
                &envoy(2, "hot-restart", ""),
                "replaced, stop-first  `command` differs, so Envoy cannot take over",
            ),
            (
                &hot,
                &envoy(1, "hot-restart", ", -l, debug"),
                "replaced, hot-restart  `command` differs",
            ),
            (&hot, &plain, "continues  `update` differs"),
        ] {
            assert_eq!(text(old, new, |_| Life::Runs), format!("e  {expected}\n"), "{new}");
        }
    }
}
