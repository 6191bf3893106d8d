//! `drainit reload`: reads the config again and gives the differences to the core. The reading has
//! a thread of its own, because a file system may hang.
//!
//! There is only one reload at a time. A request during a reload leads to another reload
//! afterwards, because the files may have changed since this reload read them. If a reload is not
//! possible for another reason, requests from signals and watched files wait. An operator's request
//! then joins a reload that already waits. If no reload waits, drainit refuses the request at once.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::keys::Config;
use crate::load::{self, AsRead, Diagnostic, Environment, Loaded, args};
use crate::local_task;
use crate::os::on_thread::{locked, on_busy_thread, on_thread};
use crate::plan::placement::{Life, Running};
use crate::plan::refused;
use crate::plan::reload::ReloadPlan;
use crate::supervisor::requests::TextReply;
use crate::supervisor::sockets::{self, DifferingSocket, HeldSockets, LONGEST_OPEN, Sockets};
use crate::supervisor::tasks::Tell;
use crate::supervisor::tasks::file_watch::{self, FileNews, FileWatches, Watched};
use crate::types::{ProcessId, harmless};
use drainit_advise::image;

/// The longest wait for the files, which may be on a file system that hangs.
pub(crate) const LONGEST_READ: Duration = Duration::from_secs(10);
/// The longest wait for a look whether the files have changed. An answer waits for this look, so it
/// is shorter than a read.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// The places from which drainit reads its config, and what it has read there.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// The files and directories of the command line.
    pub paths: Vec<PathBuf>,
    /// The arguments of the container.
    pub arguments: Vec<String>,
    /// The files of the current config, as they were at the start or at the last reload.
    pub files: Arc<AsRead>,
}

/// A config without errors, and the rehearsed reload to this config.
pub(crate) struct ReadConfig {
    pub(crate) loaded: Loaded,
    /// For each process, the arguments that it gets from the container's command line.
    pub(crate) args: Vec<Vec<String>>,
    pub(crate) plan: ReloadPlan,
    /// The states of the processes for which the plan is true.
    pub(crate) lives: Vec<(ProcessId, Life)>,
}

/// A config that was read for a reload, with its new watches and its sockets.
pub(crate) struct Candidate {
    pub(crate) read: ReadConfig,
    /// The tasks for files that were not watched before.
    pub(crate) watches: FileWatches,
    /// The sockets of each process, in the order of the config.
    pub(crate) sockets: Vec<Sockets>,
}

/// The news of a reload that begins.
pub(crate) enum ReloadNews {
    /// drainit begins to read the config now.
    Reading,
    /// The config was read. The error says why the config cannot be used.
    Prepared(Box<Result<Candidate, String>>),
}

/// The reload that is under way, and the clients that wait for this reload or for the next one.
pub(crate) struct Reloads {
    source: Option<ConfigSource>,
    tell: Tell<ReloadNews>,
    /// Whether a reload is to begin as soon as it is possible.
    is_wanted: bool,
    /// The clients that wait for the next reload.
    waiting: Vec<TextReply>,
    under_way: Option<RunningReload>,
}

#[derive(Default)]
struct RunningReload {
    waiting: Vec<TextReply>,
    warnings: String,
}

impl Reloads {
    pub(crate) fn new(source: Option<ConfigSource>, tell: Tell<ReloadNews>) -> Self {
        Self { source, tell, is_wanted: false, waiting: Vec::new(), under_way: None }
    }

    /// Requests a reload that reads the files after this call.
    pub(crate) fn want(&mut self, reply: Option<TextReply>) {
        self.is_wanted = true;
        self.waiting.extend(reply);
    }

    /// Whether a reload is to begin, and no other reload is under way.
    pub(crate) fn is_due(&self) -> bool {
        self.is_wanted && self.under_way.is_none()
    }

    /// Whether no reload waits or is under way.
    pub(crate) fn are_done(&self) -> bool {
        !self.is_wanted && self.under_way.is_none()
    }

