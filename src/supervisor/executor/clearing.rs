//! Ends the leftovers of the earlier instances of a process that is about to start again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use crate::core::event::Event;
use crate::core::state::Lifecycle;
use crate::local_task::LocalTask;
use crate::os::Pid;
use crate::os::clock;
use crate::os::descendants::{Descendant, list};
use crate::os::leftovers::{Look, Looked, Looks, Origin, may_be_any};
use crate::os::on_thread::{self, Share, Unanswered, locked};
use crate::os::reap::is_living_child;
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::Message;
use crate::types::{ProcessId, Signal};

/// The shortest pause between two looks for leftovers. A leftover that ends is a child of drainit,
/// but its children become leftovers without notice.
const PAUSE: Duration = Duration::from_millis(50);
/// A pause is at least so many times as long as the look before it.
const PAUSE_PER_LOOK: u32 = 4;

/// The leftovers of all processes that are about to start again.
#[derive(Default)]
pub(super) struct Clearings {
    by_process: BTreeMap<ProcessId, Clearing>,
    /// The number of the last clearing.
    last: u64,
    /// The processes of unknown owner that were named, by pid and start time.
    named: BTreeSet<(Pid, u64)>,
}

/// The leftovers of one process.
struct Clearing {
    number: u64,
    looks: Arc<Mutex<Looks>>,
    /// The leftovers that were found since the last note.
    found: Vec<Descendant>,
    /// Whether no look with this signal is over.
    is_first: bool,
    _task: LocalTask,
}

impl Executor {
    /// Begins to look for the leftovers of a process again and again, and to send each of them this
    /// signal. Returns the event that says so if there are none.
    pub(crate) fn end_leftovers(&mut self, process: ProcessId, signal: Signal) -> Option<Event> {
        let before = self.clearings.by_process.remove(&process);
        if !may_be_any(|pid| self.children.role(pid).is_some()) {
            return Some(Event::Leftovers { process, any: false });
        }
        // A look with the signal before may still be under way, and holds the lock.
        let before = before.as_ref().and_then(|before| before.looks.try_lock().ok());
        let looks = Arc::new(Mutex::new(Looks::new(signal, before.as_deref())));
        let (shared, of) = (Arc::clone(&looks), Arc::new(self.origin(process)));
        self.clearings.last += 1;
        let (number, sender) = (self.clearings.last, self.sender.clone());
        let mut are_known = signal == Signal::KILL;
        let task = LocalTask::begin(async move {
            let wanted = Arc::new(());
            loop {
                let (looks, of) = (Arc::clone(&shared), Arc::clone(&of));
                let (began, is_wanted) = (clock::now(), Arc::downgrade(&wanted));
                let look = move || locked(&looks).look(&of, &|| is_wanted.strong_count() == 0);
                let look = match on_thread::begin(Share::Leftovers(process), look) {
                    Ok(look) => look.await.map_err(|_| Unanswered::NoThread.to_string()),
                    Err(why) => Err(why.to_string()),
                };
                let look = look.and_then(|looked| looked.map_err(|why| why.to_string()));
                let any = look.as_ref().map_or(are_known, |looked| looked.any);
                // A look that fails does not show that known leftovers have ended.
                if look.is_ok() || !any {
                    let look = Box::new(look);
                    let _ = sender.send(Message::LookedForLeftovers { process, number, look });
                }
                if !any {
                    return;
                }
                are_known = true;
                sleep(PAUSE.max(clock::now().since(began) * PAUSE_PER_LOOK)).await;
            }
        });
        let (found, is_first) = (Vec::new(), true);
        let clearing = Clearing { number, looks, found, is_first, _task: task };
        self.clearings.by_process.insert(process, clearing);
        None
    }

    fn origin(&self, process: ProcessId) -> Origin {
        let name = self.process(process).name.clone();
        let marks = |slot: ProcessId| {
            let beside = self.instance(slot);
            let launching = beside.launching.as_ref().map(|launching| launching.mark);
            [beside.mark.filter(|_| self.lives(slot)), launching]
        };
        let others = self.other_slots(process).into_iter();
        let pids = self.traffic.looker.pids().now();
        let children = self.children.all().map(|(pid, _)| pid);
        Origin {
            process: name,
            newest: self.marks,
            living: others.flat_map(marks).flatten().collect(),
            owned: children.chain(pids.all.iter().copied()).collect(),
            since: self.instance(process).spawned,
            seen: self.instance(process).below.clone(),
        }
    }

    /// Handles the result of a look for leftovers. Returns `None` if no start waits for it.
    pub(crate) fn on_leftovers(
        &mut self,
        process: ProcessId,
        number: u64,
        look: Look,
    ) -> Option<Event> {
        let clearing = self.clearings.by_process.get_mut(&process);
        let clearing = clearing.filter(|clearing| clearing.number == number)?;
        let life = self.processes.machine().state().life(process);
        let name = self.processes.slots[process].definition.process.name.clone();
        if !matches!(life, Lifecycle::Clearing { .. }) {
            self.clearings.by_process.remove(&process);
            // The look has sent the signal nevertheless.
            if let Some(hit) = look.ok().map(|looked| looked.hit).filter(|hit| !hit.is_empty()) {
                tracing::info!(
                    "{name}: left behind by an earlier instance: {}; asked to end before the start \
                     was given up",
                    list(&hit)
                );
            }
            return None;
        }
        let looked = look.unwrap_or_else(|why| {
            tracing::warn!(
                "{name}: it is unknown what earlier instances left behind: {why}; starting \
                 nevertheless"
            );
            Looked::default()
        });
        if !std::mem::take(&mut clearing.is_first) && !looked.hit.is_empty() {
            tracing::info!(
                "{name}: also left behind by an earlier instance: {}",
                list(&looked.hit)
            );
        }
        clearing.found.clone_from(&looked.hit);
        if !looked.any {
            self.clearings.by_process.remove(&process);
        }
        if let Some(refusal) = looked.refusal {
            let line = format!("{name}: left behind: {refusal}");
            tracing::warn!("{line}");
            self.processes.remark(&line);
        }
        let mut unknown = looked.unknown;
        unknown.retain(|it| self.children.role(it.pid).is_none() && is_living_child(it.pid));
        self.clearings.name_unknown(&name, unknown);
        Some(Event::Leftovers { process, any: looked.any })
    }

    /// The names of the leftovers that the last look has found.
    pub(super) fn leftovers_found(&self, process: ProcessId) -> Option<String> {
        let clearing = self.clearings.by_process.get(&process)?;
        Some(list(&clearing.found)).filter(|_| !clearing.found.is_empty())
    }
}

impl Clearings {
    /// Names processes of unknown owner, each of them once.
    fn name_unknown(&mut self, name: &str, unknown: Vec<Descendant>) {
        let key = |process: &Descendant| (process.pid, process.started);
        let seen: BTreeSet<_> = unknown.iter().map(key).collect();
        let new: Vec<_> =
            unknown.into_iter().filter(|process| !self.named.contains(&key(process))).collect();
        // Each look finds all of them that are alive.
        self.named = seen;
        if !new.is_empty() {
            tracing::info!("{name}: left running, because their owner is unknown: {}", list(&new));
        }
    }
}
