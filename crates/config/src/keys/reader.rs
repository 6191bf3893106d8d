//! Reads mappings, lists and single values from the tree of a config, and reports their problems.

use std::fmt::Display;
use std::rc::Rc;

use crate::core::spec::DrainOff;
use crate::keys::ArgRoute;
use crate::keys::key::{self, At, Form, Keys, Merge};
use crate::keys::neighbours;
use crate::keys::waiting::Waiting;
use crate::language::deadline_share::DeadlineShare;
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::environment::{Origin, SCALE_INDEX, Variables};
use crate::language::expand::{Expanded, expand, shell_variables};
use crate::language::invalid::Invalid;
use crate::language::places::Places;
use crate::language::source::Source;
use crate::language::span::Span;
use crate::language::text::Text;
use crate::language::yaml::node::{Kind, Node, NodeKey};
use crate::types::suggest::{list, nearest};
use drainit_os::limits;

/// All values of a config together may have at most this many bytes of text, after variables are
/// expanded.
const MOST_TEXT: usize = 32 * 1024 * 1024;
/// Every file that the config names counts as at least this many bytes of [`MOST_TEXT`]. Without
/// this rule, a small config could make drainit read very many files.
const LEAST_FILE: usize = 4096;

pub(crate) struct Reader<'a> {
    pub(crate) problems: &'a mut Problems,
    pub(crate) variables: Variables<'a>,
    /// Whether every duration that was read so far is valid. Only then can the durations be added
    /// up.
    pub(crate) durations_known: bool,
    /// The name of the process that is being read.
    pub(crate) process: String,
    pub(crate) places: Places,
    /// The `args` of each entry with `scale: 0`, with the name of the entry.
    pub(crate) unused_args: Vec<(String, ArgRoute)>,
    /// The times that a shutdown leaves the process for its stop and its drain. `None` while the
    /// config is read, because these times depend on the whole config.
    pub(crate) share: Option<DeadlineShare>,
    pub(crate) waiting: Waiting,
    text_left: usize,
    /// The reason why the drain of the process that is being read is off; `None` if it has no drain,
    /// or if its drain is on.
    pub(crate) drain_off: Option<DrainOff>,
    /// Whether the program of the command being read expands `$NAME` itself, as a shell does.
    pub(crate) is_for_shell: bool,
}

/// A mapping whose keys were checked, so that its values can be read.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    pub(crate) at: At<'n>,
    pub(crate) span: Span,
    /// Whether the mapping has an unknown key. A missing key is then not reported, because the
    /// unknown key may be its misspelt name.
    pub(crate) has_unknown: bool,
    entries: &'n [(NodeKey, Rc<Node>)],
    /// Only for the short form, which is a single value or a list in place of the mapping: the key
    /// that the value or list sets, and the value or list itself.
    short: Option<(&'static str, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// The fields for a mapping that is missing in the config.
    pub(crate) fn empty(at: At<'n>, span: Span) -> Self {
        Self { at, span, has_unknown: false, entries: &[], short: None }
    }

    /// The mapping that is the whole config. Its keys are not checked.
    pub(crate) fn unchecked(node: &'n Node) -> Self {
        Self { entries: node.entries(), ..Self::empty(At::ROOT, node.span) }
    }

    /// The keys and values, in file order.
    pub(crate) fn entries(&self) -> &'n [(NodeKey, Rc<Node>)] {
        self.entries
    }

    /// The value of a key. Returns `None` if the key is missing or its value is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        if let Some((key, node)) = self.short {
            return (key == name).then_some(node);
        }
        let (_, node) = self.entries.iter().find(|(key, _)| &*key.text == name)?;
        (!node.is_absent()).then_some(node)
    }

    /// The place of a key, or of the mapping if the key is missing.
    pub(crate) fn key(&self, name: &str) -> Span {
        let found = self.entries.iter().find(|(key, _)| &*key.text == name);
        found.map_or(self.span, |(key, _)| key.span)
    }

    /// The place of the value of a key, or of the mapping if there is no value.
    pub(crate) fn value(&self, name: &str) -> Span {
        self.get(name).map_or(self.span, |node| node.span)
    }

    /// Where the value of a key of this mapping is. In the short form, this is the place of the
    /// mapping.
    pub(crate) fn inner<'a>(&'a self, name: &'a str) -> At<'a> {
        if self.short.is_some() { self.at } else { self.at.inner(name) }
    }
}

