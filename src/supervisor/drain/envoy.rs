//! The drain of one Envoy: begins it over the admin, then polls how much traffic remains.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, timeout};

use crate::config::{Direction, DrainUntil, EnvoyDrain as Keys};
use crate::core::event::{Event, Load, Unit};
use crate::envoy::admin::{
    Call, CallOutcome, begin_drain, close_listeners, fail_healthcheck, is_unused, sample, uncounted,
};
use crate::envoy::close_watch::ClosingWatch;
use crate::envoy::listeners::Uncounted;
use crate::envoy::poll_pace::Pace;
use crate::envoy::stats::Sample;
use crate::http::{Client, RequestError};
use crate::os::clock;
use crate::report::history::{Moment, Traffic};
use crate::supervisor::drain::target::DrainTarget;
use crate::types::Time;

/// The limit of the last poll. The core waits no longer for the closing of the listeners as a
/// whole.
const LAST_POLL: Duration = Duration::from_millis(100);
/// The remedy for a drain of inbound listeners that closes no connections.
const SLOW_INBOUND: &str = "start it with `--drain-strategy immediate`, or a --drain-time-s shorter than the drain's `time`";
/// By when connections must have closed, where every response closes its own.
const CLOSING_SEEN: Duration = Duration::from_secs(2);

/// The state that the tasks of one drain share.
pub(crate) struct EnvoyDrain {
    pub(crate) target: DrainTarget,
    pub(crate) keys: Keys,
    /// The listeners that do not count, as soon as they are known.
    pub(crate) uncounted: OnceCell<Uncounted>,
    /// Before this the drain cannot be over.
    pub(crate) min_until: Time,
    /// The longest wait, as granted.
    pub(crate) longest: Duration,
    /// Its health check stays good for now, and is failed later.
    pub(crate) stays_ready: Cell<bool>,
    /// Asks for the next poll at once.
    pub(crate) again: Notify,
    /// Counts the closings of the listeners: the result of a poll that began before one is
    /// discarded.
    pub(crate) epoch: Cell<u32>,
    /// Envoy has confirmed that its listeners are closed.
    pub(crate) is_closed: Cell<bool>,
    pub(crate) accepted: Cell<Accepted>,
    /// The number of tasks that make calls, any of which may still be accepted.
    pub(crate) awaited: Cell<u32>,
    /// The call that fails the health check later.
    pub(crate) late_call: RefCell<Option<AbortHandle>>,
    /// The core knows whether the drain was accepted.
    pub(crate) is_answered: Cell<bool>,
    /// Samples from now on do not belong to the drain.
    pub(crate) is_over: Cell<bool>,
}

/// The outcome of the calls that begin the drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Accepted {
    /// No answer yet.
    #[default]
    NotYet,
    /// All calls failed.
    Nothing,
    /// Envoy closes connections as its own flags say.
    Gradual,
    /// Every response closes its connection.
    AtOnce,
}

