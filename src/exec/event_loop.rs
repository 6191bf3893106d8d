//! From the start of the child to the end of everything: signals in, signals out, and who is reaped.
//!
//! ```text
//! running ── stop signal ──▶ held back ── delay over, or a second one ──▶ passed on ── grace period over ──▶ killed
//!    │                                                                        │                                │
//!    └────────────────────────── the child has ended ◀────────────────────────┴────────────────────────────────┘
//!                                          │
//!                                          ▼
//!               what it left behind, if that is waited for: TERM, the rest of the time, KILL
//! ```

use std::io;
use std::time::Duration;

use crate::core::spec::SWEEP_PAUSE;
use crate::exec::{ExecOptions, tell};
use crate::os::Pid;
use crate::os::clock;
use crate::os::kill::{kill, kill_group};
use crate::os::oom::OomKills;
use crate::os::reap;
use crate::os::reap::{REAP_AT_ONCE, Reaped, reap_next};
use crate::os::signal::ReceivedSignal;
use crate::os::signal::mask::BlockedSignals;
use crate::os::sweep::Sweep;
use crate::os::terminal::Terminal;
use crate::types::{End, ONE_SIGNAL, Signal, Time, human};

/// Orphans that end within this time of each other make a storm. Then they are reaped as many as come in `BATCH`: to be woken
/// up for each of them would take the processor from whoever makes them, and from all others.
const STORM: Duration = Duration::from_millis(1);
const BATCH: Duration = Duration::from_micros(300);
/// How long what was killed may take to be gone; only the kernel itself, stuck in a device, makes it longer.
const AFTER_KILL: Duration = Duration::from_secs(2);
/// What stops a process.
const STOPS: [Signal; 4] = [Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU];
/// How long descendants have that are to stop, where no grace period is given.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct CommandLoop<'a> {
    options: &'a ExecOptions,
    signals: &'a BlockedSignals,
    child: Pid,
    terminal: &'a mut Terminal,
    /// How the child has ended; its pid means nothing from then on, its group's number as long as a child is in it.
    end: Option<End>,
    /// A stop signal has come.
    is_asked: bool,
    /// When the last one did.
    last_stop: Option<Time>,
    /// A stop signal that is held back, and until when.
    held: Option<(Signal, Time)>,
    /// When what is left is killed; after that, when it is no longer waited for.
    deadline: Option<Time>,
    is_killed: bool,
    /// Whoever of the descendants comes to light is told, or killed; and when it is looked next.
    sweep: Option<(Sweep, Time)>,
    /// A signal was passed on that may stop the child, so that it is meant to be stopped.
    may_stop: bool,
    /// There may be more to reap, for which the signal has come already.
    has_more: bool,
    /// When orphans were reaped last.
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
            child,
            terminal,
            end: None,
            is_asked: false,
            last_stop: None,
            held: None,
            deadline: None,
            is_killed: false,
            sweep: None,
            may_stop: false,
            has_more: false,
            last_orphans: None,
        }
    }

    /// Works until nothing is left to wait for, and tells how the child has ended.
    pub(crate) fn run(mut self) -> io::Result<End> {
        loop {
            let timeout = if self.has_more { Some(Duration::ZERO) } else { self.timeout() };
            if let Some(received) = self.signals.wait(timeout)? {
                if received.signal != Signal::CHLD {
                    self.receive(received);
                } else if received.sender.is_some() {
                    self.pass_on(received.signal);
                } else if self.end.is_none() {
                    self.look_for_stop()?;
                }
            }
            if let Some(end) = self.reap()? {
                return Ok(end);
            }
            if let Some(end) = self.be_punctual() {
                return Ok(end);
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let held = self.held.map(|(_, until)| until);
        let look = self.sweep.as_ref().map(|(_, at)| *at);
        let next = held.into_iter().chain(look).chain(self.deadline).min()?;
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
        if self.options.stop_signals.contains(&signal) {
            self.stop(signal);
        } else if self.end.is_none() {
            self.pass_on(signal);
        }
    }

    /// The first stop signal begins the stop. A second one cuts the delay short. What is left of a child that has ended
    /// is told at the first and killed at the second.
    fn stop(&mut self, signal: Signal) {
        let now = clock::now();
        let last = self.last_stop.replace(now);
        let is_doubled = last.is_some_and(|last| now.since(last) < ONE_SIGNAL);
        if is_doubled && (self.held.is_some() || self.end.is_some()) {
            return;
        }
        let is_first = !std::mem::replace(&mut self.is_asked, true);
        if self.end.is_some() {
            if is_first {
                self.stop_left_over();
            } else {
                self.kill();
            }
            return;
        }
        if is_first {
            self.deadline = self.options.grace_period.map(|grace| now + grace);
            if !self.options.signal_delay.is_zero() {
                self.held = Some((signal, now + self.options.signal_delay));
                return;
            }
        }
        let held = self.release();
        if held != Some(signal) {
            self.pass_on(signal);
        }
    }

    /// Passes on what was held back.
    fn release(&mut self) -> Option<Signal> {
        let (signal, _) = self.held.take()?;
        self.pass_on(signal);
        Some(signal)
    }

    /// Sends the child what stands for this signal. It is not reaped yet, so its pid is still its own.
    fn pass_on(&mut self, signal: Signal) {
        if self.end.is_some() {
            return;
        }
        let Some(to) = self.options.rewrites.of(signal) else {
            if self.options.verbose {
                tell(&format!("{signal} dropped"));
            }
            return;
        };
        let is_job = to == Signal::CONT && self.terminal.lend(self.child);
        self.may_stop |= STOPS.contains(&to);
        let sent = if self.options.group || is_job {
            kill_group(self.child, to)
        } else {
            kill(self.child, to)
        };
        match sent {
            Err(error) => {
                tell(&format!("warning: {to} cannot be sent to pid {}: {error}", self.child))
            }
            Ok(_) if self.options.verbose => tell(&format!("{to} sent to pid {}", self.child)),
            Ok(_) => {}
        }
    }

    /// Where the child has stopped, drainit stops with it, so that the shell above sees it and takes its terminal back.
    fn look_for_stop(&mut self) -> io::Result<()> {
        if !self.terminal.is_lent() && std::process::id() == 1 {
            return Ok(());
        }
        let Some(by) = reap::stopped_by(self.child)? else { return Ok(()) };
        let is_meant = std::mem::take(&mut self.may_stop);
        let wants_terminal = [Signal::TTIN, Signal::TTOU].contains(&by);
        if wants_terminal && self.terminal.lend(self.child) {
            // We were brought into the foreground meanwhile, and the child did not know.
            kill_group(self.child, Signal::CONT)?;
        } else if Terminal::is_without_shell() {
            // Nobody could ever continue it. As PID 1 the child itself would not have been stopped by Ctrl-Z.
            if !is_meant && by == Signal::TSTP {
                kill_group(self.child, Signal::CONT)?;
            }
        } else if self.terminal.is_lent() || wants_terminal || by == Signal::TSTP {
            self.terminal.forget();
            self.signals.stop_self()?;
        }
        Ok(())
    }

    /// Reaps the child and orphans. The end of everything, if it is reached.
    fn reap(&mut self) -> io::Result<Option<End>> {
        self.has_more = false;
        let mut orphans = false;
        for _ in 0..REAP_AT_ONCE {
            match reap_next()? {
                Reaped::Child(pid, end) => {
                    if self.options.verbose {
                        tell(&format!("pid {pid}: {end}"));
                    }
                    if pid == self.child && self.end.is_none() {
                        self.end = Some(end);
                        self.explain(end);
                        if !self.is_anything_left() {
                            return Ok(self.end);
                        }
                        self.child_ended();
                    } else {
                        orphans = true;
                    }
                }
                Reaped::NoneNow => {
                    if orphans {
                        self.let_orphans_gather()?;
                    }
                    return Ok(self.end.filter(|_| !self.is_anything_left()));
                }
                Reaped::NoChildren if self.end.is_some() => return Ok(self.end),
                Reaped::NoChildren => return Err(io::Error::other("the child is gone, unseen")),
            }
        }
        self.has_more = true;
        Ok(None)
    }

    /// Waits for more of them, where they come in a storm, and for any other signal: the kernel hands out the one with the
    /// lowest number first, so those above CHLD would wait for as long as orphans come.
    fn let_orphans_gather(&mut self) -> io::Result<()> {
        let now = clock::now();
        let last = self.last_orphans.replace(now);
        if self.end.is_none()
            && last.is_some_and(|last| now.since(last) < STORM)
            && let Some(received) = self.signals.wait_but_for_children(BATCH)?
        {
            self.receive(received);
        }
        Ok(())
    }

    /// Says what the code does not tell: who probably sent a KILL that nobody asked for.
    fn explain(&self, end: End) {
        let is_unasked = !self.is_asked && !self.is_killed && end == End::Signal(Signal::KILL);
        // Only for PID 1 no count was there before. Everywhere else one would have to be taken at the start.
        if is_unasked
            && std::process::id() == 1
            && OomKills::since_the_containers_start().explain_one()
        {
            tell(&format!("warning: the command {}", End::OutOfMemory));
        }
    }

    /// Whether there is somebody whom the end waits for, after the child.
    fn is_anything_left(&self) -> bool {
        // That there are no descendants at all is what reaping tells.
        self.options.wait_all
            || (self.options.grace_period.is_some() && reap::has_child_in_group(self.child))
    }

    fn child_ended(&mut self) {
        self.held = None;
        if self.is_killed {
            self.signal_left_over(Signal::KILL);
        } else if self.is_asked || !self.options.wait_all {
            self.stop_left_over();
        }
    }

    /// Asks what is left to stop, by a deadline.
    fn stop_left_over(&mut self) {
        let grace = self.options.grace_period.unwrap_or(DEFAULT_GRACE);
        self.deadline.get_or_insert(clock::now() + grace);
        if self.options.verbose {
            tell("asking what is left over to stop");
        }
        self.signal_left_over(Signal::TERM);
    }

    /// Signals the descendants if they are waited for, the child's group otherwise.
    fn signal_left_over(&mut self, signal: Signal) {
        if self.options.wait_all {
            self.look(Sweep::new(signal));
        } else if self.end.is_none() || reap::has_child_in_group(self.child) {
            // While a child is in the group, nobody else can have its number.
            let _ = kill_group(self.child, signal);
            // What is stopped would sleep through it.
            let _ = kill_group(self.child, Signal::CONT);
        }
    }

    /// Signals the descendants that have not been met yet, now and again in a moment. Among thousands of them a look takes
    /// long: as long again there is time to reap, and the processor is left to them.
    fn look(&mut self, mut sweep: Sweep) {
        let began = clock::now();
        sweep.scan();
        if let Some(refusal) = sweep.refusal() {
            tell(&format!("warning: {refusal}"));
        }
        let now = clock::now();
        self.sweep = Some((sweep, now + now.since(began).max(SWEEP_PAUSE)));
    }

    /// Kills what is left, once.
    fn kill(&mut self) {
        if self.is_killed {
            return;
        }
        tell("warning: killing what has not stopped");
        self.is_killed = true;
        self.held = None;
        self.deadline = Some(clock::now() + AFTER_KILL);
        if self.end.is_none() && self.options.wait_all {
            let _ = kill_group(self.child, Signal::KILL);
        }
        self.signal_left_over(Signal::KILL);
    }

    /// Does what is due. The end, where even killing has not led to it.
    fn be_punctual(&mut self) -> Option<End> {
        let now = clock::now();
        if self.held.is_some_and(|(_, until)| until <= now) {
            self.release();
        }
        if let Some((sweep, _)) = self.sweep.take_if(|(_, at)| *at <= now) {
            self.look(sweep);
        }
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return None;
        }
        if self.is_killed {
            tell("warning: going without what cannot even be killed");
            return Some(self.end.unwrap_or(End::Signal(Signal::KILL)));
        }
        if let Some(grace) = self.options.grace_period {
            tell(&format!("warning: the grace period of {} is over", human(grace)));
        }
        self.kill();
        None
    }
}
