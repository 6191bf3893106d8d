//! The memory and the processors of the container, for `${memory_bytes}`, `${memory_mib}` and
//! `${cpus}`. A value is the lowest limit of the container's cgroups (v1 or v2), or the value of
//! the machine if there is no lower limit.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The names by which a config uses these values.
pub const NAMES: [&str; 3] = ["memory_bytes", "memory_mib", "cpus"];

/// The value with this name; `None` if the name is not in [`NAMES`], or if the kernel does not
/// report the value.
pub fn value(name: &str) -> Option<u64> {
    let root = Path::new("/");
    match name {
        "memory_bytes" => memory(root),
        "memory_mib" => Some(memory(root)? >> 20),
        "cpus" => cpus(root),
        _ => None,
    }
}

/// The value that the first call for this name has found. A reload reads the config with the same
/// values as the start, so a limit that has changed meanwhile does not change the config.
pub fn first_value(name: &str) -> Option<u64> {
    static FIRST: [OnceLock<Option<u64>>; NAMES.len()] = [const { OnceLock::new() }; NAMES.len()];
    let place = NAMES.iter().position(|known| *known == name)?;
    *FIRST[place].get_or_init(|| value(name))
}

/// The memory in bytes. A cgroup without a limit has the text `max` (v2), or a number that is
/// larger than the machine's memory (v1).
fn memory(root: &Path) -> Option<u64> {
    let machine = read_to_string(root.join("proc/meminfo")).ok()?;
    let total = machine.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let limits = cgroups(root, "memory").into_iter().flat_map(|cgroup| {
        ["memory.max", "memory.limit_in_bytes"].map(|file| number(&cgroup.join(file), 0))
    });
    limits.flatten().chain([total * 1024]).min()
}

/// The number of processors on which drainit may run. If the quota of drainit's cgroups is lower
/// than this number, the quota counts, rounded up and at least 1.
fn cpus(root: &Path) -> Option<u64> {
    let status = read_to_string(root.join("proc/self/status")).ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"))?;
    let allowed = allowed.chars().filter_map(|digit| digit.to_digit(16));
    let allowed = allowed.map(|digit| u64::from(digit.count_ones())).sum();
    let granted = quotas(root).map(|(quota, period)| quota.div_ceil(period));
    granted.chain([allowed]).min().map(|cpus| cpus.max(1))
}

/// The part of one processor that the quota of drainit's cgroups permits, in percent: at least 1,
/// at most 100.
pub fn percent_of_core() -> u32 {
    percent(Path::new("/"))
}

fn percent(root: &Path) -> u32 {
    let granted = quotas(root).map(|(quota, period)| quota.saturating_mul(100) / period);
    granted.chain([100]).min().and_then(|it| it.try_into().ok()).unwrap_or(100).max(1)
}

/// The quotas of drainit's cgroups, and their periods, in microseconds.
fn quotas(root: &Path) -> impl Iterator<Item = (u64, u64)> {
    cgroups(root, "cpu").into_iter().filter_map(|cgroup| {
        let v2 = cgroup.join("cpu.max");
        let quota = number(&v2, 0).or_else(|| number(&cgroup.join("cpu.cfs_quota_us"), 0))?;
        let period = number(&v2, 1).or_else(|| number(&cgroup.join("cpu.cfs_period_us"), 0))?;
        Some((quota, period.max(1)))
    })
}

/// The directories of drainit's own cgroup and of the cgroups above it. Some of these directories
/// may not be visible in the container.
pub fn cgroups(root: &Path, controller: &str) -> Vec<PathBuf> {
    let own = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut out = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let mounted = match controllers {
            "" => root.join("sys/fs/cgroup"),
            _ if controllers.split(',').any(|it| it == controller) => {
                root.join("sys/fs/cgroup").join(controller)
            }
            _ => continue,
        };
        let below = Path::new(path.trim_start_matches('/')).ancestors();
        out.extend(below.map(|path| mounted.join(path)));
    }
    out
}

/// Reads a word of a file as a number; `place` is the index of the word. `None` if there is no such
/// file or word, and for `max` and -1: both mean that there is no limit.
fn number(file: &Path, place: usize) -> Option<u64> {
    read_to_string(file).ok()?.split_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    // holds: C677, C678
    #[test]
    fn the_lowest_limit_counts() {
        let (v2, v1) = ("0::/a/b\n", "7:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n");
        let limit = "memory/memory.limit_in_bytes";
        let (quota, period) = ("cpu/cpu.cfs_quota_us", ("cpu/cpu.cfs_period_us", "100000"));
        for (cgroup, files, bytes, processors, of_core) in [
            ("", &[][..], 2 << 30, 40, 100),
            (v2, &[("memory.max", "max"), ("cpu.max", "max 100000")], 2 << 30, 40, 100),
            (v2, &[("a/memory.max", "1000"), ("a/b/cpu.max", "150000 100000")], 1000, 2, 100),
            (v1, &[(limit, "2000"), (quota, "10000"), period], 2000, 1, 10),
            (v1, &[(limit, "9223372036854771712"), (quota, "-1"), period], 2 << 30, 40, 100),
        ] {
            let root = TempDir::new();
            root.file("proc/self/cgroup", 0o644, cgroup);
            root.file("proc/meminfo", 0o644, "MemTotal:       2097152 kB\nMemFree: 1 kB\n");
            root.file("proc/self/status", 0o644, "Name:\tx\nCpus_allowed:\tff,ffffffff\n");
            for (path, text) in files {
                root.file(&format!("sys/fs/cgroup/{path}"), 0o644, text);
            }
            assert_eq!(memory(&root.path("")), Some(bytes), "{files:?}");
            assert_eq!(cpus(&root.path("")), Some(processors), "{files:?}");
            assert_eq!(percent(&root.path("")), of_core, "{files:?}");
        }
        assert!(NAMES.iter().all(|name| value(name).is_some_and(|value| value > 0)));
    }
}
