//! Signal rewriting: `--rewrite S:R` forwards signal R when signal S arrives.

pub use crate::exec_options::Rewrite;
use crate::types::Signal;

/// The rules of `--rewrite`. Signals without a rule are forwarded unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrites(Vec<Rewrite>);

impl Rewrites {
    /// The signal to forward for `signal`, if any.
    pub fn of(&self, signal: Signal) -> Option<Signal> {
        self.rule(signal).unwrap_or(Some(signal))
    }

    /// The signal that the last rule for `signal` forwards; `Some(None)` if that rule forwards
    /// nothing, `None` if there is no rule.
    pub fn rule(&self, signal: Signal) -> Option<Option<Signal>> {
        self.0.iter().rev().find(|rewrite| rewrite.from == signal).map(|rewrite| rewrite.to)
    }

    /// Adds a rule, which overrides earlier rules for the same signal.
    pub fn set(&mut self, from: Signal, to: Option<Signal>) {
        self.0.push(Rewrite { from, to });
    }
}

impl FromIterator<Rewrite> for Rewrites {
    fn from_iter<T: IntoIterator<Item = Rewrite>>(rewrites: T) -> Self {
        Self(rewrites.into_iter().collect())
    }
}
