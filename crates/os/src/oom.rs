//! Counts the kills of the kernel's OOM killer in this container.
//!
//! The kernel does not report who sent a SIGKILL. But the memory cgroup counts OOM kills before the
//! signal is sent (cgroup v2: `oom_kill` in `memory.events`; v1 since Linux 4.13: `oom_kill` in
//! `memory.oom_control`). A count that has risen is the best evidence of an OOM kill. If the kernel
//! kills the whole cgroup at once (`memory.oom.group`, which Kubernetes sets on cgroup v2), the
//! kernel kills drainit, too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;
use crate::descendants::Stat;
use crate::limits::cgroups;
use crate::on_thread::wait_for;
use drainit_core::types::{End, Time};

/// The longest wait for the count. The kernel's own file system answers at once, but a FUSE file
/// system (lxcfs) may hang. A file system that hangs delays the event loop only once: after a
/// timeout, the file is not read again.
const LONGEST: Duration = Duration::from_millis(100);

/// The file with the kernel's count of OOM kills, and how many of these kills are explained. A kill
/// is explained if [`OomKills::explain_one`] has reported it, or if [`OomKills::from_now_on`]
/// ignores it.
#[derive(Debug, Default)]
pub struct OomKills {
    file: Option<PathBuf>,
    explained: u64,
    /// The last time at which all kills in the count were explained. A kill that the count shows
    /// later may have happened at any moment after that time.
    clean_at: Time,
    has_warned: bool,
    /// The result of the last read of the count; `None` if the count must be read again.
    seen: Option<Option<u64>>,
}

/// The unit of start times in `/proc`.
const TICK: Duration = Duration::from_millis(10);

impl OomKills {
    /// Counts only the kills from this call on.
    pub fn from_now_on() -> Self {
        let mut kills = Self::since_container_start();
        kills.explained = kills.count().unwrap_or(0);
        kills.clean_at = clock::now();
        kills
    }

    /// Counts all kills since the start of the container. Only PID 1 may call this: the cgroup of
    /// another process may have counted kills before the process started.
    pub fn since_container_start() -> Self {
        let found = wait_for(LONGEST, || Ok(Self::find(Path::new("/"))));
        let found = found.unwrap_or_else(|error| {
            let mut unknown = Self::default();
            unknown.warn(&error);
            unknown
        });
        let own = Stat::read(std::process::id().cast_signed());
        let ticks = own.map_or(0, |own| u32::try_from(own.process.started).unwrap_or(u32::MAX));
        Self { clean_at: Time(TICK * ticks), ..found }
    }

