//! Finds and signals the leftovers of one process: descendants of drainit that certainly descend
//! from an instance of the process that has ended.
//!
//! Without a cgroup, the kernel does not tell from whom an orphan descends: the orphan has drainit as
//! its parent. Every instance therefore has a mark in its environment ([`VARIABLE`]), which its
//! descendants inherit. A process is a leftover in these cases:
//!
//! - It is an orphan with the mark of an instance that has ended.
//! - It is an orphan that descended from the last instance while this instance lived, as an earlier
//!   look has shown. A program that writes its title over its environment loses its mark.
//! - It is an orphan without a mark, and has a descendant with such a mark. Both the orphan and the
//!   instance are ancestors of the descendant, and the instance, a child of drainit, cannot descend
//!   from the orphan.
//! - It descends from such an orphan, or did when an earlier look found it.
//! - It is an orphan in the session of such a process, because nobody can join an existing session.
//!
//! A process that belongs to a living child of drainit, or to the session of a living instance, is
//! never a leftover. Any other orphan has an unknown owner, and gets no signal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::thread;

use crate::descendants::{Descendant, Stat, as_owner, is_proc_ours, processes};
use crate::sweep::{MAX_PASSES, Sweep};
use crate::{Pid, errno};
use drainit_core::types::{Signal, Time};
use nix::errno::Errno;

/// The variable with the mark of an instance, in the environment of the instance.
pub const VARIABLE: &str = "DRAINIT_INSTANCE";
/// At most this much of an environment is read. execve(2) takes at most 6 MiB.
const MOST_ENVIRONMENT: u64 = 8 << 20;
/// An environment that is empty is read so many times. It is empty for microseconds during an exec.
const READS: usize = 20;

/// The mark of the instance with this number. No other instance of this drainit or of another one in
/// the container has the same mark.
pub fn mark(process: &str, number: u64) -> String {
    format!("{}{number}", prefix(process))
}

/// The marks of all instances of a process begin with this.
fn prefix(process: &str) -> String {
    let own = std::process::id();
    let began = Stat::read(own.cast_signed()).map_or(0, |stat| stat.process.started);
    format!("{own}-{began}/{process}/")
}

/// Whether drainit has children other than those in `known`; true if this is unknown. Without a
/// `/proc` of drainit's PID namespace, nobody can find leftovers, so this is false.
pub fn may_be_any(known: impl Fn(Pid) -> bool) -> bool {
    let own = std::process::id();
    let children = fs::read_to_string(format!("/proc/self/task/{own}/children"));
    let is_other = |pid: &str| pid.parse().is_ok_and(|pid| !known(pid));
    is_proc_ours() && children.map_or(true, |all| all.split_ascii_whitespace().any(is_other))
}

/// The process whose leftovers are looked for.
#[derive(Debug)]
pub struct Origin {
    pub process: String,
    /// The number of the newest instance. Later instances may begin during the looks.
    pub newest: u64,
    /// The numbers of the older instances of the process that have not ended.
    pub living: BTreeSet<u64>,
    /// The living children that drainit has started, the main processes of all instances, and the
    /// leaders of the instances' sessions.
    pub owned: BTreeSet<Pid>,
    /// When the last instance of the process was started. An older orphan does not descend from it.
    pub since: Time,
    /// Descendants that the last instance had while it lived, by pid and start time.
    pub seen: BTreeSet<(Pid, u64)>,
}

/// The result of a look for leftovers, or the reason why there was none.
pub type Look = Result<Looked, String>;

/// The result of a look for leftovers.
#[derive(Debug, Default)]
pub struct Looked {
    /// The leftovers that have got the signal in this look.
    pub hit: Vec<Descendant>,
    /// Whether leftovers that drainit may signal are alive, or were in this look.
    pub any: bool,
    /// A message about leftovers that drainit may not signal.
    pub refusal: Option<String>,
    /// Orphans that may descend from the last instance of the process or from something else, or
    /// children that drainit has started during the look.
    pub unknown: Vec<Descendant>,
}

/// Looks for the leftovers of a process, again and again, and sends each of them one signal.
#[derive(Debug)]
pub struct Looks {
    signal: Signal,
    sweep: Sweep,
    /// The leftovers that earlier looks have found, by pid and start time.
    known: BTreeSet<(Pid, u64)>,
}

