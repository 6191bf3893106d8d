//! Carries out what [`crate::exec::machine`] decides: reads signals, reaps, sends, and lends the
//! terminal.

use std::io;
use std::time::Duration;

use crate::core::spec::SWEEP_PAUSE;
use crate::exec::machine::{Action, Event, Leftover, Machine, Message};
use crate::exec::options::ExecOptions;
use crate::exec::tell;
use crate::os::kill::{kill_child, kill_group_of_child};
use crate::os::oom::OomKills;
use crate::os::reap::{REAP_AT_ONCE, Reaped, has_child_in_group, reap_next, stopped_by};
use crate::os::signal::ReceivedSignal;
use crate::os::signal::mask::BlockedSignals;
use crate::os::sweep::Sweep;
use crate::os::terminal::Terminal;
use crate::os::{Pid, clock};
use crate::types::{End, Signal, Time};

/// Orphans that end within this time of each other are reaped in batches of [`BATCH`]. A wakeup for
/// each of them would take the processor from their parent and from all other processes.
const STORM: Duration = Duration::from_millis(1);
const BATCH: Duration = Duration::from_micros(300);
/// The signals that stop a process, as Ctrl-Z does.
const STOPS: [Signal; 4] = [Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU];

/// Runs the command until it has ended, and carries out what the machine decides.
pub(crate) struct CommandLoop<'a> {
    options: &'a ExecOptions,
    signals: &'a BlockedSignals,
    terminal: &'a mut Terminal,
    machine: Machine<'a>,
    /// Gets the same events at the same times, and must decide the same.
    #[cfg(debug_assertions)]
    replica: Machine<'a>,
    /// The pid of the command, and the number of its process group for as long as that has a
    /// member.
    child: Pid,
    /// The active sweep, and when to scan again.
    sweep: Option<(Sweep, Time)>,
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
        terminal: &'a mut Terminal,
    ) -> Self {
        Self {
            options,
            signals,
            terminal,
            machine: Machine::new(options),
            #[cfg(debug_assertions)]
            replica: Machine::new(options),
            child,
            sweep: None,
            may_stop: false,
            has_more: false,
            last_orphans: None,
        }
    }

    /// Runs until nothing is waited for, and returns how the command has ended.
    pub(crate) fn run(mut self) -> io::Result<End> {
        loop {
            let timeout = if self.has_more { Some(Duration::ZERO) } else { self.timeout() };
            if let Some(received) = self.signals.wait(timeout)? {
                // CHLD comes from the kernel. From a process, it is a signal like any other.
                if received.signal != Signal::CHLD || received.sender.is_some() {
                    self.receive(received);
                } else if !self.machine.has_ended() {
                    self.follow_stop()?;
                }
            }
            if let Some(end) = self.reap()? {
                return Ok(end);
            }
            if let Some(end) = self.handle(Event::Tick) {
                return Ok(end);
            }
            if let Some((sweep, _)) = self.sweep.take_if(|(_, at)| *at <= clock::now()) {
                self.scan(sweep);
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let scan = self.sweep.as_ref().map(|(_, at)| *at);
        let next = self.machine.next_wakeup().into_iter().chain(scan).min()?;
        Some(next.since(clock::now()))
    }

    fn receive(&mut self, received: ReceivedSignal) {
        let ReceivedSignal { signal, sender } = received;
        if self.options.verbose {
            match sender {
                Some(sender) if sender.pid != 0 => {
                    tell(&format!("{signal} received from pid {}", sender.pid));
                }
                Some(_) => tell(&format!("{signal} received from outside the container")),
                None => tell(&format!("{signal} received")),
            }
        }
        // A signal alone never leads to the exit.
        let _ = self.handle(Event::Signal(signal));
    }

    /// Passes an event to the machine and carries out its actions. Returns how the command has
    /// ended when drainit is to exit.
    fn handle(&mut self, event: Event) -> Option<End> {
        let now = clock::now();
        let actions = self.machine.handle(now, event);
        #[cfg(debug_assertions)]
        {
            assert_eq!(self.replica.handle(now, event), actions, "after {event:?}");
            assert_eq!(self.replica.next_wakeup(), self.machine.next_wakeup(), "after {event:?}");
        }
        for action in actions {
            match action {
                Action::Forward(signal) => self.forward(signal),
                Action::SignalGroup(signal) => self.signal_group(signal),
                Action::SignalDescendants(signal) => self.scan(Sweep::new(signal)),
                Action::ExplainKill => explain_kill(),
                Action::Report(message) => self.report(message),
                Action::Exit(end) => return Some(end),
            }
        }
        None
    }

    fn report(&self, message: Message) {
        if self.options.verbose || !message.is_verbose() {
            tell(&message.to_string());
        }
    }

    fn forward(&mut self, signal: Signal) {
        let is_job = signal == Signal::CONT && self.terminal.lend(self.child);
        self.may_stop |= STOPS.contains(&signal);
        let sent = if self.options.group || is_job {
            kill_group_of_child(self.child, signal)
        } else {
            kill_child(self.child, signal)
        };
        match sent {
            Err(error) => {
                let child = self.child;
                tell(&format!("warning: {signal} cannot be sent to pid {child}: {error}"));
            }
            Ok(_) if self.options.verbose => tell(&format!("{signal} sent to pid {}", self.child)),
            Ok(_) => {}
        }
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

    /// Scans for new descendants now, and again after a pause. Among thousands of them a scan takes
    /// long, and the pause is as long, so that there is time to reap.
    fn scan(&mut self, mut sweep: Sweep) {
        let began = clock::now();
        sweep.scan();
        if let Some(refusal) = sweep.refusal() {
            tell(&format!("warning: {refusal}"));
        }
        let now = clock::now();
        self.sweep = Some((sweep, now + now.since(began).max(SWEEP_PAUSE)));
    }

    /// Stops drainit where the command has stopped, so that the shell above sees it and takes its
    /// terminal back.
    fn follow_stop(&mut self) -> io::Result<()> {
        if !self.terminal.is_lent() && std::process::id() == 1 {
            return Ok(());
        }
        let Some(by) = stopped_by(self.child)? else { return Ok(()) };
        let is_meant = std::mem::take(&mut self.may_stop);
        let wants_terminal = [Signal::TTIN, Signal::TTOU].contains(&by);
        if wants_terminal && self.terminal.lend(self.child) {
            // drainit was brought into the foreground meanwhile, and its command did not know.
            kill_group_of_child(self.child, Signal::CONT)?;
        } else if Terminal::is_without_shell() {
            // No shell could continue it. As PID 1 the command itself would not have been stopped
            // by Ctrl-Z.
            if !is_meant && by == Signal::TSTP {
                kill_group_of_child(self.child, Signal::CONT)?;
            }
        } else if self.terminal.is_lent() || wants_terminal || by == Signal::TSTP {
            if self.signals.stop_self()? {
                self.terminal.forget();
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
            match reap_next()? {
                Reaped::Child(pid, end) => {
                    if self.options.verbose {
                        tell(&format!("pid {pid}: {end}"));
                    }
                    if pid != self.child || self.machine.has_ended() {
                        has_orphans = true;
                    } else if let Some(end) = self.handle(Event::Ended(end, self.leftover())) {
                        return Ok(Some(end));
                    }
                }
                Reaped::NoneNow => {
                    if has_orphans {
                        self.let_orphans_gather()?;
                    }
                    return Ok(match self.machine.has_ended() {
                        true => self.handle(Event::Reaped(self.leftover())),
                        false => None,
                    });
                }
                Reaped::NoChildren if self.machine.has_ended() => {
                    return Ok(self.handle(Event::Reaped(Leftover::None)));
                }
                Reaped::NoChildren => {
                    return Err(io::Error::other("the command is gone, but was not reaped"));
                }
            }
        }
        self.has_more = true;
        Ok(None)
    }

    /// The children that are left, as far as anything depends on it: a plain `exec` waits for none
    /// of them.
    fn leftover(&self) -> Leftover {
        match self.options.grace_period {
            Some(_) if has_child_in_group(self.child) => Leftover::Group,
            _ => Leftover::Descendants,
        }
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
            self.receive(received);
        }
        Ok(())
    }
}

/// Reports a kill by the OOM killer. Only PID 1 knows that there was no kill before: any other
/// process would have to count them at its start.
fn explain_kill() {
    if std::process::id() == 1 && OomKills::since_the_containers_start().explain_one() {
        tell(&format!("warning: the command {}", End::OutOfMemory));
    }
}
