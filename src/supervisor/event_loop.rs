//! Joins the core and the kernel: events go into the machine, its actions are carried out.
//!
//! Everything runs on one thread, so spawning, bookkeeping and reaping cannot overtake each other.
//! Whatever may take time (probes, drains, logs) is a local task that sends an event when it is
//! done.

mod reload;

use std::collections::VecDeque;
use std::io;
use std::ops::BitOr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::config::{Config, Watch, WatchAction};
use crate::core::action::Action;
use crate::core::event::Event;
use crate::core::spec::{HookId, Stage};
use crate::core::state::Lifecycle;
use crate::os::clock;
use crate::os::clock::Timer;
use crate::os::panic_hook;
use crate::os::reap::REAP_AT_ONCE;
use crate::os::signal::ReceivedSignal;
use crate::os::signal::fd::{SignalStream, Signals};
use crate::os::signal::mask::only;
use crate::os::sys;
use crate::os::sys::SignalSet;
use crate::os::terminal;
use crate::supervisor::children::{Ended, Rest};
use crate::supervisor::executor::Executor;
use crate::supervisor::file_watch::Seen;
use crate::supervisor::message::{Message, Role};
use crate::supervisor::status::StatusBoard;
use crate::types::{ProcessId, Signal, Time};

/// A limit is seen this late only when drainit was stopped or had no processor time.
const LATE: Duration = Duration::from_millis(50);
/// The turns that local tasks get before something that they should precede. In each, a part of
/// them runs.
const TURNS: usize = 16;

/// A terminal or its shell sends these, and nobody expects an effect. Without a terminal one may be
/// the image's STOPSIGNAL, such as WINCH.
const OF_A_TERMINAL: [Signal; 4] = [Signal::TSTP, Signal::TTIN, Signal::TTOU, Signal::WINCH];

/// Lets local tasks do what they can do without waiting.
pub(crate) async fn let_others_run() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

pub(crate) struct EventLoop {
    pub(crate) executor: Executor,
    status_board: Rc<StatusBoard>,
    signals: SignalStream,
    stop_signals: SignalSet,
    timer: Timer,
    /// When the timer fires.
    wakes_at: Option<Time>,
    receiver: UnboundedReceiver<Message>,
    reload_signal: Option<Signal>,
    /// Events that the actions of a step caused at once.
    queue: VecDeque<Event>,
    /// A child may have ended that is not reaped yet.
    has_ended: bool,
    exit: Option<u8>,
}

impl EventLoop {
    pub(crate) fn new(
        config: &Config,
        executor: Executor,
        status_board: Rc<StatusBoard>,
        signals: Signals,
        receiver: UnboundedReceiver<Message>,
    ) -> io::Result<Self> {
        let mut event_loop = Self {
            executor,
            status_board,
            signals: signals.into_stream()?,
            stop_signals: 0,
            timer: Timer::new()?,
            wakes_at: None,
            receiver,
            reload_signal: None,
            queue: VecDeque::new(),
            // A program that exec'd drainit may have left children.
            has_ended: true,
            exit: None,
        };
        event_loop.take_signals(config);
        Ok(event_loop)
    }

    /// Takes over the meaning of each signal from a config.
    fn take_signals(&mut self, config: &Config) {
        let stop_signals = config.shutdown.signals.iter().copied();
        self.stop_signals = stop_signals.map(only).fold(0, BitOr::bitor);
        self.reload_signal = config.reload_signal;
    }

    /// Runs until the core decides to exit, and returns its exit code.
    pub(crate) async fn run(&mut self, began: Time) -> io::Result<u8> {
        // The signals that have arrived come first, so that nothing starts after a stop signal.
        self.take_pending(began)?;
        self.step(Event::Start)?;
        loop {
            if let Some(code) = self.exit {
                return Ok(code);
            }
            self.turn().await?;
        }
    }

    /// Handles the signals that have arrived.
    fn take_pending(&mut self, at: Time) -> io::Result<()> {
        let pending = self.signals.take_pending()?;
        self.received(pending, at)
    }

