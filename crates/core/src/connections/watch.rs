//! The looks at the connections of a process that is drained. This module is pure: answers of the
//! kernel, commands and the time go in; reports come out, as from the
//! [`Dialogue`](crate::envoy::dialogue::Dialogue) with an Envoy. The two modules share only the
//! reports. Almost all of the dialogue is about Envoy's admin interface: repeated calls, the list
//! of listeners, statistics, and answers that hang.

use core::time::Duration;

use crate::connections::answers::Counts;
use crate::drain::progress::QUIET;
use crate::envoy::output::DrainOutput;
use crate::event::{Load, Unit};
use crate::prelude::*;
use crate::traffic::{LONGEST, Moment, SHARE, pause_after};
use crate::types::Time;

/// The shortest pause between two looks when the drain may end soon. The drain ends when the looks
/// have shown no traffic for [`QUIET`].
const OFTEN: Duration = Duration::from_millis(25);
/// The shortest pause between two looks while it is too early for the drain to end.
const SELDOM: Duration = Duration::from_millis(100);
/// The looks become frequent this long before the earliest time at which the drain can be over.
const LEAD: Duration = Duration::from_millis(400);
/// When the drain can soon be over, the pause after a look at all connections is this many times as
/// long as the look. This factor is smaller than [`SHARE`], because the looks must show soon that
/// the server has sent its final answer. With 10,000 connections, a look takes some 15 ms.
const LAST_FACTOR: u32 = 4;
/// Replaces [`SHARE`] for a look at all connections that only keeps the numbers fresh, because the
/// looks at a few connections cost something, too.
const FRESH_SHARE: u32 = 100;
/// The processor time of a look at a few connections, with all that drainit does for it (measured:
/// 60 to 120 µs, and 200 µs with a tenth of a processor).
const FEW: Duration = Duration::from_micros(200);
/// After a look at a few connections, the pause is at least this many times as long as [`FEW`].
const FEW_SHARE: u32 = 50;
/// The kernel measures its times in ticks of up to this length.
const TICK: Duration = Duration::from_millis(10);

/// The limits and settings of a drain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The drain cannot be over before this time.
    pub min_until: Time,
    /// Whether the drain waits for answers (`Unit::Requests`) or for the end of the connections.
    pub unit: Unit,
    /// The number of open connections, or of owed answers, at which the drain is over.
    pub exit_at: u64,
    /// Whether the process is also asked to drain. If so, a call of [`ConnectionWatch::asked`]
    /// follows.
    pub is_asked: bool,
}

/// The outcome of the request, signal or command that asks a process to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Failed,
    Accepted,
    /// The process says that it is drained.
    Drained,
}

/// The looks of one drain. The supervisor makes one look after the other.
#[derive(Clone, Debug, Default)]
pub struct ConnectionWatch {
    terms: Terms,
    /// The time of the next look.
    next: Time,
    /// The end of the last look at all connections.
    looked_at: Time,
    /// Whether the last look was at a few connections, and has been enough.
    is_few_enough: bool,
    /// The time that the last look at all connections took.
    took: Duration,
    /// The processor time of the last look at all connections, multiplied as in
    /// [`ConnectionWatch::note_cost`].
    cost: Duration,
    /// The processors of the container, in percent of one.
    percent: u32,
    /// The time at which a look must show all connections, so that the numbers are not too old.
    whole_at: Time,
    has_looked: bool,
    /// Whether a look has shown numbers. If so, a later look that fails proves nothing, and the
    /// drain continues.
    has_counts: bool,
    /// Whether [`DrainOutput::Answered`] was reported.
    is_answered: bool,
    is_failing: bool,
    asked: Option<Asked>,
    /// The time since which the looks show that the drain can be over, and the last
    /// [`ConnectionWatch::total`].
    low: Option<(Time, u64)>,
    /// The time at which [`Self::close`] has asked for a last look.
    closing: Option<Time>,
    /// Whether a last look was ever asked for.
    was_closed: bool,
    /// Whether the drain is over, so that only [`Self::close`] causes another look.
    is_over: bool,
}

impl ConnectionWatch {
    /// Begins the drain.
    pub fn new(terms: Terms) -> Self {
        Self { terms, percent: 100, ..Self::default() }
    }

    /// Whether a look has shown numbers.
    pub fn has_counts(&self) -> bool {
        self.has_counts
    }

    /// Whether a last look was ever asked for.
    pub fn was_closed(&self) -> bool {
        self.was_closed
    }

    /// The time at which the next look is due; `None` if none is.
    pub fn looks_at(&self) -> Option<Time> {
        self.closing.or(Some(self.next).filter(|_| !self.is_over))
    }

