//! `processes:`: which program a process runs, how it is supervised, and which consequences its end
//! has.

use std::path::PathBuf;
use std::time::Duration;

use drainit_derive::Named;

use crate::core::spec::DrainOff;
use crate::keys::account::RunAs;
use crate::keys::command::CommandForm;
use crate::keys::depends_on::{Dependency, DependsOn};
use crate::keys::drain::{DrainKeys, OnlyConnections};
use crate::keys::environment::{EnvFiles, EnvironmentForm};
use crate::keys::forms::{Positive, SignalList, SocketPath, StopSignal, Umask, leaf};
use crate::keys::key::{Either, Leaf, List, Shape, Table};
use crate::keys::liveness::LivenessKeys;
use crate::keys::log::LogKeys;
use crate::keys::only_if::AtStart;
use crate::keys::reader::{Fields, Reader};
use crate::keys::scale;
use crate::keys::ulimit::Ulimits;
use crate::keys::values;
use crate::keys::{
    Account, Command, DeadlineShare, Drain, DrainMethod, EnvoyFlags, Hooks, ListenSocket, Liveness,
    Log, LogMode, OnlyIf, Probe, Readiness, Render, Ulimit, Variable, Watch,
};
use crate::language::diagnostics::rule::Rule;
use crate::language::invalid::Invalid;
use crate::types::{ExitPolicy, OnExit, RestartPolicy, Signal, Update, exit_code};

