//! Finds the commands of drainit in the probes and hooks of a container.

use crate::kubernetes::binary::{SUBCOMMANDS, commands};
use crate::kubernetes::manifest::{Container, Word, base, words};
use crate::language::diagnostics::problems::Problems;

/// Where a container has commands, beside `command` and `args`.
pub(super) const HOOKS: [&[&str]; 5] = [
    &["livenessProbe", "exec", "command"],
    &["readinessProbe", "exec", "command"],
    &["startupProbe", "exec", "command"],
    &["lifecycle", "postStart", "exec", "command"],
    &["lifecycle", "preStop", "exec", "command"],
];

/// A command of drainit in a probe or a hook.
pub(super) struct OwnCommand {
    /// The program `drainit`.
    pub(super) program: Word,
    /// The subcommand and its options. In a script, redirections and the like may follow.
    pub(super) words: Vec<Word>,
}

impl OwnCommand {
    /// The subcommand, if there is one.
    pub(super) fn name(&self) -> &str {
        self.words.first().map(|word| word.text.as_str()).unwrap_or_default()
    }

    /// Whether the command has an option of this name, also as `--name=VALUE`.
    pub(super) fn has(&self, option: &str) -> bool {
        self.words.iter().any(|word| word.text.split('=').next() == Some(option))
    }
}

/// The commands of drainit in the probes and hooks of a container.
pub(super) fn own_commands(container: &Container) -> Vec<OwnCommand> {
    let all = HOOKS.iter().flat_map(|hook| commands(words(&container.node, hook)));
    let own = all.filter_map(|words| {
        let after_exec = usize::from(words.first().is_some_and(|word| word.text == "exec"));
        // Behind other programs, such as `env`, a subcommand shows that drainit is started.
        let is_started = |at: usize| {
            let next = words.get(at + 1);
            at == after_exec || next.is_some_and(|next| SUBCOMMANDS.contains(&&*next.text))
        };
        let mut all = words.iter().enumerate();
        let (at, program) =
            all.find(|(at, word)| base(&word.text) == "drainit" && is_started(*at))?;
        Some(OwnCommand { program: program.clone(), words: words[at + 1..].to_vec() })
    });
    own.collect()
}

/// Reports the first command that asks a `drainit exec` without a drain, which has no control
/// socket. Returns whether there is one.
pub(super) fn unanswered(problems: &mut Problems, container: &Container) -> bool {
    for command in own_commands(container) {
        let help = match command.name() {
            "health" if command.has("--url") => continue,
            "health" => {
                "name Envoy's admin by `--drain-envoy` or `DRAINIT_DRAIN_ENVOY`, or let the probe ask the program itself"
            }
            "drain" => {
                "name Envoy's admin by `--drain-envoy` or `DRAINIT_DRAIN_ENVOY`, or remove the hook"
            }
            _ => continue,
        };
        let message = format!(
            "`drainit {}` gets no answer: a `drainit exec` without a drain has no control socket",
            command.name()
        );
        problems.error(command.program.span, message).help(help);
        return true;
    }
    false
}