/// The text of a single value, in which variables are expanded.
pub(crate) struct ReadText {
    pub(crate) text: Text,
    pub(crate) span: Span,
    /// The text as the config has it, if a variable was expanded in it.
    raw: Option<String>,
    used: Vec<(String, Origin)>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(problems: &'a mut Problems, variables: Variables<'a>) -> Self {
        Self {
            problems,
            variables,
            durations_known: true,
            process: String::new(),
            places: Places::default(),
            unused_args: Vec::new(),
            share: None,
            waiting: Waiting::default(),
            text_left: MOST_TEXT,
            drain_off: None,
            is_for_shell: false,
        }
    }

    /// Checks that `node` is a mapping that has only `known` keys, or the short form of such a
    /// mapping.
    pub(crate) fn table<'n>(
        &mut self,
        node: &'n Node,
        at: &At<'n>,
        known: &'static Keys,
    ) -> Option<Fields<'n>> {
        if let (Some(key), false) = (known.short, matches!(node.kind, Kind::Mapping(_))) {
            return Some(Fields { short: Some((key, node)), ..Fields::empty(*at, node.span) });
        }
        let entries = self.mapping(node, at, |what| {
            let keys = list(known.names());
            let is_list = matches!(node.kind, Kind::Sequence(_));
            if is_list && known.has("prefix") && known.has("refuse") {
                return "write the arguments of the program into `command`; `args` says which arguments of the container \
                        it gets: `args: {prefix: \"--web.\"}`"
                    .to_owned();
            }
            if let Some(whole) = as_mapping(node, known) {
                return format!("did you mean `{whole}`? Known keys: {keys}");
            }
            match what {
                "" => format!("write `KEY: VALUE` lines; known keys: {keys}"),
                _ => format!("write `KEY: VALUE` lines, indented under it; known keys: {keys}"),
            }
        })?;
        let mut has_unknown = false;
        for (key, _) in entries {
            let name = &*key.text;
            if known.has(name) || name.starts_with("x-") {
                continue;
            }
            has_unknown = true;
            if self.problems.is_full() {
                self.problems.error(Rule::UnknownKey, key.span, "unknown key");
                continue;
            }
            let place = match at.to_string() {
                what if what.is_empty() => "at the top level".to_owned(),
                what => format!("in `{what}`"),
            };
            let message = format!("unknown key {} {place}", quote(name));
            let remedy = neighbours::remedy(name, known);
            let help = remedy.unwrap_or_else(|| match &outer(name, entries, known)[..] {
                [outer] => format!("write it inside `{outer}`: `{outer}: {{{name}: …}}`"),
                [] => match nearest(name, known.names()) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("known keys: {}", list(known.names())),
                },
                outer => format!("write it inside one of {}", list(outer.iter().copied())),
            });
            self.problems.error(Rule::UnknownKey, key.span, message).help(help);
        }
        Some(Fields { has_unknown, entries, ..Fields::empty(*at, node.span) })
    }

    /// Reads the value of a key. Returns `None` if the key is missing, or if the value is not valid
    /// or counts as absent.
    pub(crate) fn key<F: Form>(
        &mut self,
        fields: &Fields<'_>,
        name: &'static str,
    ) -> Option<F::Out> {
        F::read(self, &fields.inner(name), fields.get(name)?)
    }

    /// Reads the value of a key that must not be missing.
    pub(crate) fn required<F: Form>(
        &mut self,
        fields: &Fields<'_>,
        name: &'static str,
        help: &str,
    ) -> Option<F::Out> {
        // The missing key is not reported if an unknown key may be its misspelt name.
        if fields.get(name).is_none() && !fields.has_unknown {
            let message = format!("`{}` has no `{name}`", fields.at);
            self.problems.error(Rule::MissingKey, fields.span, message).help(help);
        }
        self.key::<F>(fields, name)
    }

    /// The entries of a mapping whose keys are names. An entry with a `!reset` is skipped with a
    /// warning: no earlier file has this name, so the name is probably misspelt.
    pub(crate) fn entries<'n>(
        &mut self,
        node: &'n Node,
        what: &At<'_>,
    ) -> Option<Vec<&'n (NodeKey, Rc<Node>)>> {
        let help = |_: &str| "write `NAME: …` lines, indented under it".to_owned();
        let entries = self.mapping(node, what, help)?.iter();
        let (resets, entries): (Vec<_>, Vec<_>) = entries.partition(|(_, node)| node.is_reset());
        for (key, _) in resets.iter().filter(|(key, _)| !key.text.starts_with("x-")) {
            if self.problems.is_full() {
                break; // the search for a similar name takes long
            }
            let others = entries.iter().map(|(key, _)| &*key.text);
            let help = match nearest(&key.text, others) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "correct the name, or remove the line".to_owned(),
            };
            let name = quote(&key.text);
            let message = format!("`!reset` has nothing to remove: no earlier file has {name}");
            self.problems.warning(Rule::ResetWithoutEffect, key.span, message).help(help);
        }
        Some(entries)
    }

    /// Checks that `node` is a mapping, and reports an error if it is not. `help` makes the help
    /// text from the name of `node`.
    fn mapping<'n>(
        &mut self,
        node: &'n Node,
        what: &dyn Display,
        help: impl FnOnce(&str) -> String,
    ) -> Option<&'n [(NodeKey, Rc<Node>)]> {
        if let Kind::Mapping(entries) = &node.kind {
            return Some(entries);
        }
        let what = what.to_string();
        let name = if what.is_empty() { "a config".to_owned() } else { format!("`{what}`") };
        let message = format!("{name} must be a mapping, not {}", node.kind_name());
        self.problems.error(Rule::WrongType, node.span, message).help(help(&what));
        None
    }

    /// In `check`, warns of a key without a value. Its author may expect the defaults of the key's
    /// mapping, but the key counts as absent.
    pub(crate) fn warn_of_empty(&mut self, entries: &[(NodeKey, Rc<Node>)], name: &str) {
        let is_empty = |(key, node): &&(NodeKey, Rc<Node>)| {
            *key.text == *name && matches!(node.kind, Kind::Null) && !node.is_reset()
        };
        if let (Some((key, _)), true) = (entries.iter().find(is_empty), self.problems.is_check()) {
            let message = format!("`{name}` has no value, so it counts as absent");
            let help = match name {
                "connections" => "write `connections: {}` for its defaults, or remove it",
                _ => "write its value, or remove it",
            };
            self.problems.warning(Rule::EmptyKey, key.span, message).help(help);
        }
    }

    /// Reads a choice: a group of keys of which the config must have exactly one. Returns the key
    /// that the config has, and its value. Reports an error if the config has none of these keys,
    /// or more than one.
    pub(crate) fn one_of<'n>(
        &mut self,
        fields: &Fields<'n>,
        keys: &'static Keys,
        noun: &str,
    ) -> Option<(&'static str, &'n Node)> {
        let at = fields.at;
        let names = || keys.exclusive().map(|key| key.name);
        names().for_each(|name| self.warn_of_empty(fields.entries, name));
        let mut found = names().filter_map(|name| Some((name, fields.get(name)?)));
        let Some((first, node)) = found.next() else {
            if !fields.has_unknown {
                let help = format!("add one of {}", list(names()));
                let message = format!("`{at}` has no {noun}");
                self.problems.error(Rule::MissingKey, fields.span, message).help(help);
            }
            return None;
        };
        for (second, _) in found {
            let message = format!("`{at}` can have `{first}` or `{second}`, not both");
            let help = match outer(second, fields.entries, keys)[..] {
                [outer] if outer == first => {
                    format!("write it inside `{outer}`: `{outer}: {{…, {second}: …}}`, or keep one")
                }
                _ => "keep one of them".to_owned(),
            };
            self.problems.error(Rule::ConflictingKeys, fields.key(second), message).help(help);
        }
        Some((first, node))
    }

    pub(crate) fn items<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Rc<Node>]> {
        match &node.kind {
            Kind::Sequence(items) => Some(items),
            _ => {
                let message = format!("`{what}` must be a list, not {}", node.kind_name());
                self.problems
                    .error(Rule::WrongType, node.span, message)
                    .help("put it into brackets: `[…]`");
                None
            }
        }
    }

    /// Reads a single value, and expands its variables.
    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<ReadText> {
        let Kind::Scalar { text: raw, .. } = &node.kind else {
            let message = format!("`{what}` must be a single value, not {}", node.kind_name());
            let problem = self.problems.error(Rule::WrongType, node.span, message);
            if matches!(node.kind, Kind::Null) {
                problem.help("put it into quotes if it is text, else remove it");
            }
            return None;
        };
        let expanded = self.expand(raw, |reader, at| reader.inside(node.span, raw, at))?;
        if expanded.text.contains('\0') {
            let problem = self.problems.error(
                Rule::InvalidValue,
                node.span,
                format!("`{what}` has a NUL character"),
            );
            problem.help("remove it: the kernel accepts no text with a NUL");
            return None;
        }
        self.charge(node.span, expanded.text.len())?;
        let is_hidden = |(_, origin): &(_, Origin)| origin.is_hidden();
        if expanded.used.iter().any(is_hidden) {
            self.hide_in(&expanded.text, raw);
        }
        let is_changed = raw.contains('$') && *expanded.text != **raw;
        let raw = is_changed.then(|| raw.clone());
        Some(ReadText { text: expanded.text, span: node.span, raw, used: expanded.used })
    }

    /// Expands the variables of a text. For a byte of the text, `place` returns its place in the
    /// file.
    pub(crate) fn expand(
        &mut self,
        raw: &str,
        place: impl Fn(&Self, usize) -> Span,
    ) -> Option<Expanded> {
        let expanded = match expand(raw, &self.variables) {
            Ok(expanded) => expanded,
            Err(malformed) => {
                let span = place(self, malformed.at);
                let help = malformed.help + &self.hint_for_shell("`$${` in place of `${`");
                self.problems.error(Rule::InvalidValue, span, malformed.message).help(help);
                return None;
            }
        };
        for (name, at) in &expanded.unset {
            let span = place(self, *at);
            self.unset(name, span);
        }
        for (name, _) in &expanded.used {
            if let Some((value, origin)) = self.variables.get_non_empty(name)
                && origin.is_hidden()
            {
                self.problems.hide(value, name);
            }
        }
        Some(expanded)
    }

    /// The end of a help text: what to write if a shell shall expand the variable. Empty if the
    /// program is not a shell.
    fn hint_for_shell(&self, written: &str) -> String {
        match self.is_for_shell {
            true => format!("; {written} if the shell is to expand it"),
            false => String::new(),
        }
    }

    /// Warns that a variable is not set.
    pub(crate) fn unset(&mut self, name: &str, span: Span) {
        let of_shell = self.hint_for_shell(&format!("`$${{{name}}}`"));
        let own = limits::NAMES.iter().chain(&DeadlineShare::NAMES).chain([&SCALE_INDEX]).copied();
        let meant = match nearest(name, own) {
            Some(own) => format!("did you mean `${{{own}}}`? Otherwise "),
            None => String::new(),
        };
        let problem = self.problems.warning(
            Rule::UnsetVariable,
            span,
            format!("`{name}` is not set and becomes empty"),
        );
        problem.shared().help(format!(
            "{meant}set it, or write `${{{name}:-DEFAULT}}`; `${{{name}:-}}` if it may be empty, \
             `${{{name}:?WHY}}` if it must be set{of_shell}"
        ));
    }

    /// Adds a file that the config names, so that problems in it can be shown with their lines.
    /// Returns the number of the file and its text.
    pub(crate) fn add_file(&mut self, span: Span, source: Source) -> Option<(usize, Rc<String>)> {
        self.charge(span, source.text.len().max(LEAST_FILE))?;
        let text = Rc::clone(&source.text);
        Some((self.problems.add_source(source), text))
    }

    /// Subtracts `bytes` from the text that a config may still have ([`MOST_TEXT`]). Reports an
    /// error if too little is left.
    pub(crate) fn charge(&mut self, span: Span, bytes: usize) -> Option<()> {
        match self.text_left.checked_sub(bytes) {
            Some(left) => {
                self.text_left = left;
                Some(())
            }
            None => {
                let message = format!(
                    "more than {} MiB of text after variables are expanded",
                    MOST_TEXT / 1024 / 1024
                );
                self.problems
                    .error(Rule::TooLarge, span, message)
                    .help("is a variable far longer than it should be?");
                None
            }
        }
    }

    /// Reports each `$NAME` in a value if NAME is set or is in capitals. drainit expands only
    /// `${NAME}`, and no shell runs that could expand `$NAME`. With `of_variable`, the node is the
    /// value of a variable, in which a `$` may be intended. Each report is then a warning, and an
    /// unset NAME is reported only if `$NAME` is the whole value.
    pub(crate) fn check_dollars(&mut self, node: &Node, what: &str, of_variable: Option<&str>) {
        node.inner().for_each(|inner| self.check_dollars(inner, what, of_variable));
        let raw = node.scalar().unwrap_or_default();
        for (name, at) in shell_variables(raw) {
            let span = self.inside(node.span, raw, at);
            let is_upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            let is_likely = match of_variable {
                Some(value) => value.strip_prefix('$') == Some(name),
                None => name.len() > 1 && name.chars().all(is_upper),
            };
            if !is_likely && !self.variables.is_defined(name) {
                continue;
            }
            let message = format!("`${name}` in `{what}` is not expanded: no shell runs");
            let problem = match of_variable {
                Some(_) => self.problems.warning(Rule::UnexpandedVariable, span, message),
                None => self.problems.error_in_check(Rule::UnexpandedVariable, span, message),
            };
            problem.help(format!(
                "write `${{{name}}}` for its value, or `$${name}` for these characters"
            ));
        }
    }

    /// Reads a single value, and parses its text with `parse`.
    pub(crate) fn typed<T>(
        &mut self,
        node: &Node,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let text = self.text(node, what)?;
        // The value of `log` is a regular expression, in which `$` means the end of a line.
        if what != "log" {
            self.check_dollars(node, what, None);
        }
        parse(&text.text).map_err(|bad| self.refuse(&text, what, bad)).ok()
    }

    /// Reports a value that a parser has refused. Shows the text as the config has it, because the
    /// values of its variables may be secret. Also shows where these values come from.
    pub(crate) fn refuse(&mut self, text: &ReadText, what: &str, bad: Invalid) {
        let Invalid { mut why, mut help } = bad;
        let value = match &text.raw {
            Some(raw) if !text.used.is_empty() => quote(raw),
            raw => {
                let from = raw.as_ref().map(|raw| format!(", from {}", quote(raw)));
                let is_empty = text.text.is_empty();
                let value = if is_empty { "empty".to_owned() } else { quote(&text.text) };
                value + &from.unwrap_or_default()
            }
        };
        let values = text.used.iter().filter_map(|(name, _)| self.variables.get_non_empty(name));
        if values.into_iter().any(|(value, _)| shares_text(&format!("{why}\n{help}"), value)) {
            (why, help) = ("not valid here".to_owned(), "correct its variables".to_owned());
        }
        if text.text.is_empty() && !text.used.is_empty() {
            why = format!("empty: {why}");
        }
        for (name, origin) in &text.used {
            help.push_str(&match origin {
                Origin::Container => format!("; {name} comes from the container's environment"),
                Origin::Env => format!("; {name} comes from `env:`"),
                Origin::File => format!("; {name} comes from the `env_file`"),
                Origin::Scale => format!("; {name} is the number that `scale` gives"),
            });
        }
        self.problems
            .error(Rule::InvalidValue, text.span, format!("`{what}` is {value}: {why}"))
            .help(help);
    }

    /// The place of a byte of a value. If the line of the file does not contain the value as it is,
    /// for example because of escapes, returns the place of the whole value.
    fn inside(&self, span: Span, raw: &str, at: usize) -> Span {
        let exact = || {
            let line = self.problems.source(span.file())?.line(span.line())?;
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

/// Whether a message about a value quotes at least four bytes of the value, or all of a shorter
/// value.
fn shares_text(message: &str, value: &str) -> bool {
    const LEAST: usize = 4;
    message
        .as_bytes()
        .windows(LEAST.min(value.len()))
        .any(|part| memchr::memmem::find(value.as_bytes(), part).is_some())
}

/// If the config has a single value in place of a mapping: suggests the mapping that the user
/// probably meant, such as `{command: …}`.
fn as_mapping(node: &Node, known: &Keys) -> Option<String> {
    let Kind::Scalar { text, .. } = &node.kind else { return None };
    let of_probe = match text {
        url if url.starts_with("http://") || url.starts_with("unix:") => "http",
        path if path.starts_with('/') => "unix",
        _ => "tcp",
    };
    let main = ["command", "condition", "admin", "prefix", of_probe];
    let is_mode = known.has("prefix") && matches!(&**text, "none" | "inherit" | "prefix");
    let is_log = known.has("prefix") && known.has("mode");
    let key = match is_mode && known.has("mode") {
        true => "mode",
        // A name with a directory or an extension is that of a file.
        false if is_log && text.contains(['/', '.']) => "file",
        false => main.iter().find(|key| known.has(key))?,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ');
    let fits = text.len() <= 60 && !text.is_empty() && !text.contains(['"', '\\', '\n']);
    fits.then(|| match text.chars().all(plain) {
        true => format!("{{{key}: {text}}}"),
        false => format!("{{{key}: \"{text}\"}}"),
    })
}

/// `name` is a key at a wrong place. Finds the known keys whose mappings can have a key `name`. If
/// one of these keys is among the `entries`, returns only this key.
fn outer(name: &str, entries: &[(NodeKey, Rc<Node>)], known: &Keys) -> Vec<&'static str> {
    let is_written = |key: &str| entries.iter().any(|(written, _)| *written.text == *key);
    let has_entries = |key: &key::Key| matches!(key.merge, Merge::Entries | Merge::Names);
    let outer = known.all().filter(|key| !has_entries(key));
    let outer = outer.filter(|key| key.keys.is_some_and(|keys| keys.has(name)));
    let outer: Vec<_> = outer.map(|key| key.name).collect();
    match outer.iter().find(|key| is_written(key)) {
        Some(written) => vec![written],
        None => outer,
    }
}