/// The orphans, sorted by their owner.
#[derive(Default)]
struct Sorted {
    /// The leftovers. The orphans among them come first.
    left: Vec<Descendant>,
    /// The number of orphans among the leftovers.
    orphans: usize,
    unknown: Vec<Descendant>,
}

fn key(process: &Descendant) -> (Pid, u64) {
    (process.pid, process.started)
}

impl Looks {
    /// `before` has looked for the same leftovers with another signal.
    pub fn new(signal: Signal, before: Option<&Self>) -> Self {
        let known = before.map(|before| before.known.clone()).unwrap_or_default();
        Self { signal, sweep: Sweep::new(signal), known }
    }

    /// Sends the signal to the leftovers that have not got it yet. A stop signal goes to the orphans
    /// among the leftovers only, as in a process group: their children get it when they are orphans,
    /// too. Once `is_over` returns true, the look signals no further process and ends. Call this on a
    /// thread of its own: it reads all of `/proc`, and a read of an environment may hang.
    ///
    /// # Errors
    /// Fails if there is no `/proc` of drainit's PID namespace.
    pub fn look(&mut self, of: &Origin, is_over: &dyn Fn() -> bool) -> io::Result<Looked> {
        let mut looked = Looked::default();
        for _ in 0..MAX_PASSES {
            let Sorted { left, orphans, unknown } = self.sort(of, is_over)?;
            self.known = left.iter().map(key).collect();
            let may_signal = |process: &Descendant| !self.sweep.is_refused(process);
            // Those that the pass before has signalled may have ended already.
            looked.any = !looked.hit.is_empty() || left.iter().any(may_signal);
            looked.unknown = unknown;
            let asked = if self.signal == Signal::KILL { left.len() } else { orphans };
            let asked = left.into_iter().take(asked).collect();
            if !self.sweep.signal_new(asked, &mut looked.hit, is_over) {
                break;
            }
        }
        looked.refusal = self.sweep.refusal();
        Ok(looked)
    }

    fn sort(&self, of: &Origin, is_over: &dyn Fn() -> bool) -> io::Result<Sorted> {
        let own = std::process::id().cast_signed();
        let is_owned =
            |stat: &Stat| of.owned.contains(&stat.process.pid) || of.owned.contains(&stat.session);
        let all: Vec<_> = processes()?.take_while(|_| !is_over()).collect();
        let mut children: BTreeMap<Pid, Vec<&Stat>> = BTreeMap::new();
        for stat in all.iter().filter(|stat| !is_owned(stat)) {
            children.entry(stat.parent).or_default().push(stat);
        }
        let orphans = children.get(&own).into_iter().flatten().filter(|orphan| orphan.is_alive);
        let (mut left, mut others, mut sorted) = (Vec::new(), Vec::new(), Sorted::default());
        for orphan in orphans.copied() {
            let mark = mark_of(orphan.process.pid).filter(|mark| is_of_living(mark));
            let is_left = match &mark {
                Some(mark) => is_of(mark, of),
                None => descendants(&children, orphan)
                    .iter()
                    .any(|stat| mark_of(stat.process.pid).is_some_and(|mark| is_of(&mark, of))),
            };
            let key = key(&orphan.process);
            match is_left || self.known.contains(&key) || of.seen.contains(&key) {
                true => left.push(orphan),
                false => others.push((orphan, mark)),
            }
        }
        let all_of = |orphan: &&Stat| descendants(&children, orphan);
        let below: Vec<_> = left.iter().flat_map(all_of).collect();
        let sessions: BTreeSet<_> = left.iter().chain(&below).map(|stat| stat.session).collect();
        for (orphan, mark) in others {
            if mark.is_none() && sessions.contains(&orphan.session) {
                left.push(orphan);
            } else if mark.is_none() && !orphan.process.is_started_by(of.since) {
                sorted.unknown.push(orphan.process.clone());
            }
        }
        sorted.orphans = left.len();
        let below: Vec<_> = left.iter().flat_map(all_of).collect();
        let left = left.into_iter().chain(below).filter(|stat| stat.is_alive);
        sorted.left = left.map(|stat| stat.process.clone()).collect();
        Ok(sorted)
    }
}

