//! The tasks that work beside the event loop: probes, drains, commands, and looks at files and
//! connections. A task tells what it finds in a type of its own, and knows nothing of the event
//! loop.

pub(crate) mod drain;
pub(crate) mod file_watch;
pub(crate) mod liveness;
pub(crate) mod looker;
pub(crate) mod preparation;
pub(crate) mod readiness;
pub mod reload;
pub(crate) mod run_command;
pub(crate) mod stop_counts;
pub(crate) mod witness;

use std::rc::Rc;

/// Passes the news of a task on to the event loop.
pub(crate) type Tell<T> = Rc<dyn Fn(T)>;
