//! INI as Python's configparser reads it for supervisord: sections, `key = value`, values that go on in indented lines,
//! comments with `;` and `#`, and with ` ;` and ` #` behind a value. A section that comes again goes on.

/// One section, in file order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    /// From 1.
    pub(super) line: usize,
    pub(super) entries: Vec<(String, String)>,
}

impl Section {
    /// The value of a key; of several the last.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// A line that cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) line: usize,
    pub(super) message: &'static str,
    pub(super) help: &'static str,
}

/// The sections of a file.
pub(super) fn read(text: &str) -> Result<Vec<Section>, BadLine> {
    let mut sections: Vec<Section> = Vec::new();
    let mut current = 0;
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let bad = |message, help| BadLine { line, message, help };
        let content = raw.trim();
        if content.is_empty() || content.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = content.strip_prefix('[') {
            let Some((name, _)) = name.split_once(']') else {
                return Err(bad("this section has no end", "close it with `]`"));
            };
            let name = name.trim();
            let known = sections.iter().position(|section| section.name == name);
            current = known.unwrap_or(sections.len());
            if known.is_none() {
                sections.push(Section { name: name.to_owned(), line, entries: Vec::new() });
            }
            continue;
        }
        let Some(section) = sections.get_mut(current) else {
            return Err(bad(
                "this stands before the first section",
                "begin with a section, like [supervisord]",
            ));
        };
        let content = without_comment(content);
        if raw.starts_with([' ', '\t'])
            && let Some((_, value)) = section.entries.last_mut()
        {
            value.push('\n');
            value.push_str(content);
            continue;
        }
        let Some((key, value)) = content.split_once(['=', ':']) else {
            return Err(bad(
                "this is neither a section nor a key with a value",
                "write `key=value`",
            ));
        };
        section.entries.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(sections)
}

fn without_comment(line: &str) -> &str {
    let comment = |(index, c): &(usize, char)| {
        matches!(c, ';' | '#') && line[..*index].ends_with(char::is_whitespace)
    };
    let end = line.char_indices().find(comment).map_or(line.len(), |(index, _)| index);
    line[..end].trim_end()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::read;

    #[test]
    fn values_go_on_in_indented_lines_and_end_before_comments() {
        let text = "; a comment\n[a]\nx = 1 ; one\ny=2,\n  3;4\n# another\n[b]\nX: 5\t# five\n[a]\nx=1#2\n";
        let sections = read(text).unwrap();
        assert_eq!(sections.len(), 2);
        assert_eq!((sections[0].get("x"), sections[0].get("y")), (Some("1#2"), Some("2,\n3;4")));
        assert_eq!((sections[1].line, sections[1].get("x")), (7, Some("5")));
    }

    #[test]
    fn a_line_that_is_nothing_is_named() {
        assert_eq!(read("x=1").unwrap_err().line, 1);
        assert_eq!(read("[a\n").unwrap_err().line, 1);
        assert_eq!(read("[a]\n\nwhat\n").unwrap_err().line, 3);
    }
}
