//! The children that drainit has started, by pid.

use std::collections::BTreeMap;
use std::io;

use crate::os::Pid;
use crate::os::reap::{Reaped, reap_next};
use crate::os::spawn::{SpawnError, SpawnRequest};
use crate::types::End;

/// The children, each with its role.
///
/// Spawning and entering are one step on one thread, so no child is reaped before it is known. A
/// reaped pid that is not in here is an orphan that drainit inherited.
#[derive(Debug)]
pub(crate) struct Children<R> {
    roles: BTreeMap<Pid, R>,
}

/// A reaped child, no longer in the table: its pid may be reused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended<R> {
    pub(crate) pid: Pid,
    pub(crate) end: End,
    /// `None` for an orphan.
    pub(crate) role: Option<R>,
}

/// The children that remain after a batch was reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// More of them may have ended.
    More,
    /// All of them run.
    Running,
    /// There are no children.
    None,
}

impl<R> Default for Children<R> {
    fn default() -> Self {
        Self { roles: BTreeMap::new() }
    }
}

impl<R> Children<R> {
    /// Starts a process and enters it with its role.
    pub(crate) fn spawn(&mut self, request: SpawnRequest, role: R) -> Result<Pid, SpawnError> {
        let pid = request.spawn()?;
        let before = self.roles.insert(pid, role);
        debug_assert!(before.is_none(), "pid {pid} belongs to a child that is not reaped");
        Ok(pid)
    }

    /// Reaps at most `max` children that have ended, and removes each at that moment: the kernel
    /// may give its pid to the next process while the ends of this batch are handled.
    pub(crate) fn reap(&mut self, max: usize) -> io::Result<(Vec<Ended<R>>, Rest)> {
        let mut ended = Vec::new();
        while ended.len() < max {
            match reap_next()? {
                Reaped::Child(pid, end) => {
                    ended.push(Ended { pid, end, role: self.roles.remove(&pid) });
                }
                Reaped::NoneNow => return Ok((ended, Rest::Running)),
                Reaped::NoChildren => return Ok((ended, Rest::None)),
            }
        }
        Ok((ended, Rest::More))
    }

    /// The role of a child that is not reaped yet.
    pub(crate) fn role(&self, pid: Pid) -> Option<&R> {
        self.roles.get(&pid)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::testing::isolated::in_own_process;

    fn request(program: &str) -> SpawnRequest {
        SpawnRequest::new(vec![program.into()])
    }

    #[test]
    fn a_role_lasts_until_its_child_is_reaped() {
        in_own_process(
            "supervisor::children::tests::a_role_lasts_until_its_child_is_reaped",
            || {
                let mut children = Children::default();
                children.spawn(request("/does/not/exist"), "nobody").unwrap_err();
                assert!(children.roles.is_empty());
                let pid = children.spawn(request("true"), "router").unwrap();
                let orphan = request("true").spawn().unwrap();
                assert_eq!(children.role(pid), Some(&"router"));
                let mut ended = Vec::new();
                loop {
                    let (batch, rest) = children.reap(1).unwrap();
                    ended.extend(batch);
                    match rest {
                        Rest::None => break,
                        Rest::More => {}
                        Rest::Running => std::thread::yield_now(),
                    }
                }
                ended.sort_by_key(|one| one.role);
                let end = End::Code(0);
                let expected = [
                    Ended { pid: orphan, end, role: None },
                    Ended { pid, end, role: Some("router") },
                ];
                assert_eq!(ended, expected);
                assert!(children.roles.is_empty());
            },
        );
    }

    #[test]
    fn a_batch_is_removed_before_its_ends_are_handled() {
        in_own_process(
            "supervisor::children::tests::a_batch_is_removed_before_its_ends_are_handled",
            || {
                let mut children = Children::default();
                let mut pids: Vec<_> = (0..3)
                    .map(|number| {
                        let pid = children.spawn(request("true"), number).unwrap();
                        // Ended, and not reaped.
                        while crate::os::reap::is_living_child(pid) {
                            std::thread::yield_now();
                        }
                        pid
                    })
                    .collect();
                let (ended, rest) = children.reap(2).unwrap();
                assert_eq!((ended.len(), rest), (2, Rest::More));
                for one in ended {
                    assert_eq!(children.role(one.pid), None);
                    pids.retain(|pid| *pid != one.pid);
                }
                // The third still has its pid.
                assert!(children.roles.keys().eq(&pids));
                assert_eq!(children.reap(2).unwrap().1, Rest::None);
            },
        );
    }
}
