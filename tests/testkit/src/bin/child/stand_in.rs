//! Replaces a program of the gateway's image: the steps are in the environment, and the arguments
//! are those of the program.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The name and steps of this process, from the command line, or from the environment if this
/// process replaces a program.
pub(crate) fn command_line() -> Vec<String> {
    let mut args = std::env::args();
    let program = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    match Path::new(&program).file_name().and_then(|name| name.to_str()) {
        Some("policy-engine") => with_steps("policy-engine", "POLICY_ENGINE_STEPS", args),
        Some("python3") => with_steps("python-executor", "PYTHON_EXECUTOR_STEPS", args),
        Some("dlv") => debugger(&args),
        _ => args,
    }
}

fn with_steps(name: &str, variable: &str, args: Vec<String>) -> Vec<String> {
    let steps = std::env::var(variable).unwrap_or_default();
    let mut line = vec![name.to_owned(), format!("report=/out/{name}.json")];
    line.extend(steps.split_whitespace().map(str::to_owned));
    line.extend(args);
    line
}

/// Executes PROGRAM with ARGS, as `dlv exec PROGRAM FLAGS -- ARGS` does.
fn debugger(args: &[String]) -> ! {
    let program = args.get(1).expect("usage: dlv exec PROGRAM FLAGS -- ARGS");
    let args = args.iter().skip_while(|arg| *arg != "--").skip(1);
    panic!("{program}: {}", Command::new(program).args(args).exec())
}
