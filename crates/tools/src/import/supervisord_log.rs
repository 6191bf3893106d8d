//! Where the output of a program of supervisord goes.

use crate::import::draft::{Process, Value};
use crate::import::supervisord_values::truth;

/// Names of the container's log.
const CONTAINER: &str =
    "/dev/stdout /dev/stderr /dev/fd/1 /dev/fd/2 /proc/self/fd/1 /proc/self/fd/2 syslog";

/// The target of one of the two streams.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Container,
    Nowhere,
    File(String),
}

/// Sets `log` after `stdout_logfile`, `stderr_logfile` and `redirect_stderr`.
pub(super) fn log(process: &mut Process, get: impl Fn(&str) -> Option<String>) {
    let redirect = get("redirect_stderr").unwrap_or_else(|| "false".to_owned());
    let is_joined = truth(&redirect) == Some(true);
    if truth(&redirect).is_none() {
        process.lose(format!("redirect_stderr={redirect}"));
    }
    let stdout = target(process, "stdout_logfile", get("stdout_logfile"));
    let stderr = match is_joined {
        true => stdout.clone(),
        false => target(process, "stderr_logfile", get("stderr_logfile")),
    };
    // Without `stderr_logfile`, supervisord writes stderr to a temporary file.
    let is_plain = matches!(stdout, Target::File(_)) && get("stderr_logfile").is_none();
    if stdout != stderr && !is_plain {
        let written = |key: &str| get(key).map(|value| format!("{key}={value}"));
        let keys: Vec<_> =
            ["stdout_logfile", "stderr_logfile"].into_iter().filter_map(written).collect();
        process.note(format!("{}: both streams go to one place here", keys.join(", ")));
    }
    let is_silent = stdout == Target::Nowhere && stderr == Target::Nowhere;
    let (key, value) = match stdout {
        Target::File(file) => ("file", file.into()),
        _ if is_silent => ("mode", "none".into()),
        _ => ("prefix", process.name.clone().into()),
    };
    let mut log = vec![(key.to_owned(), value)];
    if is_joined && !is_silent {
        log.push(("stderr".to_owned(), "stdout".into()));
    }
    process.set("log", Value::Map(log));
}

fn target(process: &mut Process, key: &str, value: Option<String>) -> Target {
    match value.as_deref() {
        Some("NONE" | "/dev/null") => return Target::Nowhere,
        Some(text) if text == "AUTO" || text.contains("${") => process.note(format!(
            "{key}={text}: goes to the container's log here; write `log: {{file: …}}` if it is a file"
        )),
        Some(text) if CONTAINER.split(' ').all(|name| name != text) => return Target::File(text.to_owned()),
        _ => {}
    }
    Target::Container
}
