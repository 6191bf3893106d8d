//! Turns a process, hook or probe of the config into a [`SpawnRequest`]: environment, arguments,
//! descriptors.

use std::ffi::OsString;
use std::io::{self, PipeWriter};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use regex_lite::Regex;
use thiserror::Error;

use crate::http::describe_io;
use crate::keys::{
    Account, Config, Hook, Liveness, LogFormat, LogMode, Probe, Process, Render, User, Variable,
};
use crate::language::mask;
use crate::language::source::Source;
use crate::load::Environment;
use crate::load::at_start;
use crate::logging::Output;
use crate::logging::capture::{OutputCapture, forms, give_to};
use crate::logging::split::LineForm;
use crate::os::held_sockets::HeldSocket;
use crate::os::leftovers;
use crate::os::replace_file;
use crate::os::spawn::{self, SpawnError, SpawnRequest};
use crate::os::stale_socket;
use crate::os::sys::allocator::wipe_from_now_on;
use crate::types::suggest::is_meant;
use crate::types::{Stream, exit_code, harmless, human};

/// The time limit of an exec, and of gathering the files of a start. The limit is long, because
/// loading a program over a network takes seconds. A stop does not wait for the exec or for the
/// files.
pub(crate) const LONGEST_START: Duration = Duration::from_secs(60);

/// The reason why a process or hook was not started.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// A pipe or socket could not be made, most likely because descriptors ran out.
    #[error("cannot be started: {0}")]
    Resources(#[from] io::Error),
    #[error("{}", harmless(&.0.to_string()))]
    Spawn(#[from] SpawnError),
    #[error("cannot open its log file {}: {}", harmless(&.path.to_string_lossy()), describe_io(.error))]
    LogFile { path: PathBuf, error: io::Error },
    #[error(
        "was not started within {}: the file system of its program does not answer",
        human(LONGEST_START)
    )]
    Late,
    /// The start was not attempted, for example because a value is missing or a hot restart is not
    /// possible.
    #[error("cannot be started: {}", harmless(.0))]
    Unprepared(String),
}

impl StartError {
    /// The exit code for a failed start: 1 if the start was not attempted, as after a failed
    /// `pre_start`, and otherwise 126 or 127, as in a shell.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Resources(_) | Self::LogFile { .. } | Self::Late => exit_code::CANNOT_EXECUTE,
            Self::Unprepared(_) => exit_code::NOT_READY,
            Self::Spawn(error) => error.exit_code(),
        }
    }
}

/// The variable of sd_notify(3). The processes do not get the value that drainit itself was started
/// with.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// The variables of sd_watchdog_enabled(3). The processes do not get the values that drainit itself
/// was started with. drainit does not set `WATCHDOG_PID`, so that a child of the process may send
/// `WATCHDOG=1`, too.
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The variables whose value is the name of the user.
const OF_USER: [&str; 2] = ["USER", "LOGNAME"];

/// The flag and the variable for the epoch of an Envoy. Envoy reads the flag. The variable is for
/// scripts that start Envoy; its name comes from Envoy's own restarter.
const RESTART_EPOCH_FLAG: &str = "--restart-epoch";
const RESTART_EPOCH: &str = "RESTART_EPOCH";
/// The arguments that make Envoy check its config and exit.
const VALIDATE: [&str; 2] = ["--mode", "validate"];

/// The variables that drainit itself may have got, but does not pass on.
const OF_DRAINIT: [&str; 4] = [NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, leftovers::VARIABLE];

/// The environment of every process: the `env:` defaults, and drainit's own environment without the
/// variables that only drainit gets.
pub(crate) fn base_environment(config: &Config) -> Vec<(OsString, OsString)> {
    let own = std::env::vars_os().filter(|(name, _)| !OF_DRAINIT.iter().any(|own| name == own));
    let defaults = config.env.iter().map(|(name, value)| (name.into(), value.into()));
    let all: Vec<_> = own.chain(defaults).collect();
    mask::hide_variables(&all);
    all
}

