//! How severe a finding is.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The config is refused.
    #[default]
    Error,
    /// The config works, but probably not as intended.
    Warning,
    /// A hint about a config that may well work as intended.
    Note,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}
