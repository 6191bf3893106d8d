//! What only the file system can tell of a config. `check` has it looked at; a start finds it out by itself.

use std::path::PathBuf;

use crate::config;
use crate::config::Config;
use crate::load::Severity;
use crate::load::check::Places;
use crate::load::diagnostics::collector::Collector;
use crate::load::environment::Environment;
use crate::load::yaml::node::Span;

/// ImageLookup for what a config names, in this environment, but not below these paths.
pub type Look<'a> = &'a dyn Fn(&Config, &Environment, &[PathBuf]) -> Vec<Finding>;

/// Who looks, and what cannot be seen.
#[derive(Clone, Copy)]
pub struct ImageLookup<'a> {
    /// ImageLookup for what a config names.
    pub look: Look<'a>,
    /// Where volumes will be mounted, so that what is there now means nothing.
    pub mounts: &'a [PathBuf],
}

/// Something that is not as the config needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What of the config asks for it.
    pub at: At,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// A part of a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `control.socket`
    ControlSocket,
    /// `hooks` of the container.
    Hooks,
    /// A part of a process, by its place in the config.
    Process(usize, Part),
}

/// A part of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `command`
    Command,
    /// `working_dir`
    WorkingDir,
    /// `user`
    User,
    /// `readiness`
    Readiness,
    /// `hooks`
    Hooks,
    /// `drain`
    Drain,
}

/// Where the parts stand; nothing for what is not written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Parts {
    pub(crate) command: Option<Span>,
    pub(crate) working_dir: Option<Span>,
    pub(crate) user: Option<Span>,
    pub(crate) readiness: Option<Span>,
    pub(crate) hooks: Option<Span>,
    pub(crate) drain: Option<Span>,
}

/// ImageLookup, and reports what is found.
pub(crate) fn look(
    report: &mut Collector,
    config: &config::Config,
    environment: &Environment,
    places: &Places,
    looks: ImageLookup<'_>,
) {
    for finding in (looks.look)(config, environment, looks.mounts) {
        let span = match finding.at {
            At::ControlSocket => places.control_socket,
            At::Hooks => places.hooks,
            At::Process(index, part) => places.processes.get(index).map(|place| {
                let parts = &place.parts;
                let span = match part {
                    Part::Command => parts.command,
                    Part::WorkingDir => parts.working_dir,
                    Part::User => parts.user,
                    Part::Readiness => parts.readiness,
                    Part::Hooks => parts.hooks,
                    Part::Drain => parts.drain,
                };
                span.unwrap_or(place.name)
            }),
        };
        let span = span.unwrap_or(Span::whole(0));
        let problem = match finding.severity {
            Severity::Error => report.error(span, finding.message),
            Severity::Warning => report.warning(span, finding.message),
        };
        problem.help(finding.help);
    }
}
