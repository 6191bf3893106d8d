//! Whether this file system is that of the image which runs the config.

use std::fs;
use std::path::Path;

/// Inits that start what they are given as their child.
const INITS: &[&str] = &["docker-init", "tini", "dumb-init", "catatonit"];

/// Whether this file system is that of the image which runs the config: drainit is PID 1, as with `docker run IMAGE check`, or
/// the child of an init that is; or PID 1 is a drainit, as with `docker exec`. A container alone says nothing: CI and
/// development live in one. But nobody there has the config at its own place, where no `-c` has to name it.
#[must_use]
pub(crate) fn is_image(config_is_at_its_place: bool) -> bool {
    let init = || fs::read_to_string("/proc/1/comm").unwrap_or_default();
    std::process::id() == 1
        || init().trim() == "drainit"
        || nix::unistd::getppid().as_raw() == 1 && INITS.contains(&init().trim())
        || config_is_at_its_place && is_container()
}

/// As Docker, Podman and Kubernetes show it.
fn is_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Whether there is no program here but drainit, as in the image that it comes in: whoever checks a config there has brought
/// it along.
#[must_use]
pub(crate) fn is_bare() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let is_other = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name() != "drainit")
    };
    std::env::split_paths(&path)
        .all(|dir| !fs::read_dir(dir).is_ok_and(|mut all| all.any(is_other)))
}
