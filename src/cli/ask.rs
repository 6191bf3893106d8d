//! Sends the requests of drainit's own commands to the running supervisor, and explains failures.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use hyper::{Method, StatusCode};

use crate::cli::control_address::{self, Found};
use crate::cli::{fail, say};
use crate::commands::Whom;
use crate::control::status::Status;
use crate::http::{Answerer, HttpError, Response, request};
use crate::keys::Address;
use crate::os::{Pid, boot, private_socket};
use crate::supervisor::tasks::reload::LONGEST_READ;
use crate::types::suggest::shortened;
use crate::types::{exit_code, harmless, harmless_lines};

/// The time limit of a request that drainit answers immediately.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// The largest answer, in bytes. A status has some 200 bytes for each process.
pub(super) const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Finds the running drainit, runs `command` on one thread, and returns the exit code. Prints the
/// error if drainit is not found, or if the command fails.
pub(super) fn run<C: AsyncFnOnce(Found) -> Result<(), String>>(whom: &Whom, command: C) -> u8 {
    block_on(async move {
        let found = match control_address::find(whom, LONGEST_READ, false).await {
            Ok(found) => found,
            Err((reason, code)) => return fail(&reason, code),
        };
        match command(found).await {
            Ok(()) => exit_code::OK,
            Err(reason) => fail(&reason, exit_code::NOT_READY),
        }
    })
}

/// Runs a command on one thread, and returns its exit code.
pub(super) fn block_on(command: impl Future<Output = u8>) -> u8 {
    // The future is boxed, so that the loop of the runtime is compiled only once, and not for each
    // command.
    let command: Pin<Box<dyn Future<Output = u8> + '_>> = Box::pin(command);
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            let error = boot::refused(boot::RUNTIME_CALLS, error, boot::RUNTIME_REMEDY);
            fail(&format!("cannot set up: {error}"), exit_code::SOFTWARE)
        }
    }
}

/// Turns names of processes into a query, which has each as `process=NAME`.
///
/// # Errors
/// Fails if a name is neither a possible name of a process nor a pattern such as `app-*`.
pub(super) fn query(names: &[String]) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*');
    let pair = |name: &String| {
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("there is no process `{}`", harmless(name)));
        }
        Ok(format!("process={name}"))
    };
    Ok(names.iter().map(pair).collect::<Result<Vec<_>, _>>()?.join("&"))
}

/// Sends a request. Returns the body of the answer if its status is 200.
///
/// # Errors
/// The error says what went wrong, and how to fix it.
pub(super) async fn ask(
    found: &Found,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<Vec<u8>, String> {
    answer_of(send(found, method, path, limit).await, path, found)
}

/// Sends a request to drainit.
pub(super) async fn send(
    found: &Found,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<Response, HttpError> {
    request((&found.address, Answerer::Drainit), method, path, limit, MAX_ANSWER).await
}

/// Asks for the status of every process.
pub(super) async fn status(found: &Found, limit: Duration) -> Result<Status, HttpError> {
    let body = send(found, Method::GET, "/status", limit).await?.into_ok_body()?;
    let malformed = |error: serde_json::Error| HttpError::malformed(error.to_string());
    serde_json::from_slice(&body).map_err(malformed)
}

/// The body of the answer if its status is 200; otherwise an error that says what went wrong.
pub(super) fn answer_of(
    answer: Result<Response, HttpError>,
    path: &str,
    found: &Found,
) -> Result<Vec<u8>, String> {
    let address = &found.address;
    match answer {
        Ok(answer) if answer.status == StatusCode::OK => Ok(answer.body),
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => Err(format!(
            "the drainit that runs at {address} has another version than this one ({}) and does \
             not know {}: {}; call its own program, such as /proc/1/exe",
            env!("CARGO_PKG_VERSION"),
            path.split('?').next().unwrap_or_default(),
            control_address::first_line(&answer)
        )),
        Ok(answer) if answer.status == StatusCode::CONFLICT => {
            Err(refusal(&String::from_utf8_lossy(&answer.body)))
        }
        Ok(answer) => Err(control_address::first_line(&answer)),
        Err(error) => {
            Err(no_answer(&error, found, &format!("drainit cannot be reached at {address}")))
        }
    }
}

/// Returns the last line of a refusal, which is the reason. The lines before the last line are the
/// problems of a config; this function prints them as `drainit check` does.
pub(super) fn refusal(text: &str) -> String {
    let text = text.trim_end();
    let (problems, reason) = text.rsplit_once('\n').unwrap_or(("", text));
    if !problems.is_empty() {
        say(&format!("{}\n", harmless_lines(problems)));
    }
    reason.to_owned()
}

/// The whole text of the error, which begins with `what`. If nothing listens at the address, the
/// text has the likely reason. If nothing answers at the private socket, the text says only this,
/// and names the drainits if several run here.
pub(super) fn no_answer(error: &HttpError, found: &Found, what: &str) -> String {
    let doubt = &found.doubt;
    match &found.address {
        _ if !is_unreachable(error) => format!("{what}: {error}"),
        Address::Unix(path) if private_socket::is_abstract(path) => {
            let drainits = private_socket::names();
            match drainits.len() {
                0 | 1 => format!("no drainit runs here; run this in its container{doubt}"),
                _ => several(&drainits),
            }
        }
        Address::Unix(_) => {
            let who = "drainit is not running, or has another `control.socket`";
            format!("{what}: {error}; {who}{doubt}")
        }
        Address::Tcp(_) => format!("{what}: {error}{doubt}"),
    }
}

/// Lists the drainits, each with the option that chooses it.
fn several(drainits: &[(Pid, String)]) -> String {
    let one = |(pid, name): &(Pid, String)| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let config = config_of(&String::from_utf8_lossy(&line));
        format!("`--socket @{name}` for pid {pid}{config}")
    };
    let texts: Vec<_> = drainits.iter().map(one).collect();
    format!("several drainits run here; choose one: {}", shortened(&texts))
}

/// The config files that a command line of `drainit run` names, such as ` (a.yaml, b.yaml)`. Empty
/// if the command line names none. A byte 0 ends each argument of the command line.
fn config_of(line: &str) -> String {
    let mut args = line.split('\0').take_while(|arg| *arg != "--");
    let mut files = Vec::new();
    while let Some(arg) = args.next() {
        files.extend(match arg {
            "-c" | "--config" => args.next(),
            _ => arg.strip_prefix("--config="),
        });
    }
    if files.is_empty() { String::new() } else { format!(" ({})", files.join(", ")) }
}

/// Whether the error means that nothing listens at the address.
pub(super) fn is_unreachable(error: &HttpError) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error, HttpError::Io(error) if matches!(error.kind(), NotFound | ConnectionRefused))
}

/// Whether the connection was closed before an answer arrived, most likely because drainit has
/// exited.
pub(super) fn is_cut_off(error: &HttpError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    match error {
        HttpError::Incomplete => true,
        HttpError::Io(error) => matches!(error.kind(), BrokenPipe | ConnectionReset),
        _ => false,
    }
}
