//! Handles the requests for a reload, begins the reload when it is possible, and keeps the
//! definitions of the slots before and after it.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::core::action::Action;
use crate::core::note::Note;
use crate::core::note::RequestError::{self, Drained, ShuttingDown};
use crate::core::slots::Placed;
use crate::journal::event;
use crate::keys::{Config, LogMode, Process, Watch, WatchAction};
use crate::language::written::as_written;
use crate::local_task;
use crate::os::clock;
use crate::plan::placement::Running;
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::Message;
use crate::supervisor::requests::TextReply;
use crate::supervisor::slots::{Definition, Slot};
use crate::supervisor::sockets::{HeldSockets, differing};
use crate::supervisor::tasks::file_watch::{self, Watched};
use crate::supervisor::tasks::reload::{Candidate, ReadConfig, text};
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

    /// Handles an operator's reload request. If a reload is not possible now and no other reload
    /// waits or is under way, the operator gets an answer at once.
    pub(super) fn on_reload_requested(&mut self, reply: TextReply) {
        match self.may_reload() {
            Err(why) if self.reloads.are_done() => {
                let why = self.processes.failure(why);
                Self::log_refusal(&why);
                // The send fails only if the client has gone away.
                let _ = reply.send(Err(why));
            }
            _ => self.reloads.want(Some(reply)),
        }
    }

    /// Requests a reload, because a watched file with the action `reload` has content that no
    /// reload has read.
    pub(super) fn reload_file(&mut self, name: &str, watch: &Watch) {
        let watches = self.watches_of(name, watch);
        if let Some(&(process, watch_place)) = watches.first()
            && !matches!(self.may_reload(), Err(ShuttingDown | Drained))
        {
            let note = Note::FileChanged { process, watch: watch_place, action: watch.action };
            self.write(clock::now(), &note);
            self.reloads.want(None);
        }
    }

    fn may_reload(&self) -> Result<(), RequestError> {
        self.processes.machine().may_reload()
    }

    /// Begins the requested reload if this is possible now. If a shutdown or a drain has begun,
    /// gives up the reload.
    pub(crate) fn begin_due_reload(&mut self) {
        if !self.reloads.is_due() {
            return;
        }
        match self.may_reload() {
            Ok(()) => {
                let (held, running) = (self.held(), self.running());
                self.reloads.begin(&self.file_watches, held, running);
            }
            Err(why @ (ShuttingDown | Drained)) => {
                let why = self.processes.failure(why);
                Self::log_refusal(&why);
                self.reloads.give_up(&why);
            }
            // The next turn of the event loop tries again.
            Err(_) => {}
        }
    }

    /// Begins to read the config for `drainit plan --reload`.
    pub(super) fn on_plan_requested(&self, reply: TextReply) {
        match self.may_reload() {
            Ok(()) => self.reloads.begin_plan(reply, self.running()),
            // The send fails only if the client has gone away.
            Err(why) => drop(reply.send(Err(self.processes.failure(why)))),
        }
    }

    /// Handles the result of reading the config again and opening its sockets. Returns the actions
    /// of the core if the reload can begin.
    pub(super) fn on_prepared(
        &mut self,
        candidate: Result<Candidate, String>,
    ) -> Option<Vec<Action>> {
        self.file_watches.on_read(is_read_by_reload);
        // While the config was read, another request or the shutdown may have begun. If a process
        // has gone down, the reload begins with other processes than in the rehearsal.
        let is_other = |one: &Candidate| one.read.lives != self.running().lives();
        if self.may_reload().is_err() || candidate.as_ref().is_ok_and(is_other) {
            self.reloads.again();
            return None;
        }
        let applied = candidate.and_then(|candidate| self.apply(candidate));
        let refuse = |why: String| {
            Self::log_refusal(&why);
            self.reloads.answer(Err(why + "; nothing was changed"), Vec::new());
        };
        applied.map_err(refuse).ok()
    }

    /// Gives a config to the core. If this fails, nothing is changed.
    fn apply(&mut self, candidate: Candidate) -> Result<Vec<Action>, String> {
        let Candidate { read, watches, sockets } = candidate;
        let ReadConfig { loaded, args, plan, .. } = read;
        let warnings = text(&loaded.warnings);
        let spec = loaded.config.spec(&loaded.graph);
        for warning in &loaded.warnings {
            let warning = warning.to_string();
            // The log prints the severity itself.
            tracing::warn!("{}", warning.trim_start_matches("warning: "));
        }
        tracing::info!("reload:\n  {}", plan.text.trim_end().replace('\n', "\n  "));
        let now = clock::now();
        let actions = self.processes.reload(now, spec, &plan.placed)?;
        self.reloads.warn(warnings);
        self.reloads.take(loaded.files);
        self.file_watches.add(watches);
        let definitions = Definition::of(&loaded.config, args, sockets);
        self.begin_reload(Rc::new(loaded.config), definitions, &plan.placed);
        Ok(actions)
    }

    /// Logs that a reload has failed and has changed nothing.
    fn log_refusal(why: &str) {
        let lines = if why.contains('\n') { "\n" } else { " " };
        let members = event::reload_failed(&as_written(why)).members();
        tracing::error!(members, "reload failed, nothing was changed:{lines}{why}");
    }

    /// A copy of everything that a reload begins with.
    fn running(&self) -> Running {
        let processes = &self.processes;
        let one = |(slot, of): (_, &Definition)| (slot, Arc::clone(&of.process), of.args.clone());
        Running {
            config: Config::clone(self.config()),
            machine: processes.machine().clone(),
            names: processes.journal.names.clone(),
            definitions: processes.definitions().map(one).collect(),
        }
    }
}

/// Whether a start of this process reads the file.
fn is_read_by_start(name: &str) -> impl Fn(&Watched) -> bool {
    move |(of, watch)| of == name && watch.action != WatchAction::Reload
}

pub(super) fn is_read_by_reload((_, watch): &Watched) -> bool {
    watch.action == WatchAction::Reload
}
