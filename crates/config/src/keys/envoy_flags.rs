//! Finds the flags in an Envoy's command line that decide whether and how the Envoy can be
//! hot-restarted.

use std::time::Duration;

use crate::language::shell_split::{split, without_shell};

/// Envoy's default for `--parent-shutdown-time-s`.
const PARENT_SHUTDOWN: Duration = Duration::from_secs(900);
/// Envoy's default for `--drain-time-s`.
const DRAIN_TIME: Duration = Duration::from_secs(600);
const YAML: &str = "--config-yaml";

/// The flags that Envoy documents for a hot restart, and the path of Envoy's config. drainit also
/// finds these flags if the command is `sh -c "…"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyFlags {
    /// The value of `--base-id`, as the command line has it.
    pub base_id: Option<String>,
    /// The flag that makes a hot restart impossible: `--disable-hot-restart` or
    /// `--use-dynamic-base-id`. `None` if the command has neither.
    pub excluded_by: Option<&'static str>,
    /// Whether `--restart-epoch` is an argument of the command itself, and not part of a shell's
    /// text.
    pub has_restart_epoch: bool,
    /// The value of `--parent-shutdown-time-s`: how long the old Envoy lives after the new Envoy
    /// has become live.
    pub parent_shutdown: Duration,
    /// The value of `--drain-time-s`: the old Envoy closes its connections one after the other
    /// within this time. Zero with `--drain-strategy immediate`.
    pub drain: Duration,
    /// The value of `--concurrency`, as the command line has it.
    pub workers: Option<String>,
    /// The file that `-c` or `--config-path` names. `None` without these flags.
    pub config: Option<String>,
    /// The value of `--config-yaml`, which overrides parts of the file.
    pub config_yaml: Option<String>,
    /// Whether `--base-id` is an argument of the command itself, and not part of a shell's text.
    /// Only in this case can drainit add a flag at the end of the command.
    pub is_direct: bool,
}

impl EnvoyFlags {
    pub fn of(command: &[String]) -> Self {
        let words: Vec<&str> = command.iter().flat_map(|word| word.split_whitespace()).collect();
        let direct: Vec<&str> = command.iter().map(String::as_str).collect();
        let value_of = |flag: &str| value(&direct, flag).or_else(|| value(&words, flag));
        // The value of `-c` is the path of Envoy's config, or the script of a shell. A script with
        // operators is ignored, because such a script may write the config itself.
        let script = value(&direct, "-c").filter(|text| without_shell(text).is_ok());
        let script = script.and_then(|text| split(text).ok()).unwrap_or_default();
        let script: Vec<&str> = script.iter().map(String::as_str).collect();
        let seconds = |flag: &str| value_of(flag)?.parse().ok().map(Duration::from_secs);
        let is_immediate = value_of("--drain-strategy") == Some("immediate");
        Self {
            base_id: value_of("--base-id").map(str::to_owned),
            excluded_by: ["--disable-hot-restart", "--use-dynamic-base-id"]
                .into_iter()
                .find(|flag| words.contains(flag)),
            has_restart_epoch: direct
                .iter()
                .any(|word| word.split('=').next() == Some("--restart-epoch")),
            parent_shutdown: seconds("--parent-shutdown-time-s").unwrap_or(PARENT_SHUTDOWN),
            drain: match is_immediate {
                true => Duration::ZERO,
                false => seconds("--drain-time-s").unwrap_or(DRAIN_TIME),
            },
            workers: value_of("--concurrency").map(str::to_owned),
            config: config(&script).or_else(|| config(&direct)).map(str::to_owned),
            config_yaml: value(&script, YAML).or_else(|| value(&direct, YAML)).map(str::to_owned),
            is_direct: value(&direct, "--base-id").is_some(),
        }
    }
}

fn config<'a>(words: &[&'a str]) -> Option<&'a str> {
    value(words, "-c").or_else(|| value(words, "--config-path"))
}

/// The value of a flag in the form `--flag VALUE`. Envoy does not know the form `--flag=VALUE`.
fn value<'a>(words: &[&'a str], flag: &str) -> Option<&'a str> {
    let index = words.iter().position(|word| *word == flag)?;
    words.get(index + 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::shell_split::split;

    #[test]
    fn flags_are_found_in_words_and_in_a_shell_command() {
        for (command, found) in [
            // The defaults of Envoy.
            ("envoy -c a", "base_id: None, excluded_by: None, has_restart_epoch: false"),
            (
                "envoy -c a",
                "parent_shutdown: 900s, drain: 600s, workers: None, config: Some(\"a\")",
            ),
            ("envoy --base-id 7", "base_id: Some(\"7\")"),
            ("envoy --base-id 7", "is_direct: true"),
            ("envoy --parent-shutdown-time-s 2 --drain-time-s 9", "parent_shutdown: 2s, drain: 9s"),
            ("envoy --drain-strategy immediate", "drain: 0ns"),
            ("envoy --restart-epoch 0", "has_restart_epoch: true"),
            ("envoy --restart-epoch=1", "has_restart_epoch: true"),
            // A longer flag that begins with `--base-id` is another flag.
            ("envoy --base-id-path /run/id", "base_id: None"),
            ("sh -c 'exec envoy --base-id 1'", "base_id: Some(\"1\")"),
            ("sh -c 'exec envoy --base-id 1'", "is_direct: false"),
            ("sh -c 'envoy --disable-hot-restart'", "excluded_by: Some(\"--disable-hot-restart\")"),
            ("sh -c 'envoy --restart-epoch $EPOCH'", "has_restart_epoch: false"),
        ] {
            let flags = format!("{:?}", EnvoyFlags::of(&split(command).unwrap()));
            assert!(flags.contains(found), "{command}: {flags}");
        }
    }
}
