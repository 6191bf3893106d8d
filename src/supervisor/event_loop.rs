//! Joins the core and the kernel: gives events to the machine, and carries out its actions.
//!
//! The event loop and the local tasks run on one thread, so that starting, bookkeeping and reaping
//! cannot overtake each other. Work that may take time (probes, drains, logs) is a local task that
//! sends a message when the work is done.

mod messages;
mod reap;
mod step;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ops::BitOr;
use std::rc::Rc;
use std::time::Duration;

use crate::core::action::Action;
use crate::core::event::Event;
use crate::core::note::Note;
use crate::core::spec::{HookId, Stage};
use crate::core::state::Lifecycle;
use crate::keys::Config;
use crate::os::clock::{self, Timer};
use crate::os::panic_hook;
use crate::os::service_manager;
use crate::os::signal::fd::{SignalStream, Signals};
use crate::os::signal::mask::only;
use crate::os::signal::{ReceivedSignal, Sender};
use crate::os::sys::{self, SignalSet};
use crate::os::terminal;
use crate::supervisor::event_loop::step::StepTime;
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::inbox::Inbox;
use crate::supervisor::tasks::drain::DrainCommand;
use crate::types::{ProcessId, Signal, Time};

/// If drainit handles a time limit this long after the limit has expired, drainit assumes that it
/// was suspended or had no processor time.
const LATE: Duration = Duration::from_millis(50);
/// How many times the event loop yields to the local tasks before a step that depends on the work
/// of these tasks. At each yield, the runtime runs only some of the tasks.
const TURNS: usize = 16;

/// Signals that a terminal or its shell sends. With a terminal, drainit does not warn that such a
/// signal has no effect, because nobody expects an effect. Without a terminal, such a signal may be
/// the image's STOPSIGNAL, for example SIGWINCH.
const OF_A_TERMINAL: [Signal; 4] = [Signal::TSTP, Signal::TTIN, Signal::TTOU, Signal::WINCH];

/// Lets local tasks do the work that they can do without waiting.
pub(crate) async fn let_others_run() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

pub(crate) struct EventLoop {
    /// The event loop uses the executor during a step, and the control endpoints use it between two
    /// steps.
    executor: Rc<RefCell<Executor>>,
    events: Events,
}

/// The sources of events, and the events that are not handled yet.
struct Events {
    signals: SignalStream,
    stop_signals: SignalSet,
    timer: Timer,
    /// The time at which the timer fires; `None` if the timer is not set.
    wakes_at: Option<Time>,
    inbox: Inbox,
    reload_signal: Option<Signal>,
    /// The events that the actions of the current step have caused. These events are handled in the
    /// current step, too.
    queue: VecDeque<Event>,
    /// Whether there may be an ended child that is not reaped yet.
    has_ended: bool,
    exit: Option<u8>,
}

/// A step of the event loop, which has the executor for itself.
pub(crate) struct Step<'a> {
    pub(crate) executor: &'a mut Executor,
    events: &'a mut Events,
}

impl EventLoop {
    pub(crate) fn new(
        config: &Config,
        executor: Rc<RefCell<Executor>>,
        signals: Signals,
        inbox: Inbox,
    ) -> io::Result<Self> {
        let events = Events {
            signals: signals.into_stream()?,
            stop_signals: 0,
            timer: Timer::new()?,
            wakes_at: None,
            inbox,
            reload_signal: None,
            queue: VecDeque::new(),
            // A program may have run in this process before it executed drainit, and may have left
            // children that have ended.
            has_ended: true,
            exit: None,
        };
        let mut event_loop = Self { executor, events };
        event_loop.step(|step| step.take_signals(config));
        Ok(event_loop)
    }

