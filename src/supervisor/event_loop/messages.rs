//! Takes the messages of a turn, and handles each of them.

use std::collections::VecDeque;
use std::io;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::core::event::{Event, Request};
use crate::keys::WatchAction;
use crate::os::clock;
use crate::supervisor::event_loop::Step;
use crate::supervisor::executor::message::Message;
use crate::supervisor::executor::starts::STARTS_OF_TURN;
use crate::supervisor::tasks::file_watch::{FileNews, Seen};
use crate::supervisor::tasks::reload::ReloadNews;
use crate::types::ProcessId;

/// The most messages that one turn of the event loop handles, unless drainit is late. Between two
/// turns, drainit looks at signals and timers. A message may start a process, and a turn may not
/// start many.
const MESSAGES: usize = STARTS_OF_TURN;

/// The messages that are not handled yet.
pub(super) struct Inbox {
    receiver: UnboundedReceiver<Message>,
    /// The messages that came before the messages in `receiver`.
    waiting: VecDeque<Message>,
}

impl Inbox {
    pub(super) fn new(receiver: UnboundedReceiver<Message>) -> Self {
        Self { receiver, waiting: VecDeque::new() }
    }

    /// Waits for the next message. No message is lost if the caller stops waiting.
    pub(super) async fn next(&mut self) -> Option<Message> {
        match self.waiting.pop_front() {
            Some(message) => Some(message),
            None => self.receiver.recv().await,
        }
    }

    pub(super) fn take(&mut self) -> Option<Message> {
        self.waiting.pop_front().or_else(|| self.receiver.try_recv().ok())
    }

    /// Takes the messages about these processes. The other messages keep their order.
    pub(super) fn take_of(&mut self, processes: &[ProcessId]) -> VecDeque<Message> {
        if processes.is_empty() {
            return VecDeque::new();
        }
        while let Ok(message) = self.receiver.try_recv() {
            self.waiting.push_back(message);
        }
        let all = std::mem::take(&mut self.waiting).into_iter();
        let is_of = |of: ProcessId| processes.contains(&of);
        let (taken, left) = all.partition(|message| message.process().is_some_and(is_of));
        self.waiting = left;
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.receiver.len()
    }
}

impl Step<'_> {
    /// Handles a message and some of the messages after it, until something else is due.
    pub(super) fn messages_of_turn(&mut self, first: Message) -> io::Result<()> {
        self.on_message(first)?;
        for _ in 1..MESSAGES {
            let is_due = self.events.wakes_at.is_some_and(|due| due <= clock::now());
            if is_due || self.events.has_ended || self.events.exit.is_some() {
                break;
            }
            let Some(message) = self.events.inbox.take() else { break };
            self.on_message(message)?;
        }
        Ok(())
    }

    pub(super) fn on_message(&mut self, message: Message) -> io::Result<()> {
        // A pending stop signal is handled before the message, which may start a process or change
        // the meaning of signals.
        if self.stop_is_pending() {
            self.take_pending(clock::now())?;
        }
        let executor = &mut *self.executor;
        let mut event = None;
        match message {
            Message::Event(happened) => event = Some(happened),
            Message::FilesReady { start, task, files } => {
                event = executor.on_files(start, task, *files);
            }
            Message::ExecOver { process, pid, is_late } => {
                event = executor.on_exec_over(process, pid, is_late);
            }
            Message::ExecFailed { process, pid, error } => {
                event = executor.on_exec_failed(process, pid, error);
            }
            Message::OfInstance { process, instance, news, place } => {
                drop(place);
                event = executor.on_news(process, instance, news);
            }
            Message::HookOver { hook, task, event: ended, why } => {
                event = executor.on_hook_over(hook, task, ended, why);
            }
            Message::Counted { is_first } => event = executor.on_counted(is_first),
            Message::Swept(signal, swept) => event = executor.on_swept(signal, *swept),
            Message::Shutdown { reply, client } => {
                executor.requests.add_shutdown(reply, client);
                event = Some(Event::ShutdownRequested);
            }
            Message::Request { name, request, reply, is_late: None }
                if !executor.requests.are_any(&name, request) =>
            {
                // A stop need not know whether watched files have changed.
                let process = executor.processes.process(&name);
                let process = process.filter(|_| request != Request::Stop);
                let again =
                    move |late| Message::Request { name, request, reply, is_late: Some(late) };
                executor.after_look(process, again);
            }
            Message::Request { name, request, reply, is_late } => {
                event = executor.on_request(&name, request, reply, is_late == Some(true));
            }
            Message::RequestOver { endings, answer, reply } => {
                executor.on_request_over(endings);
                // The send fails only if the client has gone away.
                let _ = reply.send(answer);
            }
            Message::Wake => self.events.has_ended = true,
            Message::Remark(line) => executor.processes.remark(&line),
            Message::MainEnded { process, pid } => executor.on_main_ended(process, pid),
            Message::Reload { reply } => self.on_reload_requested(reply),
            Message::PlanReload { reply } => self.on_plan_requested(reply),
            Message::OfReload(ReloadNews::Reading) => self.on_config_reading(),
            Message::OfReload(ReloadNews::Prepared(candidate)) => self.on_prepared(*candidate)?,
            Message::Members(members) => {
                for process in executor.judge_groups(&members) {
                    self.handle(Event::GroupGone(process))?;
                }
            }
            Message::File(news) => self.on_file(news)?,
        }
        event.map_or(Ok(()), |event| self.handle(event))
    }

    /// Handles a report about a watched file.
    fn on_file(&mut self, FileNews { name, watch, seen }: FileNews) -> io::Result<()> {
        if seen == Seen::Changed {
            // Other processes may watch the same file, or may restart because this process
            // restarts. drainit looks at all watched files now, so that no process restarts twice.
            drop(self.executor.file_watches.look(&|_| true));
        }
        if watch.action == WatchAction::Reload {
            if seen == (Seen::Quiet { is_new: true }) {
                self.reload_file(&name, &watch);
            }
            return Ok(());
        }
        for (process, watch) in self.executor.watches_of(&name, &watch) {
            self.handle(match seen {
                Seen::Changed => Event::FileSeen { process, watch },
                Seen::Quiet { is_new } => Event::FileQuiet { process, watch, is_new },
            })?;
        }
        Ok(())
    }
}
