//! `drainit run`: carries out the actions of the core, and reports events to it.

pub(crate) mod children;
pub(crate) mod event_loop;
pub(crate) mod executor;
pub(crate) mod launch;
pub(crate) mod main_pids;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
mod one_history;
pub(crate) mod processes;
pub(crate) mod requests;
pub(crate) mod slots;
pub(crate) mod sockets;
pub(crate) mod status;
pub mod tasks;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::control::listen::ControlListeners;
use crate::control::serve;
use crate::core::final_waits;
use crate::core::machine::Machine;
use crate::core::spec::Spec;
use crate::graph::Graph;
use crate::keys::Config;
use crate::local_task;
use crate::logging::Output;
use crate::os::signal::fd::Signals;
use crate::os::{boot, clock, on_thread, panic_hook, stale_socket, termination_log};
use crate::supervisor::event_loop::{EventLoop, Step, let_others_run};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::control_handle::ControlHandle;
use crate::supervisor::executor::inbox::Inbox;
use crate::supervisor::executor::logs::last_lines;
use crate::supervisor::processes::Processes;
use crate::supervisor::slots::Definition;
use crate::supervisor::sockets::Sockets;
use crate::supervisor::tasks::file_watch::{self, FileWatches};
use crate::supervisor::tasks::reload::ConfigSource;
use crate::types::{Time, exit_code};

/// The longest wait for a slow reader of drainit's last lines, after the kernel has refused
/// something that drainit needs. By then, all processes have ended, and drainit knows no deadline.
const FLUSH: Duration = Duration::from_millis(500);

/// Everything that a run needs. The caller makes and checks all of it before any process starts.
pub struct Setup {
    /// The checked config.
    pub config: Config,
    /// The files and arguments from which a reload reads the config again; `None` without a config
    /// file.
    pub source: Option<ConfigSource>,
    /// The graph of the processes of the config.
    pub graph: Graph,
    /// For each process, in the order of the config: its part of the container's arguments.
    pub args: Vec<Vec<String>>,
    /// The writer of drainit's stdout and stderr.
    pub output: Arc<Output>,
    /// The source of all signals. The signals have been blocked since `began`.
    pub signals: Signals,
    /// The time at which signals were blocked. If a stop signal has arrived before anything starts,
    /// the shutdown begins at this time.
    pub began: Time,
    /// The listeners of the control endpoints. The listeners are already bound, so that drainit
    /// reports a port in use before anything starts.
    pub listeners: Option<ControlListeners>,
    /// For each process, in the order of the config: its sockets of `listen`, already bound.
    pub(crate) sockets: Vec<Sockets>,
    /// The exit codes that count as success. drainit exits with 0 in place of such a code, unless
    /// the container stops because of a failed start.
    pub successes: Vec<u8>,
    /// The notes about the container that `drainit status` and `/readyz` show.
    pub notes: Vec<String>,
}

/// Runs the processes until the container is to end, and returns the exit code. If the kernel
/// refuses what drainit itself needs (descriptors, a timer), drainit logs an error, stops all
/// processes, and returns 70.
pub fn run(setup: Setup) -> u8 {
    let output = Arc::clone(&setup.output);
    run_to_the_end(setup).unwrap_or_else(|error| {
        let line = format!("drainit cannot continue: {error}; all processes are stopped");
        tracing::error!("{line}");
        termination_log::write(&line, termination_log::LONGEST);
        panic_hook::stop_all();
        // Errors are ignored, because the exit code already reports a failure.
        let _ = output.flush(FLUSH);
        exit_code::SOFTWARE
    })
}

fn run_to_the_end(setup: Setup) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The default of 1,024 takes 12 KiB for as long as the container runs.
        .max_io_events_per_tick(64)
        .build()
        .map_err(|error| boot::refused(boot::RUNTIME_CALLS, error, boot::RUNTIME_REMEDY))?;
    // The future is boxed, because otherwise each function that passes the future on would need
    // stack for it.
    let supervise = Box::pin(supervise(setup));
    let (code, within) = tokio::task::LocalSet::new().block_on(&runtime, supervise)?;
    // The tasks have ended now, and thus the removal of the control socket has begun. This call
    // waits for the removals of all sockets.
    stale_socket::finish_removals(within());
    Ok(code)
}

/// Returns the exit code, and a function for the time that is left for the removal of sockets. This
/// removal may hang.
async fn supervise(setup: Setup) -> io::Result<(u8, impl Fn() -> Duration)> {
    let (sender, inbox) = Inbox::new();
    let Setup {
        config,
        source,
        graph,
        args,
        output,
        signals,
        began,
        listeners,
        sockets,
        successes,
        notes,
    } = setup;
    if let Err(error) = on_thread::keep_reserve() {
        tracing::warn!(
            "no thread can be kept ready for the stop: {error}; raise the pids limit of the container"
        );
    }
    let spec = Arc::new(Spec { counts_stops: true, ..config.spec(&graph) });
    let definitions = Definition::of(&config, args, sockets);
    let processes = Processes::new(definitions, Machine::new(spec, began));
    let watched =
        config.processes.iter().flat_map(|process| file_watch::watched_files(process)).collect();
    let config = Rc::new(config);
    let executor =
        Executor::new(Rc::clone(&config), Arc::clone(&output), sender.clone(), processes, source);
    let executor = Rc::new(RefCell::new(executor));
    if let Some(listeners) = listeners {
        let handle = ControlHandle {
            executor: Rc::clone(&executor),
            sender: sender.clone(),
            output: Arc::clone(&output),
            notes,
        };
        local_task::spawn(async move {
            let Err(error) = serve(listeners, handle).await;
            tracing::error!("control endpoints: {error}; they no longer answer");
        });
    }
    let tell = Rc::clone(&executor.borrow().file_watches.tell);
    let mut event_loop = EventLoop::new(&config, executor, signals, inbox)?;
    let watches = FileWatches::begin(watched, tell).await;
    event_loop.step(|step| step.executor.file_watches = watches);
    let code = event_loop.run(began).await?;
    // A client whose request was answered in the last step gets its answer now. Without this
    // answer, the client would assume that its request has failed.
    let_others_run().await;
    let (is_started, over, reserve, logs) = event_loop.step(|Step { executor, .. }| {
        let over = executor.processes.machine().grace_end().unwrap_or_else(clock::now);
        let logs = executor.logs.take_open();
        (!executor.has_failed_to_start(), over, executor.config().shutdown.reserve, logs)
    });
    let code = if is_started && successes.contains(&code) { exit_code::OK } else { code };
    let within = move || final_waits::at_the_end(reserve, clock::now(), over);
    last_lines(logs, &within).await;
    event_loop.finish(code, &within);
    // Errors are ignored, because an error means that nobody reads the output, and then nobody
    // would read a line about the error.
    let longest = final_waits::left_at_the_end(clock::now(), over);
    let _ = output.flush_patiently(within(), longest).await;
    // The end of PID 1 ends the clients, too, so each client first gets time to print its answer.
    let_others_run().await;
    let clients = event_loop.step(|step| step.executor.requests.clients());
    let _ = timeout(within(), async {
        for client in clients {
            client.await;
        }
    })
    .await;
    Ok((code, within))
}
