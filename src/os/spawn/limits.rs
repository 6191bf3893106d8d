//! Resource limits of a child.

use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t};

use crate::config::{Limit, Ulimit};
use crate::os::spawn::{SpawnError, has_capabilities};
use crate::os::sys::ChildLimit;

/// The capability to raise a hard limit, CAP_SYS_RESOURCE (capabilities(7)).
const SYS_RESOURCE: u64 = 1 << 24;

/// Converts the limits to numbers; `max` is drainit's own hard limit.
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

/// Finds the first limit that drainit may not set. Called after a start that failed with EPERM.
pub(crate) fn refused(ulimits: &[Ulimit]) -> Option<SpawnError> {
    let may_raise = has_capabilities(SYS_RESOURCE);
    ulimits.iter().find_map(|ulimit| {
        let (_, own) = getrlimit(ulimit.resource).ok()?;
        let wanted = number(ulimit.hard, own);
        // With the capability, only `nofile` has an upper bound: /proc/sys/fs/nr_open.
        let is_refused = wanted > own && (!may_raise || ulimit.resource == Resource::RLIMIT_NOFILE);
        is_refused.then(|| SpawnError::Limit {
            resource: ulimit.name(),
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
