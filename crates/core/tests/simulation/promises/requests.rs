//! Every request of an operator, and every reload, gets one answer, which is true: a stop is done
//! when the process and its dependents are gone, a restart when a new instance runs. Equal requests
//! share one answer. In a shutdown, no request begins.
//!
//! State: the request that came twice, and the processes that need no stop. Checked at each answer,
//! and when no timer is left.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    /// The request that came in this step, if an equal request was not answered yet.
    repeated: Option<(usize, Request)>,
    /// Processes whose last run has completed, or whose last start was skipped.
    went_well: BTreeSet<usize>,
}

impl Promise for Requests {
    fn on_event(&mut self, run: &History<'_>, event: Event) {
        self.repeated = match event {
            Event::Requested { process, request } => Some((run.slots.process(process), request))
                .filter(|key| run.asked_for.contains(key)),
            _ => None,
        };
    }

    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::Spawn(process) => drop(self.went_well.remove(&run.slots.process(process))),
            Action::Exit(_) if run.shutdown.is_some() => {
                run.hold(run.asked_for.is_empty(), "a request without an answer");
                run.hold(run.reload.is_none(), "a reload without an answer");
            }
            Action::Note(Note::Skipped(process) | Note::Completed { process, .. }) => {
                self.went_well.insert(run.slots.process(process));
            }
            Action::Note(Note::RequestBegan { process, request }) => {
                run.hold(!run.is_unready(), "a request begins in a shutdown");
                let is_repeated = self.repeated == Some((run.slots.process(process), request));
                // holds: S820
                run.hold(!is_repeated, "a request is carried out twice");
            }
            Action::Note(Note::RequestDone { process, request }) => {
                self.holds_done(run, process, request)
            }
            Action::Note(Note::RequestFailed { process, request, why }) => {
                self.holds_failed(run, (run.slots.process(process), request), why);
            }
            _ => {}
        }
    }

    fn after_step(&mut self, run: &History<'_>, machine: &Machine) {
        let is_open = run.reload.is_some() || !run.asked_for.is_empty();
        if is_open && !run.is_unready() && machine.next_wakeup().is_none() {
            let has_progress = run.slots.all().any(|slot| may_move(run, slot, machine));
            run.hold(has_progress, "no timer is left, but a request or a reload is not answered");
        }
    }
}

impl Requests {
    fn holds_done(&self, run: &History<'_>, process: ProcessId, request: Request) {
        let base = run.slots.process(process);
        run.hold(run.asked_for.contains(&(base, request)), "an answer without a request");
        let Some(&(starts, _)) = run.began.get(&(base, request)) else {
            return run.fail("a request is done before it began");
        };
        let Some(current) = run.slots.current(base) else {
            return run.fail("a request is done for a process that was removed");
        };
        let is_up = run.is_alive(current) || run.of(process).oneshot;
        match request {
            Request::Stop => {
                let lives = run.slots_of(base).any(|id| run.lives(id));
                // holds: C202
                run.hold(!lives, "a stop is done, but the process is alive");
                let lives = run.above(current).into_iter().any(|id| run.lives(id));
                let is_needed = !self.went_well.contains(&base);
                run.hold(!(lives && is_needed), "a stop is done, but a dependent is alive");
            }
            Request::Start => run.hold(is_up, "a start is done, but the process is not alive"),
            Request::Restart => {
                run.hold(is_up, "a restart is done, but the process is not alive");
                run.hold(!run[current].doomed, "restarted, but Envoy will abort it");
                let is_new = run[current].started_as > starts;
                run.hold(is_new, "restarted without a new instance");
                let lives = run.beside(current).any(|id| run.lives(id));
                run.hold(!lives, "a restart is done, but the old instance lives");
            }
        }
    }

    fn holds_failed(&self, run: &History<'_>, asked: (usize, Request), why: RequestError) {
        run.hold(run.asked_for.contains(&asked), "an answer without a request");
        let is_refused = matches!(
            why,
            RequestError::Busy(_) | RequestError::Reloading | RequestError::Doomed { .. }
        );
        let is_first = self.repeated != Some(asked);
        // holds: S820
        run.hold(!is_refused || is_first, "a request is refused because of an equal request");
        let is_late = matches!(why, RequestError::ShuttingDown | RequestError::Drained);
        let is_right = !run.is_unready() || is_late;
        run.hold(is_right, "a request in a shutdown fails for another reason");
        // After T0, the shutdown is the reason, and not a drain that was requested before.
        let is_held = run.shutdown.is_none();
        run.hold(why != RequestError::Drained || is_held, "refused for a drain in a shutdown");
        let is_over = !is_held || run.held_at.is_none();
        run.hold(why != RequestError::ShuttingDown || is_over, "refused for a stop in a drain");
    }
}

/// Whether a process may still do something without a timer.
fn may_move(run: &History<'_>, slot: ProcessId, machine: &Machine) -> bool {
    match machine.state().life(slot) {
        Lifecycle::Waiting => run.of(slot).dependencies.iter().any(|(on, condition)| {
            // The slot may wait for a service to complete, which never happens: `drainit check`
            // refuses such a config.
            let current = run.slots.current(on.index());
            let is_service = current.is_some_and(|current| !run.of(current).oneshot);
            *condition == StartCondition::Completed && is_service
        }),
        Lifecycle::Ready { .. }
        | Lifecycle::Stopped { .. }
        | Lifecycle::Done
        | Lifecycle::Killed { .. }
        | Lifecycle::RestKilled { .. } => false,
        _ => true,
    }
}
