//! `ulimits:`: the resource limits of a process, in Compose's form.

use drainit_os::spawn::limits::{Limit, Ulimit};
use nix::sys::resource::Resource;

use crate::keys::forms::leaf;
use crate::keys::key::{At, Either, Form, Key, Keys, Merge, Shape, Table};
use crate::keys::reader::{Fields, Reader};
use crate::language::diagnostics::rule::Rule;
use crate::language::invalid::Invalid;
use crate::language::yaml::node::Node;

/// Declares each resource with its key in a config and the meaning of the key.
macro_rules! resources {
    ($(#[doc = $meaning:literal] $name:ident $resource:ident;)*) => {
        /// The resources that Docker and Compose can limit, by their names in a config.
        pub const RESOURCES: &[(&str, Resource)] =
            &[$((stringify!($name), Resource::$resource)),*];

        const KEYS: &Keys = &Keys {
            name: "Ulimits",
            own: &[$(Key::new(
                stringify!($name), Both::SHAPE, $meaning, None, Merge::ByKind, false
            )),*],
            flat: &[],
            short: None,
        };
    };
}

resources! {
    /// The size of a core file, in bytes.
    core RLIMIT_CORE;
    /// The processor time, in seconds.
    cpu RLIMIT_CPU;
    /// The size of the process's data, in bytes.
    data RLIMIT_DATA;
    /// The size of a file that the process writes, in bytes.
    fsize RLIMIT_FSIZE;
    /// The number of locks. Linux ignores this limit.
    locks RLIMIT_LOCKS;
    /// Locked memory, in bytes.
    memlock RLIMIT_MEMLOCK;
    /// POSIX message queues, in bytes.
    msgqueue RLIMIT_MSGQUEUE;
    /// The lowest nice value that the process may set, as 20 minus that value.
    nice RLIMIT_NICE;
    /// The number of open files.
    nofile RLIMIT_NOFILE;
    /// The number of processes and threads of the user.
    nproc RLIMIT_NPROC;
    /// Resident memory. Linux ignores this limit.
    rss RLIMIT_RSS;
    /// The ceiling of the process's real-time priority.
    rtprio RLIMIT_RTPRIO;
    /// Processor time between two blocking calls of a real-time process, in microseconds.
    rttime RLIMIT_RTTIME;
    /// The number of queued signals of the user.
    sigpending RLIMIT_SIGPENDING;
    /// The size of the process's stack, in bytes.
    stack RLIMIT_STACK;
}

/// The value of `ulimits:`: a mapping of resources to their limits.
pub(crate) struct Ulimits;

impl Form for Ulimits {
    type Out = Vec<Ulimit>;
    const SHAPE: Shape = Shape::Table(KEYS);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Vec<Ulimit>> {
        let fields = reader.table(node, at, KEYS)?;
        let read = RESOURCES.iter().filter_map(|(name, resource)| {
            let Pair { soft, hard } = reader.key::<Both>(&fields, name)?;
            Some(Ulimit { resource: *resource, name, soft, hard })
        });
        Some(read.collect())
    }
}

/// The limits of one resource: one value for the soft and the hard limit, or a mapping with both.
type Both = Either<Limit, LimitKeys>;

struct Pair {
    soft: Limit,
    hard: Limit,
}

impl From<Limit> for Pair {
    fn from(both: Limit) -> Self {
        Self { soft: both, hard: both }
    }
}

#[derive(Table)]
#[table(settle = Pair)]
struct LimitKeys {
    /// The limit that the kernel enforces.
    #[key(required = "write both, such as `{soft: 1024, hard: max}`")]
    soft: Limit,
    /// The highest soft limit that the process may set.
    #[key(required = "write both, such as `{soft: 1024, hard: max}`")]
    hard: Limit,
}

impl LimitKeys {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Pair> {
        let is_above = match (self.soft, self.hard) {
            (Limit::Number(soft), Limit::Number(hard)) => soft > hard,
            (Limit::Unlimited, Limit::Number(_)) => true,
            _ => false,
        };
        if is_above {
            let message = format!("the soft limit of `{}` is above the hard limit", fields.at);
            let problem = reader.problems.error(Rule::InvalidValue, fields.key("soft"), message);
            problem.help("make `soft` smaller, or `hard` larger");
        }
        Some(Pair { soft: self.soft, hard: self.hard })
    }
}

leaf! {
    Limit => Limit: Shape::Number("number, `max` or `unlimited`", "^(max|unlimited|-1|[0-9]+)$"), limit;
}

fn limit(text: &str) -> Result<Limit, Invalid> {
    match text.trim() {
        "max" => Ok(Limit::Max),
        "unlimited" | "-1" => Ok(Limit::Unlimited),
        text => match text.parse() {
            // This number is the kernel's RLIM_INFINITY.
            Ok(u64::MAX) => Ok(Limit::Unlimited),
            Ok(number) => Ok(Limit::Number(number)),
            Err(_) => Err(Invalid::new(
                "not a limit",
                "write a number such as `65535`, `unlimited`, or `max` for the hard limit that drainit has",
            )),
        },
    }
}
