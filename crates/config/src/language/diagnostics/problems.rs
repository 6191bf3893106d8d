//! Collects the problems that are found while a config is loaded, and sorts them by file and line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use crate::language::diagnostics::allow::{Allow, Comments};
use crate::language::diagnostics::diagnostic::{Diagnostic, Severity, excerpt, quote};
use crate::language::diagnostics::rule::Rule;
use crate::language::mask;
use crate::language::moment::Reads;
use crate::language::source::{Source, Unreadable};
use crate::language::span::Span;
use crate::language::written;
use crate::language::yaml::node::Node;
use crate::types::harmless;

/// drainit searches each message for the values of variables, to hide these values. The search
/// skips a value of fewer bytes than this, because any word may contain such a value by chance. To
/// hide short values, too, messages quote the config by [`Problems::written`] or
/// [`Problems::shown`].
const LEAST_SOUGHT: usize = 8;
/// At most this many problems are shown, because more would not help to correct the file.
const SHOWN: usize = 50;
/// These words stand before a list of keys in a help text. The first letter is left out, because it
/// may be `k` or `K`.
const KNOWN_KEYS: &str = "nown keys: ";
/// At most this many problems are kept in memory; drainit only counts the others.
const KEPT: usize = 1000;

/// The problems that have been found so far, and the files that have them.
#[derive(Debug, Default)]
pub struct Problems {
    /// The files that were read from the file system.
    pub(crate) reads: Reads,
    sources: Vec<Source>,
    /// The values of the environment that the config uses, each with the name of its variable.
    hidden: BTreeMap<String, String>,
    /// The texts into which a value of the environment was inserted. For each of them, the map has
    /// the text that the file contains.
    expanded: BTreeMap<String, String>,
    list: Vec<Problem>,
    more: usize,
    errors: bool,
    overflow: Problem,
    /// Whether `drainit check` reads the config. Some problems are errors for `drainit check`, but
    /// only warnings for `drainit run`.
    is_check: bool,
    /// The comments that silence problems.
    comments: Comments,
    /// Whether all findings are shown, because each is about another workload.
    is_whole: bool,
    /// The rules for which a comment must silence a problem. Without them, no comment is reported.
    sought: Option<fn(Rule) -> bool>,
}

/// A problem, before the text of its line is looked up.
#[derive(Debug, Default)]
pub struct Problem {
    /// `None` only for the count of what is not shown.
    rule: Option<Rule>,
    severity: Severity,
    span: Span,
    message: String,
    help: Option<String>,
    /// Whether this problem and all other shared problems with the same message are shown as one
    /// problem.
    is_shared: bool,
}

impl Problem {
    /// Shows this problem and all other shared problems with the same message as one problem.
    pub fn shared(&mut self) -> &mut Self {
        self.is_shared = true;
        self
    }

    pub fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}

impl Problems {
    /// An empty list. For `drainit check`, probable mistakes ([`Self::error_in_check`]) count as
    /// errors.
    pub(crate) fn of(reads: &Reads, is_check: bool) -> Self {
        Self { reads: reads.clone(), is_check, ..Self::default() }
    }

    /// An empty list for a manifest.
    pub fn of_manifest() -> Self {
        Self { is_check: true, ..Self::default() }
    }

    /// Shows all problems, however many there are.
    pub fn show_all(&mut self) {
        self.is_whole = true;
    }

    /// Reports each comment that silences no problem of these rules.
    pub fn seek(&mut self, sought: fn(Rule) -> bool) {
        self.sought = Some(sought);
    }

    /// Records a text that may look like a comment, but is a value: the lines `first` to `last` of a
    /// file.
    pub(crate) fn add_value(&mut self, file: usize, first: usize, last: usize) {
        self.comments.add_value(file, first, last);
    }

    /// Adds a file, and returns the number by which a [`Span`] names this file.
    pub fn add_source(&mut self, source: Source) -> usize {
        self.sources.push(source);
        self.sources.len() - 1
    }

    pub fn source(&self, file: usize) -> Option<&Source> {
        self.sources.get(file)
    }

    pub fn error(&mut self, rule: Rule, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(rule, Severity::Error, span, message.into())
    }

