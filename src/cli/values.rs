//! Values of options, read as those of a config are.

use std::time::Duration;

use crate::load::values;

pub(super) fn explain(bad: values::Invalid) -> String {
    format!("{}; {}", bad.why, bad.help)
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    values::duration(text).map_err(explain)
}

pub(super) fn positive(text: &str) -> Result<Duration, String> {
    values::positive_duration(text).map_err(explain)
}

pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
