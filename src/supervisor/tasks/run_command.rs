//! Runs the command of a hook, an `exec` probe or an `exec` drain to its end.

use std::fmt::Display;
use std::future::pending;
use std::io::{self, PipeWriter, pipe};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use nix::unistd;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver as PipeReader;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};
use tokio::time::timeout;

use crate::http::describe_io;
use crate::os::kill::kill_group_of_child;
use crate::os::on_thread::on_thread;
use crate::os::spawn::{Exec, FailedExec, SpawnError, SpawnRequest, open_directory};
use crate::os::sweep::signal_left_group;
use crate::os::{Pid, is_own_lack};
use crate::supervisor::children::{ChildRole, Ended, Rest, Starter};
use crate::supervisor::launch::LONGEST_START;
use crate::types::{ChildText, End, Reason, Signal, harmless, human};

/// The time limit of the search for the cause of a failed exec.
const DIAGNOSIS: Duration = Duration::from_secs(2);
/// The number of bytes that are kept of a command's output: the default capacity of a pipe.
const KEPT: usize = 64 * 1024;

/// The reason why a command or a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttemptFailure {
    /// The reason, as text for people.
    pub(crate) why: Reason,
    /// Whether drainit itself lacked a descriptor, a pid or memory. A failure of this kind says
    /// nothing about the process.
    pub(crate) is_own: bool,
}

impl AttemptFailure {
    /// Puts the place of the failure before its reason.
    pub(crate) fn at(self, place: &dyn Display) -> Self {
        Self { why: self.why.behind(&place.to_string()), ..self }
    }
}

impl From<String> for AttemptFailure {
    fn from(why: String) -> Self {
        Reason::from(why).into()
    }
}

impl From<Reason> for AttemptFailure {
    fn from(why: Reason) -> Self {
        Self { why, is_own: false }
    }
}

impl From<io::Error> for AttemptFailure {
    fn from(error: io::Error) -> Self {
        Self { why: describe_io(&error).into(), is_own: is_own_lack(&error) }
    }
}

impl From<SpawnError> for AttemptFailure {
    fn from(error: SpawnError) -> Self {
        let is_own = match &error {
            SpawnError::TooMany { .. } => true,
            SpawnError::Other { source, .. } => is_own_lack(source),
            _ => false,
        };
        Self { why: harmless(&error.to_string()).into_owned().into(), is_own }
    }
}

/// A running command. Dropping this value kills the process group of the command.
pub(crate) struct StartedCommand {
    pub(crate) pid: Pid,
    exec: Exec,
    end: Receiver<End>,
}

impl StartedCommand {
    /// Starts a command.
    ///
    /// # Errors
    /// Fails if no process was created.
    pub(crate) async fn start(
        mut request: SpawnRequest,
        starter: &Starter,
        rest: Rest,
    ) -> Result<Self, SpawnError> {
        if let (Some(path), None) = (request.working_dir.clone(), &request.directory) {
            let opened = on_thread(LONGEST_START, move || open_directory(&path)).await;
            request.directory = Some(opened.unwrap_or_else(|why| {
                let path = request.command.first().map(PathBuf::from).unwrap_or_default();
                Err(SpawnError::Other { path, source: io::Error::other(why) })
            })?);
        }
        let (waiting, end) = oneshot::channel();
        let (pid, exec) = starter.start(request, ChildRole::Command { waiting, rest })?;
        Ok(Self { pid, exec, end })
    }

    /// Waits for the end of the command.
    ///
    /// # Errors
    /// Fails if the command could not be executed.
    pub(crate) async fn end(&mut self) -> Result<End, SpawnError> {
        // If the sender of this channel sends no end, the event loop itself is being dropped.
        let Ok(end) = (&mut self.end).await else { return pending().await };
        match self.exec.failure() {
            Some(failed) => Err(diagnose(failed).await),
            None => Ok(end),
        }
    }
}

/// Kills the rest of the process group of each ended command whose [`Rest`] says so.
pub(crate) fn kill_rest(ended: &[Ended]) {
    let kills =
        |one: &&Ended| matches!(one.role, Some(ChildRole::Command { rest: Rest::Killed, .. }));
    for command in ended.iter().filter(kills) {
        // The result is ignored, because usually no process is left in the group.
        let _ = signal_left_group(command.pid, Signal::KILL);
    }
}

