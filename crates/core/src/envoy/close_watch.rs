//! Detects an Envoy that serves requests while it drains, but closes no connection. This module is
//! pure.

use core::time::Duration;

use crate::envoy::sample::Sample;
use crate::types::Time;

/// If this number of requests begin and end without a closed connection, the verdict is that Envoy
/// closes no connection. Fewer requests prove nothing, because they may have begun before the drain
/// took effect in every worker thread of Envoy.
const REQUESTS: u64 = 20;

/// Watches one drain.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClosingWatch {
    /// The shortest time from the first check to the verdict.
    patience: Duration,
    /// The value of [`Sample::drain_close`] at the first check.
    closed_before: Option<u64>,
    /// The time of the first check in the drain, and the number of requests that had begun by then.
    since: Option<(Time, u64)>,
    is_settled: bool,
}

impl ClosingWatch {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Whether the next sample with all statistics can lead to the verdict.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        !self.is_settled && self.since.is_some_and(|(since, _)| now.since(since) >= self.patience)
    }

    /// Checks a sample of the drain. Returns the number of requests that have begun and ended
    /// without a closed connection, once this number is at least [`REQUESTS`] and `patience` is
    /// over. Later calls return `None`. A call also returns `None` if the sample lacks a statistic.
    ///
    /// The end of a stream that began before the drain proves nothing. Envoy announces a close in
    /// the head of a response, and the head for this stream was already sent. The statistics do not
    /// say which requests are still active, so all active requests count as begun during the drain.
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

    /// The sample of a step.
    type SampleAt = fn(u64) -> Sample;

    /// The results of [`ClosingWatch`] for samples that are half a second apart.
    fn verdicts(samples: &[Sample]) -> Vec<Option<u64>> {
        let begin = Time::default();
        let mut watch = ClosingWatch::new(PATIENCE);
        let moments = (0..).map(|step| begin + Duration::from_millis(500) * step);
        samples.iter().zip(moments).map(|(sample, now)| watch.check(now, sample)).collect()
    }

    // holds: S43
    #[test]
    fn ongoing_requests_are_reported_once() {
        let samples: Vec<_> = (0..8).map(|step| sample(100 + step * 10, 3, 7)).collect();
        assert_eq!(verdicts(&samples), [None, None, None, None, Some(37), None, None, None]);
    }

    // holds: S43, S180
    #[test]
    fn samples_that_prove_nothing_are_not_reported() {
        let cases: [(&str, SampleAt); 6] = [
            ("an old stream ends", |step| sample(100 + step, 80 - step * 10, 7)),
            ("each stream that ends is replaced", |step| sample(100 + step * 10, 80, 7)),
            ("there are few requests", |step| sample(100 + step, 0, 7)),
            ("requests hang", |step| sample(100 + step * 10, step * 10, 7)),
            ("a connection was closed", |step| sample(100 + step * 10, 0, 7 + step.min(1))),
            ("a statistic is missing", |step| Sample {
                drain_close: None,
                ..sample(100 + step * 10, 0, 0)
            }),
        ];
        for (case, sample_at) in cases {
            let samples: Vec<_> = (0..8).map(sample_at).collect();
            assert!(verdicts(&samples).iter().all(Option::is_none), "{case}");
        }
        let at_once = |ended: u64| {
            let samples: Vec<_> =
                (0..8).map(|step| sample(100 + if step > 0 { ended } else { 0 }, 0, 7)).collect();
            verdicts(&samples).into_iter().flatten().next()
        };
        assert_eq!((at_once(19), at_once(20)), (None, Some(20)));
    }
}
