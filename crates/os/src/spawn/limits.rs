//! Resource limits of a child.

use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t};

use crate::spawn::{SpawnError, has_capabilities};
use crate::sys::ChildLimit;

/// The limits of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    pub resource: Resource,
    /// The name of the resource in a config.
    pub name: &'static str,
    /// The limit that the kernel enforces.
    pub soft: Limit,
    /// The highest soft limit that the process may set by itself.
    pub hard: Limit,
}

/// A soft or a hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A number in the unit of the resource (setrlimit(2)).
    Number(u64),
    Unlimited,
    /// The hard limit that drainit itself has for this resource.
    Max,
}

/// The capability to raise a hard limit, CAP_SYS_RESOURCE (capabilities(7)).
const SYS_RESOURCE: u64 = 1 << 24;

/// Converts the limits to numbers. A limit of `max` becomes drainit's own hard limit. A soft limit
/// above its hard limit becomes equal to the hard limit.
pub(super) fn resolve(ulimits: &[Ulimit]) -> io::Result<Vec<ChildLimit>> {
    let resolve = |ulimit: &Ulimit| -> io::Result<ChildLimit> {
        let resource = ulimit.resource;
        let (_, own) = getrlimit(resource)?;
        let (soft, hard) = (number(ulimit.soft, own), number(ulimit.hard, own));
        Ok(ChildLimit { resource, soft: soft.min(hard), hard })
    };
    ulimits.iter().map(resolve).collect()
}

fn number(limit: Limit, own: rlim_t) -> rlim_t {
    match limit {
        Limit::Number(number) => number,
        Limit::Unlimited => RLIM_INFINITY,
        Limit::Max => own,
    }
}

/// Finds the first limit that drainit may not set. Call this after a start that failed with EPERM.
pub fn refused(ulimits: &[Ulimit]) -> Option<SpawnError> {
    let may_raise = has_capabilities(SYS_RESOURCE);
    ulimits.iter().find_map(|ulimit| {
        let (_, own) = getrlimit(ulimit.resource).ok()?;
        let wanted = number(ulimit.hard, own);
        // With the capability, only `nofile` has an upper bound: /proc/sys/fs/nr_open.
        let is_refused = wanted > own && (!may_raise || ulimit.resource == Resource::RLIMIT_NOFILE);
        is_refused.then(|| SpawnError::Limit {
            resource: ulimit.name,
            wanted: text(wanted),
            own: text(own),
            remedy: if may_raise {
                "the kernel's bound is /proc/sys/fs/nr_open"
            } else {
                "write `max` for the hard limit that there is, start the container with a higher one \
                 (`docker run --ulimit`), or add the capability SYS_RESOURCE"
            },
        })
    })
}

fn text(limit: rlim_t) -> String {
    if limit == RLIM_INFINITY { "unlimited".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::setrlimit;

    use super::*;
    use crate::testing::isolated::in_own_process;

    #[test]
    fn a_refused_limit_is_above_the_hard_limit_of_drainit() {
        in_own_process(|| {
            let (files, core) = (Resource::RLIMIT_NOFILE, Resource::RLIMIT_CORE);
            for resource in [files, core] {
                setrlimit(resource, 10, 20).unwrap();
            }
            let refused = |resource, hard| {
                let soft = Limit::Number(5);
                refused(&[Ulimit { resource, name: "", soft, hard }]).map(|error| error.to_string())
            };
            let says = |resource, hard, what: &str| {
                let error = refused(resource, hard).unwrap();
                assert!(error.contains(what), "{error}");
            };
            if has_capabilities(SYS_RESOURCE) {
                assert_eq!(refused(core, Limit::Unlimited), None);
                says(files, Limit::Number(21), "nr_open");
            }
            if nix::unistd::geteuid().is_root() {
                let nobody = nix::unistd::Uid::from_raw(65534);
                nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
            }
            for resource in [files, core] {
                for may in [Limit::Max, Limit::Number(19), Limit::Number(20)] {
                    assert_eq!(refused(resource, may), None);
                }
                says(resource, Limit::Number(21), "SYS_RESOURCE");
                says(resource, Limit::Number(21), "21");
                says(resource, Limit::Unlimited, "unlimited");
            }
        });
    }
}