/// One entry of `processes:`.
#[derive(Clone, Debug, Table)]
#[table(settle = Self, default, differing)]
pub struct Process {
    // The key of the process in the file, with `-1`, `-2` and so on if the entry has `scale`.
    #[key(skip)]
    pub name: String,
    /// The times that a shutdown leaves the process for its stop and its drain.
    #[key(skip)]
    pub share: DeadlineShare,
    /// Whether the command starts a store, such as a database, and other processes depend on it.
    #[key(skip)]
    pub is_store: bool,
    /// The reason why `drain` is `None` although the config has a drain: this drain is off.
    #[key(skip)]
    pub drain_off: Option<DrainOff>,
    /// The program and its arguments. <!-- C151 --> Example:
    /// `command: [/app/server, --port, "8080"]`
    // The list is never empty.
    #[key(form = CommandForm, default = "required", value = Command::default(), merge = Replace)]
    pub command: Command,
    /// A service runs until it is stopped. A oneshot is a task that must end with code 0, and has
    /// no `readiness`, `liveness`, `drain`, `watch` or `update`. <!-- C152 --> Example:
    /// `type: oneshot`
    #[key(name = "type", default = "service")]
    pub kind: ProcessKind,
    /// The exit codes that count as success. In these pages, "code 0" means any of these
    /// codes. <!-- C153 --> The list is complete: with `[2]`, 0 is a failure. <!-- C616 --> A oneshot
    /// that ends with another of these codes is complete, and the status shows the
    /// code. <!-- S948 --> Example: `success_codes: [0, 2]`
    #[key(default = "[0]", value = vec![exit_code::OK])]
    pub success_codes: Vec<u8>,
    /// Only for `type: oneshot`: <!-- C617 --> how long the oneshot may run. After this time,
    /// drainit stops the oneshot like any process (`stop_signal`, `stop_grace_period`, SIGKILL).
    /// The oneshot has then failed, whatever its exit code. <!-- C154 --> Once a shutdown or a
    /// `drainit drain` has begun, the timeout no longer applies. <!-- C513 --> Example:
    /// `timeout: 60s`
    #[key(form = Positive, default = "none")]
    pub timeout: Option<Duration>,
    /// If the condition does not hold, the process is left out, and counts as ready and completed.
    /// <!-- C155 --> Example: `only_if: {path_exists: /app/plugin}`
    #[key(form = AtStart, default = "none", merge = Replace)]
    pub only_if: Option<OnlyIf>,
    /// The variable `DRAINIT_PROFILES` is a list with commas. The process runs only if the list has
    /// one of these profiles, or `*`. <!-- C676 --> Without this key, profiles do not matter.
    /// Example: `profiles: [debug]`
    #[key(default = "none")]
    pub profiles: Vec<String>,
    /// `false`: the process starts only by [`drainit start`](operating.md#stop-start-restart) or
    /// `restart`. <!-- C684 --> Until then the process is `stopped`, and the container runs even if
    /// no process runs. `/readyz` does not wait for the process, not even after its
    /// start. <!-- C685 --> Once started, the process is supervised, drained and stopped like any
    /// other. <!-- C686 --> A reload does not start the process. If only this key changes, a reload
    /// starts and stops nothing. <!-- C687 --> Only processes with `autostart: false` can depend on
    /// this process. <!-- C688 --> Example: `autostart: false`
    #[key(default = "true")]
    pub autostart: bool,
    /// Which of the container's arguments the process gets. <!-- C156 --> Example:
    /// `args: {prefix: "--app."}`
    #[key(default = "none")]
    pub args: Option<ArgRoute>,
    /// Unix sockets that drainit removes before each start, after each end, and when the process is
    /// left out. <!-- C157 --> If another process listens on such a socket before the first start,
    /// that is an error. Thus a second drainit in the container removes no sockets in
    /// use. <!-- C478 --> If the file is not a socket, or if a symbolic link in the path belongs to
    /// neither root nor drainit's user, drainit warns and removes nothing. <!-- C618 --> Only one
    /// process may list a socket. No process may list `control.socket`, even by another
    /// path. <!-- C619 --> Example: `sockets: [/run/gw/app.sock]`
    #[key(form = List<SocketPath>, default = "none")]
    pub sockets: Vec<PathBuf>,
    /// Sockets that drainit opens, keeps open during restarts, and passes to the
    /// process. <!-- C158 --> Example: `listen: [tcp://0.0.0.0:8080]`
    #[key(default = "none")]
    pub listen: Vec<ListenSocket>,
    /// The dependencies: they start before this process, and are stopped after its end.
    /// <!-- C159 --> Example: `depends_on: [database]`
    #[key(form = DependsOn, default = "none", merge = Names)]
    pub depends_on: Vec<Dependency>,
    /// When the process is ready. Without this key, the process is ready as soon as it
    /// runs. <!-- C160 --> Example: `readiness: {tcp: "127.0.0.1:8080"}`
    #[key(default = "none")]
    pub readiness: Option<Readiness>,
    /// How drainit checks that the process still works after it became ready. Example:
    /// `liveness: {http: "http://127.0.0.1:8080/healthz"}`
    #[key(form = LivenessKeys, default = "none")]
    pub liveness: Option<Liveness>,
    /// The signal that asks the process to end. The signal does not go to the process
    /// group. <!-- C161 --> SIGCONT follows, in case the process is suspended. <!-- C620 -->
    /// Example: `stop_signal: QUIT`
    #[key(form = StopSignal, default = "TERM")]
    pub stop_signal: Signal,
    /// The time from the `stop_signal` until drainit kills the whole process group. <!-- C162 -->
    /// Unset: [what the deadline leaves](reference/shutdown.md#one-deadline-for-all-steps), or
    /// outside of a shutdown `grace_period` less `reserve`. <!-- C621 --> `0` kills at
    /// once. <!-- C622 --> Example: `stop_grace_period: 25s`
    #[key(default = "unset")]
    pub stop_grace_period: Option<Duration>,
    /// Files with variables of this process. Example: `env_file: app.env`
    // `settle` moves the variables into `environment`, so this field is empty afterwards.
    #[key(form = EnvFiles, default = "none", merge = OneOrMore("path"))]
    pub env_file: Vec<Vec<Variable>>,
    /// Variables of this process. Example: `environment: {GOMAXPROCS: "2"}`
    // The list has `SCALE_INDEX` for a copy, then the variables of `env_file`, and then those of
    // `environment`. Later entries win.
    #[key(form = EnvironmentForm, default = "none", merge = Pairs)]
    pub environment: Vec<Variable>,
    /// Templates that are written to files before each start.
    /// Example: `render: [{from: /etc/app.tmpl, to: /run/app.conf}]`
    #[key(default = "none", merge = OneOrMore("to"))]
    pub render: Vec<Render>,
    /// Files whose changes lead to an action.
    /// Example: `watch: [{path: /etc/app.yaml, action: restart}]`
    #[key(default = "none", merge = OneOrMore("path"))]
    pub watch: Vec<Watch>,
    /// The number of copies, from 0 to 1000. The copies are NAME-1, NAME-2 and so on, each with its
    /// SCALE_INDEX. <!-- C163 --> Example: `scale: ${WORKERS:-2}`
    #[key(form = scale::Copies, default = "none", uncompared)]
    pub scale: Option<u32>,
    /// The working directory of the process. <!-- C164 --> Example: `working_dir: /`
    #[key(default = "drainit's")]
    pub working_dir: Option<PathBuf>,
    /// The user that the process runs as. <!-- C165 --> Example: `user: "10001:10001"`
    #[key(form = RunAs, default = "drainit's")]
    pub user: Option<Account>,
    /// The permissions that new files of the process and its hooks do not get. <!-- C166 -->
    /// Example: `umask: "027"`
    #[key(form = Umask, default = "drainit's")]
    pub umask: Option<u32>,
    /// The resource limits of the process. Example: `ulimits: {nofile: max}`
    #[key(form = Ulimits, default = "drainit's")]
    pub ulimits: Vec<Ulimit>,
    /// How a new instance replaces the running one. Example: `update: start-first`
    #[key(default = "stop-first")]
    pub update: Update,
    /// Whether the process is started again after an unexpected end. <!-- C167 --> Example:
    /// `restart: on-failure`
    // `on_exit` decides only about an end after which the process is not restarted.
    #[key(form = Policy, default = "no")]
    pub restart: RestartPolicy,
    /// The first pause before a restart. <!-- C168 --> Example: `restart_delay: 200ms`
    #[key(default = "1s")]
    pub restart_delay: Duration,
    /// At most this many consecutive restarts. <!-- C169 --> Without `restart` the key has no
    /// effect. <!-- C623 --> Example: `restart_max: 3`
    #[key(default = "no limit")]
    pub restart_max: Option<u32>,
    /// What happens to the processes that earlier instances have left behind, before the process
    /// starts again. Example: `leftovers: keep`
    #[key(default = "end")]
    pub leftovers: Leftovers,
    /// Whether the container turns [unready](#restart) when this process has ended for good with a
    /// failure. <!-- C170 --> `false` needs `on_exit: ignore`, at least for `failure` and
    /// `signal`. <!-- C624 --> Example: `required: false`
    #[key(default = "true")]
    pub required: bool,
    /// How the container reacts if the process ends unexpectedly and is not
    /// restarted. <!-- C171 --> Example: `on_exit: ignore`
    #[key(form = EachEnd, default = "shutdown", value = OnExit::default())]
    pub on_exit: OnExit,
    /// The signals that drainit passes on to the process. <!-- C172 --> The signals of
    /// `shutdown.signals` are not passed on. <!-- C625 --> Example: `forward_signals: [USR1, HUP]`
    #[key(form = SignalList, default = "none")]
    pub forward_signals: Vec<Signal>,
    /// Commands that run at the start and the end of the process. Example:
    /// `hooks: {pre_start: [/app/migrate]}`
    pub hooks: Hooks,
    /// How the process is drained before it is stopped. Example:
    /// `drain: {envoy: {admin: "http://127.0.0.1:9901"}}`
    // The value is also `None` if the drain's `time` is 0, or if its `only_if` does not hold.
    #[key(form = Either<OnlyConnections, DrainKeys>, default = "none")]
    pub drain: Option<Drain>,
    /// Where the output goes. Example: `log: {prefix: app}`
    #[key(form = LogKeys, default = "inherit", value = Log::default(), merge = Replace)]
    pub log: Log,
}