    /// Whether the next look must show all connections. Otherwise, a few connections can show that
    /// the drain is not over ([`Answers::witnesses`](super::answers::Answers::witnesses)). If they
    /// do not show this, a look at all connections must follow at once.
    pub fn needs_all(&self, now: Time) -> bool {
        !self.has_counts || self.is_failing || self.closing.is_some() || self.whole_at <= now
    }

    /// The time from which a look at all connections that others make anyway can replace the next one
    /// of this drain: half of the pause is then over. `None` if no such look is planned.
    pub fn joins_from(&self) -> Option<Time> {
        let due = if self.is_few_enough { self.whole_at.max(self.next) } else { self.next };
        let is_planned = self.has_counts && !self.is_over && self.closing.is_none();
        is_planned.then(|| self.looked_at + due.since(self.looked_at) / 2)
    }

    /// Call this before [`Self::looked`]: the look has used this processor time, and the container
    /// gets `percent` of a processor, at most 100.
    pub fn note_cost(&mut self, used: Duration, percent: u32) {
        self.percent = percent.clamp(1, 100);
        self.cost = self.of_container(used);
    }

    /// The time in which the container gets this processor time.
    fn of_container(&self, used: Duration) -> Duration {
        used * 100 / self.percent
    }

    /// Handles a look at a few connections, which has shown that the drain is not over. The pause is
    /// as long as after a look at all connections, so that such looks cost a small part only.
    /// `settles` is [`Counts::settles`] of these connections.
    pub fn is_not_over(&mut self, began: Time, now: Time, settles: Duration) {
        self.next = now + self.pause(now).max(self.of_container(FEW) * FEW_SHARE);
        self.is_few_enough = true;
        self.settle(began, now, settles);
    }

    /// Handles the numbers that a look at all connections has shown, or the reason why it has shown
    /// none.
    pub fn looked(
        &mut self,
        began: Time,
        now: Time,
        seen: Result<Counts, String>,
    ) -> Vec<DrainOutput> {
        let mut outputs = Vec::new();
        let is_first = !core::mem::replace(&mut self.has_looked, true);
        let was_failing = core::mem::replace(&mut self.is_failing, seen.is_err());
        self.took = now.since(began);
        (self.looked_at, self.is_few_enough) = (now, false);
        self.next = now + self.pause(now);
        self.whole_at = now + LONGEST.max(self.cost * FRESH_SHARE);
        let sampled = match seen {
            Ok(counts) => {
                self.has_counts = true;
                self.answer(true, &mut outputs);
                self.note_settling(began, now, counts);
                self.note_low(now, counts);
                self.sampled(began, counts, is_first)
            }
            Err(why) => {
                if !was_failing {
                    let line = format!("its connections are unknown: {why}");
                    outputs.push(DrainOutput::Warn(line));
                }
                self.without_counts(&mut outputs);
                DrainOutput::Unknown
            }
        };
        outputs.push(sampled.clone());
        // Only a look that began at or after the call of `close` counts: an earlier look may lack
        // connections that came before this call.
        if self.closing.take_if(|since| *since <= began).is_some() {
            outputs.push(DrainOutput::ListenersClosed);
            // This look also serves as the next sample, because a second look would show the same.
            outputs.extend(Some(sampled).filter(|_| !self.is_over));
        }
        outputs
    }

    /// Handles the outcome of asking the process to drain. Until a look has shown numbers, this
    /// outcome alone decides about the drain.
    pub fn asked(&mut self, asked: Asked) -> Vec<DrainOutput> {
        self.asked = Some(asked);
        let mut outputs = Vec::new();
        if self.is_failing {
            self.without_counts(&mut outputs);
        }
        outputs
    }

    /// Looks once more, and then reports [`DrainOutput::ListenersClosed`]. The listeners stay open,
    /// because drainit cannot ask an unknown server to close them.
    pub fn close(&mut self, now: Time) {
        self.closing.get_or_insert(now);
        self.was_closed = true;
    }

