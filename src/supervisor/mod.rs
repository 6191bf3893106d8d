//! `drainit run`: carries out the actions of the core, and turns what happens into its events.

pub(crate) mod children;
pub(crate) mod drain;
pub(crate) mod event_loop;
pub(crate) mod events;
pub(crate) mod executor;
pub(crate) mod file_watch;
pub(crate) mod launch;
pub(crate) mod leftovers;
pub(crate) mod liveness;
pub(crate) mod message;
pub(crate) mod meter;
pub(crate) mod readiness;
pub mod reload;
pub(crate) mod requests;
#[cfg(debug_assertions)]
pub(crate) mod rules;
pub(crate) mod run_command;
pub(crate) mod slots;
pub(crate) mod sockets;
pub(crate) mod status;

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::control::listen::Listeners;
use crate::control::measures::Measures;
use crate::control::status::{DrainStatus, Part, Status};
use crate::control::{SupervisorHandle, serve};
use crate::core::budget::Budget;
use crate::core::event::{Event, Request};
use crate::core::machine::Machine;
use crate::core::spec::Spec;
use crate::graph::Graph;
use crate::logging::Output;
use crate::logging::capture::forms;
use crate::logging::event_file::EventFile;
use crate::os::kill::kill_child;
use crate::os::signal::fd::Signals;
use crate::os::{clock, panic_hook, termination_log};
use crate::report::messages::Names;
use crate::supervisor::event_loop::{EventLoop, let_others_run};
use crate::supervisor::events::EventLog;
use crate::supervisor::executor::Executor;
use crate::supervisor::file_watch::FileWatches;
use crate::supervisor::message::{Message, MessageSender};
use crate::supervisor::reload::{ConfigSource, Reloads};
use crate::supervisor::sockets::Sockets;
use crate::supervisor::status::StatusBoard;
use crate::types::{ProcessId, Signal, Stream, Time, exit_code};

/// The longest wait for the last lines of processes at the end. It takes longer only where a
/// leftover process holds a pipe open.
const LAST_LINES: Duration = Duration::from_millis(200);
/// The longest wait for the file of the report: its file system may hang.
const REPORT_FILE: Duration = Duration::from_millis(500);
/// The longest wait for the reader of drainit's output at the exit.
const FLUSH: Duration = Duration::from_millis(500);

/// Everything that a run needs, made and checked before anything starts.
pub struct Setup {
    /// The checked config.
    pub config: Config,
    /// Where it can be read again.
    pub source: Option<ConfigSource>,
    /// The dependency order of its processes.
    pub graph: Graph,
    /// The container's arguments for each process, in file order.
    pub args: Vec<Vec<String>>,
    /// drainit's stdout and stderr.
    pub output: Arc<Output>,
    /// Blocked since `began`.
    pub signals: Signals,
    /// Since when signals are blocked: a shutdown that was requested before the start counts from
    /// here.
    pub began: Time,
    /// Opened already, so that a path that cannot be written is found before anything starts.
    pub events: Option<EventFile>,
    /// Bound already, so that a port in use is found before anything starts.
    pub listeners: Option<Listeners>,
    /// The sockets of `listen`, for each process; bound already, too.
    pub(crate) sockets: Vec<Sockets>,
    /// Exit codes that count as success: drainit exits with 0 in their place, unless they are those
    /// of a start that failed.
    pub successes: Vec<u8>,
}

