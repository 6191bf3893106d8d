//! A text of the config, with a mark for each value in it that is known only later: a process's
//! share of the deadline, which the plan of the whole config gives, and a limit of the container,
//! which each start of the process reads again.

use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;

use crate::language::deadline_share::DeadlineShare;
use drainit_os::limits;

/// Stands for a value that is known only later.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// The time with this name of [`DeadlineShare`].
    Share(&'static str),
    Limit(LimitShare),
}

/// A percentage of a limit of the container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitShare {
    /// One of [`limits::NAMES`].
    pub(crate) name: &'static str,
    pub(crate) percent: u64,
}

impl LimitShare {
    /// The number for this value of the limit.
    ///
    /// # Errors
    /// Says that the limit is not known.
    pub(crate) fn of(self, limit: Option<u64>) -> Result<String, String> {
        let limit =
            limit.ok_or_else(|| format!("`{}` of the container is not known", self.name))?;
        Ok((limit * self.percent / 100).to_string())
    }
}

#[derive(Clone)]
enum Part {
    Known(String),
    /// The mark, and the value that the text has now in its place.
    Later(Mark, String),
}

/// A text in which every value can be read: a marked value as it is now, and a share of the
/// deadline as 0 until the share is put in.
#[derive(Clone, Default)]
pub struct Text {
    now: String,
    /// This text in parts. Empty if the text has no mark.
    parts: Vec<Part>,
}

impl Text {
    pub(crate) fn push_str(&mut self, text: &str) {
        self.now.push_str(text);
        match self.parts.last_mut() {
            None => {}
            Some(Part::Known(last)) => last.push_str(text),
            Some(Part::Later(..)) => self.parts.push(Part::Known(text.to_owned())),
        }
    }

    /// Appends a mark, with the value that it has now.
    pub(crate) fn push_mark(&mut self, mark: Mark, value: String) {
        if self.parts.is_empty() {
            self.parts.push(Part::Known(self.now.clone()));
        }
        self.now.push_str(&value);
        self.parts.push(Part::Later(mark, value));
    }

    /// Appends a text with its marks.
    pub(crate) fn push(&mut self, text: &Self) {
        if text.parts.is_empty() {
            self.push_str(&text.now);
        }
        for part in &text.parts {
            match part {
                Part::Known(text) => self.push_str(text),
                Part::Later(mark, value) => self.push_mark(*mark, value.clone()),
            }
        }
    }

    /// The texts with `between` between each two of them.
    pub(crate) fn join(texts: &[Self], between: &str) -> Self {
        let mut out = Self::default();
        for (place, text) in texts.iter().enumerate() {
            out.push_str(if place == 0 { "" } else { between });
            out.push(text);
        }
        out
    }

    /// The text before the first `separator`, and the text after it. No marked value has the
    /// separator.
    pub(crate) fn split_once(&self, separator: char) -> Option<(Self, Self)> {
        let (before, after) = self.now.split_once(separator)?;
        if self.parts.is_empty() {
            return Some((before.into(), after.into()));
        }
        let (mut first, mut second) = (Self::default(), None::<Self>);
        for part in &self.parts {
            let text = match part {
                Part::Known(text) => text,
                Part::Later(mark, value) => {
                    second.as_mut().unwrap_or(&mut first).push_mark(*mark, value.clone());
                    continue;
                }
            };
            match (&mut second, text.split_once(separator)) {
                (None, Some((before, after))) => {
                    first.push_str(before);
                    second = Some(after.into());
                }
                (into, _) => into.as_mut().unwrap_or(&mut first).push_str(text),
            }
        }
        Some((first, second?))
    }

    /// Removes line breaks from the end.
    pub(crate) fn trim_line_breaks(&mut self) {
        const BREAKS: [char; 2] = ['\n', '\r'];
        self.now.truncate(self.now.trim_end_matches(BREAKS).len());
        if let Some(Part::Known(last)) = self.parts.last_mut() {
            last.truncate(last.trim_end_matches(BREAKS).len());
        }
    }

    pub(crate) fn has_share(&self) -> bool {
        self.marks().any(|mark| matches!(mark, Mark::Share(_)))
    }

    /// Whether each start of the process must read a limit of the container for this text.
    pub(crate) fn has_limit(&self) -> bool {
        self.marks().any(|mark| matches!(mark, Mark::Limit(_)))
    }

