//! The one place that joins the two halves: what happens goes into the core as events, what it decides is carried out.
//!
//! Everything is on one thread: spawn, table entry and reaping can not overtake each other. Whatever may take time
//! (probes, drains, logs) is a local task that sends an event when it is done.

use std::collections::VecDeque;
use std::io;
use std::ops::BitOr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::config::Config;
use crate::control::listen::Listeners;
use crate::control::status::Status;
use crate::control::{SupervisorHandle, serve};
use crate::core::action::Action;
use crate::core::budget::Budget;
use crate::core::event::Event;
use crate::core::machine::Machine;
use crate::core::spec::{HookId, Spec, Stage};
use crate::graph::Graph;
use crate::logging::Output;
use crate::os::clock;
use crate::os::clock::Timer;
use crate::os::panic_hook;
use crate::os::reap::REAP_AT_ONCE;
use crate::os::signal::ReceivedSignal;
use crate::os::signal::fd::{SignalStream, Signals};
use crate::os::signal::mask::only;
use crate::os::sys;
use crate::os::sys::SignalSet;
use crate::os::termination_log;
use crate::report::messages::Names;
use crate::supervisor::children::Rest;
use crate::supervisor::executor::{Executor, awake};
use crate::supervisor::message::{Message, MessageSender};
use crate::supervisor::status::StatusBoard;
use crate::types::{ProcessId, Signal, Time, exit_code};

/// How long the last lines of processes are waited for at the end; only a pipe that somebody still holds takes longer.
const LAST_LINES: Duration = Duration::from_millis(200);
/// How long a reader of the output has for what is left.
const FLUSH: Duration = Duration::from_millis(500);

/// Everything that a run needs, made and checked before anything starts.
pub struct Setup {
    /// What was asked for.
    pub config: Config,
    /// Its order.
    pub graph: Graph,
    /// The container's arguments for each process.
    pub args: Vec<Vec<String>>,
    /// Where lines go.
    pub output: Arc<Output>,
    /// BlockedSignals since `began`.
    pub signals: Signals,
    /// From when on signals are heard. A shutdown that was asked for before the start counts from
    /// here.
    pub began: Time,
    /// Bound already, so that a port in use is found before anything starts.
    pub listeners: Option<Listeners>,
    /// The exit codes that count as success: drainit ends with 0 in their place.
    pub successes: Vec<u8>,
}

/// Runs the graph until the container is to end, and returns its exit code. Where the kernel
/// refuses what drainit itself needs (descriptors, a timer), that is said, all processes are
/// stopped, and the code is 70.
#[must_use]
pub fn run(setup: Setup) -> u8 {
    let output = Arc::clone(&setup.output);
    run_to_the_end(setup).unwrap_or_else(|error| {
        let line = format!("drainit cannot go on: {error}; all processes are stopped");
        tracing::error!("{line}");
        termination_log::write(&line);
        panic_hook::stop_all();
        // Where nobody reads, the code has to do.
        let _ = output.flush(FLUSH);
        exit_code::SOFTWARE
    })
}

fn run_to_the_end(setup: Setup) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, supervise(setup))
}

