//! The questions and reports of the drain of one process: of an Envoy, or of a server whose
//! connections the kernel counts.

use crate::envoy::Call;
use crate::event::Load;
use crate::prelude::*;
use crate::traffic::{Moment, Traffic};
use crate::types::Time;

/// A question to Envoy's admin interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Asks for the listeners. The supervisor keeps the answer: the listeners that the samples have
    /// to ignore, and the addresses at which the kernel counts connections.
    Listeners,
    /// Asks for the gauges. If `is_whole`, also asks for the counters, of which there are many
    /// more.
    Sample {
        is_whole: bool,
    },
    /// Asks whether this Envoy has never been live.
    State,
    Call(Call),
}

/// A question or a report of the dialogue.
#[derive(Clone, Debug)]
pub enum DrainOutput {
    /// A question to Envoy's admin interface. The dialogue drops an unanswered question only at the
    /// end of the drain.
    Ask(Ask),
    /// A question to the kernel: how many connections to the Envoy's listeners are open?
    Look,
    /// A question to the kernel: how many connections to the ports of the Envoy, except that of its
    /// admin, owe an answer? `Dialogue::witnessed` takes the answer.
    Witness,
    /// The traffic that was counted. The numbers can be as old as `began`, the start of the count.
    Sampled { began: Time, load: Load, traffic: Traffic, moment: Moment },
    /// The traffic is unknown: a poll or a look has failed, an answer is overdue, or the kernel has
    /// shown traffic that the last sample lacks.
    Unknown,
    /// Whether the drain was accepted. The dialogue reports this at most once, and not after the
    /// end of the drain. If the kernel counts in place of an Envoy that has accepted nothing, the
    /// drain counts as accepted.
    Answered { accepted: bool },
    /// This Envoy has never accepted a connection.
    NothingToDrain,
    /// The process has reported that it is drained.
    Drained,
    /// The closing of the listeners was answered or given up.
    ListenersClosed,
    /// A warning for the log and the report.
    Warn(String),
    /// A line for the log.
    Log(String),
}
