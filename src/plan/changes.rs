//! The difference of two configs, for a reload: which keys of a process have changed, and which of
//! the container. Names keys only, never values, which may be secret.

use crate::config::{Config, Process};

/// A process as it runs, or as it would run.
#[derive(Clone, Copy, Debug)]
pub struct Definition<'a> {
    pub process: &'a Process,
    /// Its part of the container's arguments.
    pub args: &'a [String],
}

/// The keys whose values differ, in the order of the reference. Both have the same name.
#[must_use]
pub fn of_process(old: Definition<'_>, new: Definition<'_>) -> Vec<&'static str> {
    let was = old.process;
    // Names every field, so that none is forgotten.
    let Process {
        name: _,
        copy_of,
        command,
        kind,
        success_codes,
        timeout,
        only_if,
        args,
        sockets,
        listen,
        depends_on,
        readiness,
        liveness,
        stop_signal,
        stop_grace_period,
        environment,
        render,
        watch,
        working_dir,
        user,
        umask,
        ulimits,
        update,
        restart,
        on_exit,
        required,
        forward_signals,
        hooks,
        drain,
        log,
        stderr_to_stdout,
    } = new.process;
    differing(&[
        ("command", *command == was.command),
        ("type", *kind == was.kind),
        ("success_codes", *success_codes == was.success_codes),
        ("timeout", *timeout == was.timeout),
        ("only_if", *only_if == was.only_if),
        ("args", *args == was.args && new.args == old.args),
        ("sockets", *sockets == was.sockets),
        ("listen", *listen == was.listen),
        ("depends_on", *depends_on == was.depends_on),
        ("readiness", *readiness == was.readiness),
        ("liveness", *liveness == was.liveness),
        ("stop_signal", *stop_signal == was.stop_signal),
        ("stop_grace_period", *stop_grace_period == was.stop_grace_period),
        ("environment", *environment == was.environment),
        ("render", *render == was.render),
        ("watch", *watch == was.watch),
        ("scale", *copy_of == was.copy_of),
        ("user", *user == was.user),
        ("working_dir", *working_dir == was.working_dir),
        ("umask", *umask == was.umask),
        ("ulimits", *ulimits == was.ulimits),
        ("update", *update == was.update),
        ("restart", restart.policy == was.restart.policy),
        ("restart_delay", restart.delay == was.restart.delay),
        ("restart_max", restart.max == was.restart.max),
        ("on_exit", *on_exit == was.on_exit),
        ("required", *required == was.required),
        ("forward_signals", *forward_signals == was.forward_signals),
        ("hooks", *hooks == was.hooks),
        ("drain", *drain == was.drain),
        ("log", *log == was.log && *stderr_to_stdout == was.stderr_to_stdout),
    ])
}

/// The keys of the container that have changed, but cannot while it runs: their values are given to
/// every process, or were used at its start.
#[must_use]
pub fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        env,
        shutdown: _,
        control,
        logging,
        reload_signal: _,
        hooks,
        processes: _,
        without_copies: _,
    } = new;
    differing(&[
        ("env", *env == old.env),
        ("control", *control == old.control),
        ("logging", *logging == old.logging),
        ("hooks", *hooks == old.hooks),
    ])
}

