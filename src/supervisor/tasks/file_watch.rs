//! Watches the files of `watch`. Each file has a thread, which looks at the file ([`fingerprint`]),
//! and a local task, which gets the results. The task reports a change to the event loop at once.
//! When the file has not changed for a second, the task reports whether its content is new.
//!
//! A missing file has no content, so the removal of a file does not count as new content.

#[cfg(test)]
mod oracle;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::http::describe_io;
use crate::keys::{OnlyIf, Process, Watch, WatchAction};
use crate::local_task::LocalTask;
use crate::os::fingerprint::{self, Content, Fingerprint, Followed, WatchReport};
use crate::supervisor::tasks::Tell;
use crate::types::{harmless, human};

/// The pause before the next attempt to start a thread.
const NO_THREAD: Duration = Duration::from_secs(1);
/// If a thread has reported nothing for this long, drainit asks the thread for a look at its path.
const SILENCE: Duration = Duration::from_secs(5);
/// drainit waits at most this long for a look at the files.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// One watched path.
struct FileWatch {
    /// The name of the process.
    name: String,
    watch: Watch,
    looks: UnboundedReceiver<WatchReport>,
    shared: Rc<SharedPath>,
    /// The content that the process has read, or will read at its start.
    known: Option<Fingerprint>,
    /// The path that could not be read at the last look, and the reason. drainit warns again only
    /// if one of the two changes.
    error: Option<(PathBuf, String)>,
    /// Whether the thread was asked for a look, and has not answered yet.
    is_asked: bool,
    /// Whether drainit has warned that the thread does not answer.
    hangs: bool,
    /// [`SILENCE`], except in a test.
    silence: Duration,
}

/// The state that the task of a path shares with [`FileWatches`].
struct SharedPath {
    /// The channel on which drainit asks the thread to look at once.
    asks: RefCell<std::sync::mpsc::SyncSender<fingerprint::Asked>>,
    state: Cell<PathState>,
}

impl SharedPath {
    /// Asks the thread for a look. Returns `false` if there is no thread, or if too many requests
    /// wait for it.
    fn ask(&self, asked: fingerprint::Asked) -> bool {
        self.asks.borrow().try_send(asked).is_ok()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PathState {
    Quiet,
    /// The file has changed, and its new content is not known yet.
    Changed,
    /// The file has changed, and a start or a reload has read it since. drainit does not know which
    /// content was read.
    Read,
    /// A start or a reload is reading the file. A look at its end shows whether the file has changed
    /// meanwhile, or shortly before.
    Reading,
}

impl PathState {
    /// Whether the file is not changing now, as far as the task knows.
    fn is_quiet(self) -> bool {
        matches!(self, Self::Quiet | Self::Reading)
    }
}

/// A report about a watched file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The file has changed.
    Changed,
    /// The file has not changed for a second. `is_new` says whether its content is new.
    Quiet { is_new: bool },
}

/// The news of a watched file of a process.
pub(crate) struct FileNews {
    /// The name of the process.
    pub(crate) name: String,
    pub(crate) watch: Watch,
    pub(crate) seen: Seen,
}

/// The name of a process, and an entry of its `watch`.
pub(crate) type Watched = (String, Watch);

/// The tasks that watch files.
pub(crate) struct FileWatches {
    tasks: Vec<(Watched, Task)>,
    pub(crate) tell: Tell<FileNews>,
}

struct Task {
    _task: LocalTask,
    shared: Rc<SharedPath>,
}

/// Returns the watched files of a process.
pub(crate) fn watched_files(process: &Process) -> impl Iterator<Item = Watched> + use<> {
    let watches = match process.only_if {
        Some(OnlyIf::Never) => Vec::new(),
        _ => process.watch.clone(),
    };
    let name = process.name.clone();
    watches.into_iter().map(move |watch| (name.clone(), watch))
}

impl FileWatches {
    /// No watches yet.
    pub(crate) fn new(tell: Tell<FileNews>) -> Self {
        Self { tasks: Vec::new(), tell }
    }