    /// Adds an error about a file that cannot be read. `why` has the reason. If `why` has no help
    /// text, `help` makes one.
    pub fn unreadable(&mut self, path: &Path, why: Unreadable, help: impl FnOnce() -> String) {
        let file = self.add_source(Source::unread(path));
        let span = Span::new(file, why.line, why.line.min(1), 0);
        let message = format!("{} {}", quote(&path.to_string_lossy()), why.message);
        self.error(Rule::UnreadableFile, span, message).help(why.help_or(help));
    }

    pub fn warning(&mut self, rule: Rule, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(rule, Severity::Warning, span, message.into())
    }

    pub fn note(&mut self, rule: Rule, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(rule, Severity::Note, span, message.into())
    }

    /// Puts `${NAME}` in place of this value in messages, because the value of a variable may be
    /// secret.
    pub(crate) fn hide(&mut self, value: &str, name: &str) {
        if !self.hidden.contains_key(value) {
            self.hidden.insert(value.to_owned(), name.to_owned());
        }
    }

    /// Records a text with a hidden value in it, and the form that this text has in the file.
    pub(crate) fn hide_in(&mut self, expanded: &str, raw: &str) {
        if !self.expanded.contains_key(expanded) {
            self.expanded.insert(expanded.to_owned(), raw.to_owned());
        }
    }

    /// A value of the config, for a message. If the value has a variable in it, returns the text
    /// that the file has for the value.
    pub(crate) fn written(&self, node: Option<&Node>, value: &str) -> String {
        match node.map(|node| node.scalar()) {
            Some(Some(raw)) if raw.contains("${") => raw.to_owned(),
            Some(Some(_)) => value.to_owned(),
            _ => self.for_message(value),
        }
    }

    /// Like [`Self::written`], for a value whose node is not known. Replaces each hidden value that
    /// `value` contains by `${NAME}`.
    pub(crate) fn for_message(&self, value: &str) -> String {
        if let Some(raw) = self.expanded.get(value) {
            return raw.clone();
        }
        let (mut out, mut rest) = (String::new(), value);
        while let Some(next) = rest.chars().next() {
            let here = self.hidden.iter().filter(|(value, _)| rest.starts_with(value.as_str()));
            let skipped = match here.max_by_key(|(value, _)| value.len()) {
                Some((value, name)) => {
                    out += &format!("${{{name}}}");
                    value.len()
                }
                None => {
                    out.push(next);
                    next.len_utf8()
                }
            };
            rest = rest.get(skipped..).unwrap_or_default();
        }
        out
    }

    /// Returns the message after [`Self::shown`] was applied to each text in backquotes, except to
    /// the names of processes.
    pub(crate) fn shown_in_quotes(&self, message: &str, names: &BTreeSet<&str>) -> String {
        let show = |(number, part): (usize, &str)| match number % 2 == 1 && !names.contains(part) {
            true => self.for_message(part),
            false => part.to_owned(),
        };
        message.split('`').enumerate().map(show).collect::<Vec<_>>().join("`")
    }

