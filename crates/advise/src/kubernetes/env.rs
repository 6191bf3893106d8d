//! The environment that a manifest gives a container, as far as `check` knows it.

use std::collections::BTreeMap;

use crate::kubernetes::manifest::{Container, Word, items, key, text};
use crate::language::environment::Environment;
use crate::language::span::Span;

/// Stands for a word of a script whose value only the shell knows. `@` counts as a variable of
/// unknown value.
pub(super) const SHELL_WORD: &str = "$(@)";

/// The longest word of a command line, in bytes with its NUL: `MAX_ARG_STRLEN` of the kernel.
const LONGEST: usize = 128 << 10;

#[derive(Debug, Default)]
pub(super) struct PodEnv {
    known: BTreeMap<String, Word>,
    /// Variables whose values are not known here: the manifest sets them by `valueFrom`, or their
    /// values contain such variables or are too long.
    unknown: BTreeMap<String, Span>,
    /// The variables of the image that `check` knows, for example from its option `--env`.
    image: BTreeMap<String, Word>,
    /// The prefixes of the variables that `envFrom` brings.
    prefixes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum PodValue<'a> {
    Known(&'a Word),
    /// The variable is set, but its value is not known here.
    Unknown(Span),
    Missing,
}

impl PodEnv {
    /// Reads `env` of a container. `here` is the environment of `drainit check` itself, which may
    /// have the values of variables that the manifest sets by `valueFrom`. `image` has the
    /// variables of the image.
    pub(super) fn read(container: &Container, here: &Environment, image: &Environment) -> Self {
        let of_image = |(name, text): (&str, &str)| {
            (name.to_owned(), Word { text: text.to_owned(), span: container.span })
        };
        let prefix = |item| text(item, &["prefix"]).map(|prefix| prefix.text).unwrap_or_default();
        let mut env = Self {
            image: image.iter().map(of_image).collect(),
            prefixes: items(&container.node, &["envFrom"]).iter().map(|it| prefix(it)).collect(),
            ..Self::default()
        };
        env.unknown.insert("@".to_owned(), container.span);
        for item in items(&container.node, &["env"]) {
            let Some(name) = text(item, &["name"]) else { continue };
            let (value, span) = match (key(item, "valueFrom"), text(item, &["value"])) {
                (Some(span), _) => (here.get_non_empty(&name.text).map(str::to_owned), span),
                (None, Some(word)) => (env.substitute(&word.text), word.span),
                (None, None) => (Some(String::new()), name.span),
            };
            if let Some(text) = value {
                env.known.insert(name.text, Word { text, span });
            } else {
                env.unknown.insert(name.text, span);
            }
        }
        env
    }

    /// The variables whose values are known, for `${…}` in the config.
    pub(super) fn environment(&self) -> Environment {
        let is_here = |(name, _): &(&String, &Word)| !self.unknown.contains_key(*name);
        let all = self.image.iter().filter(is_here).chain(&self.known);
        all.map(|(name, word)| (name.clone(), word.text.clone())).collect()
    }

    pub(super) fn get(&self, name: &str) -> PodValue<'_> {
        match (self.of_manifest(name), self.image.get(name)) {
            (PodValue::Missing, Some(word)) => PodValue::Known(word),
            (value, _) => value,
        }
    }

    /// Whether this variable is missing here, but `envFrom` may bring it.
    pub(super) fn may_bring(&self, name: &str) -> bool {
        let is_missing = self.get(name) == PodValue::Missing;
        is_missing && self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    /// The value that the manifest gives.
    pub(super) fn of_manifest(&self, name: &str) -> PodValue<'_> {
        match (self.known.get(name), self.unknown.get(name)) {
            (Some(word), _) => PodValue::Known(word),
            (None, Some(span)) => PodValue::Unknown(*span),
            (None, None) => PodValue::Missing,
        }
    }

    /// The variables of the manifest, each with the place of its value.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, Span)> {
        let known = self.known.iter().map(|(name, word)| (name.as_str(), word.span));
        known.chain(self.unknown())
    }

    pub(super) fn unknown(&self) -> impl Iterator<Item = (&str, Span)> {
        self.unknown.iter().map(|(name, span)| (name.as_str(), *span))
    }

    /// Expands `$(NAME)` as Kubernetes does in `value`, `command` and `args`. A name that is not
    /// defined stays as it is. Returns `None` if the text contains a variable whose value is not
    /// known, or if the result is longer than the longest argument that the kernel accepts. The
    /// variables of the image do not count here.
    pub(super) fn substitute(&self, text: &str) -> Option<String> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(more) = rest.strip_prefix('$') {
                out.push('$');
                rest = more;
                continue;
            }
            let name = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
            match name.map(|(name, more)| (self.of_manifest(name), more)) {
                Some((PodValue::Known(word), more)) => {
                    out.push_str(&word.text);
                    rest = more;
                }
                Some((PodValue::Unknown(_), _)) => return None,
                _ => out.push('$'),
            }
        }
        out.push_str(rest);
        (out.len() < LONGEST).then_some(out)
    }
}
