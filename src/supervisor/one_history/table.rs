//! The table of `drainit status`.

use super::*;

impl Play {
    /// Checks that the table has the values of the status.
    pub(super) fn check_table(&self, shown: &Value) {
        let text = table(shown);
        let mut lines = text.lines();
        let head = lines.next().unwrap();
        assert!(head.starts_with(shown["phase"].as_str().unwrap()), "{head}");
        let is_ready = head.contains(", ready,");
        assert!(shown["shutdown"].is_object() || is_ready == (shown["ready"] == true), "{head}");
        let processes = shown["processes"].as_array().unwrap();
        for (key, word) in [("connections", " connection"), ("requests", " request")] {
            // The counts of a stop are left out if a drain has counted.
            let of = |one: &Value| one["drain"][key].as_u64().or_else(|| one["stop"][key].as_u64());
            let counts: Vec<_> = processes.iter().filter_map(of).collect();
            let sum: u64 = counts.iter().sum();
            let shown = head.contains(&format!(", {sum}{word}"));
            assert_eq!(shown, !counts.is_empty(), "the {key} in {head}");
        }
        let mut lines = lines.skip_while(|line| !line.starts_with("NAME"));
        let columns = "NAME STATE PID SINCE RESTARTS CPU MEMORY NOTE";
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(lines.next().unwrap()), columns);
        for (process, line) in processes.iter().zip(lines.by_ref()) {
            let text = words(line);
            let mut cells = text.split(' ');
            let mut cell = || cells.next().unwrap().to_owned();
            assert_eq!(process["name"], cell(), "{line}");
            let is_drained = process["state"] == "ready" && process["drain"]["over"].is_string();
            let state = if is_drained { &json!("drained") } else { &process["state"] };
            assert_eq!(*state, cell(), "{line}");
            let pid = process["pid"].as_i64().map_or("-".to_owned(), |pid| pid.to_string());
            assert_eq!(cell(), pid, "{line}");
            let (age, unit) = seconds(&cell());
            let since = process["since_seconds"].as_f64().unwrap();
            assert!((age..age + unit).contains(&since), "{since} s in {line}");
            assert_eq!(cell(), process["restarts"].to_string(), "{line}");
            for key in ["message", "last_exit"] {
                let text = &process[key];
                // If the process was asked to end, the table does not say how it ended.
                if process["last_exit_asked"] != true || *text != process["last_exit"] {
                    let text = text.as_str().unwrap_or_default();
                    assert!(line.contains(text), "{text} is not in {line}");
                }
            }
        }
        assert_eq!(lines.next(), None, "{text}");
    }
}

/// Reads an age such as `2m5s`. Returns the age and the length of its last unit, both in seconds.
fn seconds(age: &str) -> (f64, f64) {
    let unit = match age.chars().last() {
        Some('s') => 1.0,
        Some('m') => 60.0,
        _ => 3600.0,
    };
    (humantime::parse_duration(age).unwrap().as_secs_f64(), unit)
}
