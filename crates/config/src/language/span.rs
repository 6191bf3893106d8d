//! Places in the files that drainit reads for one config, for diagnostics.

/// A place in one of the files that drainit reads for a config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    file: u32,
    line: u32,
    column: u32,
    len: u32,
}

impl Span {
    /// Makes a place. The place stores the numbers as `u32` to save memory, because every node of a
    /// tree has a place. No file that drainit accepts has larger numbers.
    pub fn new(file: usize, line: usize, column: usize, len: usize) -> Self {
        let small = |figure: usize| u32::try_from(figure).unwrap_or(u32::MAX);
        Self { file: small(file), line: small(line), column: small(column), len: small(len) }
    }

    pub fn whole(file: usize) -> Self {
        Self::new(file, 0, 0, 0)
    }

    /// The number of the file, as `Problems::add_source` has returned it.
    pub(crate) fn file(self) -> usize {
        self.file as usize
    }

    /// The number of the line, counted from 1; 0 stands for the whole file.
    pub fn line(self) -> usize {
        self.line as usize
    }

    /// The column in characters, from 1.
    pub(crate) fn column(self) -> usize {
        self.column as usize
    }

    /// The length in characters.
    pub(crate) fn len(self) -> usize {
        self.len as usize
    }
}
