//! The comments `# drainit: allow ID: REASON`, each of which silences the findings of one rule at its
//! line, or in the entry below it.

use std::collections::HashMap;

use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::rule::Rule;
use crate::language::diagnostics::severity::Severity;
use crate::language::source::Source;
use crate::language::span::Span;

/// The beginning of such a comment, behind `#` and spaces.
const MARK: &str = "drainit: allow";

/// Whether a value may contain a text that looks like such a comment.
pub(crate) fn is_like_a_comment(text: &str) -> bool {
    text.contains(MARK)
}

/// The values that look like comments, such as the lines of a script.
#[derive(Debug, Default)]
pub(super) struct Comments(HashMap<usize, Vec<(usize, usize)>>);

impl Comments {
    pub(super) fn add_value(&mut self, file: usize, first: usize, last: usize) {
        self.0.entry(file).or_default().push((first, last));
    }

    /// The comments of a file.
    pub(super) fn allows(&self, file: usize, source: &Source) -> Vec<Allow> {
        if source.is_secret() || !is_like_a_comment(&source.text) {
            return Vec::new();
        }
        let values = self.0.get(&file).map_or(&[][..], Vec::as_slice);
        let is_value =
            |line: usize| values.iter().any(|(first, last)| (*first..=*last).contains(&line));
        let lines: Vec<_> = source.text.lines().collect();
        let mut entry = None;
        let numbers = (1..=lines.len()).filter(|line| !is_value(*line));
        numbers.filter_map(|line| Allow::read(file, &lines, line, &mut entry)).collect()
    }
}

/// A comment that silences findings.
#[derive(Debug)]
pub(super) struct Allow {
    pub(super) span: Span,
    id: String,
    pub(super) reason: String,
    /// The first and the last line in which the comment silences findings.
    first: usize,
    last: usize,
    /// Whether the comment stands above the first key, and so silences findings about the whole file.
    is_first: bool,
    pub(super) is_used: bool,
}

/// The indent of a line, and whether the line begins an item of a list.
fn indent(line: &str) -> (usize, bool) {
    let text = line.trim_start_matches(' ');
    (line.len() - text.len(), text == "-" || text.starts_with("- "))
}

fn is_blank(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#')
}

impl Allow {
    /// Reads the comment of a line (from 1). `entry` keeps the first and the last line of the entry
    /// below, which is the same for all comments above this entry.
    fn read(
        file: usize,
        lines: &[&str],
        number: usize,
        entry: &mut Option<(usize, usize)>,
    ) -> Option<Self> {
        let line = lines[number - 1];
        let is_mark = |(at, _): &(usize, &str)| {
            let is_separate = line[..*at].is_empty() || line[..*at].ends_with([' ', '\t']);
            let rest = line[at + 1..].trim_start().strip_prefix(MARK);
            is_separate && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ':']))
        };
        let (at, _) = line.match_indices('#').find(is_mark)?;
        let (_, text) = line[at..].split_once(MARK)?;
        let (id, reason) = text.split_once(':').unwrap_or((text, ""));
        let is_alone = line[..at].trim().is_empty();
        let is_content = |number: &usize| !is_blank(lines[*number - 1]);
        if is_alone && entry.is_none_or(|(first, _)| first <= number) {
            let next = (number + 1..=lines.len()).find(is_content);
            *entry = next.map(|next| (next, last_of_entry(lines, next)));
        }
        let (first, last) = entry.filter(|_| is_alone).unwrap_or((number, number));
        let column = line[..at].chars().count() + 1;
        Some(Self {
            span: Span::new(file, number, column, line[at..].trim_end().chars().count()),
            id: id.trim().to_owned(),
            reason: reason.trim().to_owned(),
            first,
            last,
            is_first: is_alone && lines[..number].iter().all(|line| is_blank(line)),
            is_used: false,
        })
    }

    /// Whether the comment silences a finding. It never silences an error.
    pub(super) fn silences(&self, rule: Option<Rule>, severity: Severity, at: Span) -> bool {
        let is_near = match at.line() {
            0 => self.is_first,
            line => (self.first..=self.last).contains(&line),
        };
        let is_of = |rule: Rule| rule.can_be_allowed() && rule.id() == self.id;
        let is_near = is_near && at.file() == self.span.file();
        severity != Severity::Error && is_near && rule.is_some_and(is_of)
    }

    /// The fault of the comment: its rule, a message and a help text. `sought` has the rules that the
    /// check judges.
    pub(super) fn fault(&self, sought: Option<fn(Rule) -> bool>) -> Option<(Rule, String, String)> {
        const FORM: &str = "write `# drainit: allow ID: REASON`";
        let id = &self.id;
        let rule = match Rule::parse(id) {
            Ok(rule) if !rule.can_be_allowed() => {
                let message = format!("`{id}` cannot be allowed");
                let help = format!(
                    "mend what it reports (`drainit check --explain {id}`), and remove this comment"
                );
                return Some((Rule::UnknownAllow, message, help));
            }
            Ok(rule) => rule,
            Err(_) if id.is_empty() => {
                let help = format!("{FORM} with the id of a finding, which stands below its help");
                return Some((
                    Rule::UnknownAllow,
                    "this comment allows nothing: it has no id".to_owned(),
                    help,
                ));
            }
            Err(similar) => {
                let message = format!("no finding has the id {}", quote(id));
                let help = match similar {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!("{FORM} with the id of a finding, which stands below its help"),
                };
                return Some((Rule::UnknownAllow, message, help));
            }
        };
        if self.reason.is_empty() {
            let message = format!("this comment allows `{id}` without a reason");
            let help = format!("write the reason behind the id: `# drainit: allow {id}: REASON`");
            return Some((Rule::AllowWithoutReason, message, help));
        }
        let is_unused = !self.is_used && sought.is_some_and(|sought| sought(rule));
        is_unused.then(|| {
            let message = format!("this comment allows `{id}`, which is not found here");
            let help = "remove it, or move it to the line of the finding or above its process";
            (Rule::UnusedAllow, message, help.to_owned())
        })
    }
}

/// The last line of the entry or the item that begins at a line (from 1).
fn last_of_entry(lines: &[&str], first: usize) -> usize {
    let (depth, is_item) = indent(lines[first - 1]);
    let is_inside = |number: &usize| {
        let line = lines[*number - 1];
        let (deep, begins_item) = indent(line);
        // A list may be as deep as its key.
        is_blank(line) || deep > depth || deep == depth && begins_item && !is_item
    };
    (first + 1..=lines.len()).take_while(is_inside).last().unwrap_or(first)
}