    /// Does the work of a step. No local task runs meanwhile.
    pub(crate) fn step<T>(&mut self, work: impl FnOnce(&mut Step<'_>) -> T) -> T {
        let time = StepTime::begin();
        let executor = &mut *self.executor.borrow_mut();
        executor.children.take_started();
        let done = work(&mut Step { executor, events: &mut self.events });
        time.end();
        done
    }

    /// Runs until the core decides to exit, and returns the exit code.
    pub(crate) async fn run(&mut self, began: Time) -> io::Result<u8> {
        // Signals that have arrived are handled first, so that nothing starts after a stop signal.
        self.step(|step| {
            step.take_pending(began)?;
            step.handle(Event::Start)?;
            step.start_next()
        })?;
        loop {
            self.step(|step| step.begin_turn())?;
            // The core may have decided to exit. A turn would then wait for an event that never
            // comes.
            if let Some(code) = self.events.exit {
                return Ok(code);
            }
            self.turn().await?;
        }
    }

    /// Writes the log files and the report, before drainit exits with this code. Writing all log
    /// files together takes at most `within`. Writing each file of the report takes at most
    /// `within`, too. Also answers the clients that have requested the shutdown in its last step, or
    /// whose request was over then.
    pub(crate) fn finish(&mut self, code: u8, within: &dyn Fn() -> Duration) {
        while let Some(message) = self.events.inbox.take_last() {
            // It can fail only to set the timer, which nothing waits for any more.
            let _ = self.step(|step| step.on_message(message));
        }
        let mut executor = self.executor.borrow_mut();
        executor.logs.finish_files(within());
        executor.report(clock::now(), code, within);
    }

    /// Waits for an event, handles it, and reaps children that have ended.
    async fn turn(&mut self) -> io::Result<()> {
        panic_hook::wait_if_failing();
        // The `select!` is not `biased`, because a flood of signals must leave the other branches
        // time to run.
        tokio::select! {
            received = self.events.signals.next() => {
                let received = received?;
                self.step(|step| step.on_signals(received, clock::now()))?;
                // Local tasks run only while this future waits, so this yield lets the tasks run,
                // too.
                tokio::task::yield_now().await;
                self.step(|step| step.end_turn())
            }
            fired = self.events.timer.fired() => {
                fired?;
                self.catch_up().await?;
                self.step(|step| {
                    step.handle(Event::Tick)?;
                    step.end_turn()
                })
            }
            Some(message) = self.events.inbox.next() => {
                self.step(|step| step.messages_of_turn(message))?;
                tokio::task::yield_now().await;
                self.step(|step| step.end_turn())
            }
        }
    }

    /// Prepares for an expired time limit, before the limit takes effect: handles signals and ended
    /// children. If drainit itself did not run for a while, also handles all messages.
    async fn catch_up(&mut self) -> io::Result<()> {
        self.step(|step| {
            step.take_pending(clock::now())?;
            step.reap()
        })?;
        if self.events.wakes_at.is_none_or(|due| clock::now().since(due) < LATE) {
            return Ok(());
        }
        let_others_run().await;
        for _ in 0..self.events.inbox.len() {
            if let Some(message) = self.events.inbox.take() {
                self.step(|step| step.on_message(message))?;
            }
        }
        self.step(|step| step.reap())
    }
}

impl Step<'_> {
    /// Begins a turn. If a stop signal has arrived, handles all signals that have arrived.
    fn begin_turn(&mut self) -> io::Result<()> {
        if self.stop_is_pending() {
            self.take_pending(clock::now())?;
            if self.events.has_ended {
                self.executor.wake_loop();
            }
        }
        self.executor.begin_turn();
        Ok(())
    }

    /// Reaps the children that have ended, and begins the starts and the reload that are due.
    fn end_turn(&mut self) -> io::Result<()> {
        // Children are reaped only when needed, because waitpid(2) searches all children for an
        // ended child. During the final sweep, which signals leftover processes, every turn reaps,
        // because reaping also shows when no child is left.
        if std::mem::take(&mut self.events.has_ended) || self.executor.is_sweeping() {
            self.reap()?;
        }
        // If a SIGCHLD was read after the reaping began, the next turn has to reap again.
        if self.events.has_ended {
            self.executor.wake_loop();
        }
        self.start_next()?;
        self.executor.begin_due_reload();
        Ok(())
    }

