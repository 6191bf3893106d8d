//! Checks in debug builds that a step of the event loop takes little processor time. Signals and
//! expired time limits wait during a step, so a step must do a bounded amount of work, whatever has
//! arrived. A step that takes more than [`LONGEST`] panics, and every integration test sees the
//! panic as exit code 70.

use std::time::Duration;

use crate::os::clock::thread_cpu;
use crate::os::reap;

/// The most processor time of a step in a debug build. The longest steps are a shutdown that begins
/// with hundreds of processes, and the end of [`REAP_AT_ONCE`](reap::REAP_AT_ONCE) processes.
const LONGEST: Duration = Duration::from_millis(50);

/// The processor time that the thread had used when a step began.
pub(super) struct StepTime(Duration);

/// The processor time that the thread has used, without the kernel's time for reaping, which
/// drainit cannot reduce. Zero in a release build.
fn used() -> Duration {
    if cfg!(debug_assertions) {
        thread_cpu().saturating_sub(reap::kernel_time())
    } else {
        Duration::ZERO
    }
}

impl StepTime {
    pub(super) fn begin() -> Self {
        Self(used())
    }

    pub(super) fn end(self) {
        let took = used().saturating_sub(self.0);
        debug_assert!(took <= LONGEST, "a step of the event loop took {took:?} of its thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(time: Duration) {
        let step = StepTime::begin();
        let until = thread_cpu() + time;
        while thread_cpu() < until {}
        step.end();
    }

    #[test]
    #[should_panic(expected = "a step of the event loop took")]
    fn long_step_is_a_panic() {
        take(LONGEST);
    }
}
