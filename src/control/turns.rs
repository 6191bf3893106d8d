//! Limits the share of the event loop's time that the answers take, because clients that ask
//! without a pause must not delay a stop.
//!
//! One answer is made at a time, in the order of the requests. After an answer, the thread makes no
//! answer for three times the processor time that this answer took. Requests that wait meanwhile
//! share one snapshot of the status, which is taken after all of them have arrived.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::control::status::Status;
use crate::os::clock::thread_cpu;

/// If an answer took the processor time t, the thread then does other work for `OTHERS` × t.
const OTHERS: u32 = 3;
/// The resolution of the runtime's timer. Shorter pauses add up until the sum is worth a timer.
const SHORTEST: Duration = Duration::from_millis(1);

/// The status at one moment, with the bodies that were made of it.
pub(crate) struct Snapshot {
    taken: Instant,
    pub(crate) status: Status,
    /// The status with the texts that only operators may see.
    pub(crate) full: OnceCell<Status>,
    pub(crate) json: OnceCell<Bytes>,
    pub(crate) metrics: OnceCell<Bytes>,
}

/// The order of the answers, and the last snapshot.
pub(crate) struct Turns {
    turn: Semaphore,
    /// The moment until which the thread makes no answer.
    free_at: Cell<Instant>,
    snapshot: Cell<Option<Rc<Snapshot>>>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        let free_at = Cell::new(Instant::now());
        Self { turn: Semaphore::new(1), free_at, snapshot: Cell::default() }
    }

    /// Waits for the turn of a request, and then does the work of the request.
    pub(crate) async fn take<T>(&self, work: impl FnOnce() -> T) -> T {
        let turn = self.turn.acquire().await;
        if self.free_at.get() >= Instant::now() + SHORTEST {
            sleep_until(self.free_at.get()).await;
        }
        let began = thread_cpu();
        let done = work();
        let took = thread_cpu().saturating_sub(began);
        self.free_at.set(self.free_at.get().max(Instant::now()) + took * OTHERS);
        drop(turn);
        done
    }

    /// The last snapshot if it was taken since `asked`; otherwise a new snapshot of `status`.
    pub(crate) fn since(&self, asked: Instant, status: impl FnOnce() -> Status) -> Rc<Snapshot> {
        let known = self.snapshot.take().filter(|known| known.taken >= asked);
        let snapshot = known.unwrap_or_else(|| {
            let (json, metrics) = (OnceCell::new(), OnceCell::new());
            let (taken, status, full) = (Instant::now(), status(), OnceCell::new());
            Rc::new(Snapshot { taken, status, full, json, metrics })
        });
        self.snapshot.set(Some(Rc::clone(&snapshot)));
        snapshot
    }
}
