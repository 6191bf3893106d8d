//! The rows: what an init owes, where that stands, and how it is judged.

mod below;
mod codes;
mod end;
mod places;
mod signals;
mod streams;
mod supervisor;
mod terminal;

use crate::room::{Init, Puppet, Room, SOON, Setup};
use crate::start::Start;
use crate::verdict::Outcome;

/// How much depends on a row.
#[derive(Clone, Copy, PartialEq)]
pub enum Level {
    /// Without this, the child does not work, or the container does not stop, as a specification
    /// says.
    Must,
    /// No specification asks for this, but processes lose work without it.
    Should,
    /// Only a supervisor of several processes does this.
    Supervisor,
}

impl Level {
    /// The word in the output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Supervisor => "supervisor",
        }
    }
}

/// Who judges a row.
#[derive(Clone, Copy)]
pub enum Judge {
    /// The child of the init, from what it finds.
    Below(fn(&str, &Start) -> Outcome),
    /// The driver, which starts the init for this row.
    Outside(fn(&Init) -> Outcome),
}

/// A row of the suite.
pub struct Row {
    /// Its name, which stays the same.
    pub name: &'static str,
    /// How much depends on the row.
    pub level: Level,
    /// The duty of the init.
    pub owes: &'static str,
    /// Where that stands, or why.
    pub source: &'static str,
    /// How it is judged.
    pub judge: Judge,
}

const fn row(
    name: &'static str,
    level: Level,
    judge: Judge,
    owes: &'static str,
    source: &'static str,
) -> Row {
    Row { name, level, owes, source, judge }
}

use Judge::{Below, Outside};
use Level::{Must, Should, Supervisor};

