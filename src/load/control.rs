//! `control` of a config and nothing else, for a command that asks the supervisor which runs it.
//!
//! Such a command runs beside the container's program, often with fewer variables: what the entrypoint has exported is not
//! there in `docker exec`. And what the files say elsewhere may have changed since the start, or be wrong by now. None of
//! that keeps a healthy container from answering.

use std::path::PathBuf;

use crate::config::Control;
use crate::load::accounts::Accounts;
use crate::load::environment::{Environment, Variables};
use crate::load::read::reader::Reader;
use crate::load::read::root;
use crate::load::{Collector, Diagnostic, merged, trees};

/// Where the supervisor answers.
#[derive(Debug)]
pub(crate) struct Found {
    /// What `control` says, or what is wrong with it.
    pub(crate) control: Result<Control, Vec<Diagnostic>>,
    /// The variables that `control` uses and that are not set here. For the supervisor they may be.
    pub(crate) unset: Vec<String>,
}

/// Reads `control`, and of `env` what `control` uses, of all files together.
#[must_use]
pub(crate) fn find(paths: &[PathBuf], environment: &Environment) -> Found {
    let mut report = Collector::default();
    let roots = trees(&mut report, paths, environment);
    // It ends soon: to take the trees apart would be work for nothing.
    std::mem::forget(roots.clone());
    found(report, roots, environment)
}

/// The same of files that are read.
pub(crate) fn found(
    mut report: Collector,
    roots: crate::load::Roots,
    environment: &Environment,
) -> Found {
    let Some(root) = merged(&mut report, roots) else {
        return Found { control: Err(report.finish()), unset: Vec::new() };
    };
    // What is wrong in a file that could be read is wrong elsewhere.
    report.forget();
    // Nobody is looked up.
    let accounts = Accounts::new("/nonexistent", "/nonexistent");
    let mut reader = Reader::new(&mut report, Variables::new(environment), accounts);
    let (control, unset) = root::control_alone(&mut reader, &root);
    let failed = report.has_errors();
    Found { control: if failed { Err(report.finish()) } else { Ok(control) }, unset }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::load::testing;

    fn find(texts: &[&str], variables: &[(&str, &str)]) -> Found {
        testing::find_control(texts, &variables.iter().copied().collect())
    }

    #[track_caller]
    fn socket(texts: &[&str], variables: &[(&str, &str)]) -> PathBuf {
        find(texts, variables).control.unwrap().socket.unwrap()
    }

    const REST: &str = "
env: {TOKEN: '${SECRET:?set it}', DIR: '${BASE:-/run}/gw'}
shutdown: {grace_period: '${GRACE:?set it}'}
processes: {a: {command: [a, '${MUST:?set it}'], user: nobody-at-all, comand: x, env_file: none.env}}
";

    #[test]
    fn nothing_else_is_read() {
        let text = format!("control: {{socket: /run/d.sock, listen: '127.0.0.1:1'}}{REST}");
        let found = find(&[&text], &[]);
        assert_eq!(found.unset, [""; 0]);
        let control = found.control.unwrap();
        assert_eq!(control.socket, Some("/run/d.sock".into()));
        assert_eq!(control.listen, Some("127.0.0.1:1".parse().unwrap()));
        // A duplicate key, an unknown one, no processes at all.
        assert_eq!(
            socket(&["control: {socket: /s}\nsomething: 1\nhooks: {}\nhooks: {}"], &[]),
            PathBuf::from("/s")
        );
        assert!(find(&[REST], &[]).control.unwrap().socket.is_none());
    }

    #[test]
    fn the_defaults_that_it_uses_are_read() {
        let text = format!("control: {{socket: '${{DIR}}/d.sock'}}{REST}");
        assert_eq!(socket(&[&text], &[]), PathBuf::from("/run/gw/d.sock"));
        assert_eq!(socket(&[&text], &[("BASE", "/tmp")]), PathBuf::from("/tmp/gw/d.sock"));
        assert_eq!(socket(&[&text], &[("DIR", "/x")]), PathBuf::from("/x/d.sock"));
        assert_eq!(find(&[&text], &[]).unset, ["BASE"]);
        assert_eq!(find(&[&text], &[("DIR", "/x")]).unset, [""; 0]);
    }

    #[test]
    fn what_it_uses_and_is_not_set_is_named() {
        let text = format!("control: {{socket: '${{TOKEN}}/d.sock'}}{REST}");
        let found = find(&[&text], &[]);
        assert_eq!(found.unset, ["TOKEN", "SECRET"]);
        let problems = found.control.unwrap_err();
        let error = problems.iter().find(|problem| problem.is_error()).unwrap();
        assert_eq!(error.message, "`SECRET` is not set: set it");
        let found = find(&["control: {socket: '${A:?why}'}"], &[]);
        assert!(found.control.is_err() && found.unset == ["A"]);
        let found = find(&["control: {socket: '/run/${A}d.sock'}"], &[]);
        assert_eq!(found.control.unwrap().socket, Some("/run/d.sock".into()));
        assert_eq!(found.unset, ["A"]);
    }

    #[test]
    fn files_are_laid_over_each_other() {
        let base = format!("control: {{socket: /a.sock, listen: '127.0.0.1:1'}}{REST}");
        let control = find(&[&base, "control: {socket: /b.sock}"], &[]).control.unwrap();
        assert_eq!(control.socket, Some("/b.sock".into()));
        assert!(control.listen.is_some());
        let control = find(&[&base, "control: {socket: !reset }"], &[]).control.unwrap();
        assert!(control.socket.is_none() && control.listen.is_some());
        assert_eq!(
            socket(&[&base, "env: {DIR: /x}\ncontrol: {socket: '${DIR}/c.sock'}"], &[]),
            PathBuf::from("/x/c.sock")
        );
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        for text in ["control: {socket: ''}", "control: {sockt: /a}", "control: [a]", "a: [", ""] {
            assert!(find(&[text], &[]).control.is_err(), "{text}");
        }
    }
}
