//! Measures the start: when each process was started and ready, and which of them the container
//! had to wait for.
//!
//! Pure, as the report is. Only the first start of a process counts: a restart does not delay the
//! processes that depend on it.

use std::time::Duration;

use crate::config::StartCondition;
use crate::core::event::Event;
use crate::core::note::{AfterEnd, Note};
use crate::core::spec::{HookId, Spec, Stage};
use crate::report::messages::Names;
use crate::types::{ProcessId, Time, human};

/// The number of links of the critical chain in the log; the quickest are left out.
const SHOWN: usize = 5;

#[derive(Debug)]
pub struct Startup {
    began: Time,
    /// When the container's `pre_start` hook had ended.
    hook_over: Option<Time>,
    processes: Vec<Moments>,
    names: Names,
    all_ready: Option<Time>,
    /// The critical chain, once everything is ready.
    chain: Vec<Link>,
}

/// When a process was started and ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    pub started: Option<Time>,
    /// A oneshot is ready when it has completed, a service without `readiness` when it is started.
    pub ready: Option<Time>,
    /// It was no longer waited for, although it was not ready: it was left out, has ended and
    /// `on_exit` is `ignore`, or was not ready in time and may be missing.
    released: Option<Time>,
}

impl Moments {
    /// When a dependent no longer had to wait for this process.
    fn met(self, condition: StartCondition) -> Option<Time> {
        let met = match condition {
            StartCondition::Started => self.started,
            StartCondition::Ready | StartCondition::Completed => self.ready,
        };
        met.into_iter().chain(self.released).min()
    }
}

/// A part of the critical chain: the container waited for this process for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// `None`: the `pre_start` hook of the container.
    pub process: Option<ProcessId>,
    /// The time since the link before it, or since the start of drainit.
    pub takes: Duration,
}

impl Startup {
    #[must_use]
    pub fn new(names: Names, began: Time) -> Self {
        let processes = vec![Moments::default(); names.0.len()];
        Self { began, hook_over: None, processes, names, all_ready: None, chain: Vec::new() }
    }

    /// A slot gets a new instance of the process of another slot, whose start is what counts, or a
    /// new process.
    pub fn adopt(&mut self, slot: ProcessId, name: &str, from: Option<ProcessId>) {
        let moments = from.map(|from| self.of(from)).unwrap_or_default();
        if self.processes.len() <= slot.index() {
            self.processes.resize(slot.index() + 1, Moments::default());
        }
        self.processes[slot.index()] = moments;
        if self.all_ready.is_none() {
            self.names.set(slot, name.to_owned());
        }
    }

    /// Takes an event before the core does.
    pub fn event(&mut self, now: Time, event: Event) {
        let hook = HookId { process: None, stage: Stage::PreStart };
        if matches!(event, Event::HookEnded { hook: ended, .. } if ended == hook) {
            self.hook_over.get_or_insert(now);
        }
    }

    /// Takes a note of the core.
    pub fn note(&mut self, now: Time, note: &Note, spec: &Spec) {
        match *note {
            Note::Started(id) => {
                let Some(moments) = self.processes.get_mut(id.index()) else { return };
                moments.started.get_or_insert(now);
                let process = &spec.processes[id.index()];
                if process.readiness_timeout.is_none() && !process.oneshot {
                    moments.ready.get_or_insert(now);
                }
            }
            Note::Ready { process, .. } | Note::Completed { process, .. } => {
                if let Some(moments) = self.processes.get_mut(process.index()) {
                    moments.ready.get_or_insert(now);
                }
            }
            Note::Skipped(process)
            // If it may not be missing, not everything will be ready.
            | Note::NotReady { process, .. }
            | Note::Ended {
                process,
                next: AfterEnd::Nothing | AfterEnd::StaysDown | AfterEnd::GivesUp,
                ..
            }
            | Note::StartFailed {
                process, next: AfterEnd::StaysDown | AfterEnd::GivesUp, ..
            } => {
                if let Some(moments) = self.processes.get_mut(process.index()) {
                    moments.released.get_or_insert(now);
                }
            }
            Note::AllReady if self.all_ready.is_none() => {
                self.all_ready = Some(now);
                self.chain = self.critical_chain(now, spec);
            }
            _ => {}
        }
    }

    /// When drainit began.
    #[must_use]
    pub fn began(&self) -> Time {
        self.began
    }

