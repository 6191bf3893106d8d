//! Counts the connections of processes whose drain counts none, from T0 to their end, so that the
//! report of the shutdown says what their stop has cut. Nothing waits for these counts: if a process
//! has ended before the kernel has listed its connections, the report has no count.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use crate::core::connections::answers::{Answers, Counts};
use crate::core::traffic::Traffic;
use crate::local_task::LocalTask;
use crate::os::Pid;
use crate::os::clock;
use crate::os::connections::{Listeners, Open};
use crate::os::descendants::is_ending;
use crate::os::on_thread::{self, Share, on_thread};
use crate::supervisor::status::StatusBoard;
use crate::types::{ProcessId, Time};

/// drainit looks for the listeners of new instances after each of these pauses, until each has one.
const TRIES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(100)];
/// The pause between two looks at the connections while a process is being stopped.
const OFTEN: Duration = Duration::from_millis(50);
/// The pause before, and the longest pause.
const SELDOM: Duration = Duration::from_millis(500);
/// A pause is at least this many times as long as the last look took.
const FACTOR: u32 = 10;

/// The counts of all processes. One look serves all of them.
pub(crate) struct StopCounts {
    board: Rc<StatusBoard>,
    /// The instances that run, with their listeners once they are found. Empty from T0 on.
    instances: RefCell<BTreeMap<ProcessId, (Pid, Option<Listeners>)>>,
    search: RefCell<Option<LocalTask>>,
    is_before_first_try: Cell<bool>,
    looks: Arc<Looks>,
    /// The look that has begun last.
    under_way: RefCell<Option<oneshot::Receiver<()>>>,
    is_looking: Cell<bool>,
    /// Whether a process has got its stop signal.
    is_stopping: Cell<bool>,
    changed: Notify,
    task: RefCell<Option<LocalTask>>,
}

/// The data that the thread of a look shares with the event loop. The event loop takes only locks
/// that are held briefly.
#[derive(Default)]
struct Looks {
    /// The instances that have not ended. After T0, only the thread of a look takes this lock.
    watched: Mutex<Vec<Watched>>,
    /// The results that the journal has not got yet.
    seen: Mutex<Vec<(Time, ProcessId, Pid, Counts)>>,
}

struct Watched {
    process: ProcessId,
    pid: Pid,
    listeners: Listeners,
    /// Whether drainit holds its listeners, too, so that they outlive the process.
    is_held: bool,
    answers: Answers,
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Looks {
    /// Looks at the connections once.
    fn look(&self) {
        let began = clock::now();
        let open = Open::now();
        let mut watched = locked(&self.watched);
        let Ok(open) = open else { return watched.clear() };
        watched.retain_mut(|it| {
            let is_ending = is_ending(it.pid);
            // The kernel may have closed some connections of an ending process before the look.
            let is_known = !is_ending || !it.is_held && it.listeners.remain();
            if let (true, Ok(connections)) = (is_known, open.of(&it.listeners)) {
                let counts = it.answers.looked(&connections);
                locked(&self.seen).push((began, it.process, it.pid, counts));
            }
            !is_ending
        });
    }
}

impl StopCounts {
    pub(crate) fn new(board: Rc<StatusBoard>) -> Rc<Self> {
        Rc::new(Self {
            board,
            instances: RefCell::default(),
            search: RefCell::default(),
            is_before_first_try: Cell::default(),
            looks: Arc::default(),
            under_way: RefCell::default(),
            is_looking: Cell::default(),
            is_stopping: Cell::default(),
            changed: Notify::new(),
            task: RefCell::default(),
        })
    }