/// Reads the values that a process needs at its start, and returns the definition of the process
/// with these values; `None` if the process needs none. Without `env`, only the user of the process
/// is looked up. With `renders`, also returns the templates of the process.
pub(crate) fn with_values(
    process: &Process,
    env: Option<&[(String, String)]>,
    renders: bool,
) -> Result<(Option<Process>, Vec<Source>), StartError> {
    let renders = if renders { &process.render[..] } else { &[] };
    let env = env.filter(|_| process.has_values_at_start() || !renders.is_empty());
    if env.is_none() && !needs_user(process) {
        return Ok((None, Vec::new()));
    }
    let user = process.user.as_ref().map(at_start::account).transpose();
    let mut with_values = process.clone();
    let mut templates = Vec::new();
    if let Some(env) = env {
        if process.environment.iter().any(|one| one.file().is_some()) {
            wipe_from_now_on();
        }
        let with_limits = at_start::with_limits(process).map_err(StartError::Unprepared)?;
        with_values = with_limits.unwrap_or(with_values);
        (with_values.environment, templates) =
            at_start::values(&with_values, env, &Environment::from_process(), renders)
                .map_err(StartError::Unprepared)?;
    }
    with_values.user = user.map_err(StartError::Unprepared)?;
    Ok((Some(with_values), templates))
}

/// Whether the user of a process has to be looked up.
pub(crate) fn needs_user(process: &Process) -> bool {
    matches!(process.user, Some(Account::Written(_)))
}

/// The user of a process after the look-up.
pub(crate) fn user_of(process: &Process) -> Option<&User> {
    process.user.as_ref().and_then(Account::found)
}

/// Writes the files of `render` from their templates with the variables of the process. `process`
/// already has the values that are read at its start.
pub(crate) fn render(
    process: &Process,
    templates: &[Source],
    base: &[(OsString, OsString)],
) -> Result<(), StartError> {
    if templates.is_empty() {
        return Ok(());
    }
    let environment = Environment::of(environment(base, Some(process)).into_iter());
    for (Render { from, to, mode }, template) in process.render.iter().zip(templates) {
        let rendered = at_start::render(template, process.share, &environment)
            .map_err(StartError::Unprepared)?;
        for warning in rendered.warnings {
            tracing::warn!("{}: {}", process.name, harmless(&warning));
        }
        // The check of the config has compared only the two paths. Two different paths can still
        // lead to the same file, because a part of a path may be a symbolic link.
        let written = match replace_file::is_one_file(to, from) {
            true => Err(io::Error::other("it is the template itself; write another path to `to`")),
            false => replace_file::replace(to, rendered.text.as_bytes(), *mode, user_of(process)),
        };
        written.map_err(|error| {
            let (to, from) = (to.to_string_lossy(), from.to_string_lossy());
            StartError::Unprepared(format!("cannot write {to}, rendered from {from}: {error}"))
        })?;
    }
    Ok(())
}

/// The environment, the output and the log format that drainit gives to the processes and hooks
/// that it starts.
pub(crate) struct Launcher {
    /// The variables of every process.
    pub(crate) base: Rc<[(OsString, OsString)]>,
    /// The destination of captured lines: drainit's own output, or the log file of the process.
    pub(crate) output: Arc<Output>,
    pub(crate) format: LogFormat,
}

/// The parts that drainit adds to the config of an instance.
pub(crate) struct StartArguments<'a> {
    /// The process's part of the container's arguments.
    pub(crate) args: &'a [String],
    /// The mark of the instance, by which drainit knows what it leaves behind; `None` if that is
    /// kept.
    pub(crate) mark: Option<String>,
    /// The value of `NOTIFY_SOCKET`.
    pub(crate) notify: Option<String>,
    /// The epoch, for an Envoy with hot restart.
    pub(crate) epoch: Option<u32>,
    /// The sockets of `listen`, in the order of `listen`.
    pub(crate) sockets: &'a [Arc<HeldSocket>],
}

/// A request, and the capture of the output if drainit captures it.
type Launch = Result<(SpawnRequest, Option<Rc<OutputCapture>>), StartError>;

