//! Starts the commands of hooks, and kills hooks that the core gives up.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use nix::unistd::geteuid;
use tokio::task::Id;
use tokio::time::timeout;

use crate::core::event::Event;
use crate::core::spec::{HookId, Stage};
use crate::journal::messages;
use crate::keys::Hook;
use crate::load::at_start;
use crate::local_task::LocalTask;
use crate::os::Pid;
use crate::os::kill::kill_group_of_child;
use crate::os::on_thread::{Share, on_thread};
use crate::supervisor::children::{ChildRole, Rest};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::Message;
use crate::supervisor::executor::starts::Start;
use crate::supervisor::launch::{self, LONGEST_START, StartError};
use crate::supervisor::tasks::preparation::{Preparation, PreparedFiles};
use crate::supervisor::tasks::readiness;
use crate::supervisor::tasks::run_command::StartedCommand;
use crate::types::{ProcessId, Reason, Signal, harmless, human};

/// A hook that is under way, or the check of an Envoy's config that runs in place of a hook.
pub(super) struct RunningHook {
    task: LocalTask,
    /// The pid of the command, once it has started.
    pid: Rc<Cell<Option<Pid>>>,
}

/// The hooks that are under way.
#[derive(Default)]
pub(super) struct Hooks(BTreeMap<HookId, RunningHook>);

impl Hooks {
    /// Removes a hook whose task has ended. Returns `false` if the hook was aborted or has begun
    /// again.
    fn end(&mut self, id: HookId, task: Id) -> bool {
        let is_current = self.0.get(&id).is_some_and(|hook| hook.task.id() == task);
        is_current && self.0.remove(&id).is_some()
    }
}

/// Reports that a hook cannot start, as an error in the log and in the report: its program is
/// missing, its user could not be looked up, or drainit lacks descriptors or processes. `why` begins
/// with what failed.
fn refuse(hook: HookId, name: &str, why: &str) -> (Event, Option<Reason>) {
    let line = format!("{name}: {}", harmless(why));
    tracing::error!("{line}");
    (Event::HookEnded { hook, success: false }, Some(line.into()))
}

/// The reason of [`refuse`] if something else than the start itself has failed.
fn unstartable(why: &str) -> String {
    format!("cannot be started: {why}")
}

/// The [`Share`] whose threads a hook uses.
pub(super) fn share_of(hook: HookId) -> Share {
    match (hook.stage, hook.process) {
        (Stage::PreStart, Some(process)) => Share::Start(process),
        (Stage::PreStart, None) => Share::Container,
        (Stage::PreStop | Stage::PostStop, process) => Share::Stop(process),
    }
}

impl Executor {
    /// Starts the command of a hook. If the hook is over at once, returns the event that ends it.
    pub(crate) fn run_hook(&mut self, id: HookId) -> Option<Event> {
        let Some(process) = id.process else {
            // The final sweep, which signals leftover processes, must not signal the `post_stop`
            // hook of the container.
            self.sweep = None;
            return self.begin_hook(id, Ok(PreparedFiles::default()));
        };
        let mut preparation = Preparation {
            opens_log: self.logs.opens(&self.process(process).log.mode),
            ..Preparation::default()
        };
        if id.stage == Stage::PreStart {
            self.mark_files_read(process);
            // An earlier start may have rendered the files, and may have ended while its hook ran.
            // This start has to render the files again.
            self.processes.slots[process].instance.is_rendered = false;
            preparation.values = Some(self.config.env.clone());
            preparation.renders = Some(self.base.to_vec());
        }
        self.prepare(Start::Hook(id), process, preparation)
    }