    /// Sets which signals stop the container, and which signal reloads the config.
    fn take_signals(&mut self, config: &Config) {
        let stop_signals = config.shutdown.signals.iter().copied();
        self.events.stop_signals = stop_signals.map(only).fold(0, BitOr::bitor);
        self.events.reload_signal = config.reload_signal;
    }

    /// Handles the signals that have arrived.
    fn take_pending(&mut self, at: Time) -> io::Result<()> {
        let pending = self.events.signals.take_pending()?;
        self.on_signals(pending, at)
    }

    /// Whether there is a pending stop signal that the core does not know yet. The signal may have
    /// arrived during the current step.
    fn stop_is_pending(&self) -> bool {
        sys::pending_signals() & self.events.stop_signals != 0
    }

    /// Begins the starts that were waiting for other starts, if no stop signal has arrived.
    fn start_next(&mut self) -> io::Result<()> {
        while !self.stop_is_pending()
            && let Some(process) = self.executor.starts.next()
        {
            if let Some(failed) = self.executor.spawn(process) {
                self.handle(failed)?;
            }
        }
        Ok(())
    }

    fn is_stop(&self, signal: Signal) -> bool {
        self.events.stop_signals & only(signal) != 0
    }

    /// Whether a signal is a stop signal, or is forwarded to a process. `holds` says for which
    /// lifecycles a process counts. This function reads `forward_signals` from the state of the
    /// processes, because after a reload that was rolled back, the config can differ from this
    /// state.
    fn has_receiver(&self, signal: Signal, holds: impl Fn(Lifecycle) -> bool) -> bool {
        let machine = self.executor.processes.machine();
        let state = machine.state();
        let gets_it = |id: ProcessId| {
            state.process(id).forward_signals.contains(&signal) && holds(state.life(id))
        };
        self.is_stop(signal) || state.spec.ids().any(gets_it)
    }

    /// Whether a signal without effect is worth a warning. SIGCONT has an effect: it continues
    /// drainit.
    fn is_worth_warning(signal: Signal) -> bool {
        signal != Signal::CONT && !(OF_A_TERMINAL.contains(&signal) && terminal::is_there())
    }

    /// Handles signals that were read together, and signals that arrive while the first stop signal
    /// is handled.
    fn on_signals(&mut self, received: Vec<ReceivedSignal>, at: Time) -> io::Result<()> {
        let mut received = VecDeque::from(received);
        let mut has_stopped = false;
        while let Some(one) = received.pop_front() {
            self.events.has_ended |= one.signal == Signal::CHLD;
            self.on_signal(one, at)?;
            if !self.is_stop(one.signal) {
                continue;
            }
            self.handle(Event::SignalHandled)?;
            if !std::mem::replace(&mut has_stopped, true) {
                received.extend(self.events.signals.take_pending()?);
            }
        }
        Ok(())
    }

    fn on_signal(&mut self, received: ReceivedSignal, at: Time) -> io::Result<()> {
        if received.signal == Signal::CHLD {
            return Ok(());
        }
        tracing::info!("{received}");
        if self.events.reload_signal == Some(received.signal) {
            self.executor.reloads.want(None);
            return Ok(());
        }
        let has_effect = self.has_receiver(received.signal, Lifecycle::is_alive);
        self.handle_at(at, Event::Signal(received.signal))?;
        // drainit suspends itself, as a user expects after Ctrl-Z. But if a process has sent the
        // SIGTSTP, and drainit forwards SIGTSTP or treats it as a stop signal, drainit continues to
        // run.
        if received.signal == Signal::TSTP
            && (received.sender == Sender::Kernel || !self.has_receiver(Signal::TSTP, |_| true))
        {
            self.events.signals.stop_self()?;
        } else if !has_effect && Self::is_worth_warning(received.signal) {
            let name = received.signal;
            tracing::warn!(
                "{name} has no effect: no running process has it in forward_signals; \
                 `drainit kill -s {name} NAME` sends it to one; if it is the image's STOPSIGNAL, \
                 add it to `shutdown.signals`"
            );
        }
        Ok(())
    }

    /// Handles an event, and then the events that its actions have put into the queue.
    fn handle(&mut self, event: Event) -> io::Result<()> {
        self.handle_at(clock::now(), event)
    }

