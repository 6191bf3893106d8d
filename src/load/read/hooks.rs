//! `hooks:` of the container or of a process.

use std::fmt::Display;

use crate::config::{Hook, Hooks};
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::command::COMMAND;
use crate::load::read::places::Wait;
use crate::load::read::reader::Reader;
use crate::load::span::Span;
use crate::load::values;
use crate::load::yaml::node::{Kind, Node};
use crate::plan::timeline::StepKind;

/// The hooks of the container.
pub(crate) static OF_CONTAINER: Keys = Keys::new(&[
    Key::new(
        "pre_start",
        HOOK,
        "Runs before any process is started. If it fails, nothing is started.",
    ),
    Key::new(
        "pre_stop",
        HOOK,
        "Runs at the beginning of the shutdown. The drains begin when it is over.",
    ),
    Key::new("post_stop", HOOK, "Runs last, when everything has ended."),
]);

/// The hooks of a process.
pub(crate) static OF_PROCESS: Keys = Keys::new(&[
    Key::new(
        "pre_start",
        HOOK,
        "Runs before the first start. If it fails, the container stops with code 1.",
    ),
    Key::new("pre_stop", HOOK, "Runs before the `stop_signal`, when the dependents have ended."),
    Key::new("post_stop", HOOK, "Runs when the process has ended for good."),
]);

const HOOK: Shape = Shape::Either(&[COMMAND, Shape::Named("hook", &OF_HOOK)]);

static OF_HOOK: Keys = Keys::new(&[
    Key::new("command", COMMAND, "The program and its arguments."),
    Key::new(
        "timeout",
        Shape::PositiveDuration,
        "The time after which it is killed. Unset: up to 10 s of the time that is left.",
    ),
]);

/// Reads `hooks:`. Explicit timeouts of hooks that run during the shutdown are added to `waits`.
pub(crate) fn hooks(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
    keys: &'static Keys,
    waits: &mut Vec<Wait>,
) -> Hooks {
    let Some(fields) = reader.fields(node, what, keys) else {
        return Hooks::default();
    };
    let mut hook = |name: &'static str, wait: Option<StepKind>| {
        let node = fields.get(name)?;
        let (hook, written) = hook(reader, node, &format!("{what}.{name}"), name)?;
        if let (Some(what), Some(duration), Some(span)) = (wait, hook.timeout, written) {
            waits.push(Wait { what, duration, span });
        }
        Some(hook)
    };
    Hooks {
        pre_start: hook("pre_start", None),
        pre_stop: hook("pre_stop", Some(StepKind::PreStop)),
        post_stop: hook("post_stop", Some(StepKind::PostStop)),
    }
}

/// Reads a command, or a mapping with one. Also returns the place of its timeout.
fn hook(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
    name: &str,
) -> Option<(Hook, Option<Span>)> {
    if !matches!(node.kind, Kind::Mapping(_)) {
        let command = reader.command(node, name)?;
        return Some((Hook { command, timeout: None }, None));
    }
    let fields = reader.fields(node, what, &OF_HOOK)?;
    let timeout = reader.duration(&fields, "timeout", values::positive_duration);
    let command = reader.required(&fields, what, "command", "add `command: [PROGRAM, …]`")?;
    let command = reader.command(command, "command")?;
    let written = fields.get("timeout").map(|node| node.span);
    Some((Hook { command, timeout }, written))
}
