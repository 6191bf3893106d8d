//! What the YAML parser complains about, in words that help.

use crate::load::yaml::Complaint;

/// A readable message and a mend for a complaint of the parser about a place in `line`.
pub(crate) fn explain(complaint: &Complaint, line: &str) -> (String, String) {
    use Complaint as C;
    let (text, help) = match complaint {
        // `[${VAR}]` is the commonest trap of this format: the brace opens a flow mapping there.
        C::ExpectedFlowMappingSeparator
        | C::ExpectedFlowSequenceSeparator
        | C::UnexpectedEndOfPlainScalar
        | C::InvalidSimpleKey
        | C::SimpleKeyExpected
        | C::MisplacedFlowCollectionEnd
            if line.contains("${") =>
        {
            ("`${` inside `[…]` or `{…}`", r#"put the value into quotes: "${VAR}""#)
        }
        C::TabNotAllowed
        | C::TabInBlockIndentation
        | C::TabInIndentation
        | C::TabAtBlockScalarStart
        | C::TabInPlainScalar => ("a tab where blanks are needed", "indent with blanks"),
        C::MappingValueNotAllowed | C::InvalidColonPlacement => (
            "a `:` that does not belong here",
            "put the value into quotes if it contains `: `; else look for what is missing before it: a `:`, `]` or `}`",
        ),
        C::UnclosedQuotedScalar => {
            ("a quote is opened here and never closed", "add the closing quote")
        }
        C::InvalidQuotedScalarIndent => (
            "text in quotes goes on in this line, which is not indented",
            "add the closing quote before it, or indent it",
        ),
        C::UnknownAnchor => (
            "an alias to an anchor that is not defined above",
            "define it with `&NAME` before it is used",
        ),
        C::UnknownQuotedScalarEscape
        | C::InvalidQuotedScalarHexEscape
        | C::InvalidUnicodeEscape => (
            "an escape that YAML does not know",
            "in single quotes a backslash is just a backslash",
        ),
        C::ExpectedFlowMappingSeparator
        | C::UnexpectedEofFlowMapping
        | C::UnexpectedEofImplicitFlowMapping => {
            ("a flow mapping that goes on without `,` or `}`", "add the missing `,` or `}`")
        }
        C::ExpectedFlowSequenceSeparator | C::UnexpectedEofFlowSequence => {
            ("a list that goes on without `,` or `]`", "add the missing `,` or `]`")
        }
        C::MisplacedFlowCollectionEnd => {
            ("a bracket that does not match", "remove it, or add the one that is missing")
        }
        C::UnexpectedCharacter { .. } => {
            ("a character that cannot begin a value", "put the value into quotes")
        }
        C::RecursionLimitExceeded => {
            ("nested too deep", "no key of a config is that deep: is this the right file?")
        }
        C::InvalidSimpleKey | C::SimpleKeyExpected => (
            "a line that is no `KEY: VALUE`",
            "add the `:` with a blank after it, and mind the indentation",
        ),
        C::InvalidIndentation
        | C::ExpectedBlockSequenceEntry
        | C::BlockSequenceEntryNotAllowed
        | C::InvalidFlowScalarIndent
        | C::ExpectedBlockMappingKey
        | C::InvalidBlockScalarIndent => {
            ("the indentation does not fit", "indent it like its neighbours, with blanks")
        }
        other => {
            let help = "mind quotes, brackets and indentation in this line and the one before";
            let other = other.to_string().replace(char::is_control, " ");
            return (format!("not valid YAML: {other}"), help.to_owned());
        }
    };
    (format!("not valid YAML: {text}"), help.to_owned())
}