    /// Begins to watch files. Waits at most [`LONGEST_LOOK`] until their content is known, so that
    /// no later change is missed.
    pub(crate) async fn begin(wanted: Vec<Watched>, tell: Tell<FileNews>) -> Self {
        let mut watches = Vec::new();
        for (name, watch) in wanted {
            let Followed { looks, asks } = fingerprint::follow(watch.path.clone());
            let shared =
                SharedPath { asks: RefCell::new(asks), state: Cell::new(PathState::Quiet) };
            let shared = Rc::new(shared);
            watches.push(FileWatch {
                name,
                watch,
                looks,
                shared,
                known: None,
                error: None,
                is_asked: false,
                hangs: false,
                silence: SILENCE,
            });
        }
        let until = Instant::now() + LONGEST_LOOK;
        let mut tasks = Vec::with_capacity(watches.len());
        for mut watch in watches {
            // If this first look fails, or is not over at `until`, the content stays unknown. In
            // that case, the first look that succeeds reports a change.
            match timeout_at(until, watch.looks.recv()).await {
                Ok(Some(WatchReport::Quiet(content))) => {
                    watch.is_new(content);
                }
                Ok(_) => {}
                Err(_) => watch.on_hang(LONGEST_LOOK),
            }
            let watched = (watch.name.clone(), watch.watch.clone());
            let shared = Rc::clone(&watch.shared);
            let task = LocalTask::begin(watch.run(Rc::clone(&tell)));
            tasks.push((watched, Task { _task: task, shared }));
        }
        Self { tasks, tell }
    }

    /// Requests a look at the files for which `which` is true. If no file system hangs, changes are
    /// reported before the future ends. The caller need not await the future.
    pub(crate) fn look(
        &self,
        which: &dyn Fn(&Watched) -> bool,
    ) -> impl Future<Output = ()> + use<> {
        let (asked, mut answers) = mpsc::unbounded_channel();
        for (watched, task) in &self.tasks {
            if task.shared.state.get() != PathState::Changed && which(watched) {
                // If there is no thread, or if the thread hangs, nobody looks at the file.
                task.shared.ask(Some(asked.clone()));
            }
        }
        drop(asked);
        async move {
            let _ = timeout(LONGEST_LOOK, answers.recv()).await;
        }
    }

    /// Records that a start or a reload now reads the files for which `which` is true.
    pub(crate) fn mark_read(&self, which: impl Fn(&Watched) -> bool) {
        for (watched, task) in &self.tasks {
            let Task { shared, .. } = task;
            match shared.state.get() {
                _ if !which(watched) => {}
                PathState::Changed => shared.state.set(PathState::Read),
                PathState::Quiet => shared.state.set(PathState::Reading),
                _ => {}
            }
        }
    }

    /// Records that a start or a reload has read the files for which `which` is true.
    pub(crate) fn on_read(&self, which: impl Fn(&Watched) -> bool) {
        for (watched, Task { shared, .. }) in &self.tasks {
            if shared.state.get() == PathState::Reading && which(watched) {
                shared.ask(None);
            }
        }
    }

    pub(crate) fn add(&mut self, mut others: Self) {
        self.tasks.append(&mut others.tasks);
    }

    /// Ends the watches that are not in `wanted`.
    pub(crate) fn keep(&mut self, wanted: &[Watched]) {
        self.tasks.retain(|(known, _)| wanted.contains(known));
    }

