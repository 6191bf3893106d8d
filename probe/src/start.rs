//! The state that this process was given when it was executed. The program looks at it first.

use std::fs;

use crate::{proc, sys};

/// The state that an init gave to this process.
pub struct Start {
    /// The blocked signals; `None` without `/proc`.
    pub blocked: Option<u64>,
    /// The ignored signals; `None` without `/proc`.
    pub ignored: Option<u64>,
    /// The open descriptors and what they lead to; `None` without `/proc`.
    pub descriptors: Option<Vec<(i32, String)>>,
}

impl Start {
    /// Looks at this process.
    pub fn look() -> Self {
        let was_open = |fd: i32| u8::try_from(fd).map_or(true, |fd| fd > 2 || sys::was_open(fd));
        let mut descriptors = proc::descriptors();
        if let Some(open) = &mut descriptors {
            open.retain(|(fd, _)| was_open(*fd));
        }
        let status = fs::read_to_string("/proc/self/status").ok();
        let set = |field| Some(proc::set(&proc::find(status.as_deref()?, field)?));
        let bit = |signal: i32| 1_u64 << (signal - 1);
        let pipe = if sys::pipe_was_ignored() { bit(libc::SIGPIPE) } else { 0 };
        // libc keeps 32 and 33 for itself, and lets no init change them.
        let others = !(bit(libc::SIGPIPE) | bit(32) | bit(33));
        let ignored = set("SigIgn").map(|set| set & others | pipe);
        Self { blocked: set("SigBlk"), ignored, descriptors }
    }
}