    /// Lets the messages of the running program show the texts of this reading as the file has
    /// them. The messages show the names of these `processes` unchanged. Also keeps the texts of
    /// the files, for the mask of what processes write.
    pub(crate) fn keep_written<'a>(&self, processes: impl Iterator<Item = &'a str>) {
        let shown = self.sources.iter().filter(|source| !source.is_secret());
        mask::keep_config(shown.map(|source| source.text.to_string()).collect());
        written::keep(&self.hidden, &self.expanded, processes);
    }

    /// Forgets all problems that have been found so far.
    pub(crate) fn clear(&mut self) {
        (self.list, self.more, self.errors) = (Vec::new(), 0, false);
    }

    /// Adds a mistake that is only probable. For `check`, the mistake is an error. For `run`, it is
    /// a warning, because it may be intended.
    pub(crate) fn error_in_check(
        &mut self,
        rule: Rule,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Problem {
        match self.is_check {
            true => self.error(rule, span, message),
            false => self.warning(rule, span, message),
        }
    }

    /// Whether `drainit check` reads the config. If so, more is checked than for `drainit run`.
    pub(crate) fn is_check(&self) -> bool {
        self.is_check
    }

    pub fn has_errors(&self) -> bool {
        self.errors
    }

    /// Whether further problems are only counted and not kept. If so, the caller can skip
    /// suggestions that take long to compute.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= KEPT && !self.is_whole
    }

    pub fn push(
        &mut self,
        rule: Rule,
        severity: Severity,
        span: Span,
        message: String,
    ) -> &mut Problem {
        debug_assert!(rule.text().levels.contains(&severity), "{rule:?}: {message}");
        self.errors |= severity == Severity::Error;
        if self.is_full() {
            self.more += 1;
            return &mut self.overflow;
        }
        self.list.push(Problem { rule: Some(rule), severity, span, message, ..Problem::default() });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// Returns the problems in the order of files and lines, without duplicates. If there are more
    /// than `SHOWN`, the last diagnostic only counts the others.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        let key = |p: &Problem| (p.span, p.severity);
        self.list.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message)));
        self.list.dedup_by(|a, b| key(a) == key(b) && a.message == b.message);
        let allowed = self.allow();
        self.join_shared();
        self.list_keys_once();
        let found = self.list.len();
        if found > SHOWN && !self.is_whole {
            // If there are too many problems, warnings are dropped first, so that no warning takes
            // the place of an error.
            let mut kept = self.list.iter().filter(|p| p.severity == Severity::Error).count();
            self.list.retain(|p| {
                kept += usize::from(p.severity != Severity::Error);
                p.severity == Severity::Error || kept <= SHOWN
            });
            self.list.truncate(SHOWN);
            self.more += found - self.list.len();
        }
        let mut out: Vec<_> = self.list.iter().map(|p| self.locate(p)).collect();
        if self.more > 0 {
            let severity = if self.errors { Severity::Error } else { Severity::Warning };
            let message = format!("and {} more", self.more);
            let span = Span::whole(self.list.last().map_or(0, |p| p.span.file()));
            out.push(self.locate(&Problem { severity, span, message, ..Problem::default() }));
        }
        out.extend(allowed);
        out
    }

    /// Takes the problems that a comment silences out of the list, and reports the comments that are
    /// wrong. Returns the silenced problems for `check`.
    fn allow(&mut self) -> Vec<Diagnostic> {
        let of_file = |(file, source): (usize, &Source)| self.comments.allows(file, source);
        let mut allows: Vec<Allow> = self.sources.iter().enumerate().flat_map(of_file).collect();
        let mut allowed = Vec::new();
        let silences = |problem: &Problem, allow: &mut Allow| {
            let is_silenced = allow.silences(problem.rule, problem.severity, problem.span);
            allow.is_used |= is_silenced;
            is_silenced
        };
        for problem in std::mem::take(&mut self.list) {
            // Each comment that would silence the problem counts as used.
            let mut by = None;
            for allow in allows.iter_mut() {
                if silences(&problem, allow) {
                    by.get_or_insert_with(|| allow.reason.clone());
                }
            }
            match by {
                Some(reason) if self.is_check => {
                    allowed.push(Diagnostic { allowed: Some(reason), ..self.locate(&problem) });
                }
                Some(_) => {}
                None => self.list.push(problem),
            }
        }
        // After an error, further checks are left out, so a comment may be unused for this reason.
        let sought = self.sought.filter(|_| !self.errors && self.more == 0);
        for allow in allows {
            if self.is_full() || !self.is_check {
                break;
            }
            let Some((rule, message, help)) = allow.fault(sought) else { continue };
            self.warning(rule, allow.span, message).help(help);
        }
        self.list.sort_by_key(|problem| (problem.span, problem.severity));
        allowed
    }

    /// Keeps the first of the shared problems with the same message, and adds the lines of the
    /// others to its help.
    fn join_shared(&mut self) {
        const NAMED: usize = 5;
        let mut first: HashMap<String, usize> = HashMap::new();
        let mut others: Vec<Vec<Span>> = Vec::new();
        let mut kept: Vec<Problem> = Vec::with_capacity(self.list.len());
        for problem in std::mem::take(&mut self.list) {
            if problem.is_shared {
                let place = *first.entry(problem.message.clone()).or_insert(kept.len());
                if place < kept.len() {
                    others[place].push(problem.span);
                    continue;
                }
            }
            kept.push(problem);
            others.push(Vec::new());
        }
        for (problem, others) in kept.iter_mut().zip(others) {
            let own = problem.span;
            let name = |at: Span| match self.sources.get(at.file()) {
                Some(source) if at.file() != own.file() => {
                    format!("{}:{}", source.path.display(), at.line())
                }
                _ => at.line().to_string(),
            };
            let is_own = |at: &Span| (at.file(), at.line()) == (own.file(), own.line());
            let mut lines: Vec<_> = others.into_iter().filter(|at| !is_own(at)).map(name).collect();
            lines.dedup();
            if lines.is_empty() {
                continue;
            }
            let more = lines.len().saturating_sub(NAMED);
            lines.truncate(NAMED);
            lines.extend((more > 0).then(|| format!("{more} more")));
            let what = if lines.len() == 1 { "line" } else { "lines" };
            let help = problem.help.take().unwrap_or_default();
            problem.help = Some(format!("{help} (also in {what} {})", lines.join(", ")));
        }
        self.list = kept;
    }

    /// Leaves a list of known keys out of a help text if an earlier help text has the same list.
    fn list_keys_once(&mut self) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for problem in &mut self.list {
            let Some(help) = &mut problem.help else { continue };
            let Some(at) = help.find(KNOWN_KEYS) else { continue };
            let list = help.split_off(at);
            match seen.get(&list) {
                Some(line) => help.push_str(&format!("nown keys: see line {line}")),
                None => {
                    help.push_str(&list);
                    seen.insert(list, problem.span.line());
                }
            }
        }
    }

    fn locate(&self, problem: &Problem) -> Diagnostic {
        let span = problem.span;
        let source = self.sources.get(span.file());
        let line = source.and_then(|s| s.line(span.line())).unwrap_or_default();
        let (source_line, offset) = excerpt(line, span.column());
        let room = source_line.chars().count().saturating_sub(offset);
        Diagnostic {
            rule: problem.rule.unwrap_or(Rule::FurtherFindings),
            severity: problem.severity,
            // A message may quote any text of a file, so characters that a terminal would interpret
            // are replaced.
            message: harmless(&self.without_values(&problem.message)).into_owned(),
            file: source.map(|s| s.path.clone()).unwrap_or_default(),
            line: span.line(),
            column: span.column(),
            source_line,
            offset,
            len: span.len().min(room).max(1),
            help: problem
                .help
                .as_deref()
                .map(|help| harmless(&self.without_values(help)).into_owned()),
            allowed: None,
        }
    }

    fn without_values(&self, text: &str) -> String {
        let replace = |text: String, (value, name): (&String, &String)| match text.contains(value) {
            true => text.replace(value, &format!("${{{name}}}")),
            false => text,
        };
        let long = self.hidden.iter().filter(|(value, _)| value.len() >= LEAST_SOUGHT);
        long.rev().fold(text.to_owned(), replace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize) -> Span {
        Span::new(0, line, 1, 1)
    }

    #[test]
    fn problems_are_sorted_without_duplicates() {
        let mut problems = Problems::default();
        problems.error(Rule::UnknownKey, at(3), "c");
        problems.warning(Rule::EmptyKey, at(1), "a").help("fix");
        problems.error(Rule::UnknownKey, at(3), "c");
        problems.error(Rule::UnknownKey, at(2), "b");
        let out = problems.finish();
        let messages: Vec<_> = out.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(messages, ["a", "b", "c"]);
        assert_eq!(out[0].help.as_deref(), Some("fix"));
    }

    // holds: C766
    #[test]
    fn a_shared_problem_is_shown_once_with_the_lines_of_the_others() {
        let mut problems = Problems::default();
        for line in [9, 2, 2, 4, 4, 5, 6, 7, 8] {
            problems.warning(Rule::EmptyKey, at(line), "same").shared().help("fix");
            problems.warning(Rule::EmptyKey, at(line), format!("own {line}")).shared();
        }
        let out = problems.finish();
        assert_eq!(out.iter().filter(|it| it.message == "same").count(), 1);
        assert_eq!(out.len(), 8);
        let same = out.iter().find(|it| it.message == "same").unwrap();
        let help = "fix (also in lines 4, 5, 6, 7, 8, 1 more)";
        assert_eq!((same.line, same.help.as_deref()), (2, Some(help)));
    }

    // holds: C13
    #[test]
    fn many_problems_are_cut_and_counted_and_warnings_are_dropped_first() {
        let mut problems = Problems::default();
        for line in 1..=200 {
            problems.warning(Rule::EmptyKey, at(line), "w");
        }
        for line in 300..2000 {
            problems.error(Rule::UnknownKey, at(line), "e");
        }
        let out = problems.finish();
        assert_eq!(out.len(), SHOWN + 1);
        assert!(out.iter().all(Diagnostic::is_error));
        assert_eq!(out[SHOWN].message, "and 1850 more");
    }
}