impl Process {
    pub(crate) fn settle(mut self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self> {
        self.name.clone_from(&reader.process);
        self.drain_off = reader.drain_off.take();
        let problems = &mut *reader.problems;
        match self.kind {
            ProcessKind::Oneshot => {
                for key in ["readiness", "liveness", "drain", "watch", "update"] {
                    if fields.get(key).is_some() {
                        let message = format!("a oneshot cannot have `{key}`: it exits by itself");
                        let problem =
                            problems.error(Rule::ConflictingKeys, fields.key(key), message);
                        problem.help(format!("remove `{key}`, or `type: oneshot`"));
                    }
                }
                self.update = Update::StopFirst;
            }
            ProcessKind::Service if self.timeout.is_some() => {
                let problem = problems.error(
                    Rule::ConflictingKeys,
                    fields.key("timeout"),
                    "only a oneshot has a `timeout`",
                );
                problem.help(
                    "add `type: oneshot`; for a service, `readiness` has a `timeout` and `stop_grace_period` limits the stop",
                );
            }
            ProcessKind::Service => {}
        }
        if self.success_codes.is_empty() {
            let problem = problems.error(
                Rule::InvalidValue,
                fields.value("success_codes"),
                "`success_codes` is empty",
            );
            problem.help("write the exit codes that are not failures, such as `[0, 2]`");
            self.success_codes.push(exit_code::OK);
        }
        let needs_lines = matches!(self.readiness, Some(Readiness { probe: Probe::Log(_), .. }));
        if needs_lines && self.log.mode == LogMode::None {
            let message = "`readiness: {log: …}` needs the output that `mode: none` drops";
            problems
                .error(Rule::ConflictingKeys, fields.key("log"), message)
                .help("remove one of the two");
        }
        let OnExit { failure, signal, .. } = self.on_exit;
        if !self.required && [failure, signal] != [ExitPolicy::Ignore; 2] {
            let why = format!("`{}` may be missing, but its exit stops the container", fields.at);
            let problem = problems.error(Rule::ConflictingKeys, fields.key("required"), why);
            problem.help("set `on_exit: ignore`, or `ignore` for both `failure` and `signal`");
        }
        if let Some(most) = reader.key::<PolicyMax>(fields, "restart").flatten() {
            if self.restart_max.is_some() {
                let message = format!("`restart` already sets the limit to {most}");
                let problem = reader.problems.error(
                    Rule::ConflictingKeys,
                    fields.key("restart_max"),
                    message,
                );
                problem.help("remove one of the two");
            }
            self.restart_max = Some(most);
        }
        let enables =
            |enabled: &str| enabled == "*" || self.profiles.iter().any(|it| it == enabled);
        if !self.profiles.is_empty() && !reader.variables.container().profiles().any(enables) {
            self.only_if = Some(OnlyIf::Never);
        }
        let number = reader.variables.number().map(scale::variable);
        let of_files = std::mem::take(&mut self.env_file);
        let own = std::mem::take(&mut self.environment);
        self.environment =
            number.into_iter().chain(of_files.into_iter().flatten()).chain(own).collect();
        Some(self)
    }
}

/// `on_exit:` has one policy for every kind of end, or a mapping with a policy for each kind.
type EachEnd = Either<ExitPolicy, OnExitKeys>;

/// `on_exit:` by the kind of the end.
#[derive(Table)]
#[table(settle = OnExit)]
struct OnExitKeys {
    /// If a service ended with code 0. <!-- C689 --> A oneshot with code 0 is complete. Example:
    /// `on_exit: {success: ignore}`
    #[key(default = "shutdown")]
    success: ExitPolicy,
    /// If the process ended with a code other than 0, its liveness check failed, or the `timeout`
    /// of a oneshot was over. <!-- C691 --> Example: `on_exit: {failure: failure-shutdown}`
    #[key(default = "shutdown")]
    failure: ExitPolicy,
    /// If a signal ended the process, even one from the OOM killer. <!-- C690 --> Example:
    /// `on_exit: {success: ignore, signal: shutdown}`
    #[key(default = "that of `failure`")]
    signal: Option<ExitPolicy>,
}

impl OnExitKeys {
    #[allow(clippy::unnecessary_wraps, reason = "the derive expects an `Option`")]
    fn settle(self, _: &mut Reader<'_>, _: &Fields<'_>) -> Option<OnExit> {
        let Self { success, failure, signal } = self;
        Some(OnExit { success, failure, signal: signal.unwrap_or(failure) })
    }
}

leaf! {
    /// `restart:`, which is a policy or `on-failure:N`.
    struct Policy => RestartPolicy:
        Shape::Either(&[RestartPolicy::SHAPE, Shape::Pattern("`on-failure:N`", "^on-failure:[0-9]+$")]),
        |text| Ok(policy(text)?.0);
    /// The `N` of `on-failure:N`: how many restarts in a row are allowed.
    struct PolicyMax => Option<u32>: Policy::SHAPE, |text| Ok(policy(text)?.1);
}

fn policy(text: &str) -> Result<(RestartPolicy, Option<u32>), Invalid> {
    match text.split_once(':') {
        Some(("on-failure", most)) => Ok((RestartPolicy::OnFailure, Some(values::number(most)?))),
        _ if text == "unless-stopped" => Err(Invalid::new(
            "not needed here, a process that was stopped by hand stays stopped",
            "write `always`",
        )),
        _ => Ok((RestartPolicy::parse(text)?, None)),
    }
}

impl Process {
    /// A process with this command and the defaults of all other keys.
    pub fn new(name: String, command: Vec<String>) -> Self {
        Self { name, command: command.into(), ..Self::default() }
    }