    /// Ends the drain. A last look that [`Self::close`] has asked for still comes.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    fn answer(&mut self, accepted: bool, outputs: &mut Vec<DrainOutput>) {
        if !core::mem::replace(&mut self.is_answered, true) {
            outputs.push(DrainOutput::Answered { accepted });
        }
    }

    fn without_counts(&mut self, outputs: &mut Vec<DrainOutput>) {
        if self.has_counts {
            return;
        }
        if self.asked.is_some() || !self.terms.is_asked {
            self.answer(self.asked != Some(Asked::Failed), outputs);
        }
        if self.asked.take_if(|asked| *asked == Asked::Drained).is_some() {
            outputs.push(DrainOutput::Drained);
        }
    }

    /// If the drain can be over once no connection is unknown, plans a look for the time at which
    /// the last unknown connection has been silent for `idle`. Changes nothing if a look is due
    /// earlier.
    fn note_settling(&mut self, began: Time, now: Time, counts: Counts) {
        let is_close = self.terms.unit == Unit::Requests && counts.owing <= self.terms.exit_at;
        if is_close {
            self.settle(began, now, counts.settles);
        }
    }

    fn settle(&mut self, began: Time, now: Time, settles: Duration) {
        if !settles.is_zero() {
            let least = OFTEN.max(now.since(began));
            self.next = self.next.min((began + settles + TICK).max(now + least));
        }
    }

    /// Makes the next look come no later than the time at which the drain can be over.
    fn note_low(&mut self, now: Time, counts: Counts) {
        let total = self.total(counts);
        let known = self.low.filter(|(_, last)| *last == total);
        let is_low = self.active(counts) <= self.terms.exit_at;
        self.low = is_low.then(|| known.unwrap_or((now, total)));
        if let Some((since, _)) = self.low
            && now < since + QUIET
        {
            self.next = self.next.min(since + QUIET);
        }
    }

    /// While this number grows, the drain continues, even if each look shows few open connections.
    /// If the drain waits for answers and every request must end (`exit_at` is 0), the number
    /// counts requests. Otherwise it counts new connections only, because the connections that may
    /// stay open may get further requests.
    fn total(&self, counts: Counts) -> u64 {
        match (self.terms.unit, self.terms.exit_at) {
            (Unit::Requests, 0) => counts.asked,
            _ => counts.connected,
        }
    }

    fn active(&self, counts: Counts) -> u64 {
        match self.terms.unit {
            Unit::Connections => counts.open,
            Unit::Requests => counts.busy(),
        }
    }

    fn sampled(&self, began: Time, counts: Counts, is_first: bool) -> DrainOutput {
        let (unit, active) = (self.terms.unit, self.active(counts));
        let unsure = if unit == Unit::Requests { counts.unknown } else { 0 };
        let load = Load { unit, active: Some(active), unsure, total: Some(self.total(counts)) };
        let moment = match is_first {
            true => Moment::Start,
            false if self.was_closed => Moment::Last,
            false => Moment::Meanwhile,
        };
        let traffic = counts.traffic(moment == Moment::Last);
        DrainOutput::Sampled { began, load, traffic, moment }
    }

    fn pause(&self, now: Time) -> Duration {
        let early = self.terms.min_until.since(now).saturating_sub(LEAD);
        if self.is_failing {
            LONGEST
        } else if early.is_zero() {
            pause_after(self.took, OFTEN, LAST_FACTOR)
        } else {
            OFTEN.max(SELDOM.max(self.cost * SHARE).min(early))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }

    // holds: S1231
    #[test]
    fn a_look_of_others_replaces_the_next_look_after_half_of_the_pause() {
        let terms =
            Terms { min_until: at(9000), unit: Unit::Requests, exit_at: 0, is_asked: false };
        let mut watch = ConnectionWatch::new(terms);
        assert_eq!(watch.joins_from(), None);
        watch.looked(at(0), at(0), Err("unknown".to_owned()));
        assert_eq!(watch.joins_from(), None, "nothing is known yet");
        watch.looked(at(1000), at(1000), Ok(Counts { open: 9, owing: 1, ..Counts::default() }));
        assert_eq!((watch.looks_at(), watch.joins_from()), (Some(at(1100)), Some(at(1050))));
        // While a few connections are enough, the next look at all of them is due later.
        watch.is_not_over(at(1100), at(1100), Duration::ZERO);
        assert_eq!((watch.looks_at(), watch.joins_from()), (Some(at(1200)), Some(at(1250))));
        // A last look must begin after the call of `close`, and after the end there is none.
        watch.close(at(1200));
        assert_eq!(watch.joins_from(), None);
        watch.looked(at(1201), at(1202), Ok(Counts::default()));
        assert_eq!((watch.looks_at(), watch.joins_from()), (Some(at(1302)), Some(at(1252))));
        watch.end();
        assert_eq!(watch.joins_from(), None);
    }

    // holds: S767
    #[test]
    fn a_look_at_all_connections_pays_for_itself_while_others_show_that_the_drain_is_not_over() {
        let terms = Terms { min_until: at(0), unit: Unit::Requests, exit_at: 0, is_asked: false };
        // A look that takes 400 ms uses 40 ms of a tenth of a processor.
        for (took, used, percent, pause, few) in
            [(1, 1, 100, 500, 10), (30, 30, 100, 3000, 10), (400, 40, 10, 40_000, 100)]
        {
            let mut watch = ConnectionWatch::new(terms);
            let busy = Counts { open: 9, owing: 1, ..Counts::default() };
            assert!(watch.needs_all(at(0)));
            watch.note_cost(at(used).since(at(0)), percent);
            watch.looked(at(0), at(took), Ok(busy));
            // Each pause is as long as if all connections were looked at each time.
            let often =
                OFTEN.max((at(took * 4).since(at(0))).min(LONGEST)).max(Duration::from_millis(few));
            let mut now = at(took) + often;
            assert_eq!(watch.looks_at(), Some(now));
            while !watch.needs_all(now) {
                watch.is_not_over(now, now, at(0).since(at(0)));
                now = now + often;
                assert_eq!(watch.looks_at(), Some(now), "{took}");
            }
            assert!((at(took + pause)..at(took + pause) + often).contains(&now), "{took} {now:?}");
            // The next look comes when the connections are silent for `idle`.
            watch.is_not_over(now, now, OFTEN);
            assert_eq!(watch.looks_at(), Some(now + often.min(OFTEN + TICK)), "{took}");
            watch.looked(now, now, Err("it fails".to_owned()));
            assert!(watch.needs_all(now), "{took}");
        }
    }

    #[test]
    fn a_look_before_the_earliest_end_is_cheap_and_in_time() {
        let ms = Duration::from_millis;
        // The earliest end, the processor time of a look, and the pause after it.
        for (min_until, used, pause) in [
            (10_000, 1, SELDOM),
            (10_000, 20, ms(20) * SHARE),
            (1000, 20, ms(1000) - LEAD),
            (450, 1, ms(450) - LEAD),
            (410, 1, OFTEN),
            (400, 1, OFTEN),
        ] {
            let min_until = at(min_until);
            let mut watch = ConnectionWatch::new(Terms { min_until, ..Terms::default() });
            watch.note_cost(ms(used), 100);
            let open = Counts { open: 9, ..Counts::default() };
            watch.looked(at(0), at(0), Ok(open));
            assert_eq!(watch.looks_at(), Some(at(0) + pause), "{min_until:?} {used}");
        }
    }

    #[test]
    fn a_look_follows_when_nothing_is_unknown_any_more_but_not_at_once() {
        let ms = Duration::from_millis;
        // The time that the look takes, the time until all is known, and the time of the next look.
        for (took, settles, next) in
            [(7, 3, 32), (20, 3, 45), (50, 3, 100), (50, 70, 100), (50, 110, 120), (50, 400, 250)]
        {
            let mut watch =
                ConnectionWatch::new(Terms { unit: Unit::Requests, ..Terms::default() });
            let unknown = Counts { open: 1, unknown: 1, settles: ms(settles), ..Counts::default() };
            watch.looked(at(0), at(took), Ok(unknown));
            assert_eq!(watch.looks_at(), Some(at(next)), "{took} {settles}");
            watch.is_not_over(at(0), at(took), ms(settles));
            assert_eq!(watch.looks_at(), Some(at(next)), "{took} {settles}");
        }
    }

    #[test]
    fn a_look_that_succeeds_ends_a_failure_each_time() {
        let ms = Duration::from_millis;
        let busy = || Ok(Counts { open: 9, ..Counts::default() });
        let mut watch = ConnectionWatch::new(Terms::default());
        watch.looked(at(0), at(0), busy());
        for (began, look, pause, fails, warns) in [
            (100, Err("it fails".to_owned()), LONGEST, true, true),
            (700, Err("it fails".to_owned()), LONGEST, true, false),
            (1300, busy(), OFTEN, false, false),
            (1400, Err("it fails".to_owned()), LONGEST, true, true),
            (2000, busy(), OFTEN, false, false),
        ] {
            let outputs = watch.looked(at(began), at(began), look);
            let is_warning = |output: &DrainOutput| matches!(output, DrainOutput::Warn(_));
            assert_eq!(outputs.iter().any(is_warning), warns, "{began}");
            assert_eq!(watch.looks_at(), Some(at(began) + pause), "{began}");
            assert_eq!(watch.needs_all(at(began) + ms(1)), fails, "{began}");
        }
    }

    // holds: S304
    #[test]
    fn a_last_look_begins_after_the_wish_for_this_look() {
        let terms = Terms { min_until: at(0), unit: Unit::Requests, exit_at: 0, is_asked: false };
        let mut watch = ConnectionWatch::new(terms);
        let is_closed = |outputs: Vec<DrainOutput>| {
            outputs.iter().any(|output| matches!(output, DrainOutput::ListenersClosed))
        };
        assert_eq!(watch.looks_at(), Some(at(0)));
        watch.close(at(5));
        watch.end();
        assert!(!is_closed(watch.looked(at(0), at(10), Ok(Counts::default()))));
        assert!(watch.looks_at() <= Some(at(10)));
        assert!(is_closed(watch.looked(at(10), at(20), Err("it fails".to_owned()))));
        assert_eq!(watch.looks_at(), None);
    }
}
