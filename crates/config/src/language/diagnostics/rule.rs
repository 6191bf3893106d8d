//! The rules of `drainit check`: each error, warning and note has the id of a rule. From this table
//! come `check --explain`, the rules of SARIF, and docs/findings.md.

use crate::language::diagnostics::severity::Severity;
use crate::types::suggest::nearest;

macro_rules! rules {
    ($($name:ident = $id:literal [$($level:ident),+] { what: $what:literal, why: $why:literal, mend: $mend:literal, })+) => {
        /// The rule that a finding breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $what] $name,)+
        }

        impl Rule {
            /// All rules, in the order of the page.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The text of the rule.
            pub fn text(self) -> &'static RuleText {
                match self {
                    $(Self::$name => &RuleText {
                        id: $id,
                        levels: &[$(Severity::$level),+],
                        what: $what,
                        why: $why,
                        mend: $mend,
                    },)+
                }
            }
        }
    };
}

/// The explanation of a rule. Each text is one or more sentences.
#[derive(Debug)]
pub struct RuleText {
    /// The name in comments, in JSON and in SARIF. It never changes.
    pub id: &'static str,
    /// The severities that a finding of this rule can have.
    pub levels: &'static [Severity],
    /// The fault.
    pub what: &'static str,
    /// The harm that the fault does.
    pub why: &'static str,
    /// The remedy.
    pub mend: &'static str,
}

impl Rule {
    pub fn id(self) -> &'static str {
        self.text().id
    }

    /// The rule with this id.
    ///
    /// # Errors
    /// Returns the most similar id, if there is one.
    pub fn parse(id: &str) -> Result<Self, Option<&'static str>> {
        let known = Self::ALL.iter().copied().find(|rule| rule.id() == id);
        known.ok_or_else(|| nearest(id, Self::ALL.iter().map(|rule| rule.id())))
    }

    /// Whether a comment can silence findings of this rule. Errors always count, and so do the
    /// findings about such comments.
    pub fn can_be_allowed(self) -> bool {
        let is_always_shown = matches!(
            self,
            Self::UnusedAllow
                | Self::UnknownAllow
                | Self::AllowWithoutReason
                | Self::FurtherFindings
        );
        !is_always_shown && self.text().levels.iter().any(|level| *level != Severity::Error)
    }

    /// Whether only a search of the image finds faults of this rule.
    pub fn is_of_image(self) -> bool {
        matches!(
            self,
            Self::ImageProgram
                | Self::ImagePath
                | Self::ImageUser
                | Self::EnvoyAdmin
                | Self::EnvoyLongRequest
                | Self::EnvoyTcpProxy
        )
    }

    /// Whether this is a verdict of the audit of workloads without a config.
    pub fn is_of_audit(self) -> bool {
        matches!(self, Self::LosesRequests | Self::UnknownLoss | Self::CutManifest)
    }

    /// The explanation for a terminal.
    pub fn explanation(self) -> String {
        let RuleText { id, what, why, mend, .. } = self.text();
        let levels = self.levels();
        let allow = match self.can_be_allowed() {
            true => format!(
                "\nIf it is meant, write at its line or above the process:\n  # drainit: allow {id}: REASON\n"
            ),
            false => String::new(),
        };
        format!("{id} ({levels})\n\n{what}\n\nWhy: {why}\n\nTo mend it: {mend}\n{allow}")
    }

    /// The severities in words, such as `warning or note`.
    pub fn levels(self) -> String {
        let levels: Vec<_> = self.text().levels.iter().map(|level| level.name()).collect();
        levels.join(" or ")
    }
}

