//! Counts the connections of clients, and records their ends, in the shutdown and during the
//! requests of operators.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::core::event::Event;
use crate::core::phase::Phase;
use crate::journal::Journal;
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::{Message, MessageSender, tell};
use crate::supervisor::tasks::drain::RunningDrain;
use crate::supervisor::tasks::looker::Looker;
use crate::supervisor::tasks::stop_counts::StopCounts;
use crate::supervisor::tasks::witness::{Attention, Endings};
use crate::types::ProcessId;

/// The connections of clients, and the requests of operators that may cut them.
pub(super) struct ClientTraffic {
    pub(super) looker: Rc<Looker>,
    pub(super) counts: Rc<StopCounts>,
    /// Set while requests of operators are under way.
    attention: Weak<Attention>,
}

impl ClientTraffic {
    pub(super) fn new(sender: &MessageSender) -> Self {
        let counted = tell(sender, |is_first| Message::Counted { is_first });
        let looker = Rc::<Looker>::default();
        let counts = StopCounts::new(counted, Rc::clone(&looker));
        Self { looker, counts, attention: Weak::new() }
    }

    /// Adds the latest counts of connections to the journal.
    pub(super) fn record(&self, journal: &mut Journal) {
        for (began, process, counts) in self.counts.take_counts() {
            match counts {
                Some(counts) => journal.of_mut(process).serves(began, counts.traffic(true)),
                None => journal.of_mut(process).listens_on_nothing(began),
            }
        }
        record_endings(journal, self.looker.witness().endings());
    }

    /// Like [`Self::record`], at the end of the shutdown.
    pub(super) fn record_last(&self, journal: &mut Journal) {
        self.record(journal);
        record_endings(journal, self.looker.witness().last_endings());
    }
}

/// Adds connections that have ended to the journal.
fn record_endings(journal: &mut Journal, endings: Option<Endings>) {
    match endings {
        None => journal.lost_endings(),
        Some(endings) => {
            for (at, process, ending) in endings {
                journal.connection_ended(at, process, ending);
            }
        }
    }
}

impl Executor {
    /// The inodes of the sockets that drainit holds for a process.
    pub(super) fn held_inodes(&self, process: ProcessId) -> BTreeSet<u32> {
        self.definition(process).sockets.iter().filter_map(|socket| socket.inode()).collect()
    }

    /// Begins to find out what a request of an operator costs the clients of the processes; `None`
    /// in a shutdown, which refuses requests.
    pub(crate) fn attend(&mut self) -> Option<Rc<Attention>> {
        let Phase::Running(_) = self.processes.machine().phase() else { return None };
        let attention = self.traffic.attention.upgrade().unwrap_or_else(|| {
            let witness = self.traffic.looker.witness();
            self.processes.journal.sees_endings(witness.begin(false));
            Rc::new(Attention::new(witness))
        });
        self.traffic.attention = Rc::downgrade(&attention);
        Some(attention)
    }

    /// Looks at the connections of all processes before a request, which may stop some of them.
    /// Returns whether the look was late.
    pub(crate) fn look_at_clients(&self) -> Pin<Box<dyn Future<Output = bool>>> {
        self.traffic.counts.before_request()
    }

    /// Handles the end of a look at the connections.
    pub(crate) fn on_counted(&mut self, is_first: bool) -> Option<Event> {
        self.traffic.record(&mut self.processes.journal);
        is_first.then_some(Event::Counted)
    }

    /// Handles the end of a request of an operator.
    pub(crate) fn on_request_over(&mut self, endings: Option<Endings>) {
        record_endings(&mut self.processes.journal, endings);
        self.processes.journal.sum_up_ends();
    }

    /// Begins to count the connections of clients, so that the shutdown report says how many
    /// connections each stop has cut. From now on, a process whose output nobody reads is blocked
    /// for at most `patience`.
    pub(crate) fn on_shutdown(&mut self, patience: Duration) {
        self.own_work = self.look_who_serves();
        self.processes.slots.all_mut().for_each(|(_, slot)| slot.instance.keeps_listening = None);
        self.processes.journal.sees_endings(self.traffic.looker.witness().begin(true));
        let counted = self.traffic.counts.on_shutdown(|process| {
            self.instance(process).drain.as_ref().is_some_and(RunningDrain::counts)
        });
        for process in counted {
            self.processes.history(process).clients.is_uncounted = true;
        }
        self.logs.stop_waiting(patience);
    }
}
