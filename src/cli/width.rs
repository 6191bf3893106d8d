//! Fits text into the width of a terminal without cutting anything off.

/// The width of a line that does not go to a terminal: such a line is not wrapped.
pub(super) const WHOLE: usize = usize::MAX;
/// The narrowest room for a wrapped text. A narrower terminal wraps the lines itself.
const NARROWEST: usize = 20;

/// Wraps one line. Later lines begin with `indent` blanks. Breaks at blanks; a word that takes most
/// of a line may be broken, too.
pub(super) fn wrap(line: &str, width: usize, indent: usize) -> String {
    let width = width.max(NARROWEST + indent.min(width / 2));
    let indent = indent.min(width / 2);
    let mut out = String::new();
    let mut rest: Vec<char> = line.chars().collect();
    let mut start = 0;
    while rest.len() > width {
        let is_break = |at: &usize| rest[*at] == ' ' && *at > start;
        let (at, skipped) = match (start..=width).rev().find(is_break) {
            // A break that leaves most of the line empty would hide that the text continues.
            Some(at) if at > start + (width - start) / 4 => (at, 1),
            _ => (width, 0),
        };
        out.extend(rest[..at].iter());
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
        let later = rest.split_off(at + skipped);
        let later = later.into_iter().skip_while(|c| *c == ' ');
        rest = std::iter::repeat_n(' ', indent).chain(later).collect();
        start = indent;
    }
    out.extend(rest);
    out
}

/// Wraps the help of a command. The texts of the options keep their column.
pub(super) fn wrap_help(text: &str, width: usize) -> String {
    let wrapped = text.lines().map(|line| wrap(line, width, column_of_text(line)));
    wrapped.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// The column at which the text of a line of the help begins. In ` -v, --verbose  TEXT`, the text
/// begins behind the first gap of two blanks. In a line without such a gap, or without an
/// indentation, the text begins with the first word.
fn column_of_text(line: &str) -> usize {
    let first = line.len() - line.trim_start().len();
    let gap = line[first..].find("  ").map(|at| first + at);
    let text =
        gap.filter(|_| first > 0).map(|at| at + line[at..].len() - line[at..].trim_start().len());
    let column = text.filter(|at| *at < line.len()).unwrap_or(first);
    line[..column].chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_cut_and_every_line_fits() {
        let text = "NAME  starting  http://127.0.0.1:29999/health/ready: connection refused";
        for width in 26..80 {
            let wrapped = wrap(text, width, 6);
            let fits = wrapped.lines().all(|line| line.chars().count() <= width);
            assert!(fits, "{width}\n{wrapped}");
            let letters =
                |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<_>>();
            assert_eq!(letters(&wrapped), letters(text), "{width}\n{wrapped}");
        }
        assert_eq!(wrap("a b", 80, 2), "a b");
        let long = format!("{} b", "a".repeat(30));
        assert_eq!(wrap(&long, 24, 2), format!("{}\n  {} b", "a".repeat(24), "a".repeat(6)));
    }

    // holds: C887
    #[test]
    fn texts_of_options_keep_their_column() {
        let help = "Usage: x\n\n  -c, --config <FILE>  Config file, or a directory of files\n      --bare\n";
        let expected = "Usage: x\n\n  -c, --config <FILE>  Config file, or a\n                       directory of files\n      --bare\n";
        assert_eq!(wrap_help(help, 46), expected);
        assert_eq!(wrap_help(help, WHOLE), help);
    }
}
