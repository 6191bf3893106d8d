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
use crate::load::{Diagnostic, Problems, merge_roots, read_roots};

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
    let mut problems = Problems::default();
    let roots = read_roots(&mut problems, paths, environment);
    found(problems, roots, environment)
}

/// Like [`find`], but the files are already parsed.
pub(crate) fn found(
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
    let failed = problems.has_errors();
    FoundControl { control: if failed { Err(problems.finish()) } else { Ok(control) }, unset }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::keys::ControlSocket;
    use crate::load::testing;

    fn find(texts: &[&str], variables: &[(&str, &str)]) -> FoundControl {
        testing::find_control(texts, &variables.iter().copied().collect())
    }

    #[track_caller]
    fn socket(texts: &[&str], variables: &[(&str, &str)]) -> PathBuf {
        find(texts, variables).control.unwrap().socket.path().unwrap().to_owned()
    }

    const REST: &str = "
env: {TOKEN: '${SECRET:?set it}', DIR: '${BASE:-/run}/gw'}
shutdown: {grace_period: '${GRACE:?set it}'}
processes: {a: {command: [a, '${MUST:?set it}'], user: nobody-at-all, comand: x, env_file: none.env}}
";

    // holds: C3
    #[test]
    fn only_control_is_read() {
        let text = format!("control: {{socket: /run/d.sock, listen: '127.0.0.1:1'}}{REST}");
        let found = find(&[&text], &[]);
        assert_eq!(found.unset, [""; 0]);
        let control = found.control.unwrap();
        assert_eq!(control.socket.path(), Some(Path::new("/run/d.sock")));
        assert_eq!(control.listen, Some("127.0.0.1:1".parse().unwrap()));
        // A duplicate key, an unknown key and missing processes do not matter.
        assert_eq!(
            socket(&["control: {socket: /s}\nsomething: 1\nhooks: {}\nhooks: {}"], &[]),
            PathBuf::from("/s")
        );
        assert_eq!(find(&[REST], &[]).control.unwrap().socket, ControlSocket::Private);
        let off = find(&["control: {socket: off}"], &[]).control.unwrap();
        assert_eq!(off.socket, ControlSocket::Off);
    }

    // holds: C121
    #[test]
    fn the_entries_of_env_that_control_uses_are_read() {
        let text = format!("control: {{socket: '${{DIR}}/d.sock'}}{REST}");
        assert_eq!(socket(&[&text], &[]), PathBuf::from("/run/gw/d.sock"));
        assert_eq!(socket(&[&text], &[("BASE", "/tmp")]), PathBuf::from("/tmp/gw/d.sock"));
        assert_eq!(socket(&[&text], &[("DIR", "/x")]), PathBuf::from("/x/d.sock"));
        assert_eq!(find(&[&text], &[]).unset, ["BASE"]);
        assert_eq!(find(&[&text], &[("DIR", "/x")]).unset, [""; 0]);
    }

    #[test]
    fn unset_variables_are_named() {
        let text = format!("control: {{socket: '${{TOKEN}}/d.sock'}}{REST}");
        let found = find(&[&text], &[]);
        assert_eq!(found.unset, ["TOKEN", "SECRET"]);
        let problems = found.control.unwrap_err();
        let error = problems.iter().find(|problem| problem.is_error()).unwrap();
        assert_eq!(error.message, "`SECRET` is not set: set it");
        let found = find(&["control: {socket: '${A:?why}'}"], &[]);
        assert!(found.control.is_err() && found.unset == ["A"]);
        let found = find(&["control: {socket: '/run/${A}d.sock'}"], &[]);
        assert_eq!(found.control.unwrap().socket.path(), Some(Path::new("/run/d.sock")));
        assert_eq!(found.unset, ["A"]);
    }

    #[test]
    fn errors_in_control_are_reported() {
        for text in [
            "control: {socket: ''}",
            "control: {socket: none}",
            "control: {socket: no}",
            "control: {socket: true}",
            "control: {sockt: /a}",
            "control: [a]",
            "a: [",
            "",
        ] {
            assert!(find(&[text], &[]).control.is_err(), "{text}");
        }
    }
}
