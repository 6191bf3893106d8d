//! `processes:`: what a process runs and what its end leads to.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{
    CopyOf, Drain, DrainMethod, EnvoyFlags, Hooks, ListenSocket, Liveness, Probe, Readiness,
    Render, Ulimit, Variable, Watch,
};
use crate::types::{Signal, exit_code};

/// One entry of `processes:`.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its key in the file; of a copy, with its number.
    pub name: String,
    /// Set if `scale` made it.
    pub copy_of: Option<CopyOf>,
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    pub kind: ProcessKind,
    /// The exit codes that are no failure; never empty. Default 0.
    pub success_codes: Vec<u8>,
    /// A oneshot that runs longer is stopped and has failed.
    pub timeout: Option<Duration>,
    /// If it does not hold at the start, the process is skipped and counts as completed.
    pub only_if: Option<OnlyIf>,
    /// The container's arguments that are passed to it.
    pub args: Option<ArgRoute>,
    /// Unix sockets that are removed before the start and after the end.
    pub sockets: Vec<PathBuf>,
    /// Sockets that drainit opens and hands over.
    pub listen: Vec<ListenSocket>,
    /// The processes that it needs before its start; they are stopped after it has ended.
    pub depends_on: Vec<Dependency>,
    /// Without it, the process is ready as soon as it runs.
    pub readiness: Option<Readiness>,
    /// Checked as long as it is ready.
    pub liveness: Option<Liveness>,
    /// The signal that asks it to end. Default TERM.
    pub stop_signal: Signal,
    /// Time from `stop_signal` to KILL. Unset: up to 10 s of what the deadline leaves.
    pub stop_grace_period: Option<Duration>,
    /// The variables of `env_file`, then of `environment`; later entries win.
    pub environment: Vec<Variable>,
    /// The files that are written before each start.
    pub render: Vec<Render>,
    /// Actions for when a file changes while it runs.
    pub watch: Vec<Watch>,
    /// Unset: the working directory of drainit.
    pub working_dir: Option<PathBuf>,
    /// Unset: the user of drainit.
    pub user: Option<User>,
    /// The permissions that files it creates do not get. Unset: the umask of drainit.
    pub umask: Option<u32>,
    /// Resource limits that differ from those of drainit.
    pub ulimits: Vec<Ulimit>,
    /// How it is replaced. Default: stop-first.
    pub update: Update,
    /// Decides about an end before `on_exit` does.
    pub restart: Restart,
    pub on_exit: OnExit,
    /// The container is not ready once this process has ended for good with a failure.
    pub required: bool,
    /// The signals that drainit forwards to it.
    pub forward_signals: Vec<Signal>,
    pub hooks: Hooks,
    /// `None` if `time` is 0.
    pub drain: Option<Drain>,
    pub log: LogMode,
    /// Its stderr goes where its stdout goes (`log: {stderr: stdout}`).
    pub stderr_to_stdout: bool,
}

impl Process {
    /// Its key in the file, which all copies share.
    #[must_use]
    pub fn key(&self) -> &str {
        self.copy_of.as_ref().map_or(&self.name, |copy| &copy.process)
    }

    /// The flags of an Envoy that is replaced by its own hot restart.
    #[must_use]
    pub fn hot_restart(&self) -> Option<EnvoyFlags> {
        (self.update == Update::HotRestart).then(|| EnvoyFlags::of(&self.command))
    }

    /// Whether it reports its readiness itself, with `READY=1`.
    #[must_use]
    pub fn tells_readiness(&self) -> bool {
        matches!(self.readiness, Some(Readiness { probe: Probe::Notify, .. }))
    }

    /// Whether it reports the end of its drain itself, with `DRAINED=1`.
    #[must_use]
    pub fn tells_drained(&self) -> bool {
        matches!(self.drain, Some(Drain { method: DrainMethod::Notify(_), .. }))
    }

    /// Whether it gets a `NOTIFY_SOCKET`.
    #[must_use]
    pub fn uses_notify(&self) -> bool {
        let tells_life = matches!(self.liveness, Some(Liveness::Notify(_)));
        self.tells_readiness() || self.tells_drained() || tells_life
    }

