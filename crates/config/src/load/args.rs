//! Decides which process gets each of the container's arguments: the process whose `args.prefix`
//! begins the argument, or else the process with `args.rest`.

use thiserror::Error;

use crate::keys::{ArgRoute, Arguments, Config};
use crate::types::suggest::{list, nearest};

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ArgsError {
    #[error("argument `{arg}` is claimed by no process; {known}{suggestion}")]
    Unclaimed {
        arg: String,
        /// The prefixes that the config has, as text for the message.
        known: String,
        /// The text "did you mean …?", or an empty text.
        suggestion: String,
    },
    #[error("argument `{arg}` is refused: only the config sets `{option}` of process `{process}`")]
    Refused {
        arg: String,
        /// The name of the refused option, without the prefix and the value.
        option: String,
        process: String,
    },
    #[error("argument `{arg}` names no option: write `{arg}OPTION`")]
    NoOption { arg: String },
}

/// Returns, for each process, the container's arguments that are added to its command. The order is
/// that of [`Config::processes`].
///
/// If an argument begins with a process's prefix, that process gets it, with `--` in place of the
/// prefix. The longest matching prefix counts. If the next argument begins neither with `--` nor
/// with a prefix, the same process gets that argument, too, as a value. The process with `rest`
/// gets every other argument unchanged.
///
/// # Errors
/// Returns the first argument that no process gets, that its process refuses (`refuse`), or that
/// consists only of a prefix.
pub fn route(config: &Config, args: &[String]) -> Result<Vec<Vec<String>>, ArgsError> {
    let mut routed = vec![Vec::new(); config.processes.len()];
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let claimed = claim(config, arg);
        let rest = || {
            routes(config).find(|(_, route)| route.rest).map(|(name, route)| (name, route, &**arg))
        };
        let (process, route, option) =
            claimed.or_else(rest).ok_or_else(|| to_unclaimed(config, arg))?;
        if option.is_empty() && claimed.is_some() {
            return Err(ArgsError::NoOption { arg: arg.clone() });
        }
        let is_value = |next: &String| !next.starts_with("--") && claim(config, next).is_none();
        let value = args.next_if(|next| claimed.is_some() && is_value(next)).cloned();
        // A value that begins with a dash may be meant as an option, so `refuse` also applies to
        // it.
        let further = value.as_ref().filter(|value| value.starts_with('-'));
        let is_option = claimed.is_some() || arg.starts_with('-');
        let own = is_option.then_some((arg, option));
        for (arg, option) in own.into_iter().chain(further.map(|arg| (arg, arg.as_str()))) {
            if route.refuse.iter().any(|refused| name(refused) == name(option)) {
                let (option, process) = (name(option).to_owned(), process.to_owned());
                return Err(ArgsError::Refused { arg: arg.clone(), option, process });
            }
        }
        // The copies of an entry with `scale` have the same `args`, and each of them gets the
        // argument.
        for (process, out) in config.processes.iter().zip(&mut routed) {
            if process.args.as_ref().is_some_and(|other| other == route) {
                out.push(if claimed.is_some() { format!("--{option}") } else { arg.clone() });
                out.extend(value.clone());
            }
        }
    }
    Ok(routed)
}

/// Whether the container's arguments are a command that runs in place of the processes, as in
/// `docker run IMAGE sh`.
pub fn is_command(config: &Config, args: &[String]) -> bool {
    let takes_rest = routes(config).any(|(_, route)| route.rest);
    config.arguments == Arguments::Exec
        && !takes_rest
        && args.first().is_some_and(|arg| !arg.starts_with('-') && claim(config, arg).is_none())
}

/// The name of an option, without its dashes and its value.
fn name(option: &str) -> &str {
    let option = option.trim_start_matches('-');
    option.split_once('=').map_or(option, |(name, _)| name)
}

/// The names and the `args` of all processes that have `args`. The result includes entries with
/// `scale: 0`, because the number of copies must not decide whether an argument is accepted.
fn routes(config: &Config) -> impl Iterator<Item = (&str, &ArgRoute)> {
    let used = config.processes.iter();
    let used = used.filter_map(|process| Some((process.name.as_str(), process.args.as_ref()?)));
    used.chain(config.unused_args.iter().map(|(name, route)| (name.as_str(), route)))
}

/// Finds the process with the longest prefix that begins `arg`. Returns its name, its `args`, and
/// the part of `arg` after the prefix.
fn claim<'c, 'a>(config: &'c Config, arg: &'a str) -> Option<(&'c str, &'c ArgRoute, &'a str)> {
    routes(config)
        .filter_map(|(name, route)| Some((name, route, arg.strip_prefix(route.prefix.as_ref()?)?)))
        .min_by_key(|(.., rest)| rest.len())
}

