//! drainit counts the connections that the stops will cut before it asks a process to end, or to
//! drain by itself, which may end the process at once. The stops wait at most a moment for the
//! count.
//!
//! State: how long the stops wait. Checked at stops and drains.

use super::*;

/// The stops wait at most this long for the count of the connections that they cut.
const COUNTS: Duration = Duration::from_millis(250);

#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    counted_until: Option<Time>,
}

impl Promise for Counts {
    fn on_event(&mut self, _: &History<'_>, event: Event) {
        self.counted_until.take_if(|_| event == Event::Counted);
    }

    // holds: S435
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let awaits = self.counted_until.is_some_and(|until| run.now < until);
        let awaits = awaits && run.stop_signals < 2;
        match *action {
            Action::Stop { process, .. } => {
                let seen = &run[process];
                let is_early = seen.stops_early || run.has_not_taken_over(process);
                let is_counted = run.of(process).drain.is_some_and(|drain| drain.closes)
                    && (seen.was_serving || seen.drained);
                run.hold(is_counted || !awaits || is_early, "a stop before its count");
            }
            Action::Drain { process, .. } => {
                let closes = run.of(process).drain.is_some_and(|times| times.closes);
                run.hold(closes || !awaits, "a drain before the count");
            }
            Action::Note(Note::ShutdownBegan { window, .. }) => {
                let counts = run.scenario.spec.counts_stops;
                self.counted_until = counts.then(|| run.now + (window / 4).min(COUNTS));
            }
            _ => {}
        }
    }
}