fn differing(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter().filter(|(_, is_same)| !is_same).map(|(key, _)| *key).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::load::testing::{config, load};

    /// The keys that differ between two definitions of a process.
    fn between(old: &str, new: &str) -> Vec<&'static str> {
        let read = |keys: &str| {
            config(&format!("processes: {{b: {{command: [b]}}, a: {{command: [a], {keys}}}}}"))
        };
        let (old, new) = (read(old), read(new));
        let of = |config| Definition { process: process_of(config), args: &[] };
        of_process(of(&old), of(&new))
    }

    fn process_of(config: &Config) -> &Process {
        config.processes.iter().find(|process| process.name.starts_with('a')).unwrap()
    }

    #[test]
    fn every_key_is_compared() {
        for (keys, expected) in [
            ("type: oneshot", "type"),
            ("success_codes: [0, 2]", "success_codes"),
            ("only_if: {path_exists: /a}", "only_if"),
            ("args: {prefix: --a.}", "args"),
            ("sockets: [/run/a.sock]", "sockets"),
            ("listen: ['tcp://127.0.0.1:1']", "listen"),
            ("depends_on: [b]", "depends_on"),
            ("readiness: {log: ready}", "readiness"),
            ("liveness: {tcp: '127.0.0.1:1'}", "liveness"),
            ("stop_signal: INT", "stop_signal"),
            ("stop_grace_period: 1s", "stop_grace_period"),
            ("environment: {A: b}", "environment"),
            ("environment: {A: {file: /a}}", "environment"),
            ("render: [{from: /a, to: /b}]", "render"),
            ("watch: [{path: /a, action: reload}]", "watch"),
            ("working_dir: /", "working_dir"),
            ("user: '1:1'", "user"),
            ("umask: '077'", "umask"),
            ("ulimits: {nofile: 10}", "ulimits"),
            ("update: start-first", "update"),
            ("restart: always", "restart"),
            ("on_exit: ignore", "on_exit"),
            ("forward_signals: [HUP]", "forward_signals"),
            ("hooks: {pre_stop: [a]}", "hooks"),
            ("drain: {signal: {signal: USR1}}", "drain"),
            ("log: {mode: none}", "log"),
            ("log: {mode: inherit, stderr: stdout}", "log"),
        ] {
            assert_eq!(between("", keys), [expected], "{keys}");
            assert_eq!(between(keys, ""), [expected], "{keys}");
            assert_eq!(between(keys, keys), [""; 0], "{keys}");
        }
    }

    #[test]
    fn nested_values_are_compared() {
        for (old, new, expected) in [
            ("restart: always", "restart: always, restart_max: 3", "restart_max"),
            ("restart: always", "restart: always, restart_delay: 3s", "restart_delay"),
            ("type: oneshot", "type: oneshot, timeout: 5s", "timeout"),
            ("on_exit: ignore", "on_exit: ignore, required: false", "required"),
            ("readiness: {log: ready}", "readiness: {log: rea}", "readiness"),
            ("readiness: {log: ready}", "readiness: {log: ready, timeout: 1s}", "readiness"),
            (
                "drain: {signal: {signal: USR1}}",
                "drain: {signal: {signal: USR1, time: 1s}}",
                "drain",
            ),
            ("depends_on: [b]", "depends_on: {b: {condition: started}}", "depends_on"),
            ("depends_on: [b]", "depends_on: {b: {restart: true}}", "depends_on"),
            ("scale: 2", "scale: 2, listen: ['unix:/a${SCALE_INDEX}']", "listen"),
        ] {
            assert_eq!(between(old, new), [expected], "{old} -> {new}");
        }
        assert_eq!(between("umask: '077'", "umask: '0077'"), [""; 0]);
        assert_eq!(between("scale: 1", "scale: 2"), [""; 0]);
    }

    #[test]
    fn a_value_of_the_environment_is_compared() {
        let text = "processes: {a: {command: [a, '${B:-c}']}}";
        let keys = |value| {
            let (old, new) = (load(&[text], &[]).unwrap(), load(&[text], &[("B", value)]).unwrap());
            let of = |config| Definition { process: process_of(config), args: &[] };
            of_process(of(&old.config), of(&new.config))
        };
        assert_eq!(keys("c"), [""; 0]);
        assert_eq!(keys("d"), ["command"]);
    }

    #[test]
    fn its_part_of_the_arguments_is_compared() {
        let config = config("processes: {a: {command: [a], args: {prefix: --a.}}}");
        let args = ["--b".to_owned()];
        let of = |args| Definition { process: process_of(&config), args };
        assert_eq!(of_process(of(&args), of(&args)), [""; 0]);
        assert_eq!(of_process(of(&args), of(&[])), ["args"]);
    }

    #[test]
    fn what_was_used_at_the_start_cannot_change() {
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
