//! Watches the files of `watch`: one task for each, which tells the event loop at once when a file
//! is seen to change, and once it is quiet whether its content is new.
//!
//! A path where nothing is has no content, so what is removed changes nothing until it is back.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::{OnlyIf, Process, Watch, WatchAction};
use crate::http::describe_io;
use crate::local_task::LocalTask;
use crate::os::fingerprint;
use crate::os::fingerprint::{Content, Fingerprint, Followed, Look};
use crate::supervisor::message::{Message, MessageSender};
use crate::types::{harmless, human};

/// The pause before the next try where there was no thread to look on.
const NO_THREAD: Duration = Duration::from_secs(1);
/// A start waits at most this long for a look at the files before it.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// One watched path.
struct FileWatch {
    /// The process.
    name: String,
    watch: Watch,
    looks: UnboundedReceiver<Look>,
    shared: Rc<Shared>,
    /// The content that the process knows, or will know from its start.
    known: Option<Fingerprint>,
    /// The path that could not be read the last time, and why; reported once.
    error: Option<(PathBuf, String)>,
}

/// The part of a path's task that it shares with [`FileWatches`].
struct Shared {
    /// Asks for a look now.
    asks: RefCell<std::sync::mpsc::SyncSender<fingerprint::Asked>>,
    state: Cell<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Quiet,
    /// It was seen to change, and its content is not known yet.
    Changed,
    /// It was seen to change, and was read since, by a start or a reload, nobody knows with which
    /// content.
    Read,
}

/// A fact that was seen about a watched file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is no longer as it was.
    Changed,
    /// It is not written any more. `is_new`: it has other content.
    Quiet { is_new: bool },
}

/// The name of a process, and an entry of its `watch`.
pub(crate) type Watched = (String, Watch);

/// The tasks that watch files.
#[derive(Default)]
pub(crate) struct FileWatches {
    tasks: Vec<(Watched, Task)>,
}

struct Task {
    _task: LocalTask,
    shared: Rc<Shared>,
}

/// Returns the files that are watched for a process.
pub(crate) fn watched(process: &Process) -> impl Iterator<Item = Watched> + use<> {
    let watches = match process.only_if {
        Some(OnlyIf::Never) => Vec::new(),
        _ => process.watch.clone(),
    };
    let name = process.name.clone();
    watches.into_iter().map(move |watch| (name.clone(), watch))
}

impl FileWatches {
    /// Begins to watch files, and returns when it is known what they hold, so that no later change
    /// is missed.
    pub(crate) async fn begin(wanted: Vec<Watched>, sender: &MessageSender) -> Self {
        let mut watches = Vec::new();
        for (name, watch) in wanted {
            let Followed { looks, asks } = fingerprint::follow(watch.path.clone());
            let shared = Shared { asks: RefCell::new(asks), state: Cell::new(State::Quiet) };
            let shared = Rc::new(shared);
            watches.push(FileWatch { name, watch, looks, shared, known: None, error: None });
        }
        let until = Instant::now() + LONGEST_LOOK;
        let mut tasks = Vec::with_capacity(watches.len());
        for mut watch in watches {
            // A look that takes longer, or fails, finds a change when it succeeds.
            match timeout_at(until, watch.looks.recv()).await {
                Ok(Some(Look::Quiet(content))) => {
                    watch.is_new(content);
                }
                Ok(_) => {}
                Err(_) => tracing::warn!(
                    "{}: {} has not been read within {}; drainit sees no change of it before it has been",
                    watch.name,
                    shown(&watch.watch.path),
                    human(LONGEST_LOOK)
                ),
            }
            let watched = (watch.name.clone(), watch.watch.clone());
            let shared = Rc::clone(&watch.shared);
            let task = LocalTask::begin(watch.run(sender.clone()));
            tasks.push((watched, Task { _task: task, shared }));
        }
        Self { tasks }
    }