    /// Whether the config shows that the process accepts connections.
    pub fn shows_listener(&self) -> bool {
        let liveness = self.liveness.as_ref().and_then(Liveness::probe);
        let mut probes = self.readiness.iter().map(|it| &it.probe).chain(liveness);
        let connects = |probe: &Probe| {
            use Probe::{Envoy, Grpc, Http, Tcp, Unix};
            matches!(probe, Unix(_) | Tcp(_) | Http(_) | Grpc(_) | Envoy(_))
        };
        !self.listen.is_empty() || !self.sockets.is_empty() || probes.any(connects)
    }

    /// Whether the condition of the process can never hold in this environment, so that drainit
    /// never starts the process.
    pub fn is_left_out(&self) -> bool {
        self.only_if == Some(OnlyIf::Never)
    }

    /// The drain that comes before the stop of the process. `None` if the config has no drain for the
    /// process, if its drain is off, or if the process never starts.
    pub fn drained(&self) -> Option<&Drain> {
        self.drain.as_ref().filter(|_| !self.is_left_out())
    }

    /// The flags in the command of an Envoy with `update: hot-restart`; `None` for other processes.
    pub fn hot_restart(&self) -> Option<EnvoyFlags> {
        (self.update == Update::HotRestart).then(|| EnvoyFlags::of(&self.command))
    }

