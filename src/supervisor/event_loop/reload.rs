//! Handles the requests for a reload, begins the reload when it is possible, and gives the new
//! config to the core.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crate::core::action::Action;
use crate::core::event::Event;
use crate::core::note::{Note, RequestError};
use crate::journal::event;
use crate::keys::{Config, Watch, WatchAction};
use crate::language::written::as_written;
use crate::os::clock;
use crate::plan::placement::Running;
use crate::supervisor::event_loop::Step;
use crate::supervisor::requests::TextReply;
use crate::supervisor::slots::Definition;
use crate::supervisor::tasks::file_watch::Watched;
use crate::supervisor::tasks::reload::{Candidate, ReadConfig, text};

impl Step<'_> {
    /// Handles an operator's reload request. If a reload is not possible now and no other reload
    /// waits or is under way, the operator gets an answer at once.
    pub(super) fn on_reload_requested(&mut self, reply: TextReply) {
        match self.may_reload() {
            Err(why) if self.executor.reloads.are_done() => {
                let why = self.executor.processes.failure(why);
                Self::log_refusal(&why);
                // The send fails only if the client has gone away.
                let _ = reply.send(Err(why));
            }
            _ => self.executor.reloads.want(Some(reply)),
        }
    }

    /// Requests a reload, because a watched file with the action `reload` has content that no
    /// reload has read.
    pub(super) fn reload_file(&mut self, name: &str, watch: &Watch) {
        let watches = self.executor.watches_of(name, watch);
        if let Some(&(process, watch_place)) = watches.first()
            && !self.is_over()
        {
            let note = Note::FileChanged { process, watch: watch_place, action: watch.action };
            self.executor.write(clock::now(), &note);
            self.executor.reloads.want(None);
        }
    }

    /// Records that a reload begins to read the config now.
    pub(super) fn on_config_reading(&mut self) {
        self.executor.file_watches.mark_read(is_read_by_reload);
    }

    fn may_reload(&self) -> Result<(), RequestError> {
        self.executor.processes.machine().may_reload()
    }

    fn is_over(&self) -> bool {
        matches!(self.may_reload(), Err(RequestError::ShuttingDown | RequestError::Drained))
    }

    /// Begins the requested reload if this is possible now. If a shutdown or a drain has begun,
    /// gives up the reload.
    pub(super) fn begin_reload(&mut self) {
        if !self.executor.reloads.is_due() {
            return;
        }
        match self.may_reload() {
            Ok(()) => {
                let held = self.executor.held();
                let running = self.running();
                self.executor.reloads.begin(&self.executor.file_watches, held, running);
            }
            Err(why @ (RequestError::ShuttingDown | RequestError::Drained)) => {
                let why = self.executor.processes.failure(why);
                Self::log_refusal(&why);
                self.executor.reloads.give_up(&why);
            }
            // The next turn of the event loop tries again.
            Err(_) => {}
        }
    }

    /// Begins to read the config for `drainit plan --reload`.
    pub(super) fn on_plan_requested(&self, reply: TextReply) {
        match self.may_reload() {
            Ok(()) => self.executor.reloads.begin_plan(reply, self.running()),
            // The send fails only if the client has gone away.
            Err(why) => drop(reply.send(Err(self.executor.processes.failure(why)))),
        }
    }

    /// Handles the result of reading the config again and opening its sockets.
    pub(super) fn on_prepared(&mut self, candidate: Result<Candidate, String>) -> io::Result<()> {
        self.executor.file_watches.on_read(is_read_by_reload);
        // While the config was read, another request or the shutdown may have begun. If a process
        // has gone down, the reload begins with other processes than in the rehearsal.
        let is_other = |one: &Candidate| one.read.lives != self.running().lives();
        if self.may_reload().is_err() || candidate.as_ref().is_ok_and(is_other) {
            self.executor.reloads.again();
            return Ok(());
        }
        match candidate.and_then(|candidate| self.apply(candidate)) {
            Ok(actions) => {
                self.carry_out_all(clock::now(), actions);
                // This call also handles the events that the actions have added to the queue.
                self.handle(Event::Tick)?;
            }
            Err(why) => self.on_reload_failed(why),
        }
        Ok(())
    }

    /// Logs that a reload has failed and has changed nothing, and answers its clients.
    fn on_reload_failed(&mut self, why: String) {
        Self::log_refusal(&why);
        self.executor.reloads.answer(Err(why + "; nothing was changed"), Vec::new());
    }

    /// Logs that a reload has failed and has changed nothing.
    fn log_refusal(why: &str) {
        let lines = if why.contains('\n') { "\n" } else { " " };
        let members = event::reload_failed(&as_written(why)).members();
        tracing::error!(members, "reload failed, nothing was changed:{lines}{why}");
    }

    /// A copy of everything that a reload begins with.
    fn running(&self) -> Running {
        let processes = &self.executor.processes;
        let one = |(slot, of): (_, &Definition)| (slot, Arc::clone(&of.process), of.args.clone());
        Running {
            config: Config::clone(self.executor.config()),
            machine: processes.machine().clone(),
            names: processes.journal.names.clone(),
            definitions: processes.definitions().map(one).collect(),
        }
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
        let actions = self.executor.processes.reload(now, spec, &plan.placed)?;
        self.executor.reloads.warn(warnings);
        self.take_signals(&loaded.config);
        self.executor.file_watches.add(watches);
        let definitions = Definition::of(&loaded.config, args, sockets);
        self.executor.begin_reload(Rc::new(loaded.config), definitions, &plan.placed);
        Ok(actions)
    }
}

fn is_read_by_reload((_, watch): &Watched) -> bool {
    watch.action == WatchAction::Reload
}
