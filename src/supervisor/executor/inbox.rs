//! Takes the messages of the local tasks, and handles each of them. Only the executor knows what a
//! message says.

use std::collections::VecDeque;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::core::action::Action;
use crate::core::event::{Event, Request};
use crate::keys::WatchAction;
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::{Message, MessageSender};
use crate::supervisor::executor::reload::is_read_by_reload;
use crate::supervisor::tasks::file_watch::{FileNews, Seen};
use crate::supervisor::tasks::reload::ReloadNews;
use crate::types::ProcessId;

/// The work that a message leaves to the event loop.
pub(crate) enum Then {
    /// It gives these events to the core.
    Handle(Vec<Event>),
    /// It reaps children, and scans groups.
    Reap,
    /// It carries out these actions, which begin a reload.
    CarryOut(Vec<Action>),
}

/// A message that is not handled yet.
pub(crate) struct Received(Message);

/// The messages that are not handled yet.
pub(crate) struct Inbox {
    receiver: UnboundedReceiver<Message>,
    /// The messages that came before the messages in `receiver`.
    waiting: VecDeque<Received>,
}

impl Inbox {
    /// An inbox, and the sender of its messages.
    pub(crate) fn new() -> (MessageSender, Self) {
        let (sender, receiver) = unbounded_channel();
        (sender, Self { receiver, waiting: VecDeque::new() })
    }

    /// Waits for the next message. No message is lost if the caller stops waiting.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        match self.waiting.pop_front() {
            Some(message) => Some(message),
            None => self.receiver.recv().await.map(Received),
        }
    }

    pub(crate) fn take(&mut self) -> Option<Received> {
        self.waiting.pop_front().or_else(|| self.receiver.try_recv().ok().map(Received))
    }

    /// Like [`Self::take`], but drops the messages that no longer count when drainit exits: only
    /// requests for the shutdown, and ends of requests, have clients that still wait.
    pub(crate) fn take_last(&mut self) -> Option<Received> {
        let counts = |Received(message): &Received| {
            matches!(message, Message::Shutdown { .. } | Message::RequestOver { .. })
        };
        std::iter::from_fn(|| self.take()).find(counts)
    }

    /// Takes the messages about these processes. The other messages keep their order.
    pub(crate) fn take_of(&mut self, processes: &[ProcessId]) -> VecDeque<Received> {
        if processes.is_empty() {
            return VecDeque::new();
        }
        while let Ok(message) = self.receiver.try_recv() {
            self.waiting.push_back(Received(message));
        }
        let all = std::mem::take(&mut self.waiting).into_iter();
        let is_of = |of: ProcessId| processes.contains(&of);
        let (taken, left) = all.partition(|Received(message)| message.process().is_some_and(is_of));
        self.waiting = left;
        taken
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.receiver.len()
    }
}

impl Executor {
    pub(crate) fn on_message(&mut self, Received(message): Received) -> Then {
        let mut events = Vec::new();
        match message {
            Message::Event(happened) => events.push(happened),
            Message::FilesReady { start, task, files } => {
                events.extend(self.on_files(start, task, *files));
            }
            Message::ExecOver { process, pid, is_late } => {
                events.extend(self.on_exec_over(process, pid, is_late));
            }
            Message::ExecFailed { process, pid, error } => {
                events.extend(self.on_exec_failed(process, pid, error));
            }
            Message::OfInstance { process, instance, news, place } => {
                drop(place);
                events.extend(self.on_news(process, instance, news));
            }
            Message::HookOver { hook, task, event: ended, why } => {
                events.extend(self.on_hook_over(hook, task, ended, why));
            }
            Message::Counted { is_first } => events.extend(self.on_counted(is_first)),
            Message::Swept(signal, swept) => events.extend(self.on_swept(signal, *swept)),
            Message::Shutdown { reply, client } => {
                self.requests.add_shutdown(reply, client);
                events.push(Event::ShutdownRequested);
            }
            Message::Request { name, request, reply, is_late: None }
                if !self.requests.are_any(&name, request) =>
            {
                // A stop need not know whether watched files have changed.
                let process = self.processes.process(&name);
                let process = process.filter(|_| request != Request::Stop);
                let again =
                    move |late| Message::Request { name, request, reply, is_late: Some(late) };
                self.after_look(process, again);
            }
            // `is_late` says whether the look at the connections before the request was late.
            Message::Request { name, request, reply, is_late } => {
                if let Some(process) = self.processes.process(&name) {
                    self.requests.add(&name, request, reply, is_late == Some(true));
                    events.push(Event::Requested { process, request });
                } else {
                    // A reload has removed the process meanwhile. The send fails only if the client
                    // has gone away.
                    let _ = reply.send(Err(format!("there is no process `{name}` any more")));
                }
            }
            Message::RequestOver { endings, answer, reply } => {
                self.on_request_over(endings);
                // The send fails only if the client has gone away.
                let _ = reply.send(answer);
            }
            Message::Wake => return Then::Reap,
            Message::Remark(line) => self.processes.remark(&line),
            Message::MainEnded { process, pid } => self.on_main_ended(process, pid),
            Message::Reload { reply } => self.on_reload_requested(reply),
            Message::PlanReload { reply } => self.on_plan_requested(reply),
            Message::OfReload(ReloadNews::Reading) => {
                self.file_watches.mark_read(is_read_by_reload);
            }
            Message::OfReload(ReloadNews::Prepared(candidate)) => {
                return self.on_prepared(*candidate).map_or(Then::Handle(events), Then::CarryOut);
            }
            Message::Members(members) => {
                events.extend(self.judge_groups(&members).into_iter().map(Event::GroupGone));
            }
            Message::LookedForLeftovers { process, number, look } => {
                events.extend(self.on_leftovers(process, number, *look));
            }
            Message::File(news) => events = self.on_file(news),
        }
        Then::Handle(events)
    }

    /// Handles a report about a watched file.
    fn on_file(&mut self, FileNews { name, watch, seen }: FileNews) -> Vec<Event> {
        if seen == Seen::Changed {
            // Other processes may watch the same file, or may restart because this process
            // restarts. drainit looks at all watched files now, so that no process restarts twice.
            drop(self.file_watches.look(&|_| true));
        }
        if watch.action == WatchAction::Reload {
            if seen == (Seen::Quiet { is_new: true }) {
                self.reload_file(&name, &watch);
            }
            return Vec::new();
        }
        let event = |(process, watch)| match seen {
            Seen::Changed => Event::FileSeen { process, watch },
            Seen::Quiet { is_new } => Event::FileQuiet { process, watch, is_new },
        };
        self.watches_of(&name, &watch).into_iter().map(event).collect()
    }
}
