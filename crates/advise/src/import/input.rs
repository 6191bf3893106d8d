//! Reads the files of other programs. The size limit for a file is that of a config. The size limit
//! for standard input is that of a Kubernetes manifest. The error messages have the same form as
//! for a config.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::language::diagnostics::diagnostic::Diagnostic;
use crate::language::diagnostics::problems::Problems;
use crate::language::source::Source;
use crate::language::span::Span;

/// Whether the path stands for standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

#[derive(Debug)]
pub struct InputFile {
    problems: Problems,
    file: usize,
    /// The directory of the file; `None` for a text in memory.
    directory: Option<PathBuf>,
}

impl InputFile {
    /// # Errors
    /// Fails if the file is missing, too large, or not text.
    pub(crate) fn read(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        let directory = path.parent().map(Path::to_owned);
        Self { problems: Problems::default(), file: 0, directory }.go_on(path)
    }

    /// Reads a further file, which this file includes. After this call, all methods but `directory`
    /// concern the included file.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub(crate) fn go_on(mut self, path: &Path) -> Result<Self, Vec<Diagnostic>> {
        match if is_stdin(path) { Source::read_stdin() } else { Source::read(path) } {
            Ok(source) => {
                self.file = self.problems.add_source(source);
                Ok(self)
            }
            Err(bad) => {
                self.problems.unreadable(path, bad, || "check the path".to_owned());
                Err(self.problems.finish())
            }
        }
    }

    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The number of the file that was read last.
    pub(crate) fn number(&self) -> usize {
        self.file
    }

    pub fn new(name: &str, text: &str) -> Self {
        let mut problems = Problems::default();
        let file = problems.add_source(Source::new(name, text.to_owned()));
        Self { problems, file, directory: None }
    }

    pub(crate) fn text(&self) -> Rc<String> {
        self.problems.source(self.file).map(|source| source.text.clone()).unwrap_or_default()
    }

    /// Adds an error about a whole line of the file. Returns all problems, because the import ends
    /// with this error.
    pub(crate) fn fail(self, line: usize, message: &str, help: &str) -> Vec<Diagnostic> {
        let file = self.file;
        self.fail_in(file, line, message, help)
    }

    /// Like [`Self::fail`], but about the file with this number.
    pub(crate) fn fail_in(
        mut self,
        file: usize,
        line: usize,
        message: &str,
        help: &str,
    ) -> Vec<Diagnostic> {
        let text = self.problems.source(file).and_then(|source| source.line(line));
        let len = text.map_or(1, |text| text.trim_end().chars().count().max(1));
        let span = Span::new(file, line, 1, len);
        self.problems.error(span, message).help(help);
        self.problems.finish()
    }
}
