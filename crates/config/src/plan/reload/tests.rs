//! Compares the plan of a reload with what a machine then does. This machine gets the events that
//! its actions cause, and not, as in the rehearsal, those that its state needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::core::action::Action;
use crate::core::event::{Event, Request};
use crate::core::machine::Machine;
use crate::core::note::Note;
use crate::core::state::Lifecycle;
use crate::load::Loaded;
use crate::load::testing::load;
use crate::testing::random::Random;
use crate::types::{End, ProcessId, Time};
use drainit_journal::messages::Names;
use drainit_journal::rehearsal::followers;

/// A running drainit whose processes become ready, complete and end immediately.
pub(crate) struct World<'a> {
    loaded: &'a Loaded,
    machine: Machine,
    now: Duration,
    /// The name of the process in each slot.
    names: BTreeMap<ProcessId, String>,
    /// How often each process was started and stopped.
    seen: BTreeMap<String, (u32, u32)>,
    /// The answer to the reload.
    answer: Option<Note>,
    /// Whether starts fail.
    refuses: bool,
}

impl<'a> World<'a> {
    pub(crate) fn new(loaded: &'a Loaded) -> Self {
        let spec = loaded.config.spec(&loaded.graph);
        let names = spec.ids().map(|id| (id, loaded.config.processes[id.index()].name.clone()));
        let names = names.collect();
        let machine = Machine::new(Arc::new(spec), Time(Duration::ZERO));
        let (now, seen) = (Duration::ZERO, BTreeMap::new());
        let mut world = Self { loaded, machine, now, names, seen, answer: None, refuses: false };
        world.handle(vec![Event::Start]);
        world
    }

    /// Brings each process into a state.
    fn with(loaded: &'a Loaded, life: impl Fn(&str) -> Life) -> Self {
        let mut world = Self::new(loaded);
        for (process, name) in world.names.clone() {
            let request = |request| vec![Event::Requested { process, request }];
            match (life(&name), Life::from(world.machine.state().life(process))) {
                (Life::Over, Life::Runs) => {
                    let end = End::Code(0);
                    world.handle(vec![Event::Exited { process, end, remains: false }]);
                }
                (Life::Stopped, _) => world.handle(request(Request::Stop)),
                (Life::Failed, _) => {
                    world.handle(request(Request::Stop));
                    world.refuses = true;
                    world.handle(request(Request::Start));
                    world.refuses = false;
                }
                _ => {}
            }
        }
        world
    }

