//! The drain of one Envoy: tells it, then keeps looking how much it still carries.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::config::{Address, DrainUntil};
use crate::core::event::{Event, Load, Unit};
use crate::envoy::admin::{Call, begin_drain, close_listeners, sample};
use crate::envoy::close_watch::ClosingWatch;
use crate::envoy::poll_pace::Pace;
use crate::envoy::stats::Sample;
use crate::http::Client;
use crate::os::clock;
use crate::report::{Moment, Traffic};
use crate::supervisor::drain::DrainTarget;
use crate::types::Time;

/// How long the count at the end may take; the core is not more patient with the closing of the listeners as a whole.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// When it is to be seen that connections are closed, where every response closes its own.
const CLOSING_SEEN: Duration = Duration::from_secs(2);

/// What the parts of one drain share.
pub(crate) struct Drainer {
    pub(crate) subject: DrainTarget,
    pub(crate) admin: Address,
    pub(crate) fail_healthcheck: bool,
    pub(crate) until: DrainUntil,
    /// Before this the drain cannot be over.
    pub(crate) min_until: Time,
    /// The longest wait, as granted.
    pub(crate) longest: Duration,
    /// The next poll is due now: something has changed that it is to show.
    pub(crate) again: Notify,
    /// Counts up when the listeners are closed: a look that began before tells nothing about after.
    pub(crate) epoch: Cell<u32>,
    /// It has said that its listeners are closed.
    pub(crate) is_closed: Cell<bool>,
    /// What came of the calls that begin the drain.
    pub(crate) told: Cell<Told>,
    /// Nothing that is seen from now on belongs to the drain.
    pub(crate) is_over: Cell<bool>,
}

/// How an Envoy was told to drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// It has not answered, and was not given up.
    #[default]
    NotYet,
    /// It has not taken any call.
    Nothing,
    /// It closes connections as its own flags say.
    Gradual,
    /// Every response closes its connection.
    AtOnce,
}

