//! The messages and help texts for the errors that the YAML parser finds.

use crate::language::yaml::Complaint;

/// Returns the message and the help text for an error. `line` is the text of the line in which the
/// parser found the error.
pub(crate) fn explain(complaint: &Complaint, line: &str) -> (String, String) {
    use Complaint as C;
    let (text, help) = match complaint {
        // Often a variable without quotes is the reason: in `[${VAR}]` YAML takes the brace as the
        // start of a mapping.
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
        | C::TabInPlainScalar => ("a tab where spaces are needed", "indent with spaces"),
        C::MappingValueNotAllowed | C::InvalidColonPlacement => (
            "unexpected `:`",
            "put the value into quotes if it contains `: `; else check for a missing `:`, `]` or `}` before it",
        ),
        C::UnclosedQuotedScalar => ("this quote is not closed", "add the closing quote"),
        C::InvalidQuotedScalarIndent => (
            "quoted text continues on this line, which is not indented",
            "add the closing quote before it, or indent it",
        ),
        C::UnknownAnchor => (
            "an alias to an anchor that is not defined above",
            "define it with `&NAME` before it is used",
        ),
        C::UnknownQuotedScalarEscape
        | C::InvalidQuotedScalarHexEscape
        | C::InvalidUnicodeEscape => {
            ("unknown escape", "use single quotes, where a backslash is an ordinary character")
        }
        C::ExpectedFlowMappingSeparator
        | C::UnexpectedEofFlowMapping
        | C::UnexpectedEofImplicitFlowMapping => {
            ("missing `,` or `}` in a flow mapping", "add the missing `,` or `}`")
        }
        C::ExpectedFlowSequenceSeparator | C::UnexpectedEofFlowSequence => {
            ("missing `,` or `]` in a list", "add the missing `,` or `]`")
        }
        C::MisplacedFlowCollectionEnd => {
            ("a bracket that does not match", "remove it, or add the one that is missing")
        }
        C::UnexpectedCharacter { .. } => {
            ("a character that cannot begin a value", "put the value into quotes")
        }
        C::RecursionLimitExceeded => {
            ("nested too deeply", "no key of a config is that deep: is this the right file?")
        }
        C::InvalidSimpleKey | C::SimpleKeyExpected => (
            "not a `KEY: VALUE` line",
            "add the `:` with a space after it, and check the indentation",
        ),
        C::InvalidIndentation
        | C::ExpectedBlockSequenceEntry
        | C::BlockSequenceEntryNotAllowed
        | C::InvalidFlowScalarIndent
        | C::ExpectedBlockMappingKey
        | C::InvalidBlockScalarIndent => {
            ("wrong indentation", "indent the line like its neighbours, with spaces")
        }
        other => {
            let help = "check quotes, brackets and indentation on this line and the one before";
            let other = other.to_string().replace(char::is_control, " ");
            return (format!("not valid YAML: {other}"), help.to_owned());
        }
    };
    (format!("not valid YAML: {text}"), help.to_owned())
}
