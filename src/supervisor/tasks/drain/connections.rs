//! Looks at the connections of a process that is being drained, whenever the core asks.

use std::mem::replace;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use crate::core::connections::answers::{Answers, Counts};
use crate::core::connections::watch::{ConnectionWatch, Terms};
use crate::core::event::Unit;
use crate::keys::{CountUntil, Counting, DrainMethod, Process};
use crate::os::clock;
use crate::os::limits::percent_of_core;
use crate::os::listeners::{Listeners, NOBODY_LISTENS};
use crate::os::on_thread::{begin_at_once, locked};
use crate::supervisor::tasks::drain::target::DrainTarget;
use crate::supervisor::tasks::drain::{Ask, DrainCommand, done};
use crate::supervisor::tasks::looker::{Few, Looker, Place, Wish};
use crate::types::Time;

/// The pause after the first look at a ready process that does not listen. Each further pause is
/// twice as long as the previous pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// After the pause of this length, drainit warns that nobody listens. An earlier warning could be
/// wrong, because a server may say that it is ready a moment before it listens.
const LATE: Duration = Duration::from_millis(800);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Counts the connections of an instance that owe an answer, again and again.
pub(super) struct Counter {
    place: Place,
    looker: Rc<Looker>,
    /// For an Envoy: the port of its admin, if the admin has a port.
    admin: Option<Option<u16>>,
    answers: Arc<Mutex<Answers>>,
    /// Some connections that counted at the last look at all connections
    /// ([`Answers::witnesses`]).
    witnesses: Arc<Mutex<Few>>,
    /// The processor time of the last look at all connections.
    used: Arc<Mutex<Duration>>,
    unit: Unit,
    exit_at: u64,
}

impl Counter {
    pub(super) fn new(
        target: &DrainTarget,
        counting: &Counting,
        admin: Option<Option<u16>>,
    ) -> Self {
        let unit = match counting.until {
            CountUntil::Answers | CountUntil::Read => Unit::Requests,
            CountUntil::Connections => Unit::Connections,
        };
        Self {
            place: Place { process: target.process, ports: counting.ports.clone() },
            looker: Rc::clone(&target.looker),
            admin,
            answers: Arc::new(Mutex::new(Answers::new(counting.awaits()))),
            witnesses: Arc::default(),
            used: Arc::default(),
            unit,
            exit_at: counting.exit_at.into(),
        }
    }

    /// Counts once. Also returns the time at which the count began.
    pub(super) async fn look(&self) -> (Time, Result<Counts, String>) {
        let (began, answers, admin) = (clock::now(), Arc::clone(&self.answers), self.admin);
        let (kept, unit, exit_at) = (Arc::clone(&self.witnesses), self.unit, self.exit_at);
        let (used, place) = (Arc::clone(&self.used), self.place.clone());
        let looked = self.looker.look(Wish::to_drain(place.clone()), move |tick| {
            let before = clock::thread_cpu();
            let mut answers = locked(&answers);
            if let Some(port) = admin {
                return Ok(answers.looked(&tick.connections_except(&place, port)?));
            }
            let counts = answers.looked(&tick.connections(&place)?);
            *locked(&kept) = tick.few(&answers.witnesses(unit, exit_at));
            *locked(&used) = tick.cost + clock::thread_cpu().saturating_sub(before);
            Ok(counts)
        });
        (began, looked.await.and_then(|seen| seen))
    }

    /// Whether a few connections show that the drain is not over. If so, returns the time after
    /// which they may no longer show it; zero if this time is unknown.
    async fn not_over(&self) -> Option<Duration> {
        let (answers, kept) = (Arc::clone(&self.answers), Arc::clone(&self.witnesses));
        let (unit, exit_at) = (self.unit, self.exit_at);
        let look = move || {
            let (mut answers, mut settles) = (locked(&answers), Vec::new());
            let is_over = !locked(&kept).are_more(exit_at, |connection| {
                answers.saw(connection);
                settles.push(answers.settles(connection));
                answers.counts(connection, unit)
            });
            let first = settles.into_iter().filter(|it| !it.is_zero()).min();
            (!is_over).then(|| first.filter(|_| unit == Unit::Requests).unwrap_or_default())
        };
        begin_at_once(look).ok()?.await.ok()?
    }
}

/// The outcome of a look.
enum LookResult {
    /// The drain is not over. [`Counter::not_over`] has returned this time.
    NotOver(Duration),
    /// With the processor time that the look has used.
    All(Result<Counts, String>, Duration),
}

/// Looks at a few connections, unless `needs_all`. If these do not show that the drain is not over,
/// counts all connections. Also returns the time at which the look began.
async fn look(counter: &Counter, needs_all: bool) -> (Time, LookResult) {
    let began = clock::now();
    if !needs_all && let Some(settles) = counter.not_over().await {
        return (began, LookResult::NotOver(settles));
    }
    let (began, seen) = counter.look().await;
    (began, LookResult::All(seen, *locked(&counter.used)))
}

