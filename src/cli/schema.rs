//! `drainit schema`: prints the JSON Schema of a config.

use crate::cli::print;
use crate::load::schema::schema;
use crate::types::exit_code;

/// Prints the schema.
pub(super) fn run() -> u8 {
    print(format!("{:#}\n", schema()).as_bytes());
    exit_code::OK
}
