//! Warns of a shell that stays as the parent of a service. The signals that are meant for the
//! service end the shell, which passes none of them on.

use crate::check::running;
use crate::keys::{Config, ProcessKind};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::Places;
use crate::language::script::{self, child_of_shell};

/// Warns of each service whose script ends with a program, but without `exec`.
pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    for (index, process, entry) in running(config, places) {
        if process.kind == ProcessKind::Oneshot || places.is_further_copy(index) {
            continue;
        }
        let script = script::of(&process.command);
        let child = script.and_then(|script| child_of_shell(&process.command[0], script));
        let Some(child) = child else { continue };
        let message = format!(
            "the shell of `{}` gets its signals, and ends without passing them on to `{}`",
            process.name, child[0]
        );
        let help = format!("write `exec {}`, so that it replaces the shell", child.join(" "));
        problems.warning(Rule::ShellKeepsSignals, entry.at("command"), message).help(help);
    }
}
