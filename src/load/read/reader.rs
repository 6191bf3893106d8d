//! Reads mappings, lists and single values, and reports what is wrong with each.

use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use crate::load::accounts::Accounts;
use crate::load::diagnostics::collector::Collector;
use crate::load::diagnostics::diagnostic::quote;
use crate::load::environment::{Origin, Variables};
use crate::load::expand::{Expanded, expand, left_to_a_shell};
use crate::load::values;
use crate::load::values::Bad;
use crate::load::yaml::node::{Key, Kind, Node, Span};
use crate::types::Signal;
use crate::types::suggest::{list, nearest};

/// How much text all values together can become once variables are put in.
const MOST_TEXT: usize = 32 * 1024 * 1024;

/// What every part of the config is read with.
pub(crate) struct Reader<'a> {
    /// Where problems go.
    pub(crate) report: &'a mut Collector,
    /// What `${…}` sees.
    pub(crate) variables: Variables<'a>,
    /// Who can be named by `user:`.
    pub(crate) accounts: Accounts,
    /// Whether every duration so far could be read, so that sums of them mean something.
    pub(crate) durations_known: bool,
    text_left: usize,
    /// Each `$NAME` of the values so far, and where it stands.
    dollars: Vec<(String, Span)>,
}

/// A mapping whose keys are known to be known.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    /// Where it begins.
    pub(crate) span: Span,
    /// Whether a key was refused, so that one that is missed may only be misspelled.
    pub(crate) has_unknown: bool,
    entries: &'n [(Key, Rc<Node>)],
}

impl<'n> Fields<'n> {
    /// No keys at all, for a mapping that is not there.
    pub(crate) fn none(span: Span) -> Self {
        Self { span, has_unknown: false, entries: &[] }
    }

    /// The keys of a mapping, known or not; of anything else none.
    pub(crate) fn unchecked(node: &'n Node) -> Self {
        let entries: &[_] = match &node.kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        };
        Self { span: node.span, has_unknown: false, entries }
    }

    /// The entries in file order.
    pub(crate) fn entries(&self) -> &'n [(Key, Rc<Node>)] {
        self.entries
    }

    /// The value of a key that is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Rc<Node>> {
        let (_, node) = self.entries.iter().find(|(key, _)| &*key.text == name)?;
        (!matches!(node.kind, Kind::Null)).then_some(node)
    }

    /// Where a key stands.
    pub(crate) fn key(&self, name: &str) -> Option<Span> {
        self.entries.iter().find(|(key, _)| &*key.text == name).map(|(key, _)| key.span)
    }
}

