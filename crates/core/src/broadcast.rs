//! Recognises a stop signal that was sent to every process at once (`kill -TERM -1`, a node
//! shutdown). Processes then end before they can be drained. drainit cannot prevent that, but it
//! can report it.

use core::time::Duration;

use crate::note::{Evidence, Note};
use crate::prelude::*;
use crate::spec::ProcessSpec;
use crate::types::{End, ProcessId, Signal, Time};

/// An end at most this long after the stop signal is attributed to it.
const MAX_AFTER: Duration = Duration::from_secs(2);
/// So is an end at most this long before it, because the end may be seen first. Without a signal to
/// drainit (`kill -1` spares PID 1), two ends at most this far apart have the same reason.
const MAX_APART: Duration = Duration::from_millis(500);

/// The events that may have this reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broadcast {
    /// The first stop signal.
    asked: Option<(Time, Signal)>,
    /// Recent ends that look like the effect of a stop signal and were not asked for.
    ended: Vec<Ended>,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    process: ProcessId,
    at: Time,
    /// The signal that ended it; unknown if it exited with a code.
    by: Option<Signal>,
    /// The missing drain is still to be reported.
    undrained: bool,
    /// An Envoy ends with code 0 only when it is asked to.
    is_envoy: bool,
}

impl Broadcast {
    /// Records a stop signal.
    pub(crate) fn asked(&mut self, now: Time, signal: Signal) {
        self.asked.get_or_insert((now, signal));
    }

    /// Forgets the end of a process that runs again.
    pub(crate) fn started(&mut self, process: ProcessId) {
        self.ended.retain(|ended| ended.process != process);
    }

    /// Records an end that was not asked for. `undrained`: the process had traffic and was not
    /// drained.
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
        self.ended.retain(|ended| now.since(ended.at) <= MAX_AFTER);
        let is_envoy = spec.drain.is_some_and(|drain| drain.closes);
        self.ended.push(Ended { process, at: now, by, undrained, is_envoy });
    }

    /// Reports each process once that has ended undrained because of the signal.
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
                true => (after <= MAX_AFTER).then_some((signal, Evidence::After(after))),
                false => (before <= MAX_APART).then_some((signal, Evidence::Before(before))),
            };
        }
        let mut others = self.ended.iter().filter(|other| {
            let apart = one.at.since(other.at).max(other.at.since(one.at));
            other.process != one.process && apart <= MAX_APART
        });
        let other = others.find(|other| one.is_envoy || one.by.or(other.by).is_some())?;
        Some((one.by.or(other.by).unwrap_or(Signal::TERM), Evidence::OtherEnds))
    }
}
