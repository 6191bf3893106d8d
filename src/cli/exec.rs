//! `drainit exec`: runs its command.

use std::ffi::OsString;

use crate::commands::exec::{ExecArgs, ExecOptions, KEY_OPTIONS};
use crate::exec::{self, with_drain};
use crate::keys::Shutdown;
use crate::os::stop_path;
use crate::types::exit_code;

/// Runs `drainit exec [--] CMD` if there is no option, and no variable that sets an option. Returns
/// `None` for any other command line.
///
/// Most callers use this form. clap would take 250,000 instructions to parse this form, four times
/// as many as everything else takes.
pub(super) fn exec_plainly(args: &[OsString]) -> Option<u8> {
    let (verb, rest) = args.get(1..)?.split_first()?;
    let command = match rest.split_first()? {
        (first, command) if first == "--" => command,
        (first, _) if first.as_encoded_bytes().starts_with(b"-") => return None,
        _ => rest,
    };
    let is_set = KEY_OPTIONS.iter().any(|it| variable(it.variable).is_some());
    let is_plain = verb == "exec" && !command.is_empty() && !is_set;
    is_plain.then(|| run(&ExecOptions::new(command.to_vec())))
}

/// Runs the command without a drain. Warns if the SIGTERM of the container will not reach drainit.
fn run(options: &ExecOptions) -> u8 {
    // Only a child of PID 1 looks for this, because the look would take a large part of the time of
    // a start.
    let is_below_init = std::os::unix::process::parent_id() == 1;
    if let Some(lost) = is_below_init.then(stop_path::find).flatten() {
        exec::tell(&format!("warning: {lost}"));
    }
    exec::run(options)
}

/// Runs the command, and returns the exit code for drainit.
pub(super) fn exec(args: ExecArgs) -> u8 {
    let variable = |name: &str| variable(name).map(|text| text.to_string_lossy().into_owned());
    match args.checked(&variable, Shutdown::default().grace_period) {
        Ok((options, Some((drain, config)))) => with_drain::run(&options, &drain, *config),
        Ok((options, None)) => run(&options),
        Err(refusal) => exec::fail(&refusal, exit_code::USAGE),
    }
}

/// A variable of the environment. An empty variable counts as unset.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}
