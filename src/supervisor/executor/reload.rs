//! The definitions of the slots, before and after a reload.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::config::{Config, ListenSocket, LogMode, Process, Watch};
use crate::core::slots::Placed;
use crate::core::state::State;
use crate::os::held_sockets::HeldSocket;
use crate::supervisor::executor::Executor;
use crate::supervisor::file_watch;
use crate::supervisor::sockets::{Sockets, take_back};
use crate::types::ProcessId;

/// A process of a config, with what it gets beside it.
#[derive(Clone)]
pub(crate) struct Definition {
    pub(crate) process: Rc<Process>,
    /// Its part of the container's arguments.
    pub(crate) args: Vec<String>,
    pub(crate) sockets: Sockets,
}

impl Definition {
    /// Those of a config, in file order.
    pub(crate) fn of(config: &Config, args: Vec<Vec<String>>, sockets: Vec<Sockets>) -> Vec<Self> {
        let one = |((process, args), sockets): ((&Process, Vec<String>), Sockets)| Self {
            process: Rc::new(process.clone()),
            args,
            sockets,
        };
        config.processes.iter().zip(args).zip(sockets).map(one).collect()
    }
}

impl Executor {
    pub(crate) fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// The processes as they are, without instances on their way down.
    pub(crate) fn definitions<'a>(
        &'a self,
        state: &'a State,
    ) -> impl Iterator<Item = (ProcessId, Rc<Process>, &'a [String])> {
        let current = state.spec.ids().filter(|slot| state.is_current(*slot));
        current.map(|slot| (slot, self.process(slot), self.args[slot.index()].as_slice()))
    }

    /// The sockets that are held, with the address of each.
    pub(crate) fn held(&self) -> Vec<(ListenSocket, Rc<HeldSocket>)> {
        let slots = (0..).map(ProcessId).zip(&self.sockets);
        let of = |(slot, sockets): (ProcessId, &Sockets)| {
            let listen = self.process(slot).listen.clone();
            listen.into_iter().zip(sockets.clone()).collect::<Vec<_>>()
        };
        slots.flat_map(of).collect()
    }

    /// Takes over a config. `Source::Config` means these definitions, until [`Self::end_reload`].
    pub(crate) fn begin_reload(
        &mut self,
        config: Rc<Config>,
        definitions: Vec<Definition>,
        placed: &[Placed],
    ) {
        self.status_board.slots.borrow_mut().forget_places();
        for (place, (definition, placed)) in definitions.iter().zip(placed).enumerate() {
            let Definition { process, args, sockets } = definition.clone();
            let mut slots = self.status_board.slots.borrow_mut();
            match placed {
                Placed::Same(slot) => {
                    slots.redefine(*slot, process, place);
                    self.args[slot.index()] = args;
                    self.sockets[slot.index()] = sockets;
                }
                Placed::Changed(slot) => {
                    let old = slots.definition(*slot);
                    slots.redefine(*slot, old, place);
                }
                Placed::New => {}
            }
        }
        self.loading = definitions;
        self.output.recent().resize(config.processes.len());
        self.config = config;
    }

    /// The reload is answered: every slot has its definition. One that has failed may have left some
    /// with that from before.
    pub(crate) fn end_reload(&mut self) {
        let loaded = std::mem::take(&mut self.loading);
        let tried: Vec<_> = loaded.iter().flat_map(|one| &one.process.listen).collect();
        let watched: Vec<_> = {
            let machine = self.status_board.machine.borrow();
            let definitions = self.definitions(machine.state());
            let each = definitions.flat_map(|(slot, process, _)| {
                take_back(&process, &self.sockets[slot.index()], &tried);
                file_watch::watched(&process)
            });
            each.collect()
        };
        self.file_watches.keep(&watched);
        self.drop_log_files();
    }

    /// Drops the log files that no process has any more. Instances that end, and what they have left
    /// behind, may still write to theirs.
    fn drop_log_files(&mut self) {
        self.open_logs.retain(|log| !log.is_finished());
        let wanted: BTreeSet<_> = {
            let machine = self.status_board.machine.borrow();
            let definitions = self.definitions(machine.state());
            let each = definitions.filter_map(|(_, process, _)| match &process.log {
                LogMode::File(file) => Some(file.path.clone()),
                _ => None,
            });
            each.collect()
        };
        let open = &self.open_logs;
        self.files.keep(|path, output| {
            wanted.contains(path) || open.iter().any(|log| log.writes_to(output))
        });
    }

    /// The instances of a process that have this entry in their `watch`, each with its place: the
    /// current one, and one that is about to replace it, which may have read what was there before.
    pub(crate) fn watches_of(&self, name: &str, watch: &Watch) -> Vec<(ProcessId, usize)> {
        let place =
            |slot: &ProcessId| self.process(*slot).watch.iter().position(|one| one == watch);
        let slots = self.status_board.watching(name);
        slots.into_iter().filter_map(|slot| Some((slot, place(&slot)?))).collect()
    }

    /// Writes the event of a reload that has changed nothing.
    pub(crate) fn reload_failed(&self, why: &str) {
        if let Some(events) = &self.events {
            events.reload_failed(why);
        }
    }
}