/// All rows. The number of a row is its place, counted from 1, so a new row comes last.
pub const ROWS: &[Row] = &[
    row(
        "double-fork",
        Must,
        Below(below::double_fork),
        "reaps an orphan that a double fork leaves",
        "pid_namespaces(7): orphans become children of PID 1; wait(2): a zombie keeps its place in the table of processes",
    ),
    row(
        "thousand-ends",
        Must,
        Below(below::thousand_ends),
        "reaps 1,000 orphans that end at the same time",
        "signal(7): standard signals do not queue, so one SIGCHLD stands for many ends",
    ),
    row(
        "reaps-while-stopping",
        Must,
        Outside(signals::reaps_while_stopping),
        "reaps orphans also after SIGTERM, while its child still runs",
        "wait(2); a drain of minutes makes orphans, too",
    ),
    row(
        "term-child",
        Must,
        Outside(signals::term_child),
        "passes SIGTERM to its child",
        "Kubernetes, Pod Lifecycle: the runtime sends the stop signal to PID 1 of each container; pid_namespaces(7)",
    ),
    row(
        "outlives-child",
        Must,
        Outside(signals::outlives_child),
        "does not end before its child after SIGTERM",
        "pid_namespaces(7): when PID 1 ends, the kernel kills all other processes by SIGKILL",
    ),
    row(
        "term-group",
        Should,
        Outside(signals::term_group),
        "sees that another process of its child's group gets SIGTERM before it is killed",
        "a child that is a shell script does not pass SIGTERM on (POSIX, Shell Command Language 2.11)",
    ),
    row(
        "term-while-starting",
        Must,
        Outside(signals::term_while_starting),
        "ends soon after a SIGTERM that comes before it has executed its child",
        "OCI runtime specification, kill: a started container can get a signal at once; a deleted pod may still be starting",
    ),
    row(
        "term-first-millisecond",
        Must,
        Outside(signals::term_first_millisecond),
        "ends soon after a SIGTERM that comes as soon as its child exists",
        "pid_namespaces(7): a signal that PID 1 does not handle yet is lost, and nobody sends a second one",
    ),
    row(
        "stop-signals",
        Must,
        Outside(signals::stop_signals),
        "stops its child at SIGINT and SIGQUIT, by the same signal or by SIGTERM",
        "OCI image specification, StopSignal; Kubernetes, lifecycle.stopSignal",
    ),
    row(
        "user-signals",
        Should,
        Outside(signals::user_signals),
        "passes SIGHUP, SIGUSR1 and SIGUSR2 to its child",
        "OCI runtime specification, kill: `docker kill --signal` reaches only PID 1",
    ),
    row(
        "realtime-signals",
        Should,
        Outside(signals::realtime_signals),
        "passes real-time signals to its child",
        "OCI image specification, StopSignal: SIGRTMIN+3 is a stop signal; signal(7)",
    ),
    row(
        "second-term",
        Must,
        Outside(signals::second_term),
        "does not cut its child short at a second SIGTERM",
        "Kubernetes: a restarted kubelet sends the stop signal again within the grace period",
    ),
    row(
        "term-while-forking",
        Must,
        Outside(signals::term_while_forking),
        "ends in time although orphans appear all the time",
        "Kubernetes, Pod Lifecycle: after the grace period comes SIGKILL",
    ),
    row(
        "stopped-child",
        Must,
        Outside(signals::stopped_child),
        "does not take a stopped child for one that has ended",
        "waitpid(2), WUNTRACED; sigaction(2), SA_NOCLDSTOP",
    ),
    row(
        "exit-code",
        Must,
        Outside(codes::exit_code),
        "ends with the exit code of its child (0, 7, 255)",
        "Kubernetes, restartPolicy and Jobs judge the container by the code of PID 1",
    ),
    row(
        "signal-code",
        Must,
        Outside(codes::signal_code),
        "ends with 128+n if signal n ended its child (SIGABRT, SIGTERM)",
        "POSIX, Shell Command Language 2.8.2: greater than 128; 128+n by convention, as of Docker",
    ),
    row(
        "realtime-code",
        Must,
        Outside(codes::realtime_code),
        "ends with 128+n if real-time signal n ended its child",
        "signal(7): real-time signals end a process, too",
    ),
    row(
        "killed-child",
        Must,
        Outside(codes::killed_child),
        "ends with 137 if its child was killed by SIGKILL",
        "Kubernetes: 137 is the code of a container that was killed for its memory",
    ),
    row(
        "no-program",
        Should,
        Outside(codes::no_program),
        "ends with 127 if the program does not exist, and 126 if it cannot be executed",
        "POSIX, Shell Command Language 2.8.2; docker run",
    ),
    row(
        "survivor-term",
        Should,
        Outside(end::survivor_term),
        "sends SIGTERM, before SIGKILL, to a process in its own session that outlives its child",
        "pid_namespaces(7): the end of PID 1 is a SIGKILL for all others",
    ),
    row(
        "survivor-bounded",
        Must,
        Outside(end::survivor_bounded),
        "ends within 10 s of its child, although a process that outlives the child ignores SIGTERM",
        "docker stop kills after 10 s; a container whose child has crashed must be restarted",
    ),
    row(
        "stdin",
        Should,
        Outside(streams::stdin),
        "passes its stdin to its child",
        "OCI runtime specification: the container's process has the streams; `docker run -i`",
    ),
    row(
        "output",
        Must,
        Outside(streams::output),
        "carries stdout and stderr of its child to its own stdout and stderr",
        "Kubernetes, Logging Architecture: the runtime keeps what is written to stdout and stderr",
    ),
    row(
        "last-output",
        Must,
        Outside(streams::last_output),
        "loses nothing of what its child writes right before its end",
        "Kubernetes, Logging Architecture: the last lines say why a container crashed",
    ),
    row(
        "closed-descriptors",
        Must,
        Outside(streams::closed_descriptors),
        "starts its child, and gives it none of its own descriptors, if 0, 1 and 2 are closed",
        "open(2): the lowest free descriptor is used, so a signalfd or a socket may become stdin",
    ),
    row(
        "no-leaked-descriptor",
        Must,
        Below(below::no_leaked_descriptor),
        "leaves its child no descriptor but 0, 1 and 2",
        "execve(2): descriptors without FD_CLOEXEC stay open",
    ),
    row(
        "signal-mask",
        Must,
        Below(below::signal_mask),
        "blocks no signal for its child",
        "execve(2), sigprocmask(2): the mask is inherited, so SIGTERM would not arrive",
    ),
    row(
        "signal-dispositions",
        Must,
        Below(below::signal_dispositions),
        "ignores no signal for its child",
        "execve(2): ignored signals stay ignored; Python and Go ignore SIGPIPE",
    ),
    row(
        "environment",
        Must,
        Outside(streams::environment),
        "passes the environment and the working directory on",
        "OCI runtime specification: process.env, process.cwd",
    ),
    row(
        "terminal-foreground",
        Should,
        Outside(terminal::foreground),
        "makes its child's group the foreground group of the terminal",
        "POSIX, Base Definitions 11.1.4: another group that reads from the terminal is stopped by SIGTTIN",
    ),
    row(
        "terminal-keys",
        Should,
        Outside(terminal::keys),
        "lets Ctrl-C, Ctrl-Z and Ctrl-\\ reach its child as SIGINT, SIGTSTP and SIGQUIT",
        "POSIX, Base Definitions 11.1.9; `docker run -it`",
    ),
    row(
        "terminal-size",
        Should,
        Outside(terminal::size),
        "lets a change of the terminal's size reach its child as SIGWINCH",
        "ioctl_tty(2), TIOCSWINSZ: the foreground group gets SIGWINCH",
    ),
    row(
        "any-uid",
        Must,
        Outside(places::any_uid),
        "works as a user without a name",
        "OpenShift gives each project a uid of its own; OCI runtime specification, process.user",
    ),
    row(
        "read-only-root",
        Must,
        Outside(places::read_only_root),
        "works on a read-only root, with /tmp and /run as podman makes them",
        "Kubernetes, securityContext.readOnlyRootFilesystem",
    ),
    row(
        "no-proc",
        Should,
        Outside(places::no_proc),
        "works without /proc",
        "OCI runtime specification: mounts are up to the config; chroot(2)",
    ),
    row(
        "pids-limit",
        Must,
        Outside(places::pids_limit),
        "stops its child although no process can be started any more",
        "Kubernetes, podPidsLimit; a fork bomb must be stoppable",
    ),
    row(
        "idle",
        Should,
        Outside(places::idle),
        "never wakes up while nothing happens",
        "a node has hundreds of containers; each wake-up keeps a processor from sleeping",
    ),
    row(
        "restart",
        Supervisor,
        Outside(supervisor::restart),
        "starts a child that has failed again",
        "what a supervisor is for; Kubernetes restarts only whole containers",
    ),
    row(
        "stop-bound",
        Supervisor,
        Outside(supervisor::stop_bound),
        "ends within 10 s of SIGTERM although its child ignores SIGTERM",
        "docker stop: SIGKILL after 10 s reaches every process at once",
    ),
    row(
        "order",
        Supervisor,
        Outside(supervisor::order),
        "stops a second child before the first one, on which it depends",
        "the command has both children, with `--` between them",
    ),
];

