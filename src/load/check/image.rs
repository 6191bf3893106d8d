//! Reports what `check` found in the file system of the image; [`crate::image`] does the search.

use std::path::PathBuf;

use crate::config;
use crate::config::Config;
use crate::load::Severity;
use crate::load::diagnostics::problems::Problems;
use crate::load::environment::Environment;
use crate::load::read::places::Places;
use crate::load::span::Span;

/// Searches for what a config names, in this environment, but not below these paths.
pub(crate) type Find<'a> = &'a dyn Fn(&Config, &Environment, &[PathBuf]) -> Vec<Finding>;

#[derive(Clone, Copy)]
pub(crate) struct ImageLookup<'a> {
    pub(crate) find: Find<'a>,
    /// Mount points of volumes: their present content means nothing.
    pub(crate) mounts: &'a [PathBuf],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) at: At,
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// A part of a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    ControlSocket,
    /// `logging.events`.
    Events,
    /// `hooks` of the container.
    Hooks,
    /// A part of the process with this index.
    Process(usize, Part),
}

/// A part of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Command,
    WorkingDir,
    User,
    Readiness,
    Liveness,
    Hooks,
    Drain,
    Environment,
    EnvFile,
    Render,
    Listen,
    Log,
}

pub(crate) fn check(
    problems: &mut Problems,
    config: &config::Config,
    environment: &Environment,
    places: &Places,
    lookup: ImageLookup<'_>,
) {
    for finding in (lookup.find)(config, environment, lookup.mounts) {
        let span = match finding.at {
            At::ControlSocket => places.control_socket,
            At::Events => places.events,
            At::Hooks => places.hooks,
            At::Process(index, part) => places.processes.get(index).map(|place| {
                let parts = &place.parts;
                let span = match part {
                    Part::Command => parts.command,
                    Part::WorkingDir => parts.working_dir,
                    Part::User => parts.user,
                    Part::Readiness => parts.readiness,
                    Part::Liveness => parts.liveness,
                    Part::Hooks => parts.hooks,
                    Part::Drain => parts.drain,
                    Part::Environment => parts.environment,
                    Part::EnvFile => parts.env_file,
                    Part::Render => parts.render,
                    Part::Listen => place.listen.first().copied(),
                    Part::Log => parts.log,
                };
                span.unwrap_or(place.name)
            }),
        };
        let span = span.unwrap_or(Span::whole(0));
        let problem = match finding.severity {
            Severity::Error => problems.error(span, finding.message),
            Severity::Warning => problems.warning(span, finding.message),
        };
        problem.help(finding.help);
    }
}
