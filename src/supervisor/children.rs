//! Who is who: the children that drainit has started, by pid.

use std::collections::BTreeMap;
use std::io;

use crate::os::Pid;
use crate::os::reap::{Reaped, reap_next};
use crate::os::spawn::{SpawnError, SpawnRequest};
use crate::types::End;

/// The children, each with what the caller wants to know when it ends. `R` is the caller's idea of a role.
///
/// Spawn and entry are one step, and everything happens on one thread, so that no end is ever seen of a child that is
/// not known yet. What is reaped and not in here is an orphan that drainit inherited.
#[derive(Debug)]
pub struct Children<R> {
    roles: BTreeMap<Pid, R>,
}

/// A child that has ended. It is reaped and no longer in the table: its pid may be somebody else's.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended<R> {
    /// The pid that it had.
    pub pid: Pid,
    /// How it has ended.
    pub end: End,
    /// What it was; `None` for an orphan.
    pub role: Option<R>,
}

/// What is there after a batch was reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There may be more that have ended.
    More,
    /// There are children, and all of them run.
    Running,
    /// There are no children at all.
    Nobody,
}

impl<R> Default for Children<R> {
    fn default() -> Self {
        Self { roles: BTreeMap::new() }
    }
}

impl<R> Children<R> {
    /// Starts a process and remembers what it is for.
    ///
    /// # Errors
    /// Where it could not be started; then nothing is remembered.
    pub fn spawn(&mut self, request: SpawnRequest, role: R) -> Result<Pid, SpawnError> {
        let pid = request.spawn()?;
        self.roles.insert(pid, role);
        Ok(pid)
    }

    /// Reaps children that have ended, at most `most`, and forgets each at that moment: from then
    /// on the kernel may give its pid to the next process that is started, while the ends of this
    /// batch are still being dealt with.
    ///
    /// # Errors
    /// Those of [`reap_next`].
    pub fn reap(&mut self, most: usize) -> io::Result<(Vec<Ended<R>>, Rest)> {
        let mut ended = Vec::new();
        while ended.len() < most {
            match reap_next()? {
                Reaped::Child(pid, end) => {
                    ended.push(Ended { pid, end, role: self.roles.remove(&pid) });
                }
                Reaped::NoneNow => return Ok((ended, Rest::Running)),
                Reaped::NoChildren => return Ok((ended, Rest::Nobody)),
            }
        }
        Ok((ended, Rest::More))
    }

    /// What a living (or not yet reaped) child is.
    #[must_use]
    pub fn role(&self, pid: Pid) -> Option<&R> {
        self.roles.get(&pid)
    }

    /// All that are not reaped yet.
    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = (Pid, &R)> {
        self.roles.iter().map(|(pid, role)| (*pid, role))
    }

    /// Whether all are reaped.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.roles.is_empty()
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
                assert!(children.is_empty());
                let pid = children.spawn(request("true"), "router").unwrap();
                let orphan = request("true").spawn().unwrap();
                assert_eq!(children.role(pid), Some(&"router"));
                let mut ended = Vec::new();
                loop {
                    let (batch, rest) = children.reap(1).unwrap();
                    ended.extend(batch);
                    match rest {
                        Rest::Nobody => break,
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
                assert!(children.is_empty());
            },
        );
    }

    #[test]
    fn no_pid_of_a_batch_is_in_the_table_when_its_first_end_is_dealt_with() {
        let name = "supervisor::children::tests::no_pid_of_a_batch_is_in_the_table_when_its_first_end_is_dealt_with";
        in_own_process(name, || {
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
            // Nobody else has the pid of the third.
            assert_eq!(children.iter().map(|(pid, _)| pid).collect::<Vec<_>>(), pids);
            assert_eq!(children.reap(2).unwrap().1, Rest::Nobody);
        });
    }
}
