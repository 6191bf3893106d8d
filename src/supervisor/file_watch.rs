//! Watches the files of `watch`: one task for each, which sends an event when the content has
//! changed and has been quiet since.
//!
//! A path where nothing is has no content, so what is removed changes nothing until it is back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::{Config, OnlyIf};
use crate::http::describe_io;
use crate::os::fingerprint;
use crate::os::fingerprint::Fingerprint;
use crate::os::path_watch::PathWatch;
use crate::supervisor::message::{Message, MessageSender};
use crate::types::{ProcessId, harmless, human};

/// A change counts once nothing more has changed for this long: who replaces several files, or
/// writes one in pieces, is done by then.
const QUIET: Duration = Duration::from_secs(1);
/// The pause between two looks at a file where inotify fails.
const POLL: Duration = Duration::from_secs(5);
/// The start waits at most this long for what the files hold before it.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// One watched path.
struct FileWatch {
    process: ProcessId,
    /// The index into the `watch` of the process.
    index: usize,
    name: String,
    path: PathBuf,
    /// `None` where inotify fails.
    changes: Option<PathWatch>,
    /// The content that the process knows, or will know from its start.
    known: Option<Fingerprint>,
    /// The last error, which is reported once.
    error: Option<String>,
}

/// Begins to watch all files, and returns when it is known what they hold, so that no later change
/// is missed.
pub(crate) async fn begin(config: &Config, sender: &MessageSender) {
    let mut watches = Vec::new();
    for (id, process) in (0..).map(ProcessId).zip(&config.processes) {
        let is_run = process.only_if != Some(OnlyIf::Never);
        for (index, watch) in process.watch.iter().enumerate().filter(|_| is_run) {
            let mut watch = FileWatch {
                process: id,
                index,
                name: process.name.clone(),
                path: watch.path.clone(),
                changes: None,
                known: None,
                error: None,
            };
            watch.subscribe();
            let content = fingerprint::take(watch.path.clone());
            watches.push((watch, content));
        }
    }
    let until = Instant::now() + FIRST_LOOK;
    for (mut watch, content) in watches {
        // A look that takes longer, or fails, finds a change when it succeeds.
        if let Ok(Ok(content)) = timeout_at(until, content).await {
            watch.look(content);
        }
        spawn_local(watch.run(sender.clone()));
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
            let message = Message::FileChanged { process: self.process, watch: self.index };
            // Fails only when the event loop has ended.
            if is_new && sender.send(message).is_err() {
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
        match PathWatch::of_content(&self.path) {
            Ok(changes) => self.changes = Some(changes),
            Err(error) => self.poll_from_now_on(&error),
        }
    }

    fn poll_from_now_on(&mut self, error: &std::io::Error) {
        self.changes = None;
        tracing::warn!(
            "{}: {} cannot be watched by inotify: {}; it is read every {} instead",
            self.name,
            shown(&self.path),
            describe_io(error),
            human(POLL)
        );
    }

    /// Reads the content. Returns whether it is new.
    async fn look_again(&mut self) -> bool {
        match fingerprint::take(self.path.clone()).await {
            Ok(content) => self.look(content),
            // There was no thread to read on; the next change or poll tries again.
            Err(_) => false,
        }
    }

    fn look(&mut self, content: std::io::Result<Option<Fingerprint>>) -> bool {
        let error = content.as_ref().err().map(describe_io);
        if let Some(error) = error.as_ref().filter(|_| error != self.error) {
            tracing::warn!(
                "{}: {} cannot be read: {error}; drainit sees no change of it",
                self.name,
                shown(&self.path)
            );
        }
        self.error = error;
        let content = content.ok().flatten().filter(|content| Some(*content) != self.known);
        self.known = content.or(self.known);
        content.is_some()
    }
}

/// A path for the log.
pub(crate) fn shown(path: &Path) -> String {
    harmless(&path.to_string_lossy()).into_owned()
}
