//! Whether this file system belongs to the image that the config is written for.

use std::fs;
use std::path::Path;

/// The names of inits that start their command as a child. drainit can be this command.
const INITS: &[&str] = &["docker-init", "tini", "dumb-init", "catatonit"];

/// Whether drainit runs in the image that the config is written for. The answer is yes in three
/// cases: drainit is PID 1 (as with `docker run IMAGE check`), drainit is the child of an init that
/// is PID 1, or PID 1 is a drainit (as with `docker exec`). In any other container, the answer is
/// yes only if the config is at its default path. CI also runs in containers, but has no config at
/// this path.
pub fn is_image(config_is_at_its_place: bool) -> bool {
    let init = || fs::read_to_string("/proc/1/comm").unwrap_or_default();
    std::process::id() == 1
        || init().trim() == "drainit"
        || nix::unistd::getppid().as_raw() == 1 && INITS.contains(&init().trim())
        || config_is_at_its_place && is_container()
}

/// Whether this is a container, as files of Docker and Podman or a variable of Kubernetes show.
fn is_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Whether drainit is PID 1 of a Docker container that is not in Kubernetes, so that `docker stop`
/// stops the container.
pub fn is_stopped_by_docker() -> bool {
    std::process::id() == 1
        && Path::new("/.dockerenv").exists()
        && std::env::var_os("KUBERNETES_SERVICE_HOST").is_none()
}

/// Whether drainit is the only program in PATH, as in drainit's own image. A config in such an
/// image was mounted only to be checked.
pub(super) fn is_bare() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let is_other = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name() != "drainit")
    };
    std::env::split_paths(&path)
        .all(|dir| !fs::read_dir(dir).is_ok_and(|mut all| all.any(is_other)))
}