    /// Looks for the listeners of a new instance, or of a new main process, a while later.
    pub(crate) fn started(self: &Rc<Self>, process: ProcessId, pid: Pid) {
        self.instances.borrow_mut().insert(process, (pid, None));
        if self.is_before_first_try.replace(true) {
            return;
        }
        let counts = Rc::downgrade(self);
        self.search.replace(Some(LocalTask::of(Share::Counts, async move {
            for pause in TRIES {
                sleep(pause).await;
                let Some(pids) = counts.upgrade().map(|counts| counts.unknown()) else { return };
                if pids.is_empty() {
                    return;
                }
                let found = on_thread(Duration::MAX, move || Listeners::of_each(&pids)).await;
                let Some(counts) = counts.upgrade() else { return };
                if let Ok(Ok(found)) = found {
                    counts.found(found);
                }
            }
        })));
    }

    /// The instances whose listeners are not found yet.
    fn unknown(&self) -> BTreeSet<Pid> {
        self.is_before_first_try.set(false);
        let instances = self.instances.borrow();
        let unknown = instances.values().filter(|(_, listeners)| listeners.is_none());
        unknown.map(|(pid, _)| *pid).collect()
    }

    fn found(&self, mut found: BTreeMap<Pid, Listeners>) {
        for (pid, listeners) in self.instances.borrow_mut().values_mut() {
            if let Some(new) = found.remove(pid) {
                *listeners = Some(new);
            }
        }
    }

    /// Forgets an instance that has ended.
    pub(crate) fn ended(&self, process: ProcessId) {
        self.instances.borrow_mut().remove(&process);
    }

    /// Begins to count, at T0.
    pub(crate) fn shutdown_began(self: &Rc<Self>) {
        let instances = take(&mut *self.instances.borrow_mut());
        let watched = instances.into_iter().filter_map(|(process, (pid, listeners))| {
            let answers = Answers::new(Duration::MAX);
            let is_held = !self.board.slots.borrow().of(process).process.listen.is_empty();
            Some(Watched { process, pid, listeners: listeners?, is_held, answers })
        });
        let watched: Vec<_> = watched.collect();
        self.search.take();
        if watched.is_empty() {
            return;
        }
        *locked(&self.looks.watched) = watched;
        self.look();
        let counts = Rc::clone(self);
        self.task.replace(Some(LocalTask::begin(async move { counts.watch().await })));
    }

    /// Looks once more. Call this right before a stop signal.
    pub(crate) fn stopping(&self) {
        if self.task.borrow().is_some() {
            self.is_stopping.set(true);
            self.look();
        }
    }

    /// Begins a look, unless one is under way.
    fn look(&self) {
        if self.is_looking.replace(true) {
            return;
        }
        let looks = Arc::clone(&self.looks);
        let look = on_thread::begin_at_once(move || looks.look()).ok();
        self.is_looking.set(look.is_some());
        self.under_way.replace(look);
        self.changed.notify_one();
    }

    /// Looks again and again, until all instances have ended.
    async fn watch(&self) {
        let mut pause = Duration::MAX;
        loop {
            let Some(look) = self.under_way.take() else {
                if timeout(pause, self.changed.notified()).await.is_err() {
                    self.look();
                }
                continue;
            };
            let began = clock::now();
            let _ = look.await;
            self.is_looking.set(false);
            let is_any = self.record();
            let took = clock::now().since(began);
            pause = match (is_any, self.is_stopping.get()) {
                (true, true) => OFTEN.max((took * FACTOR).min(SELDOM)),
                (true, false) => SELDOM,
                (false, _) => Duration::MAX,
            };
        }
    }

    /// Gives the journal what the looks have shown. Returns whether they have shown anything.
    pub(crate) fn record(&self) -> bool {
        let seen = take(&mut *locked(&self.looks.seen));
        let mut journal = self.board.journal.borrow_mut();
        for (began, process, pid, counts) in &seen {
            let (connections, requests) = (Some(counts.open), Some(counts.unanswered));
            let traffic = Traffic { connections, requests, ..Traffic::default() };
            journal.stop_traffic(*began, *process, *pid, traffic);
        }
        !seen.is_empty()
    }
}
