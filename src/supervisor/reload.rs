//! `drainit reload`: reads the config again, on a thread of its own because a file system may hang,
//! and hands what differs to the core.
//!
//! One reload at a time. Those who ask meanwhile get another one after it, because the files may
//! have changed since they were read. A signal or a watched file waits until a reload is possible;
//! an operator is told at once if it is not.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_local;

use crate::load;
use crate::load::{Diagnostic, Environment, Loaded, args};
use crate::os::on_thread::on_thread;
use crate::supervisor::file_watch;
use crate::supervisor::file_watch::{FileWatches, Watched};
use crate::supervisor::message::{Message, MessageSender, TextReply};
use crate::supervisor::sockets;
use crate::supervisor::sockets::{Differing, Held, LONGEST_OPEN, Sockets};
use crate::types::harmless;

/// The longest wait for the files: they may be on a file system that hangs.
pub(crate) const LONGEST_READ: Duration = Duration::from_secs(10);

/// Where the config came from at the start.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    pub paths: Vec<PathBuf>,
    /// Those of the container.
    pub arguments: Vec<String>,
}

/// A config that was read again, or why it cannot be used.
pub(crate) struct Prepared {
    pub(crate) purpose: Purpose,
    pub(crate) outcome: Result<Candidate, String>,
}

/// A config whose sockets are open, or why it cannot be used.
pub(crate) type Ready = Result<(Candidate, Vec<Sockets>), String>;

pub(crate) enum Purpose {
    Reload,
    Plan { reply: TextReply },
}

/// A config without errors.
pub(crate) struct Candidate {
    pub(crate) loaded: Loaded,
    pub(crate) args: Vec<Vec<String>>,
    /// Of the files that are not watched yet.
    pub(crate) watches: FileWatches,
}

impl Candidate {
    /// The warnings as `check` prints them; empty if there are none.
    pub(crate) fn warnings(&self) -> String {
        text(&self.loaded.warnings)
    }
}

/// The reload that is under way, and those who wait for it or for the next one.
pub(crate) struct Reloads {
    source: Option<ConfigSource>,
    sender: MessageSender,
    /// One is to begin as soon as that is possible.
    is_wanted: bool,
    /// Those who wait for it.
    waiting: Vec<TextReply>,
    under_way: Option<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    waiting: Vec<TextReply>,
    warnings: String,
}

impl Reloads {
    pub(crate) fn new(source: Option<ConfigSource>, sender: MessageSender) -> Self {
        Self { source, sender, is_wanted: false, waiting: Vec::new(), under_way: None }
    }

    /// Asks for a reload, of what the files hold from now on.
    pub(crate) fn want(&mut self, reply: Option<TextReply>) {
        self.is_wanted = true;
        self.waiting.extend(reply);
    }