    /// Begins to read the config, after a look at the files that are already watched. Tells
    /// [`ReloadNews::Reading`] and later [`ReloadNews::Prepared`].
    pub(crate) fn begin(&mut self, watches: &FileWatches, held: HeldSockets, running: Running) {
        self.is_wanted = false;
        let waiting = std::mem::take(&mut self.waiting);
        self.under_way = Some(RunningReload { waiting, warnings: String::new() });
        let source = self.source.clone();
        let (known, look) = (watches.all(), watches.look(&|_| true));
        let (tell, tell_file) = (Rc::clone(&self.tell), Rc::clone(&watches.tell));
        local_task::spawn(async move {
            look.await;
            tell(ReloadNews::Reading);
            let candidate = candidate(source, known, held, running, tell_file).await;
            tell(ReloadNews::Prepared(Box::new(candidate)));
        });
    }

    /// Reads the config for `drainit plan --reload`, and answers with the plan.
    pub(crate) fn begin_plan(&self, reply: TextReply, running: Running) {
        let source = self.source.clone();
        local_task::spawn(async move {
            // The send fails only if the client has gone away.
            let _ = reply.send(read(source, running).await.map(|read| read.plan.text));
        });
    }

    /// Records that drainit has a new config, which was read from these files.
    pub(crate) fn take(&mut self, files: AsRead) {
        if let Some(source) = &mut self.source {
            source.files = Arc::new(files);
        }
    }

    /// Looks whether the files have changed since the config was read. `false` if that is unknown.
    pub(crate) fn has_changed(&self) -> impl Future<Output = bool> + use<> {
        let files = self.source.as_ref().map(|source| Arc::clone(&source.files));
        async move {
            let Some(files) = files else { return false };
            on_thread(LONGEST_LOOK, move || files.has_changed()).await.unwrap_or(false)
        }
    }

    /// Keeps the warnings of the new config for the answer.
    pub(crate) fn warn(&mut self, warnings: String) {
        if let Some(under_way) = &mut self.under_way {
            under_way.warnings = warnings;
        }
    }

    /// Ends the reload that is under way. If sockets differ from their definitions, drainit changes
    /// these sockets first, and then answers the clients.
    pub(crate) fn answer(&mut self, outcome: Result<(), String>, differing: Vec<DifferingSocket>) {
        let Some(RunningReload { waiting, warnings }) = self.under_way.take() else { return };
        let answer = move || {
            for reply in waiting {
                // The send fails only if the client has gone away.
                let _ = reply.send(outcome.clone().map(|()| warnings.clone()));
            }
        };
        if differing.is_empty() {
            return answer();
        }
        local_task::spawn(async move {
            sockets::adapt(differing).await;
            answer();
        });
    }

    /// Postpones the reload that is under way, because the core cannot begin it now. The reload
    /// starts over, with the same clients, as soon as it is possible.
    pub(crate) fn again(&mut self) {
        if let Some(RunningReload { waiting, .. }) = self.under_way.take() {
            tracing::debug!("the reload reads the config again after the request that has begun");
            self.is_wanted = true;
            self.waiting.extend(waiting);
        }
    }

    /// Refuses all waiting reloads, with the reason `why`.
    pub(crate) fn give_up(&mut self, why: &str) {
        self.is_wanted = false;
        for reply in std::mem::take(&mut self.waiting) {
            let _ = reply.send(Err(why.to_owned()));
        }
    }
}

