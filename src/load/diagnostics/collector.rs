//! Collects the problems of one load, and at its end puts them into order.

use std::path::Path;

use crate::load::diagnostics::diagnostic::{Diagnostic, Severity, excerpt, quote};
use crate::load::source::{Source, Unreadable};
use crate::load::yaml::node::Span;

/// How many problems are shown. A file that is wrong throughout is not mended by more of them.
const SHOWN: usize = 50;
/// How many are remembered, to show the first of them.
const KEPT: usize = 1000;

/// The problems so far, and the files they are in.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    sources: Vec<Source>,
    problems: Vec<Problem>,
    more: usize,
    errors: bool,
    overflow: Problem,
    /// Nothing is to be started: what will hardly work is said as an error.
    is_check: bool,
}

/// A problem whose line is not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    severity: Severity,
    span: Span,
    message: String,
    help: Option<String>,
}

impl Default for Problem {
    fn default() -> Self {
        Self { severity: Severity::Error, span: Span::whole(0), message: String::new(), help: None }
    }
}

impl Problem {
    /// Says how to mend it.
    pub(crate) fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}

impl Collector {
    /// Adds a file; problems name it by the number that is given back.
    pub(crate) fn add_source(&mut self, source: Source) -> usize {
        self.sources.push(source);
        self.sources.len() - 1
    }

    /// A file by its number.
    pub(crate) fn source(&self, file: usize) -> Option<&Source> {
        self.sources.get(file)
    }

    /// Adds an error.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.errors = true;
        self.push(Severity::Error, span, message.into())
    }

    /// Adds a file that cannot be read, and the error that it cannot; `mend` says how where the reason does not.
    pub(crate) fn unreadable(
        &mut self,
        path: &Path,
        bad: Unreadable,
        mend: impl FnOnce() -> String,
    ) {
        let file = self.add_source(Source::unread(path));
        let span = Span::new(file, bad.line, bad.line.min(1), 0);
        let message = format!("{} {}", quote(&path.to_string_lossy()), bad.message);
        let help = if bad.help.is_empty() { mend() } else { bad.help };
        self.error(span, message).help(help);
    }

    /// Adds a warning.
    pub(crate) fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Warning, span, message.into())
    }

    /// Drops everything that was said so far.
    pub(crate) fn forget(&mut self) {
        (self.problems, self.more, self.errors) = (Vec::new(), 0, false);
    }

    /// Takes what will hardly work for an error.
    pub(crate) fn be_a_check(&mut self) {
        self.is_check = true;
    }

    /// Adds what will hardly work. A start goes on with a warning, since it may be meant; `check` is there to refuse it.
    pub(crate) fn doubt(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        match self.is_check {
            true => self.error(span, message),
            false => self.warning(span, message),
        }
    }

    /// Whether there was an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors
    }

    /// Whether more problems are only counted, so that costly advice can be left out.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= KEPT
    }

    fn push(&mut self, severity: Severity, span: Span, message: String) -> &mut Problem {
        if self.is_full() {
            self.more += 1;
            return &mut self.overflow;
        }
        self.problems.push(Problem { severity, span, message, help: None });
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// Everything that was said, in the order of the files and their lines, each thing once.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        let key = |p: &Problem| (p.span, p.severity);
        self.problems.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message)));
        self.problems.dedup_by(|a, b| key(a) == key(b) && a.message == b.message);
        if self.problems.len() > SHOWN {
            // Warnings go first, so that they do not hide an error.
            let errors = self.problems.iter().filter(|p| p.severity == Severity::Error).count();
            let mut warnings_left = SHOWN.saturating_sub(errors);
            self.problems.retain(|p| {
                let keep = p.severity == Severity::Error || warnings_left > 0;
                if p.severity == Severity::Warning && keep {
                    warnings_left -= 1;
                }
                self.more += usize::from(!keep);
                keep
            });
            self.more += self.problems.len().saturating_sub(SHOWN);
            self.problems.truncate(SHOWN);
        }
        let mut out: Vec<_> = self.problems.iter().map(|p| self.locate(p)).collect();
        if self.more > 0 {
            let severity = if self.errors { Severity::Error } else { Severity::Warning };
            let message = format!("and {} more", self.more);
            let span = Span::whole(self.problems.last().map_or(0, |p| p.span.file()));
            out.push(self.locate(&Problem { severity, span, message, help: None }));
        }
        out
    }

    fn locate(&self, problem: &Problem) -> Diagnostic {
        let span = problem.span;
        let source = self.sources.get(span.file());
        let line = source.and_then(|s| s.line(span.line())).unwrap_or_default();
        let (source_line, offset) = excerpt(line, span.column());
        let room = source_line.chars().count().saturating_sub(offset);
        Diagnostic {
            severity: problem.severity,
            message: problem.message.clone(),
            file: source.map(|s| s.path.clone()).unwrap_or_default(),
            line: span.line(),
            column: span.column(),
            source_line,
            offset,
            len: span.len().min(room).max(1),
            help: problem.help.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize) -> Span {
        Span::new(0, line, 1, 1)
    }

    #[test]
    fn problems_come_in_order_and_once() {
        let mut report = Collector::default();
        report.error(at(3), "c");
        report.warning(at(1), "a").help("mend");
        report.error(at(3), "c");
        report.error(at(2), "b");
        let out = report.finish();
        let messages: Vec<_> = out.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(messages, ["a", "b", "c"]);
        assert_eq!(out[0].help.as_deref(), Some("mend"));
    }

    #[test]
    fn a_flood_is_cut_and_counted_and_warnings_go_first() {
        let mut report = Collector::default();
        for line in 1..=200 {
            report.warning(at(line), "w");
        }
        for line in 300..2000 {
            report.error(at(line), "e");
        }
        let out = report.finish();
        assert_eq!(out.len(), SHOWN + 1);
        assert!(out.iter().all(Diagnostic::is_error));
        assert_eq!(out[SHOWN].message, "and 1850 more");
    }
}