async fn supervise(setup: Setup) -> io::Result<u8> {
    let (sender, receiver) = unbounded_channel();
    let Setup { config, graph, args, output, signals, began, listeners, successes } = setup;
    let reserve = config.shutdown.reserve;
    let forwarded = config.processes.iter().flat_map(|process| &process.forward_signals);
    let hears_tstp = forwarded.chain(&config.shutdown.signals).any(|heard| *heard == Signal::TSTP);
    let stop_signals = config.shutdown.signals.iter().copied().map(only).fold(0, BitOr::bitor);
    let spec = Rc::new(Spec::new(&config, &graph));
    let names = Names(config.processes.iter().map(|process| process.name.clone()).collect());
    let statuses = StatusBoard::new(names.clone(), Machine::new(spec, began));
    if let Some(listeners) = listeners {
        let controlled = Controlled { statuses: Rc::clone(&statuses), sender: sender.clone() };
        tokio::task::spawn_local(async move {
            let Err(error) = serve(listeners, controlled).await;
            tracing::error!("control endpoints: {error}; they no longer answer");
        });
    }
    let executor = Executor::new(
        Rc::new(config),
        args,
        Arc::clone(&output),
        names,
        sender,
        Rc::clone(&statuses),
    );
    let mut supervisor = EventLoop {
        executor,
        statuses,
        signals: signals.into_stream()?,
        stop_signals,
        unstarted: Vec::new(),
        hears_tstp,
        timer: Timer::new()?,
        receiver,
        queue: VecDeque::new(),
        // What was started before drainit was, by the program that it has replaced.
        has_ended: true,
        exit: None,
    };
    supervisor.start(began)?;
    let code = loop {
        if let Some(code) = supervisor.exit {
            break if successes.contains(&code) { exit_code::OK } else { code };
        }
        supervisor.turn().await?;
    };
    let over = supervisor.statuses.machine.borrow().state().grace_end;
    let within = |longest| {
        let now = clock::now();
        Budget::at_the_end(longest, now, over.unwrap_or(now))
    };
    supervisor.executor.last_lines(within(LAST_LINES)).await;
    supervisor.executor.report(clock::now(), code);
    // Where nobody reads, there is nobody to tell so either.
    let longest = reserve.saturating_sub(FLUSH).max(FLUSH);
    let _ = output.flush_patiently(within(FLUSH), within(longest));
    Ok(code)
}

/// What the control endpoints see of the supervisor.
struct Controlled {
    statuses: Rc<StatusBoard>,
    sender: MessageSender,
}

impl SupervisorHandle for Controlled {
    fn status(&self) -> Status {
        self.statuses.status(clock::now())
    }

    fn drain(&self) {
        // Where nobody receives, drainit is at its end.
        let _ = self.sender.send(Message::Event(Event::DrainRequested));
    }
}

struct EventLoop {
    executor: Executor,
    statuses: Rc<StatusBoard>,
    signals: SignalStream,
    stop_signals: SignalSet,
    /// Processes that were not started because a stop signal had arrived, which the core does not
    /// know yet.
    unstarted: Vec<ProcessId>,
    /// A process, or the stop, is to hear of TSTP.
    hears_tstp: bool,
    timer: Timer,
    receiver: UnboundedReceiver<Message>,
    /// What the actions of a step led to at once.
    queue: VecDeque<Event>,
    /// A child may have ended that is not reaped yet.
    has_ended: bool,
    exit: Option<u8>,
}

impl EventLoop {
    /// Begins. Signals that have arrived come first, so that nothing is started after a stop signal.
    fn start(&mut self, began: Time) -> io::Result<()> {
        for one in self.signals.take_pending()? {
            self.signal(one, began)?;
        }
        self.step(Event::Start)
    }

    /// Whether a stop signal has arrived that the core does not know yet. A step may start thousands
    /// of processes.
    fn stop_is_pending(&self) -> bool {
        sys::pending_signals() & self.stop_signals != 0
    }

    /// Reports the processes that a stop signal kept from being started, once the core knows of it.
    fn answer_unstarted(&mut self) -> io::Result<()> {
        if self.statuses.machine.borrow().phase().shutdown().is_some() {
            for process in std::mem::take(&mut self.unstarted) {
                let exit_code = exit_code::CANNOT_EXECUTE;
                self.step(Event::SpawnFailed { process, exit_code })?;
            }
        }
        Ok(())
    }

