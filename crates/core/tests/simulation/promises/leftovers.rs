//! If the deadline and the container's `post_stop` hook allow it, leftovers have the longest
//! `stop_grace_period` between SIGTERM and SIGKILL. A third stop signal kills them at once.
//!
//! State: when drainit first sent a signal to the leftovers. Checked at each signal to them.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers {
    swept_at: Option<Time>,
}

impl Promise for Leftovers {
    // holds: S65
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let Action::Sweep(signal) = *action else { return };
        let is_asked = self.swept_at.is_some();
        let since = *self.swept_at.get_or_insert(run.now);
        let left = run.deadline().unwrap_or(run.now).since(since);
        // The definition of a retired slot does not count: its instance is gone for good.
        let in_use = run.slots.all().filter(|id| run.roles[id.index()] != Role::Retired);
        let all = in_use.filter(|id| !run.of(*id).left_out);
        let longest = all.map(|id| run.stop_limit(id)).max().unwrap_or_default();
        let hook = run.needed_at_the_end();
        let (least, over) = (longest.min(left.saturating_sub(hook)), longest.min(left));
        if signal == Signal::KILL {
            let is_due = !is_asked || run.now >= since + least || run.stop_signals >= 3;
            run.hold(is_due, "leftovers are killed too early");
        } else {
            run.hold(run.now < since + over || !is_asked, "leftovers are killed too late");
        }
    }
}