    /// The time until everything was ready; `None` before that.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        Some(self.all_ready?.since(self.began))
    }

    #[must_use]
    pub fn of(&self, process: ProcessId) -> Moments {
        self.processes.get(process.index()).copied().unwrap_or_default()
    }

    /// The critical chain, first to last: from the process that was ready last back along what each
    /// one waited for longest. Empty before everything is ready.
    #[must_use]
    pub fn chain(&self) -> &[Link] {
        &self.chain
    }

    fn critical_chain(&self, all_ready: Time, spec: &Spec) -> Vec<Link> {
        let over = |id| Some((id, self.of(id).met(StartCondition::Ready)?));
        let started = spec.ids().filter_map(over);
        // A process that became ready for the first time after that delayed nothing. The
        // first of equals, as in the plan.
        let started = started.filter(|(_, ready)| *ready <= all_ready);
        let last = started.reduce(|a, b| if b.1 > a.1 { b } else { a });
        let mut chain = Vec::new();
        let mut next = last;
        while let Some((id, over)) = next {
            let needs = &spec.processes[id.index()].dependencies;
            let met = needs.iter().filter_map(|&(on, condition)| {
                // A moment later than its own is one of a restart.
                Some((on, self.of(on).met(condition)?)).filter(|(_, met)| *met <= over)
            });
            next = met.reduce(|a, b| if b.1 > a.1 { b } else { a });
            let begins = next.map_or(self.hook_over.unwrap_or(self.began), |(_, met)| met);
            // One that was left out took no time.
            if self.of(id).started.is_some() {
                chain.push(Link { process: Some(id), takes: over.since(begins) });
            }
        }
        if let Some(over) = self.hook_over {
            chain.push(Link { process: None, takes: over.since(self.began) });
        }
        chain.reverse();
        chain
    }

    /// The line of the log: `everything is ready after 3.2s: python-executor 1.1s → policy-engine
    /// 400ms → router 1.7s`.
    #[must_use]
    pub fn line(&self) -> String {
        let Some(took) = self.took() else { return "everything is ready".to_owned() };
        let chain = self.chain();
        let mut slowest: Vec<_> = (0..chain.len()).collect();
        slowest.sort_by_key(|place| std::cmp::Reverse(chain[*place].takes));
        slowest.truncate(SHOWN);
        let mut parts: Vec<String> = Vec::new();
        for (place, link) in chain.iter().enumerate() {
            if slowest.contains(&place) {
                parts.push(format!("{} {}", self.name(*link), human(link.takes)));
            } else if parts.last().is_none_or(|last| last != "…") {
                parts.push("…".to_owned());
            }
        }
        let (after, parts) = (human(took), parts.join(" → "));
        if parts.is_empty() {
            format!("everything is ready after {after}")
        } else {
            format!("everything is ready after {after}: {parts}")
        }
    }

    /// The name of a link for people.
    #[must_use]
    pub fn name(&self, link: Link) -> &str {
        link.process.map_or("pre_start hook", |id| self.names.of(id))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::load::testing::load;
    use crate::types::End;

    struct Start {
        spec: Spec,
        names: Names,
        startup: Startup,
    }

    impl Start {
        fn new(config: &str) -> Self {
            let loaded = load(&[config], &[]).unwrap();
            let processes = &loaded.config.processes;
            let names = Names(processes.iter().map(|process| process.name.clone()).collect());
            let startup = Startup::new(names.clone(), Time(Duration::from_secs(10)));
            Self { spec: Spec::new(&loaded.config, &loaded.graph), names, startup }
        }

        /// Notes something about a process, at a time in milliseconds since the start.
        fn note(&mut self, millis: u64, name: &str, note: impl Fn(ProcessId) -> Note) {
            let id = self.names.0.iter().position(|known| known == name).unwrap_or_default();
            let now = Time(Duration::from_millis(10_000 + millis));
            let id = ProcessId(u16::try_from(id).unwrap());
            self.startup.note(now, &note(id), &self.spec);
        }

        fn ready(&mut self, millis: u64, name: &str) {
            self.note(millis, name, |process| Note::Ready { process, after: Duration::ZERO });
        }

        fn line(&mut self, millis: u64) -> String {
            self.note(millis, "", |_| Note::AllReady);
            self.startup.line()
        }
    }

    const GATEWAY: &str = "
processes:
  migrate: {command: [a], type: oneshot}
  executor: {command: [a], readiness: {unix: /run/a.sock}}
  engine:
    command: [a]
    depends_on: {executor: {condition: ready}, migrate: {condition: completed}}
    readiness: {unix: /run/b.sock}
  router: {command: [a], depends_on: [engine], readiness: {unix: /run/c.sock}}
  logger: {command: [a]}
";

    #[test]
    fn the_chain_follows_what_each_process_waited_for_longest() {
        for (migrated, chain) in [
            (400, "executor 1.1s → engine 400ms → router 1.7s"),
            (1300, "migrate 1.3s → engine 200ms → router 1.7s"),
        ] {
            let mut start = Start::new(GATEWAY);
            for name in ["migrate", "executor", "logger"] {
                start.note(5, name, Note::Started);
            }
            start.note(migrated, "migrate", |process| Note::Completed {
                process,
                after: Duration::ZERO,
            });
            start.ready(1100, "executor");
            start.note(migrated.max(1100), "engine", Note::Started);
            start.ready(1500, "engine");
            // Its `pre_start` hook took a second.
            start.note(2500, "router", Note::Started);
            start.ready(3200, "router");
            assert!(start.startup.chain().is_empty(), "not everything is ready yet");
            assert_eq!(start.line(3200), format!("everything is ready after 3.2s: {chain}"));
            // A restart changes nothing.
            start.note(9000, "executor", Note::Started);
            start.ready(9500, "executor");
            assert_eq!(start.line(9500), format!("everything is ready after 3.2s: {chain}"));
        }
    }

    #[test]
    fn a_process_that_is_left_out_or_ends_is_waited_for_until_then() {
        let mut start = Start::new(
            "
hooks: {pre_start: [a]}
processes:
  warm: {command: [a], readiness: {unix: /run/a.sock}}
  plugin: {command: [a], only_if: {path_exists: /plugin}, depends_on: [warm]}
  shaky: {command: [a], on_exit: ignore, readiness: {unix: /run/b.sock}, depends_on: [plugin]}
  app: {command: [a], depends_on: [shaky]}
",
        );
        let hook = HookId { process: None, stage: Stage::PreStart };
        let at = Time(Duration::from_millis(10_300));
        start.startup.event(at, Event::HookEnded { hook, success: true });
        start.note(310, "warm", Note::Started);
        start.ready(800, "warm");
        start.note(800, "plugin", Note::Skipped);
        start.note(801, "shaky", Note::Started);
        start.note(900, "shaky", |process| Note::Ended {
            process,
            end: End::Code(1),
            next: AfterEnd::Nothing,
        });
        start.note(1000, "app", Note::Started);
        assert_eq!(
            start.line(1000),
            "everything is ready after 1s: pre_start hook 300ms → warm 500ms → shaky 100ms → app 100ms"
        );
    }

    #[test]
    fn a_process_that_may_be_missing_is_waited_for_until_its_time_is_over() {
        let mut start = Start::new(
            "
processes:
  app: {command: [a], readiness: {unix: /run/a.sock}}
  extra: {command: [a], on_exit: ignore, required: false, readiness: {unix: /run/b.sock}}
",
        );
        start.note(5, "app", Note::Started);
        start.note(5, "extra", Note::Started);
        start.ready(400, "app");
        start.note(5000, "extra", |process| Note::NotReady { process, after: Duration::ZERO });
        assert_eq!(start.line(5000), "everything is ready after 5s: extra 5s");
    }

    #[test]
    fn a_long_chain_shows_the_slowest() {
        let mut config = "processes: {p0: {command: [a], readiness: {unix: /s}}".to_owned();
        for number in 1..9 {
            config.push_str(&format!(
                ", p{number}: {{command: [a], readiness: {{unix: /s}}, depends_on: [p{}]}}",
                number - 1
            ));
        }
        let mut start = Start::new(&format!("{config}}}"));
        let mut now = 0;
        for (number, takes) in [10, 500, 20, 20, 30, 600, 20, 40, 700].into_iter().enumerate() {
            start.note(now, &format!("p{number}"), Note::Started);
            now += takes;
            start.ready(now, &format!("p{number}"));
        }
        assert_eq!(
            start.line(now),
            "everything is ready after 1.94s: … → p1 500ms → … → p4 30ms → p5 600ms → … → p7 40ms → p8 700ms"
        );
        assert_eq!(start.startup.chain().len(), 9);
    }
}