    /// Whether one is to begin, and none is under way.
    pub(crate) fn is_due(&self) -> bool {
        self.is_wanted && self.under_way.is_none()
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins to read the config, after a look at the files that are watched already:
    /// [`Message::Reading`] and [`Message::Prepared`] follow.
    pub(crate) fn begin(&mut self, watches: &FileWatches) {
        self.is_wanted = false;
        let waiting = std::mem::take(&mut self.waiting);
        self.under_way = Some(UnderWay { waiting, warnings: String::new() });
        let source = self.source.clone();
        let (known, look) = (watches.all(), watches.look(&|_| true));
        let sender = self.sender.clone();
        spawn_local(async move {
            look.await;
            // Fails only when the event loop has ended.
            let _ = sender.send(Message::Reading);
            prepare(source, Purpose::Reload, known, sender).await;
        });
    }

    /// Begins to read the config for `drainit plan --reload`.
    pub(crate) fn begin_plan(&self, reply: TextReply) {
        let (source, sender) = (self.source.clone(), self.sender.clone());
        spawn_local(prepare(source, Purpose::Plan { reply }, Vec::new(), sender));
    }

    /// Begins to open the sockets of a config: [`Message::Opened`] follows.
    pub(crate) fn open_sockets(&self, candidate: Candidate, held: Held) {
        let sender = self.sender.clone();
        let wanted = sockets::wanted(&candidate.loaded.config);
        spawn_local(async move {
            let open = move || sockets::open(wanted, Some(&held));
            let opened = on_thread(LONGEST_OPEN, open).await;
            let opened = opened.unwrap_or_else(|why| Err(format!("`listen`: {why}")));
            let ready = opened.map(|opened| (candidate, opened));
            // Fails only when the event loop has ended.
            let _ = sender.send(Message::Opened(Box::new(ready)));
        });
    }

    /// Keeps the warnings of the new config for those who wait.
    pub(crate) fn warn(&mut self, warnings: String) {
        if let Some(under_way) = &mut self.under_way {
            under_way.warnings = warnings;
        }
    }

    /// The reload that is under way is over. Sockets that differ from their definitions get these
    /// before the answer.
    pub(crate) fn answer(&mut self, outcome: Result<(), String>, differing: Vec<Differing>) {
        let Some(UnderWay { waiting, warnings }) = self.under_way.take() else { return };
        let answer = move || {
            for reply in waiting {
                // A client that has gone away is not told.
                let _ = reply.send(outcome.clone().map(|()| warnings.clone()));
            }
        };
        if differing.is_empty() {
            return answer();
        }
        spawn_local(async move {
            sockets::adapt(differing).await;
            answer();
        });
    }

    /// The reload that is under way could not begin, and is to begin anew.
    pub(crate) fn again(&mut self) {
        if let Some(UnderWay { waiting, .. }) = self.under_way.take() {
            self.is_wanted = true;
            self.waiting.extend(waiting);
        }
    }

    /// No reload begins any more, for this reason.
    pub(crate) fn give_up(&mut self, why: &str) {
        self.is_wanted = false;
        for reply in std::mem::take(&mut self.waiting) {
            let _ = reply.send(Err(why.to_owned()));
        }
    }
}

async fn prepare(
    source: Option<ConfigSource>,
    purpose: Purpose,
    known: Vec<Watched>,
    sender: MessageSender,
) {
    let outcome = match source {
        Some(source) => candidate(source, &purpose, known, &sender).await,
        None => Err("there is no config file that could be read again".to_owned()),
    };
    // Fails only when the event loop has ended.
    let _ = sender.send(Message::Prepared(Box::new(Prepared { purpose, outcome })));
}

async fn candidate(
    source: ConfigSource,
    purpose: &Purpose,
    known: Vec<Watched>,
    sender: &MessageSender,
) -> Result<Candidate, String> {
    let read = on_thread(LONGEST_READ, move || read(&source)).await;
    let (loaded, args) = read.map_err(|why| format!("the config cannot be read: {why}"))??;
    let mut wanted = match purpose {
        Purpose::Reload => {
            loaded.config.processes.iter().flat_map(file_watch::watched).collect::<Vec<_>>()
        }
        Purpose::Plan { .. } => Vec::new(),
    };
    wanted.retain(|wanted| !known.contains(wanted));
    let watches = FileWatches::begin(wanted, sender).await;
    Ok(Candidate { loaded, args, watches })
}

/// Reads the config exactly as at the start.
fn read(source: &ConfigSource) -> Result<(Loaded, Vec<Vec<String>>), String> {
    let loaded = load::load(&source.paths, &Environment::from_process())
        .map_err(|problems| text(&problems) + "the config is wrong")?;
    let args = args::route(&loaded.config, &source.arguments)
        .map_err(|error| harmless(&error.to_string()).into_owned())?;
    Ok((loaded, args))
}

/// The problems as `check` prints them.
fn text(problems: &[Diagnostic]) -> String {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "{problem}");
    }
    text
}