    /// Waits for one thing to happen, and deals with it and with every child that has ended.
    async fn turn(&mut self) -> io::Result<()> {
        panic_hook::wait_if_failing();
        // Not `biased`: whoever floods drainit with signals must not keep the rest from its turn.
        tokio::select! {
            received = self.signals.next() => {
                for one in received? {
                    self.has_ended |= one.signal == Signal::CHLD;
                    self.signal(one, clock::now())?;
                }
                self.answer_unstarted()?;
                // Nor the tasks, which have theirs only where this one waits.
                tokio::task::yield_now().await;
            }
            fired = self.timer.fired() => {
                fired?;
                self.step(Event::Tick)?;
            }
            Some(message) = self.receiver.recv() => {
                self.has_ended |= matches!(message, Message::Again);
                if let Some(event) = self.executor.event(message) {
                    self.step(event)?;
                }
            }
        }
        // The kernel looks through all children to find one that has ended. While the rest is swept, that there are none
        // left is the answer.
        if std::mem::take(&mut self.has_ended) || self.executor.sweeping() {
            self.reap()?;
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
        self.step_at(at, Event::Signal(received.signal))?;
        // A terminal's Ctrl-Z stops its job. What somebody sends is for whom it is passed on to, if there is anybody.
        if received.signal == Signal::TSTP && (received.sender.is_none() || !self.hears_tstp) {
            self.signals.stop_self()?;
        }
        Ok(())
    }

    /// Takes the ends of children, known ones and orphans.
    fn reap(&mut self) -> io::Result<()> {
        let (ended, rest) = self.executor.reap(REAP_AT_ONCE)?;
        if rest == Rest::More {
            // The signal for them may have come already.
            self.executor.again();
        }
        // Before anything is decided: the number of a group that is gone may be somebody else's
        // from now on. And only now: what ended together with the leader of a process group does
        // not live on without it.
        let gone = self.executor.groups_gone();
        let remains: Vec<_> = ended.iter().map(|one| self.executor.leaves_a_group(one)).collect();
        for (one, remains) in ended.into_iter().zip(remains) {
            if let Some(event) = self.executor.ended(one, remains) {
                self.step(event)?;
            }
        }
        for process in gone {
            self.step(Event::GroupGone(process))?;
        }
        if rest == Rest::Nobody && self.executor.sweeping() {
            self.step(Event::Leftovers(0))?;
        }
        Ok(())
    }

    /// One event into the core, and what follows from it at once.
    fn step(&mut self, event: Event) -> io::Result<()> {
        self.step_at(clock::now(), event)
    }

    /// The same for an event of this time.
    fn step_at(&mut self, mut now: Time, event: Event) -> io::Result<()> {
        self.queue.push_back(event);
        while let Some(event) = self.queue.pop_front() {
            let actions = self.statuses.machine.borrow_mut().handle(now, event);
            for action in actions {
                self.carry_out(action);
            }
            self.statuses.look(now, &self.statuses.machine.borrow());
            now = clock::now();
        }
        self.timer.set(self.statuses.machine.borrow().next_wakeup())
    }

    fn carry_out(&mut self, action: Action) {
        let answer = match action {
            Action::CheckCondition(process) => {
                Some(Event::Condition { process, holds: self.executor.condition(process) })
            }
            Action::Spawn(process) if self.stop_is_pending() => {
                self.unstarted.push(process);
                None
            }
            Action::Spawn(process) => Some(self.executor.spawn(process)),
            Action::Signal { process, signal } => self.executor.signal(process, signal),
            Action::Stop { process, signal } => {
                for signal in awake(signal) {
                    self.executor.signal(process, signal);
                }
                None
            }
            Action::StopGroup { process, signal } => self.executor.stop_group(process, signal),
            Action::Kill(process) => self.executor.kill(process),
            // The shutdown that comes next does not wait for it.
            Action::RunHook(HookId { stage: Stage::PreStart, .. }) if self.stop_is_pending() => {
                None
            }
            Action::RunHook(hook) => self.executor.run_hook(hook),
            Action::AbortHook(hook) => self.executor.abort_hook(hook),
            Action::Unready => self.executor.unready(),
            Action::Drain { process, min, longest } => self.executor.drain(process, min, longest),
            Action::CloseListeners(process) => self.executor.close_listeners(process),
            Action::EndDrain(process) => self.executor.end_drain(process),
            Action::Sweep(signal) => Some(self.executor.sweep(signal)),
            Action::Note(note) => {
                self.statuses.note(&note);
                self.executor.note(clock::now(), &note)
            }
            Action::Exit(code) => {
                self.exit = Some(code);
                None
            }
        };
        self.queue.extend(answer);
    }
}
