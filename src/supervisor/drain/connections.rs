//! Carries out the looks at the connections of a process that is drained.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config::{CountUntil, Counting, DrainMethod, Process};
use crate::core::connections::answers::Answers;
use crate::core::connections::watch::{Terms, Watch};
use crate::core::event::Unit;
use crate::local_task::LocalTask;
use crate::os::Pid;
use crate::os::clock;
use crate::os::connections::Listeners;
use crate::os::on_thread::on_thread;
use crate::supervisor::drain::Ask;
use crate::supervisor::drain::target::DrainTarget;
use crate::types::Time;

/// The drain of a process whose connections the kernel counts.
pub(crate) struct CountedDrain {
    shared: Rc<Shared>,
    _looks: LocalTask,
}

struct Shared {
    target: Rc<DrainTarget>,
    watch: Rc<RefCell<Watch>>,
    ports: Vec<u16>,
    /// Wakes the task, because the next look may now be due earlier.
    changed: Notify,
    /// The task that asks the process to drain.
    asked: RefCell<Option<LocalTask>>,
}

/// The looks of a drain that lasts at least for `min`. `is_asked` says that the process is also asked
/// to drain.
pub(super) fn watch(counting: &Counting, min: Duration, is_asked: bool) -> Rc<RefCell<Watch>> {
    let unit = match counting.until {
        CountUntil::Answers => Unit::Requests,
        CountUntil::Connections => Unit::Connections,
    };
    let (min_until, exit_at) = (clock::now() + min, counting.exit_at.into());
    Rc::new(RefCell::new(Watch::new(Terms { min_until, unit, exit_at, is_asked })))
}

impl CountedDrain {
    /// Begins the drain. A process that is asked to drain may close its listeners, so `ask` follows
    /// the first look.
    pub(super) fn begin(
        target: Rc<DrainTarget>,
        watch: Rc<RefCell<Watch>>,
        counting: &Counting,
        ask: Option<Ask>,
    ) -> Self {
        let answers = Answers::new(counting.idle);
        let share = target.share();
        let shared = Rc::new(Shared {
            target,
            watch,
            ports: counting.ports.clone(),
            changed: Notify::new(),
            asked: RefCell::default(),
        });
        let looks = Shared::look(Rc::clone(&shared), answers, ask);
        Self { _looks: LocalTask::of(share, looks), shared }
    }

    /// Looks once more.
    pub(crate) fn close(&self) {
        self.shared.watch.borrow_mut().close(clock::now());
        self.shared.changed.notify_one();
    }

    /// Ends the drain, but lets a last look finish.
    pub(crate) fn end(&self) {
        self.shared.watch.borrow_mut().end();
        self.shared.asked.take();
    }
}

impl Shared {
    /// Looks whenever a look is due.
    async fn look(shared: Rc<Self>, answers: Answers, mut ask: Option<Ask>) {
        let mut listeners = None;
        let answers = Arc::new(Mutex::new(answers));
        loop {
            let at = shared.watch.borrow().looks_at().unwrap_or(Time::NEVER);
            let pause = at.since(clock::now());
            if !pause.is_zero() && timeout(pause, shared.changed.notified()).await.is_ok() {
                continue;
            }
            let began = clock::now();
            let (pid, ports) = (shared.target.pid, shared.ports.clone());
            let (known, answers) = (listeners.clone(), Arc::clone(&answers));
            let look = move || {
                // A server that drains may have closed its listeners since, so the listeners of the
                // first look count.
                let listeners = known.map_or_else(|| Listeners::of(pid, &ports), Ok)?;
                let seen = listeners.connections();
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                let seen = seen.map(|seen| answers.looked(&seen));
                Ok((Some(listeners).filter(|found| !found.is_empty()), seen))
            };
            let looked = on_thread(Duration::MAX, look).await;
            let looked = looked.unwrap_or_else(|why| Err(why.to_string()));
            let seen = looked.and_then(|(found, seen)| {
                listeners = found;
                seen
            });
            let outputs = shared.watch.borrow_mut().looked(began, clock::now(), seen);
            outputs.into_iter().for_each(|output| shared.target.report(output));
            if let Some(ask) = ask.take() {
                shared.asked.replace(ask());
            }
        }
    }
}

/// Finds out whether the kernel lists the connections of a process, and warns if it does not. A
/// process without `readiness` may not listen yet.
pub(crate) fn check(
    process: &Process,
    pid: Pid,
    counting: &Counting,
) -> impl Future<Output = Vec<String>> + use<> {
    let (ports, name) = (counting.ports.clone(), process.name.clone());
    let may_listen_later = process.readiness.is_none();
    let drain = process.drain.as_ref().map(|drain| &drain.method);
    let outcome = match drain {
        Some(DrainMethod::Connections(_)) => "its drain will last until `time`",
        _ => "its connections do not end its drain",
    };
    async move {
        let look = move || {
            let listeners = Listeners::of(pid, &ports)?;
            let is_early = may_listen_later && listeners.is_empty();
            let seen = (!is_early).then(|| listeners.connections());
            seen.transpose()?;
            Ok(listeners.hidden().map(str::to_owned))
        };
        let looked = on_thread(Duration::MAX, look).await;
        let warning = match looked.unwrap_or_else(|why| Err(why.to_string())) {
            Err(why) => Some(format!("{outcome}: {why}")),
            Ok(hidden) => hidden.map(|why| {
                format!(
                    "connections to other processes on its ports hold its drain, too, because \
                     drainit may not see its descriptors: {why}"
                )
            }),
        };
        warning.iter().for_each(|line| tracing::warn!("{name}: {line}"));
        warning.into_iter().collect()
    }
}
