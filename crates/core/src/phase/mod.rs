//! The phases of a container. Each phase is a type that the next phase consumes.

pub mod draining;
pub mod finishing;
mod follow;
mod open_requests;
pub(crate) mod operations;
mod reload;
mod replace;
mod requests;
pub mod running;
pub mod stopping;
mod waits;

pub use self::draining::Draining;
use self::finishing::Finishing;
use self::running::Running;
use self::stopping::Stopping;

#[derive(Clone, Debug)]
pub enum Phase {
    Running(Running),
    Draining(Draining),
    Stopping(Stopping),
    Finishing(Finishing),
    /// `Action::Exit` was given.
    Done,
}
