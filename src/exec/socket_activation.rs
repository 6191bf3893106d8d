//! Socket activation, see sd_listen_fds(3): the parent of drainit (systemd, podman) passes
//! descriptors that are meant for the command, from descriptor 3 on. `LISTEN_FDS` is their number,
//! `LISTEN_PID` is the pid of their owner, and `LISTEN_FDNAMES` has their names.

/// The number of descriptors for the command; `None` if there are none, or if `LISTEN_PID` is not
/// drainit's pid.
pub(crate) fn handed_over() -> Option<u16> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_meant = number("LISTEN_PID")? == std::process::id();
    let count = u16::try_from(number("LISTEN_FDS")?).ok();
    count.filter(|count| is_meant && *count > 0)
}
