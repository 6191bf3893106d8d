//! The looks at the connections of a process that is drained. This module is pure: answers of the
//! kernel, commands and the time go in; reports come out, as from the
//! [`Dialogue`](crate::envoy::dialogue::Dialogue) with an Envoy. Almost all of that machine is about
//! an admin: its calls, their attempts, its listeners and statistics, and answers that hang.

use core::time::Duration;

use crate::connections::answers::Counts;
use crate::envoy::dialogue::Output;
use crate::event::{Load, Unit};
use crate::prelude::*;
use crate::traffic::{Moment, Traffic};
use crate::types::Time;

/// The pause between two looks once the drain can be over. Two looks that show nothing, with
/// [`QUIET`](crate::drain::progress::QUIET) between them, end it.
const OFTEN: Duration = Duration::from_millis(25);
/// The pause before. A longer one would show several requests at once, whose order is unknown.
const SELDOM: Duration = Duration::from_millis(100);
/// How long before the earliest end of the drain the looks become frequent.
const LEAD: Duration = Duration::from_millis(400);
/// A pause is at least this many times as long as the last look took, so that looks cost at most a
/// tenth of a core.
const FACTOR: u32 = 10;
/// The longest pause: on a busy machine a look takes long, but costs little.
const LONGEST: Duration = Duration::from_millis(500);

/// The terms of a drain.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The drain cannot be over before this time.
    pub min_until: Time,
    /// Whether the drain waits for answers (`Unit::Requests`) or for the end of the connections.
    pub unit: Unit,
}

/// The looks of one drain. The supervisor makes them one after the other.
#[derive(Debug)]
pub struct Watch {
    terms: Terms,
    /// The time of the next look.
    next: Time,
    /// Whether [`Output::Answered`] was reported.
    is_answered: bool,
    is_failing: bool,
    /// The time since which a last look is wanted: [`Self::close`].
    closing: Option<Time>,
    /// Whether a last look was ever wanted.
    was_closed: bool,
    /// Whether the drain is over, so that only [`Self::close`] looks again.
    is_over: bool,
}

impl Watch {
    /// Begins the drain.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            next: Time::default(),
            is_answered: false,
            is_failing: false,
            closing: None,
            was_closed: false,
            is_over: false,
        }
    }

    /// The time at which the next look is due; `None` if none is.
    pub fn looks_at(&self) -> Option<Time> {
        self.closing.or(Some(self.next).filter(|_| !self.is_over))
    }

    /// Handles the numbers that a look has shown, or the reason why it has shown none.
    pub fn looked(&mut self, began: Time, now: Time, seen: Result<Counts, String>) -> Vec<Output> {
        let mut outputs = Vec::new();
        let is_first = !core::mem::replace(&mut self.is_answered, true);
        if is_first {
            outputs.push(Output::Answered { accepted: true });
        }
        let was_failing = core::mem::replace(&mut self.is_failing, seen.is_err());
        match seen {
            Ok(counts) => outputs.push(self.sampled(began, counts, is_first)),
            Err(why) => {
                if !was_failing {
                    let line = format!("its connections are unknown: {why}");
                    outputs.push(Output::Warn(line));
                }
                outputs.push(Output::Unknown);
            }
        }
        self.next = now + self.pause(now, began);
        // A look that began before the last one was wanted does not show what came since.
        if self.closing.is_some_and(|since| since <= began) {
            self.closing = None;
            outputs.push(Output::ListenersClosed);
            // The drain is over if one more look shows nothing.
            self.next = now;
        }
        outputs
    }

    /// Looks once more, and reports [`Output::ListenersClosed`] in any case. Nobody can ask an
    /// unknown server to close its listeners.
    pub fn close(&mut self, now: Time) {
        self.closing.get_or_insert(now);
        self.was_closed = true;
    }

    /// Ends the drain, but not a look that [`Self::close`] wants.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    fn sampled(&self, began: Time, counts: Counts, is_first: bool) -> Output {
        let active = match self.terms.unit {
            Unit::Connections => counts.open,
            Unit::Requests => counts.owing,
        };
        let load = Load { unit: self.terms.unit, active: Some(active), total: Some(counts.asked) };
        let (connections, requests) = (Some(counts.open), Some(counts.owing));
        let traffic = Traffic { connections, requests, ..Traffic::default() };
        let moment = match is_first {
            true => Moment::Start,
            false if self.was_closed => Moment::Last,
            false => Moment::Meanwhile,
        };
        Output::Sampled { began, load, traffic, moment }
    }

    fn pause(&self, now: Time, began: Time) -> Duration {
        let early = self.terms.min_until.since(now).saturating_sub(LEAD);
        let least = if self.is_failing { LONGEST } else { OFTEN.max(SELDOM.min(early)) };
        least.max((now.since(began) * FACTOR).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }

    // holds: S304
    #[test]
    fn a_last_look_begins_after_the_wish_for_this_look() {
        let terms = Terms { min_until: at(0), unit: Unit::Requests };
        let mut watch = Watch::new(terms);
        let is_closed = |outputs: Vec<Output>| {
            outputs.iter().any(|output| matches!(output, Output::ListenersClosed))
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
