//! The decisions of `exec`: where a signal is sent, when SIGKILL follows, and when drainit exits.
//! The machine does no I/O: it gets events and the time, and returns actions.
//!
//! ```text
//! running ── stop signal ──▶ stopping ── grace period over ──▶ killed
//!    │                          │                                │
//!    └─────────────────────────▶┴──── the command has ended ◀────┘
//!                                               │
//!                                               ▼
//!    its process group, if there is a grace period: SIGTERM, the rest of the time, SIGKILL
//! ```

use std::fmt;
use std::time::Duration;

use crate::commands::exec::ExecOptions;
use crate::types::{End, ONE_SIGNAL, Signal, Time, human};

/// The longest wait for killed processes. Only a process that waits in the kernel, for example for
/// a device, needs longer.
const AFTER_KILL: Duration = Duration::from_secs(2);
/// The signals that suspend a process, as Ctrl-Z does.
pub(crate) const STOPS: [Signal; 4] = [Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecEvent {
    Signal(Signal),
    /// The command has ended. `has_group` says that there is a grace period, and that the process
    /// group of the command still has a child of drainit.
    Ended {
        end: End,
        has_group: bool,
    },
    /// Every child that had ended is reaped.
    Reaped {
        has_group: bool,
    },
    /// The command is suspended by this signal. `is_lent` says that drainit has lent the command
    /// the terminal, and `is_ours` that drainit itself has the terminal. `has_shell` says that
    /// drainit does not lead its session, so that a shell may be above drainit.
    Suspended {
        by: Signal,
        is_lent: bool,
        is_ours: bool,
        has_shell: bool,
    },
    /// The time of [`ExecMachine::next_wakeup`] may have come.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecAction {
    /// Sends a signal to the command, or with [`ExecOptions::group`] to its process group. The
    /// command has not been reaped.
    Forward(Signal),
    /// Sends a signal to the process group of the command, if the group still has a member.
    SignalGroup(Signal),
    /// Lends the command the terminal.
    Lend,
    /// Continues the process group of the command.
    Continue,
    /// Suspends drainit. The shell that started drainit then notices the suspension, and takes the
    /// terminal back. If the kernel does not suspend drainit, because the parent of drainit has no
    /// job control, `or_continue` says whether drainit continues the command.
    Suspend {
        or_continue: bool,
    },
    /// Looks for the reason why the command has ended without being asked to.
    Explain(End),
    Report(ExecMessage),
    /// Ends the loop of drainit, which waits for nothing more.
    Exit(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecMessage {
    Dropped(Signal),
    StoppingLeftover,
    GraceOver(Duration),
    Killing,
    Unkillable,
}

impl ExecMessage {
    /// Whether the message is written only with `--verbose`.
    pub(crate) fn is_verbose(self) -> bool {
        matches!(self, Self::Dropped(_) | Self::StoppingLeftover)
    }
}

impl fmt::Display for ExecMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped(signal) => write!(f, "{signal} dropped"),
            Self::StoppingLeftover => f.write_str("stopping leftover processes"),
            Self::GraceOver(grace) => {
                write!(f, "warning: the grace period of {} is over", human(*grace))
            }
            Self::Killing => f.write_str("warning: killing what has not stopped"),
            Self::Unkillable => {
                f.write_str("warning: exiting while processes that survived SIGKILL are alive")
            }
        }
    }
}

/// Decides what happens with the command, its signals and its leftovers.
#[derive(Debug)]
pub(crate) struct ExecMachine<'a> {
    options: &'a ExecOptions,
    /// How the command has ended; `None` while it runs.
    end: Option<End>,
    /// Whether a stop signal has arrived.
    is_stopping: bool,
    last_stop: Option<Time>,
    /// The time of the next step: SIGKILL, or the exit after SIGKILL. `None` if no step is due.
    deadline: Option<Time>,
    is_killed: bool,
    /// Whether a signal that suspends a process was forwarded. If the command is suspended after
    /// such a signal, the suspension is intended.
    may_suspend: bool,
    actions: Vec<ExecAction>,
}

impl<'a> ExecMachine<'a> {
    pub(crate) fn new(options: &'a ExecOptions) -> Self {
        Self {
            options,
            end: None,
            is_stopping: false,
            last_stop: None,
            deadline: None,
            is_killed: false,
            may_suspend: false,
            actions: Vec::new(),
        }
    }