impl Launcher {
    /// Makes the request for the process itself. `process` already has the values that are read at
    /// its start.
    pub(crate) fn process(&self, process: &Process, handed: StartArguments<'_>) -> Launch {
        let epoch = handed.epoch.map(|epoch| epoch.to_string());
        let flag = epoch.clone().map(|epoch| [RESTART_EPOCH_FLAG.to_owned(), epoch]);
        let command = process.command.iter().chain(handed.args).chain(flag.iter().flatten());
        let mut env = environment(&self.base, Some(process));
        if let Some(epoch) = epoch {
            env.push((RESTART_EPOCH.into(), epoch.into()));
        }
        env.extend(handed.mark.map(|mark| (leftovers::VARIABLE.into(), mark.into())));
        if let Some(address) = handed.notify {
            env.push((NOTIFY_SOCKET.into(), address.into()));
        }
        if let Some(Liveness::Notify(limit)) = &process.liveness {
            env.push((WATCHDOG_USEC.into(), limit.as_micros().to_string().into()));
        }
        if !handed.sockets.is_empty() {
            // An inherited `LISTEN_PID` is removed. The new value is set in the child, because the
            // child's pid is not known yet.
            env.retain(|(name, _)| name != "LISTEN_PID");
            let names: Vec<_> = process.listen.iter().map(|socket| socket.name.as_str()).collect();
            env.push(("LISTEN_FDS".into(), handed.sockets.len().to_string().into()));
            env.push(("LISTEN_FDNAMES".into(), names.join(":").into()));
        }
        let mut request = request(command, env, Some(process))?;
        for socket in handed.sockets {
            request.sockets.push(socket.as_fd().try_clone_to_owned()?);
        }
        let pattern = process.readiness.as_ref().and_then(|readiness| match &readiness.probe {
            Probe::Log(pattern) => Some(pattern.0.clone()),
            _ => None,
        });
        let forms = forms(process, self.format);
        let log = direct(&mut request, Some(process), forms, &self.output, pattern)?;
        Ok((request, log))
    }

    /// Makes the request for a hook of a process or of the container.
    pub(crate) fn hook(&self, hook: &Hook, process: Option<&Process>) -> Launch {
        let mut request = request(hook.command.iter(), environment(&self.base, process), process)?;
        let own = || {
            let json = self.format == LogFormat::Json;
            json.then(|| {
                [Stream::Stdout, Stream::Stderr].map(|stream| LineForm::json("drainit", stream))
            })
        };
        let forms = process.map_or_else(own, |process| forms(process, self.format));
        let log = direct(&mut request, process, forms, &self.output, None)?;
        Ok((request, log))
    }
}

/// Decides where the output goes: to pipes if drainit formats the lines, and otherwise to /dev/null
/// or to drainit's own output.
fn direct(
    request: &mut SpawnRequest,
    process: Option<&Process>,
    forms: Option<[LineForm; 2]>,
    output: &Arc<Output>,
    pattern: Option<Regex>,
) -> io::Result<Option<Rc<OutputCapture>>> {
    let is_merged = process.is_some_and(|process| process.log.stderr_to_stdout);
    if let Some(forms) = forms {
        let user = process.and_then(user_of);
        let (log, ends) = OutputCapture::open(Arc::clone(output), forms, user, pattern)?;
        let stderr = if is_merged { ends.stdout.try_clone()? } else { ends.stderr };
        request.stdout = Some(ends.stdout.into());
        request.stderr = Some(stderr.into());
        return Ok(Some(log));
    }
    if process.is_some_and(|process| process.log.mode == LogMode::None) {
        discard_output(request);
    } else if is_merged {
        request.stderr = Some(io::stdout().as_fd().try_clone_to_owned()?);
    }
    Ok(None)
}

/// Drops the output. If /dev/null cannot be opened, the output goes to drainit's own output.
fn discard_output(request: &mut SpawnRequest) {
    let nowhere = || spawn::null()?.as_fd().try_clone_to_owned().ok();
    if let (Some(stdout), Some(stderr)) = (nowhere(), nowhere()) {
        request.stdout = Some(stdout);
        request.stderr = Some(stderr);
    }
}

/// A request for an Envoy that only checks the config of `process`, with the arguments of
/// `process`. The stdout of this Envoy goes to /dev/null, and its stderr to `stderr`.
pub(crate) fn validation(
    process: &Process,
    args: &[String],
    base: &[(OsString, OsString)],
    stderr: PipeWriter,
) -> io::Result<SpawnRequest> {
    let flags = VALIDATE.map(str::to_owned);
    let command = process.command.iter().chain(args).chain(&flags);
    let mut request = request(command, environment(base, Some(process)), Some(process))?;
    discard_output(&mut request);
    request.stderr = Some(stderr.into());
    Ok(request)
}

/// A request for an `exec` probe. The caller decides where the output of the probe goes.
pub(crate) fn probe(
    command: &[String],
    process: &Process,
    base: &[(OsString, OsString)],
) -> io::Result<SpawnRequest> {
    request(command.iter(), environment(base, Some(process)), Some(process))
}

