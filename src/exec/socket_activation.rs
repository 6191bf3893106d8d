//! Socket activation: descriptors from 3 on that whoever started drainit (systemd, podman) means for the command, as
//! sd_listen_fds(3) has it. `LISTEN_FDS` says how many, `LISTEN_PID` for whom, and `LISTEN_FDNAMES` what they are.

/// How many descriptors are handed over, where drainit is meant. What is meant for others stays as it is.
pub(crate) fn handed_over() -> Option<u16> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_meant = number("LISTEN_PID")? == std::process::id();
    let count = u16::try_from(number("LISTEN_FDS")?).ok();
    count.filter(|count| is_meant && *count > 0)
}
