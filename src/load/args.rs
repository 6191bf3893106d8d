//! Routes each of the container's arguments to the process that claims it by `args.prefix`.

use thiserror::Error;

use crate::config::{ArgRoute, Config, Process};
use crate::types::suggest::{list, nearest};

#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ArgsError {
    #[error("argument `{arg}` is claimed by no process; {known}{suggestion}")]
    Unclaimed {
        arg: String,
        /// The known prefixes, as a sentence.
        known: String,
        /// "did you mean …?", or empty.
        suggestion: String,
    },
    #[error("argument `{arg}` is refused: only the config sets `{option}` of process `{process}`")]
    Refused {
        arg: String,
        /// Without its prefix and value.
        option: String,
        process: String,
    },
    #[error("argument `{arg}` names no option: write `{arg}OPTION`")]
    NoOption { arg: String },
}

/// Returns the further arguments of each process, in the order of [`Config::processes`].
///
/// An argument that begins with a prefix goes to its process with `--` in place of the prefix; the
/// longest matching prefix wins. The next argument goes along as its value, unless it begins with
/// `--` or with a prefix itself.
///
/// # Errors
/// The first argument that no process claims, or that `refuse` names.
pub(crate) fn route(config: &Config, args: &[String]) -> Result<Vec<Vec<String>>, ArgsError> {
    let mut routed = vec![Vec::new(); config.processes.len()];
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let (entry, option) = claim(config, arg).ok_or_else(|| unclaimed(config, arg))?;
        if option.is_empty() {
            return Err(ArgsError::NoOption { arg: arg.clone() });
        }
        let value =
            args.next_if(|next| !next.starts_with("--") && claim(config, next).is_none()).cloned();
        // After an option without a value, one with a single dash is an option as well.
        let further = value.as_ref().filter(|value| value.starts_with('-'));
        for (arg, option) in
            [(arg, option)].into_iter().chain(further.map(|arg| (arg, arg.as_str())))
        {
            let mut refused = entry.args.iter().flat_map(|route| &route.refuse);
            if refused.any(|refused| name(refused) == name(option)) {
                let (option, process) = (name(option).to_owned(), entry.key().to_owned());
                return Err(ArgsError::Refused { arg: arg.clone(), option, process });
            }
        }
        // Copies have the same prefix, and all of them get the argument.
        for (other, out) in config.processes.iter().zip(&mut routed) {
            if prefix(other) == prefix(entry) {
                out.push(format!("--{option}"));
                out.extend(value.clone());
            }
        }
    }
    Ok(routed)
}

/// The name of an option, without its dashes and its value.
fn name(option: &str) -> &str {
    let option = option.trim_start_matches('-');
    option.split_once('=').map_or(option, |(name, _)| name)
}

fn prefix(process: &Process) -> Option<&str> {
    process.args.as_ref().map(|route| route.prefix.as_str())
}

/// Those that claim arguments. One without copies does so, too: how many there are must not decide
/// whether the container's arguments are right.
fn routes(config: &Config) -> impl Iterator<Item = (&Process, &ArgRoute)> {
    let all = config.processes.iter().chain(&config.without_copies);
    all.filter_map(|process| Some((process, process.args.as_ref()?)))
}

/// Finds the process with the longest prefix of `arg`. Also returns the rest of `arg`.
fn claim<'c, 'a>(config: &'c Config, arg: &'a str) -> Option<(&'c Process, &'a str)> {
    routes(config)
        .filter_map(|(process, route)| {
            Some((route.prefix.len(), process, arg.strip_prefix(&route.prefix)?))
        })
        .max_by_key(|(length, ..)| *length)
        .map(|(_, process, rest)| (process, rest))
}