/// Drains a process whose connections the kernel counts. A process that is asked to drain may close
/// its listeners, so `ask` follows the first look.
pub(super) async fn drain(
    target: Rc<DrainTarget>,
    counting: Counting,
    mut ask: Option<Ask>,
    mut commands: UnboundedReceiver<DrainCommand>,
) {
    let counter = Counter::new(&target, &counting, None);
    if counting.until == CountUntil::Read {
        target.looker.witness().only_reads(target.process);
    }
    let (min_until, is_asked) = (clock::now() + target.min, ask.is_some());
    let Counter { unit, exit_at, .. } = counter;
    let mut watch = ConnectionWatch::new(Terms { min_until, unit, exit_at, is_asked });
    let (mut under_way, mut has_looked) = (None, false);
    let percent = match begin_at_once(percent_of_core) {
        Ok(percent) => percent.await.unwrap_or(100),
        Err(_) => 100,
    };
    loop {
        let mut pause = Duration::MAX;
        if under_way.is_none() {
            pause = watch.looks_at().unwrap_or(Time::NEVER).since(clock::now());
            let needs_all = watch.needs_all(clock::now());
            under_way = pause.is_zero().then(|| Box::pin(look(&counter, needs_all)));
        }
        let outputs = tokio::select! {
            // A command that came before the end of a look is carried out first.
            biased;
            command = commands.recv() => {
                match command {
                    Some(DrainCommand::Close) => watch.close(clock::now()),
                    Some(DrainCommand::End) => {
                        watch.end();
                        ask = None;
                    }
                    Some(DrainCommand::Unready) => {}
                    None => return,
                }
                continue;
            }
            asked = done(&mut ask), if has_looked => watch.asked(asked),
            (began, seen) = done(&mut under_way) => {
                has_looked = true;
                match seen {
                    LookResult::NotOver(settles) => {
                        watch.is_not_over(began, clock::now(), settles);
                        continue;
                    }
                    LookResult::All(seen, used) => {
                        watch.note_cost(used, percent);
                        watch.looked(began, clock::now(), seen)
                    }
                }
            }
            () = target.looker.planned(watch.joins_from()), if under_way.is_none() => {
                under_way = Some(Box::pin(look(&counter, true)));
                continue;
            }
            () = sleep(pause) => continue,
        };
        outputs.into_iter().for_each(|output| target.report(output));
    }
}

/// Checks before any drain whether drainit will be able to count the connections of a process.
/// Warns if the kernel does not show enough for this, or if a process with `readiness` is ready but
/// does not listen. `says` gets the warnings that hold now. If the process listens later, drainit
/// takes the warning back.
pub(crate) async fn check(
    process: Arc<Process>,
    looker: Rc<Looker>,
    place: Place,
    says: impl Fn(Vec<String>),
) {
    let name = &process.name;
    let outcome = match process.drain.as_ref().map(|drain| (&drain.method, drain.time)) {
        Some((DrainMethod::Connections(_), Some(_))) => "its drain will last until `time`",
        Some((DrainMethod::Connections(_), None)) => "its drain will last until the deadline",
        _ => "its connections do not end its drain",
    };
    let (mut pause, mut was_warned) = (FIRST_PAUSE, false);
    let warnings = loop {
        let at = place.clone();
        let looked = looker.look(Wish::to_drain(place.clone()), move |tick| {
            let listeners = tick.to_drain(&at)?;
            if !listeners.is_empty() {
                tick.connections(&at)?;
            }
            Ok((listeners.is_empty(), beside(listeners)))
        });
        match looked.await.and_then(|seen| seen) {
            Err(why) => break vec![format!("{outcome}: {why}")],
            Ok((false, beside)) => break beside,
            Ok((true, _)) => {}
        }
        if process.readiness.is_some() && pause > LATE && !replace(&mut was_warned, true) {
            let warning = format!("{outcome}: {NOBODY_LISTENS}");
            tracing::warn!("{name}: {warning}");
            says(vec![warning]);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    };
    warnings.iter().for_each(|line| tracing::warn!("{name}: {line}"));
    if warnings.is_empty() && was_warned {
        tracing::info!("{name}: listens now, so its connections count");
    }
    says(warnings);
}

/// The warnings about a process whose connections are counted: those that count although they are
/// not its own, and clients that do not count.
fn beside(listeners: &Listeners) -> Vec<String> {
    let hidden = listeners.hidden().map(|why| {
        format!(
            "connections to other processes on its ports hold its drain, too, because drainit may \
             not see its descriptors: {why}"
        )
    });
    let ports: Vec<_> = listeners.udp_ports().iter().map(u16::to_string).collect();
    let udp = (!ports.is_empty()).then(|| {
        format!(
            "UDP is not counted, and it has the UDP port {}: if clients use it, write the time that \
             they need as `min`",
            ports.join(", ")
        )
    });
    hidden.into_iter().chain(udp).collect()
}
