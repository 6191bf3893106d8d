//! The instance in a slot: its pids, its tasks and its log.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::keys::Process;
use crate::local_task::LocalTask;
use crate::logging::capture::OutputCapture;
use crate::os::Pid;
use crate::os::notify_socket::NotifySocket;
use crate::os::spawn::Exec;
use crate::supervisor::executor::epoch::EnvoyEpoch;
use crate::supervisor::tasks::drain::RunningDrain;
use crate::supervisor::tasks::readiness::notify::NotifyListener;
use crate::types::{Signal, Time};

/// An instance whose exec is under way.
pub(super) struct Launching {
    pub(super) pid: Pid,
    pub(super) exec: Exec,
    /// The definition of the process, with the values that were read at its start.
    pub(super) wanted: Arc<Process>,
    pub(super) socket: Option<NotifySocket>,
    pub(super) epoch: Option<EnvoyEpoch>,
    pub(super) log: Option<Rc<OutputCapture>>,
    pub(super) spawned: Time,
    /// The number of the instance in its mark.
    pub(super) mark: u64,
}

/// The running instance of a process, or its last instance.
#[derive(Default)]
pub(crate) struct Instance {
    /// The number that distinguishes messages of this instance from messages of earlier instances.
    pub(super) number: u32,
    /// The definition of the process, with the values that were read at its start; `None` if no
    /// values were read, or if nothing needs them any more.
    pub(super) with_values: Option<Arc<Process>>,
    /// Whether the files of `render` are already written for the start that is under way.
    pub(super) is_rendered: bool,
    /// The exec that is under way.
    pub(super) launching: Option<Launching>,
    /// The main process, whose end is the end of the instance.
    pub(super) pid: Option<Pid>,
    /// The former main processes that were still running when drainit last checked them.
    pub(super) former: Vec<Pid>,
    /// The leader of the session and of the process group in which the instance runs.
    pub(super) leader: Pid,
    /// The last signal with which the instance was asked to end.
    pub(super) asked: Option<Signal>,
    /// The pid of the last instance that ended, and whether drainit had no other child while that
    /// instance ran.
    pub(super) gone: Option<(Pid, bool)>,
    /// The time at which the instance was started.
    pub(super) spawned: Time,
    /// The number of the instance in its mark, by which drainit recognizes its leftovers.
    pub(super) mark: Option<u64>,
    /// Descendants of the main process that drainit has seen, by pid and start time.
    pub(super) below: BTreeSet<(Pid, u64)>,
    pub(super) log: Option<Rc<OutputCapture>>,
    pub(super) readiness: Option<LocalTask>,
    pub(super) listener: Option<NotifyListener>,
    pub(super) liveness: Option<LocalTask>,
    pub(super) drain: Option<RunningDrain>,
    /// Listens again on the sockets of `listen` that the instance ends while it drains or stops.
    pub(super) keeps_listening: Option<LocalTask>,
    pub(super) preflight: Option<LocalTask>,
    /// The wait until the instance has loaded its program.
    pub(super) loading: Option<LocalTask>,
    /// The epoch of the instance, if it is an Envoy with hot restart.
    pub(super) epoch: Option<EnvoyEpoch>,
    /// Whether the readiness of the instance was reported.
    pub(super) is_ready: bool,
}

impl Instance {
    /// The pid of a process whose exec is under way.
    pub(super) fn launching_pid(&self) -> Option<Pid> {
        self.launching.as_ref().map(|launching| launching.pid)
    }

    /// Whether the instance is an Envoy whose admin is closed for good.
    pub(crate) fn has_closed_admin(&self) -> bool {
        self.epoch.is_some_and(EnvoyEpoch::has_closed_admin)
    }

    /// Ends the readiness probe, the liveness probe, the check of whether the drain will work, and
    /// the look at the stop signal.
    pub(super) fn end_probes(&mut self) {
        (self.readiness, self.liveness) = (None, None);
        (self.preflight, self.loading) = (None, None);
    }

    /// The state of a slot before its next instance. Messages of earlier instances in the slot may
    /// still arrive, so the next instance gets a number that no earlier instance had.
    pub(crate) fn next(&self) -> Self {
        Self { number: self.number + 1, ..Self::default() }
    }
}
