//! Compares two configs for a reload: which keys of each process and of the container have changed.
//! Returns only the names of keys, because values may be secret.

use crate::keys::{Config, Process};
use crate::types::suggest::list;

/// The names of the keys whose values differ between two definitions of one process, each with its
/// arguments from the container. The keys are in the order of the reference.
pub fn of_process(old: (&Process, &[String]), new: (&Process, &[String])) -> Vec<&'static str> {
    let mut keys = new.0.differing(old.0);
    if new.1 != old.1 && !keys.contains(&"args") {
        keys.push("args");
    }
    keys
}

/// The changed keys of the container whose new values a reload takes over.
pub fn taken_over(old: &Config, new: &Config) -> Vec<&'static str> {
    of_container(old, new).0
}

/// The changed keys of the container whose new values a reload cannot take over. Values of these
/// keys are part of every process, or drainit has used the old values at its own start.
pub fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    of_container(old, new).1
}

/// Says that these keys differ; empty if there are none.
pub fn differ(keys: &[&'static str]) -> String {
    let names = || list(keys.iter().copied());
    match keys.len() {
        0 => String::new(),
        1 => format!("{} differs", names()),
        _ => format!("{} differ", names()),
    }
}

fn of_container(old: &Config, new: &Config) -> (Vec<&'static str>, Vec<&'static str>) {
    let keys = new.differing(old).into_iter();
    keys.partition(|key| matches!(*key, "shutdown" | "reload_signal"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::testing::config;

    fn process_of(config: &Config) -> &Process {
        config.processes.iter().find(|process| process.name.starts_with('a')).unwrap()
    }

    #[test]
    fn arguments_of_a_process_are_compared() {
        let config = config("processes: {a: {command: [a], args: {prefix: --a.}}}");
        let args = ["--b".to_owned()];
        let process = process_of(&config);
        assert_eq!(of_process((process, &args), (process, &args)), [""; 0]);
        assert_eq!(of_process((process, &args), (process, &[])), ["args"]);
    }

    #[test]
    fn keys_that_were_used_at_the_start_cannot_change() {
        let base = "processes: {a: {command: [a]}}";
        for (text, expected) in [
            ("env: {A: b}", "env"),
            ("control: {listen: '127.0.0.1:1'}", "control"),
            ("control: {socket: off}", "control"),
            ("logging: {format: json}", "logging"),
            ("hooks: {pre_start: [a]}", "hooks"),
        ] {
            let (old, new) = (config(base), config(&format!("{text}\n{base}")));
            assert_eq!(fixed(&old, &new), [expected], "{text}");
            assert_eq!(fixed(&new, &new), [""; 0], "{text}");
        }
        let new = "shutdown: {grace_period: 60s}\nreload_signal: HUP\n\
                   processes: {b: {command: [b]}}";
        assert_eq!(fixed(&config(base), &config(new)), [""; 0]);
    }
}