/// Runs the processes until the container is to end, and returns the exit code. Where the kernel
/// refuses what drainit itself needs (descriptors, a timer), an error is logged, all processes are
/// stopped, and the code is 70.
#[must_use]
pub fn run(setup: Setup) -> u8 {
    let output = Arc::clone(&setup.output);
    run_to_the_end(setup).unwrap_or_else(|error| {
        let line = format!("drainit cannot go on: {error}; all processes are stopped");
        tracing::error!("{line}");
        termination_log::write(&line);
        panic_hook::stop_all();
        // Best effort: the exit code says the same.
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
    let Setup {
        config,
        source,
        graph,
        args,
        output,
        signals,
        began,
        events,
        listeners,
        sockets,
        successes,
    } = setup;
    let events = events.map(Rc::new);
    let spec = Rc::new(Spec::new(&config, &graph));
    let names = Names(config.processes.iter().map(|process| process.name.clone()).collect());
    let status_board = StatusBoard::new(&config, names.clone(), Machine::new(spec, began));
    let config = Rc::new(config);
    if let Some(listeners) = listeners {
        let handle = Handle {
            status_board: Rc::clone(&status_board),
            sender: sender.clone(),
            config: Rc::clone(&config),
            output: Arc::clone(&output),
            events: events.clone(),
        };
        tokio::task::spawn_local(async move {
            let Err(error) = serve(listeners, handle).await;
            tracing::error!("control endpoints: {error}; they no longer answer");
        });
    }
    let events = events.map(|file| EventLog::new(file, names.clone()));
    let mut executor = Executor::new(
        Rc::clone(&config),
        args,
        sockets,
        Arc::clone(&output),
        names,
        sender.clone(),
        Rc::clone(&status_board),
    )
    .with_events(events);
    let watched = config.processes.iter().flat_map(file_watch::watched).collect();
    executor.file_watches = FileWatches::begin(watched, &sender).await;
    let reloads = Reloads::new(source, sender.clone());
    let mut event_loop =
        EventLoop::new(&config, executor, Rc::clone(&status_board), signals, receiver, reloads)?;
    let code = event_loop.run(began).await?;
    // The last step may have answered a request whose client would take it for failed.
    let_others_run().await;
    let is_started = !event_loop.executor.has_failed_to_start();
    let code = if is_started && successes.contains(&code) { exit_code::OK } else { code };
    let over = status_board.machine.borrow().state().grace_end;
    let within = |longest| {
        let now = clock::now();
        Budget::at_the_end(longest, now, over.unwrap_or(now))
    };
    event_loop.executor.last_lines(within(LAST_LINES)).await;
    event_loop.executor.finish_files(within(FLUSH));
    event_loop.executor.last_event(clock::now(), code, within(LAST_LINES));
    event_loop.executor.report(clock::now(), code, within(REPORT_FILE));
    // Best effort: a log line about it would have no reader either.
    let reserve = event_loop.executor.config().shutdown.reserve;
    let longest = reserve.saturating_sub(FLUSH).max(FLUSH);
    let _ = output.flush_patiently(within(FLUSH), within(longest)).await;
    Ok(code)
}

/// The supervisor, as the control endpoints see it.
struct Handle {
    status_board: Rc<StatusBoard>,
    sender: MessageSender,
    config: Rc<Config>,
    output: Arc<Output>,
    events: Option<Rc<EventFile>>,
}

impl SupervisorHandle for Handle {
    fn status(&self) -> Status {
        let mut status = self.status_board.status(clock::now());
        let measured = self.status_board.measures(clock::now()).processes;
        for process in &mut status.processes {
            let Some(measures) = measured.iter().find(|of| of.process == process.identity) else {
                continue;
            };
            // The last drain was that of the replaced instance, where there is one.
            let is_drained = process.part == Part::Old || !measures.is_replaced;
            let last = measures.drain.as_ref().and_then(|drain| drain.last);
            process.drain = last
                .filter(|_| process.pid.is_some() && is_drained)
                .map(|last| DrainStatus { connections: last.connections, requests: last.requests });
        }
        status
    }

    fn measures(&self) -> Measures {
        let streams = [Stream::Stdout, Stream::Stderr];
        Measures {
            dropped_lines: streams.map(|stream| (stream, self.output.dropped(stream))).into(),
            dropped_events: self.events.as_ref().map(|file| file.dropped()),
            ..self.status_board.measures(clock::now())
        }
    }

    fn drain(&self) {
        // Fails only when the event loop has ended, with nothing left to drain.
        let _ = self.sender.send(Message::Event(Event::DrainRequested));
    }

    fn request(
        &self,
        names: Vec<String>,
        request: Request,
    ) -> oneshot::Receiver<Result<(), String>> {
        let (reply, answer) = oneshot::channel();
        let (status_board, sender) = (Rc::clone(&self.status_board), self.sender.clone());
        // A client that goes away does not end it.
        tokio::task::spawn_local(async move {
            for name in names {
                match requests::send(&status_board, &sender, &name, request).await {
                    Ok(Ok(())) => {}
                    Ok(failed) => {
                        let _ = reply.send(failed);
                        return;
                    }
                    // The event loop has ended; then the answer is that the sender is gone.
                    Err(_) => return,
                }
            }
            // As above.
            let _ = reply.send(Ok(()));
        });
        answer
    }

    fn reload(&self) -> oneshot::Receiver<Result<String, String>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.sender.send(Message::Reload { reply });
        answer
    }

    fn plan_reload(
        &self,
        paths: Vec<PathBuf>,
        is_json: bool,
    ) -> oneshot::Receiver<Result<String, String>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.sender.send(Message::PlanReload { paths, is_json, reply });
        answer
    }

    fn signal(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        // The board has no pid that is reaped: both happen on this thread, without an await.
        let pid = self.status_board.pid(process);
        match pid.map(|pid| kill_child(pid, signal)).transpose()? {
            Some(true) => {
                if signal == Signal::KILL {
                    self.status_board.set_killed(process);
                }
                Ok(())
            }
            Some(false) | None => Err(io::Error::other("it has ended")),
        }
    }

    fn is_captured(&self, process: ProcessId) -> bool {
        let process = self.status_board.slots.borrow().definition(process);
        forms(&process, self.config.logging.format).is_some()
    }

    fn output(&self) -> &Arc<Output> {
        &self.output
    }
}