    /// Whether a start reads values: limits of the container, or files with variables.
    pub fn has_values_at_start(&self) -> bool {
        self.has_limits() || self.environment.iter().any(|one| one.file().is_some())
    }

    /// Whether the command or a variable uses a limit of the container.
    pub(crate) fn has_limits(&self) -> bool {
        self.command.has_limit() || self.environment.iter().any(Variable::has_limit)
    }

    /// Whether drainit runs commands in the environment of the process after its start: probes, a
    /// drain, or the hooks `pre_stop` and `post_stop`.
    pub fn runs_commands(&self) -> bool {
        let is_drained_by_command =
            self.drain.as_ref().is_some_and(|drain| matches!(drain.method, DrainMethod::Exec(_)));
        is_drained_by_command
            || self.hooks.pre_stop.is_some()
            || self.hooks.post_stop.is_some()
            || self.probes().any(|(_, probe)| matches!(probe, Probe::Exec(_)))
    }

    /// The readiness probe and the liveness probe of the process, each with its key.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, &Probe)> {
        let ready = self.readiness.as_ref().map(|readiness| &readiness.probe);
        let alive = self.liveness.as_ref().and_then(Liveness::probe);
        [("readiness", ready), ("liveness", alive)]
            .into_iter()
            .filter_map(|(key, probe)| Some((key, probe?)))
    }