    fn life(&self, name: &str) -> Option<Life> {
        let state = self.machine.state();
        let slot = self.names.iter().find(|(slot, of)| state.is_current(**slot) && *of == name);
        slot.map(|(slot, _)| state.life(*slot).into())
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
            if self.machine.may_reload().is_ok() {
                return;
            }
            self.now = self.now.max(at.0);
            events.push(Event::Tick);
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
                Action::Spawn(process) if self.refuses => {
                    events.push(Event::SpawnFailed { process, exit_code: 127 });
                }
                Action::Spawn(process) => {
                    self.seen.entry(self.names[&process].clone()).or_default().0 += 1;
                    events.push(Event::Spawned(process));
                    let spec = self.machine.state().process(process);
                    let code = spec.success_codes.first().copied().unwrap_or_default();
                    let end = End::Code(code);
                    events.push(match spec.oneshot {
                        true => Event::Exited { process, end, remains: false },
                        false => Event::Ready(process),
                    });
                }
                Action::EndLeftovers { process, .. } => {
                    events.push(Event::Leftovers { process, any: false });
                }
                Action::RunHook(hook) => events.push(Event::HookEnded { hook, success: true }),
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

    fn slot_names(&self) -> Names {
        let mut names = Names(Vec::new());
        self.names.iter().for_each(|(slot, name)| names.set(*slot, name.clone()));
        names
    }

    /// The plan of a reload to another config; `None` if no reload is possible now.
    pub(crate) fn plan(&self, new: &Loaded) -> Option<ReloadPlan> {
        self.machine.may_reload().ok()?;
        let state = self.machine.state();
        let current = state.spec.order.iter().filter(|slot| state.is_current(**slot));
        let definitions = current.map(|slot| {
            let mut old = self.loaded.config.processes.iter();
            let process = old.find(|process| process.name == self.names[slot]).unwrap();
            (*slot, Arc::clone(process), Vec::new())
        });
        let definitions = definitions.collect();
        let (config, machine) = (self.loaded.config.clone(), self.machine.clone());
        let running = Running { config, machine, names: self.slot_names(), definitions };
        let (spec, args) = (new.config.spec(&new.graph), vec![vec![]; new.config.processes.len()]);
        ReloadPlan::new(&running, &new.config, &spec, &args)
    }

    /// Reloads another config, as the supervisor does.
    fn reload(&mut self, new: &Loaded, placed: &[Placed]) {
        self.seen.clear();
        self.now += Duration::from_millis(1);
        let spec = new.config.spec(&new.graph);
        let actions = self.machine.reload(Time(self.now), spec, placed).unwrap();
        for (process, placed) in new.config.processes.iter().zip(placed) {
            self.names.insert(placed.slot(), process.name.clone());
        }
        let events = self.carry_out(actions);
        self.handle(events);
    }
}

fn text(old: &str, new: &str, life: impl Fn(&str) -> Life) -> String {
    let [old, new] = [old, new].map(|text| load(&[text], &[]).unwrap());
    World::with(&old, life).plan(&new).unwrap().text
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
base    continues              `update` differs
older   stopped                not in the config any more
old     stopped                not in the config any more
engine  replaced, stop-first   `stop_signal` and `environment` differ
web     replaced, start-first  `command` differs
task    started                `command` differs
manual  stays stopped          `command` differs; it waits for a request
added   started                new
never   left out               new; its `only_if` does not hold
router  replaced, stop-first   follows engine (`restart: true`)
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
    let other = envoy(2, "hot-restart", "");
    for (old, new, expected) in [
        (&plain, &hot, "replaced, stop-first  `update` differs, so Envoy cannot take over"),
        (&hot, &other, "replaced, stop-first  `command` differs, so Envoy cannot take over"),
        (&hot, &envoy(1, "hot-restart", ", -l, debug"), "replaced, hot-restart  `command` differs"),
        (&hot, &plain, "continues  `update` differs"),
    ] {
        assert_eq!(text(old, new, |_| Life::Runs), format!("e  {expected}\n"), "{new}");
    }
}
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

fn written(entries: &[Entry]) -> String {
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
    let mut reloads = 0;
    for run in 0..800 {
        let entries = config(random);
        let texts = match run {
            0 => [FOLLOWS_AGAIN.to_owned(), FOLLOWS_AGAIN.replace("WORD", "new") + ADDED],
            _ => [written(&entries), written(&changed(random, &entries))],
        };
        let [Ok(old), Ok(new)] = texts.each_ref().map(|text| load(&[text], &[])) else { continue };
        let lives: BTreeMap<_, _> = (old.config.processes.iter())
            .map(|process| match run > 0 && random.one_in(5) {
                true => {
                    (process.name.clone(), random.pick(&[Life::Over, Life::Stopped, Life::Failed]))
                }
                false => (process.name.clone(), Life::Runs),
            })
            .collect();
        let mut world = World::with(&old, |name| lives[name]);
        let Some(plan) = world.plan(&new) else { continue };
        let before: BTreeMap<_, _> = lives.keys().map(|it| (it.clone(), world.life(it))).collect();
        world.reload(&new, &plan.placed);
        reloads += 1;
        let told = format!("{}\n{}\n{before:?}\n{}", texts[0], texts[1], plan.text);
        assert_eq!(world.answer, Some(Note::ReloadDone), "{:?}\n{told}", world.seen);
        let rows = plan.text.lines().filter(|line| !line.starts_with("not touched"));
        let rows = rows.filter_map(|line| line.split_once("  "));
        let mut steps = BTreeMap::<_, Vec<_>>::new();
        for (name, rest) in rows {
            let what = rest.trim_start().split("  ").next().unwrap();
            steps.entry(name).or_default().push(what);
        }
        for process in old.config.processes.iter().chain(&new.config.processes) {
            let name = process.name.as_str();
            let whats = steps.get(name).map_or("untouched".into(), |whats| whats.join(", then "));
            *kinds.entry(whats.clone()).or_default() += 1;
            let ran = before.get(name) == Some(&Some(Life::Runs));
            let count = |what: &str| match what {
                "started" => (1, 0),
                "stopped" => (0, u32::from(ran)),
                "untouched" | "continues" | "left out" | "stays stopped" => (0, 0),
                _ => (1, 1),
            };
            let counts = whats.split(", then ").map(count);
            let expected = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let did = world.seen.get(name).copied().unwrap_or_default();
            assert_eq!(did, expected, "{name}: {whats}\n{told}");
            assert_eq!(plan.anew.contains(name), did.0 > 0, "{name}\n{told}");
        }
    }
    assert!(reloads >= 700, "{reloads}");
    for rare in ["started, then", "replaced, stop-first, then"] {
        assert!(kinds.keys().any(|kind| kind.starts_with(rare)), "{rare}: {kinds:?}");
    }
    kinds.retain(|kind, _| !kind.contains(", then "));
    assert!(kinds.len() >= 8 && kinds.values().all(|count| *count > 5), "{kinds:?}");
}

impl World<'_> {
    /// Restarts processes, whose instances take random times to start and to end. Returns the
    /// processes that follow, each with the process that it follows.
    fn restart(
        &mut self,
        restarted: &[String],
        in_turn: bool,
        random: &mut Random,
    ) -> BTreeMap<String, String> {
        let mut ahead: Vec<_> = restarted.iter().rev().collect();
        let mut queue: Vec<(Duration, Event)> = Vec::new();
        let (mut follows, mut answer) = (BTreeMap::new(), Some(Ok(())));
        loop {
            let may_begin = if in_turn { answer == Some(Ok(())) } else { true };
            let next = if may_begin { ahead.pop() } else { None };
            let event = if let Some(name) = next {
                let state = self.machine.state();
                let mut slots = self.names.iter().filter(|(slot, _)| state.is_current(**slot));
                let process = *slots.find(|(_, of)| *of == name).unwrap().0;
                answer = None;
                Event::Requested { process, request: Request::Restart }
            } else if !queue.is_empty() {
                let (at, event) = queue.remove(0);
                self.now = self.now.max(at);
                event
            } else if let Some(at) = self.machine.next_wakeup() {
                self.now = self.now.max(at.0);
                Event::Tick
            } else {
                return follows;
            };
            if self.is_late(&event) {
                continue;
            }
            let actions = self.machine.handle(Time(self.now), event);
            for action in &actions {
                match *action {
                    Action::Answer { outcome, .. } => answer = Some(outcome),
                    Action::Note(Note::Follows { process, on }) => {
                        let [process, on] = [process, on].map(|id| self.names[&id].clone());
                        follows.entry(process).or_insert(on);
                    }
                    _ => {}
                }
            }
            let mut at = self.now;
            for event in self.carry_out(actions) {
                at += random.millis(100);
                queue.push((at, event));
            }
            queue.sort_by_key(|(at, _)| *at);
        }
    }

