//! Compares the plan of a reload with what the core then does, for random configs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::core::action::Action;
use crate::core::event::{Event, Request};
use crate::core::machine::Machine;
use crate::core::note::Note;
use crate::keys::Process;
use crate::load::Loaded;
use crate::load::testing::load;
use crate::testing::random::Random;
use crate::types::{End, Time};

/// Random processes with the keys that a reload compares. Each process may depend on earlier
/// processes.
fn config(random: &mut Random) -> Vec<Entry> {
    let ids: Vec<_> = (0..6).filter(|_| !random.one_in(6)).collect();
    ids.into_iter().map(|id| entry(random, id)).collect()
}

fn entry(random: &mut Random, id: usize) -> Entry {
    let need = |on| random.one_in(3).then(|| (on, random.one_in(2)));
    let needs = (0..id).filter_map(need).collect();
    Entry { id, needs, flags: [4, 2, 6, 3, 8].map(|bound| random.one_in(bound)) }
}

/// The entries after some changes.
fn changed(random: &mut Random, old: &[Entry]) -> Vec<Entry> {
    let mut new: Vec<Entry> = old.iter().filter(|_| !random.one_in(6)).cloned().collect();
    for id in 0..6 {
        if !old.iter().any(|entry| entry.id == id) && random.one_in(2) {
            new.push(entry(random, id));
        }
    }
    new.sort_by_key(|entry| entry.id);
    for one in &mut new {
        one.flags = one.flags.map(|flag| flag ^ random.one_in(6));
        if random.one_in(4) {
            one.needs = entry(random, one.id).needs;
        }
    }
    new
}

#[derive(Clone)]
struct Entry {
    id: usize,
    /// The processes on which the process depends, each with the value of `restart` of the
    /// dependency.
    needs: Vec<(usize, bool)>,
    /// In this order: whether the process starts only by request, whether the last word of its
    /// command is `true`, whether the process is a oneshot, whether its `update` is
    /// `start-first`, and whether it is left out.
    flags: [bool; 5],
}

fn text(entries: &[Entry]) -> String {
    let has = |id: usize| entries.iter().find(|entry| entry.id == id);
    let mut text = String::from("processes:\n");
    for Entry { id, needs, flags: [by_request, is_other, is_oneshot, is_first, is_out] } in entries
    {
        // `check` refuses a process that starts by itself if it needs a process that does not start
        // by itself.
        let may_need = |on| has(on).is_some_and(|on| !on.flags[0] || *by_request);
        let needs = needs.iter().filter(|(on, _)| may_need(*on));
        let needs = needs
            .map(|(on, restart)| format!("p{on}: {{condition: started, restart: {restart}}}, "));
        let needs: String = needs.collect();
        text += &format!("  p{id}: {{command: [x, {is_other}], depends_on: {{{needs}}}");
        for (has, key) in [
            (true, "on_exit: ignore, required: false"),
            (*by_request, "autostart: false"),
            (*is_oneshot, "type: oneshot"),
            (*is_first && !is_oneshot, "update: start-first"),
            (*is_out, "only_if: {value: '', is: x}"),
        ] {
            text += &if has { format!(", {key}") } else { String::new() };
        }
        text += "}\n";
    }
    text
}

/// A core whose processes start, complete and end immediately.
struct World {
    machine: Machine,
    now: Duration,
    /// The name of the process in each slot.
    names: BTreeMap<ProcessId, String>,
    /// How often each process was started and stopped.
    seen: BTreeMap<String, (u32, u32)>,
    /// The answer to the reload.
    answer: Option<Note>,
}

impl World {
    fn new(loaded: &Loaded) -> Self {
        let spec = loaded.config.spec(&loaded.graph);
        let names = spec.ids().map(|id| (id, loaded.config.processes[id.index()].name.clone()));
        let names = names.collect();
        let machine = Machine::new(Arc::new(spec), Time(Duration::ZERO));
        let (now, seen) = (Duration::ZERO, BTreeMap::new());
        let mut world = Self { machine, now, names, seen, answer: None };
        world.handle(vec![Event::Start]);
        world
    }

