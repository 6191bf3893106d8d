//! The definitions of the slots, before and after a reload.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::core::note::RequestError;
use crate::core::slots::Placed;
use crate::keys::{Config, LogMode, Process, Watch, WatchAction};
use crate::local_task;
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::Message;
use crate::supervisor::slots::{Definition, Slot};
use crate::supervisor::sockets::{HeldSockets, differing};
use crate::supervisor::tasks::file_watch;
use crate::supervisor::tasks::file_watch::Watched;
use crate::types::ProcessId;

impl Executor {
    pub(crate) fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// The open sockets of all slots, each with its address.
    pub(crate) fn held(&self) -> HeldSockets {
        let of = |(_, Slot { definition, .. }): (_, &Slot)| {
            let addresses = definition.process.listen.iter().map(|socket| socket.address.clone());
            addresses.zip(definition.sockets.clone()).collect::<Vec<_>>()
        };
        self.processes.slots.all().flat_map(of).collect()
    }

    /// Applies a config. `definitions` has the processes of this config, which get the slots in
    /// `placed`.
    pub(crate) fn begin_reload(
        &mut self,
        config: Rc<Config>,
        definitions: Vec<Definition>,
        placed: &[Placed],
    ) {
        let slots = placed.iter().map(|placed| placed.slot());
        self.loading = slots.zip(definitions.into_iter().enumerate()).collect();
        for (id, slot) in self.processes.slots.all_mut() {
            slot.place = self.loading.get(&id).map_or(usize::MAX, |(place, _)| *place);
        }
        let is_other =
            |one: &Arc<Process>| self.config.processes.iter().all(|old| old.name != one.name);
        if config.processes.iter().any(is_other) {
            self.is_alone.set(false);
        }
        self.config = config;
    }

    /// Ends a reload. Every slot has either its old or its new definition now.
    pub(crate) fn answer_reload(&mut self, outcome: Result<(), RequestError>) {
        let outcome = outcome.map_err(|why| self.processes.failure(why));
        self.loading.clear();
        let (mut watched, mut differ) = (Vec::new(), Vec::new());
        for (_, definition) in self.processes.definitions() {
            watched.extend(file_watch::watched_files(&definition.process));
            differ.extend(differing(&definition.process, &definition.sockets));
        }
        self.file_watches.keep(&watched);
        self.drop_log_files();
        self.reloads.answer(outcome, differ);
    }

    /// Drops the log files that no process has any more.
    fn drop_log_files(&mut self) {
        let each =
            self.processes.definitions().filter_map(|(_, one)| match &one.process.log.mode {
                LogMode::File(file) => Some(file.paths()),
                _ => None,
            });
        self.logs.keep_files(&each.flatten().map(PathBuf::as_path).collect());
    }

    /// Sends a message to the event loop after drainit has looked at the connections of clients, and
    /// at the watched files of a process. `message` gets whether the look at the connections was
    /// late. The message also comes after the messages of earlier calls, so that requests keep
    /// their order.
    pub(crate) fn after_look(
        &mut self,
        process: Option<ProcessId>,
        message: impl FnOnce(bool) -> Message + 'static,
    ) {
        let look = process.map(|slot| self.look(slot));
        let clients = self.look_at_clients();
        let sender = self.sender.clone();
        let earlier = self.last_look.take();
        self.last_look = Some(local_task::spawn(async move {
            if let Some(look) = look {
                look.await;
            }
            let is_late = clients.await;
            if let Some(earlier) = earlier {
                // The wait fails only at the end of the runtime.
                let _ = earlier.await;
            }
            // The send fails only if the event loop has ended.
            let _ = sender.send(message(is_late));
        }));
    }

    /// Looks at the watched files of a process.
    pub(crate) fn look(&self, slot: ProcessId) -> impl Future<Output = ()> + use<> {
        let process = self.process(slot);
        self.file_watches.look(&|(of, _)| *of == process.name)
    }

    /// Records that a start reads the watched files of a process now.
    pub(super) fn mark_files_read(&self, slot: ProcessId) {
        self.file_watches.mark_read(is_read_by_start(&self.process(slot).name));
    }

    /// Records that a start has read the watched files of a process.
    pub(super) fn on_watched_files_read(&self, slot: ProcessId) {
        self.file_watches.on_read(is_read_by_start(&self.process(slot).name));
    }

    /// The instances of a process that have this entry in their `watch`, each with the position of
    /// the entry. An instance that is about to replace the current instance is included, because it
    /// may have read the old content.
    pub(crate) fn watches_of(&self, name: &str, watch: &Watch) -> Vec<(ProcessId, usize)> {
        let place =
            |slot: &ProcessId| self.process(*slot).watch.iter().position(|one| one == watch);
        let slots = self.processes.watching(name);
        slots.into_iter().filter_map(|slot| Some((slot, place(&slot)?))).collect()
    }
}

/// Whether a start of this process reads the file.
fn is_read_by_start(name: &str) -> impl Fn(&Watched) -> bool {
    move |(of, watch)| of == name && watch.action != WatchAction::Reload
}
