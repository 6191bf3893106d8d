//! Whether an Envoy that drains really closes connections: requests that go on without one being closed show that it does
//! not. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::envoy::stats::Sample;

/// So many requests must have come to their end without a connection closed. A single one could have begun its response
/// before the drain.
const REQUESTS: u64 = 20;

/// Watches one drain.
#[derive(Debug)]
pub(crate) struct ClosingWatch {
    /// Not judged before this is over.
    patience: Duration,
    /// Connections that Envoy had closed for a drain before this one.
    closed_before: Option<u64>,
    /// When the drain was seen to be under way, and the requests that had ended by then.
    since: Option<(Instant, u64)>,
    is_settled: bool,
}

impl ClosingWatch {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, closed_before: None, since: None, is_settled: false }
    }

    /// Before Envoy was told.
    pub(crate) fn before(&mut self, sample: &Sample) {
        self.closed_before = sample.drain_close;
    }

    /// Since Envoy was told. Gives the number of requests that ended without a connection being closed, once, when there
    /// are too many of them. A statistic that is missing proves nothing.
    pub(crate) fn check(&mut self, now: Instant, sample: &Sample) -> Option<u64> {
        let (total, active) = (sample.requests_total?, sample.requests_active?);
        let (closed, ended) = (sample.drain_close?, total.saturating_sub(active));
        let closed_before = *self.closed_before.get_or_insert(closed);
        let (since, ended_before) = *self.since.get_or_insert((now, ended));
        let ended = ended.saturating_sub(ended_before);
        if self.is_settled || closed > closed_before {
            self.is_settled = true;
            return None;
        }
        self.is_settled = ended >= REQUESTS && now.duration_since(since) >= self.patience;
        self.is_settled.then_some(ended)
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

    /// What a watch says to samples half a second apart.
    fn said(samples: &[Sample]) -> Vec<Option<u64>> {
        let begin = Instant::now();
        let mut watch = ClosingWatch::new(PATIENCE);
        watch.before(&sample(90, 0, 7));
        let moments = (0..).map(|step| begin + Duration::from_millis(500) * step);
        samples.iter().zip(moments).map(|(sample, now)| watch.check(now, sample)).collect()
    }

    #[test]
    fn requests_that_go_on_are_told_once() {
        let samples: Vec<_> = (0..8).map(|step| sample(100 + step * 10, 3, 7)).collect();
        assert_eq!(said(&samples), [None, None, None, None, Some(40), None, None, None]);
    }

    #[test]
    fn few_requests_or_those_in_flight_prove_nothing() {
        let few: Vec<_> = (0..8).map(|step| sample(100 + step, 0, 7)).collect();
        assert!(said(&few).iter().all(Option::is_none));
        let hanging: Vec<_> = (0..8).map(|step| sample(100 + step * 10, step * 10, 7)).collect();
        assert!(said(&hanging).iter().all(Option::is_none));
    }

    #[test]
    fn one_closed_connection_settles_it() {
        let mut samples: Vec<_> = (0..8).map(|step| sample(100 + step * 10, 0, 8)).collect();
        assert!(said(&samples).iter().all(Option::is_none));
        samples[0].drain_close = Some(7);
        assert!(said(&samples).iter().all(Option::is_none));
    }

    #[test]
    fn without_the_statistics_nothing_is_said() {
        let samples: Vec<_> = (0..8)
            .map(|step| Sample { drain_close: None, ..sample(100 + step * 10, 0, 0) })
            .collect();
        assert!(said(&samples).iter().all(Option::is_none));
    }
}
