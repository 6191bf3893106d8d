//! Notes about the drains of single processes.

use core::time::Duration;

use crate::Journal;
use crate::arrivals::Late;
use crate::drain::DrainHistory;
use crate::entry::{Entry, Level};
use crate::event::Field;
use crate::messages::{DrainOver, drain_end, still_open, undrained};
use crate::prelude::*;
use drainit_core::event::Load;
use drainit_core::note::{DrainEnd, WhyUndrained};
use drainit_core::types::{ProcessId, Time, human};

impl Journal {
    pub(super) fn on_drain_began(
        &mut self,
        now: Time,
        process: ProcessId,
        longest: Duration,
        min: Duration,
        counted: bool,
    ) -> Entry {
        self.places += 1;
        let known = self.of(process).drain.as_ref().filter(|drain| !drain.is_past);
        let (place, began) = (known.map_or(self.places, |drain| drain.place), now);
        let drain = DrainHistory { place, began, min, longest, counted, ..DrainHistory::default() };
        let history = self.noted(process);
        (history.drain, history.is_draining) = (Some(Box::new(drain)), true);
        self.tally(process).drained = Some(process);
        let (least, most) = (human(min), human(longest));
        let text = match () {
            () if min == longest => format!("draining for {least}"),
            () if min.is_zero() => format!("draining for at most {most}"),
            () => format!("draining for at least {least} and at most {most}"),
        };
        let fields = [Field::MinSeconds(min), Field::MaxSeconds(longest)];
        self.about_instance(process, "draining", text).with(fields)
    }

    pub(super) fn on_still_draining(
        &self,
        process: ProcessId,
        load: Load,
        left: Duration,
    ) -> Entry {
        let (open, limit) = (still_open(load), human(left));
        let text = format!("still draining{open}; at most {limit} left");
        self.about_instance(process, "still_draining", text)
            .open(load)
            .with([Field::MaxSeconds(left)])
    }

    pub(super) fn on_drain_over(
        &mut self,
        now: Time,
        process: ProcessId,
        over: DrainOver,
    ) -> Entry {
        let DrainOver { why, took, last, .. } = over;
        let history = self.noted(process);
        history.is_draining = false;
        if let Some(drain) = &mut history.drain {
            drain.over = Some((now, over));
            drain.end.get_or_insert(now);
        }
        let drain = history.drain.as_ref();
        let late = drain.and_then(|drain| drain.arrivals.late(drain.began, now));
        if let Some(Late { connections, from, to }) = late {
            self.remark(&format!(
                "{}: {connections} connections were opened {} to {} after its drain began: who sends them has not \
                 noticed it; raise `min`",
                self.names.of(process),
                human(from),
                human(to)
            ));
        }
        self.tally(process).drains[why as usize] += 1;
        let text = format!("drain over after {}: {}", human(took), drain_end(&over));
        let level = if why == DrainEnd::NotAccepted { Level::Warning } else { Level::Info };
        let fields = [Field::Reason(why.name()), Field::Seconds(took)];
        self.about_instance(process, "drained", text).at(level).open(last).with(fields)
    }

    pub(super) fn on_open_again(
        &mut self,
        process: ProcessId,
        load: Load,
        longest: Duration,
    ) -> Entry {
        self.noted(process).is_draining = true;
        let (open, limit) = (still_open(load), human(longest));
        let text = format!("in use again{open}; waiting for at most {limit}");
        self.about_instance(process, "open_again", text)
            .open(load)
            .with([Field::MaxSeconds(longest)])
    }

    pub(super) fn on_not_drained(&self, process: ProcessId, why: WhyUndrained) -> Entry {
        let text = format!("not drained: {}", undrained(why));
        self.about_instance(process, "not_drained", text)
            .at(Level::Warning)
            .with([Field::Reason(why.name())])
            .remark_if(true)
    }

    pub(super) fn on_ended_undrained(&self, process: ProcessId) -> Entry {
        let text = "ended before it was drained; requests in flight were cut";
        self.about_instance(process, "ended_undrained", text).at(Level::Warning).remark_if(true)
    }
}