rules! {
    UnreadableFile = "unreadable-file" [Error] {
        what: "A file cannot be read, is not text, or is too large.",
        why: "drainit starts only with complete files: a part of a config may leave out a process or a drain.",
        mend: "Correct the path or its permissions. A relative path starts at the working directory; in a config, it starts at the directory of the config.",
    }
    SyntaxError = "syntax-error" [Error] {
        what: "The file is not the YAML that was meant: a wrong indent, an open quote, a typographic quote, or a tag or an alias without meaning.",
        why: "A guess at the meaning could start something else.",
        mend: "Correct the place that the message names. `drainit schema` gives an editor what it needs to show such errors while you type.",
    }
    DuplicateKey = "duplicate-key" [Error] {
        what: "A mapping has the same key twice.",
        why: "Most YAML libraries silently keep the last one, so a part of the file would be lost.",
        mend: "Remove one of the two.",
    }
    TooLarge = "too-large" [Error] {
        what: "The file has too many values, levels or processes, or one text that is too long.",
        why: "PID 1 must not run out of memory because of a file.",
        mend: "Check whether this is the right file, or split the processes over several containers.",
    }
    ForeignFile = "foreign-file" [Error] {
        what: "The file belongs to another program, such as Compose, supervisord or a Procfile.",
        why: "The keys of other programs mean other things.",
        mend: "Let `drainit import FILE` draft a config from it.",
    }
    EmptyConfig = "empty-config" [Error] {
        what: "There is no config, or no process in it.",
        why: "drainit would have nothing to start.",
        mend: "Add a process: `processes: {NAME: {command: [PROGRAM, ARGUMENT]}}`.",
    }
    UnknownKey = "unknown-key" [Error] {
        what: "drainit does not know a key.",
        why: "A misspelt key would have no effect, for example a drain that never happens.",
        mend: "Correct the name, or begin it with `x-` if it is only for you.",
    }
    WrongType = "wrong-type" [Error] {
        what: "A value is a mapping, a list or a single value where another of these is expected.",
        why: "drainit does not guess how such a value is meant.",
        mend: "Write the value in the form that the message names.",
    }
    InvalidValue = "invalid-value" [Error] {
        what: "A value is not one of those that the key accepts.",
        why: "drainit refuses such a value before it starts anything.",
        mend: "Write a value that the message names. If a variable has the value, correct the variable.",
    }
    MissingKey = "missing-key" [Error] {
        what: "A key is missing without which its neighbours have no meaning.",
        why: "drainit has no default for it.",
        mend: "Add the key that the message names.",
    }
    ConflictingKeys = "conflicting-keys" [Error] {
        what: "Two keys contradict each other, or a key does not suit the type of its process.",
        why: "drainit would have to ignore one of them.",
        mend: "Keep one of them.",
    }
    InvalidName = "invalid-name" [Error] {
        what: "A process or a variable cannot have its name.",
        why: "Names stand in log lines, in commands and in the environment.",
        mend: "Write a name that the message permits.",
    }
    UnknownProcess = "unknown-process" [Error] {
        what: "A `depends_on` names a process that does not exist.",
        why: "The process would wait for ever.",
        mend: "Correct the name, or add the process.",
    }
    DependencyCycle = "dependency-cycle" [Error] {
        what: "Processes depend on each other in a circle, or a process depends on itself.",
        why: "Neither could start first.",
        mend: "Remove one of the dependencies.",
    }
    DependencyNeverMet = "dependency-never-met" [Error] {
        what: "A process waits for something that does not happen by itself: the completion of a service, or a process with `autostart: false`.",
        why: "The process would wait for ever.",
        mend: "Wait for `ready`, or start both in the same way.",
    }
    MinDoesNotFit = "min-does-not-fit" [Error] {
        what: "A `min` is longer than the shutdown allows.",
        why: "drainit keeps each `min` that is written, because requests still arrive until then. This one cannot be kept.",
        mend: "Make `min` shorter, or `shutdown.grace_period` (and the pod's) longer.",
    }
    SignalTaken = "signal-taken" [Error] {
        what: "`reload_signal` is a signal that also stops the container, or that a process gets.",
        why: "One signal would mean two things.",
        mend: "Use another signal, such as `HUP`.",
    }
    SharedClaim = "shared-claim" [Error, Warning] {
        what: "Two processes claim the same address, socket, file, admin or prefix of arguments.",
        why: "One of them would fail, or take what belongs to the other.",
        mend: "Give each its own. Copies of `scale` differ by `${SCALE_INDEX}`.",
    }
    SharedProbe = "shared-probe" [Error, Warning] {
        what: "Another process, an old instance or drainit itself can answer a readiness probe.",
        why: "The process counts as ready before it is.",
        mend: "Probe what only this process can answer, for example by `notify` or `log`.",
    }
    UnexpandedVariable = "unexpanded-variable" [Error, Warning] {
        what: "A command without a shell has `$NAME`.",
        why: "No shell replaces it, so the program gets the dollar sign.",
        mend: "Write `${NAME}`, which drainit replaces, or `$$NAME` if the text is meant.",
    }
    KeyWithoutEffect = "key-without-effect" [Error, Warning] {
        what: "A key or an option has no effect here.",
        why: "Whoever wrote it expects an effect.",
        mend: "Remove it, or add what it belongs to.",
    }
    HotRestartFlags = "hot-restart-flags" [Error] {
        what: "An Envoy with hot restarts has flags that do not suit them.",
        why: "The next epoch could not start, or would end the old one at once.",
        mend: "Write the flags that the message names.",
    }
    HotRestartTime = "hot-restart-time" [Warning] {
        what: "An old epoch of Envoy lives too long, or too short for its connections.",
        why: "Connections are cut, or nothing else can replace the process for a long time.",
        mend: "Change `--parent-shutdown-time-s` or `--drain-time-s` as the message says.",
    }
    ImageProgram = "image-program" [Error, Warning] {
        what: "A program cannot run in the image, or not as its user.",
        why: "The process, hook, probe or drain would fail when it is needed.",
        mend: "Add the program to the image, correct the command, or check with `--image=false` outside the image.",
    }
    ImagePath = "image-path" [Error, Warning] {
        what: "A file or a directory that the config names is missing in the image, has the wrong type, or cannot be used.",
        why: "The start would fail.",
        mend: "Correct the image or the config, or check with the volumes of the container.",
    }
    ImageUser = "image-user" [Error, Warning] {
        what: "A `user` does not exist in the image, or drainit cannot become this user.",
        why: "The start would fail.",
        mend: "Add the user to the image, write numbers, or let drainit run as root.",
    }
    EnvoyAdmin = "envoy-admin" [Error, Warning] {
        what: "Envoy's own config has another admin address than the drain.",
        why: "The drain would ask nobody.",
        mend: "Write the same address in both.",
    }
    EnvoyLongRequest = "envoy-long-request" [Warning] {
        what: "Envoy allows a request to take longer than the drain.",
        why: "The drain cuts such a request.",
        mend: "Make the drain longer, or the limit in Envoy's config shorter.",
    }
    EnvoyTcpProxy = "envoy-tcp-proxy" [Warning] {
        what: "A drain with `until: requests` does not wait for the connections of a TCP proxy.",
        why: "The drain cuts these connections.",
        mend: "Remove `until`, or name the listener in `ignore_listeners`.",
    }
    EmptyKey = "empty-key" [Warning] {
        what: "A key has no value, and counts as absent.",
        why: "The value was perhaps lost, for example by a wrong indent of the next line.",
        mend: "Write the value, or remove the key.",
    }
    UnsetVariable = "unset-variable" [Warning] {
        what: "A variable is not set, and becomes empty.",
        why: "The container may lack a variable that it needs.",
        mend: "Set the variable, write `${NAME:-DEFAULT}`, or `${NAME:?MESSAGE}` if there must be a value.",
    }
    OneWordCommand = "one-word-command" [Error, Warning] {
        what: "A command has the program and its arguments in one word.",
        why: "No program has this name.",
        mend: "Write `[PROGRAM, ARGUMENT, …]`.",
    }
    ResetWithoutEffect = "reset-without-effect" [Warning] {
        what: "`!reset` has nothing to remove.",
        why: "The key has perhaps another name in the earlier file.",
        mend: "Correct the name, or remove the line.",
    }
    UnknownProfile = "unknown-profile" [Warning] {
        what: "`DRAINIT_PROFILES` names a profile that no process has.",
        why: "The processes that were meant do not start.",
        mend: "Correct the name.",
    }
    NothingStarts = "nothing-starts" [Warning] {
        what: "No process starts by itself.",
        why: "drainit ends at once, or waits for requests only.",
        mend: "Set one `scale` to 1 or more, or remove an `autostart: false`.",
    }
    MinCut = "min-cut" [Warning] {
        what: "A `min` is cut, because `time` or the shutdown is shorter.",
        why: "Requests that arrive while the pod is being removed may fail.",
        mend: "Write a longer `time` or `shutdown.grace_period`, or a shorter `min`.",
    }
    WaitsDoNotFit = "waits-do-not-fit" [Warning] {
        what: "The declared waits do not fit into the shutdown, or a drain is longer than it may last.",
        why: "drainit cuts some of them short.",
        mend: "Shorten one of them, or make `shutdown.grace_period` (and the pod's) longer. `drainit plan` shows which are cut.",
    }
    StopSqueezed = "stop-squeezed" [Warning] {
        what: "A stop gets less time because a later stop keeps its own.",
        why: "The process may be killed before it has ended.",
        mend: "Write its `stop_grace_period`, shorten that of the dependency, or make `shutdown.grace_period` (and the pod's) longer.",
    }
    TimeBeyondWindow = "time-beyond-window" [Note] {
        what: "A drain has a `time` that is longer than the shutdown.",
        why: "The drain gets only what the deadline leaves.",
        mend: "Remove `time` if that is meant, otherwise make `shutdown.grace_period` (and the pod's) longer.",
    }
    DrainWithoutOrder = "drain-without-order" [Warning, Note] {
        what: "A process is drained, but may lose what it needs during the drain, because its `depends_on` does not name it.",
        why: "The last requests fail if what they need has already stopped.",
        mend: "Name what the last requests need in `depends_on`, or write `depends_on: []`.",
    }
    DrainCountsNothing = "drain-counts-nothing" [Warning] {
        what: "A drain counts TCP connections of a process that has only Unix sockets.",
        why: "The drain sees no connection, and ends too early.",
        mend: "Drain the server in front of it, or write `ports`.",
    }
    DrainEndsAtOnce = "drain-ends-at-once" [Warning] {
        what: "The first successful answer to the request of a drain ends the drain.",
        why: "The program may still have requests in flight.",
        mend: "Write `until` with the status that the process answers once it is drained, or `until: 200` if its answer is the end.",
    }
    DrainOff = "drain-off" [Warning, Note] {
        what: "A drain is written, but turned off by its `time` or its `only_if`.",
        why: "The process is stopped like one without a drain, and cuts its requests.",
        mend: "Set the variable that turns it off. If no drain is wanted, write `time: 0` in the file.",
    }
    UpdateWithoutReadiness = "update-without-readiness" [Warning] {
        what: "`update: start-first` has no readiness that tells when the new instance works.",
        why: "The old instance ends even if the new one does not work.",
        mend: "Add a `readiness` by `notify` or `log`.",
    }
    JobsLeftBehind = "jobs-left-behind" [Warning, Note] {
        what: "A worker ends before its queue is empty, and the queue is in the same container.",
        why: "The jobs in the queue end with the container.",
        mend: "Let the worker stop after the servers, and wait for the empty queue, as the message says.",
    }
    WorkOfItsOwn = "work-of-its-own" [Note] {
        what: "A process may fetch its own work, and stops beside a drain.",
        why: "The work that it fetches during the drain may be lost.",
        mend: "Let it stop first, or name it in the `depends_on` of the process that is drained.",
    }
    UnsuitableStop = "unsuitable-stop" [Warning, Note] {
        what: "A known program ends better by another stop signal or with other settings.",
        why: "At its present stop signal it loses requests, jobs or data.",
        mend: "Write the `stop_signal` or the setting that the message names.",
    }
    StopOutlastsLimit = "stop-outlasts-limit" [Note] {
        what: "A known program may run longer than the limit of its stop.",
        why: "drainit then sends the next signal, or SIGKILL.",
        mend: "Let the program's own time end before the limit, or make the limit longer.",
    }
    OwnLimit = "own-limit" [Note] {
        what: "A known server cuts its requests by itself, before drainit ends it.",
        why: "A longer request is lost, although there is time for it.",
        mend: "Set the server's own limit, or write `drain: connections`, which waits for requests before the stop signal.",
    }
    ShellKeepsSignals = "shell-keeps-signals" [Error, Warning] {
        what: "A shell stays as the parent of a program.",
        why: "The shell gets the signals and does not pass them on, so the program is killed at the end.",
        mend: "Write `exec` before the command, or leave the shell out.",
    }
    UndrainedServer = "undrained-server" [Warning, Note] {
        what: "A server is stopped before every client knows that the pod leaves.",
        why: "Requests that arrive before the pod's endpoint is removed fail.",
        mend: "Write `drain: connections` for the server, or `shutdown: {readiness_delay: 5s}` for all of them.",
    }
    NoDelay = "no-delay" [Note] {
        what: "`readiness_delay: 0s` silences `undrained-server` for all servers.",
        why: "A server that is stopped at once loses requests, unless it drains itself or nobody sends any from outside.",
        mend: "Remove the key if requests arrive from outside, and the servers do not drain themselves.",
    }
    ZeroShare = "zero-share" [Warning] {
        what: "`${stop_seconds}` is 0.",
        why: "The program may read 0 as no limit, or as no time at all.",
        mend: "Raise `shutdown.grace_period`, or use `${stop_ms}`.",
    }
    WrongInstall = "wrong-install" [Error] {
        what: "A container uses a drainit that nothing has installed where it looks.",
        why: "The container cannot start.",
        mend: "Let the path of the installation, the mount and the command agree.",
    }
    NeverEnds = "never-ends" [Error, Warning] {
        what: "A container never ends, although others wait for its end.",
        why: "A Job is never complete, or no further container of the pod starts.",
        mend: "Make it a sidecar with `restartPolicy: Always`, or end it by `drainit shutdown`.",
    }
    RefusedCommand = "refused-command" [Error] {
        what: "A hook or probe calls drainit with arguments that drainit refuses.",
        why: "The hook or probe always fails.",
        mend: "Write `[drainit, drain]` or `[drainit, health]`.",
    }
    ProbeDrains = "probe-drains" [Error] {
        what: "A probe or a `postStart` hook drains.",
        why: "The pod is drained when it has just started, and nothing undoes a drain.",
        mend: "Move `drainit drain` to `preStop`.",
    }
    NoControlSocket = "no-control-socket" [Error] {
        what: "A command of drainit does not find the drainit that it should ask.",
        why: "The hook or probe always fails.",
        mend: "Write `control: {socket: PATH}`, or let it ask the program itself.",
    }
    NotDrainit = "not-drainit" [Error, Warning] {
        what: "The command of a container does not run drainit, or not a subcommand that runs processes.",
        why: "The config has no effect.",
        mend: "Write `command: [drainit, run, --]`, or `[drainit, exec, --, PROGRAM]`.",
    }
    RefusedArguments = "refused-arguments" [Error] {
        what: "drainit would not accept its arguments or variables.",
        why: "The container would not start.",
        mend: "Correct them in the manifest, or `args` of the process in the config.",
    }
    UnknownVariable = "unknown-variable" [Warning] {
        what: "drainit reads no variable of this name.",
        why: "A misspelt variable has no effect.",
        mend: "Correct the name, or one that does not begin with `DRAINIT_`.",
    }
    UnknownValue = "unknown-value" [Warning] {
        what: "The manifest does not show the value of a variable that the config uses.",
        why: "`check` counts the variable as unset, which the container may not do.",
        mend: "Give the value for the check: `--env NAME=VALUE`.",
    }
    Template = "template" [Note] {
        what: "The manifest may be a template that was not rendered.",
        why: "`check` cannot read templates.",
        mend: "Render it first: `helm template CHART | drainit check --pod -`.",
    }
    NoWorkload = "no-workload" [Error] {
        what: "The manifest has no workload.",
        why: "There is nothing to check.",
        mend: "Name the manifest of a Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob.",
    }
    UnknownContainer = "unknown-container" [Error] {
        what: "`check` does not know which container runs drainit.",
        why: "The containers of a pod have different limits.",
        mend: "Name the container: `--container NAME`.",
    }
    NoReadinessProbe = "no-readiness-probe" [Warning] {
        what: "A container has no readiness probe.",
        why: "The pod gets requests before its processes are ready, so requests fail in each rollout.",
        mend: "Add a `readinessProbe`, for example with `[drainit, health]`.",
    }
    ProbeNeverSucceeds = "probe-never-succeeds" [Error, Warning] {
        what: "A probe asks where nobody answers as it expects.",
        why: "The pod never becomes ready, or is restarted for ever.",
        mend: "Write the address, path or port that the message names.",
    }
    ProbeKills = "probe-kills" [Error, Warning] {
        what: "The kubelet kills a container because of a probe, although the container starts or drains as it should.",
        why: "Requests in flight are cut.",
        mend: "Let a liveness probe ask for `/livez`, and give a startup probe enough time.",
    }
    SlowProbe = "slow-probe" [Warning] {
        what: "A readiness probe fails only after a short drain is over.",
        why: "Requests still arrive when the processes stop.",
        mend: "Set `periodSeconds: 1` and `failureThreshold: 1`.",
    }
    ProbeBlindToDrain = "probe-blind-to-drain" [Warning] {
        what: "A readiness probe succeeds until the end.",
        why: "Load balancers that ask this probe send requests until the processes stop.",
        mend: "Probe with `/readyz` of drainit.",
    }
    SidecarStart = "sidecar-start" [Warning] {
        what: "The application starts before its sidecar is ready.",
        why: "Its first requests fail.",
        mend: "Add a `startupProbe` that asks for readiness.",
    }
    AppEndsFirst = "app-ends-first" [Warning] {
        what: "The application ends while its sidecar still drains.",
        why: "The sidecar sends it requests that nobody answers.",
        mend: "Give the application a `preStop` hook that lasts as long as the drain.",
    }
    SidecarStop = "sidecar-stop" [Warning] {
        what: "A sidecar begins its drain only after the main containers have ended.",
        why: "Requests still arrive until then, and `grace_period` counts too late.",
        mend: "Add a `preStop` hook with `[drainit, drain]`.",
    }
    StopSignalIgnored = "stop-signal-ignored" [Error, Warning] {
        what: "The stop signal of the container does not stop drainit.",
        why: "The kubelet kills everything at the end of the grace period.",
        mend: "Write one of the config's `shutdown.signals` as `lifecycle.stopSignal`.",
    }
    UnknownHookTime = "unknown-hook-time" [Warning] {
        what: "The grace period includes a `preStop` hook of unknown length.",
        why: "drainit may have less time than it plans with.",
        mend: "Remove the hook, or add its time to `shutdown.reserve`.",
    }
    GracePeriodTooShort = "grace-period-too-short" [Error] {
        what: "The shutdown takes longer than the kubelet allows.",
        why: "The kubelet kills the container in the drain.",
        mend: "Raise `terminationGracePeriodSeconds`, or shorten the waits of the config.",
    }
    GracePeriodMismatch = "grace-period-mismatch" [Warning] {
        what: "The config and the pod have different grace periods.",
        why: "drainit ends too early, or is killed.",
        mend: "Write the same time in both, for example by a variable.",
    }
    LocalTrafficPolicy = "local-traffic-policy" [Warning] {
        what: "A Service with the traffic policy `Local` selects the pod.",
        why: "Clients or load balancers still send requests to a node whose only pod is not ready.",
        mend: "Set `shutdown.unready_delay`.",
    }
    DrainWithoutDirection = "drain-without-direction" [Warning] {
        what: "The drain of a sidecar closes the listeners for the application's own requests, too.",
        why: "The application is cut off before it ends.",
        mend: "Set `direction` in `drain.envoy`.",
    }
    ReadOnlyPath = "read-only-path" [Error] {
        what: "drainit cannot make a socket, because the container can only read there.",
        why: "The start would fail.",
        mend: "Mount an `emptyDir` at the directory.",
    }
    LosesRequests = "loses-requests" [Warning] {
        what: "A rollout of this workload loses requests.",
        why: "The message says at which step.",
        mend: "Do what the remedy says: a `preStop` hook, a stop signal, a readiness probe, a strategy, or drainit.",
    }
    UnknownLoss = "unknown-loss" [Note] {
        what: "The manifest does not show whether a rollout of this workload loses requests.",
        why: "The program, its hook or its strategy is not known.",
        mend: "Write what the remedy asks for, or count the failed requests of a rollout under load.",
    }
    CutManifest = "cut-manifest" [Error] {
        what: "A part of a manifest lacks a key that it always has.",
        why: "The file is probably cut, and lacks workloads.",
        mend: "Write the manifest again.",
    }
    UnusedAllow = "unused-allow" [Warning] {
        what: "A comment `# drainit: allow` silences nothing.",
        why: "It may silence a later finding that nobody has judged.",
        mend: "Remove it, or move it to the line of the finding or above its process.",
    }
    UnknownAllow = "unknown-allow" [Warning] {
        what: "A comment `# drainit: allow` has no id, or an id that cannot be allowed.",
        why: "It has no effect. Errors cannot be allowed.",
        mend: "Write `# drainit: allow ID: REASON` with an id of this page.",
    }
    AllowWithoutReason = "allow-without-reason" [Warning] {
        what: "A comment `# drainit: allow` has no reason.",
        why: "Nobody knows later whether the finding may still be silent.",
        mend: "Write the reason behind the id: `# drainit: allow ID: REASON`.",
    }
    ImportRefused = "import-refused" [Error] {
        what: "`drainit import` cannot read the file.",
        why: "A config drafted from a part of a file would lack processes.",
        mend: "Correct the place that the message names.",
    }
    FurtherFindings = "further-findings" [Error, Warning] {
        what: "There are more findings than are shown.",
        why: "More of them would not help to correct the file.",
        mend: "Mend those that are shown, and check again.",
    }
}
