//! Carries out the dialogue with the admin of an Envoy that is being drained.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config::{Direction, DrainUntil, EnvoyDrain as Keys};
use crate::core::envoy::attempts::AskFailure;
use crate::core::envoy::dialogue::{Answer, Ask, Dialogue, DrainOutput, EnvoyTerms, Look};
use crate::core::event::Unit;
use crate::envoy::admin;
use crate::envoy::listeners::Uncounted;
use crate::http::{Client, HttpError};
use crate::local_task::LocalTask;
use crate::os::on_thread::on_thread;
use crate::os::{clock, connections};
use crate::supervisor::drain::target::DrainTarget;
use crate::types::Time;

/// The drain of one Envoy.
pub(crate) struct RunningEnvoyDrain {
    target: Rc<DrainTarget>,
    keys: Keys,
    dialogue: RefCell<Dialogue>,
    /// The task that carries out the last request to the admin.
    asks: Cell<Option<LocalTask>>,
    /// The task that carries out the last look at the kernel's count.
    looks: Cell<Option<LocalTask>>,
    /// The client of the polls, whose connection stays open between them. `None` before the first
    /// poll and while a poll uses the client.
    client: Cell<Option<Client>>,
    /// Which listeners count for the drain, and which do not. Empty until the admin has listed
    /// them.
    uncounted: RefCell<Rc<Uncounted>>,
    /// Wakes `keep_time` after each step of the dialogue, because the next step may now be due
    /// earlier.
    changed: Rc<Notify>,
    _clock: LocalTask,
}

impl RunningEnvoyDrain {
    /// Begins the drain.
    pub(crate) fn begin(target: Rc<DrainTarget>, keys: &Keys) -> Rc<Self> {
        let unit = match keys.until {
            DrainUntil::Connections => Unit::Connections,
            DrainUntil::Requests => Unit::Requests,
        };
        let direction = keys.direction.unwrap_or_default();
        let now = clock::now();
        let terms = EnvoyTerms {
            min_until: now + target.min,
            longest: target.longest,
            only_inbound: direction == Direction::Inbound,
            leaves_out: direction != Direction::All || !keys.ignore_listeners.is_empty(),
            fail_healthcheck: keys.fail_healthcheck,
            stays_ready: target.stays_ready,
            unit,
            exit_at: keys.exit_at.into(),
        };
        let (dialogue, outputs) = Dialogue::begin(now, terms);
        let changed = Rc::<Notify>::default();
        let drain = Rc::new_cyclic(|drain: &Weak<Self>| Self {
            _clock: LocalTask::begin(Self::keep_time(Weak::clone(drain), Rc::clone(&changed))),
            target,
            keys: keys.clone(),
            dialogue: RefCell::new(dialogue),
            asks: Cell::default(),
            looks: Cell::default(),
            client: Cell::default(),
            uncounted: RefCell::default(),
            changed,
        });
        drain.carry_out(outputs);
        drain
    }

    /// Makes the Envoy fail its health check, if the drain has not done so yet.
    pub(crate) fn unready(self: &Rc<Self>) {
        self.with(Dialogue::unready);
    }

    /// Makes the Envoy close its listeners, and takes a last sample of its traffic.
    pub(crate) fn close(self: &Rc<Self>) {
        self.with(Dialogue::close);
    }

    /// Ends the drain, but lets a request that closes listeners finish.
    pub(crate) fn end(self: &Rc<Self>) {
        let before = self.asks.take();
        self.with(Dialogue::end);
        let before = before.filter(|_| self.dialogue.borrow().is_asking());
        self.asks.set(self.asks.take().or(before));
    }

    /// Wakes the dialogue when its next step is due.
    async fn keep_time(drain: Weak<Self>, changed: Rc<Notify>) {
        let wakes_at = |drain: Rc<Self>| drain.dialogue.borrow().wakes_at();
        while let Some(at) = drain.upgrade().map(wakes_at) {
            let pause = at.unwrap_or(Time::NEVER).since(clock::now());
            if timeout(pause, changed.notified()).await.is_err()
                && let Some(drain) = drain.upgrade()
            {
                drain.with(Dialogue::tick);
            }
        }
    }

