//! The knowledge of drainit about an epoch (an Envoy in a chain of hot restarts), and what follows for its
//! liveness probe and for the next hot restart. This module is pure, so its tests play each end of
//! each state.

/// An epoch: one instance of an Envoy with hot restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EnvoyEpoch {
    pub(super) number: u32,
    /// Whether the epoch still has to take over from an older epoch.
    pub(super) is_new: bool,
    /// Whether a newer epoch has ended before it had taken over from this epoch. If so, Envoy
    /// permits no further hot restart while this epoch lives.
    has_failed_successor: bool,
    admin: AdminState,
}

/// The admin of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdminState {
    /// As far as drainit knows, the admin is open.
    Open,
    /// A successor has failed, and drainit asks whether the admin is still open.
    Asked,
    /// A failed successor has closed the admin. Envoy never opens it again.
    Closed,
}

impl EnvoyEpoch {
    /// The epoch that starts beside the `living` epochs of its process; `None` if one of these
    /// permits no further hot restart.
    pub(super) fn beside(living: impl Iterator<Item = Self> + Clone) -> Option<Self> {
        if living.clone().any(|other| other.has_failed_successor) {
            return None;
        }
        let number = living.map(|other| other.number).max().map_or(0, |newest| newest + 1);
        let (has_failed_successor, admin) = (false, AdminState::Open);
        Some(Self { number, is_new: number > 0, has_failed_successor, admin })
    }

    /// Records that this epoch has taken over.
    pub(super) fn takes_over(&mut self) {
        self.is_new = false;
    }

    /// Records that another epoch of the process has ended. Returns whether its hot restart has
    /// failed, so that drainit has to look at the admin of this epoch.
    pub(super) fn on_other_ended(&mut self, other: Self) -> bool {
        self.has_failed_successor |= other.is_new;
        other.is_new
    }

    /// Records that drainit asks whether the admin is still open.
    pub(super) fn on_admin_asked(&mut self) {
        self.admin = AdminState::Asked;
    }

    /// Records the answer.
    pub(super) fn on_admin_seen(&mut self, is_closed: bool) {
        self.admin = if is_closed { AdminState::Closed } else { AdminState::Open };
    }

    pub(super) fn has_closed_admin(self) -> bool {
        self.admin == AdminState::Closed
    }

    /// Whether a failed probe of the admin says nothing about the epoch `own`: a successor that has
    /// not taken over may have closed the admin, or answers in its place. `others` has the other
    /// living epochs of the process.
    pub(super) fn ignores_probe(own: Option<Self>, mut others: impl Iterator<Item = Self>) -> bool {
        own.is_some_and(|own| own.admin != AdminState::Open) || others.any(|other| other.is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that happens in a chain of hot restarts. A number is the place of an epoch, in the
    /// order of the starts.
    #[derive(Clone, Copy, Debug)]
    enum Happens {
        Starts,
        TakesOver(usize),
        Ends(usize),
        /// The admin of this epoch was looked at; `true` if it is closed.
        Seen(usize, bool),
    }

    /// Plays events, and returns the epochs that live.
    fn play(events: &[Happens]) -> Vec<Option<EnvoyEpoch>> {
        let mut all: Vec<Option<EnvoyEpoch>> = Vec::new();
        for event in events {
            match *event {
                Happens::Starts => {
                    let new = EnvoyEpoch::beside(all.iter().flatten().copied());
                    assert!(new.is_some(), "{events:?}");
                    all.push(new);
                }
                Happens::TakesOver(place) => all[place].as_mut().unwrap().takes_over(),
                Happens::Ends(place) => {
                    let ended = all[place].take().unwrap();
                    for other in all.iter_mut().flatten() {
                        if other.on_other_ended(ended) {
                            other.on_admin_asked();
                        }
                    }
                }
                Happens::Seen(place, is_closed) => {
                    all[place].as_mut().unwrap().on_admin_seen(is_closed);
                }
            }
        }
        all
    }

    #[test]
    fn a_failed_probe_counts_again_when_the_exception_is_over() {
        use Happens::{Ends, Seen, Starts, TakesOver};
        let serves = [Starts, TakesOver(0)];
        // The events after the first epoch serves, whether a failed probe of each living epoch says
        // nothing, and the number of the next epoch; `None` if Envoy permits no hot restart.
        let cases: [(&[Happens], &[bool], Option<u32>); 10] = [
            (&[], &[false], Some(1)),
            // A hot restart is under way. The probe of the new epoch is that of the new admin.
            (&[Starts], &[true, false], Some(2)),
            (&[Starts, TakesOver(1)], &[false, false], Some(2)),
            (&[Starts, TakesOver(1), Ends(0)], &[false], Some(2)),
            // The old epoch ends before the new epoch has taken over.
            (&[Starts, Ends(0)], &[false], Some(2)),
            // The hot restart has failed, and nobody knows whether the admin is open.
            (&[Starts, Ends(1)], &[true], None),
            // The admin has stayed open: an Envoy that hangs later fails its liveness check.
            (&[Starts, Ends(1), Seen(0, false)], &[false], None),
            (&[Starts, Ends(1), Seen(0, true)], &[true], None),
            // The newest of two epochs crashes after it has taken over: no hot restart has failed.
            (&[Starts, TakesOver(1), Ends(1)], &[false], Some(1)),
            // The third epoch takes over from the second while the first still drains.
            (&[Starts, TakesOver(1), Starts], &[true, true, false], Some(3)),
        ];
        for (events, ignored, next) in cases {
            let all = play(&[&serves, events].concat());
            let living: Vec<_> = all.iter().flatten().copied().collect();
            let ignores = |own: &EnvoyEpoch| {
                let others: Vec<_> = living.iter().filter(|it| *it != own).copied().collect();
                let is_ignored = EnvoyEpoch::ignores_probe(Some(*own), others.iter().copied());
                // The order of the others does not matter.
                let reversed = EnvoyEpoch::ignores_probe(Some(*own), others.into_iter().rev());
                assert_eq!(is_ignored, reversed, "{events:?}");
                is_ignored
            };
            assert_eq!(living.iter().map(ignores).collect::<Vec<_>>(), ignored, "{events:?}");
            for living in [living.clone(), living.into_iter().rev().collect()] {
                let next_one = EnvoyEpoch::beside(living.into_iter());
                assert_eq!(next_one.map(|epoch| epoch.number), next, "{events:?}");
            }
        }
        assert!(!EnvoyEpoch::ignores_probe(None, [].into_iter()), "an Envoy without hot restart");
    }

    #[test]
    fn new_epoch_follows_newest_living_epoch() {
        let of = |number| EnvoyEpoch { number, ..EnvoyEpoch::beside([].into_iter()).unwrap() };
        // In the last two cases, the newest epoch has crashed, and the epoch before it drains.
        for (living, next) in [(&[][..], 0), (&[0], 1), (&[3], 4), (&[3, 4], 5), (&[4, 3], 5)] {
            let epoch = EnvoyEpoch::beside(living.iter().map(|number| of(*number))).unwrap();
            assert_eq!((epoch.number, epoch.is_new), (next, next > 0), "{living:?}");
        }
    }
}
