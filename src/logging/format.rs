//! The format of drainit's own lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::Level;

use crate::keys::LogFormat;
use crate::logging::split::write_json_string;
use crate::types::{Stream, harmless_lines};

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can express.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

/// Writes a time as RFC 3339, in UTC, with milliseconds. A time before 1970 or after 9999 becomes
/// the nearest time in that range.
pub fn stamp(now: SystemTime) -> String {
    let now = UNIX_EPOCH + now.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST_SECOND);
    humantime::format_rfc3339_millis(now).to_string()
}

/// Formats a message of drainit. In text, every line gets the prefix and the time, and the first
/// line gets the level unless it is `info`. In JSON, the message is one object.
pub fn own_line(
    format: LogFormat,
    stream: Stream,
    level: Level,
    now: SystemTime,
    message: &str,
) -> Vec<u8> {
    let time = stamp(now);
    // Escape sequences in the message must not reach a terminal.
    let message = harmless_lines(message.trim_end_matches('\n'));
    let mut out = Vec::with_capacity(message.len() + 128);
    match format {
        LogFormat::Text => {
            let mut label = match level {
                Level::ERROR => "error: ",
                Level::WARN => "warning: ",
                Level::INFO => "",
                _ => "debug: ",
            };
            for line in message.split('\n') {
                out.extend_from_slice(format!("[drainit] {time} {label}{line}\n").as_bytes());
                label = "";
            }
        }
        LogFormat::Json => {
            let level = match level {
                Level::ERROR => "error",
                Level::WARN => "warn",
                Level::INFO => "info",
                _ => "debug",
            };
            let head = format!(
                "{{\"time\":\"{time}\",\"process\":\"drainit\",\"stream\":\"{stream}\",\"level\":\"{level}\",\"message\":"
            );
            out.extend_from_slice(head.as_bytes());
            write_json_string(&message, &mut out);
            out.extend_from_slice(b"}\n");
        }
    }
    out
}

/// Adds members to a line in JSON: `"name":value`, separated by commas.
pub(crate) fn add_members(line: &mut Vec<u8>, members: &str) {
    if line.ends_with(b"}\n") {
        line.truncate(line.len() - 2);
        line.extend([b",", members.as_bytes(), b"}\n"].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat, level: Level, message: &str) -> String {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_158_252_123);
        String::from_utf8(own_line(format, Stream::Stderr, level, now, message)).unwrap()
    }

    // holds: C138
    #[test]
    fn text_has_the_prefix_on_every_line() {
        let ready = line(LogFormat::Text, Level::INFO, "ready");
        assert_eq!(ready, "[drainit] 2026-11-20T07:04:12.123Z ready\n");
        assert_eq!(
            line(LogFormat::Text, Level::ERROR, "it failed:\n\nwhy\n"),
            "[drainit] 2026-11-20T07:04:12.123Z error: it failed:\n\
             [drainit] 2026-11-20T07:04:12.123Z \n\
             [drainit] 2026-11-20T07:04:12.123Z why\n"
        );
    }

    #[test]
    fn a_clock_out_of_range_is_clamped() {
        assert_eq!(stamp(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
        let far = UNIX_EPOCH + Duration::from_secs(400_000_000_000);
        assert_eq!(stamp(far), "9999-12-31T23:59:59.000Z");
    }
}