async fn candidate(
    source: Option<ConfigSource>,
    known: Vec<Watched>,
    held: HeldSockets,
    running: Running,
    tell_file: Tell<FileNews>,
) -> Result<Candidate, String> {
    let read = read(source, running).await?;
    let processes = &read.loaded.config.processes;
    let mut watched: Vec<_> =
        processes.iter().flat_map(|process| file_watch::watched_files(process)).collect();
    watched.retain(|watched| !known.contains(watched));
    let watches = FileWatches::begin(watched, tell_file).await;
    let wanted = sockets::wanted(&read.loaded.config);
    let opened = on_thread(LONGEST_OPEN, move || sockets::open(wanted, Some(&held))).await;
    let sockets = opened.unwrap_or_else(|why| Err(format!("`listen`: {why}")))?;
    Ok(Candidate { read, watches, sockets })
}

/// Reads the config as at the start, rehearses the reload, and finds what `drainit check` would find
/// of the processes that the reload starts or replaces. Without this look, a reload would stop a
/// process that then cannot start again.
async fn read(source: Option<ConfigSource>, running: Running) -> Result<ReadConfig, String> {
    let source =
        source.ok_or("drainit runs without a config file, so there is nothing to reload")?;
    let last_look = Arc::new(Mutex::new(String::new()));
    // A rehearsal of 2,000 processes takes 2.4 s of a processor, so 24 s if the container has a
    // tenth of it.
    let is_rehearsing = Arc::new(AtomicBool::new(false));
    let (looks, rehearses) = (Arc::clone(&last_look), Arc::clone(&is_rehearsing));
    let read = move || {
        let rehearsed = RefCell::new(Err(String::new()));
        let environment = Environment::from_process();
        let find = |new: &Config| {
            rehearses.store(true, Relaxed);
            let _ = rehearsed.replace(rehearse(&running, new, &source.arguments));
            rehearses.store(false, Relaxed);
            let Ok((_, plan)) = &*rehearsed.borrow() else { return Vec::new() };
            // The files of the process may hang.
            image::check_for_reload(new, &environment, |process| {
                process.name.clone_into(&mut locked(&looks));
                plan.anew.contains(&process.name)
            })
        };
        let loaded = load::load_to_reload(&source.paths, &environment, &find)
            .map_err(|problems| text(&problems) + "the config is wrong")?;
        refused::check(&running, &loaded.config)?;
        let (args, plan) = rehearsed.into_inner()?;
        Ok(ReadConfig { loaded, args, plan, lives: running.lives() })
    };
    let read = on_busy_thread(LONGEST_READ, || is_rehearsing.load(Relaxed), read).await;
    read.unwrap_or_else(|why| {
        let name = locked(&last_look);
        Err(match name.as_str() {
            "" => format!("the config cannot be read: {why}"),
            name => format!("the files of `{name}` cannot be looked at: {why}"),
        })
    })
}

/// Rehearses the reload to a config. Returns the arguments of each process, and the plan. An error
/// without text is for the caller, who also looks at the graph.
fn rehearse(
    running: &Running,
    new: &Config,
    arguments: &[String],
) -> Result<(Vec<Vec<String>>, ReloadPlan), String> {
    let graph = new.graph().map_err(|_| String::new())?;
    let args =
        args::route(new, arguments).map_err(|error| harmless(&error.to_string()).into_owned())?;
    let plan = ReloadPlan::new(running, new, &new.spec(&graph), &args);
    Ok((args, plan.ok_or("too many processes")?))
}

/// The problems as `drainit check` prints them; empty if there are no problems.
pub(crate) fn text(problems: &[Diagnostic]) -> String {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "{problem}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postponed_reload_keeps_every_client_and_a_refused_reload_is_done() {
        let mut reloads = Reloads::new(None, Rc::new(|_| ()));
        let (first, mut of_first) = tokio::sync::oneshot::channel();
        let (second, mut of_second) = tokio::sync::oneshot::channel();
        reloads.under_way = Some(RunningReload { waiting: vec![first], warnings: String::new() });
        reloads.want(Some(second));
        reloads.again();
        assert!(reloads.is_due());
        reloads.give_up("no");
        assert!(reloads.are_done());
        assert!(of_first.try_recv().unwrap().is_err() && of_second.try_recv().unwrap().is_err());
    }
}
