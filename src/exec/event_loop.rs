//! Carries out what [`crate::exec::machine`] decides: reads signals, reaps, sends, and lends the
//! terminal. Says nothing itself: `exec`, tini and dumb-init each have their own words for a
//! [`Step`].

use std::io;
use std::time::Duration;

use crate::exec::machine::{Action, Event, Machine, Message};
use crate::exec::options::ExecOptions;
use crate::os::kill::{kill_child, kill_group_of_child};
use crate::os::reap::{REAP_AT_ONCE, Reaped, has_child_in_group, reap_next, stopped_by};
use crate::os::signal::ReceivedSignal;
use crate::os::signal::mask::BlockedSignals;
use crate::os::terminal::Terminal;
use crate::os::{Pid, clock};
use crate::types::{End, Signal, Time};

/// Orphans that end within this time of each other are reaped in batches of [`BATCH`]. A wakeup for
/// each of them would take the processor from their parent and from all other processes.
const STORM: Duration = Duration::from_millis(1);
const BATCH: Duration = Duration::from_micros(300);
/// The signals that stop a process, as Ctrl-Z does.
const STOPS: [Signal; 4] = [Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU];

/// What has happened.
pub(crate) enum Step {
    Received(ReceivedSignal),
    /// A signal was sent to the command, or to its group. `false`: there was no such process.
    Sent(Signal, io::Result<bool>),
    Reaped(Reaped),
    /// drainit stops itself, because it has forwarded a signal that stops.
    Halting,
    /// The command was killed, and not by drainit.
    KilledByOther,
    Decided(Message),
}

/// What drainit does when its command is stopped, as by Ctrl-Z.
pub(crate) enum Jobs<'a> {
    /// It lends the command its terminal, and stops where the command has stopped.
    Follow(&'a mut Terminal),
    /// It stops itself after it has forwarded a signal that stops.
    Halt,
    Ignore,
}

/// Runs the command until it has ended, and carries out what the machine decides.
pub(crate) struct CommandLoop<'a> {
    options: &'a ExecOptions,
    signals: &'a BlockedSignals,
    jobs: Jobs<'a>,
    say: &'a dyn Fn(Step),
    machine: Machine<'a>,
    /// The pid of the command, and the number of its process group for as long as that has a
    /// member.
    child: Pid,
    /// A signal was forwarded that may stop the command, so that it does not happen by accident.
    may_stop: bool,
    /// More children may have ended, for which CHLD has been read already.
    has_more: bool,
    last_orphans: Option<Time>,
}

impl<'a> CommandLoop<'a> {
    pub(crate) fn new(
        options: &'a ExecOptions,
        signals: &'a BlockedSignals,
        child: Pid,
        jobs: Jobs<'a>,
        say: &'a dyn Fn(Step),
    ) -> Self {
        Self {
            options,
            signals,
            jobs,
            say,
            machine: Machine::new(options),
            child,
            may_stop: false,
            has_more: false,
            last_orphans: None,
        }
    }