    fn with(self: &Rc<Self>, step: impl FnOnce(&mut Dialogue, Time) -> Vec<DrainOutput>) {
        let outputs = step(&mut self.dialogue.borrow_mut(), clock::now());
        self.carry_out(outputs);
        self.changed.notify_one();
    }

    fn carry_out(self: &Rc<Self>, outputs: Vec<DrainOutput>) {
        for output in outputs {
            match output {
                DrainOutput::Ask(ask) => self.ask(ask),
                DrainOutput::Look => self.look(),
                report => self.target.report(report),
            }
        }
    }

    /// Asks the admin, and gives the answer to the dialogue. There is no limit of time: the end of
    /// the drain ends the request.
    fn ask(self: &Rc<Self>, ask: Ask) {
        const LIMIT: Duration = Duration::MAX;
        let drain = Rc::downgrade(self);
        let keys = self.keys.clone();
        let uncounted = Rc::clone(&self.uncounted.borrow());
        let client = self.client.take();
        let mut client = client.unwrap_or_else(|| Client::new(keys.admin.clone()));
        let task = LocalTask::of(self.target.share(), async move {
            let mut counts = None;
            let answer = match ask {
                Ask::Listeners => {
                    let direction = keys.direction.unwrap_or_default();
                    let ignored = &keys.ignore_listeners;
                    let (uncounted, answered) =
                        Uncounted::ask(&mut client, direction, ignored, LIMIT).await;
                    counts = Some(Rc::new(visible(uncounted).await));
                    Answer::Listeners(answered.map_err(failure))
                }
                Ask::Sample { is_whole } => {
                    let sample = admin::sample(&mut client, &uncounted, is_whole, LIMIT).await;
                    Answer::Sample(sample.map_err(failure))
                }
                Ask::State => {
                    Answer::State { is_unused: admin::is_unused(&mut client, LIMIT).await }
                }
                Ask::Call(call) => {
                    Answer::Call(admin::post(&keys.admin, call, LIMIT).await.map_err(failure))
                }
            };
            let Some(drain) = drain.upgrade() else { return };
            if let Some(counts) = counts {
                drain.uncounted.replace(counts);
            }
            drain.client.set(Some(client));
            drain.with(|dialogue, now| dialogue.answered(now, answer));
        });
        self.asks.set(Some(task));
    }

    /// Counts the connections, and gives their number to the dialogue. A connection that arrives
    /// during the look counts as open now, or as accepted at the next look.
    fn look(self: &Rc<Self>) {
        let drain = Rc::downgrade(self);
        let addresses = self.uncounted.borrow().counted.clone();
        let is_counted = !addresses.is_empty();
        let task = LocalTask::of(self.target.share(), async move {
            let look = move || {
                let accepted = connections::accepted();
                connections::count(&addresses).ok().map(|open| Look { open, accepted })
            };
            let look = match is_counted {
                true => on_thread(Duration::MAX, look).await.ok().flatten(),
                false => None,
            };
            let Some(drain) = drain.upgrade() else { return };
            drain.with(|dialogue, now| dialogue.looked(now, look));
        });
        self.looks.set(Some(task));
    }
}

/// Keeps the addresses only if the kernel shows the connections to all of them.
async fn visible(uncounted: Uncounted) -> Uncounted {
    let addresses = uncounted.counted.clone();
    let visible = on_thread(Duration::MAX, move || connections::are_visible(&addresses)).await;
    let counted = if let Ok(Ok(true)) = visible { uncounted.counted } else { Vec::new() };
    Uncounted { counted, ..uncounted }
}

fn failure(error: HttpError) -> AskFailure {
    AskFailure { why: error.to_string(), is_refusal: matches!(error, HttpError::Status(_)) }
}
