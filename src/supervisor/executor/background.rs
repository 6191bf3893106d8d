//! Detects a program that puts itself into the background: the process that drainit started ends
//! with success, but the program's other processes keep running. drainit cannot stop these
//! processes in order, and does not see their end. Therefore the log says what happened and how to
//! fix it.

use std::ffi::OsString;
use std::thread;
use std::time::Duration;

use crate::known;
use crate::os::Pid;
use crate::os::descendants::{Descendant, MOST_READ, Stat, list, living_children};
use crate::supervisor::executor::Executor;
use crate::types::ProcessId;

/// The unit of start times in `/proc/PID/stat`, on every architecture that drainit runs on.
const TICK: Duration = Duration::from_millis(10);

/// [`left_by`] looks again at most this many times, each time after a pause of [`LOOK`].
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(10);

const STILL: &str = "processes that it started are still running";

impl Executor {
    /// Names the processes that an ended process has left running, and the remedy; `None` if there
    /// are none. The text is the end of a sentence. Looks only at the newest orphans. An orphan in
    /// another session counts in two cases: drainit had no other child while the ended process ran,
    /// or the name of the orphan is in the command of the ended process. In the second case, the
    /// text says "may", because the orphan may come from another process.
    pub(super) fn in_background(&self, process: ProcessId) -> Option<String> {
        let groups: Vec<_> = self.groups.of(process).collect();
        let began = self.instance(process).spawned.0.as_millis() / TICK.as_millis();
        let (pid, was_only) = self.instance(process).gone?;
        let orphans = self.reaping.orphans.get_or_init(|| {
            let children = &self.children;
            living_children(MOST_READ, |pid| children.role(pid).is_none()).collect()
        });
        // Orphans that are older than this process, or whose session is older, belong to another
        // process. The id of a session is the pid of its first process, so a lower id means an
        // older session. After the kernel has begun to reuse low pids, drainit may miss an orphan.
        let is_member = |one: &&Stat| groups.contains(&one.process.group);
        let is_orphan = |one: &&Stat| {
            u128::from(one.process.started) >= began && one.session >= pid && !is_member(one)
        };
        let (own, others): (Vec<_>, Vec<_>) =
            orphans.iter().filter(is_orphan).partition(|one| was_only || one.session == pid);
        let own = orphans.iter().filter(is_member).chain(own);
        let own: Vec<_> = own.map(|one| one.process.clone()).collect();
        let command = &self.process(process).command;
        if !own.is_empty() {
            return Some(advice(STILL, &own, command));
        }
        let others = others.into_iter().map(|one| one.process.clone());
        let namesakes: Vec<_> =
            others.filter(|one| names(command).any(|name| name == one.name)).collect();
        (!namesakes.is_empty())
            .then(|| advice("processes that it started may still be running", &namesakes, command))
    }
}

/// Like [`Executor::in_background`], for the command of `drainit exec`. This command had the pid
/// `pid`, and has ended. Counts only processes that have begun a session of their own, because a
/// process in the command's group may be about to end. With daemon(3), the command ends before its
/// child begins a session. Therefore, while no process counts and a child of drainit is still in
/// the command's group, this function looks again, at most [`LOOKS`] times.
#[allow(clippy::disallowed_methods, reason = "the command of exec has ended; 100 ms at most")]
pub(crate) fn left_by(pid: Pid, command: &[OsString]) -> Option<String> {
    let mut looks = 0..LOOKS;
    let left = loop {
        let (left, others): (Vec<_>, Vec<_>) =
            living_children(MOST_READ, |_| true).partition(|one| one.session > pid);
        let has_group = others.iter().any(|one| one.process.group == pid);
        if !left.is_empty() || !has_group || looks.next().is_none() {
            break left.into_iter().map(|one| one.process).collect::<Vec<_>>();
        }
        thread::sleep(LOOK);
    };
    let command: Vec<_> = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    (!left.is_empty()).then(|| advice(STILL, &left, &command))
}

/// The file names in a command. A word of the command may be a line for a shell.
fn names(command: &[String]) -> impl Iterator<Item = &str> {
    let words = command.iter().flat_map(|word| word.split_ascii_whitespace());
    words.filter_map(|word| word.rsplit('/').next())
}

fn advice(what: &str, left: &[Descendant], command: &[String]) -> String {
    let example = known::find(command);
    let example = example.filter(|it| !it.program.foreground.is_empty());
    let example = example.map(|it| format!(": `{} {}`", it.name, it.program.foreground));
    let example = example.unwrap_or_default();
    format!(
        "{what}: {}; drainit supervises only the process that it starts itself, so run the \
         program in the foreground{example}",
        list(left)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_option_of_well_known_program() {
        let left = [Descendant { pid: 7, group: 7, name: "nginx".to_owned(), started: 0 }];
        for (command, end) in [
            (&["/sbin/nginx", "-c", "/nginx.conf"][..], "foreground: `nginx -g 'daemon off;'`"),
            (&["sh", "-c", "cd / && php-fpm"], "foreground: `php-fpm --nodaemonize`"),
            (&["/app/serve", "nginx-like"], "foreground"),
        ] {
            let command: Vec<_> = command.iter().map(|word| (*word).to_owned()).collect();
            let advice = advice("its processes are still running", &left, &command);
            assert!(advice.starts_with("its processes are still running: 7 (nginx); "), "{advice}");
            assert!(advice.ends_with(end), "{advice}");
        }
    }
}