fn unclaimed(config: &Config, arg: &str) -> ArgsError {
    let prefixes = || routes(config).map(|(_, route)| route.prefix.as_str());
    let known = match prefixes().next() {
        None => "no process has `args`".to_owned(),
        Some(_) => format!("known prefixes are {}", list(prefixes())),
    };
    // `--rt.concurrency`: the part up to the dot was meant as the prefix.
    let start = arg.find(['.', '=']).map_or(arg, |end| &arg[..=end]);
    let option = arg.strip_prefix(start).unwrap_or_default();
    let suggestion = match nearest(start, prefixes()) {
        Some(prefix) => format!("; did you mean `{prefix}{option}`?"),
        None => String::new(),
    };
    ArgsError::Unclaimed { arg: arg.to_owned(), known, suggestion }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::load::testing::config;

    fn routed(args: &[&str]) -> Result<Vec<Vec<String>>, ArgsError> {
        let config = config(
            r#"
            processes:
              py: {command: [py], args: {prefix: "--py.", refuse: [socket, --listen]}}
              none: {command: [none]}
              rtr: {command: [envoy], args: {prefix: "--rtr."}}
              sub: {command: [sub], args: {prefix: "--rtr.sub."}}
            "#,
        );
        let args: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
        route(&config, &args)
    }

    #[test]
    fn a_value_begins_with_no_prefix() {
        let config = config(
            "{processes: {a: {command: [x], args: {prefix: a.}}, b: {command: [x], args: {prefix: --b.}}}}",
        );
        let args = ["--b.x", "a.y", "1", "--b.z", "--b.v"].map(str::to_owned);
        assert_eq!(route(&config, &args).unwrap(), [vec!["--y", "1"], vec!["--x", "--z", "--v"]]);
        // Nor with two dashes, even if nobody else takes it.
        let stray = route(&config, &["a.y", "--stray"].map(str::to_owned));
        assert!(matches!(stray, Err(ArgsError::Unclaimed { .. })), "{stray:?}");
    }

    #[test]
    fn each_argument_goes_where_its_prefix_says() {
        let out = routed(&["--rtr.concurrency", "4", "--py.x=1", "--rtr.sub.a", "--rtr.v", "-1"])
            .unwrap();
        assert_eq!(out[0], ["--x=1"]);
        assert!(out[1].is_empty());
        assert_eq!(out[2], ["--concurrency", "4", "--v", "-1"]);
        assert_eq!(out[3], ["--a"]);
        assert_eq!(routed(&[]).unwrap().len(), 4);
        // The longest prefix counts, wherever it stands.
        let two = ["--a.", "--a.b."]
            .map(|prefix| format!("{{command: [x], args: {{prefix: '{prefix}'}}}}"));
        for (text, at) in [
            (format!("processes: {{p: {}, q: {}}}", two[0], two[1]), 1),
            (format!("processes: {{p: {}, q: {}}}", two[1], two[0]), 0),
        ] {
            let out = route(&config(&text), &["--a.b.c".to_owned()]).unwrap();
            assert_eq!((&out[at][..], &out[1 - at][..]), (&["--c".to_owned()][..], &[][..]));
        }
    }

    #[test]
    fn an_unclaimed_argument_is_an_error_with_a_suggestion() {
        let message = |args: &[&str]| routed(args).unwrap_err().to_string();
        assert_eq!(
            message(&["--rt.concurrency=4"]),
            "argument `--rt.concurrency=4` is claimed by no process; known prefixes are `--py.`, `--rtr.` and \
             `--rtr.sub.`; did you mean `--rtr.concurrency=4`?"
        );
        assert!(
            message(&["stray"]).starts_with("argument `stray` is claimed by no process; known")
        );
        assert!(message(&["--rtr.a", "1", "stray"]).starts_with("argument `stray`"));
        assert_eq!(message(&["--py."]), "argument `--py.` names no option: write `--py.OPTION`");
        let none = config("processes: {a: {command: [a]}}");
        assert!(
            route(&none, &["x".to_owned()])
                .unwrap_err()
                .to_string()
                .ends_with("no process has `args`")
        );
    }

    #[test]
    fn arguments_of_a_process_without_copies_are_accepted() {
        let config = config(
            "
            processes:
              none: {command: [a], scale: 0, args: {prefix: --n., refuse: [listen]}}
              some: {command: [b], scale: 2, args: {prefix: --s., refuse: [listen]}}
            ",
        );
        let routed = |args: [&str; 3]| route(&config, &args.map(str::to_owned));
        assert_eq!(routed(["--n.x", "1", "--s.y"]).unwrap(), [["--y"], ["--y"]]);
        for (arg, process) in [("--n.listen", "none"), ("--s.listen", "some")] {
            let error = routed(["--s.y", "1", arg]).unwrap_err().to_string();
            assert!(error.ends_with(&format!("of process `{process}`")), "{error}");
        }
    }

    #[test]
    fn refused_options_are_refused_in_every_form() {
        for arg in ["--py.socket", "--py.socket=x", "--py.listen"] {
            assert!(matches!(routed(&[arg]), Err(ArgsError::Refused { .. })), "{arg}");
        }
        for value in ["-socket", "-socket=x", "-listen"] {
            let refused = routed(&["--py.verbose", value]);
            assert!(matches!(refused, Err(ArgsError::Refused { .. })), "{value}");
        }
        assert!(matches!(routed(&["--py.-socket"]), Err(ArgsError::Refused { .. })));
        assert!(
            routed(&["--py.sockets", "--rtr.socket", "-socket", "--py.port", "socket"]).is_ok()
        );
    }
}