    /// Like [`Self::handle`], but the event has the later of two times: `at`, and the time of the
    /// last step.
    fn handle_at(&mut self, at: Time, event: Event) -> io::Result<()> {
        let mut now = at.max(self.executor.processes.machine().state().now);
        self.events.queue.push_back(event);
        while let Some(event) = self.events.queue.pop_front() {
            let actions = self.executor.processes.handle(now, event);
            self.carry_out_all(now, actions);
            now = clock::now();
        }
        self.events.wakes_at = self.executor.processes.machine().next_wakeup();
        self.events.timer.set(self.events.wakes_at)
    }

    fn carry_out_all(&mut self, now: Time, actions: Vec<Action>) {
        for action in actions {
            self.carry_out(now, action);
        }
        self.executor.processes.update(now);
    }

    fn carry_out(&mut self, now: Time, action: Action) {
        self.executor.processes.journal.action(now, &action);
        match action {
            Action::Adopt { slot, of, is_newer } => self.executor.adopt(now, slot, of, is_newer),
            Action::Redefine(slot) => self.executor.redefine(slot),
            Action::CheckCondition { process, check } => {
                self.events.queue.extend(self.executor.condition(process, check));
            }
            // Nothing starts while a stop signal is pending, because the shutdown would end the
            // start at once.
            Action::Spawn(_) | Action::RunHook(HookId { stage: Stage::PreStart, .. })
                if self.stop_is_pending() => {}
            Action::Spawn(process) => self.events.queue.extend(self.executor.spawn(process)),
            Action::AbortSpawn(process) => {
                self.events.queue.push_back(self.executor.abort_spawn(process));
            }
            Action::ProbeOnce(process) => self.executor.ask_epoch(process),
            Action::Serves(process) => self.executor.on_serves(process),
            Action::EndLiveness(process) => self.executor.end_liveness(process),
            Action::TellReady => {
                service_manager::ready();
                self.executor.look_for_own_work();
            }
            Action::ShutdownBegins { patience } => self.executor.on_shutdown(patience),
            Action::Answer { process, request, outcome } => {
                self.executor.answer(process, request, outcome);
            }
            Action::AnswerReload(outcome) => self.executor.answer_reload(outcome),
            Action::WatchLiveness(process) => self.executor.watch_liveness(process),
            Action::Signal { process, signal } => self.executor.signal(process, signal),
            Action::Stop { process, signal } => self.executor.stop(process, signal),
            Action::StopOrphans { process, signal } => {
                self.events.queue.extend(self.executor.stop_orphans(process, signal));
            }
            Action::StopGroup { process, signal } => self.executor.stop_group(process, signal),
            Action::LookForExit(process) => {
                self.events.queue.push_back(self.executor.look_for_exit(process));
            }
            Action::Kill(process) => self.executor.kill(process),
            Action::EndLeftovers { process, signal } => {
                self.events.queue.extend(self.executor.end_leftovers(process, signal));
            }
            Action::RunHook(hook) => self.events.queue.extend(self.executor.run_hook(hook)),
            Action::AbortHook(hook) => self.executor.abort_hook(hook),
            Action::StayReady => self.executor.stay_ready(),
            Action::Unready => self.executor.unready(),
            Action::ReleaseSockets(process) => self.executor.release_sockets(process),
            Action::Drain { process, min, longest } => self.executor.drain(process, min, longest),
            Action::CloseListeners(process) => {
                self.executor.command_drain(process, DrainCommand::Close);
            }
            Action::EndDrain(process) => {
                self.executor.command_drain(process, DrainCommand::End);
            }
            Action::Sweep(signal) => self.events.queue.extend(self.executor.sweep(signal)),
            // The beginning of the shutdown is recorded with the time of this step, like the stops
            // that this step begins. With the current time, the shutdown would seem to begin after
            // these stops.
            Action::Note(note @ Note::ShutdownBegan { .. }) => self.executor.write(now, &note),
            Action::Note(note) => self.executor.write(clock::now(), &note),
            Action::Exit(code) => self.events.exit = Some(code),
        }
    }
}
