//! Carries out the decisions of [`crate::exec::machine`]: reads signals, reaps children, sends
//! signals, and lends the terminal. The loop writes no messages itself, because `exec`, tini and
//! dumb-init have different words for the same event ([`Told`]).

use std::io;
use std::time::Duration;

use crate::commands::exec::ExecOptions;
use crate::exec::machine::{ExecAction, ExecEvent, ExecMachine, ExecMessage, STOPS};
use crate::os::kill::{kill_child, kill_group_of_child};
use crate::os::reap::{REAP_AT_ONCE, Reaped, has_child_in_group, reap_next, stopped_by};
use crate::os::signal::ReceivedSignal;
use crate::os::signal::mask::BlockedSignals;
use crate::os::terminal::Terminal;
use crate::os::{Pid, clock};
use crate::types::{End, Signal, Time};

/// If two orphans end within this time of each other, drainit waits for [`BATCH`] before it reaps
/// more orphans. A wakeup for each orphan would take the processor from all other processes.
const STORM: Duration = Duration::from_millis(1);
const BATCH: Duration = Duration::from_micros(300);

/// An event of the loop that may be reported.
pub(crate) enum Told {
    Received(ReceivedSignal),
    /// A signal was sent to the command, or to its group. `false` means that the receiver did not
    /// exist.
    Sent(Signal, io::Result<bool>),
    Reaped(Reaped),
    /// drainit suspends itself, because it has forwarded a signal that suspends a process.
    Halting,
    /// The command has ended without being asked to.
    EndedUnasked(End),
    Decided(ExecMessage),
}

/// The reaction of drainit when its command is suspended, for example by Ctrl-Z.
pub(crate) enum Jobs<'a> {
    /// drainit lends its terminal to the command. If the command is suspended, [`ExecMachine`]
    /// decides whether drainit also suspends itself until SIGCONT, or continues the command.
    Follow(&'a mut Terminal),
    /// After drainit has forwarded a signal that suspends a process, such as SIGTSTP, drainit
    /// suspends itself, too.
    Halt,
    Ignore,
}

/// Supervises the running command, and carries out the decisions of the machine.
pub(crate) struct CommandLoop<'a> {
    options: &'a ExecOptions,
    signals: &'a BlockedSignals,
    jobs: Jobs<'a>,
    say: &'a dyn Fn(Told),
    machine: ExecMachine<'a>,
    /// The pid of the command, which is also the number of its process group as long as the group
    /// has a member.
    child: Pid,
    /// Whether more children may have ended, although their SIGCHLD was already read.
    has_more: bool,
    last_orphans: Option<Time>,
}

impl<'a> CommandLoop<'a> {
    pub(crate) fn new(
        options: &'a ExecOptions,
        signals: &'a BlockedSignals,
        child: Pid,
        jobs: Jobs<'a>,
        say: &'a dyn Fn(Told),
    ) -> Self {
        Self {
            options,
            signals,
            jobs,
            say,
            machine: ExecMachine::new(options),
            child,
            has_more: false,
            last_orphans: None,
        }
    }