/// Lets a command write its stdout and its stderr to `pipe`.
///
/// # Errors
/// Fails if too many files are open.
pub(crate) fn into_pipe(mut request: SpawnRequest, pipe: PipeWriter) -> io::Result<SpawnRequest> {
    give_to(request.user.as_ref(), &pipe);
    request.stdout = Some(pipe.try_clone()?.into());
    request.stderr = Some(pipe.into());
    Ok(request)
}

fn request<'a>(
    command: impl Iterator<Item = &'a String>,
    env: Vec<(OsString, OsString)>,
    process: Option<&Process>,
) -> io::Result<SpawnRequest> {
    let mut request = SpawnRequest::new(command.map(OsString::from).collect());
    if let Some(process) = process {
        request.working_dir.clone_from(&process.working_dir);
        // Without this check, the command would run as drainit's user.
        if needs_user(process) {
            return Err(io::Error::other("its user was not looked up"));
        }
        request.user = user_of(process).cloned();
        request.umask = process.umask;
        request.ulimits.clone_from(&process.ulimits);
    }
    request.env = Some(env);
    Ok(request)
}

/// The environment of a process, or of the container's hooks. Its values are hidden in all that
/// children and peers write.
fn environment(
    base: &[(OsString, OsString)],
    process: Option<&Process>,
) -> Vec<(OsString, OsString)> {
    let mut env = base.to_vec();
    if let Some(process) = process {
        if let Some(user) = &process.user {
            name_user(&mut env, user);
        }
        // A pattern removes only variables that the process would inherit, so the place of the
        // pattern in the list does not matter.
        for variable in &process.environment {
            if let Variable::Removed(pattern) = variable
                && pattern.contains('*')
            {
                env.retain(|(other, _)| {
                    let is_of_user = OF_USER.iter().chain(&["HOME"]).any(|name| other == name);
                    let is_meant = other.to_str().is_some_and(|name| is_meant(pattern, name));
                    !is_meant || process.user.is_some() && is_of_user
                });
            }
        }
        for variable in &process.environment {
            match variable {
                Variable::Set { name, value } => env.push((name.into(), value.into())),
                Variable::Removed(name) => env.retain(|(other, _)| other != name.as_str()),
                // The caller has read these values and has turned the variables into
                // `Variable::Set`.
                Variable::FromFile { .. } | Variable::EnvFile(_) => {}
            }
        }
    }
    mask::hide_variables(&env);
    env
}

/// Sets the variables that name the user of a process. In the container's environment, these
/// variables name drainit's own user.
fn name_user(env: &mut Vec<(OsString, OsString)>, user: &Account) {
    if let Account::Found { name, home, .. } = user {
        env.retain(|(other, _)| !OF_USER.iter().any(|name| other == name));
        env.push(("HOME".into(), home.into()));
        let names = OF_USER.iter().zip(name.iter().cycle());
        env.extend(names.map(|(variable, name)| (variable.into(), name.into())));
    }
}

/// Lets a hook run as another user than its process.
pub(crate) fn run_as(request: &mut SpawnRequest, user: &Account) {
    request.user = user.found().cloned();
    name_user(request.env.get_or_insert_default(), user);
}

/// Refuses the first start of a process while another program listens on one of its `sockets`. The
/// start would take the socket away from the other program, which most likely belongs to a second
/// drainit in the same container. `own` is the path of drainit's own socket.
pub(crate) fn check_sockets(process: &Process, own: Option<&Path>) -> Result<(), StartError> {
    match process.sockets.iter().find(|path| stale_socket::is_taken(path, own)) {
        None => Ok(()),
        Some(path) => {
            let path = path.display();
            Err(StartError::Unprepared(format!("{path}: {}", stale_socket::IN_USE)))
        }
    }
}

/// Removes sockets of an earlier instance of a process. Only sockets are removed, because a typo in
/// the config must not delete a file.
pub(crate) fn remove_sockets(name: &str, paths: &[PathBuf], own: Option<&Path>) {
    for path in paths {
        if let Err(error) = stale_socket::remove(path, own) {
            let path = path.to_string_lossy();
            tracing::warn!("{name}: cannot remove the socket {}: {error}", harmless(&path));
        }
    }
}