    /// Returns all watched files.
    pub(crate) fn all(&self) -> Vec<Watched> {
        self.tasks.iter().map(|(watched, _)| watched.clone()).collect()
    }
}

impl FileWatch {
    async fn run(mut self, tell: Tell<FileNews>) {
        loop {
            let Ok(look) = timeout(self.silence, self.looks.recv()).await else {
                self.ask();
                continue;
            };
            (self.is_asked, self.hangs) = (false, false);
            let (before, seen) = match look {
                Some(WatchReport::Changed) => (self.becomes(PathState::Changed), Seen::Changed),
                Some(WatchReport::Quiet(content)) => {
                    let before = self.becomes(PathState::Quiet);
                    // If a reload has already read this content, the content must not cause another
                    // reload.
                    let is_read =
                        before == PathState::Read && self.watch.action == WatchAction::Reload;
                    (before, Seen::Quiet { is_new: self.is_new(content) && !is_read })
                }
                // All changes that the look has found came before this answer. `answer` is a
                // sender. When the senders of all files are dropped, the caller of
                // [`FileWatches::look`] knows that the look is over.
                Some(WatchReport::Answer(answer)) => {
                    let is_reading = self.shared.state.get() == PathState::Reading;
                    if is_reading && answer.is_none() {
                        self.shared.state.set(PathState::Quiet);
                    }
                    continue;
                }
                None => {
                    self.on_missing_thread();
                    sleep(NO_THREAD).await;
                    let Followed { looks, asks } = fingerprint::follow(self.watch.path.clone());
                    self.looks = looks;
                    self.shared.asks.replace(asks);
                    continue;
                }
            };
            let unseen = match seen {
                // No earlier look has reported this change, because the file could not be read, or
                // no thread could be started to read the file.
                Seen::Quiet { is_new: true } if before.is_quiet() => Some(Seen::Changed),
                Seen::Quiet { is_new: false } if before.is_quiet() => continue,
                _ => None,
            };
            for seen in unseen.into_iter().chain([seen]) {
                let (name, watch) = (self.name.clone(), self.watch.clone());
                tell(FileNews { name, watch, seen });
            }
        }
    }

    /// Asks the thread for a look. If the thread has not answered the last request for a look,
    /// warns once that the file is not being read.
    fn ask(&mut self) {
        if !self.is_asked {
            self.is_asked = self.shared.ask(Some(mpsc::unbounded_channel().0));
        } else if !self.hangs {
            self.on_hang(self.silence);
        }
    }

    fn on_hang(&mut self, within: Duration) {
        self.hangs = true;
        tracing::warn!(
            "{}: {} has not been read within {}; drainit sees no change of it before it has been",
            self.name,
            path_to_text(&self.watch.path),
            human(within)
        );
    }

    /// Warns once that drainit could not start the thread that looks at the path.
    fn on_missing_thread(&mut self) {
        let why =
            "no thread can be started: the container has reached its pids limit, or lacks memory";
        let error = Some((self.watch.path.clone(), why.to_owned()));
        if self.error != error {
            let (name, path) = (&self.name, path_to_text(&self.watch.path));
            tracing::warn!("{name}: {path} is not watched: {why}; drainit tries again each second");
        }
        self.error = error;
    }

    /// Sets the state, and returns the old state. After [`PathState::Read`], and after a change
    /// during [`PathState::Reading`], the content that was read is not known any more.
    fn becomes(&mut self, state: PathState) -> PathState {
        let before = self.shared.state.replace(state);
        let is_unsure = before == PathState::Reading && state == PathState::Changed;
        if before == PathState::Read || is_unsure {
            self.known = None;
        }
        before
    }

    /// Returns whether the content is new, and stores its fingerprint in `known`. Missing or
    /// unreadable content is not new. Warns once about unreadable content.
    fn is_new(&mut self, content: Content) -> bool {
        let Content { fingerprint, unreadable } = content;
        let error = unreadable.map(|(path, error)| (path, describe_io(&error)));
        if let Some((path, why)) = error.as_ref().filter(|_| error != self.error) {
            tracing::warn!(
                "{}: {} cannot be read: {why}; drainit does not see when its content changes",
                self.name,
                path_to_text(path)
            );
        }
        self.error = error;
        let new = fingerprint.filter(|fingerprint| Some(*fingerprint) != self.known);
        self.known = new.or(self.known);
        new.is_some()
    }
}

/// Formats a path for the log.
pub(crate) fn path_to_text(path: &Path) -> String {
    harmless(&path.to_string_lossy()).into_owned()
}
