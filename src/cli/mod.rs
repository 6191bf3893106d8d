//! The command line: one file for each command.

mod ask;
pub mod check;
pub mod config_files;
pub mod control_address;
pub mod drain;
pub mod exec;
pub mod health;
pub mod install;
pub mod operate;
pub mod plan;
mod progress;
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

use clap::CommandFactory;
use clap::error::ErrorKind;
use drainit_advise::misread;

use crate::commands::{self, Cli, Command, GROUPS};
use crate::compat;
use crate::language::written::as_written;
use crate::logging::colour;
use crate::os::on_thread::wait_for;
use crate::os::signal::mask;
use crate::os::sys;
use crate::types::{Stream, exit_code, harmless};

/// The time limit for parsing the command line.
const LONGEST_PARSE: Duration = Duration::from_secs(10);

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    // Signals are blocked first, because a stop signal may arrive right after the exec of drainit.
    mask::hold();
    let args: Vec<_> = std::env::args_os().collect();
    let code = compat::run(&args).or_else(|| crate::cli::exec::exec_plainly(&args));
    ExitCode::from(code.unwrap_or_else(|| carry_out(args)))
}

/// Parses the command line on a thread of its own. The parser needs 70 KiB of stack, which the main
/// thread would keep as long as the container runs.
fn parsed(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let own = args.clone();
    let parsed = wait_for(LONGEST_PARSE, move || Ok(commands::parse(own)));
    // When a process starts its first thread, the C library unblocks the signals that the library
    // reserves. drainit blocks these signals again.
    mask::hold();
    parsed.unwrap_or_else(|_| commands::parse(args))
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
    let mut commands: Vec<_> = drainit.get_subcommands().collect();
    commands.sort_by_key(|command| command.get_display_order());
    for (group, title) in GROUPS.iter().enumerate() {
        text.push_str(&format!("{title}:\n"));
        let is_here = |command: &&&clap::Command| command.get_display_order() / 100 == group + 1;
        for command in commands.iter().filter(is_here) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {:<11}  {about}\n", command.get_name()));
        }
        if group + 1 == GROUPS.len() {
            text.push_str("  help         Print the help of a command\n");
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
    match commands::parse(args) {
        Ok(Cli { command: Command::Exec(args) }) => drop(args.checked(&|_| None, Duration::MAX)),
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