    fn marks(&self) -> impl Iterator<Item = Mark> {
        self.parts.iter().filter_map(|part| match part {
            Part::Later(mark, _) => Some(*mark),
            Part::Known(_) => None,
        })
    }

    /// Replaces the marks of the share by its times.
    pub(crate) fn put_share(&mut self, share: DeadlineShare) {
        if !self.has_share() {
            return;
        }
        let mut out = Self::default();
        for part in &self.parts {
            match part {
                Part::Known(text) => out.push_str(text),
                Part::Later(Mark::Share(name), value) => {
                    let number = share.number(name);
                    out.push_str(number.as_ref().unwrap_or(value));
                }
                Part::Later(limit, value) => out.push_mark(*limit, value.clone()),
            }
        }
        *self = out;
    }

    /// The text with the limits that the container has now.
    ///
    /// # Errors
    /// Says which limit is not known.
    pub(crate) fn with_limits(&self) -> Result<Self, String> {
        if !self.has_limit() {
            return Ok(self.clone());
        }
        let part = |part: &Part| match part {
            Part::Later(Mark::Limit(share), _) => share.of(limits::value(share.name)),
            Part::Known(text) | Part::Later(_, text) => Ok(text.clone()),
        };
        self.parts.iter().map(part).collect::<Result<String, _>>().map(Self::from)
    }

    /// The text with its marks as the config has them.
    #[cfg(test)]
    pub(crate) fn with_marks(&self) -> String {
        let part = |part: &Part| match part {
            Part::Known(text) => text.clone(),
            Part::Later(Mark::Share(name), _) => format!("${{{name}}}"),
            Part::Later(Mark::Limit(LimitShare { name, percent }), _) => {
                format!("${{{name}:{percent}%}}")
            }
        };
        match self.parts.is_empty() {
            true => self.now.clone(),
            false => self.parts.iter().map(part).collect(),
        }
    }

    /// The text with the values of now, without marks.
    pub fn into_now(self) -> String {
        self.now
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.now
    }
}

impl From<String> for Text {
    fn from(now: String) -> Self {
        Self { now, parts: Vec::new() }
    }
}

impl From<&str> for Text {
    fn from(now: &str) -> Self {
        now.to_owned().into()
    }
}

/// Texts are equal if they are equal now.
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.now == other.now
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.now == other
    }
}

impl AsRef<OsStr> for Text {
    fn as_ref(&self) -> &OsStr {
        self.now.as_ref()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now.fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const CPUS: Mark = Mark::Limit(LimitShare { name: "cpus", percent: 100 });

    fn marked() -> Text {
        let mut text = Text::from("a=");
        text.push_mark(Mark::Share("stop_ms"), "0".to_owned());
        text.push_str("=");
        text.push_mark(CPUS, "x".to_owned());
        text.push_str("\n\r\n");
        text
    }

    #[test]
    fn marks_stay_in_the_parts_of_a_text() {
        let share = DeadlineShare { stop: Duration::from_millis(250), ..DeadlineShare::default() };
        let limit = limits::value("cpus").unwrap();
        let put = |mut text: Text| {
            text.put_share(share);
            assert!(!text.has_share());
            (text.to_string(), text.with_limits().unwrap().into_now())
        };
        let both = |now: &str, start: String| (now.to_owned(), start);
        assert_eq!((&*marked(), marked().has_limit()), ("a=0=x\n\r\n", true));
        assert_eq!(put(marked()), both("a=250=x\n\r\n", format!("a=250={limit}\n\r\n")));
        let (name, value) = marked().split_once('=').unwrap();
        assert_eq!((&*name, name.has_limit(), name.has_share()), ("a", false, false));
        assert_eq!(put(value), both("250=x\n\r\n", format!("250={limit}\n\r\n")));
        let mut joined = Text::join(&["b".into(), marked(), marked()], "-");
        joined.trim_line_breaks();
        let start = format!("b-a=250={limit}\n\r\n-a=250={limit}");
        assert_eq!(put(joined), both("b-a=250=x\n\r\n-a=250=x", start));
        assert!(Text::from("a").split_once('=').is_none());
        assert_eq!(marked(), Text::from("a=0=x\n\r\n"), "they are equal now");
    }
}