    /// Runs until nothing is waited for, and returns how the command has ended.
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
            if received.is_some_and(is_of_a_child) {
                self.follow_stop()?;
            }
            if let Some(end) = self.handle(Event::Tick) {
                return Ok(end);
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.machine.next_wakeup()?.since(clock::now()))
    }

    fn receive(&mut self, received: ReceivedSignal) -> io::Result<()> {
        (self.say)(Step::Received(received));
        if is_of_a_child(received) {
            return Ok(());
        }
        let signal = received.signal;
        // A signal alone never leads to the exit.
        let _ = self.handle(Event::Signal(signal));
        if let Jobs::Halt = self.jobs
            && STOPS.contains(&signal)
        {
            (self.say)(Step::Halting);
            self.signals.halt_self()?;
        }
        Ok(())
    }

    /// Passes an event to the machine and carries out its actions. Returns how the command has
    /// ended when drainit is to exit.
    fn handle(&mut self, event: Event) -> Option<End> {
        let now = clock::now();
        let actions = self.machine.handle(now, event);
        for action in actions {
            match action {
                Action::Forward(signal) => self.forward(signal),
                Action::SignalGroup(signal) => self.signal_group(signal),
                Action::ExplainKill => (self.say)(Step::KilledByOther),
                Action::Report(message) => (self.say)(Step::Decided(message)),
                Action::Exit(end) => return Some(end),
            }
        }
        None
    }

    fn forward(&mut self, signal: Signal) {
        let is_job = match &mut self.jobs {
            Jobs::Follow(terminal) => signal == Signal::CONT && terminal.lend(self.child),
            _ => false,
        };
        self.may_stop |= STOPS.contains(&signal);
        let sent = if self.options.group || is_job {
            kill_group_of_child(self.child, signal)
        } else {
            kill_child(self.child, signal)
        };
        (self.say)(Step::Sent(signal, sent));
    }

    fn signal_group(&self, signal: Signal) {
        // While a child is in the group, its number is not reused.
        if !self.machine.has_ended() || has_child_in_group(self.child) {
            let _ = kill_group_of_child(self.child, signal);
            // A stopped process would not act on it.
            let _ = kill_group_of_child(self.child, Signal::CONT);
        }
        // It may have left its group.
        if !self.machine.has_ended() {
            let _ = kill_child(self.child, signal);
        }
    }

    /// Stops drainit where the command has stopped, so that the shell above sees it and takes its
    /// terminal back.
    fn follow_stop(&mut self) -> io::Result<()> {
        let Jobs::Follow(terminal) = &mut self.jobs else { return Ok(()) };
        if self.machine.has_ended() || (!terminal.is_lent() && std::process::id() == 1) {
            return Ok(());
        }
        let Some(by) = stopped_by(self.child)? else { return Ok(()) };
        let is_meant = std::mem::take(&mut self.may_stop);
        let wants_terminal = [Signal::TTIN, Signal::TTOU].contains(&by);
        if wants_terminal && terminal.lend(self.child) {
            // drainit was brought into the foreground meanwhile, and its command did not know.
            kill_group_of_child(self.child, Signal::CONT)?;
        } else if Terminal::is_without_shell() {
            // No shell could continue it. As PID 1 the command itself would not have been stopped
            // by Ctrl-Z.
            if !is_meant && by == Signal::TSTP {
                kill_group_of_child(self.child, Signal::CONT)?;
            }
        } else if terminal.is_lent() || wants_terminal || by == Signal::TSTP {
            if self.signals.stop_self()? {
                terminal.forget();
            } else if !is_meant && by == Signal::TSTP {
                // The same below a script, which is no shell with jobs.
                kill_group_of_child(self.child, Signal::CONT)?;
            }
        }
        Ok(())
    }

    /// Reaps the command and orphans. Returns how the command has ended when drainit is to exit.
    fn reap(&mut self) -> io::Result<Option<End>> {
        self.has_more = false;
        let mut has_orphans = false;
        for _ in 0..REAP_AT_ONCE {
            let reaped = reap_next()?;
            (self.say)(Step::Reaped(reaped));
            match reaped {
                Reaped::Child(pid, end) => {
                    if pid != self.child || self.machine.has_ended() {
                        has_orphans = true;
                    } else {
                        let has_group = self.has_group();
                        if let Some(end) = self.handle(Event::Ended { end, has_group }) {
                            return Ok(Some(end));
                        }
                    }
                }
                Reaped::NoneNow => {
                    if has_orphans {
                        self.let_orphans_gather()?;
                    }
                    return Ok(match self.machine.has_ended() {
                        true => self.handle(Event::Reaped { has_group: self.has_group() }),
                        false => None,
                    });
                }
                Reaped::NoChildren if self.machine.has_ended() => {
                    return Ok(self.handle(Event::Reaped { has_group: false }));
                }
                Reaped::NoChildren => {
                    return Err(io::Error::other("the command is gone, but was not reaped"));
                }
            }
        }
        self.has_more = true;
        Ok(None)
    }

    /// Whether the rest of the command's group is waited for: a plain `exec` waits for nothing.
    fn has_group(&self) -> bool {
        self.options.grace_period.is_some() && has_child_in_group(self.child)
    }

    /// Waits for more orphans where they come in a storm, and for any other signal: the kernel
    /// delivers the lowest number first, so signals above CHLD would wait for as long as orphans
    /// come.
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

/// Whether the kernel says with this signal that a child has ended or stopped. From a process, CHLD
/// is a signal like any other.
fn is_of_a_child(received: ReceivedSignal) -> bool {
    received.signal == Signal::CHLD && received.sender.is_none()
}