/// A value with its variables put in.
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) span: Span,
    /// As it was written, where that is something else.
    raw: Option<String>,
    used: Vec<(String, Origin)>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        report: &'a mut Collector,
        variables: Variables<'a>,
        accounts: Accounts,
    ) -> Self {
        Self {
            report,
            variables,
            accounts,
            durations_known: true,
            text_left: MOST_TEXT,
            dollars: Vec::new(),
        }
    }

    /// The keys of a mapping. `what` names it: `processes.router`; it is empty for the whole file. It is put into words only
    /// where there is something to say.
    pub(crate) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &dyn Display,
        known: &[&str],
    ) -> Option<Fields<'n>> {
        let entries = self.mapping(node, what, |what| {
            let keys = list(known.iter().copied());
            if let Some(whole) = as_mapping(node, known) {
                return format!("did you mean `{whole}`? Known here: {keys}");
            }
            match what {
                "" => format!("write `KEY: VALUE` lines; known here: {keys}"),
                _ => format!("write `KEY: VALUE` lines, indented under it; known here: {keys}"),
            }
        })?;
        let mut has_unknown = false;
        for (key, _) in entries {
            let name = &*key.text;
            if known.contains(&name) || name.starts_with("x-") {
                continue;
            }
            has_unknown = true;
            if self.report.is_full() {
                self.report.error(key.span, "unknown key");
                continue;
            }
            let place = match what.to_string() {
                what if what.is_empty() => "at the top level".to_owned(),
                what => format!("in `{what}`"),
            };
            let message = format!("unknown key {} {place}", quote(name));
            let help = match meant(name, known) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("known here: {}", list(known.iter().copied())),
            };
            self.report.error(key.span, message).help(help);
        }
        Some(Fields { span: node.span, has_unknown, entries })
    }

    /// A mapping whose keys are names.
    pub(crate) fn entries<'n>(
        &mut self,
        node: &'n Node,
        what: &dyn Display,
    ) -> Option<&'n [(Key, Rc<Node>)]> {
        self.mapping(node, what, |_| "write `NAME: …` lines, indented under it".to_owned())
    }

    /// A mapping; `help` says what would be one, where it is none.
    fn mapping<'n>(
        &mut self,
        node: &'n Node,
        what: &dyn Display,
        help: impl FnOnce(&str) -> String,
    ) -> Option<&'n [(Key, Rc<Node>)]> {
        if let Kind::Mapping(entries) = &node.kind {
            return Some(entries);
        }
        let what = what.to_string();
        let name = if what.is_empty() { "a config".to_owned() } else { format!("`{what}`") };
        let message = format!("{name} must be a mapping, and this is {}", node.kind_name());
        self.report.error(node.span, message).help(help(&what));
        None
    }

    /// A list.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Rc<Node>]> {
        match &node.kind {
            Kind::Sequence(items) => Some(items),
            _ => {
                let message = format!("`{what}` must be a list, and this is {}", node.kind_name());
                self.report.error(node.span, message).help("put it into brackets: `[…]`");
                None
            }
        }
    }

    /// A single value, with its variables put in.
    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<Text> {
        let Kind::Scalar { text: raw, .. } = &node.kind else {
            let message =
                format!("`{what}` must be a single value, and this is {}", node.kind_name());
            let problem = self.report.error(node.span, message);
            if matches!(node.kind, Kind::Null) {
                problem.help("put it into quotes if text is meant, else remove it");
            }
            return None;
        };
        let expanded = self.put_in(raw, |reader, at| reader.inside(node.span, raw, at))?;
        if expanded.text.contains('\0') {
            let problem = self.report.error(node.span, format!("`{what}` has a NUL character"));
            problem.help("no text that the kernel takes can have one: remove it");
            return None;
        }
        self.charge(node.span, expanded.text.len())?;
        if raw.contains('$') {
            for (name, at) in left_to_a_shell(raw) {
                let span = self.inside(node.span, raw, at);
                self.dollars.push((name.to_owned(), span));
            }
        }
        let is_changed = raw.contains('$') && expanded.text != *raw;
        let raw = is_changed.then(|| raw.clone());
        Some(Text { text: expanded.text, span: node.span, raw, used: expanded.used })
    }

    /// Puts variables into a text, and says what is wrong with it; `place` says where a byte of it stands.
    pub(crate) fn put_in(
        &mut self,
        raw: &str,
        place: impl Fn(&Self, usize) -> Span,
    ) -> Option<Expanded> {
        let expanded = match expand(raw, &self.variables) {
            Ok(expanded) => expanded,
            Err(malformed) => {
                let span = place(self, malformed.at);
                self.report.error(span, malformed.message).help(malformed.help);
                return None;
            }
        };
        for (name, at) in &expanded.unset {
            let span = place(self, *at);
            let problem = self
                .report
                .warning(span, format!("`{name}` is not set: nothing is put in its place"));
            problem.help(format!(
                "set it, or write `${{{name}:-DEFAULT}}`; `${{{name}:-}}` if nothing is meant, \
                 `${{{name}:?WHY}}` if it must be set"
            ));
        }
        Some(expanded)
    }

    /// Counts text that is kept, and refuses it when all together has become absurdly much.
    pub(crate) fn charge(&mut self, span: Span, bytes: usize) -> Option<()> {
        match self.text_left.checked_sub(bytes) {
            Some(left) => {
                self.text_left = left;
                Some(())
            }
            None => {
                let message = format!(
                    "more than {} MiB of text once variables are put in",
                    MOST_TEXT / 1024 / 1024
                );
                self.report
                    .error(span, message)
                    .help("is a variable far longer than it should be?");
                None
            }
        }
    }

    /// How many `$NAME` there were so far, for those who ask about the next.
    pub(crate) fn dollars(&self) -> usize {
        self.dollars.len()
    }

    /// Says of each `$NAME` since `first` that nothing is put in its place, but of those that look like something else.
    pub(crate) fn no_shell(&mut self, first: usize, what: &str) {
        for (name, span) in self.dollars.split_off(first.min(self.dollars.len())) {
            let is_upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            let is_constant = name.len() > 1 && name.chars().all(is_upper);
            if !is_constant && !self.variables.is_mentioned(&name) {
                continue;
            }
            let message = format!("`${name}` in `{what}` stays as it is: no shell reads it");
            self.report.doubt(span, message).help(format!(
                "write `${{{name}}}` for its value, or `$${name}` if these characters are meant"
            ));
        }
    }

    /// Says of a `~` that no home directory is put in its place.
    pub(crate) fn no_tilde(&mut self, text: &str, what: &str, span: Span) {
        if text.starts_with("~/") {
            let message = format!("`~` in `{what}` stays as it is: no shell reads it");
            self.report.doubt(span, message).help("write the whole path");
        }
    }

    /// The same of a value for a process, which may well have a `$` in it: only where the name is that of a variable, or
    /// all of the value.
    pub(crate) fn known_dollars(&mut self, first: usize, value: Option<&str>) {
        for (name, span) in self.dollars.split_off(first.min(self.dollars.len())) {
            let is_all = value.and_then(|value| value.strip_prefix('$')) == Some(&name);
            if is_all || self.variables.is_mentioned(&name) {
                let message =
                    format!("`${name}` in `environment` stays as it is: no shell reads it");
                self.report.warning(span, message).help(format!(
                    "write `${{{name}}}` for its value, or `$${name}` if these characters are meant"
                ));
            }
        }
    }

    /// A single value of some type.
    pub(crate) fn typed<T>(
        &mut self,
        node: &Node,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, Bad>,
    ) -> Option<T> {
        let first = self.dollars();
        let text = self.text(node, what)?;
        // A pattern has a `$` for the end of a line.
        if what != "log" {
            self.no_shell(first, what);
        }
        self.no_tilde(&text.text, what, text.span);
        parse(&text.text).map_err(|bad| self.refuse(&text, what, bad)).ok()
    }

    /// The value of a key, if it is set and right.
    pub(crate) fn field<T>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Bad>,
    ) -> Option<T> {
        self.typed(fields.get(name)?, name, parse)
    }

    /// The duration of a key, if it is set and right.
    pub(crate) fn duration(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        parse: fn(&str) -> Result<Duration, Bad>,
    ) -> Option<Duration> {
        let node = fields.get(name)?;
        let duration = self.typed(node, name, parse);
        self.durations_known &= duration.is_some();
        duration
    }

    /// Says that a value is refused: what it is, what it was made from, and who set that.
    pub(crate) fn refuse(&mut self, text: &Text, what: &str, bad: Bad) {
        let value = if text.text.is_empty() { "empty".to_owned() } else { quote(&text.text) };
        let from =
            text.raw.as_ref().map(|raw| format!(", from {}", quote(raw))).unwrap_or_default();
        let mut help = bad.help;
        for (name, origin) in &text.used {
            help.push_str(&match origin {
                Origin::Container => format!("; {name} comes from the container's environment"),
                Origin::Env => format!("; {name} comes from `env:`"),
                Origin::File => format!("; {name} comes from the `env_file`"),
            });
        }
        self.report.error(text.span, format!("`{what}` is {value}{from}: {}", bad.why)).help(help);
    }

    /// A list of single values.
    pub(crate) fn list<T>(
        &mut self,
        node: &Node,
        what: &str,
        parse: impl Fn(&str) -> Result<T, Bad>,
    ) -> Vec<(T, Span)> {
        let items = self.items(node, what).unwrap_or_default();
        items.iter().filter_map(|item| Some((self.typed(item, what, &parse)?, item.span))).collect()
    }

    /// A list of signals that can be caught, each once.
    pub(crate) fn signals(&mut self, node: &Node, what: &str) -> Vec<(Signal, Span)> {
        let mut signals: Vec<(Signal, Span)> = Vec::new();
        for (signal, span) in self.list(node, what, values::catchable_signal) {
            if signals.iter().all(|(known, _)| *known != signal) {
                signals.push((signal, span));
            }
        }
        signals
    }

    /// The place of a byte of a value, where the value stands in its file as it is; else the place of the value.
    fn inside(&self, span: Span, raw: &str, at: usize) -> Span {
        let exact = || {
            let line = self.report.source(span.file())?.line(span.line())?;
            let start = line.char_indices().nth(span.column().checked_sub(1)?)?.0;
            let rest = line.get(start..)?;
            let rest = rest.strip_prefix(['"', '\'']).unwrap_or(rest);
            let quoted = line.len() - start - rest.len();
            let before = raw.get(..at)?;
            rest.starts_with(before).then(|| before.chars().count() + quoted)
        };
        match exact() {
            Some(skip) => {
                let len = span.len().saturating_sub(skip).max(1);
                Span::new(span.file(), span.line(), span.column() + skip, len)
            }
            None => span,
        }
    }
}

