//! Counts the kills of the kernel's OOM killer in this container.
//!
//! The kernel does not report who sent a SIGKILL. But the memory cgroup counts its OOM kills,
//! before the signal is sent (cgroup v2: `oom_kill` in `memory.events`; v1, since Linux 4.13: the
//! same key in `memory.oom_control`). A count that has risen is the best evidence there is. Where a
//! whole cgroup is killed at once (`memory.oom.group`, which Kubernetes sets on cgroup v2), drainit
//! is killed, too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::load::limits::cgroups;
use crate::os::on_thread::wait_for;

/// The longest wait for the count. The kernel's own file system answers at once, one of FUSE
/// (lxcfs) may hang.
const LONGEST: Duration = Duration::from_millis(100);

/// The count of OOM kills, and how many of them were attributed to a process.
#[derive(Debug, Default)]
pub(crate) struct OomKills {
    file: Option<PathBuf>,
    explained: u64,
}

impl OomKills {
    /// Ignores the kills so far.
    pub(crate) fn from_now_on() -> Self {
        let mut kills = Self::since_the_containers_start();
        kills.explained = kills.count().unwrap_or(0);
        kills
    }

    /// Counts all kills so far. This is right for PID 1 alone: its cgroup is as old as it is.
    pub(crate) fn since_the_containers_start() -> Self {
        wait_for(LONGEST, || Ok(Self::find(Path::new("/")))).unwrap_or_default()
    }

    /// In drainit's own cgroup, or at the root, where only that one is mounted (Docker with cgroup
    /// v1) or the name is that of another namespace. One between them counts the kills of others.
    fn find(root: &Path) -> Self {
        let mount = root.join("sys/fs/cgroup");
        let roots = [mount.join("memory"), mount];
        let mut is_own = true;
        let mut cgroups = cgroups(root, "memory");
        cgroups.retain(|cgroup| {
            let is_root = roots.contains(cgroup);
            std::mem::replace(&mut is_own, is_root) || is_root
        });
        let mut files = cgroups.into_iter().flat_map(|cgroup| {
            ["memory.events", "memory.oom_control"].map(|file| cgroup.join(file))
        });
        Self { file: files.find(|path| count(path).is_some()), explained: 0 }
    }

    /// Whether there was a kill that no earlier call has returned. Each explains one SIGKILL.
    pub(crate) fn explain_one(&mut self) -> bool {
        let is_new = self.count().is_some_and(|count| count > self.explained);
        self.explained += u64::from(is_new);
        is_new
    }

    /// A file that has not answered in time is not asked again.
    fn count(&mut self) -> Option<u64> {
        let file = self.file.clone()?;
        let counted = wait_for(LONGEST, move || Ok(count(&file)));
        if counted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            self.file = None;
        }
        counted.ok().flatten()
    }
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn a_file_that_hangs_is_asked_once_and_not_waited_for() {
        let dir = TempDir::new();
        let file = dir.path("memory.events");
        // To open it waits for a writer.
        mkfifo(&file, Mode::S_IRWXU).unwrap();
        let began = Instant::now();
        let mut kills = OomKills { file: Some(file), explained: 0 };
        assert!(!kills.explain_one() && !kills.explain_one());
        assert!(kills.file.is_none() && began.elapsed() < Duration::from_secs(10));
    }

    // holds: S115
    #[test]
    fn the_count_is_found_under_both_versions() {
        let v2 = "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n";
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
        for (own, file, content) in [
            ("0::/pods/app\n", "pods/app/memory.events", v2),
            // In a cgroup namespace of its own, and where the path is that of the host.
            ("0::/\n", "memory.events", v2),
            ("0::/../../host/path\n", "memory.events", v2),
            (
                "9:name=systemd:/x\n5:cpu,memory:/docker/a1\n0::/\n",
                "memory/docker/a1/memory.oom_control",
                v1,
            ),
            ("5:memory:/docker/a1\n", "memory/memory.oom_control", v1),
        ] {
            let root = TempDir::new();
            root.file("proc/self/cgroup", 0o644, own);
            root.file(&format!("sys/fs/cgroup/{file}"), 0o644, content);
            let mut kills = OomKills::find(root.root());
            assert!(kills.explain_one(), "{own}");
            assert!(!kills.explain_one(), "{own}");
            // Two at once, reported one after the other.
            root.file(
                &format!("sys/fs/cgroup/{file}"),
                0o644,
                content.replace("oom_kill 1", "oom_kill 3"),
            );
            assert!(kills.explain_one() && kills.explain_one() && !kills.explain_one(), "{own}");
        }
        let nothing = TempDir::new();
        assert!(!OomKills::find(nothing.root()).explain_one());
        // One above drainit's own counts the kills of others.
        nothing.file("proc/self/cgroup", 0o644, "0::/pods/app\n");
        nothing.file("sys/fs/cgroup/pods/memory.events", 0o644, v2);
        assert!(!OomKills::find(nothing.root()).explain_one());
        // Before Linux 4.13.
        nothing.file("proc/self/cgroup", 0o644, "5:memory:/\n");
        let control = "sys/fs/cgroup/memory/memory.oom_control";
        nothing.file(control, 0o644, "oom_kill_disable 0\nunder_oom 0\n");
        assert!(!OomKills::find(nothing.root()).explain_one());
    }
}
