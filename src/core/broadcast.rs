//! A stop signal that was sent to every process at once (`kill -TERM -1`, the shutdown of a node): what is drained has ended
//! before it could be drained. Nothing mends that, and nobody but the core can tell it from an end of its own accord.

use std::time::Duration;

use crate::core::note::{Evidence, Note};
use crate::core::spec::ProcessSpec;
use crate::types::{End, ProcessId, Signal, Time};

/// An end that comes this soon after the stop signal is its work.
const NEAR: Duration = Duration::from_secs(2);
/// So is one this long before it, because an end may be seen before the signal is. And two ends this close to each other have
/// the same reason where drainit itself has heard no signal: as PID 1 it is spared by `kill -1`.
const TOGETHER: Duration = Duration::from_millis(500);

/// What has happened that may have this reason.
#[derive(Debug, Default)]
pub(crate) struct Broadcast {
    /// The first stop signal.
    asked: Option<(Time, Signal)>,
    /// Who has ended lately as a stop signal makes a process end, and had not been asked to.
    ended: Vec<Ended>,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    process: ProcessId,
    at: Time,
    /// The signal that ended it. A code does not tell.
    by: Option<Signal>,
    /// It is to be told that this one was not drained; an Envoy ends with code 0 only when it is asked to.
    undrained: bool,
    is_envoy: bool,
}

impl Broadcast {
    /// A stop signal has come.
    pub(crate) fn asked(&mut self, now: Time, signal: Signal) {
        self.asked.get_or_insert((now, signal));
    }

    /// A process runs again.
    pub(crate) fn started(&mut self, process: ProcessId) {
        self.ended.retain(|ended| ended.process != process);
    }

    /// A process has ended that had not been asked to. `undrained`: it had traffic, which was not taken away.
    pub(crate) fn ended(
        &mut self,
        now: Time,
        process: ProcessId,
        spec: &ProcessSpec,
        end: End,
        undrained: bool,
    ) {
        let by = match end {
            End::Signal(signal @ (Signal::TERM | Signal::INT | Signal::QUIT)) => Some(signal),
            End::Code(0 | 143) if !spec.oneshot => None,
            _ => return,
        };
        self.ended.retain(|ended| now.since(ended.at) <= NEAR);
        let is_envoy = spec.drain.is_some_and(|drain| drain.closes);
        self.ended.push(Ended { process, at: now, by, undrained, is_envoy });
    }

    /// Who has ended undrained because of it, each once.
    pub(crate) fn notes(&mut self) -> Vec<Note> {
        let mut notes = Vec::new();
        for place in 0..self.ended.len() {
            let Ended { process, undrained, .. } = self.ended[place];
            if let (true, Some((signal, evidence))) = (undrained, self.reason(place)) {
                self.ended[place].undrained = false;
                notes.push(Note::EndedUndrained { process, signal, evidence });
            }
        }
        notes
    }

    fn reason(&self, place: usize) -> Option<(Signal, Evidence)> {
        let one = self.ended[place];
        if let Some((asked, signal)) = self.asked {
            let (after, before) = (one.at.since(asked), asked.since(one.at));
            return match before.is_zero() {
                true => (after <= NEAR).then_some((signal, Evidence::After(after))),
                false => (before <= TOGETHER).then_some((signal, Evidence::Before(before))),
            };
        }
        let mut others = self.ended.iter().filter(|other| {
            let apart = one.at.since(other.at).max(other.at.since(one.at));
            other.process != one.process && apart <= TOGETHER
        });
        let other = others.find(|other| one.is_envoy || one.by.or(other.by).is_some())?;
        Some((one.by.or(other.by).unwrap_or(Signal::TERM), Evidence::OtherEnds))
    }
}
