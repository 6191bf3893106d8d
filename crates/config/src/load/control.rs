//! Reads only the `control` mapping of a config, for commands that ask the running supervisor.
//!
//! A command of this kind ignores errors in the rest of the config, because the command often has
//! fewer variables than the supervisor: `docker exec` does not get the variables that the
//! entrypoint has exported. The files may also have changed since the supervisor's start.

use std::path::PathBuf;

use crate::keys::Control;
use crate::keys::config;
use crate::keys::reader::Reader;
use crate::language::environment::{Environment, Variables};
use crate::language::moment::of_one_moment;
use crate::load::{Diagnostic, Problems, changed_meanwhile, merge_roots, read_roots};

#[derive(Debug)]
pub struct FoundControl {
    pub control: Result<Control, Vec<Diagnostic>>,
    /// The variables that `control` uses and that are not set for this command. The supervisor may
    /// have these variables.
    pub unset: Vec<String>,
}

/// Merges all files, and reads `control` from them. Also reads those entries of `env` that
/// `control` uses.
pub fn find(paths: &[PathBuf], environment: &Environment) -> FoundControl {
    let found = of_one_moment(|reads| {
        let mut problems = Problems::of(reads, false);
        let roots = read_roots(&mut problems, paths, environment);
        control_in(problems, roots, environment)
    });
    let failed = |why| FoundControl { control: Err(changed_meanwhile(why)), unset: Vec::new() };
    found.map_or_else(failed, |(found, _)| found)
}

/// Like [`find`], but the files are already parsed.
pub(crate) fn control_in(
    mut problems: Problems,
    roots: crate::load::Roots,
    environment: &Environment,
) -> FoundControl {
    let Some(root) = merge_roots(&mut problems, roots) else {
        return FoundControl { control: Err(problems.finish()), unset: Vec::new() };
    };
    // `control` can be read in spite of the problems so far, so the command ignores them.
    problems.clear();
    let mut reader = Reader::new(&mut problems, Variables::new(environment));
    let (control, unset) = config::control_alone(&mut reader, &root);
    problems.keep_written(std::iter::empty());
    let failed = problems.has_errors();
    FoundControl { control: if failed { Err(problems.finish()) } else { Ok(control) }, unset }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::ControlSocket;
    use crate::load::testing;

    fn find(texts: &[&str], variables: &[(&str, &str)]) -> FoundControl {
        testing::find_control(texts, &variables.iter().copied().collect())
    }

    const REST: &str = "
env: {TOKEN: '${SECRET:?set it}', DIR: '${BASE:-/run}/gw'}
shutdown: {grace_period: '${GRACE:?set it}'}
processes: {a: {command: [a, '${MUST:?set it}'], user: nobody-at-all, comand: x, env_file: none.env}}
";

    // holds: C3, C121
    #[test]
    fn only_control_and_the_entries_of_env_that_control_uses_are_read() {
        let socket = |path: &str| ControlSocket::Path(path.into());
        // A duplicate key, an unknown key and missing processes do not matter.
        let other = "\nsomething: 1\nhooks: {}\nhooks: {}";
        for (control, rest, variables, expected, unset) in [
            ("socket: /run/d.sock", REST, &[][..], socket("/run/d.sock"), &[][..]),
            ("socket: /s", other, &[], socket("/s"), &[]),
            ("", REST, &[], ControlSocket::Private, &[]),
            ("socket: off", "", &[], ControlSocket::Off, &[]),
            ("socket: '${DIR}/d.sock'", REST, &[], socket("/run/gw/d.sock"), &["BASE"]),
            ("socket: '${DIR}/d.sock'", REST, &[("BASE", "/t")], socket("/t/gw/d.sock"), &[]),
            ("socket: '${DIR}/d.sock'", REST, &[("DIR", "/x")], socket("/x/d.sock"), &[]),
            ("socket: '/run/${A}d.sock'", "", &[], socket("/run/d.sock"), &["A"]),
        ] {
            let text = format!("control: {{listen: '127.0.0.1:1', {control}}}{rest}");
            let found = find(&[&text], variables);
            let control = found.control.unwrap();
            assert_eq!(control.socket, expected, "{text}");
            assert_eq!(found.unset, unset, "{text}");
            assert_eq!(control.listen, Some("127.0.0.1:1".parse().unwrap()));
        }
    }

    #[test]
    fn unset_variables_are_named() {
        for (socket, unset, message) in [
            ("${TOKEN}/d.sock", &["TOKEN", "SECRET"][..], "`SECRET` is not set: set it"),
            ("${A:?why}", &["A"], "`A` is not set: why"),
        ] {
            let found = find(&[&format!("control: {{socket: '{socket}'}}{REST}")], &[]);
            assert_eq!(found.unset, unset);
            let problems = found.control.unwrap_err();
            let is_named = problems.iter().any(|it| it.is_error() && it.message == message);
            assert!(is_named, "{problems:?}");
        }
    }

    #[test]
    fn errors_in_control_are_reported() {
        for socket in ["''", "none", "no", "true"] {
            let text = format!("control: {{socket: {socket}}}");
            assert!(find(&[&text], &[]).control.is_err(), "{text}");
        }
        for text in ["control: {sockt: /a}", "control: [a]", "a: [", ""] {
            assert!(find(&[text], &[]).control.is_err(), "{text}");
        }
    }
}
