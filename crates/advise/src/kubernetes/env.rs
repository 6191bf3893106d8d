//! The environment that a manifest gives a container, as far as `check` knows it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use crate::kubernetes::manifest::{Container, items, key, text};
use crate::language::environment::Environment;
use crate::language::span::Span;
use crate::pattern;

/// Stands for a word of a script whose value only the shell knows. `@` counts as a variable of
/// unknown value.
pub(super) const SHELL_WORD: &str = "$(@)";

/// The longest word of a command line, in bytes with its NUL: `MAX_ARG_STRLEN` of the kernel.
const LONGEST: usize = 128 << 10;
/// Matches a variable, or an escaped `$`.
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\$\$|\$\(([^)]*)\)"));

#[derive(Debug, Default)]
pub(super) struct PodEnv {
    /// The variables that the manifest gives, and those of the image that `check` knows, for example
    /// from its option `--env`.
    all: BTreeMap<String, PodValue>,
    /// The prefixes of the variables that `envFrom` brings.
    prefixes: Vec<String>,
}

/// The value of a variable, and its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PodValue {
    /// `None` if the value is not known here: the manifest sets it by `valueFrom`, or it contains
    /// such a variable, or is too long.
    pub(super) text: Option<String>,
    pub(super) span: Span,
    /// Whether the manifest gives the variable.
    is_own: bool,
}

impl PodEnv {
    /// Reads `env` of a container. `here` is the environment of `drainit check` itself, which may
    /// have the values of variables that the manifest sets by `valueFrom`. `image` has the
    /// variables of the image.
    pub(super) fn read(container: &Container, here: &Environment, image: &Environment) -> Self {
        let span = container.span;
        let of_image = |(name, text): (&str, &str)| {
            (name.to_owned(), PodValue { text: Some(text.to_owned()), span, is_own: false })
        };
        let prefix = |item| text(item, &["prefix"]).map(|prefix| prefix.text).unwrap_or_default();
        let prefixes = items(&container.node, &["envFrom"]).iter().map(|it| prefix(it)).collect();
        let mut env = Self { all: image.iter().map(of_image).collect(), prefixes };
        env.all.insert("@".to_owned(), PodValue { text: None, span, is_own: true });
        for item in items(&container.node, &["env"]) {
            let Some(name) = text(item, &["name"]) else { continue };
            let (text, span) = match (key(item, "valueFrom"), text(item, &["value"])) {
                (Some(span), _) => (here.get_non_empty(&name.text).map(str::to_owned), span),
                (None, Some(word)) => (env.substitute(&word.text), word.span),
                (None, None) => (Some(String::new()), name.span),
            };
            env.all.insert(name.text, PodValue { text, span, is_own: true });
        }
        env
    }

    /// The variables whose values are known, for `${…}` in the config.
    pub(super) fn environment(&self) -> Environment {
        let known = |(name, value): (&String, &PodValue)| Some((name.clone(), value.text.clone()?));
        self.all.iter().filter_map(known).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&PodValue> {
        self.all.get(name)
    }

    /// Whether this variable is missing here, but `envFrom` may bring it.
    pub(super) fn may_bring(&self, name: &str) -> bool {
        self.get(name).is_none() && self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    /// The variables that the manifest gives.
    pub(super) fn own(&self) -> impl Iterator<Item = (&String, &PodValue)> {
        self.all.iter().filter(|(_, value)| value.is_own)
    }

    /// Expands `$(NAME)` as Kubernetes does in `value`, `command` and `args`. A name that is not
    /// defined stays as it is. Returns `None` if the text contains a variable whose value is not
    /// known, or if the result is longer than the longest argument that the kernel accepts. The
    /// variables of the image do not count here.
    pub(super) fn substitute(&self, text: &str) -> Option<String> {
        let mut is_known = true;
        let expand = |found: &Captures| {
            let name = found.get(1).map(|name| name.as_str());
            match name.and_then(|name| self.get(name)).filter(|value| value.is_own) {
                Some(value) => {
                    is_known &= value.text.is_some();
                    value.text.clone().unwrap_or_default()
                }
                None if &found[0] == "$$" => "$".to_owned(),
                None => found[0].to_owned(),
            }
        };
        let out = REFERENCE.replace_all(text, expand).into_owned();
        (is_known && out.len() < LONGEST).then_some(out)
    }
}
