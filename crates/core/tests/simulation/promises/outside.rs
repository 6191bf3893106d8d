//! A process starts again only when the processes that its earlier instances have left outside of
//! their process groups have ended, or survive SIGKILL, or when the search for them takes too long.
//! They get SIGKILL when the time is over that the rest of a process group has. In a shutdown,
//! nothing waits for them.
//!
//! State: for each slot, whether an instance of its process has run, and the wait before its next
//! start. Checked at each signal to these processes, and when a start begins.

use super::budget::MOST_KEPT;
use super::*;

/// The longest search, and the longest wait after SIGKILL.
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    may_have_left: BTreeSet<ProcessId>,
    waits: BTreeMap<ProcessId, Wait>,
}

#[derive(Clone, Debug)]
struct Wait {
    began: Time,
    /// When a search first found processes.
    asked: Option<Time>,
    killed: Option<Time>,
    is_over: bool,
}

impl Wait {
    fn may_start(&self, now: Time) -> bool {
        let searched = self.asked.is_none().then_some(self.began);
        self.is_over || searched.or(self.killed).is_some_and(|since| now >= since + LONGEST)
    }
}

impl Promise for Outside {
    fn on_event(&mut self, run: &History<'_>, event: Event) {
        if let Event::Leftovers { process, any } = event
            && let Some(wait) = self.waits.get_mut(&process)
        {
            wait.is_over |= !any;
            wait.asked = wait.asked.or(any.then_some(run.now));
        }
    }

    // holds: S900, S901, S904, C1010
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::Adopt { slot, of, .. } if slot == of => {
                self.may_have_left.remove(&slot);
            }
            Action::Adopt { slot, .. } | Action::Note(Note::Started(slot)) => {
                self.may_have_left.insert(slot);
            }
            Action::EndLeftovers { process, signal } => {
                run.hold(run.of(process).ends_leftovers, "leftovers are ended that are to be kept");
                run.hold(!run.is_unready(), "leftovers of one process are ended in a shutdown");
                if signal == Signal::KILL {
                    self.holds_kill(run, process);
                } else {
                    let (began, asked, killed) = (run.now, None, None);
                    self.waits.insert(process, Wait { began, asked, killed, is_over: false });
                }
            }
            Action::RunHook(HookId { process: Some(slot), stage: Stage::PreStart }) => {
                self.holds_start(run, slot);
            }
            Action::Spawn(slot) => {
                self.holds_start(run, slot);
                self.waits.remove(&slot);
            }
            _ => {}
        }
    }
}

impl Outside {
    fn holds_start(&self, run: &History<'_>, slot: ProcessId) {
        if run.of(slot).ends_leftovers && self.may_have_left.contains(&slot) {
            let may_start = self.waits.get(&slot).is_some_and(|wait| wait.may_start(run.now));
            run.hold(may_start, "a start beside leftovers of an earlier instance");
        }
    }

    fn holds_kill(&mut self, run: &History<'_>, slot: ProcessId) {
        let limit = run.of(slot).stop.unwrap_or(MOST_KEPT.min(run.stop_limit(slot)));
        let wait = self.waits.get_mut(&slot);
        let is_due = wait.as_ref().and_then(|wait| wait.asked);
        let is_due = is_due.is_some_and(|asked| run.now >= asked + limit);
        run.hold(is_due, "leftovers of an earlier instance are killed too early");
        wait.into_iter().for_each(|wait| wait.killed = Some(run.now));
    }
}