    /// Runs until drainit is to exit, and returns how the command has ended.
    pub(crate) fn run(mut self) -> io::Result<End> {
        loop {
            let timeout = if self.has_more { Some(Duration::ZERO) } else { self.timeout() };
            let received = self.signals.wait(timeout)?;
            if let Some(received) = received {
                self.receive(received)?;
            }
            if let Some(end) = self.reap()? {
                return Ok(end);
            }
            if received.is_some_and(ReceivedSignal::is_about_child) {
                self.follow_stop()?;
            }
            if let Some(end) = self.handle(ExecEvent::Tick) {
                return Ok(end);
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.machine.next_wakeup()?.since(clock::now()))
    }

    fn receive(&mut self, received: ReceivedSignal) -> io::Result<()> {
        (self.say)(Told::Received(received));
        if received.is_about_child() {
            return Ok(());
        }
        let signal = received.signal;
        // The result is ignored, because a signal alone never makes drainit exit.
        let _ = self.handle(ExecEvent::Signal(signal));
        if let Jobs::Halt = self.jobs
            && STOPS.contains(&signal)
        {
            (self.say)(Told::Halting);
            self.signals.halt_self()?;
        }
        Ok(())
    }

    /// Passes an event to the machine and carries out its actions. If drainit is to exit, returns
    /// how the command has ended.
    fn handle(&mut self, event: ExecEvent) -> Option<End> {
        let now = clock::now();
        let actions = self.machine.handle(now, event);
        for action in actions {
            match action {
                ExecAction::Forward(signal) => self.forward(signal),
                ExecAction::SignalGroup(signal) => self.signal_group(signal),
                ExecAction::Lend => drop(self.lend()),
                ExecAction::Continue => self.continue_group(),
                ExecAction::Suspend { or_continue } => {
                    if !self.suspend() && or_continue {
                        self.continue_group();
                    }
                }
                ExecAction::Explain(end) => (self.say)(Told::EndedUnasked(end)),
                ExecAction::Report(message) => (self.say)(Told::Decided(message)),
                ExecAction::Exit(end) => return Some(end),
            }
        }
        None
    }

    fn forward(&mut self, signal: Signal) {
        let is_job = signal == Signal::CONT && self.lend();
        let sent = if self.options.group || is_job {
            kill_group_of_child(self.child, signal)
        } else {
            kill_child(self.child, signal)
        };
        (self.say)(Told::Sent(signal, sent));
    }

    fn signal_group(&self, signal: Signal) {
        // While a child is in the group, the kernel does not reuse the number of the group.
        if !self.machine.has_ended() || has_child_in_group(self.child) {
            let _ = kill_group_of_child(self.child, signal);
            // SIGCONT follows, because a suspended process would not act on the signal.
            self.continue_group();
        }
        // The command may have left its group, so the command itself also gets the signal.
        if !self.machine.has_ended() {
            let _ = kill_child(self.child, signal);
        }
    }

    /// Passes the suspension of the command to the machine.
    fn follow_stop(&mut self) -> io::Result<()> {
        let Jobs::Follow(terminal) = &self.jobs else { return Ok(()) };
        if self.machine.has_ended() || (!terminal.is_lent() && std::process::id() == 1) {
            return Ok(());
        }
        if let Some(by) = stopped_by(self.child)? {
            let (is_lent, is_ours) = (terminal.is_lent(), terminal.is_ours());
            let has_shell = !Terminal::is_without_shell();
            // A suspension of the command never makes drainit exit.
            let _ = self.handle(ExecEvent::Suspended { by, is_lent, is_ours, has_shell });
        }
        Ok(())
    }

    /// Suspends drainit. Returns whether the kernel has done so.
    fn suspend(&mut self) -> bool {
        let Jobs::Follow(terminal) = &mut self.jobs else { return false };
        let is_suspended = self.signals.stop_self().unwrap_or(false);
        if is_suspended {
            terminal.forget();
        }
        is_suspended
    }

    /// Lends the command the terminal if drainit is in the foreground. Returns whether drainit was
    /// in the foreground.
    fn lend(&mut self) -> bool {
        match &mut self.jobs {
            Jobs::Follow(terminal) => terminal.lend(self.child),
            _ => false,
        }
    }

    fn continue_group(&self) {
        let _ = kill_group_of_child(self.child, Signal::CONT);
    }

    /// Reaps the command and orphans. If drainit is to exit, returns how the command has ended.
    fn reap(&mut self) -> io::Result<Option<End>> {
        self.has_more = false;
        let mut has_orphans = false;
        for _ in 0..REAP_AT_ONCE {
            let reaped = reap_next()?;
            (self.say)(Told::Reaped(reaped));
            match reaped {
                Reaped::Child(pid, end) => {
                    if pid != self.child || self.machine.has_ended() {
                        has_orphans = true;
                    } else {
                        let has_group = self.has_group();
                        if let Some(end) = self.handle(ExecEvent::Ended { end, has_group }) {
                            return Ok(Some(end));
                        }
                    }
                }
                Reaped::NoneNow => {
                    if has_orphans {
                        self.let_orphans_gather()?;
                    }
                    return Ok(match self.machine.has_ended() {
                        true => self.handle(ExecEvent::Reaped { has_group: self.has_group() }),
                        false => None,
                    });
                }
                Reaped::NoChildren if self.machine.has_ended() => {
                    return Ok(self.handle(ExecEvent::Reaped { has_group: false }));
                }
                Reaped::NoChildren => {
                    return Err(io::Error::other("the command is gone, but was not reaped"));
                }
            }
        }
        self.has_more = true;
        Ok(None)
    }

    /// Whether drainit waits for the rest of the command's group. Without a grace period, drainit
    /// waits only for the command.
    fn has_group(&self) -> bool {
        self.options.grace_period.is_some() && has_child_in_group(self.child)
    }

    /// If many orphans end at once, waits for more orphans or for another signal. The kernel
    /// delivers the signal with the lowest number first, so signals above SIGCHLD would otherwise
    /// wait as long as orphans keep ending.
    fn let_orphans_gather(&mut self) -> io::Result<()> {
        let now = clock::now();
        let last = self.last_orphans.replace(now);
        if !self.machine.has_ended()
            && last.is_some_and(|last| now.since(last) < STORM)
            && let Some(received) = self.signals.wait_but_for_children(BATCH)?
        {
            self.receive(received)?;
        }
        Ok(())
    }
}
