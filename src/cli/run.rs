//! `drainit run`: the supervisor.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drainit_advise::image::detect::is_stopped_by_docker;
use drainit_advise::misread;
use tracing::Level;

use crate::cli::config_files;
use crate::commands::RunArgs;
use crate::commands::exec::ExecOptions;
use crate::control::listen::ControlListeners;
use crate::exec;
use crate::keys::LogFormat;
use crate::language::written::as_written;
use crate::load::{self, Diagnostic, Environment, Loaded, args};
use crate::logging::Output;
use crate::logging::format::own_line;
use crate::logging::subscriber;
use crate::os::on_thread::wait_unless;
use crate::os::signal::fd::Signals;
use crate::os::signal::mask::only;
use crate::os::{boot, clock, panic_hook, stop_path, sys};
use crate::supervisor::sockets::LONGEST_OPEN;
use crate::supervisor::tasks::reload::{ConfigSource, LONGEST_READ};
use crate::supervisor::{self, Setup, sockets};
use crate::types::{Signal, Stream, Time, exit_code, harmless, harmless_lines, human};

/// The longest wait for a slow reader of stderr. drainit waits only if the pipe is full, and only
/// in two cases: before an exit because of an error at the start, and before drainit runs a command
/// as `drainit exec` does.
const FLUSH: Duration = Duration::from_millis(500);

/// The reason why nothing was started, and the exit code.
type Refusal = (String, u8);

/// Runs the supervisor. Returns the exit code of the container.
pub(super) fn run(args: RunArgs) -> u8 {
    panic_hook::install();
    // `Signals::install` runs before there is another thread, so that all threads block the
    // signals.
    let began = clock::now();
    let signals = boot::prepare().and_then(|()| Signals::install());
    let output = Output::stdio();
    let environment = Environment::from_process();
    // `logging` of the config is not known yet, so the variable decides.
    let mut format = match environment.get_non_empty("DRAINIT_LOG_FORMAT") {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    };
    start(args, began, signals, &output, &environment, &mut format).unwrap_or_else(
        |(message, code)| {
            say(&output, format, Level::ERROR, "[drainit] error: ", &as_written(&message));
            // Errors are ignored, because stderr may have no reader.
            let _ = output.flush(FLUSH);
            code
        },
    )
}

/// Reads the config and runs it. `format` is set to the format in the config.
fn start(
    args: RunArgs,
    began: Time,
    signals: io::Result<Signals>,
    output: &Arc<Output>,
    environment: &Environment,
    format: &mut LogFormat,
) -> Result<u8, Refusal> {
    let signals =
        signals.map_err(|error| (format!("cannot set up: {error}"), exit_code::SOFTWARE))?;
    let paths = config_files::paths(&args.files);
    let is_unnamed = args.files.config.is_empty();
    let word = args.args.first().filter(|_| is_unnamed);
    let unnamed = word.and_then(|word| misread::unnamed_config(word));
    let with_remedy = |error: &str, remedy: &Option<String>| match remedy {
        Some(remedy) => harmless(&format!("{error}; {remedy}")).into_owned(),
        None => harmless(error).into_owned(),
    };
    let (files, variables) = (paths.clone(), environment.clone());
    let names = paths.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>().join(", ");
    let what = harmless(&format!("{names}, or a file that it names")).into_owned();
    let argument = word.cloned();
    let read = move || {
        load::load(&files, &variables).map_err(|problems| {
            let other = argument.and_then(|file| misread::other_file(&file));
            (problems, other.filter(|remedy| remedy.contains("drainit import")))
        })
    };
    let loaded = open(LONGEST_READ, &what, read)?.map_err(|(problems, other)| {
        complain(output, *format, &problems);
        let foreign = misread::foreign_config(&problems).filter(|_| !is_unnamed);
        let remedy = other.or_else(|| unnamed.clone()).or(foreign);
        (with_remedy("the config is wrong; nothing was started", &remedy), exit_code::CONFIG)
    })?;
    *format = loaded.config.logging.format;
    complain(output, *format, &loaded.warnings);
    let arguments = args.args;
    if args::is_command(&loaded.config, &arguments) {
        let _ = output.flush(FLUSH);
        let command = arguments.into_iter().map(OsString::from).collect();
        return Ok(exec::run(&ExecOptions::new(command)));
    }
    let args = args::route(&loaded.config, &arguments)
        .map_err(|error| (with_remedy(&error.to_string(), &unnamed), exit_code::USAGE))?;
    let wrong = |error: String| (harmless(&error).into_owned(), exit_code::CONFIG);
    let control = loaded.config.control.clone();
    let listeners = open(LONGEST_OPEN, "`control`", move || ControlListeners::bind(&control))?;
    let listeners = listeners.map_err(wrong)?;
    let wanted = sockets::wanted(&loaded.config);
    let sockets = open(LONGEST_OPEN, "`listen`", move || sockets::open(wanted, None))?;
    let sockets = sockets.map_err(wrong)?;
    let level = subscriber::level(environment.get(subscriber::LEVEL_VARIABLE));
    let level = level.unwrap_or_else(|error| {
        say(output, *format, Level::WARN, "[drainit] warning: ", &error.to_string());
        Level::INFO
    });
    output.set_format(*format);
    subscriber::install(Arc::clone(output), level);
    if is_stopped_by_docker() {
        warn_of_early_kill(&loaded, environment);
    }
    if let Some(missing) = &listeners.missing {
        tracing::warn!("{missing}");
    }
    let notes: Vec<_> = stop_path::find().iter().map(ToString::to_string).collect();
    for note in &notes {
        tracing::warn!("{note}");
    }
    Ok(supervisor::run(Setup {
        config: loaded.config,
        source: Some(ConfigSource { paths, arguments, files: Arc::new(loaded.files) }),
        graph: loaded.graph,
        args,
        output: Arc::clone(output),
        signals,
        began,
        listeners: Some(listeners),
        sockets,
        successes: Vec::new(),
        notes,
    }))
}