impl EnvoyDrain {
    /// Polls once, begins the drain, then polls until the task is aborted.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut client = Client::new(self.keys.admin.clone());
        let mut watch = ClosingWatch::new(if self.keys.fail_healthcheck {
            CLOSING_SEEN
        } else {
            // By then a gradual drain of that length has closed a quarter of the connections in
            // use.
            CLOSING_SEEN.max(self.longest / 2)
        });
        self.ask_what_counts(&mut client).await;
        // Before the calls take effect; they wait for it at most its limit. If it fails, the next
        // poll reports that.
        let (began, mut pace) = (clock::now(), Pace::new(self.min_until));
        let first = sample(&mut client, self.uncounted()).await;
        let now = clock::now();
        let pause = match &first {
            Ok(sample) => pace.after_answer(now, now.since(began), self.left(sample)),
            Err(_) => Duration::ZERO,
        };
        // An admin that does not tell its statistics may tell its state as late.
        if let Ok(sample) = &first
            && sample.has_accepted_none()
            && is_unused(&mut client).await
        {
            self.record(began, &Sample::NOTHING, Moment::Start);
            // It may become live while a drain that was requested is held.
            self.begin().await;
            self.target.instance.send(Event::NothingToDrain(self.target.process));
            return;
        }
        let first = first.unwrap_or_default();
        watch.before(&first);
        self.record(began, &first, Moment::Start);
        tokio::join!(self.begin(), self.poll(client, watch, pace, pause));
    }

    fn direction(&self) -> Direction {
        self.keys.direction.unwrap_or_default()
    }

    async fn ask_what_counts(&self, client: &mut Client) {
        let (uncounted, told) =
            uncounted(client, self.direction(), &self.keys.ignore_listeners).await;
        if let Err(error) = told {
            self.target.warn(&format!(
                "its admin does not tell what `direction` or `ignore_listeners` leave out: {error}; it counts, too"
            ));
        }
        let _ = self.uncounted.set(uncounted);
    }

    fn uncounted(&self) -> &Uncounted {
        self.uncounted.get_or_init(Uncounted::default)
    }

    async fn begin(&self) {
        let fails = self.keys.fail_healthcheck && !self.stays_ready.get();
        self.told(begin_drain(&self.keys.admin, self.direction(), fails).await);
        self.answer();
        // The watch counts from the first poll after this.
        self.again.notify_one();
    }

    /// Warns of failed calls.
    fn told(&self, outcomes: Vec<CallOutcome>) {
        let mut accepted = Accepted::Nothing;
        for outcome in outcomes {
            match (&outcome.result, outcome.call) {
                (Ok(()), Call::FailHealthcheck) => accepted = Accepted::AtOnce,
                (Ok(()), _) => accepted = Accepted::Gradual,
                (Err(_), _) => self.target.warn(&outcome.to_string()),
            }
        }
        self.accepted.set(accepted.max(self.accepted.get()));
    }

    /// Whether at least one call was accepted.
    fn is_accepted(&self) -> bool {
        self.accepted.get() > Accepted::Nothing
    }

    /// Tells the core whether the drain was accepted, once. If nothing was, that is not known before
    /// the call that fails the health check later.
    fn answer(&self) {
        self.awaited.set(self.awaited.get() - 1);
        let accepted = self.is_accepted();
        let is_last = self.awaited.get() == 0 && !self.stays_ready.get();
        if (accepted || is_last) && !self.is_over.get() && !self.is_answered.replace(true) {
            self.target
                .instance
                .send(Event::DrainAnswered { process: self.target.process, accepted });
        }
    }

    /// Fails the health check, if that has stayed good so far.
    pub(crate) fn unready(self: &Rc<Self>) {
        if self.stays_ready.replace(false) && !self.is_over.get() {
            let drain = Rc::clone(self);
            self.awaited.set(self.awaited.get() + 1);
            let call = spawn_local(async move {
                drain.told(fail_healthcheck(&drain.keys.admin).await);
                drain.answer();
            });
            *self.late_call.borrow_mut() = Some(call.abort_handle());
        }
    }

    /// Ends the drain; warns if it is unknown whether it ever began.
    pub(crate) fn end(&self) {
        if let Some(call) = self.late_call.take() {
            call.abort();
        }
        if !self.is_over.replace(true) && self.accepted.get() == Accepted::NotYet {
            self.target.warn("its admin had not answered when the drain was over");
        }
    }

    async fn poll(
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
            let sampled = sample(&mut client, self.uncounted()).await;
            pause = match &sampled {
                Ok(sample) => pace.after_answer(clock::now(), began.elapsed(), self.left(sample)),
                Err(_) => pace.after_failure(began.elapsed()),
            };
            match sampled {
                Ok(sample) if epoch == self.epoch.get() => {
                    failing = false;
                    self.record(began_at, &sample, moment);
                    // While it stays good, few connections have to close.
                    if self.is_accepted()
                        && !self.stays_ready.get()
                        && let Some(requests) = watch.check(Instant::now(), &sample)
                    {
                        self.target.warn(&self.not_closing(requests));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            "{}: GET /stats: {error}; its connections are unknown",
                            self.target.name
                        );
                    }
                    if !self.is_over.get() {
                        let mut journal = self.target.status_board.journal.borrow_mut();
                        journal.traffic_unknown(self.target.process);
                    }
                    let load = Load::default();
                    self.target
                        .instance
                        .send(Event::DrainSample { process: self.target.process, load });
                }
            }
        }
    }

    /// Closes the listeners unless they are closed, polls, and reports to the core in any case.
    pub(crate) async fn close(self: Rc<Self>) {
        // The drain may have been over for a while: after `drainit drain` it is held until the
        // stop.
        self.is_over.set(false);
        if !self.is_closed.get() {
            let outcome = close_listeners(&self.keys.admin, self.direction()).await;
            self.is_closed.set(outcome.result.is_ok());
            match outcome.result {
                Ok(()) => {}
                Err(RequestError::Status(_)) => self.target.warn(&outcome.to_string()),
                // An Envoy that ends by itself closes its admin, and refuses nothing by that.
                Err(_) => tracing::warn!("{}: {outcome}", self.target.name),
            }
        }
        self.epoch.set(self.epoch.get() + 1);
        // Requests in flight now are cut when the process is stopped next.
        let (mut client, began) = (Client::new(self.keys.admin.clone()), clock::now());
        if let Ok(Ok(sample)) = timeout(LAST_POLL, sample(&mut client, self.uncounted())).await {
            self.record(began, &sample, self.moment());
        }
        self.target.instance.send(Event::ListenersClosed(self.target.process));
        // The next poll shows the core whether a connection slipped in before.
        self.again.notify_one();
    }

    /// Passes a sample to the report and the core. It may be as old as the begin of its poll.
    fn record(&self, began: Time, sample: &Sample, moment: Moment) {
        if self.is_over.get() {
            return;
        }
        let (process, traffic) = (self.target.process, traffic(sample));
        let mut journal = self.target.status_board.journal.borrow_mut();
        journal.traffic(began, process, traffic, moment);
        drop(journal);
        self.target.instance.send(Event::DrainSample { process, load: self.load(sample) });
    }

    /// The moment, for the report, of a poll that begins now.
    fn moment(&self) -> Moment {
        if self.is_closed.get() { Moment::Closed } else { Moment::Meanwhile }
    }

    fn not_closing(&self, requests: u64) -> String {
        let mend = match (self.accepted.get(), self.keys.fail_healthcheck) {
            (Accepted::AtOnce, _) => {
                "is its listener's `drain_type` MODIFY_ONLY? Only those with DEFAULT take notice of healthcheck/fail"
            }
            (_, true) => "healthcheck/fail, which would close them, was not done",
            (_, false) if self.direction() == Direction::Inbound => SLOW_INBOUND,
            (_, false) => "set `fail_healthcheck: true`, which closes them",
        };
        format!("{requests} requests since the drain began, and no connection was closed: {mend}")
    }

    /// How many connections (or requests) are still waited for.
    fn left(&self, sample: &Sample) -> Option<u64> {
        self.load(sample).active.map(|active| active.saturating_sub(self.keys.exit_at.into()))
    }

    fn load(&self, sample: &Sample) -> Load {
        match self.keys.until {
            DrainUntil::Connections => Load {
                unit: Unit::Connections,
                active: sample.active,
                total: sample.accepted_total,
            },
            DrainUntil::Requests => Load {
                unit: Unit::Requests,
                active: sample.requests_left(),
                total: sample.requests_total,
            },
        }
    }
}

fn traffic(sample: &Sample) -> Traffic {
    Traffic {
        connections: sample.active,
        accepted: sample.accepted_total,
        requests: sample.requests_left(),
        received: sample.requests_total,
    }
}