    /// Starts the command of a hook after its files were gathered.
    pub(super) fn begin_hook(
        &mut self,
        id: HookId,
        files: Result<PreparedFiles, StartError>,
    ) -> Option<Event> {
        let config = Rc::clone(&self.config);
        let mut directory = None;
        match (id.process, id.stage, files) {
            (Some(process), Stage::PreStart, Err(error)) => {
                return Some(self.on_spawn_failed(process, &error));
            }
            (_, _, Err(error)) => return Some(self.refuse_hook(id, &error.to_string())),
            (Some(process), stage, Ok(mut files)) => {
                if stage != Stage::PreStart {
                    // Every hook after `pre_start` gets the values that were read when the process
                    // was started.
                    let read = self.instance(process).with_values.as_deref().cloned();
                    files.with_values = read.or(files.with_values);
                }
                directory = self.take_files(process, files);
                if stage == Stage::PreStart {
                    // The start of the process does not render the files again, because the hook
                    // may check or change them.
                    self.processes.slots[process].instance.is_rendered = true;
                    if self.process(process).is_validated() {
                        return self.validate(id, process);
                    }
                }
            }
            (None, _, Ok(_)) => {}
        }
        let wanted = id.process.map(|process| self.with_values(process));
        let process = wanted.as_deref();
        let hooks = process.map_or(&config.hooks, |process| &process.hooks);
        let hook: Option<&Hook> = match id.stage {
            Stage::PreStart => hooks.pre_start.as_ref(),
            Stage::PreStop => hooks.pre_stop.as_ref(),
            Stage::PostStop => hooks.post_stop.as_ref(),
        };
        let own_user = hook.and_then(|hook| hook.user.clone());
        let user = own_user.as_ref().or_else(|| process?.user.as_ref());
        let user = user.map_or_else(|| format!("uid {}", geteuid()), |user| user.name());
        let request = hook.map(|hook| self.launcher(process).hook(hook, process));
        if let (Some(process), Stage::PostStop) = (id.process, id.stage) {
            self.forget_values(process);
        }
        let (mut request, log) = match request? {
            Ok(launch) => launch,
            Err(error) => return Some(self.refuse_hook(id, &unstartable(&error.to_string()))),
        };
        request.directory = directory;
        self.logs.keep_open(log.as_ref());
        let name = self.hook_name(id);
        let waiting = id.process.map(|process| self.waiting_for(process)).unwrap_or_default();
        let pid = Rc::new(Cell::new(None));
        let started = Rc::clone(&pid);
        let starter = self.children.starter();
        self.run_as_hook(id, started, async move {
            if let Some(wanted) = own_user {
                match on_thread(LONGEST_START, move || at_start::account(&wanted)).await {
                    Ok(Ok(found)) => launch::run_as(&mut request, &found),
                    Ok(Err(why)) => return refuse(id, &name, &unstartable(&why)),
                    Err(why) => return refuse(id, &name, &unstartable(&why.to_string())),
                }
            }
            let end = async {
                let mut command = StartedCommand::start(request, &starter, Rest::Lives).await?;
                pid.set(Some(command.pid));
                command.end().await
            };
            let mut end = std::pin::pin!(end);
            let end = match timeout(readiness::LONG, &mut end).await {
                Ok(end) => end,
                Err(_) => {
                    let after = human(readiness::LONG);
                    tracing::info!("{name}: still running after {after}{waiting}");
                    end.await
                }
            };
            // The last lines of the hook come before the line about its end.
            if let Some(log) = log {
                log.pump();
            }
            match end {
                Ok(end) if end.is_success() => (Event::HookEnded { hook: id, success: true }, None),
                Ok(end) => {
                    let line = format!("{name}: {end}; it ran as {user}");
                    tracing::warn!("{line}");
                    (Event::HookEnded { hook: id, success: false }, Some(line.into()))
                }
                Err(error) => refuse(id, &name, &StartError::from(error).to_string()),
            }
        });
        None
    }

    /// Refuses a hook before its task has begun. Returns the event that ends the hook.
    fn refuse_hook(&mut self, id: HookId, why: &str) -> Event {
        let (event, line) = refuse(id, &self.hook_name(id), why);
        line.iter().for_each(|line| self.processes.remark(line.full()));
        event
    }

    /// Runs a task as a hook. The task returns the event that ends the hook, and the `why` of
    /// [`Message::HookOver`]. If the task starts a command, the task sets `pid`.
    pub(super) fn run_as_hook(
        &mut self,
        id: HookId,
        pid: Rc<Cell<Option<Pid>>>,
        work: impl Future<Output = (Event, Option<Reason>)> + 'static,
    ) {
        let sender = self.sender.clone();
        let task = LocalTask::of(share_of(id), async move {
            let ((event, why), task) = (work.await, tokio::task::id());
            // The send fails only if the event loop has ended.
            let _ = sender.send(Message::HookOver { hook: id, task, event, why });
        });
        self.hooks.0.insert(id, RunningHook { task, pid });
    }

    fn hook_name(&self, hook: HookId) -> String {
        messages::hook_name(hook, &self.processes.journal.names)
    }

    /// Kills a hook that is under way.
    pub(crate) fn abort_hook(&mut self, id: HookId) {
        self.starts.stop_preparing(Start::Hook(id));
        let Some(hook) = self.hooks.0.remove(&id) else { return };
        hook.task.end();
        // The dropped task would also kill the hook, but only later, and a sweep could send SIGTERM
        // to the hook before that. Therefore the hook is killed now.
        if let Some(pid) = hook.pid.get()
            && matches!(self.children.role(pid), Some(ChildRole::Command { .. }))
        {
            let _ = kill_group_of_child(pid, Signal::KILL);
        }
        let has_ended = |process: ProcessId| self.instance(process).pid.is_none();
        if id.stage == Stage::PreStop && id.process.is_some_and(has_ended) {
            tracing::info!("{}: killed, because its process has ended", self.hook_name(id));
        }
    }

    /// Returns the event of a hook that is over; `None` if the hook was aborted or has begun again.
    pub(crate) fn on_hook_over(
        &mut self,
        hook: HookId,
        task: Id,
        event: Event,
        why: Option<Reason>,
    ) -> Option<Event> {
        if !self.hooks.end(hook, task) {
            return None;
        }
        match event {
            Event::SpawnFailed { process, .. } => self.processes.history(process).end.message = why,
            _ => why.iter().for_each(|line| self.processes.remark(line.full())),
        }
        Some(event)
    }
}
