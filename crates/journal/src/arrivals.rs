//! New connections late in a drain: a load balancer has not noticed the drain yet.

use core::time::Duration;

use drainit_core::types::Time;

/// The number of totals that are kept. With more, every second one is dropped.
const MOST: usize = 32;
/// Probes open at most about so many connections a second: the kubelet asks for readiness and liveness, each once a
/// second at the most.
const PROBES: u128 = 2;
/// Fewer connections are not worth a line.
const FEWEST: u64 = 3;

/// The totals of new connections at some times of a drain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrivals {
    seen: [(Time, u64); MOST],
    count: usize,
}

/// Connections that were opened late in a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) connections: u64,
    /// When they were opened, after the beginning of the drain.
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

impl Arrivals {
    /// Keeps a total.
    pub(crate) fn note(&mut self, at: Time, total: u64) {
        if self.count == MOST {
            self.count /= 2;
            for kept in 0..self.count {
                self.seen[kept] = self.seen[2 * kept + 1];
            }
        }
        self.seen[self.count] = (at, total);
        self.count += 1;
    }

    /// The connections that were opened in the last fifth of a drain; `None` if they are so few that
    /// probes may have opened them, or if their number is unknown.
    pub(crate) fn late(&self, began: Time, end: Time) -> Option<Late> {
        let fifth = end.since(began) / 5;
        let before = |at: Time| end.since(at) >= fifth;
        let seen = &self.seen[..self.count];
        let (from, earlier) = seen.iter().rev().find(|(at, _)| before(*at))?;
        let (to, total) = seen.last()?;
        let connections = total.saturating_sub(*earlier);
        let of_probes = PROBES * to.since(*from).as_millis() / 1000;
        let is_late = connections >= FEWEST && u128::from(connections) > of_probes;
        let late = Late { connections, from: from.since(began), to: to.since(began) };
        is_late.then_some(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }

    // holds: S987
    #[test]
    fn late_connections_are_those_of_the_last_fifth_beyond_the_rate_of_probes() {
        // The times of the new connections of a drain that lasts from 10 s to 15 s.
        let fast = |from: u64, to: u64| Vec::from_iter((from..to).step_by(100));
        for (opened, late) in [
            (fast(10_000, 15_000), Some(10)),
            (fast(10_000, 14_000), None),
            (fast(14_000, 15_000), Some(10)),
            (fast(14_500, 14_800), Some(3)),
            (fast(14_500, 14_700), None),
            // A probe each half second, and one each 200 ms.
            (Vec::from_iter((10_000..15_000).step_by(500)), None),
            (Vec::from_iter((10_000..15_000).step_by(200)), Some(5)),
            (vec![], None),
        ] {
            let mut arrivals = Arrivals::default();
            for now in (10_000..=15_000).step_by(25) {
                let total = 7 + opened.iter().filter(|opened| **opened < now).count() as u64;
                arrivals.note(at(now), total);
            }
            let found = arrivals.late(at(10_000), at(15_000));
            assert_eq!(found.map(|late| late.connections > 0), late.map(|_| true), "{opened:?}");
            // The thinned totals are at most a few looks apart.
            let near = |late: u64| late..late + 4;
            let connections = found.map_or(0, |late| late.connections);
            assert!(late.is_none_or(|late| near(late).contains(&connections)), "{found:?}");
            assert!(
                found.is_none_or(|it| (3500..=4000).contains(&it.from.as_millis())),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_total_that_falls_or_is_missing_is_not_late() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.late(at(0), at(5000)), None);
        arrivals.note(at(4500), 9);
        assert_eq!(arrivals.late(at(0), at(5000)), None, "nothing was counted before");
        let mut arrivals = Arrivals::default();
        arrivals.note(at(0), 90);
        arrivals.note(at(4900), 3);
        assert_eq!(arrivals.late(at(0), at(5000)), None, "Envoy has started anew");
    }
}
