//! drainit exits only in a shutdown, in time, and with the code that the cause demands: 0 after a
//! requested stop, 137 if SIGKILL was needed, the code of the process whose end was the cause. Only
//! at the last moment it exits while a process is alive, and after the exit it does nothing.
//!
//! State: the last end before the shutdown, and whether something hangs. Checked at the exit.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Exit {
    /// The last end or failed start before the shutdown, and whether it was a success.
    last_end: Option<(End, bool)>,
    /// Whether something hangs that may use all of the time until the deadline.
    has_hung: bool,
}

impl Promise for Exit {
    fn on_event(&mut self, run: &History<'_>, event: Event) {
        match event {
            Event::SpawnFailed { exit_code, .. } if run.shutdown.is_none() => {
                self.last_end = Some((End::Code(exit_code), false));
            }
            Event::Exited { process, end, .. } if run.shutdown.is_none() => {
                let codes = &run.of(process).success_codes;
                let is_success = matches!(end, End::Code(code) if codes.contains(&code));
                self.last_end = Some((end, is_success));
            }
            _ => {}
        }
    }

    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        run.hold(run.exit.is_none(), "the core acts after the exit");
        match *action {
            Action::AbortHook(hook) => self.has_hung |= hook.stage == Stage::PostStop,
            Action::Exit(code) => self.holds_exit(run, code),
            Action::Note(Note::ShutdownBegan { .. }) => {
                // For a process that has already survived a SIGKILL, the core may wait until the
                // deadline.
                let survives = |id: ProcessId| run.lives(id) && run[id].survives_at.is_some();
                self.has_hung |= run.slots.all().any(survives);
            }
            _ => {}
        }
    }
}

impl Exit {
    fn holds_exit(&self, run: &History<'_>, code: u8) {
        let (now, Some(Shutdown { deadline, cause, .. })) = (run.now, run.shutdown) else {
            // holds: S1
            return run.fail("an exit without a reason");
        };
        let spec = &run.scenario.spec;
        let reap = (spec.reserve / 2).clamp(Duration::from_millis(200), Duration::from_millis(500));
        let hard_end = deadline + reap;
        let in_time = hard_end + Duration::from_millis(200);
        let mut latest = run.seen_at(run.seen_at(hard_end) + Duration::from_millis(200));
        if latest > in_time || run.was_paused(deadline) {
            // drainit has noticed an event late, so it also kills the leftovers late.
            latest = run.seen_at(latest + Duration::from_millis(100));
            if kills::has_slept_through_deadline(run) {
                // Whoever was not asked before the pause is asked after the pause.
                latest = run.seen_at(latest + LEAST_STOP);
                // If drainit is paused again, it also kills the leftovers late.
                latest = run.seen_at(latest + Duration::from_millis(100));
            }
        }
        // holds: S74, S218, S220, C81, C602, C604
        run.hold(now <= latest, "an exit later than the deadline allows");
        let lives = run.slots.all().any(|id| run.lives(id));
        // holds: S74
        run.hold(!lives || now >= hard_end, "an exit while a process is alive");
        // holds: S112, S120, S121, S128, S129, C356
        run.hold(code == self.code(run, cause), "the wrong exit code");
        // A process or hook that hung before the time of faults was over may use all of the time
        // until the deadline.
        if run.has_faultless_shutdown() && !was_killing(run) && !self.has_hung {
            // A process that was asked to end during the time of faults may take until the
            // deadline. Its `post_stop` hook runs after its end, so the exit may come a moment
            // after the deadline.
            let moment = Duration::from_millis(10);
            let is_soon = now <= run.seen_at(deadline + moment) + moment;
            run.hold(is_soon, "an exit after the deadline although all processes obey");
        }
    }

    /// The exit code that the promises demand for this cause. If the end of a process is the cause,
    /// the code comes from the last end before the shutdown.
    fn code(&self, run: &History<'_>, cause: Cause) -> u8 {
        match (cause, self.last_end) {
            (Cause::Signal(_) | Cause::ShutdownRequested, _) if has_killed(run) => 137,
            (Cause::Signal(_) | Cause::ShutdownRequested, _) => 0,
            (Cause::Ended { process, before_ready, .. }, Some((_, true))) => {
                let on_success = run.of(process).on_exit.success;
                u8::from(before_ready || on_success == ExitPolicy::FailureShutdown)
            }
            (Cause::Ended { .. }, Some((end, false))) => end.exit_code().max(1),
            _ => cause.exit_code(has_killed(run)),
        }
    }
}

/// Whether SIGKILL has ended something in the shutdown, or was to end what still lives.
fn has_killed(run: &History<'_>) -> bool {
    run.has_killed_leftovers || run.at.iter().any(|seen| seen.killed_in_shutdown)
}

/// Whether drainit has sent SIGKILL, so that the rest of the shutdown may take long.
pub(super) fn was_killing(run: &History<'_>) -> bool {
    run.has_killed_leftovers || run.at.iter().any(|seen| seen.survives_at.is_some())
}
