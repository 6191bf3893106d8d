//! The sockets of `listen` that a server ends by shutdown(2), for example to end its accept loop.
//! This ends the socket for every process that has it: for drainit, for the next instance, and for
//! an instance that runs beside. drainit therefore looks at its own copy before a start, after an
//! end, and while an instance drains or stops. A TCP socket listens again. In place of a Unix socket
//! the next start gets another socket.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use crate::core::phase::Phase;
use crate::keys::{Address, ListenSocket};
use crate::local_task::LocalTask;
use crate::os::held_sockets::HeldSocket;
use crate::supervisor::executor::Executor;
use crate::supervisor::sockets;
use crate::types::ProcessId;

/// The time between two looks. Meanwhile the kernel refuses connections. A look is one system call,
/// and thousands of processes may stop at the same time.
const PACE: Duration = Duration::from_millis(50);

impl Executor {
    /// The sockets of `listen` of a process, each with its definition.
    fn listening(
        &self,
        process: ProcessId,
    ) -> impl Iterator<Item = (&ListenSocket, &Arc<HeldSocket>)> {
        let definition = self.definition(process);
        definition.process.listen.iter().zip(&definition.sockets)
    }

    /// Listens again on the TCP sockets of a process that no longer listen.
    pub(super) fn listen_again(&self, process: ProcessId) {
        let name = &self.definition(process).process.name;
        for (wanted, socket) in self.listening(process) {
            sockets::listen_again(name, wanted, socket);
        }
    }

    /// Listens again while an instance drains or stops, and the container does not.
    pub(super) fn keep_listening(&mut self, process: ProcessId) {
        let copies =
            self.listening(process).map(|(wanted, it)| (wanted.clone(), Arc::downgrade(it)));
        let copies: Vec<(ListenSocket, Weak<HeldSocket>)> = copies.collect();
        if copies.is_empty() || !self.is_running() {
            return;
        }
        let name = self.process(process).name.clone();
        let task = LocalTask::begin(async move {
            // The kernel does not let drainit listen, or drainit no longer has the socket.
            let is_over = |(wanted, socket): &(ListenSocket, Weak<HeldSocket>)| {
                socket.upgrade().is_none_or(|it| !sockets::listen_again(&name, wanted, &it))
            };
            while !copies.iter().any(is_over) {
                sleep(PACE).await;
            }
        });
        self.processes.slots[process].instance.keeps_listening = Some(task);
    }

    /// Looks at the sockets of a process that has ended.
    pub(super) fn look_at_sockets(&self, process: ProcessId) {
        if !self.is_running() {
            return;
        }
        self.listen_again(process);
        let others = self.other_slots(process);
        let shares = |socket: &Arc<HeldSocket>, other: ProcessId| {
            self.lives(other) && self.listening(other).any(|(_, it)| Arc::ptr_eq(it, socket))
        };
        for (wanted, socket) in self.listening(process) {
            if socket.is_shut() && others.iter().any(|other| shares(socket, *other)) {
                let name = &self.definition(process).process.name;
                tracing::error!(
                    "{name}: `listen` {wanted}: the instance that has ended has ended this socket by shutdown(2), \
                     for the new instance too, and clients are refused; `drainit restart {name}` opens another \
                     socket; let the server close its descriptor instead"
                );
            }
        }
    }

    /// The Unix sockets of a process in place of which the next start needs other sockets, each with
    /// its position.
    pub(super) fn shut_files(&self, process: ProcessId) -> Vec<(usize, ListenSocket)> {
        let all = self.listening(process).enumerate();
        let is_shut = |(_, (wanted, socket)): &(usize, (&ListenSocket, &Arc<HeldSocket>))| {
            matches!(wanted.address, Address::Unix(_)) && socket.is_shut()
        };
        all.filter(is_shut).map(|(place, (wanted, _))| (place, wanted.clone())).collect()
    }

    /// Puts another socket in the place of a socket, for all slots that have the old one.
    pub(super) fn replace_socket(
        &mut self,
        process: ProcessId,
        place: usize,
        new: &Arc<HeldSocket>,
    ) {
        let Some(old) = self.definition(process).sockets.get(place).cloned() else { return };
        let of_slots = self.processes.slots.all_mut().map(|(_, slot)| &mut slot.definition);
        let of_reload = self.loading.values_mut().map(|(_, definition)| definition);
        for definition in of_slots.chain(of_reload) {
            for socket in definition.sockets.iter_mut().filter(|it| Arc::ptr_eq(it, &old)) {
                socket.clone_from(new);
            }
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.processes.machine().phase(), Phase::Running(_))
    }
}
