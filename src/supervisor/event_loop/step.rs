//! Checks in debug builds that a step of the event loop takes little processor time. Signals and
//! due limits wait during a step, so a step must do a bounded amount of work, whatever has arrived.
//! A step that takes longer is a panic, which every integration test sees as exit code 70.

use std::time::Duration;

use crate::os::clock::thread_cpu;

/// The most processor time of a step in a debug build: twice as much as any step of the integration
/// tests took on two busy cores.
const LONGEST: Duration = Duration::from_millis(20);

/// A step that is under way, with the processor time that the thread had used before.
pub(super) struct Step(Duration);

impl Step {
    pub(super) fn begin() -> Self {
        Self(if cfg!(debug_assertions) { thread_cpu() } else { Duration::ZERO })
    }

    /// Ends a step, also where other tasks of the thread run before the turn continues.
    pub(super) fn end(self) {
        if cfg!(debug_assertions) {
            let took = thread_cpu().saturating_sub(self.0);
            debug_assert!(took <= LONGEST, "a step of the event loop took {took:?} of its thread");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a step of the event loop took")]
    fn long_step_is_a_panic() {
        let step = Step::begin();
        let until = thread_cpu() + LONGEST;
        while thread_cpu() < until {}
        step.end();
    }
}