impl Drainer {
    /// ImageLookup, tells, and looks until it is dropped.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut client = Client::new(self.admin.clone());
        let mut watch = ClosingWatch::new(if self.fail_healthcheck {
            CLOSING_SEEN
        } else {
            // A gradual drain of that length has by then closed every fourth connection that was used.
            CLOSING_SEEN.max(self.longest / 2)
        });
        // Before the calls have an effect; they wait for it no longer than it is bounded. Where it fails the next look says so.
        let (began, mut pace) = (clock::now(), Pace::new(self.min_until));
        let first = sample(&mut client).await;
        let now = clock::now();
        let pause = match &first {
            Ok(sample) => pace.after_answer(now, now.since(began), self.load(sample).active),
            Err(_) => Duration::ZERO,
        };
        let first = first.unwrap_or_default();
        watch.before(&first);
        self.seen(began, &first, Moment::Start);
        tokio::join!(self.tell(), self.look(client, watch, pace, pause));
    }

    async fn tell(&self) {
        let outcomes = begin_drain(&self.admin, self.fail_healthcheck).await;
        let mut told = Told::Nothing;
        for outcome in outcomes {
            match (&outcome.result, outcome.call) {
                (Ok(()), Call::FailHealthcheck) => told = Told::AtOnce,
                (Ok(()), _) => told = Told::Gradual,
                (Err(_), _) => self.subject.complain(&outcome.to_string()),
            }
        }
        self.told.set(told);
        let accepted = told != Told::Nothing;
        self.subject.send(Event::DrainAnswered { process: self.subject.process, accepted });
        // The watch counts from the first look after this.
        self.again.notify_one();
    }

    /// The drain is over; says so where nobody knows whether it ever began.
    pub(crate) fn end(&self) {
        if !self.is_over.replace(true) && self.told.get() == Told::NotYet {
            self.subject.complain("its admin had not answered when the drain was over");
        }
    }

    async fn look(
        &self,
        mut client: Client,
        mut watch: ClosingWatch,
        mut pace: Pace,
        mut pause: Duration,
    ) {
        let mut failing = false;
        loop {
            let _ = timeout(pause, self.again.notified()).await;
            let (began, epoch, moment) = (Instant::now(), self.epoch.get(), self.moment());
            let began_at = clock::now();
            let sampled = sample(&mut client).await;
            pause = match &sampled {
                Ok(sample) => {
                    let active = self.load(sample).active;
                    pace.after_answer(clock::now(), began.elapsed(), active)
                }
                Err(_) => pace.after_failure(began.elapsed()),
            };
            match sampled {
                Ok(sample) if epoch == self.epoch.get() => {
                    failing = false;
                    self.seen(began_at, &sample, moment);
                    if self.told.get() > Told::Nothing
                        && let Some(requests) = watch.look(Instant::now(), &sample)
                    {
                        self.subject.complain(&self.not_closing(requests));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            "{}: GET /stats: {error}; its connections are unknown",
                            self.subject.name
                        );
                    }
                    let load = Load::default();
                    self.subject.send(Event::DrainSample { process: self.subject.process, load });
                }
            }
        }
    }

    /// Makes it refuse new connections, where it does not yet, and looks; answers whatever came of it.
    pub(crate) async fn close(self: Rc<Self>) {
        // It may have been over for a while: a drain that was asked for is held until there is a reason to stop.
        self.is_over.set(false);
        if !self.is_closed.get() {
            let outcome = close_listeners(&self.admin).await;
            self.is_closed.set(outcome.result.is_ok());
            if outcome.result.is_err() {
                tracing::warn!("{}: {outcome}", self.subject.name);
            }
        }
        self.epoch.set(self.epoch.get() + 1);
        // What is in flight now is cut where the process is asked to end next.
        let (mut client, began) = (Client::new(self.admin.clone()), clock::now());
        if let Ok(Ok(sample)) = timeout(LAST_LOOK, sample(&mut client)).await {
            self.seen(began, &sample, self.moment());
        }
        self.subject.send(Event::ListenersClosed(self.subject.process));
        // Whether nothing has slipped in before, the core learns from the next look.
        self.again.notify_one();
    }

    /// Keeps what was seen, for the report and the core. What a slow look tells may be as old as its beginning.
    fn seen(&self, began: Time, sample: &Sample, moment: Moment) {
        if self.is_over.get() {
            return;
        }
        let process = self.subject.process;
        self.subject.report.borrow_mut().traffic(began, process, traffic(sample), moment);
        self.subject.send(Event::DrainSample { process, load: self.load(sample) });
    }

    /// What a look that begins now tells of.
    fn moment(&self) -> Moment {
        if self.is_closed.get() { Moment::Closed } else { Moment::Meanwhile }
    }

    fn not_closing(&self, requests: u64) -> String {
        let mend = match (self.told.get(), self.fail_healthcheck) {
            (Told::AtOnce, _) => {
                "is its listener's `drain_type` MODIFY_ONLY? Only those with DEFAULT take notice of healthcheck/fail"
            }
            (_, true) => "healthcheck/fail, which would close them, was not done",
            (_, false) => "set `fail_healthcheck: true`, which closes them",
        };
        format!("{requests} requests since the drain began, and no connection was closed: {mend}")
    }

    fn load(&self, sample: &Sample) -> Load {
        match self.until {
            DrainUntil::Connections => Load {
                unit: Unit::Connections,
                active: sample.active,
                total: sample.accepted_total,
            },
            DrainUntil::Requests => Load {
                unit: Unit::Requests,
                active: sample.requests_active,
                total: sample.requests_total,
            },
        }
    }
}

fn traffic(sample: &Sample) -> Traffic {
    Traffic {
        connections: sample.active,
        accepted: sample.accepted_total,
        requests: sample.requests_active,
        received: sample.requests_total,
    }
}