impl Drop for StartedCommand {
    fn drop(&mut self) {
        // An open, empty channel shows that the child is not reaped yet, so the pid still belongs
        // to the child.
        if matches!(self.end.try_recv(), Err(TryRecvError::Empty)) {
            let _ = kill_group_of_child(self.pid, Signal::KILL);
        }
    }
}

/// Runs a command. The error says why the command failed. The process group of the command is
/// killed after `limit`, or when the future is dropped.
pub(crate) async fn run(
    request: SpawnRequest,
    starter: Starter,
    rest: Rest,
    limit: Duration,
) -> Result<(), AttemptFailure> {
    let mut command = None;
    let end = async {
        let started = StartedCommand::start(request, &starter, rest).await?;
        command.insert(started).end().await
    };
    match timeout(limit, end).await {
        Ok(Ok(End::Code(0))) => Ok(()),
        Ok(Ok(end)) => Err(format!("its command {end}").into()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) if command.is_some_and(|mut command| command.exec.has_succeeded()) => {
            Err(format!("its command had not ended after {}", human(limit)).into())
        }
        Err(_) => {
            let why = format!(
                "its command had not been executed within {}: does a file system hang?",
                human(limit)
            );
            Err(why.into())
        }
    }
}

/// Like [`run`], but also reads the output of the command. `request` makes the request for a
/// command that writes to the given pipe. If the command fails, `explain` gets the failure and the
/// end of the output, and makes the failure that is returned.
pub(crate) async fn run_captured(
    request: impl FnOnce(PipeWriter) -> io::Result<SpawnRequest>,
    starter: Starter,
    rest: Rest,
    limit: Duration,
    explain: impl FnOnce(AttemptFailure, &ChildText) -> AttemptFailure,
) -> Result<(), AttemptFailure> {
    let (reader, writer) = pipe()?;
    let mut reader = PipeReader::from_owned_fd(reader.into())?;
    let mut run = pin!(run(request(writer)?, starter, rest, limit));
    let (mut output, mut chunk) = (Vec::new(), [0; 4096]);
    let mut has_lost = false;
    let mut keep = |chunk: &[u8]| {
        output.extend(chunk);
        let lost = output.len().saturating_sub(KEPT);
        has_lost |= lost > 0;
        output.drain(..lost);
    };
    let mut is_open = true;
    let result = loop {
        tokio::select! {
            result = &mut run => break result,
            count = reader.read(&mut chunk), if is_open => match count {
                Ok(count @ 1..) => keep(&chunk[..count]),
                _ => is_open = false,
            },
        }
    };
    // The last output of the command is in the pipe. A process that the command has left in the
    // background may still write, so drainit reads only as much as the pipe can hold.
    for _ in 0..KEPT / chunk.len() {
        match unistd::read(&reader, &mut chunk) {
            Ok(count @ 1..) => keep(&chunk[..count]),
            _ => break,
        }
    }
    if has_lost {
        // The beginning of the first line is lost. The mask would not find a value that has lost
        // its beginning, too.
        let end = output.iter().position(|byte| *byte == b'\n').unwrap_or(output.len());
        output.drain(..end);
    }
    result.map_err(|failure| explain(failure, &ChildText::new(&output)))
}

/// Looks for the cause of a failed exec.
pub(crate) async fn diagnose(failed: FailedExec) -> SpawnError {
    let otherwise = failed.undiagnosed();
    on_thread(DIAGNOSIS, move || failed.diagnose()).await.unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use std::io;

    use nix::errno::Errno;

    use super::*;

    // holds: C502
    #[test]
    fn own_lack_of_resources_is_distinguished() {
        let path = std::path::PathBuf::from("/bin/check");
        let because = |errno: Errno| SpawnError::Other {
            path: path.clone(),
            source: io::Error::from_raw_os_error(errno as i32),
        };
        let own = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM].map(because);
        for own in own.into_iter().chain([SpawnError::TooMany { path: path.clone() }]) {
            assert!(AttemptFailure::from(own).is_own);
        }
        for other in [SpawnError::Missing { path: path.clone() }, because(Errno::EIO)] {
            assert!(!AttemptFailure::from(other).is_own);
        }
    }
}
