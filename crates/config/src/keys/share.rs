//! Puts the share of the deadline into the values of the processes that use it. The plan of the
//! whole config gives the shares, so these values have marks until then.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use crate::keys::command::{Command, ElementKeys};
use crate::keys::key::{At, Form};
use crate::keys::reader::Reader;
use crate::keys::waiting::{Unread, Waiting};
use crate::keys::{DeadlineShare, DrainMethod, Liveness, Probe, Process};
use crate::language::diagnostics::rule::Rule;
use crate::language::environment::Later;
use crate::language::expand;
use crate::language::span::Span;
use crate::language::text::Text;
use crate::language::yaml::node::Node;
use crate::types::human;

impl Reader<'_> {
    /// Reads a value of the process being read. The value can use the times of [`DeadlineShare`],
    /// such as `${stop_seconds}`.
    pub(crate) fn with_share<T>(&mut self, at: Span, read: impl FnOnce(&mut Self) -> T) -> T {
        let later = match self.process.is_empty() {
            true => Later::Unmarked,
            false => Later::Marked { share: self.share },
        };
        let first = self.waiting.unread.len();
        let before = mem::replace(&mut self.variables.later, later);
        let out = read(self);
        self.variables.later = before;
        for unread in self.waiting.unread[first..].iter_mut().flatten() {
            unread.command = at;
        }
        if self.variables.uses_stop_seconds.take() {
            self.waiting.stop_seconds.push((self.process.clone(), at));
        }
        out
    }

    /// Hides the values of variables in this text, whose form in the file is `raw`, from messages.
    pub(crate) fn hide_in(&mut self, text: &Text, raw: &str) {
        self.problems.hide_in(text, raw);
        if text.has_share() {
            self.waiting.hidden.push((self.process.clone(), text.clone(), raw.to_owned()));
        }
    }

    /// Whether a share that is not known yet decides which parts an argument has.
    pub(crate) fn share_decides(&self, argument: &Node) -> bool {
        let parts = argument.find("join").map(Node::items).unwrap_or_default();
        let is_unknown = matches!(self.variables.later, Later::Marked { share: None });
        let uses = |key| parts.iter().filter_map(move |part| part.find(key));
        is_unknown && uses("only_if").chain(uses("file")).any(|node| self.uses_share(node))
    }

    fn uses_share(&self, node: &Node) -> bool {
        let is_share = |name: &String| {
            DeadlineShare::NAMES.contains(&name.as_str())
                && self.variables.get_non_empty(name).is_none()
        };
        node.scalar().is_some_and(|text| expand::names(text).iter().any(is_share))
            || node.inner().any(|inner| self.uses_share(inner))
    }

    /// Leaves an argument to [`Self::read_now`].
    pub(crate) fn read_later(&mut self, at: &At<'_>, node: &Node) -> usize {
        self.variables.uses_share.set(true);
        self.waiting.unread.push(Some(Unread {
            process: self.process.clone(),
            number: self.variables.number().map(str::to_owned),
            command: node.span,
            keys: at.to_string(),
            node: Node::new(node.span, node.kind.clone()),
            is_for_shell: self.is_for_shell,
        }));
        self.waiting.unread.len() - 1
    }

    /// The place of the command that has this argument, and the command's key.
    pub(crate) fn command_of(&self, argument: usize) -> Option<(Span, String)> {
        let unread = self.waiting.unread.get(argument)?.as_ref()?;
        Some((unread.command, unread.keys.rsplit('.').next().unwrap_or_default().to_owned()))
    }

    /// Reads an argument that [`Self::read_later`] has left. `None` after an error, and
    /// `Some(None)` if no part's condition holds.
    pub(crate) fn read_now(&mut self, place: usize, share: DeadlineShare) -> Option<Option<Text>> {
        let unread = self.waiting.unread.get_mut(place)?.take()?;
        self.process = unread.process;
        self.variables.set_number(unread.number);
        (self.share, self.is_for_shell) = (Some(share), unread.is_for_shell);
        let at = At::ROOT.inner(&unread.keys);
        let read = |reader: &mut Self| ElementKeys::read(reader, &at, &unread.node);
        let text = self.with_share(unread.command, read);
        (self.share, self.is_for_shell) = (None, false);
        self.variables.set_number(None);
        text
    }
}

/// Puts the shares into the values of all processes. A process without a share gets 0.
pub(crate) fn put(
    reader: &mut Reader<'_>,
    processes: &mut [Arc<Process>],
    shares: &HashMap<String, DeadlineShare>,
) {
    for process in processes {
        let share = shares.get(&process.name).copied().unwrap_or_default();
        let process = Arc::make_mut(process);
        process.share = share;
        commands(process).for_each(|command| command.put_share(reader, share));
        process.environment.iter_mut().for_each(|variable| variable.put_share(share));
    }
    // No process has these arguments, because of an error or `scale: 0`.
    for place in 0..reader.waiting.unread.len() {
        reader.read_now(place, DeadlineShare::default());
    }
    let Waiting { stop_seconds, hidden, .. } = mem::take(&mut reader.waiting);
    for (process, mut text, raw) in hidden {
        text.put_share(shares.get(&process).copied().unwrap_or_default());
        reader.problems.hide_in(&text, &raw);
    }
    for (process, at) in stop_seconds {
        let share = shares.get(&process).filter(|share| share.stop.as_secs() == 0);
        if let Some(share) = share {
            let stop = human(share.stop);
            let message = format!("`${{stop_seconds}}` is 0 for `{process}`: its stop gets {stop}");
            let help = "raise `shutdown.grace_period`, or use `${stop_ms}`";
            reader.problems.warning(Rule::ZeroShare, at, message).help(help);
        }
    }
}

/// All commands of a process.
fn commands(process: &mut Process) -> impl Iterator<Item = &mut Command> {
    let Process { command, hooks, readiness, liveness, drain, .. } = process;
    let hooks = [&mut hooks.pre_start, &mut hooks.pre_stop, &mut hooks.post_stop];
    let hooks = hooks.into_iter().flatten().map(|hook| &mut hook.command);
    let ready = readiness.as_mut().map(|readiness| &mut readiness.probe);
    let alive = match liveness {
        Some(Liveness::Probe { probe, .. }) => Some(probe),
        Some(Liveness::Notify(_)) | None => None,
    };
    let probes = ready.into_iter().chain(alive).filter_map(|probe| match probe {
        Probe::Exec(command) => Some(command),
        _ => None,
    });
    let drain = drain.as_mut().and_then(|drain| match &mut drain.method {
        DrainMethod::Exec(exec) => Some(&mut exec.command),
        _ => None,
    });
    [command].into_iter().chain(hooks).chain(probes).chain(drain)
}
