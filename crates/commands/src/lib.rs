//! The command line of drainit. The program itself, `check --pod`, the completions, the manual page
//! and the remedies for misread commands all use this one definition.
//!
//! `exec` has the options of `drainit exec`, and makes a config of them.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "the doc comments are the help of the options")]

pub mod exec;
pub mod rewrite;
pub mod value;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use drainit_config::keys;
pub(crate) use drainit_config::language;
pub(crate) use drainit_core::types;

use crate::exec::ExecArgs;
use crate::keys::HttpTarget;
use crate::keys::values;
use crate::language::diagnostics::rule::Rule;
use crate::types::Signal;

/// The init that drains before it stops.
#[derive(Debug, Parser)]
#[command(name = "drainit", version, propagate_version = true, subcommand_required = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The titles of the groups of commands. The hundreds of a command's `display_order` say to which
/// group the command belongs.
pub const GROUPS: [&str; 4] =
    ["In a container", "To operate a running container", "Before and after a run", "To install it"];

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the processes of a config, supervise them, drain and stop them in order
    #[command(display_order = 100)]
    Run(RunArgs),
    /// Run one command, without a config: forward signals, reap orphans
    #[command(display_order = 101)]
    Exec(Box<ExecArgs>),
    /// Report all errors and warnings of a config
    #[command(display_order = 300)]
    Check(CheckArgs),
    /// Show the start order, and the longest shutdown against the grace period
    #[command(display_order = 301)]
    Plan(PlanArgs),
    /// Drain the running container, without stopping it; only a restart of the container undoes it
    #[command(display_order = 206)]
    Drain(WaitArgs),
    /// Drain the running container and stop it, as SIGTERM does, and wait for its end
    #[command(display_order = 207)]
    Shutdown(WaitArgs),
    /// Check whether the running container is healthy, for an exec probe or a HEALTHCHECK
    #[command(display_order = 208)]
    Health(HealthArgs),
    /// Show the processes of the running container, and the progress of a shutdown
    #[command(display_order = 200)]
    Status(StatusArgs),
    /// Stop processes, their dependents first; they stay down until they are started
    #[command(display_order = 201)]
    Stop(OperateArgs),
    /// Start processes, their dependencies first
    #[command(display_order = 202)]
    Start(OperateArgs),
    /// Restart processes, each as its `update` says
    #[command(display_order = 203)]
    Restart(OperateArgs),
    /// Read the config again, and replace the processes that differ
    ///
    /// The running drainit reads again the files with which it started; `-c` only finds its
    /// socket.
    #[command(display_order = 204)]
    Reload(Whom),
    /// Send a signal to processes
    #[command(display_order = 205)]
    Kill(KillArgs),
    /// Copy this program to a path, for a container whose image does not have it
    #[command(display_order = 400)]
    Install(InstallArgs),
    #[command(flatten)]
    Tool(Tool),
}

/// The commands of crates/advise.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Draft a config from a Procfile or a supervisord.conf
    #[command(display_order = 302)]
    Import(ImportArgs),
    /// Print the JSON Schema of a config, for editors
    #[command(display_order = 401)]
    Schema,
    /// Print a script that completes the command line in a shell
    #[command(display_order = 402)]
    Completions(CompletionsArgs),
    /// Print the manual page
    #[command(display_order = 403)]
    Man,
}

/// Rewrites the forms `kill -9` and `kill -HUP` of kill(1) to `kill -s 9` and `kill -s HUP`.
pub fn with_signal(args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_none_or(|verb| verb != "kill") {
        return args;
    }
    let rewritten = args.into_iter().flat_map(|arg| {
        let name = arg.to_str().and_then(|arg| arg.strip_prefix('-'));
        // Options of drainit have small letters, so `-HPU` is a signal with a typing error.
        let is_signal = |name: &&str| {
            Signal::parse(name).is_some()
                || !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase())
        };
        match name.filter(is_signal).map(str::to_owned) {
            Some(name) => vec![OsString::from("-s"), name.into()],
            None => vec![arg],
        }
    });
    rewritten.collect()
}

/// Parses a command line. Its first word is the name of the program.
///
/// # Errors
/// Says why clap refuses the command line, or prints the help or the version.
pub fn parse(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(with_signal(args))
}

/// The option `-c FILE`.
#[derive(Clone, Debug, Args)]
pub struct ConfigFiles {
    /// Config file, a directory of *.yaml and *.yml files, or - for stdin; may be repeated, a later one overlays
    /// the earlier [default: $DRAINIT_CONFIG, then /etc/drainit.yaml, then ./drainit.yaml]
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Vec<PathBuf>,
}

