//! Watches the files of `watch`: one task for each, which sends an event when the content has
//! changed and has been quiet since.
//!
//! A path where nothing is has no content, so what is removed changes nothing until it is back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::{OnlyIf, Process, Watch};
use crate::http::describe_io;
use crate::os::fingerprint;
use crate::os::fingerprint::{Content, Fingerprint};
use crate::os::path_watch::PathWatch;
use crate::supervisor::message::{Message, MessageSender};
use crate::types::{harmless, human};

/// A change counts once nothing more has changed for this long: who replaces several files, or
/// writes one in pieces, is done by then.
const QUIET: Duration = Duration::from_secs(1);
/// The pause between two looks at a file where inotify fails.
const POLL: Duration = Duration::from_secs(5);
/// The start waits at most this long for what the files hold before it.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// One watched path.
struct FileWatch {
    /// The process.
    name: String,
    watch: Watch,
    /// `None` where inotify fails.
    changes: Option<PathWatch>,
    /// The content that the process knows, or will know from its start.
    known: Option<Fingerprint>,
    /// The path that could not be read the last time, and why; reported once.
    error: Option<(PathBuf, String)>,
}

/// The name of a process, and an entry of its `watch`.
pub(crate) type Watched = (String, Watch);

/// The tasks that watch files.
#[derive(Default)]
pub(crate) struct FileWatches {
    tasks: Vec<(Watched, Task)>,
}

/// Ends the task when it is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
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
            let content = fingerprint::take(watch.path.clone());
            let mut watch = FileWatch { name, watch, changes: None, known: None, error: None };
            watch.subscribe();
            watches.push((watch, content));
        }
        let until = Instant::now() + FIRST_LOOK;
        let mut tasks = Vec::with_capacity(watches.len());
        for (mut watch, content) in watches {
            // A look that takes longer, or fails, finds a change when it succeeds.
            if let Ok(Ok(content)) = timeout_at(until, content).await {
                watch.look(content);
            }
            let watched = (watch.name.clone(), watch.watch.clone());
            tasks.push((watched, Task(spawn_local(watch.run(sender.clone())).abort_handle())));
        }
        Self { tasks }
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
            self.changed().await;
            while timeout(QUIET, self.changed()).await.is_ok() {}
            let is_new = self.look_again().await;
            // A poll may see a file that is being written.
            let mut is_moving = is_new && self.changes.is_none();
            while is_moving {
                sleep(QUIET).await;
                is_moving = self.look_again().await;
            }
            let message =
                || Message::FileChanged { name: self.name.clone(), watch: self.watch.clone() };
            // Fails only when the event loop has ended.
            if is_new && sender.send(message()).is_err() {
                return;
            }
        }
    }

    /// Waits until the content may have changed.
    async fn changed(&mut self) {
        if let Some(changes) = &mut self.changes {
            match changes.changed().await {
                Ok(()) => return,
                Err(error) => self.poll_from_now_on(&error),
            }
        }
        sleep(POLL).await;
    }

    fn subscribe(&mut self) {
        match PathWatch::of_content(&self.watch.path) {
            Ok(changes) => self.changes = Some(changes),
            Err(error) => self.poll_from_now_on(&error),
        }
    }

    fn poll_from_now_on(&mut self, error: &std::io::Error) {
        self.changes = None;
        tracing::warn!(
            "{}: {} cannot be watched by inotify: {}; it is read every {} instead",
            self.name,
            shown(&self.watch.path),
            describe_io(error),
            human(POLL)
        );
    }

    /// Reads the content. Returns whether it is new.
    async fn look_again(&mut self) -> bool {
        match fingerprint::take(self.watch.path.clone()).await {
            Ok(content) => self.look(content),
            // There was no thread to read on; the next change or poll tries again.
            Err(_) => false,
        }
    }

    fn look(&mut self, content: Content) -> bool {
        let Content { fingerprint, unreadable } = content;
        let error = unreadable.map(|(path, error)| (path, describe_io(&error)));
        if let Some((path, why)) = error.as_ref().filter(|_| error != self.error) {
            tracing::warn!(
                "{}: {} cannot be read: {why}; drainit sees no change of its content",
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