    /// Whether a stop signal is pending that the core does not know yet: a step may start thousands
    /// of processes.
    fn stop_is_pending(&self) -> bool {
        sys::pending_signals() & self.stop_signals != 0
    }

    /// Begins the starts that waited for others, unless a stop signal has arrived.
    fn start_next(&mut self) -> io::Result<()> {
        while !self.stop_is_pending()
            && let Some(process) = self.executor.next_start()
        {
            if let Some(failed) = self.executor.spawn(process) {
                self.step(failed)?;
            }
        }
        Ok(())
    }

    /// Waits for one event, and handles it and every child that has ended.
    async fn turn(&mut self) -> io::Result<()> {
        panic_hook::wait_if_failing();
        // Not `biased`: a flood of signals must not keep the other branches from their turn.
        tokio::select! {
            received = self.signals.next() => {
                self.received(received?, clock::now())?;
                // Yield so that local tasks run too: they run only while this future waits.
                tokio::task::yield_now().await;
            }
            fired = self.timer.fired() => {
                fired?;
                self.catch_up().await?;
                self.step(Event::Tick)?;
            }
            Some(message) = self.receiver.recv() => self.message(message)?,
        }
        // Only when needed: waitid(2) searches all children for one that has ended. During the
        // sweep it also reports when there are none left.
        if std::mem::take(&mut self.has_ended) || self.executor.is_sweeping() {
            self.reap()?;
        }
        // Another reap was asked for meanwhile.
        if self.has_ended {
            self.executor.wake_loop();
        }
        self.start_next()?;
        self.begin_reload();
        Ok(())
    }

    /// When a limit is due, what has happened before it and is not seen yet still counts: ends, and
    /// if drainit itself did not run for a while, what the processes said meanwhile.
    async fn catch_up(&mut self) -> io::Result<()> {
        self.take_pending(clock::now())?;
        self.reap()?;
        if self.wakes_at.is_some_and(|due| clock::now().since(due) >= LATE) {
            let_others_run().await;
            self.messages()?;
            self.reap()?;
        }
        Ok(())
    }

    /// Handles the messages that wait.
    fn messages(&mut self) -> io::Result<()> {
        while let Ok(message) = self.receiver.try_recv() {
            self.message(message)?;
        }
        Ok(())
    }

    fn message(&mut self, message: Message) -> io::Result<()> {
        // A process that starts, or a reload that changes the meaning of signals, comes after it.
        if self.stop_is_pending() {
            self.take_pending(clock::now())?;
        }
        match message {
            Message::Wake => self.has_ended = true,
            Message::Reload { reply } => self.reload_asked(reply),
            Message::PlanReload { reply } => self.executor.reloads.begin_plan(reply),
            Message::Reading => self.reads_config(),
            Message::Prepared(candidate) => self.prepared(*candidate)?,
            Message::ReadForPlan { reply, read } => self.plan(reply, *read),
            Message::File { name, watch, seen } => self.file(&name, &watch, seen)?,
            Message::Request { name, request, reply, has_looked: false } => {
                let process = self.status_board.process(&name);
                let again = Message::Request { name, request, reply, has_looked: true };
                self.executor.after_look(process, again);
            }
            other => {
                if let Some(event) = self.executor.event(other) {
                    self.step(event)?;
                }
            }
        }
        Ok(())
    }

    /// A watched file was seen.
    fn file(&mut self, name: &str, watch: &Watch, seen: Seen) -> io::Result<()> {
        if seen == Seen::Changed {
            // Others may watch the same file, and follow this process.
            drop(self.executor.file_watches.look(&|_| true));
        }
        if watch.action == WatchAction::Reload {
            if seen == (Seen::Quiet { is_new: true }) {
                self.reload_file(name, watch);
            }
            return Ok(());
        }
        for (process, watch) in self.executor.watches_of(name, watch) {
            self.step(match seen {
                Seen::Changed => Event::FileSeen { process, watch },
                Seen::Quiet { is_new } => Event::FileQuiet { process, watch, is_new },
            })?;
        }
        Ok(())
    }

