//! Hooks under way: starts their commands, and kills those that take too long.

use std::rc::Rc;

use crate::config::Hook;
use crate::core::event::Event;
use crate::core::spec::{HookId, Stage};
use crate::logging::capture::OutputCapture;
use crate::os::Pid;
use crate::os::kill::kill_group_of_child;
use crate::os::spawn::SpawnError;
use crate::report::messages;
use crate::supervisor::executor::Executor;
use crate::supervisor::launch::StartError;
use crate::supervisor::message::{Role, Start};
use crate::supervisor::preparation::{Files, Preparation};
use crate::types::{End, Signal};

pub(super) struct HookRun {
    pid: Pid,
    log: Option<Rc<OutputCapture>>,
    /// It was killed, so that its end is not reported to the core: by then the same hook may run
    /// again.
    aborted: bool,
    /// It was killed because its process had ended: no failure of the hook.
    outlived_process: bool,
}

impl HookRun {
    /// Whether a child that was started for this hook was killed: it is an earlier run, or aborted.
    pub(super) fn is_killed(&self, child: Pid) -> bool {
        self.pid != child || self.aborted
    }
}

impl Executor {
    /// Starts the command of a hook; returns the event of its end where that failed at once.
    pub(crate) fn run_hook(&mut self, id: HookId) -> Option<Event> {
        let Some(process) = id.process else { return self.begin_hook(id, Ok(Files::default())) };
        let mut preparation =
            Preparation { opens_log: self.opens_log(process), ..Preparation::default() };
        if id.stage == Stage::PreStart {
            self.reads_files(process);
            // An earlier start may have ended with its hook.
            self.instances[process.index()].is_rendered = false;
            preparation.values = Some(self.config.env.clone());
            preparation.renders = Some(self.base.to_vec());
        }
        self.prepare(Start::Hook(id), process, preparation)
    }

    /// Starts the command of a hook, whose files were gathered.
    pub(super) fn begin_hook(
        &mut self,
        id: HookId,
        files: Result<Files, StartError>,
    ) -> Option<Event> {
        let config = Rc::clone(&self.config);
        let mut directory = None;
        match (id.process, id.stage, files) {
            (Some(process), Stage::PreStart, Err(error)) => {
                return Some(self.spawn_failed(process, &error));
            }
            (_, _, Err(error)) => {
                tracing::error!("{}: {error}", self.hook_name(id));
                return Some(Event::HookEnded { hook: id, success: false });
            }
            (Some(process), stage, Ok(mut files)) => {
                if stage != Stage::PreStart {
                    // Those of its start.
                    files.with_values =
                        self.instances[process.index()].with_values.as_deref().cloned();
                }
                directory = self.take_files(process, files);
                if stage == Stage::PreStart {
                    // Once a start, so that the hook may check or change what was written.
                    self.instances[process.index()].is_rendered = true;
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
        let failed = Some(Event::HookEnded { hook: id, success: false });
        let Some(hook) = hook else { return failed };
        let launcher = self.launcher(process);
        let request = launcher.and_then(|launcher| launcher.hook(hook, process));
        let started = request.and_then(|(mut request, log)| {
            request.directory = directory;
            Ok((self.children.borrow_mut().start(request, Role::Hook(id))?, log))
        });
        if let (Some(process), Stage::PostStop) = (id.process, id.stage) {
            self.forget_values(process);
        }
        match started {
            Ok((pid, log)) => {
                self.keep_open(log.as_ref());
                self.hooks
                    .insert(id, HookRun { pid, log, aborted: false, outlived_process: false });
                None
            }
            Err(error) => {
                tracing::error!("{}: {error}", self.hook_name(id));
                failed
            }
        }
    }

    fn hook_name(&self, hook: HookId) -> String {
        messages::hook_name(hook, &self.status_board.journal.borrow().names)
    }

    pub(crate) fn abort_hook(&mut self, id: HookId) {
        if self.abort_preparation(Start::Hook(id)) || self.abort_validation(id) {
            return;
        }
        let is_its_own = |role: &Role| matches!(role, Role::Hook(of) if *of == id);
        let Some(run) = self.hooks.get_mut(&id) else { return };
        run.aborted = true;
        run.outlived_process = id.stage == Stage::PreStop
            && id.process.is_some_and(|process| self.instances[process.index()].pid.is_none());
        if self.children.borrow().role(run.pid).is_some_and(is_its_own)
            && let Err(error) = kill_group_of_child(run.pid, Signal::KILL)
        {
            tracing::warn!("{}: cannot be killed: {error}", self.hook_name(id));
        }
    }

    /// Returns the event of a hook whose exec has failed, if it is still waited for.
    pub(super) fn hook_not_started(
        &mut self,
        hook: HookId,
        pid: Pid,
        error: SpawnError,
    ) -> Option<Event> {
        // It may run again by now.
        if self.hooks.get(&hook)?.pid != pid || self.hooks.remove(&hook)?.aborted {
            return None;
        }
        let error = StartError::from(error);
        tracing::error!("{}: {error}", self.hook_name(hook));
        Some(Event::HookEnded { hook, success: false })
    }

    /// Returns the event of the end of a hook that is still waited for.
    pub(super) fn hook_ended(&mut self, hook: HookId, pid: Pid, end: End) -> Option<Event> {
        let (mut is_awaited, mut outlived_process) = (false, false);
        if self.hooks.get(&hook).is_some_and(|run| run.pid == pid)
            && let Some(run) = self.hooks.remove(&hook)
        {
            is_awaited = !run.aborted;
            outlived_process = run.outlived_process;
            if let Some(log) = run.log {
                log.pump();
            }
        }
        if outlived_process && end == End::Signal(Signal::KILL) {
            let name = self.hook_name(hook);
            tracing::info!("{name}: killed, because its process has ended");
        } else if !end.is_success() {
            let line = format!("{}: {end}", self.hook_name(hook));
            tracing::warn!("{line}");
            self.status_board.remark(&line);
        }
        is_awaited.then_some(Event::HookEnded { hook, success: end.is_success() })
    }
}
