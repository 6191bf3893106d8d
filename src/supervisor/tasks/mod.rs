//! The tasks that work beside the event loop: probes, drains, commands, and looks at files and
//! connections. A task tells what it finds in a type of its own, and knows nothing of the event
//! loop.

pub(crate) mod drain;
pub(crate) mod file_watch;
pub(crate) mod liveness;
pub(crate) mod preparation;
pub(crate) mod readiness;
pub mod reload;
pub(crate) mod run_command;
pub(crate) mod stop_counts;
pub(crate) mod witness;

use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Passes the news of a task on to the event loop.
pub(crate) type Tell<T> = Rc<dyn Fn(T)>;

/// Locks data that a task shares with its thread. After a panic of the thread, the data is as good
/// as before.
pub(crate) fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