    /// Whether a signal is a stop signal, or forwarded to a process of which this holds. The slots
    /// say so: a reload that was taken back leaves another config.
    fn is_for(&self, signal: Signal, holds: impl Fn(Lifecycle) -> bool) -> bool {
        let machine = self.status_board.machine.borrow();
        let state = machine.state();
        let gets_it = |id: ProcessId| {
            state.process(id).forward_signals.contains(&signal) && holds(state.life(id))
        };
        self.stop_signals & only(signal) != 0 || state.spec.ids().any(gets_it)
    }

    /// Whether a signal without effect is worth a warning. CONT has continued drainit.
    fn is_missed(signal: Signal) -> bool {
        signal != Signal::CONT && !(OF_A_TERMINAL.contains(&signal) && terminal::is_there())
    }

    /// Handles signals that were read together, and those that arrive while the first stop signal
    /// is handled.
    fn received(&mut self, received: Vec<ReceivedSignal>, at: Time) -> io::Result<()> {
        let mut received = VecDeque::from(received);
        let mut has_stopped = false;
        while let Some(one) = received.pop_front() {
            self.has_ended |= one.signal == Signal::CHLD;
            self.signal(one, at)?;
            if self.stop_signals & only(one.signal) == 0 {
                continue;
            }
            self.step(Event::SignalHandled)?;
            if !std::mem::replace(&mut has_stopped, true) {
                received.extend(self.signals.take_pending()?);
            }
        }
        Ok(())
    }

    fn signal(&mut self, received: ReceivedSignal, at: Time) -> io::Result<()> {
        if received.signal == Signal::CHLD {
            return Ok(());
        }
        match received.sender {
            Some(sender) if sender.pid == 0 => {
                tracing::info!("{} received from outside the container", received.signal);
            }
            Some(sender) => {
                tracing::info!(
                    "{} received from pid {} (uid {})",
                    received.signal,
                    sender.pid,
                    sender.uid
                );
            }
            None => tracing::info!("{} received", received.signal),
        }
        if self.reload_signal == Some(received.signal) {
            self.executor.reloads.want(None);
            return Ok(());
        }
        let has_effect = self.is_for(received.signal, Lifecycle::is_alive);
        self.step_at(at, Event::Signal(received.signal))?;
        // Ctrl-Z stops the job of the terminal. A TSTP sent by a process belongs to the children
        // that it is forwarded to, if there are any.
        if received.signal == Signal::TSTP
            && (received.sender.is_none() || !self.is_for(Signal::TSTP, |_| true))
        {
            self.signals.stop_self()?;
        } else if !has_effect && Self::is_missed(received.signal) {
            let name = received.signal;
            tracing::warn!(
                "{name} has no effect: no running process has it in forward_signals; \
                 `drainit kill -s {name} NAME` sends it to one; if it is the image's STOPSIGNAL, \
                 add it to `shutdown.signals`"
            );
        }
        Ok(())
    }

    /// Whether a process has ended that is not to end like this.
    fn has_failed(&self, ended: &Ended) -> bool {
        let machine = self.status_board.machine.borrow();
        matches!(ended.role, Some(Role::Process(process))
            if !machine.state().process(process).is_success(ended.end))
    }

    /// Reaps children, known ones and orphans.
    fn reap(&mut self) -> io::Result<()> {
        let (mut ended, rest) = self.executor.reap(REAP_AT_ONCE)?;
        // Nobody knows in which order they ended. Where one ends because of another, a failure is
        // the more probable reason.
        ended.sort_by_key(|one| !self.has_failed(one));
        if rest == Rest::More {
            // Their SIGCHLD may have been consumed already.
            self.executor.wake_loop();
        }
        // Before the core decides anything: the id of a group that is gone may be reused from now
        // on. After the reaping: members that ended together with their leader do not outlive it.
        let gone = self.executor.groups_gone();
        let remains: Vec<_> = ended.iter().map(|one| self.executor.leaves_a_group(one)).collect();
        for one in &ended {
            if let Some(begun) = self.executor.begun_before_its_end(one) {
                self.step(begun)?;
            }
        }
        let has_words = self.executor.last_words(&ended);
        // The words of a process come before its end.
        if has_words {
            self.messages()?;
        }
        for one in &ended {
            if let Some(Role::Process(process)) = one.role {
                // Before it is started again.
                drop(self.executor.look(process));
            }
        }
        for (one, remains) in ended.into_iter().zip(remains) {
            if let Some(event) = self.executor.ended(one, remains) {
                self.step(event)?;
            }
        }
        for process in gone {
            self.step(Event::GroupGone(process))?;
        }
        if rest == Rest::None && self.executor.is_sweeping() {
            self.step(Event::Leftovers(0))?;
        }
        Ok(())
    }

