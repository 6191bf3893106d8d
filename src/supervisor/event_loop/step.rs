//! Checks in debug builds that a step of the event loop takes little processor time. Signals and
//! due limits wait during a step, so a step must do a bounded amount of work, whatever has arrived.
//! A step that takes longer is a panic, which every integration test sees as exit code 70.

use std::cell::Cell;
use std::time::Duration;

use crate::os::clock::thread_cpu;

/// The most processor time of a step in a debug build: twice as much as any step of the integration
/// tests took on two busy cores.
const LONGEST: Duration = Duration::from_millis(20);
/// One step may take this long: on a busy virtual machine the kernel sometimes charges a thread for
/// the time that the host has taken away. 65 ms were seen once, where an Envoy was reaped.
const LONGEST_ONCE: Duration = Duration::from_millis(200);

thread_local! {
    static HAS_BEEN_LONG: Cell<bool> = const { Cell::new(false) };
}

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
            let is_first = took > LONGEST && !HAS_BEEN_LONG.replace(true);
            let longest = if is_first { LONGEST_ONCE } else { LONGEST };
            debug_assert!(took <= longest, "a step of the event loop took {took:?} of its thread");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(time: Duration) {
        let step = Step::begin();
        let until = thread_cpu() + time;
        while thread_cpu() < until {}
        step.end();
    }

    #[test]
    #[should_panic(expected = "a step of the event loop took")]
    fn second_long_step_is_a_panic() {
        (0..2).for_each(|_| take(LONGEST));
    }

    #[test]
    #[should_panic(expected = "a step of the event loop took")]
    fn first_very_long_step_is_a_panic() {
        take(LONGEST_ONCE);
    }
}
