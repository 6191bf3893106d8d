//! The command line: one file for each command.

mod ask;
mod changes;
pub mod check;
pub mod config_files;
pub mod control_address;
pub mod drain;
pub mod exec;
pub mod health;
pub mod install;
mod misread;
pub mod operate;
pub mod plan;
pub mod reload;
pub mod run;
pub mod shutdown;
pub mod status;
mod tools;
mod width;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::tools::Tool;
use crate::compat;
use crate::language::written::as_written;
use crate::logging::colour;
use crate::os::on_thread::wait_for;
use crate::os::signal::mask;
use crate::os::sys;
use crate::types::{Stream, exit_code, harmless};

/// The time limit for parsing the command line.
const LONGEST_PARSE: Duration = Duration::from_secs(10);

/// The init that drains before it stops.
#[derive(Debug, Parser)]
#[command(name = "drainit", version, propagate_version = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the processes of a config, supervise them, drain and stop them in order
    Run(crate::cli::run::RunArgs),
    /// Run one command, without a config: forward signals, reap orphans
    Exec(Box<crate::cli::exec::ExecArgs>),
    /// Report all errors and warnings of a config
    Check(crate::cli::check::CheckArgs),
    /// Show the start order, and the longest shutdown against the grace period
    Plan(crate::cli::plan::PlanArgs),
    /// Drain the running container, without stopping it; only a restart of the container undoes it
    Drain(crate::cli::drain::DrainArgs),
    /// Drain the running container and stop it, as SIGTERM does, and wait for its end
    Shutdown(crate::cli::shutdown::ShutdownArgs),
    /// Check whether the running container is healthy, for an exec probe or a HEALTHCHECK
    Health(crate::cli::health::HealthArgs),
    /// Show the processes of the running container, and the progress of a shutdown
    Status(crate::cli::status::StatusArgs),
    /// Stop processes, their dependents first; they stay down until they are started
    Stop(crate::cli::operate::OperateArgs),
    /// Start processes, their dependencies first
    Start(crate::cli::operate::OperateArgs),
    /// Restart processes, each as its `update` says
    Restart(crate::cli::operate::OperateArgs),
    /// Read the config again, and replace the processes that differ
    ///
    /// The running drainit reads again the files with which it started; `-c` only finds its
    /// socket.
    Reload(crate::cli::control_address::Whom),
    /// Send a signal to processes
    Kill(crate::cli::operate::KillArgs),
    /// Copy this program to a path, for a container whose image does not have it
    Install(crate::cli::install::InstallArgs),
    #[command(flatten)]
    Tool(Tool),
}

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    // Signals are blocked first, because a stop signal may arrive right after the exec of drainit.
    mask::hold();
    let args: Vec<_> = std::env::args_os().collect();
    let code = compat::run(&args).or_else(|| crate::cli::exec::exec_plainly(&args));
    ExitCode::from(code.unwrap_or_else(|| carry_out(misread::with_signal(args))))
}

/// Parses the command line on a thread of its own. The parser needs 70 KiB of stack, which the main
/// thread would keep as long as the container runs.
fn parsed(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let own = args.clone();
    let parsed = wait_for(LONGEST_PARSE, move || Ok(Cli::try_parse_from(own)));
    // When a process starts its first thread, the C library unblocks the signals that the library
    // reserves. drainit blocks these signals again.
    mask::hold();
    parsed.unwrap_or_else(|_| Cli::try_parse_from(args))
}

fn carry_out(args: Vec<OsString>) -> u8 {
    let verb = args.get(1).and_then(|verb| verb.to_str()).unwrap_or_default().to_owned();
    let words = args.len();
    let command = match parsed(args) {
        Ok(cli) => cli.command,
        Err(error) => {
            mask::release();
            let drainit = Cli::command();
            if let Some(unknown) = misread::unknown_command(&error, &drainit) {
                return fail(&unknown, exit_code::USAGE);
            }
            let is_of_all = !error.use_stderr()
                || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            let is_of_all = is_of_all && error.kind() != ErrorKind::DisplayVersion;
            match is_of_all
                && !drainit.get_subcommands().any(|one| one.get_name() == verb)
                && words < 3
            {
                true => print_help(&grouped(&drainit), error.use_stderr()),
                false => print_help(&error.render().to_string(), error.use_stderr()),
            }
            let remedy = misread::remedy_for(&error, &drainit, &verb);
            if let Some(remedy) = &remedy {
                say(&format!("[drainit] {}\n", harmless(remedy)));
            }
            // If there is a remedy, even a printed help is an error, because drainit should have
            // started the container in place of printing the help.
            let is_wrong = error.use_stderr() || remedy.is_some();
            return if is_wrong { exit_code::USAGE } else { exit_code::OK };
        }
    };
    if !matches!(command, Command::Run(_) | Command::Exec(_)) {
        mask::release();
    }
    match command {
        Command::Run(args) => crate::cli::run::run(args),
        Command::Exec(args) => crate::cli::exec::exec(*args),
        Command::Check(args) => crate::cli::check::check(&args),
        Command::Plan(args) => crate::cli::plan::plan(&args),
        Command::Drain(args) => crate::cli::drain::drain(&args),
        Command::Shutdown(args) => crate::cli::shutdown::shutdown(&args),
        Command::Health(args) => crate::cli::health::health(&args),
        Command::Status(args) => crate::cli::status::status(args),
        Command::Stop(args) => crate::cli::operate::operate("stop", &args),
        Command::Start(args) => crate::cli::operate::operate("start", &args),
        Command::Restart(args) => crate::cli::operate::operate("restart", &args),
        Command::Reload(args) => crate::cli::reload::reload(&args),
        Command::Kill(args) => crate::cli::operate::kill(&args),
        Command::Install(args) => crate::cli::install::install(&args),
        Command::Tool(tool) => tools::run(tool),
    }
}

