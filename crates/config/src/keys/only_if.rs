//! `only_if:` of a process, a drain, a part of an argument and an admin address.

use std::fmt;
use std::path::PathBuf;

use crate::keys::forms::Verbatim;
use crate::keys::key::{At, Form, OneOrMore, Shape, Table};
use crate::keys::reader::{Fields, Reader};
use crate::language::diagnostics::rule::Rule;
use crate::language::yaml::node::Node;
use drainit_os::trusted_path::{ForeignName, exists};

/// The part of an `only_if:` that is left after the config was read. The comparisons of values are
/// already evaluated. drainit checks the paths when the process starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnlyIf {
    /// The condition is met if at least one of these mappings is met when the process starts.
    Any(Vec<Paths>),
    /// The condition is never met: the comparisons of values have failed, or no profile of the
    /// process is enabled.
    Never,
}

/// A path that must exist, and a path that must be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    pub exists: Option<PathBuf>,
    pub missing: Option<PathBuf>,
}

impl Paths {
    /// Whether the path `exists`, if set, exists now, and the path `missing`, if set, does not.
    fn hold(&self) -> Result<bool, ForeignName> {
        let is = |path: &Option<PathBuf>| path.as_deref().map(exists).transpose();
        let (exists, missing) = (is(&self.exists), is(&self.missing));
        if matches!(exists, Ok(Some(false))) || matches!(missing, Ok(Some(true))) {
            return Ok(false);
        }
        exists.and(missing).map(|_| true)
    }
}

impl OnlyIf {
    /// Whether the condition is met now.
    ///
    /// # Errors
    /// Fails as [`exists`] does.
    pub fn holds(&self) -> Result<bool, ForeignName> {
        match self {
            Self::Any(paths) => any_hold(paths),
            Self::Never => Ok(false),
        }
    }
}

/// Whether at least one of the mappings is met. If one is met, an error of another mapping does not
/// count.
fn any_hold(any: &[Paths]) -> Result<bool, ForeignName> {
    let holds: Vec<_> = any.iter().map(Paths::hold).collect();
    if holds.iter().any(|hold| matches!(hold, Ok(true))) {
        return Ok(true);
    }
    holds.into_iter().find(Result::is_err).unwrap_or(Ok(false))
}

impl fmt::Display for OnlyIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Any(paths) = self else { return Ok(()) };
        for (place, paths) in paths.iter().enumerate() {
            let missing = paths.missing.iter().map(|path| format!("no {}", path.display()));
            let all = paths.exists.iter().map(|path| path.display().to_string()).chain(missing);
            let or = if place == 0 { "" } else { " or " };
            write!(f, "{or}{}", all.collect::<Vec<_>>().join(" and "))?;
        }
        Ok(())
    }
}

/// A condition that is fully evaluated when the config is read, including its paths.
pub(crate) struct Now;
/// A condition whose paths are checked only when the process starts. A condition that is always
/// met is read as `None`.
pub(crate) struct AtStart;

/// One mapping, or a list of mappings. A mapping is met if all its keys are met. A list is met if
/// at least one of its mappings is met.
type AnyOf = OneOrMore<OnlyIfKeys>;

impl Form for Now {
    type Out = bool;
    const SHAPE: Shape = AnyOf::SHAPE;

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<bool> {
        let any: Vec<Paths> = AnyOf::read(reader, at, node)?.into_iter().flatten().collect();
        let refuse = |link: ForeignName| {
            let why = format!("`only_if`: {}", link.why());
            reader.problems.error(Rule::UnreadableFile, node.span, why).help(link.mend());
        };
        any_hold(&any).map_err(refuse).ok()
    }
}

impl Form for AtStart {
    type Out = OnlyIf;
    const SHAPE: Shape = AnyOf::SHAPE;

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<OnlyIf> {
        let any: Vec<Paths> = AnyOf::read(reader, at, node)?.into_iter().flatten().collect();
        match any.contains(&Paths::default()) {
            true => None,
            false if any.is_empty() => Some(OnlyIf::Never),
            false => Some(OnlyIf::Any(any)),
        }
    }
}

/// The keys of `only_if:`. The result is the paths to check, or `None` if the comparison fails.
#[derive(Table)]
#[table(settle = Option<Paths>, shared = "only_if")]
pub(crate) struct OnlyIfKeys {
    /// This path must exist. <!-- C62 --> Example: `{path_exists: /app/plugin}`
    path_exists: Option<PathBuf>,
    /// This path must not exist. <!-- C673 --> Example: `{path_missing: /app/disabled}`
    path_missing: Option<PathBuf>,
    /// The text to compare. Example: `{value: "${MODE:-}", is: debug}`
    #[key(form = Verbatim)]
    value: Option<String>,
    /// The `value` must equal this text, or one of these texts. <!-- C63 -->
    /// Example: `{value: "${MODE:-}", is: [debug, trace]}`
    #[key(form = OneOrMore<Verbatim>, exclusive)]
    is: Option<Vec<String>>,
    /// The `value` must equal none of these texts. <!-- C64 -->
    /// Example: `{value: "${TOKEN:-}", is_not: ""}`
    #[key(form = OneOrMore<Verbatim>, exclusive)]
    is_not: Option<Vec<String>>,
    /// The `value` is a list with commas, and must have this element. <!-- C674 -->
    /// Example: `{value: "${SERVICES:-}", contains: web}`
    #[key(form = Verbatim, exclusive)]
    contains: Option<String>,
}

impl OnlyIfKeys {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Option<Paths>> {
        let has = |key: &str| fields.get(key).is_some();
        let tests: Vec<_> =
            ["is", "is_not", "contains"].into_iter().filter(|key| has(key)).collect();
        let (message, help) = match (has("value"), &*tests) {
            (_, [_, _, ..]) => {
                ("can have one of `is`, `is_not` and `contains`", "keep one of them")
            }
            (true, []) => (
                "has `value` without `is`, `is_not` or `contains`",
                "add `is: TEXT`, or `is_not: TEXT`",
            ),
            (false, [_]) => ("has no `value` to compare", "add `value: \"${VAR}\"`"),
            (false, []) if !has("path_exists") && !has("path_missing") => (
                "has no condition",
                "write `{path_exists: PATH}`, or `{value: \"${VAR}\", is: TEXT}`",
            ),
            _ => ("", ""),
        };
        if !message.is_empty() {
            if !fields.has_unknown || tests.len() > 1 {
                let span = tests.get(1).map_or(fields.span, |key| fields.value(key));
                reader
                    .problems
                    .error(Rule::ConflictingKeys, span, format!("`{}` {message}", fields.at))
                    .help(help);
            }
            return None;
        }
        let holds = match (self.value, self.is, self.is_not, self.contains) {
            (Some(value), Some(texts), ..) => texts.contains(&value),
            (Some(value), _, Some(texts), _) => !texts.contains(&value),
            (Some(value), .., Some(element)) => {
                value.split(',').any(|text| text.trim() == element.trim())
            }
            // The comparison is not valid: an error is already reported for the value, or for the
            // text to which it is compared.
            _ if has("value") => return None,
            _ => true,
        };
        Some(holds.then_some(Paths { exists: self.path_exists, missing: self.path_missing }))
    }
}