/// Words of Compose and of other init systems, and what they are called here.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("cmd", "command"),
    ("entrypoint", "command"),
    ("env", "environment"),
    ("healthcheck", "readiness"),
    ("health", "readiness"),
    ("ready", "readiness"),
    ("services", "processes"),
    ("programs", "processes"),
    ("cwd", "working_dir"),
    ("directory", "working_dir"),
    ("after", "depends_on"),
    ("requires", "depends_on"),
    ("stop_timeout", "stop_grace_period"),
    ("kill_timeout", "stop_grace_period"),
    ("uid", "user"),
];

/// A single value as the mapping that is probably meant: the value of the key that matters most.
fn as_mapping(node: &Node, known: &[&str]) -> Option<String> {
    let Kind::Scalar { text, .. } = &node.kind else { return None };
    let of_probe = match text {
        url if url.starts_with("http://") || url.starts_with("unix:") => "http",
        path if path.starts_with('/') => "unix",
        _ => "tcp",
    };
    let main = ["command", "condition", "admin", "prefix", of_probe];
    let key = main.iter().find(|key| known.contains(key))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ');
    let fits = text.len() <= 60 && !text.is_empty() && !text.contains(['"', '\\', '\n']);
    fits.then(|| match text.chars().all(plain) {
        true => format!("{{{key}: {text}}}"),
        false => format!("{{{key}: \"{text}\"}}"),
    })
}

fn meant<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let other = OTHER_WORDS.iter().find(|(word, _)| *word == name).map(|(_, ours)| *ours);
    let other = other.and_then(|ours| known.iter().find(|word| **word == ours).copied());
    other.or_else(|| nearest(name, known.iter().copied()))
}
