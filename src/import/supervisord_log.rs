//! Where the output of a program of supervisord goes.

use crate::import::draft::{Process, Value};
use crate::import::supervisord_values::truth;

/// The target of one of the two streams.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// The container's log.
    Container,
    Nowhere,
    File(String),
}

/// Names of the container's log.
const CONTAINER: [&str; 7] = [
    "/dev/stdout",
    "/dev/stderr",
    "/dev/fd/1",
    "/dev/fd/2",
    "/proc/self/fd/1",
    "/proc/self/fd/2",
    "syslog",
];

/// Sets `log` after `stdout_logfile`, `stderr_logfile` and `redirect_stderr`.
pub(super) fn log(process: &mut Process, name: &str, get: impl Fn(&str) -> Option<String>) {
    let redirect = get("redirect_stderr");
    let is_joined = redirect.as_deref().map(truth) == Some(Some(true));
    if let (Some(written), None) = (&redirect, redirect.as_deref().and_then(truth)) {
        process.note(format!(
            "redirect_stderr={written}: stdout and stderr stay separate here; write `stderr: stdout` in `log` to join them"
        ));
    }
    let stdout = target(process, "stdout_logfile", get("stdout_logfile"));
    let stderr = match is_joined {
        true => stdout.clone(),
        false => target(process, "stderr_logfile", get("stderr_logfile")),
    };
    let mut log = match &stdout {
        Target::File(file) => vec![("file".to_owned(), Value::Text(file.clone()))],
        Target::Nowhere if stderr == Target::Nowhere => {
            vec![("mode".to_owned(), "none".into())]
        }
        Target::Container | Target::Nowhere => {
            vec![("prefix".to_owned(), Value::Text(name.to_owned()))]
        }
    };
    // Without `stderr_logfile`, supervisord writes stderr to a temporary file.
    let is_plain = matches!(stdout, Target::File(_)) && get("stderr_logfile").is_none();
    if stdout != stderr && !is_plain {
        let written = |key: &str| get(key).map(|value| format!("{key}={value}"));
        let keys: Vec<_> =
            ["stdout_logfile", "stderr_logfile"].into_iter().filter_map(written).collect();
        process.note(format!("{}: both streams go to one place here", keys.join(", ")));
    }
    if is_joined && stdout != Target::Nowhere {
        log.push(("stderr".to_owned(), "stdout".into()));
    }
    process.set("log", Value::Map(log));
}

fn target(process: &mut Process, key: &str, value: Option<String>) -> Target {
    let Some(file) = value else { return Target::Container };
    match file.as_str() {
        "NONE" | "/dev/null" => Target::Nowhere,
        // supervisord writes a file in its temporary directory, which nobody reads.
        "AUTO" => {
            process.note(format!("{key}=AUTO: goes to the container's log here, not to a file"));
            Target::Container
        }
        text if CONTAINER.contains(&text) => Target::Container,
        text if text.contains("${") => {
            process.note(format!(
                "{key}={text}: goes to the container's log here; write `log: {{file: …}}` if it is a file"
            ));
            Target::Container
        }
        text => Target::File(text.to_owned()),
    }
}