fn to_unclaimed(config: &Config, arg: &str) -> ArgsError {
    let prefixes = || routes(config).filter_map(|(_, route)| route.prefix.as_deref());
    let known = match prefixes().next() {
        None => "no process has `args`".to_owned(),
        Some(_) => format!("known prefixes are {}", list(prefixes())),
    };
    // In an argument such as `--rt.concurrency`, the user probably meant the part up to the dot as
    // the prefix.
    let start = arg.find(['.', '=']).map_or(arg, |end| &arg[..=end]);
    let option = arg.strip_prefix(start).unwrap_or_default();
    let suggestion = match nearest(start, prefixes()) {
        Some(prefix) => format!("; did you mean `{prefix}{option}`?"),
        None if !arg.starts_with('-') => format!(
            "; to run it in place of the processes, write `docker run --entrypoint {arg} IMAGE`, or `arguments: exec` in the config"
        ),
        None => String::new(),
    };
    ArgsError::Unclaimed { arg: arg.to_owned(), known, suggestion }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::testing::config;

    /// The arguments of each process, with `; ` between the processes; or the error.
    fn routed(processes: &str, args: &str) -> String {
        let config = config(&format!("processes: {{{processes}}}"));
        let args: Vec<_> = args.split_terminator(' ').map(str::to_owned).collect();
        let join = |routed: Vec<Vec<String>>| {
            routed.iter().map(|args| args.join(" ")).collect::<Vec<_>>().join("; ")
        };
        route(&config, &args).map_or_else(|error| error.to_string(), join)
    }

    const GATEWAY: &str = "
py: {command: [py], args: {prefix: '--py.', refuse: [socket, --listen]}},
none: {command: [none]},
rtr: {command: [envoy], args: {prefix: '--rtr.'}},
sub: {command: [sub], args: {prefix: '--rtr.sub.'}}";

    // holds: C156, C174, C177, C318, C626, C679
    #[test]
    fn arguments_are_routed_by_prefix() {
        let letters = "a: {command: x, args: {prefix: a.}}, b: {command: x, args: {prefix: --b.}}";
        // The longest prefix wins, whatever the order of the processes.
        let long = "p: {command: x, args: {prefix: --a.}}, q: {command: x, args: {prefix: --a.b.}}";
        let short =
            "q: {command: [x], args: {prefix: --a.b.}}, p: {command: [x], args: {prefix: --a.}}";
        let rest = "app: {command: [app], args: {rest: true, refuse: [listen]}, scale: 2}, \
                    rtr: {command: [envoy], args: {prefix: '--rtr.'}}";
        let scaled = "none: {command: [a], scale: 0, args: {prefix: --n.}}, \
                      some: {command: [b], scale: 2, args: {prefix: --s.}}";
        for (processes, args, expected) in [
            (GATEWAY, "", "; ; ; "),
            (GATEWAY, "--rtr.c 4 --py.x=1 --rtr.sub.a --rtr.v -1", "--x=1; ; --c 4 --v -1; --a"),
            // An argument with a prefix is not a value.
            (letters, "--b.x a.y 1 --b.z --b.v", "--y 1; --x --z --v"),
            (long, "--a.b.c", "; --c"),
            (short, "--a.b.c", "--c; "),
            // Unclaimed arguments go to the process with `rest`.
            (rest, "listen --rtr.c 4 --p 8  -v", "listen --p 8  -v; listen --p 8  -v; --c 4"),
            (scaled, "--n.x 1 --s.y", "--y; --y"),
        ] {
            assert_eq!(routed(processes, args), expected, "{args}");
        }
    }

    #[test]
    fn an_unclaimed_argument_is_an_error_with_a_suggestion() {
        let two = "a: {command: [x], args: {prefix: a.}}, b: {command: [x], args: {prefix: --b.}}";
        for (processes, args, expected) in [
            (
                GATEWAY,
                "--rt.concurrency=4",
                "argument `--rt.concurrency=4` is claimed by no process; known prefixes are `--py.`, `--rtr.` and \
                 `--rtr.sub.`; did you mean `--rtr.concurrency=4`?",
            ),
            (GATEWAY, "stray", "argument `stray` is claimed by no process; known"),
            (GATEWAY, "--rtr.a 1 stray", "argument `stray`"),
            (GATEWAY, "--py.", "argument `--py.` names no option: write `--py.OPTION`"),
            // An argument with two dashes is never a value, even if no process claims it.
            (two, "a.y --stray", "argument `--stray` is claimed by no process"),
            (
                "a: {command: [a]}",
                "x",
                "argument `x` is claimed by no process; no process has `args`; to run it in place of the processes, ",
            ),
        ] {
            let error = routed(processes, args);
            assert!(error.starts_with(expected), "{args}: {error}");
        }
    }

    // holds: C682
    #[test]
    fn arguments_exec_takes_a_first_argument_without_a_dash_as_a_command() {
        let processes = "processes: {a: {command: [a], args: {prefix: p.}}}";
        for (text, args, expected) in [
            (format!("{{arguments: exec, {processes}}}"), ["sh", "-c"], true),
            (format!("{{arguments: exec, {processes}}}"), ["-c", "sh"], false),
            (format!("{{arguments: exec, {processes}}}"), ["p.x", "sh"], false),
            (format!("{{{processes}}}"), ["sh", "-c"], false),
        ] {
            assert_eq!(is_command(&config(&text), &args.map(str::to_owned)), expected, "{text}");
        }
    }

    // holds: C175, C318
    #[test]
    fn refused_options_are_refused_in_every_form() {
        let refused = ["socket", "socket=x", "listen"];
        let forms = refused.map(|it| [format!("--py.{it}"), format!("--py.verbose -{it}")]);
        for args in [&*forms.concat(), &["--py.-socket".to_owned()]].concat() {
            assert!(routed(GATEWAY, &args).ends_with("of process `py`"), "{args}");
        }
        let fine = "--py.sockets --rtr.socket -socket --py.port socket";
        assert_eq!(routed(GATEWAY, fine), "--sockets --port socket; ; --socket -socket; ");
        let scaled = "none: {command: [a], scale: 0, args: {prefix: --n., refuse: [listen]}}, \
                      some: {command: [b], scale: 2, args: {rest: true, refuse: [listen]}}";
        assert!(routed(scaled, "--s.y 1 --n.listen").ends_with("of process `none`"));
        assert!(routed(scaled, "--listen=80").ends_with("of process `some-1`"));
    }
}