    /// Whether an event is of an instance that has ended meanwhile.
    fn is_late(&self, event: &Event) -> bool {
        let life = |process: ProcessId| self.machine.state().life(process);
        match *event {
            Event::Spawned(process) => life(process) != Lifecycle::Spawning,
            Event::Ready(process) => !matches!(life(process), Lifecycle::Starting { .. }),
            Event::Exited { process, .. } => !matches!(
                life(process),
                Lifecycle::Starting { .. } | Lifecycle::Ready { .. } | Lifecycle::Stopping { .. }
            ),
            _ => false,
        }
    }
}

#[test]
fn the_core_restarts_the_followers_that_the_answer_names() {
    let random = &mut Random(0xF0110);
    let (mut plays, mut followed) = (0, 0);
    while plays < 600 {
        let entries = config(random);
        let text = written(&entries);
        let Ok(loaded) = load(&[&text], &[]) else { continue };
        let lives: BTreeMap<_, _> = (loaded.config.processes.iter())
            .map(|process| {
                let life = if random.one_in(6) { Life::Stopped } else { Life::Runs };
                (process.name.clone(), life)
            })
            .collect();
        let mut world = World::with(&loaded, |name| lives[name]);
        let mut restarted: Vec<_> = lives.keys().filter(|_| random.one_in(3)).cloned().collect();
        if restarted.is_empty() {
            continue;
        }
        random.shuffle(&mut restarted);
        let in_turn = random.one_in(2);
        let dry = followers(world.machine.clone(), world.slot_names(), &restarted, in_turn);
        let mut done = world.restart(&restarted, in_turn, random);
        done.retain(|name, _| !restarted.contains(name));
        let told = format!("{text}\n{lives:?}\n{restarted:?}, {in_turn}\n{dry:?}\n{done:?}");
        assert!(dry.keys().eq(done.keys()), "{told}");
        for (name, on) in &dry {
            let id = |name: &str| name[1..].parse::<usize>().unwrap();
            let entry = entries.iter().find(|entry| entry.id == id(name)).unwrap();
            let is_new = |on: &str| restarted.iter().chain(dry.keys()).any(|name| name == on);
            let causes =
                entry.needs.iter().filter(|(on, restart)| *restart && is_new(&format!("p{on}")));
            // Each of several dependencies may be the first that is ready.
            assert!(causes.count() > 1 || done[name] == *on, "{told}");
        }
        (plays, followed) = (plays + 1, followed + dry.len());
    }
    assert!(followed >= 50, "{followed}");
}
