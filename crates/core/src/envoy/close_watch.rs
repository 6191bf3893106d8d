//! Detects an Envoy that does not close connections while it drains: requests continue, and no
//! connection is closed. Pure.

use core::time::Duration;

use crate::envoy::sample::Sample;
use crate::types::Time;

/// At least this many requests must begin and end without a closed connection: a few may have begun
/// before the drain took effect in every worker.
const REQUESTS: u64 = 20;

/// Watches one drain.
#[derive(Debug)]
pub(crate) struct ClosingWatch {
    /// No verdict before this is over.
    patience: Duration,
    /// Connections that Envoy had closed for a drain before this one.
    closed_before: Option<u64>,
    /// The first check since the drain began, and the requests that had begun by then.
    since: Option<(Time, u64)>,
    is_settled: bool,
}

impl ClosingWatch {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, closed_before: None, since: None, is_settled: false }
    }

    /// Takes the sample from before the drain.
    pub(crate) fn before(&mut self, sample: &Sample) {
        self.closed_before = sample.drain_close;
    }

    /// Takes a sample of the drain. Returns, once, the number of requests that began and ended without
    /// a closed connection, when there are too many. A missing statistic proves nothing.
    ///
    /// A stream that began before the drain proves nothing by its end: its head was sent by then,
    /// and Envoy announces a close in the head. Which requests are still active is unknown, so all
    /// of them count as new.
    pub(crate) fn check(&mut self, now: Time, sample: &Sample) -> Option<u64> {
        let (total, active) = (sample.requests_total?, sample.requests_active?);
        let closed = sample.drain_close?;
        let closed_before = *self.closed_before.get_or_insert(closed);
        let (since, total_before) = *self.since.get_or_insert((now, total));
        let served = total.saturating_sub(total_before).saturating_sub(active);
        if self.is_settled || closed > closed_before {
            self.is_settled = true;
            return None;
        }
        self.is_settled = served >= REQUESTS && now.since(since) >= self.patience;
        self.is_settled.then_some(served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn sample(total: u64, active: u64, closed: u64) -> Sample {
        Sample {
            requests_total: Some(total),
            requests_active: Some(active),
            drain_close: Some(closed),
            ..Sample::default()
        }
    }

    /// The verdicts on samples half a second apart.
    fn verdicts(samples: &[Sample]) -> Vec<Option<u64>> {
        let begin = Time::default();
        let mut watch = ClosingWatch::new(PATIENCE);
        watch.before(&sample(90, 0, 7));
        let moments = (0..).map(|step| begin + Duration::from_millis(500) * step);
        samples.iter().zip(moments).map(|(sample, now)| watch.check(now, sample)).collect()
    }

    // holds: S43
    #[test]
    fn ongoing_requests_are_reported_once() {
        let samples: Vec<_> = (0..8).map(|step| sample(100 + step * 10, 3, 7)).collect();
        assert_eq!(verdicts(&samples), [None, None, None, None, Some(37), None, None, None]);
    }

    // holds: S180
    #[test]
    fn streams_that_began_before_the_drain_prove_nothing_when_they_end() {
        let ending: Vec<_> = (0..8).map(|step| sample(100 + step, 80 - step * 10, 7)).collect();
        assert!(verdicts(&ending).iter().all(Option::is_none));
        // Each gives way to another one.
        let replaced: Vec<_> = (0..8).map(|step| sample(100 + step * 10, 80, 7)).collect();
        assert!(verdicts(&replaced).iter().all(Option::is_none));
    }

    // holds: S43
    #[test]
    fn few_requests_or_those_in_flight_prove_nothing() {
        let few: Vec<_> = (0..8).map(|step| sample(100 + step, 0, 7)).collect();
        assert!(verdicts(&few).iter().all(Option::is_none));
        let at_once = |ended: u64| {
            let samples: Vec<_> =
                (0..8).map(|step| sample(100 + if step > 0 { ended } else { 0 }, 0, 7)).collect();
            verdicts(&samples).into_iter().flatten().next()
        };
        assert_eq!((at_once(19), at_once(20)), (None, Some(20)));
        let hanging: Vec<_> = (0..8).map(|step| sample(100 + step * 10, step * 10, 7)).collect();
        assert!(verdicts(&hanging).iter().all(Option::is_none));
    }

    #[test]
    fn one_closed_connection_settles_it() {
        let mut samples: Vec<_> = (0..8).map(|step| sample(100 + step * 10, 0, 8)).collect();
        assert!(verdicts(&samples).iter().all(Option::is_none));
        samples[0].drain_close = Some(7);
        assert!(verdicts(&samples).iter().all(Option::is_none));
    }

    #[test]
    fn a_missing_statistic_proves_nothing() {
        let samples: Vec<_> = (0..8)
            .map(|step| Sample { drain_close: None, ..sample(100 + step * 10, 0, 0) })
            .collect();
        assert!(verdicts(&samples).iter().all(Option::is_none));
    }
}