/// Runs work that opens files or sockets, for at most `within`. Gives up when a stop signal
/// arrives.
fn open<T: Send + 'static>(
    within: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    wait_unless(within, is_stopped, move || Ok(work()))
        .map_err(|error| (format!("{what}: {error}"), exit_code::CONFIG))
}

/// Whether one of the default stop signals is pending.
fn is_stopped() -> bool {
    let stops = [Signal::TERM, Signal::INT, Signal::QUIT];
    stops.iter().any(|signal| sys::pending_signals() & only(*signal) != 0)
}

/// The default of `docker run --stop-timeout`.
const DOCKER_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Warns if Docker may kill the container before the grace period is over. drainit cannot be
/// certain, because a container cannot read its own stop timeout.
fn warn_of_early_kill(loaded: &Loaded, environment: &Environment) {
    let grace = loaded.config.shutdown.grace_period;
    let variables = &loaded.grace_variables;
    let is_passed = variables.iter().any(|name| environment.get_non_empty(name).is_some());
    if is_passed || grace <= DOCKER_STOP_TIMEOUT {
        return;
    }
    let (seconds, planned) = (grace.as_secs(), human(grace));
    let remedy = match variables.first() {
        Some(name) => {
            format!("pass `--stop-timeout {seconds} -e {name}={seconds}`, or `-e {name}=10`")
        }
        // The config sets the grace period, perhaps to match Docker's stop timeout, so this line is
        // not a warning.
        None if loaded.has_grace_period => {
            tracing::info!(
                "the shutdown is planned for {planned}: without `--stop-timeout {seconds}`, \
                 `docker stop` kills after 10s"
            );
            return;
        }
        None => format!(
            "pass `--stop-timeout {seconds}` and write `shutdown: {{grace_period: {seconds}s}}`, \
             or write 10s"
        ),
    };
    tracing::warn!(
        "no grace period was passed: `docker stop` kills after 10s by default, and the shutdown is \
         planned for {planned}; {remedy}"
    );
}

fn complain(output: &Output, format: LogFormat, problems: &[Diagnostic]) {
    for problem in problems {
        let level = if problem.is_error() { Level::ERROR } else { Level::WARN };
        // The text already contains the severity.
        say(output, format, level, "", &problem.to_string());
    }
}

/// Writes a line through the queue, so that a blocked reader of stderr does not delay the start.
/// `head` precedes the message only in the text format.
fn say(output: &Output, format: LogFormat, level: Level, head: &str, message: &str) {
    let line = match format {
        LogFormat::Text => format!("{head}{}\n", harmless_lines(message)).into_bytes(),
        LogFormat::Json => own_line(format, Stream::Stderr, level, SystemTime::now(), message),
    };
    output.push(Stream::Stderr, &line);
}