/// The descendants of a process, among those in `children`.
fn descendants<'a>(children: &BTreeMap<Pid, Vec<&'a Stat>>, of: &Stat) -> Vec<&'a Stat> {
    let mut found: Vec<&Stat> = Vec::new();
    let (mut parent, mut next) = (of.process.pid, 0);
    loop {
        found.extend(children.get(&parent).into_iter().flatten());
        let Some(stat) = found.get(next) else { return found };
        (parent, next) = (stat.process.pid, next + 1);
    }
}

/// Whether this is the mark of an instance of the process that has ended.
fn is_of(mark: &str, of: &Origin) -> bool {
    let number = mark.strip_prefix(&prefix(&of.process)).map(str::parse);
    matches!(number, Some(Ok(number)) if number <= of.newest && !of.living.contains(&number))
}

/// Whether the drainit that has given this mark lives. A drainit below this one may have ended, and
/// its processes are then orphans of this one.
fn is_of_living(mark: &str) -> bool {
    let drainit = mark.split('/').next().and_then(|drainit| drainit.split_once('-'));
    let began = |pid: &str| Some(Stat::read(pid.parse().ok()?)?.process.started);
    drainit.is_some_and(|(pid, started)| began(pid).is_some_and(|it| Ok(it) == started.parse()))
}

/// The mark of a process; `None` if it has no mark, or if drainit may not see its environment.
fn mark_of(pid: Pid) -> Option<String> {
    for _ in 0..READS {
        let environment = match environment(pid) {
            Err(error) if errno(&error) == Errno::EACCES => {
                as_owner(pid, || environment(pid)).ok()?.ok()?
            }
            environment => environment.ok()?,
        };
        if !environment.is_empty() {
            let mut all = environment.split(|byte| *byte == 0);
            let value = |one: &[u8]| {
                let value = one.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"=")?;
                String::from_utf8(value.to_vec()).ok()
            };
            return all.find_map(value);
        }
        thread::yield_now();
    }
    None
}

fn environment(pid: Pid) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    File::open(format!("/proc/{pid}/environ"))?.take(MOST_ENVIRONMENT).read_to_end(&mut read)?;
    Ok(read)
}

#[cfg(test)]
#[allow(clippy::zombie_processes)]
mod tests {
    use super::*;
    use crate::kill::kill;
    use crate::reap::{Reaped, reap_next};
    use crate::testing::isolated::in_own_process;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    fn origin(living: &[u64], owned: &[Pid]) -> Origin {
        Origin {
            process: "web".to_owned(),
            newest: 70,
            living: living.iter().copied().collect(),
            owned: owned.iter().copied().collect(),
            since: Time::default(),
            seen: BTreeSet::new(),
        }
    }

    /// Runs a shell as the instance of a process, and returns the pid of the shell and the pids that
    /// it prints. The shell ends.
    fn ended(process: &str, number: u64, script: &str) -> (Pid, Vec<Pid>) {
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .env(VARIABLE, mark(process, number))
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(shell.stdout.take().unwrap()).lines();
        let pids = lines.map_while(Result::ok).map(|line| line.parse().unwrap()).collect();
        shell.wait().unwrap();
        (shell.id().cast_signed(), pids)
    }

    fn reap_all() {
        while reap_next().unwrap() != Reaped::NoChildren {
            thread::yield_now();
        }
    }

