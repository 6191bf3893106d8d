//! The plan of a reload: a rehearsal with the machine of the running drainit, in words.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use drainit_journal::messages::{Names, request_error};
use drainit_journal::rehearsal::{Move, Rehearsal, Step};

use crate::core::slots::Placed;
use crate::core::spec::Spec;
use crate::keys::{Config, Update};
use crate::plan::changes;
use crate::plan::placement::{Compared, Life, Running};
use crate::types::suggest::list;

#[derive(Debug)]
pub struct ReloadPlan {
    /// For each process of the new config: whether it is new, unchanged or changed, and its slot.
    pub placed: Vec<Placed>,
    /// The names of the processes that the reload starts or replaces.
    pub anew: HashSet<String>,
    /// The steps in their order, with a line for each.
    pub text: String,
}

impl ReloadPlan {
    /// Rehearses the reload of a running drainit to the config `new`. `spec` and `args` belong to
    /// this config; `args` has the container's arguments for each of its processes.
    ///
    /// # Errors
    /// If there are too many processes.
    pub fn new(
        running: &Running,
        new: &Config,
        spec: &Spec,
        args: &[Vec<String>],
    ) -> Result<Self, String> {
        let compared = running.compare(new, spec, args).ok_or("too many processes")?;
        let placed: Vec<_> = compared.iter().map(|one| one.placed).collect();
        let mut names = Names(Vec::new());
        let known = running.definitions.iter().map(|(slot, process, _)| (*slot, &**process));
        for (slot, process) in
            known.chain(compared.iter().map(|one| (one.placed.slot(), one.process)))
        {
            names.set(slot, process.name.clone());
        }
        let mut played = Rehearsal::of(running.machine.clone(), spec.clone(), &placed, names);
        let by_name: BTreeMap<_, _> =
            compared.iter().map(|one| (one.process.name.as_str(), one)).collect();
        let find = |step: &Step| by_name.get(&*step.process);
        played.steps.retain(|step| find(step).is_none_or(|one| one.is_moved(step)));
        let moved: HashSet<_> = played.steps.iter().map(|step| step.process.clone()).collect();
        let redefined = compared.iter().filter(|one| one.is_redefined());
        let redefined = redefined.map(|one| Step::of(&one.process.name));
        let mut steps: Vec<_> = redefined.filter(|step| !moved.contains(&step.process)).collect();
        steps.append(&mut played.steps);
        let begins = |step: &&Step| step.moved.is_some_and(|one| one != Move::Stopped);
        let anew = steps.iter().filter(begins).map(|step| step.process.clone()).collect();
        let rows = steps.iter().map(|step| match find(step) {
            Some(one) => (&*step.process, one.action(step), one.reason(step, spec, new, &anew)),
            None => (&*step.process, "stopped", "not in the config any more".to_owned()),
        });
        let mut text = table(&rows.collect::<Vec<_>>());
        if let Some(Err(why)) = played.outcome {
            let _ = writeln!(text, "then the reload fails: {}", request_error(why, &played.names));
        }
        let of_container = changes::taken_over(&running.config, new);
        if !of_container.is_empty() {
            let keys = list(of_container);
            let _ = writeln!(text, "from now on, the container has the new {keys}");
        }
        let in_order = spec.order.iter().map(|id| new.processes[id.index()].name.as_str());
        let is_touched = |name: &&str| steps.iter().any(|step| step.process == **name);
        let untouched: Vec<_> = in_order.filter(|name| !is_touched(name)).collect();
        if text.is_empty() {
            text.push_str("nothing has changed\n");
        } else if !untouched.is_empty() {
            let _ = writeln!(text, "not touched: {}", untouched.join(", "));
        }
        Ok(Self { placed, anew, text })
    }
}

impl Compared<'_> {
    fn is_same(&self) -> bool {
        matches!(self.placed, Placed::Same(_))
    }

    /// Whether the step belongs to the reload. A running process without changes can also start
    /// again by itself, after a failure.
    fn is_moved(&self, step: &Step) -> bool {
        !self.is_same() || self.life != Some(Life::Runs) || step.follows.is_some()
    }

    fn is_redefined(&self) -> bool {
        self.is_same() && !self.keys.is_empty()
    }

    fn action(&self, step: &Step) -> &'static str {
        match step.moved {
            Some(Move::Stopped) => "stopped",
            Some(Move::Started) => "started",
            Some(Move::Restarted) => "replaced, stop-first",
            Some(Move::Overlapped) if self.process.update == Update::HotRestart => {
                "replaced, hot-restart"
            }
            Some(Move::Overlapped) => "replaced, start-first",
            None if step.is_skipped => "left out",
            None if self.is_same() && self.life != Some(Life::Stopped) => "continues",
            None => "stays stopped",
        }
    }

    /// The reasons for a step. `anew` has the processes that the reload starts or replaces.
    fn reason(&self, step: &Step, spec: &Spec, new: &Config, anew: &HashSet<String>) -> String {
        if let Some(on) = &step.follows {
            return format!("follows {on} (`restart: true`)");
        }
        let mut reasons = match self.life {
            None => "new".to_owned(),
            Some(Life::Failed) if self.keys.is_empty() => "has failed".to_owned(),
            Some(_) => differ(&self.keys),
        };
        let is_asked_down = self.life == Some(Life::Stopped) || !self.process.autostart;
        let needed_by = || {
            let names = spec.above(self.id).into_iter().map(|id| &new.processes[id.index()].name);
            names.into_iter().find(|name| anew.contains(*name))
        };
        match step.moved {
            _ if self.is_apart && self.life == Some(Life::Runs) => {
                reasons += ", so Envoy cannot take over";
            }
            _ if step.is_skipped => reasons += "; its `only_if` does not hold",
            None if self.life.is_none() => reasons += "; has `autostart: false`",
            None if self.life == Some(Life::Stopped) => reasons += "; it waits for a request",
            Some(Move::Started) if is_asked_down && let Some(by) = needed_by() => {
                let _ = write!(reasons, "; {by} needs it");
            }
            _ => {}
        }
        reasons.trim_start_matches("; ").to_owned()
    }
}

/// Names the keys that differ; empty if there are none.
fn differ(keys: &[&'static str]) -> String {
    let names = || list(keys.iter().copied());
    match keys.len() {
        0 => String::new(),
        1 => format!("{} differs", names()),
        _ => format!("{} differ", names()),
    }
}

fn table(rows: &[(&str, &str, String)]) -> String {
    let name = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or_default();
    let action = rows.iter().map(|row| row.1.len()).max().unwrap_or_default();
    rows.iter().map(|(of, what, why)| format!("{of:name$}  {what:action$}  {why}\n")).collect()
}
