//! Signal rewriting: `--rewrite S:R` forwards signal R when signal S arrives.

use crate::keys::values;
use crate::language::invalid::Invalid;
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

/// One rule `S:R` of `--rewrite`: signal R is forwarded when signal S arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pub from: Signal,
    /// The signal to forward; `None` drops the signal that has arrived.
    pub to: Option<Signal>,
}

impl Rewrite {
    /// Parses a rule, such as `TERM:QUIT`, `15:3`, `HUP:0` or `RTMIN+3:TERM`.
    ///
    /// # Errors
    /// Says why the text is not a rule.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let Some((from, to)) = text.split_once(':') else {
            let help = "write SIGNAL:SIGNAL, such as `TERM:QUIT`, or `HUP:0` to drop it";
            return Err(Invalid::new("not a rule", help));
        };
        let from = values::signal(from)?;
        if from == Signal::KILL || from == Signal::STOP {
            let why = format!("wrong: {from} never arrives, because the kernel acts on it itself");
            return Err(Invalid::new(why, "name another signal"));
        }
        let to = if to.trim() == "0" { None } else { Some(values::signal(to)?) };
        Ok(Self { from, to })
    }
}
