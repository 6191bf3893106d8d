//! `exec` with a drain. The supervisor of `run` carries out a config that has only this one
//! command. Therefore the drain, the deadline, the second and third stop signal and the report work
//! as in `run`.

use std::io;
use std::sync::Arc;

use crate::commands::exec::{DrainOptions, ExecOptions, cut_short};
use crate::control::listen::ControlListeners;
use crate::exec::{fail, tell};
use crate::graph::Graph;
use crate::keys::{Config, LogFormat};
use crate::load::Environment;
use crate::logging::Output;
use crate::logging::subscriber;
use crate::os::signal::fd::Signals;
use crate::os::{boot, clock, panic_hook, stop_path};
use crate::supervisor::{self, Setup};
use crate::types::exit_code;

/// Runs the command, and drains it before the stop. Returns the exit code for drainit, like `run`.
pub fn run(options: &ExecOptions, drain: &DrainOptions, mut config: Config) -> u8 {
    panic_hook::install();
    let began = clock::now();
    let set_up = || {
        boot::prepare()?;
        let signals = Signals::install()?;
        options.parent_death_signal.map(boot::set_parent_death_signal).transpose()?;
        io::Result::Ok(signals)
    };
    let signals = match set_up() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot set up: {error}"), exit_code::SOFTWARE),
    };
    let environment = Environment::from_process();
    config.logging.format = match environment.get("DRAINIT_LOG_FORMAT").unwrap_or_default() {
        "json" => LogFormat::Json,
        "" | "text" => LogFormat::Text,
        _ => return fail(&"`DRAINIT_LOG_FORMAT` is neither `text` nor `json`", exit_code::CONFIG),
    };
    let graph = Graph::edgeless(config.processes.len());
    let output = Output::stdio();
    output.set_format(config.logging.format);
    let level = subscriber::level(environment.get(subscriber::LEVEL_VARIABLE));
    let level = level.unwrap_or_else(|error| {
        tell(&format!("warning: {error}"));
        tracing::Level::INFO
    });
    let level = if options.verbose { level.max(tracing::Level::DEBUG) } else { level };
    subscriber::install(Arc::clone(&output), level);
    // An error is ignored, because the command has to run even if nobody can reach drainit.
    let listeners = ControlListeners::bind(&config.control).ok();
    if let Some(warning) = cut_short(&config.shutdown, drain) {
        tracing::warn!("{warning}");
    }
    let notes: Vec<_> = stop_path::find().iter().map(ToString::to_string).collect();
    for note in &notes {
        tracing::warn!("{note}");
    }
    let setup = Setup {
        config,
        source: None,
        graph,
        args: vec![Vec::new()],
        output,
        signals,
        began,
        listeners,
        sockets: vec![Vec::new()],
        successes: options.remap_exit.clone(),
        notes,
    };
    supervisor::run(setup)
}