    /// Whether the process itself reports that it is ready, by `READY=1`.
    pub fn tells_readiness(&self) -> bool {
        matches!(self.readiness, Some(Readiness { probe: Probe::Notify, .. }))
    }

    /// Whether the process itself reports that its drain is over, by `DRAINED=1`.
    pub fn tells_drained(&self) -> bool {
        matches!(self.drain, Some(Drain { method: DrainMethod::Notify(_), .. }))
    }

    /// Whether the process gets a `NOTIFY_SOCKET`, because it reports something over that socket.
    pub fn uses_notify(&self) -> bool {
        let tells_life = matches!(self.liveness, Some(Liveness::Notify(_)));
        self.tells_readiness() || self.tells_drained() || tells_life
    }

    /// Whether drainit itself makes Envoy check its config before each hot restart. drainit does so
    /// if the process has no `pre_start` hook, and if drainit can add a flag to the command.
    pub fn is_validated(&self) -> bool {
        self.hooks.pre_start.is_none() && self.hot_restart().is_some_and(|flags| flags.is_direct)
    }
}

/// `type:` of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
pub enum ProcessKind {
    /// Runs until it is stopped.
    #[default]
    Service,
    /// Must complete with code 0.
    Oneshot,
}

/// `leftovers:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
pub enum Leftovers {
    /// They are ended like the rest of its process group.
    #[default]
    End,
    /// They continue to run.
    Keep,
}

/// `args:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Table)]
#[table(settle = Self)]
pub struct ArgRoute {
    /// An argument with this prefix goes to this process, with `--` in place of the
    /// prefix. <!-- C174 --> The next argument is the option's value and goes to this process, too,
    /// unless it begins with `--` or the prefix of a process. <!-- C626 --> Example:
    /// `prefix: "--rtr."`
    #[key(form = ArgPrefix)]
    pub prefix: Option<String>,
    /// The process also gets every argument that no other process claims. These arguments stay
    /// unchanged. <!-- C679 --> Example: `rest: true`
    #[key(default = "false")]
    pub rest: bool,
    /// Options that the container's arguments may not pass to this process. <!-- C175 --> Example:
    /// `refuse: [socket, listen]`
    #[key(default = "none")]
    pub refuse: Vec<String>,
}

impl ArgRoute {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self> {
        if self.prefix.is_none()
            && !self.rest
            && fields.get("prefix").is_none()
            && !fields.has_unknown
        {
            let problem = reader.problems.error(
                Rule::MissingKey,
                fields.span,
                format!("`{}` has no `prefix`", fields.at),
            );
            problem.help("add the prefix of its arguments, `{prefix: \"--app.\"}`, or `rest: true` for all others");
        }
        Some(self)
    }
}

leaf! {
    struct ArgPrefix => String: Shape::Filled("text"), |text: &str| match text {
        "" => Err(Invalid::new("every argument begins with it", "write a prefix such as `--app.`")),
        _ => Ok(text.to_owned()),
    };
}