/// The options with which drainit's own commands find the running supervisor.
#[derive(Debug, Args)]
pub struct Whom {
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The control socket of drainit: a path, or @NAME [default: the socket in the config, else the
    /// private socket of a drainit that runs here]
    #[arg(long, value_name = "SOCKET")]
    pub socket: Option<PathBuf>,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The container's arguments, for the processes that claim them by `args.prefix`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub files: ConfigFiles,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
    /// Check the config against a manifest too: a Pod, Deployment, StatefulSet, DaemonSet,
    /// ReplicaSet, Job or CronJob; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub pod: Option<PathBuf>,
    /// Whether this is the image that the config is written for; if so, the files that the config
    /// names must exist [default: true if PID 1 is drainit, or the config has its default path in a
    /// container]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub image: Option<bool>,
    /// Name of the container that runs drainit [default: each container whose command names
    /// drainit, else the only container]
    #[arg(long, value_name = "NAME", requires = "pod")]
    pub container: Option<String>,
    /// A variable of the container, such as one of the image's ENV; for NAME alone, the value comes
    /// from the environment of this command. May be repeated
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// A file with variables of the container, written like an `env_file`; `--env` overrides it. May be repeated
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Output format
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t)]
    pub format: CheckFormat,
    /// Explain what a finding means, why it matters, and how to mend it; the id of a finding stands
    /// below its help
    #[arg(long, value_name = "ID", exclusive = true, value_parser = rule)]
    pub explain: Option<Rule>,
}

/// The rule with this id.
fn rule(id: &str) -> Result<Rule, String> {
    Rule::parse(id).map_err(|similar| match similar {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => "docs/findings.md lists all ids".to_owned(),
    })
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For a terminal
    #[default]
    Text,
    /// For programs
    Json,
    /// SARIF 2.1.0, which GitHub and editors show at the line
    Sarif,
}

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub whom: Whom,
    /// Show what `drainit reload` would change in the running container. The running drainit reads
    /// again the files with which it started; `-c` only finds its socket
    #[arg(long)]
    pub reload: bool,
    /// Output format
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t)]
    pub format: PlanFormat,
    /// Short for `--format json`
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum PlanFormat {
    /// For a terminal
    #[default]
    Text,
    /// For programs
    Json,
    /// A chart that GitHub, GitLab and many wikis draw
    Mermaid,
}

/// Options of `drain` and `shutdown`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    pub whom: Whom,
    /// Return when the drain or the shutdown has begun
    #[arg(long)]
    pub no_wait: bool,
    /// Return when it is over, as without this option
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
}

/// Options of `health`.
#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is 0 if drainit is healthy, 1 if it is not or does not answer in time, 2 for a wrong command \
        line, 78 for a wrong config or one without a control address."
)]
pub struct HealthArgs {
    #[command(flatten)]
    pub whom: Whom,
    /// Ask whether drainit runs (/livez), not whether all processes are ready (/readyz)
    #[arg(long)]
    pub live: bool,
    /// Address of drainit: http://127.0.0.1:9902 or unix:/path. With a path in the URL, ask any
    /// server for that path instead
    #[arg(long, value_name = "URL", value_parser = values::http, conflicts_with = "socket")]
    pub url: Option<HttpTarget>,
    /// Time limit for each answer
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration, default_value = "1s")]
    pub timeout: Duration,
    /// Repeat until the answer is good, for at most this time
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub wait: Option<Duration>,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub whom: Whom,
    /// Show the status again every second until drainit has ended
    #[arg(short, long)]
    pub watch: bool,
    /// A table, one JSON object, or the names of the processes
    #[arg(short = 'o', long, alias = "output", value_name = "FORMAT", default_value = "text")]
    pub format: StatusFormat,
    /// Short for `--format json`
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// The processes to show; `app-*` means all whose names begin with `app-` [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    Text,
    Json,
    Name,
}

/// Options of `stop`, `start` and `restart`.
#[derive(Debug, Args)]
pub struct OperateArgs {
    #[command(flatten)]
    pub whom: Whom,
    /// The processes; `app-*` means all whose names begin with `app-`
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// Options of `kill`.
#[derive(Debug, Args)]
#[command(
    after_help = "The signal goes to the process, not to its children. If the process ends, its `restart` and `on_exit` decide what happens; \
        `drainit stop` stops a process."
)]
pub struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", value_parser = values::signal, default_value = "KILL")]
    pub signal: Signal,
    #[command(flatten)]
    pub operate: OperateArgs,
}

/// Options of `install`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// The file to write, or the directory for the file `drainit`
    pub path: PathBuf,
    /// Replace a file with another content
    #[arg(long)]
    pub force: bool,
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A Procfile or a supervisord.conf; several become one config. `-` reads standard input, and
    /// needs --format
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Format of the files [default: known by their names]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// The format of the file, for `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Foreman, Heroku and others
    Procfile,
    /// supervisord
    Supervisord,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that will read the script
    pub shell: Shell,
}

/// The shells that people use in containers and at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}
