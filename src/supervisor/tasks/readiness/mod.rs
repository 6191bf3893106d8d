//! Runs the readiness probe of a process, with one task for each instance. The task ends when the
//! instance is ready or has ended.

pub(crate) mod notify;
pub(crate) mod probe;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::core::traffic::{FACTOR, pause_after};
use crate::keys::{Address, Probe, Process, Readiness};
use crate::language::mask::{masked, shortened};
use crate::local_task::LocalTask;
use crate::logging::capture::OutputCapture;
use crate::os::descendants::Descendant;
use crate::os::on_thread::{Share, on_thread};
use crate::os::who_answers::{self, Stranger, Trusted};
use crate::supervisor::children::{Rest, Starter};
use crate::supervisor::launch;
use crate::supervisor::main_pids::MainPids;
use crate::supervisor::tasks::readiness::probe::{
    RunningCommand, ask_epoch, wait_epoch, wait_ready,
};
use crate::supervisor::tasks::run_command::{AttemptFailure, run_captured};
use crate::types::{ChildText, ProcessId, Reason};

/// The limit of one run of an `exec` probe.
const EXEC_LIMIT: Duration = Duration::from_secs(10);

/// The news of a readiness probe.
pub(crate) enum ReadinessNews {
    /// The reason why an attempt has failed.
    Failed(Reason),
    /// The process is not ready after this time.
    Late(Duration),
    Ready,
    /// The reason why a new epoch of an Envoy is not live when drainit asks it for the last time.
    NotLive(Reason),
}

/// A process and its readiness check.
pub(crate) struct ReadinessTarget {
    pub(crate) process: Arc<Process>,
    pub(crate) readiness: Readiness,
    /// The admin and the epoch of an Envoy that takes over from an older epoch. Once such an Envoy
    /// is live, it is ready, whatever `readiness` says, because the older epoch has no listeners
    /// any more.
    pub(crate) epoch: Option<(Address, u32)>,
    pub(crate) log: Option<Rc<OutputCapture>>,
    /// The main processes of all instances.
    pub(crate) pids: Rc<MainPids>,
    /// The other slots of the process, which may have older instances.
    pub(crate) older: BTreeSet<ProcessId>,
}

/// If a process is not ready after this time, and `readiness.timeout` is more than twice as long, a
/// line in the log says why. If a hook still runs after this time, the log has a line about the
/// hook, too.
pub(crate) const LONG: Duration = Duration::from_secs(5);

/// The reason why a process with `notify` is not ready, if it has sent no `STATUS=`.
pub(crate) const SILENT: &str = "it has not sent READY=1";

/// Begins to probe, unless the process itself tells that it is ready (`notify`). Reports each
/// failure of a probe, readiness once, and a process that is not ready after [`LONG`].
pub(crate) fn watch(
    target: ReadinessTarget,
    base: Rc<[(OsString, OsString)]>,
    starter: Starter,
    of: ProcessId,
    tell: impl Fn(ReadinessNews) + 'static,
) -> LocalTask {
    LocalTask::of(Share::Probes(of), async move {
        let ReadinessTarget { process, readiness, epoch, log, pids, older } = target;
        let fails = |why| tell(ReadinessNews::Failed(why));
        // With a short `timeout`, the line about the failed start would repeat the line of
        // [`ReadinessNews::Late`] a moment later.
        let says_so = readiness.timeout > LONG * 2;
        let ready = async {
            match (epoch, &readiness.probe, log) {
                (Some(epoch), ..) => {
                    wait_epoch(&epoch, readiness.interval, &fails).await;
                }
                (None, Probe::Log(_), Some(log)) => log.matched().await,
                (None, probe, _) => {
                    let name = process.name.clone();
                    let run = commands_of(process, base, starter, EXEC_LIMIT);
                    let doubt = doubt(name, of, older, pids, readiness.timeout / 2);
                    wait_ready(probe, readiness.interval, &fails, &run, &doubt).await;
                }
            }
        };
        let late = async {
            sleep(LONG).await;
            if says_so {
                tell(ReadinessNews::Late(LONG));
            }
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = ready => {}
            () = late => {}
        }
        tell(ReadinessNews::Ready);
    })
}

/// Returns a function that finds out whether a stranger answers a probe in place of the process. The
/// first time, a line in the log says who answers. If drainit cannot know who answers, or not within
/// `limit`, nobody is a stranger.
fn doubt(
    name: String,
    of: ProcessId,
    older: BTreeSet<ProcessId>,
    pids: Rc<MainPids>,
    limit: Duration,
) -> impl Fn(SocketAddr) -> Pin<Box<dyn Future<Output = Option<String>>>> {
    let has_warned = Rc::new(Cell::new(false));
    move |address| {
        let (name, has_warned) = (name.clone(), Rc::clone(&has_warned));
        let now = pids.now();
        let trusted = Trusted {
            of,
            older: older.clone(),
            leaders: now.leaders(|_| true),
            known: BTreeSet::clone(&now.all),
        };
        Box::pin(async move {
            let began = Instant::now();
            let look = move || who_answers::stranger_at(address, &trusted).ok().flatten();
            let Stranger { process, is_older } = on_thread(limit, look).await.ok().flatten()?;
            let Descendant { pid, name: program, .. } = process;
            let who = match is_older {
                true => "an older instance",
                false => "not a process of this config",
            };
            let line = format!("{address} is answered by pid {pid} ({program}), {who}");
            if !has_warned.replace(true) {
                tracing::warn!("{name}: not ready: {line}");
            }
            // Such a look reads all of /proc.
            sleep(pause_after(began.elapsed(), Duration::ZERO, FACTOR)).await;
            Some(line)
        })
    }
}

/// Reports a oneshot that is not complete after [`LONG`].
pub(crate) fn watch_oneshot(of: ProcessId, tell: impl Fn(ReadinessNews) + 'static) -> LocalTask {
    LocalTask::of(Share::Probes(of), async move {
        sleep(LONG).await;
        tell(ReadinessNews::Late(LONG));
    })
}

/// Asks an epoch of an Envoy once, for at most `limit`, whether it is live.
pub(crate) fn ask_once(
    epoch: (Address, u32),
    limit: Duration,
    of: ProcessId,
    tell: impl Fn(ReadinessNews) + 'static,
) -> LocalTask {
    LocalTask::of(Share::Probes(of), async move {
        let asked = ask_epoch(&epoch, limit).await;
        tell(asked.map_or_else(ReadinessNews::NotLive, |()| ReadinessNews::Ready));
    })
}

/// Returns a function that runs the commands of `exec` probes as the process would run them. If
/// such a command fails, the last line of its output is part of the reason.
pub(crate) fn commands_of(
    process: Arc<Process>,
    base: Rc<[(OsString, OsString)]>,
    starter: Starter,
    limit: Duration,
) -> impl Fn(&[String]) -> RunningCommand {
    move |command| {
        let request = launch::probe(command, &process, &base);
        let request = move |pipe| launch::into_pipe(request?, pipe);
        Box::pin(run_captured(request, starter.clone(), Rest::Killed, limit, with_last_line))
    }
}

/// Puts the last line of a command's output behind the reason why the command failed.
fn with_last_line(failure: AttemptFailure, output: &ChildText) -> AttemptFailure {
    let last =
        |output: &str| output.lines().map(str::trim).rfind(|line| !line.is_empty()).map(shortened);
    match output.select(last) {
        Some(line) => {
            let said = Reason::with_full("", masked(&line).into_string());
            AttemptFailure { why: failure.why.before(&said), ..failure }
        }
        None => failure,
    }
}