    /// Finds the file in drainit's own cgroup. Takes the file in the root cgroup in two cases: only
    /// the root is mounted (Docker with cgroup v1), or the cgroup's name belongs to another
    /// namespace. Never takes the file in a cgroup between drainit's own and the root, because such
    /// a cgroup also counts kills of other containers.
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
        Self { file: files.find(|path| count(path).is_some()), ..Self::default() }
    }

    /// Makes the next call of [`Self::explain_one`] read the count again. The caller reaps some
    /// children, and then calls this once for all of them.
    pub fn look_again(&mut self) {
        self.seen = None;
    }

    /// If the count shows a kill that is not explained yet, returns `End::OutOfMemory` with the
    /// span of time in which the kill happened. Each kill explains only one SIGKILL. The kernel
    /// does not say whom it killed. If the span is long, the victim may have been a process that
    /// drainit does not reap.
    pub fn explain_one(&mut self) -> Option<End> {
        let seen = self.seen.take().unwrap_or_else(|| self.count());
        self.seen = Some(seen);
        let (count, now) = (seen?, clock::now());
        let is_new = count > self.explained;
        let within = now.since(self.clean_at);
        self.explained += u64::from(is_new);
        if count == self.explained {
            self.clean_at = now;
        }
        is_new.then_some(End::OutOfMemory(within))
    }

    /// Reads the count. After a timeout, later calls do not read the count again.
    fn count(&mut self) -> Option<u64> {
        let file = self.file.clone()?;
        let counted = wait_for(LONGEST, move || Ok(count(&file)));
        counted.unwrap_or_else(|error| {
            self.warn(&error);
            self.file = self.file.take().filter(|_| error.kind() != io::ErrorKind::TimedOut);
            None
        })
    }

    /// Warns once that the count cannot be read.
    fn warn(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "the kernel's count of OOM kills cannot be read ({error}), so drainit may not name \
                 the OOM killer as the reason for a SIGKILL"
            );
        }
    }
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::testing::temp_dir::TempDir;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn hanging_file_is_read_once() {
        let dir = TempDir::new();
        let file = dir.path("memory.events");
        // The file is a FIFO without a writer, so opening it hangs.
        mkfifo(&file, Mode::S_IRWXU).unwrap();
        let began = Instant::now();
        let mut kills = OomKills { file: Some(file), ..OomKills::default() };
        assert_eq!(kills.explain_one(), None);
        kills.look_again();
        assert_eq!(kills.explain_one(), None);
        assert!(kills.file.is_none() && began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_start_finds_the_count_of_the_machine() {
        let file = OomKills::find(Path::new("/")).file;
        assert_eq!(OomKills::since_container_start().file, file);
        assert_eq!(OomKills::from_now_on().file, file);
    }

    // holds: S115, S262
    #[test]
    fn count_is_found_in_both_cgroup_versions() {
        let v2 = "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n";
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
        for (own, file, content) in [
            ("0::/pods/app\n", "pods/app/memory.events", v2),
            // drainit has a cgroup namespace of its own, or the path is valid in the host's
            // namespace only.
            ("0::/\n", "memory.events", v2),
            ("0::/../../host/path\n", "memory.events", v2),
            ("9:name=x:/\n5:a,memory:/docker/a\n0::/\n", "memory/docker/a/memory.oom_control", v1),
            ("5:memory:/docker/a1\n", "memory/memory.oom_control", v1),
        ] {
            let root = TempDir::new();
            root.file("proc/self/cgroup", 0o644, own);
            let events = format!("sys/fs/cgroup/{file}");
            root.file(&events, 0o644, content);
            let mut kills = OomKills::find(root.root());
            kills.clean_at = Time(clock::now().0 - 2 * MINUTE);
            let end = kills.explain_one().expect(own).to_string();
            assert!(end.ends_with("in the last 2m") && end.contains("perhaps"), "{end}");
            assert_eq!(kills.explain_one(), None, "{own}");
            // If two kills happen between two counts, they are reported one after the other.
            kills.look_again();
            root.file(&events, 0o644, content.replace("oom_kill 1", "oom_kill 3"));
            let ends = [(); 3].map(|()| kills.explain_one().map(|end| end.to_string()));
            let probably =
                |end: &Option<String>| end.as_ref().is_some_and(|end| end.contains("probably"));
            assert!(ends[..2].iter().all(probably) && ends[2].is_none(), "{own}: {ends:?}");
        }
        let nothing = TempDir::new();
        assert_eq!(OomKills::find(nothing.root()).explain_one(), None);
        // A cgroup above drainit's own also counts kills of other containers.
        nothing.file("proc/self/cgroup", 0o644, "0::/pods/app\n");
        nothing.file("sys/fs/cgroup/pods/memory.events", 0o644, v2);
        assert_eq!(OomKills::find(nothing.root()).explain_one(), None);
        // Kernels before Linux 4.13 have no count.
        nothing.file("proc/self/cgroup", 0o644, "5:memory:/\n");
        let control = "sys/fs/cgroup/memory/memory.oom_control";
        nothing.file(control, 0o644, "oom_kill_disable 0\nunder_oom 0\n");
        assert_eq!(OomKills::find(nothing.root()).explain_one(), None);
    }
}
