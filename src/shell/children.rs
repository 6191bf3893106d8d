//! Who is who: the children that drainit has started, by pid.

use std::collections::BTreeMap;

use super::reap::Pid;
use super::spawn::{SpawnError, SpawnRequest};

/// The children, each with what the caller wants to know when it ends. `R` is the caller's idea of a role.
///
/// Spawn and entry are one step, and everything happens on one thread, so that no end is ever seen of a child that is
/// not known yet. What is reaped and not in here is an orphan that drainit inherited.
#[derive(Debug)]
pub struct Children<R> {
    roles: BTreeMap<Pid, R>,
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

    /// Forgets a child that was reaped, and tells what it was. `None` for an orphan.
    pub fn remove(&mut self, pid: Pid) -> Option<R> {
        self.roles.remove(&pid)
    }

    /// What a living (or not yet reaped) child is.
    #[must_use]
    pub fn role(&self, pid: Pid) -> Option<&R> {
        self.roles.get(&pid)
    }

    /// All that are not reaped yet.
    pub fn iter(&self) -> impl Iterator<Item = (Pid, &R)> {
        self.roles.iter().map(|(pid, role)| (*pid, role))
    }

    /// Whether all are reaped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::shell::alone::alone;
    use crate::shell::reap::{Reaped, reap_next};

    #[test]
    fn a_role_lasts_until_its_child_is_reaped() {
        alone("shell::children::tests::a_role_lasts_until_its_child_is_reaped", || {
            let mut children = Children::default();
            let request = |program: &str| SpawnRequest::new(vec![program.into()]);
            children.spawn(request("/does/not/exist"), "nobody").unwrap_err();
            assert!(children.is_empty());
            let pid = children.spawn(request("true"), "router").unwrap();
            let orphan = request("true").spawn().unwrap();
            let mut seen = 0;
            loop {
                match reap_next().unwrap() {
                    Reaped::NoneNow => std::thread::yield_now(),
                    Reaped::NoChildren => break,
                    Reaped::Child(ended, _) if ended == orphan => {
                        assert_eq!(children.remove(ended), None);
                        seen += 1;
                    }
                    Reaped::Child(ended, _) => {
                        assert_eq!(ended, pid);
                        assert_eq!(children.role(pid), Some(&"router"));
                        assert_eq!(children.remove(ended), Some("router"));
                        seen += 1;
                    }
                }
            }
            assert!(children.is_empty() && seen == 2);
        });
    }
}
