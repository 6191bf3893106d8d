//! A clock and a timer that keep running while the machine is suspended. The grace periods of
//! orchestrators keep running, too. tokio's timers would stop meanwhile.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{
    ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags,
};
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::boot::refused;
use crate::sys;
use drainit_core::types::Time;

/// The time since boot.
pub fn now() -> Time {
    // Every kernel since Linux 2.6.39 has this clock, so the fallback is never used.
    let read = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap_or_else(|_| TimeSpec::new(0, 0));
    Time(Duration::from(read))
}

/// The processor time that the calling thread has used.
pub fn thread_cpu() -> Duration {
    let read = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    read.map(Duration::from).unwrap_or_default()
}

/// A timer that fires at a point in time.
#[derive(Debug)]
pub struct Timer {
    timer: TimerFd,
    /// A duplicate of the timer's descriptor. tokio watches this duplicate.
    readable: AsyncFd<OwnedFd>,
}

impl Timer {
    /// Creates a timer that is not set. Call it inside a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// Fails if no file descriptor is left, or if the kernel has no such timer or forbids it.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(TimerClock::CLOCK_BOOTTIME, flags).map_err(|error| {
            let remedy = "each time limit needs it; permit it in the seccomp profile, or use \
                          `drainit exec` without a drain, which needs no timerfd";
            refused("timerfd_create(CLOCK_BOOTTIME)", error.into(), remedy)
        })?;
        let readable = sys::watch(timer.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        Ok(Self { timer, readable })
    }

    /// Sets the timer, and replaces an earlier setting. If the time is in the past, the timer fires
    /// at once. `None` and [`Time::NEVER`] disarm the timer.
    ///
    /// # Errors
    /// The kernel documents no error for these arguments.
    pub fn set(&mut self, at: Option<Time>) -> io::Result<()> {
        let Some(at) = at.filter(|at| *at != Time::NEVER) else {
            return Ok(self.timer.unset()?);
        };
        // A value of zero would turn the timer off, and the kernel refuses more seconds than it can
        // count.
        let value = at.0.clamp(Duration::from_nanos(1), Duration::from_secs(u64::from(u32::MAX)));
        Ok(self.timer.set(
            Expiration::OneShot(TimeSpec::from(value)),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME,
        )?)
    }

    /// Waits until the timer fires. Waits for ever if the timer is not set. Returns at most once
    /// for each [`Timer::set`]. Cancel safe.
    ///
    /// # Errors
    /// Fails if the runtime is shutting down.
    pub async fn fired(&self) -> io::Result<()> {
        loop {
            let mut guard = self.readable.readable().await?;
            if let Ok(read) = guard.try_io(|_| Ok(self.timer.wait()?)) {
                return read;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    // holds: S2
    #[tokio::test]
    async fn clock_counts_suspended_time() {
        let timer = Timer::new().unwrap();
        let fdinfo = format!("/proc/self/fdinfo/{}", timer.timer.as_fd().as_raw_fd());
        let fdinfo = std::fs::read_to_string(fdinfo).unwrap();
        let clock = format!("clockid: {}\n", libc::CLOCK_BOOTTIME);
        assert!(fdinfo.contains(&clock), "{fdinfo}");
        let boottime = || Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
        let (before, between, after) = (boottime(), now().0, boottime());
        assert!(before <= between && between <= after, "{before:?} {between:?} {after:?}");
    }
}
