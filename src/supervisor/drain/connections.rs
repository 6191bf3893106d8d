//! Looks at the connections of a process that is being drained, whenever the core asks.

use std::cell::RefCell;
use std::mem::replace;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use crate::config::{CountUntil, Counting, DrainMethod, Process};
use crate::core::connections::answers::{Answers, Counts};
use crate::core::connections::watch::{ConnectionWatch, Terms};
use crate::core::event::Unit;
use crate::os::clock;
use crate::os::connections::{Listeners, NOBODY_LISTENS};
use crate::os::on_thread::on_thread;
use crate::supervisor::drain::target::DrainTarget;
use crate::supervisor::drain::{Ask, DrainCommand, done};
use crate::supervisor::main_pids::MainPids;
use crate::types::{ProcessId, Time};

/// The pause after the first look at a ready process that does not listen. Each further pause is
/// twice as long as the previous pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// After the pause of this length, drainit warns that nobody listens. An earlier warning could be
/// wrong, because a server may say that it is ready a moment before it listens.
const LATE: Duration = Duration::from_millis(800);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The sockets on which the instance of a process listens.
pub(crate) struct Serving {
    pub(crate) process: ProcessId,
    pub(crate) pids: Rc<MainPids>,
    /// The sockets that the last look has found.
    pub(crate) listeners: Rc<RefCell<Listeners>>,
}

impl Serving {
    /// Looks again at the sockets on which the instance listens, and gives them to `see` on a
    /// thread. The instance may have begun to listen on other sockets since the last look, for
    /// example after a reload of its own config.
    async fn look<T: Send + 'static>(
        &self,
        ports: &[u16],
        see: impl FnOnce(&Listeners) -> T + Send + 'static,
    ) -> Result<T, String> {
        let (mut before, ports) = (self.listeners.borrow().clone(), ports.to_vec());
        let pids = self.pids.now();
        before.set_shared(&pids.shared);
        // After its end, an instance has no pids.
        let own = pids.of_each.get(&self.process).cloned().unwrap_or_default();
        let look = move || {
            let found = before.again(&own, &pids.all, &ports)?;
            let seen = see(&found);
            Ok((found, seen))
        };
        let looked = on_thread(Duration::MAX, look).await;
        let (found, seen) = looked.unwrap_or_else(|why| Err(why.to_string()))?;
        self.listeners.replace(found);
        Ok(seen)
    }
}

/// Counts the connections of an instance that owe an answer, again and again.
pub(super) struct Counter {
    ports: Vec<u16>,
    /// For an Envoy: the port of its admin, if the admin has a port.
    admin: Option<Option<u16>>,
    answers: Arc<Mutex<Answers>>,
}

impl Counter {
    pub(super) fn new(counting: &Counting, admin: Option<Option<u16>>) -> Self {
        let answers = Arc::new(Mutex::new(Answers::new(counting.idle)));
        Self { ports: counting.ports.clone(), admin, answers }
    }

    /// Counts once. Also returns the time at which the count began.
    pub(super) async fn look(&self, serving: &Serving) -> (Time, Result<Counts, String>) {
        let (began, answers, admin) = (clock::now(), Arc::clone(&self.answers), self.admin);
        let looked = serving.look(&self.ports, move |listeners| {
            let seen = match admin {
                Some(port) => listeners.connections_except(port),
                None => listeners.connections(),
            };
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            seen.map(|seen| answers.looked(&seen))
        });
        (began, looked.await.and_then(|seen| seen))
    }
}

/// Drains a process whose connections the kernel counts. A process that is asked to drain may close
/// its listeners, so `ask` follows the first look.
pub(super) async fn drain(
    target: Rc<DrainTarget>,
    counting: Counting,
    mut ask: Option<Ask>,
    mut commands: UnboundedReceiver<DrainCommand>,
) {
    let unit = match counting.until {
        CountUntil::Answers => Unit::Requests,
        CountUntil::Connections => Unit::Connections,
    };
    let (min_until, exit_at) = (clock::now() + target.min, counting.exit_at.into());
    let is_asked = ask.is_some();
    let mut watch = ConnectionWatch::new(Terms { min_until, unit, exit_at, is_asked });
    let counter = Counter::new(&counting, None);
    let (mut under_way, mut has_looked) = (None, false);
    loop {
        let mut pause = Duration::MAX;
        if under_way.is_none() {
            pause = watch.looks_at().unwrap_or(Time::NEVER).since(clock::now());
            under_way = pause.is_zero().then(|| Box::pin(counter.look(&target.serving)));
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
                watch.looked(began, clock::now(), seen)
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
    serving: Serving,
    counting: Counting,
    says: impl Fn(Vec<String>),
) {
    let name = &process.name;
    let outcome = match process.drain.as_ref().map(|drain| &drain.method) {
        Some(DrainMethod::Connections(_)) => "its drain will last until `time`",
        _ => "its connections do not end its drain",
    };
    let (mut pause, mut was_warned) = (FIRST_PAUSE, false);
    let warnings = loop {
        let looked = serving.look(&counting.ports, |listeners| {
            let is_empty = listeners.is_empty();
            let seen = if is_empty { Ok(Vec::new()) } else { listeners.connections() };
            seen.map(|_| (is_empty, beside(listeners)))
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