/// The row with this name, and its number.
pub fn find(name: &str) -> Option<(usize, &'static Row)> {
    ROWS.iter().enumerate().find(|(_, row)| row.name == name).map(|(place, row)| (place + 1, row))
}

/// A puppet as the child of the init, in a room that has nothing special.
fn ordinary(init: &Init) -> Outcome<(Room, Puppet)> {
    furnished(init, Setup::default())
}

/// A puppet as the child of the init.
fn furnished(init: &Init, setup: Setup) -> Outcome<(Room, Puppet)> {
    let mut room = Room::open(init, setup, "puppet")?;
    let puppet = room.puppet()?;
    Ok((room, puppet))
}

/// The init reaps an orphan, passes SIGTERM, and ends after its child.
fn works(room: &mut Room, puppet: &mut Puppet) -> Outcome {
    puppet.ask("orphan puppet");
    let mut orphan = room.puppet()?;
    orphan.ask("exit 0");
    room.must_reap(orphan.pid, "an orphan")?;
    stops(room, puppet)
}

/// The init passes SIGTERM, and ends after its child.
fn stops(room: &mut Room, puppet: &mut Puppet) -> Outcome {
    room.signal(libc::SIGTERM);
    puppet.must_get(libc::SIGTERM, "the child")?;
    puppet.ask("exit 0");
    room.must_end(SOON, "the end of its child").map(drop)
}
