//! Reads the files of other programs. The size limit for a file is that of a config. The size limit
//! for standard input is that of a Kubernetes manifest. The error messages have the same form as
//! for a config.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::language::diagnostics::diagnostic::Diagnostic;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::source::Source;
use crate::language::span::Span;

/// Whether the path stands for standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// A file of another program, and the files that it includes.
#[derive(Debug, Default)]
pub struct InputFile {
    problems: Problems,
    /// The number of the file that was read last.
    number: usize,
    /// The text of the file that was read last.
    pub(super) text: Rc<String>,
    /// The directory of the first file; `None` for a text in memory.
    pub(super) directory: Option<PathBuf>,
}

impl InputFile {
    /// # Errors
    /// Fails if the file is missing, too large, or not text.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        let mut file = Self { directory: path.parent().map(Path::to_owned), ..Self::default() };
        file.go_on(path)?;
        Ok(file)
    }

    /// Reads a further file, which this file includes.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub(super) fn go_on(&mut self, path: &Path) -> Result<(), Vec<Diagnostic>> {
        match if is_stdin(path) { Source::read_stdin() } else { Source::read(path) } {
            Ok(source) => self.add(source),
            Err(bad) => {
                self.problems.unreadable(path, bad, || "check the path".to_owned());
                return Err(std::mem::take(&mut self.problems).finish());
            }
        }
        Ok(())
    }

    pub fn new(name: &str, text: &str) -> Self {
        let mut file = Self::default();
        file.add(Source::new(name, text.to_owned()));
        file
    }

    fn add(&mut self, source: Source) {
        self.text = Rc::clone(&source.text);
        self.number = self.problems.add_source(source);
    }

    /// The place of a whole line of the file that was read last. Lines count from 1.
    pub(super) fn line(&self, line: usize) -> Span {
        let text = self.problems.source(self.number).and_then(|source| source.line(line));
        let len = text.map_or(1, |text| text.trim_end().chars().count().max(1));
        Span::new(self.number, line, 1, len)
    }

    /// Adds an error. Returns all problems, because the import ends with this error.
    pub(super) fn fail(&mut self, at: Span, message: &str, help: &str) -> Vec<Diagnostic> {
        self.problems.error(Rule::ImportRefused, at, message).help(help);
        std::mem::take(&mut self.problems).finish()
    }
}