/// The subcommands, grouped by their purpose.
const GROUPS: [(&str, &[&str]); 4] = [
    ("In a container", &["run", "exec"]),
    (
        "To operate a running container",
        &["status", "stop", "start", "restart", "reload", "kill", "drain", "shutdown", "health"],
    ),
    ("Before and after a run", &["check", "plan", "import"]),
    ("To install it", &["install", "schema", "completions", "man", "help"]),
];
const EXAMPLES: &str = "\
Examples:
  drainit check -c drainit.yaml --pod pod.yaml
  drainit run -c drainit.yaml
  docker exec CONTAINER drainit status
  kubectl exec POD -- drainit restart web
";

/// The help of the program, with the subcommands in groups.
fn grouped(drainit: &clap::Command) -> String {
    let about = drainit.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("{about}\n\nUsage: drainit <COMMAND>\n\n");
    for (title, names) in GROUPS {
        text.push_str(&format!("{title}:\n"));
        for name in names {
            let about = drainit.find_subcommand(name).and_then(clap::Command::get_about);
            let about =
                about.map_or_else(|| "Print the help of a command".to_owned(), ToString::to_string);
            text.push_str(&format!("  {name:<11}  {about}\n"));
        }
        text.push('\n');
    }
    text.push_str("`drainit COMMAND --help` lists the options of a command.\n\n");
    text + EXAMPLES
}

/// Prints the help, or why the command line is wrong, within the width of the terminal.
fn print_help(text: &str, is_error: bool) {
    let width = sys::terminal_width(is_error).unwrap_or(width::WHOLE);
    let text = width::wrap_help(text, width);
    match is_error {
        true => say(&text),
        // Errors are ignored, because stdout may have no reader.
        false => drop(io::stdout().write_all(text.as_bytes())),
    }
}

/// Parses a command line, and checks it without running it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(args: Vec<OsString>) {
    match Cli::try_parse_from(args) {
        Ok(Cli { command: Command::Exec(args) }) => drop(crate::cli::exec::checked(*args)),
        Ok(_) => {}
        Err(error) => drop(error.to_string()),
    }
}

/// Prints the requested output. If stdout cannot be written, ends this command: with 0 if the
/// reader, such as `head`, has gone, and otherwise with 1.
fn print(text: &[u8]) {
    let mut stdout = io::stdout();
    if let Err(error) = stdout.write_all(text).and_then(|()| stdout.flush()) {
        let code = match error.kind() {
            io::ErrorKind::BrokenPipe => exit_code::OK,
            _ => fail(&format!("stdout cannot be written: {error}"), 1),
        };
        std::process::exit(code.into());
    }
}

/// Prints an error, and returns the exit code.
fn fail(message: &str, code: u8) -> u8 {
    say(&format!("[drainit] error: {}\n", as_written(&harmless(message))));
    code
}

/// Writes a text to stderr, with the words `error:` and `warning:` in colour.
fn say(text: &str) {
    // Errors are ignored, because stderr may have no reader.
    let _ = io::stderr().write_all(colour::on(Stream::Stderr, text).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_of_a_pod_knows_every_subcommand() {
        let drainit = Cli::command();
        let names = drainit.get_subcommands().map(clap::Command::get_name).chain(["help"]);
        let known = drainit_tools::kubernetes::commands::SUBCOMMANDS;
        assert_eq!(
            names.collect::<std::collections::BTreeSet<_>>(),
            known.into_iter().collect::<std::collections::BTreeSet<_>>()
        );
    }

    #[test]
    fn the_check_of_a_pod_knows_every_option_of_the_commands_in_manifests() {
        let mut drainit = Cli::command();
        drainit.build();
        for usage in drainit_tools::kubernetes::commands::USAGES {
            let command = drainit.find_subcommand(usage.name).unwrap();
            let mut options = std::collections::BTreeSet::new();
            for option in command.get_opts().chain(command.get_arguments()) {
                let has_value = option.get_action().takes_values();
                let long = option.get_long().map(|long| format!("--{long}"));
                let short = option.get_short().map(|short| format!("-{short}"));
                options.extend(long.into_iter().chain(short).map(|name| (name, has_value)));
            }
            let is_own = |name: &str| !drainit_tools::kubernetes::commands::HELP.contains(&name);
            options.retain(|(name, _)| is_own(name));
            let known =
                usage.options.iter().map(|(name, has_value)| (name.to_string(), *has_value));
            assert_eq!(options, known.collect(), "{}", usage.name);
            assert_eq!(command.get_positionals().count(), usage.words, "{}", usage.name);
        }
    }
}
