//! Finds the string literals in the source text of Rust. Tests use them to compare code with
//! documentation.

/// A string literal. The escapes of the literal are replaced by the characters that they stand for.
#[derive(Debug, PartialEq, Eq)]
pub struct Literal {
    pub text: String,
    /// The position of its first byte in the source.
    pub at: usize,
}

/// All string literals of a source text in order, except those in comments.
pub fn string_literals(source: &str) -> Vec<Literal> {
    let mut literals = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let end_of =
            |pattern: &str| rest.find(pattern).map_or(rest.len(), |end| end + pattern.len());
        let after_name = source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let hashes = rest.get(1..).unwrap_or("").chars().take_while(|c| *c == '#').count();
        let is_raw = rest.starts_with('r') && !after_name && rest[1 + hashes..].starts_with('"');
        if rest.starts_with("//") {
            at += end_of("\n");
        } else if rest.starts_with("/*") {
            at += end_of("*/");
        } else if is_raw {
            let start = hashes + 2;
            let closing = format!("\"{}", "#".repeat(hashes));
            let length = rest[start..].find(&closing).unwrap_or(rest.len() - start);
            literals.push(Literal { text: rest[start..start + length].to_owned(), at });
            at += start + length + closing.len();
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (text, length) = unescape(quoted);
            literals.push(Literal { text, at });
            at += 1 + length;
        } else if let Some(quoted) = rest.strip_prefix('\'') {
            // A single quote begins a character literal or the name of a lifetime.
            let first = quoted.chars().next().map_or(0, char::len_utf8);
            at += match quoted.strip_prefix('\\') {
                Some(escape) => {
                    3 + escape.get(1..).and_then(|rest| rest.find('\'')).unwrap_or(0) + 1
                }
                None if quoted[first..].starts_with('\'') => first + 2,
                None => 1,
            };
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    literals
}

/// Returns the text of a literal up to its closing quote, and the number of bytes that the text and
/// the quote take in the source.
fn unescape(source: &str) -> (String, usize) {
    let mut text = String::new();
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, at + 1),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, '0')) => text.push('\0'),
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, other)) => text.push(other),
                None => {}
            },
            c => text.push(c),
        }
    }
    (text, source.len())
}

#[test]
fn literals_are_found() {
    let source = "f(\"a\\n\\\"b\", r#\"c\"d\"#, '\"', b\"e\"); // \"no\"\nlet x: &'static str = \"f \\\n    g\";";
    let texts: Vec<_> = string_literals(source).into_iter().map(|literal| literal.text).collect();
    assert_eq!(texts, ["a\n\"b", "c\"d", "e", "f g"]);
}