    /// Looks at the files of which this holds, now. Changes are reported before the future ends,
    /// unless a file system hangs; it need not be awaited.
    pub(crate) fn look(
        &self,
        which: &dyn Fn(&Watched) -> bool,
    ) -> impl Future<Output = ()> + use<> {
        let (asked, mut answers) = mpsc::channel(1);
        for (watched, task) in &self.tasks {
            if task.shared.state.get() != State::Changed && which(watched) {
                // Without a thread, or where it hangs, there is no look.
                let _ = task.shared.asks.borrow().try_send(asked.clone());
            }
        }
        drop(asked);
        async move {
            let _ = timeout(LONGEST_LOOK, answers.recv()).await;
        }
    }

    /// The files of which this holds are read from now on, at a start or a reload.
    pub(crate) fn are_read(&self, which: impl Fn(&Watched) -> bool) {
        for (watched, task) in &self.tasks {
            if task.shared.state.get() == State::Changed && which(watched) {
                task.shared.state.set(State::Read);
            }
        }
    }

    pub(crate) fn add(&mut self, mut others: Self) {
        self.tasks.append(&mut others.tasks);
    }

    /// Ends all others.
    pub(crate) fn keep(&mut self, wanted: &[Watched]) {
        self.tasks.retain(|(known, _)| wanted.contains(known));
    }

    /// Returns everything that is watched.
    pub(crate) fn all(&self) -> Vec<Watched> {
        self.tasks.iter().map(|(watched, _)| watched.clone()).collect()
    }
}

impl FileWatch {
    async fn run(mut self, sender: MessageSender) {
        loop {
            let (before, seen) = match self.looks.recv().await {
                Some(Look::Changed) => (self.becomes(State::Changed), Seen::Changed),
                Some(Look::Quiet(content)) => {
                    let before = self.becomes(State::Quiet);
                    // A later change than the one that a reload has read is seen itself.
                    let is_read = before == State::Read && self.watch.action == WatchAction::Reload;
                    (before, Seen::Quiet { is_new: self.is_new(content) && !is_read })
                }
                // After what the look has shown.
                Some(Look::Answer(answer)) => {
                    drop(answer);
                    continue;
                }
                None => {
                    // There was no thread to look on.
                    sleep(NO_THREAD).await;
                    let Followed { looks, asks } = fingerprint::follow(self.watch.path.clone());
                    self.looks = looks;
                    self.shared.asks.replace(asks);
                    continue;
                }
            };
            let unseen = match seen {
                // It could not be read before, or there was nobody to look.
                Seen::Quiet { is_new: true } if before == State::Quiet => Some(Seen::Changed),
                Seen::Quiet { is_new: false } if before == State::Quiet => continue,
                _ => None,
            };
            for seen in unseen.into_iter().chain([seen]) {
                let (name, watch) = (self.name.clone(), self.watch.clone());
                // Fails only when the event loop has ended.
                if sender.send(Message::File { name, watch, seen }).is_err() {
                    return;
                }
            }
        }
    }

    /// Returns the state before.
    fn becomes(&mut self, state: State) -> State {
        let before = self.shared.state.replace(state);
        if before == State::Read {
            self.known = None;
        }
        before
    }

    /// Returns whether the content is new.
    fn is_new(&mut self, content: Content) -> bool {
        let Content { fingerprint, unreadable } = content;
        let error = unreadable.map(|(path, error)| (path, describe_io(&error)));
        if let Some((path, why)) = error.as_ref().filter(|_| error != self.error) {
            tracing::warn!(
                "{}: {} cannot be read: {why}; drainit does not see when its content changes",
                self.name,
                shown(path)
            );
        }
        self.error = error;
        let new = fingerprint.filter(|fingerprint| Some(*fingerprint) != self.known);
        self.known = new.or(self.known);
        new.is_some()
    }
}

/// A path for the log.
pub(crate) fn shown(path: &Path) -> String {
    harmless(&path.to_string_lossy()).into_owned()
}
