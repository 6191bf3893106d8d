//! A file that no other process can open for a while. In tests it takes the place of a file on a
//! file system that does not answer.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A lease on a file. Opening or executing the file blocks until the lease is given up, but at most
/// for `/proc/sys/fs/lease-break-time` (45 s).
pub(crate) struct Lease(Child);

/// The program that holds the lease. When another process opens the file, the kernel asks the
/// program to give the lease up. The program then runs its second argument as a command, and gives
/// the lease up. Without a second argument, the program ignores the kernel.
const HOLDER: &str = "
import fcntl, signal, subprocess, sys
def give_up(*_):
    subprocess.run(sys.argv[2], shell=True, check=True)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
signal.signal(signal.SIGIO, give_up if sys.argv[2:] else signal.SIG_IGN)
file = open(sys.argv[1], 'r+b')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
sys.stdout.write('.')
sys.stdout.flush()
sys.stdin.read()
";

impl Lease {
    /// Takes a lease. On a file system without leases, prints a line and returns `None`.
    pub(crate) fn take(path: &Path) -> Option<Self> {
        Self::take_for(path, &[])
    }

    /// Takes a lease that is given up 300 ms after another process tries to open the file.
    pub(crate) fn take_politely(path: &Path) -> Option<Self> {
        Self::take_until(path, "sleep 0.3")
    }

    /// Takes a lease that is given up after another process has tried to open the file, and after
    /// `command` has run.
    pub(crate) fn take_until(path: &Path, command: &str) -> Option<Self> {
        Self::take_for(path, &[command])
    }

    fn take_for(path: &Path, args: &[&str]) -> Option<Self> {
        let mut holder = Command::new("python3");
        let holder = holder.args(["-c", HOLDER]).arg(path).args(args);
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
