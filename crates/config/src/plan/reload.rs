//! The plan of a reload: a rehearsal with the machine of the running drainit, in words.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use drainit_journal::messages::request_error;
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
    /// this config; `args` has the container's arguments for each of its processes. `None` if there
    /// are too many processes.
    pub fn new(running: &Running, new: &Config, spec: &Spec, args: &[Vec<String>]) -> Option<Self> {
        let compared = running.compare(new, spec, args)?;
        let placed: Vec<_> = compared.iter().map(|one| one.placed).collect();
        let mut names = running.names.clone();
        compared.iter().for_each(|one| names.set(one.placed.slot(), one.process.name.clone()));
        let mut played = Rehearsal::of(running.machine.clone(), spec.clone(), &placed, names);
        let by_name = BTreeMap::from_iter(compared.iter().map(|one| (&*one.process.name, one)));
        let find = |step: &Step| by_name.get(&*step.process);
        played.steps.retain(|step| find(step).is_none_or(|one| one.is_moved(step)));
        let has = |steps: &[Step], name: &str| steps.iter().any(|step| step.process == name);
        let redefined = compared.iter().filter(|one| one.is_redefined());
        let names = redefined.map(|one| &one.process.name).filter(|name| !has(&played.steps, name));
        let mut steps: Vec<_> = names.map(|name| Step::of(name)).collect();
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
        let keys = list(changes::taken_over(&running.config, new));
        if !keys.is_empty() {
            let _ = writeln!(text, "from now on, the container has the new {keys}");
        }
        let in_order = spec.order.iter().map(|id| new.processes[id.index()].name.as_str());
        let untouched: Vec<_> = in_order.filter(|name| !has(&steps, name)).collect();
        if text.is_empty() {
            text.push_str("nothing has changed\n");
        } else if !untouched.is_empty() {
            let _ = writeln!(text, "not touched: {}", untouched.join(", "));
        }
        Some(Self { placed, anew, text })
    }
}

impl Compared<'_> {
    fn action(&self, step: &Step) -> &'static str {
        match (step.moved, self.process.update) {
            (Some(Move::Stopped), _) => "stopped",
            (Some(Move::Started), _) => "started",
            (Some(Move::Restarted), _) => "replaced, stop-first",
            (Some(Move::Overlapped), Update::HotRestart) => "replaced, hot-restart",
            (Some(Move::Overlapped), _) => "replaced, start-first",
            (None, _) if step.is_skipped => "left out",
            (None, _) if self.is_same() && self.life != Some(Life::Stopped) => "continues",
            (None, _) => "stays stopped",
        }
    }

    /// The reasons for a step. `anew` has the processes that the reload starts or replaces.
    fn reason(&self, step: &Step, spec: &Spec, new: &Config, anew: &HashSet<String>) -> String {
        if let Some(on) = &step.follows {
            return format!("follows {on} (`restart: true`)");
        }
        let what = match self.life {
            None => "new".to_owned(),
            Some(Life::Failed) if self.keys.is_empty() => "has failed".to_owned(),
            Some(_) => changes::differ(&self.keys),
        };
        let is_asked_down = self.life == Some(Life::Stopped) || !self.process.autostart;
        let needed_by = || {
            let names = spec.above(self.id).into_iter().map(|id| &new.processes[id.index()].name);
            names.into_iter().find(|name| anew.contains(*name))
        };
        let more = match step.moved {
            _ if self.is_apart && self.life == Some(Life::Runs) => ", so Envoy cannot take over",
            _ if step.is_skipped => "; its `only_if` does not hold",
            None if self.life.is_none() => "; has `autostart: false`",
            None if self.life == Some(Life::Stopped) => "; it waits for a request",
            Some(Move::Started) if is_asked_down && let Some(by) = needed_by() => {
                &format!("; {by} needs it")
            }
            _ => "",
        };
        (what + more).trim_start_matches("; ").to_owned()
    }
}

fn table(rows: &[(&str, &str, String)]) -> String {
    let name = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or_default();
    let action = rows.iter().map(|row| row.1.len()).max().unwrap_or_default();
    rows.iter().map(|(of, what, why)| format!("{of:name$}  {what:action$}  {why}\n")).collect()
}
