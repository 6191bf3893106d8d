//! A file that nobody else can open for now: it stands for a file system that does not answer.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Holds the file. An open of it, and so its execution, waits until this is dropped, or for
/// `/proc/sys/fs/lease-break-time` (45 s).
pub(crate) struct Lease(Child);

/// Asked to give the file up, the holder does nothing.
const HOLDER: &str = "
import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1], 'r+b')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
sys.stdout.write('.')
sys.stdout.flush()
sys.stdin.read()
";

impl Lease {
    /// `None`, with a line about it, on a file system without leases.
    pub(crate) fn take(path: &Path) -> Option<Self> {
        let mut holder = Command::new("python3");
        let holder = holder.args(["-c", HOLDER]).arg(path);
        let pipes = holder.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut held = Self(pipes.spawn().unwrap());
        let is_held = held.0.stdout.take().unwrap().read(&mut [0]).unwrap() == 1;
        if !is_held {
            let _ = writeln!(std::io::stderr(), "skipped: no lease of {}", path.display());
        }
        is_held.then_some(held)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