    fn handle(&mut self, mut events: Vec<Event>) {
        for _ in 0..1000 {
            while !events.is_empty() {
                self.now += Duration::from_millis(1);
                let event = events.remove(0);
                let actions = self.machine.handle(Time(self.now), event);
                events.extend(self.carry_out(actions));
            }
            let Some(at) = self.machine.next_wakeup() else { return };
            self.now = self.now.max(at.0);
            events.push(Event::Tick);
            if self.machine.may_reload().is_ok() {
                return;
            }
        }
        panic!("no end");
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Vec<Event> {
        let mut events = Vec::new();
        let ended = |process| Event::Exited { process, end: End::Code(0), remains: false };
        for action in actions {
            match action {
                Action::Adopt { slot, of, .. } if slot != of => {
                    self.names.insert(slot, self.names[&of].clone());
                }
                Action::CheckCondition { process, check } => {
                    let holds = !self.machine.state().process(process).left_out;
                    events.push(Event::Condition { process, check, holds });
                }
                Action::Spawn(process) => {
                    self.seen.entry(self.names[&process].clone()).or_default().0 += 1;
                    events.push(Event::Spawned(process));
                    if self.machine.state().process(process).oneshot {
                        events.push(ended(process));
                    }
                }
                Action::Stop { process, .. } => {
                    self.seen.entry(self.names[&process].clone()).or_default().1 += 1;
                    events.push(ended(process));
                }
                Action::Note(note @ (Note::ReloadDone | Note::ReloadFailed { .. })) => {
                    self.answer = Some(note);
                }
                _ => {}
            }
        }
        events
    }
}

/// A case that random configs seldom have: a new process and a changed process depend on a process
/// that itself follows a dependency.
const FOLLOWS_AGAIN: &str = "
processes:
  base: {command: [x, WORD], on_exit: ignore}
  web: {command: [x], on_exit: ignore, depends_on: {base: {condition: started, restart: true}}}
  changed: {command: [x, WORD], on_exit: ignore, depends_on: {web: {condition: started, restart: true}}}
";
const ADDED: &str = "  added: {command: [x], on_exit: ignore, depends_on: {web: {condition: started, restart: true}}}";

// holds: C196, C655, C687, C793, C854
#[test]
fn the_core_does_what_the_plan_of_a_reload_says() {
    let random = &mut Random(0x5EED);
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for run in 0..400 {
        let entries = config(random);
        let texts = match run {
            0 => [FOLLOWS_AGAIN.to_owned(), FOLLOWS_AGAIN.replace("WORD", "new") + ADDED],
            _ => [text(&entries), text(&changed(random, &entries))],
        };
        let [Ok(old), Ok(new)] = texts.each_ref().map(|text| load(&[text], &[])) else { continue };
        let mut world = World::new(&old);
        for (slot, name) in world.names.clone() {
            let is_running = Life::from(world.machine.state().life(slot)) == Life::Runs;
            if run > 0 && random.one_in(5) && world.names[&slot] == name {
                let event = match random.one_in(2) && is_running {
                    true => Event::Exited { process: slot, end: End::Code(0), remains: false },
                    false => Event::Requested { process: slot, request: Request::Stop },
                };
                world.handle(vec![event]);
            }
        }
        if world.machine.may_reload().is_err() {
            continue;
        }
        world.seen.clear();
        let (state, names) = (world.machine.state(), world.names.clone());
        let current = state.spec.order.iter().filter(|slot| state.is_current(**slot));
        let current: Vec<_> = current.map(|slot| (*slot, state.process(*slot).clone())).collect();
        let running = current.iter().map(|(slot, spec)| {
            let of = |process: &&Arc<Process>| process.name == names[slot];
            let process = old.config.processes.iter().find(of).unwrap();
            let definition = ProcessDefinition { process, args: &[] };
            RunningProcess { slot: *slot, definition, spec, life: state.life(*slot).into() }
        });
        let running: Vec<_> = running.collect();
        let spec = new.config.spec(&new.graph);
        let args = vec![Vec::new(); new.config.processes.len()];
        let plan = ReloadPlan::new(&old.config, &running, &new.config, &spec, &args);
        world.now += Duration::from_millis(1);
        let placed = plan.placed.clone().unwrap();
        let actions = world.machine.reload(Time(world.now), spec, &placed).unwrap();
        for (process, placed) in new.config.processes.iter().zip(&placed) {
            world.names.insert(placed.slot(), process.name.clone());
        }
        let events = world.carry_out(actions);
        world.handle(events);
        let told = format!("{}\n{}\n{}", texts[0], texts[1], plan.text());
        assert_eq!(world.answer, Some(Note::ReloadDone), "{:?}\n{told}", world.seen);
        let did = |name: &str| world.seen.get(name).copied().unwrap_or_default();
        for process in old.config.processes.iter().chain(&new.config.processes) {
            let name = process.name.as_str();
            let runs = |one: &RunningProcess<'_>| one.life == Life::Runs;
            let ran = running.iter().any(|one| one.definition.process.name == name && runs(one));
            let step = plan.steps.iter().find(|step| step.name == name);
            let what = step.map_or("untouched", |step| step.what.as_str());
            *kinds.entry(what.to_owned()).or_default() += 1;
            let expected = match what {
                "started" => (1, 0),
                "started, then replaced" => (2, 1),
                again if again.ends_with(", then again") => (2, 2),
                "stopped" => (0, u32::from(ran)),
                "untouched" | "continues" | "left out" | "stays stopped" => (0, 0),
                _ => (1, 1),
            };
            assert_eq!(did(name), expected, "{name}: {what}\n{told}");
        }
    }
    for rare in ["started, then replaced", "replaced, stop-first, then again"] {
        assert!(kinds.remove(rare).is_some(), "{rare}: {kinds:?}");
    }
    assert!(kinds.len() >= 8 && kinds.values().all(|count| *count > 5), "{kinds:?}");
}
