//! The places of values that only the whole config can judge: `read` records them, `check` reports
//! at them.

use std::time::Duration;

use crate::load::span::Span;
use crate::plan::timeline::StepKind;
use crate::types::ProcessId;

pub(crate) struct Places {
    /// `grace_period`, or `shutdown`, or the file.
    pub(crate) grace_period: Span,
    /// The variables that `grace_period` uses.
    pub(crate) grace_variables: Vec<String>,
    pub(crate) has_grace_period: bool,
    pub(crate) unready_delay: Option<Span>,
    pub(crate) listen: Option<Span>,
    pub(crate) drain_over_tcp: Option<Span>,
    /// The container's own waits.
    pub(crate) waits: Vec<Wait>,
    pub(crate) control_socket: Option<Span>,
    /// `logging.events`.
    pub(crate) events: Option<Span>,
    pub(crate) reload_signal: Option<Span>,
    /// The container's own hooks.
    pub(crate) hooks: Option<Span>,
    /// In the order of the processes.
    pub(crate) processes: Vec<ProcessPlaces>,
}

impl Places {
    pub(crate) fn new(shutdown: Span) -> Self {
        let (grace_variables, waits, processes) = (Vec::new(), Vec::new(), Vec::new());
        let (listen, drain_over_tcp, control_socket) = (None, None, None);
        Self {
            grace_period: shutdown,
            grace_variables,
            has_grace_period: false,
            unready_delay: None,
            listen,
            drain_over_tcp,
            waits,
            control_socket,
            events: None,
            reload_signal: None,
            hooks: None,
            processes,
        }
    }

    /// The wait that the config sets for a step of the shutdown.
    pub(crate) fn wait(&self, what: StepKind, process: Option<ProcessId>) -> Option<&Wait> {
        let waits = match process {
            Some(id) => &self.processes.get(id.index())?.waits,
            None => &self.waits,
        };
        waits.iter().find(|wait| wait.what == what)
    }
}

pub(crate) struct ProcessPlaces {
    pub(crate) name: Span,
    pub(crate) readiness: Option<Span>,
    pub(crate) drain: Option<Span>,
    /// `None` where `min` is a default, which is cut to fit.
    pub(crate) min: Option<Span>,
    pub(crate) prefix: Option<Span>,
    /// In the order of `sockets`.
    pub(crate) sockets: Vec<Span>,
    /// The `from` of each entry of `render`.
    pub(crate) templates: Vec<Span>,
    /// The `to` of each entry of `render`.
    pub(crate) rendered: Vec<Span>,
    /// In the order of `listen`.
    pub(crate) listen: Vec<Span>,
    /// In the order of `depends_on`.
    pub(crate) depends_on: Vec<Span>,
    /// In the order of `forward_signals`.
    pub(crate) forward_signals: Vec<Span>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) parts: Parts,
}

impl ProcessPlaces {
    pub(crate) fn new(name: Span) -> Self {
        Self {
            name,
            readiness: None,
            drain: None,
            min: None,
            prefix: None,
            sockets: Vec::new(),
            templates: Vec::new(),
            rendered: Vec::new(),
            listen: Vec::new(),
            depends_on: Vec::new(),
            forward_signals: Vec::new(),
            waits: Vec::new(),
            parts: Parts::default(),
        }
    }
}

/// A time that the config sets for a step of the shutdown.
pub(crate) struct Wait {
    pub(crate) what: StepKind,
    pub(crate) duration: Duration,
    pub(crate) span: Span,
}

/// The parts of a process that are checked in the image.
#[derive(Clone, Copy, Default)]
pub(crate) struct Parts {
    pub(crate) command: Option<Span>,
    pub(crate) update: Option<Span>,
    pub(crate) depends_on: Option<Span>,
    pub(crate) working_dir: Option<Span>,
    pub(crate) user: Option<Span>,
    pub(crate) readiness: Option<Span>,
    pub(crate) liveness: Option<Span>,
    pub(crate) hooks: Option<Span>,
    pub(crate) drain: Option<Span>,
    pub(crate) environment: Option<Span>,
    pub(crate) env_file: Option<Span>,
    pub(crate) render: Option<Span>,
    pub(crate) log: Option<Span>,
}