    /// Handles one event, and the events that its actions cause at once.
    fn step(&mut self, event: Event) -> io::Result<()> {
        self.step_at(clock::now(), event)
    }

    /// As [`Self::step`], for an event of this time, or of the last step's if that was later.
    fn step_at(&mut self, at: Time, event: Event) -> io::Result<()> {
        let mut now = at.max(self.status_board.machine.borrow().state().now);
        self.queue.push_back(event);
        while let Some(event) = self.queue.pop_front() {
            let mut machine = self.status_board.machine.borrow_mut();
            // A limit that is due takes effect in a tick, which comes next. It may have become due
            // while the event before was handled: a step may start thousands of processes.
            let is_due = machine.next_wakeup().is_some_and(|due| due <= now);
            let is_early = is_due && event != Event::Tick;
            let actions = match is_early {
                true => machine.handle_early(now, event),
                false => machine.handle(now, event),
            };
            drop(machine);
            self.status_board.journal.borrow_mut().event(
                now,
                event,
                self.status_board.machine.borrow().phase(),
            );
            self.carry_out_all(now, actions);
            now = clock::now();
        }
        self.wakes_at = self.status_board.machine.borrow().next_wakeup();
        self.timer.set(self.wakes_at)
    }

    fn carry_out_all(&mut self, now: Time, actions: Vec<Action>) {
        for action in actions {
            self.carry_out(now, action);
        }
        self.status_board.update(now, &self.status_board.machine.borrow());
    }

    fn carry_out(&mut self, now: Time, action: Action) {
        self.status_board.journal.borrow_mut().action(now, &action);
        match action {
            Action::Adopt { slot, from } => self.executor.adopt(now, slot, from),
            Action::Redefine { slot, config } => self.executor.redefine(slot, config),
            Action::CheckCondition(process) => self.queue.extend(self.executor.condition(process)),
            // The shutdown that follows gives it up.
            Action::Spawn(_) | Action::RunHook(HookId { stage: Stage::PreStart, .. })
                if self.stop_is_pending() => {}
            Action::Spawn(process) => self.queue.extend(self.executor.spawn(process)),
            Action::AbortSpawn(process) => {
                self.queue.push_back(self.executor.abort_spawn(process));
            }
            Action::AskEpoch(process) => self.executor.ask_epoch(process),
            Action::WatchLiveness(process) => self.executor.watch_liveness(process),
            Action::Signal { process, signal } => self.executor.signal(process, signal),
            Action::Stop { process, signal } => self.executor.stop(process, signal),
            Action::StopGroup { process, signal } => self.executor.stop_group(process, signal),
            Action::Kill(process) => self.executor.kill(process),
            Action::RunHook(hook) => self.queue.extend(self.executor.run_hook(hook)),
            Action::AbortHook(hook) => self.executor.abort_hook(hook),
            Action::StayReady => self.executor.stay_ready(),
            Action::Unready => self.executor.unready(),
            Action::ReleaseSockets(process) => self.executor.release_sockets(process),
            Action::Drain { process, min, longest } => self.executor.drain(process, min, longest),
            Action::CloseListeners(process) => self.executor.close_listeners(process),
            Action::EndDrain(process) => self.executor.end_drain(process),
            Action::Sweep(signal) => self.queue.push_back(self.executor.sweep(signal)),
            Action::Note(note) => {
                let now = clock::now();
                let detail = self.executor.follow(&note);
                self.executor.write(now, &note, detail.as_deref());
            }
            Action::Exit(code) => self.exit = Some(code),
        }
    }
}
