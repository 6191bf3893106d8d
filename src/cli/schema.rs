//! `drainit schema`: prints the JSON Schema of a config.

use std::io::{self, Write};

use crate::load::schema::schema;
use crate::types::exit_code;

/// Prints the schema.
pub(super) fn run() -> u8 {
    // Best effort: the reader may have closed the pipe.
    let _ = writeln!(io::stdout(), "{:#}", schema());
    exit_code::OK
}