    /// Whether drainit lets Envoy check its config before each hot restart: without a `pre_start`,
    /// and where a flag can be added to the command.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.hooks.pre_start.is_none() && self.hot_restart().is_some_and(|flags| flags.is_direct)
    }
}

impl Process {
    /// A process with all defaults.
    #[must_use]
    pub fn new(name: String, command: Vec<String>) -> Self {
        Self {
            name,
            copy_of: None,
            command,
            kind: ProcessKind::Service,
            success_codes: vec![exit_code::OK],
            timeout: None,
            only_if: None,
            args: None,
            sockets: Vec::new(),
            listen: Vec::new(),
            depends_on: Vec::new(),
            readiness: None,
            liveness: None,
            stop_signal: Signal::TERM,
            stop_grace_period: None,
            environment: Vec::new(),
            render: Vec::new(),
            watch: Vec::new(),
            working_dir: None,
            user: None,
            umask: None,
            ulimits: Vec::new(),
            update: Update::StopFirst,
            restart: Restart {
                policy: RestartPolicy::No,
                delay: Duration::from_secs(1),
                max: None,
            },
            on_exit: OnExit::Shutdown,
            required: true,
            forward_signals: Vec::new(),
            hooks: Hooks::default(),
            drain: None,
            log: LogMode::Inherit,
            stderr_to_stdout: false,
        }
    }
}

/// `type:` of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProcessKind {
    /// Runs until it is stopped.
    #[default]
    Service,
    /// Must complete with code 0.
    Oneshot,
}

/// `only_if:`, as far as it is still open. Variables are already evaluated when the config is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnlyIf {
    /// Holds if the path exists at the moment of the start.
    PathExists(PathBuf),
    /// A variable does not have the required value.
    Never,
}

/// `args:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgRoute {
    /// Arguments that begin with this prefix go to the process; `--` replaces the prefix.
    pub prefix: String,
    /// Names of options that must not be given this way.
    pub refuse: Vec<String>,
}

/// One entry of `depends_on:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name of the required process.
    pub process: String,
    pub condition: StartCondition,
    /// Whether this process is restarted when a new instance of the other one meets the condition.
    pub restart: bool,
}

/// `condition:` of a dependency. Default: `completed` for a oneshot, `ready` for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartCondition {
    Started,
    Ready,
    /// It ended with code 0.
    Completed,
}

/// The user that a process runs as, resolved with `/etc/passwd` and `/etc/group` when the config is
/// read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// `update:`: how a running process is replaced by a new instance of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Update {
    /// The old one is drained and stopped, then the new one starts.
    #[default]
    StopFirst,
    /// The new one is ready before the old one is drained and stopped.
    StartFirst,
    /// The same by Envoy's own hot restart: the new one takes over the sockets, and ends the old one.
    HotRestart,
}

impl Update {
    /// Whether the old and the new one run beside each other for a while.
    #[must_use]
    pub fn overlaps(self) -> bool {
        self != Self::StopFirst
    }
}

/// `restart:`, `restart_delay:`, `restart_max:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    pub policy: RestartPolicy,
    /// The first pause. It doubles up to 30 s, and starts again after 60 s of life. Default 1 s.
    pub delay: Duration,
    /// At most this many consecutive restarts; after them `on_exit` decides. `None`, the default:
    /// no limit.
    pub max: Option<u32>,
}

/// `restart:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    #[default]
    No,
    /// After an end with a signal or a code other than 0.
    OnFailure,
    /// After every end that drainit did not ask for.
    Always,
}

/// `on_exit:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnExit {
    /// The container stops, with the code of the process.
    #[default]
    Shutdown,
    /// The container stops; code 0 of the process becomes code 1 of the container, so that the
    /// runtime starts it again.
    FailureShutdown,
    /// Nothing.
    Ignore,
}

/// `log:`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum LogMode {
    /// The process gets drainit's own stdout and stderr.
    #[default]
    Inherit,
    /// Through drainit, which writes `[prefix] ` before each line.
    Prefix(String),
    /// Nowhere.
    None,
    /// To a file.
    File(LogFile),
}

/// The log file of a process. drainit writes it, with its own permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    pub path: PathBuf,
    /// `[prefix] ` before each line.
    pub prefix: Option<String>,
}
