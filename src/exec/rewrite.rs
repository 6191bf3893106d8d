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

    /// The result of the last rule for `signal`; `None` if there is no rule.
    pub fn rule(&self, signal: Signal) -> Option<Option<Signal>> {
        self.0.iter().rev().find(|rewrite| rewrite.from == signal).map(|rewrite| rewrite.to)
    }

    /// Adds a rule, which overrides earlier rules.
    pub fn set(&mut self, from: Signal, to: Option<Signal>) {
        self.0.push(Rewrite { from, to });
    }
}

impl FromIterator<Rewrite> for Rewrites {
    fn from_iter<T: IntoIterator<Item = Rewrite>>(rewrites: T) -> Self {
        Self(rewrites.into_iter().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn number(number: i32) -> Signal {
        Signal::from_number(number).unwrap()
    }

    #[test]
    fn rewrites_are_read_in_every_usual_form() {
        for (text, from, to) in [
            ("TERM:QUIT", 15, Some(3)),
            ("15:3", 15, Some(3)),
            ("SIGHUP:0", 1, None),
            ("rtmin+3:sigterm", 37, Some(15)),
            ("TERM:RTMAX", 15, Some(64)),
            (" 2 : 9 ", 2, Some(9)),
        ] {
            let expected = Rewrite { from: number(from), to: to.map(number) };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for (text, why) in [
            ("TERM", "SIGNAL:SIGNAL"),
            ("", "SIGNAL:SIGNAL"),
            ("TREM:QUIT", "did you mean `TERM`?"),
            ("TERM:", "`` is not a signal"),
            ("0:3", "`0` is not a signal"),
            ("15:65", "`65` is not a signal"),
            ("15:-3", "`-3` is not a signal"),
            ("KILL:TERM", "SIGKILL never arrives"),
            ("19:TERM", "SIGSTOP never arrives"),
        ] {
            let error = text.parse::<Rewrite>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn last_rule_wins_and_other_signals_are_unchanged() {
        let rules = ["TERM:QUIT", "HUP:0", "TERM:INT"].map(|text| text.parse::<Rewrite>().unwrap());
        let rewrites: Rewrites = rules.into_iter().collect();
        assert_eq!(rewrites.of(Signal::TERM), Some(Signal::INT));
        assert_eq!(rewrites.of(Signal::HUP), None);
        for other in (1..=64).map(number).filter(|signal| ![1, 15].contains(&signal.number())) {
            assert_eq!(rewrites.of(other), Some(other));
        }
    }
}