    /// Handles one event, and returns the actions in their order. `now` must not go backwards.
    pub(crate) fn handle(&mut self, now: Time, event: ExecEvent) -> Vec<ExecAction> {
        match event {
            ExecEvent::Signal(signal) if self.options.stops(signal) => self.stop(now, signal),
            ExecEvent::Signal(signal) => self.forward(signal),
            ExecEvent::Ended { end, has_group } => self.on_ended(now, end, has_group),
            ExecEvent::Reaped { has_group } => self.exit_if_done(has_group),
            ExecEvent::Suspended { by, is_lent, is_ours, has_shell } => {
                self.suspended(by, is_lent, is_ours, has_shell);
            }
            ExecEvent::Tick => self.tick(now),
        }
        std::mem::take(&mut self.actions)
    }

    /// The time at which [`ExecEvent::Tick`] is due; `None` if no tick is due.
    pub(crate) fn next_wakeup(&self) -> Option<Time> {
        self.deadline
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// A stop signal goes to the command as long as the command runs. After the end of the command,
    /// the rest of its group gets SIGTERM, or SIGKILL if an earlier stop signal has come.
    fn stop(&mut self, now: Time, signal: Signal) {
        let last = self.last_stop.replace(now);
        let is_same = last.is_some_and(|last| now.since(last) < ONE_SIGNAL);
        if is_same && self.end.is_some() {
            return;
        }
        let is_first = !std::mem::replace(&mut self.is_stopping, true);
        if self.end.is_some() {
            if is_first && !self.is_killed {
                self.stop_leftover(now);
            } else {
                self.kill(now);
            }
            return;
        }
        if is_first {
            self.deadline = self.options.grace_period.map(|grace| now + grace);
        }
        self.forward(signal);
    }

    fn forward(&mut self, signal: Signal) {
        if self.end.is_some() {
            return;
        }
        self.actions.push(match self.options.rewrites.of(signal) {
            Some(signal) => {
                let may_suspend = self.may_suspend && signal != Signal::CONT;
                self.may_suspend = may_suspend || STOPS.contains(&signal);
                ExecAction::Forward(signal)
            }
            None => ExecAction::Report(ExecMessage::Dropped(signal)),
        });
    }

    fn suspended(&mut self, by: Signal, is_lent: bool, is_ours: bool, has_shell: bool) {
        let is_intended = std::mem::take(&mut self.may_suspend);
        let wants_terminal = [Signal::TTIN, Signal::TTOU].contains(&by);
        let is_ctrl_z = by == Signal::TSTP && !is_intended;
        if wants_terminal && is_ours {
            // The command was suspended because it used the terminal from the background. The shell
            // has since brought drainit into the foreground, but not the command.
            self.actions.extend([ExecAction::Lend, ExecAction::Continue]);
        } else if has_shell && (is_lent || by != Signal::STOP) {
            // The shell may be a script without job control. After Ctrl-Z, nobody would then
            // continue the command, so `or_continue` lets drainit continue the command.
            self.actions.push(ExecAction::Suspend { or_continue: is_ctrl_z });
        } else if is_ctrl_z {
            // There is no shell that continues the command after Ctrl-Z, so drainit continues the
            // command. Ctrl-Z then has no effect, as if the command itself were PID 1.
            self.actions.push(ExecAction::Continue);
        }
    }

    fn on_ended(&mut self, now: Time, end: End, has_group: bool) {
        self.end = Some(end);
        if !self.is_stopping && !self.is_killed {
            self.actions.push(ExecAction::Explain(end));
        }
        if !has_group {
            self.actions.push(ExecAction::Exit(end));
        } else if self.is_killed {
            self.actions.push(ExecAction::SignalGroup(Signal::KILL));
        } else {
            self.stop_leftover(now);
        }
    }

    fn exit_if_done(&mut self, has_group: bool) {
        if let Some(end) = self.end.filter(|_| !has_group) {
            self.actions.push(ExecAction::Exit(end));
        }
    }

    fn stop_leftover(&mut self, now: Time) {
        let grace = self.options.grace_period.unwrap_or_default();
        self.deadline.get_or_insert(now + grace);
        self.actions.push(ExecAction::Report(ExecMessage::StoppingLeftover));
        self.actions.push(ExecAction::SignalGroup(Signal::TERM));
    }

    fn kill(&mut self, now: Time) {
        if self.is_killed {
            return;
        }
        self.actions.push(ExecAction::Report(ExecMessage::Killing));
        self.is_killed = true;
        self.deadline = Some(now + AFTER_KILL);
        self.actions.push(ExecAction::SignalGroup(Signal::KILL));
    }

    fn tick(&mut self, now: Time) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        if self.is_killed {
            self.actions.push(ExecAction::Report(ExecMessage::Unkillable));
            self.actions.push(ExecAction::Exit(self.end.unwrap_or(End::Signal(Signal::KILL))));
            return;
        }
        if let Some(grace) = self.options.grace_period {
            self.actions.push(ExecAction::Report(ExecMessage::GraceOver(grace)));
        }
        self.kill(now);
    }
}