    // holds: S900, S902, S903
    #[test]
    fn only_descendants_of_an_ended_instance_are_signalled() {
        in_own_process(|| {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            // The last process of each line is `sleep`, in a session of its own.
            let daemon = "setsid sleep 60 >/dev/null & echo $!";
            // The second daemon starts another process in its session, which has no mark.
            let second = format!(
                "setsid sh -c '(env -u {VARIABLE} sleep 60 >/dev/null & echo $!); echo $$; \
                 exec sleep 60 >/dev/null' &"
            );
            // The third daemon has no mark, but its child has.
            let third = format!(
                "mark=${VARIABLE}; unset {VARIABLE}; setsid sh -c '{VARIABLE}=\"$0\" sleep 60 \
                 >/dev/null & echo $$; exec >/dev/null; wait' \"$mark\" &"
            );
            let (_, own) = ended("web", 1, &format!("{daemon}; {second} {third}"));
            let (_, living) = ended("web", 2, daemon);
            let (_, other) = ended("api", 1, daemon);
            let unmarked = format!("unset {VARIABLE}; {daemon}");
            let (_, mut unknown) = ended("web", 1, &unmarked);
            // The drainit that gave this mark has ended.
            unknown.extend(ended("web", 1, &format!("export {VARIABLE}=1-1/in/1; {daemon}")).1);
            let (_, seen) = ended("web", 1, &unmarked);
            let (_, owned) = ended("web", 1, daemon);
            let all = [&own, &living, &other, &unknown, &seen, &owned];
            assert!(
                may_be_any(|_| false) && !may_be_any(|pid| all.iter().any(|it| it.contains(&pid)))
            );
            let keys = seen.iter().map(|pid| key(&Stat::read(*pid).unwrap().process));
            let of = Origin { seen: keys.collect(), ..origin(&[2], &owned) };
            let mut looks = Looks::new(Signal::TERM, None);
            let looked = looks.look(&of, &|| false).unwrap();
            let pids = |all: &[Descendant]| all.iter().map(|one| one.pid).collect::<Vec<_>>();
            let sets = |all: Vec<Pid>| all.into_iter().collect::<BTreeSet<_>>();
            // A subshell that has started a daemon may still be about to end, and is hit, too.
            let hit = sets(pids(&looked.hit));
            assert!(hit.is_superset(&sets([own, seen].concat())), "{hit:?}");
            let others = [&living, &other, &unknown, &owned];
            assert!(!others.into_iter().flatten().any(|pid| hit.contains(pid)), "{hit:?}");
            assert_eq!(sets(pids(&looked.unknown)), sets(unknown.clone()));
            while looks.look(&of, &|| false).unwrap().any {
                let _ = reap_next();
                thread::yield_now();
            }
            for pid in [living, other, unknown, owned].concat() {
                assert!(kill(pid, Signal::KILL).unwrap(), "{pid} was ended");
            }
            reap_all();
        });
    }

    // holds: S901
    #[test]
    fn children_of_leftovers_come_after_their_parents_and_sigkill_reaches_all() {
        in_own_process(|| {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            // The daemon has a child without the mark.
            let script = format!(
                "setsid sh -c 'trap \"\" TERM; env -u {VARIABLE} sleep 60 >/dev/null & echo $!; \
                 echo $$; exec >/dev/null; wait' & wait"
            );
            let mut shell = Command::new("sh")
                .args(["-c", &script])
                .env(VARIABLE, mark("web", 1))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(shell.stdout.take().unwrap()).lines();
            let pids: Vec<Pid> =
                lines.map_while(Result::ok).take(2).map(|line| line.parse().unwrap()).collect();
            let lives = origin(&[1], &[shell.id().cast_signed()]);
            let mut looks = Looks::new(Signal::TERM, None);
            assert!(!looks.look(&lives, &|| false).unwrap().any);
            shell.kill().unwrap();
            shell.wait().unwrap();
            let of = origin(&[], &[]);
            let looked = looks.look(&of, &|| false).unwrap();
            assert_eq!(looked.hit.iter().map(|one| one.pid).collect::<Vec<_>>(), pids[1..]);
            assert!(looked.any && looked.unknown.is_empty());
            let mut looks = Looks::new(Signal::KILL, Some(&looks));
            let looked = looks.look(&of, &|| false).unwrap();
            assert!(pids.iter().all(|pid| looked.hit.iter().any(|one| one.pid == *pid)));
            while looks.look(&of, &|| false).unwrap().any {
                let _ = reap_next();
                thread::yield_now();
            }
            reap_all();
        });
    }

    #[test]
    fn marks_differ_by_process_and_number() {
        let of = origin(&[7], &[]);
        assert!(is_of(&mark("web", 6), &of) && is_of(&mark("web", 70), &of));
        for other in
            [mark("web", 7), mark("web", 71), mark("web2", 6), mark("web/1", 6), "web/6".to_owned()]
        {
            assert!(!is_of(&other, &of), "{other}");
        }
    }
}
