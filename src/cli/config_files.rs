//! Finds the config files for the commands that read a config.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::commands::ConfigFiles;
use crate::load::Environment;
use crate::load::control::{self, FoundControl};

/// The variable that names the config file if there is no `-c`.
pub(super) const VARIABLE: &str = "DRAINIT_CONFIG";
/// The config file if there is neither `-c` nor the variable.
const DEFAULT: &str = "/etc/drainit.yaml";
/// The config file if there is no default file either. drainit tries this file last, so that a file
/// in the working directory never replaces the config of an image.
const LOCAL: &str = "drainit.yaml";

/// The file that `-` stands for.
const STDIN: &str = "/dev/stdin";

/// The files to read, at least one.
pub(super) fn paths(files: &ConfigFiles) -> Vec<PathBuf> {
    if !files.config.is_empty() {
        let named = files.config.iter();
        return named
            .map(|path| if path == Path::new("-") { STDIN.into() } else { path.clone() })
            .collect();
    }
    vec![variable().map_or_else(|| unnamed(Path::new(DEFAULT), Path::new(LOCAL)), PathBuf::from)]
}

/// The key `control` of this config. `None` if the user names no config file, and no file exists at
/// the default paths.
pub(super) fn control(files: &ConfigFiles) -> Option<FoundControl> {
    let paths = paths(files);
    let is_named = !files.config.is_empty() || variable().is_some();
    let is_any = is_named || paths.iter().any(|path| is_there(path));
    is_any.then(|| control::find(&paths, &Environment::from_process()))
}

/// Whether the config is the default file, and this file exists.
pub(super) fn is_default(files: &ConfigFiles) -> bool {
    paths(files) == [PathBuf::from(DEFAULT)] && Path::new(DEFAULT).exists()
}

/// The value of [`VARIABLE`], unless the value is empty.
fn variable() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty())
}

/// The default file, or the local file if only the local file exists.
fn unnamed(default: &Path, local: &Path) -> PathBuf {
    let chosen =
        if !is_there(default) && local.symlink_metadata().is_ok() { local } else { default };
    chosen.to_owned()
}

/// Whether there is a file. A file that cannot be examined counts as present, so that its error is
/// reported.
fn is_there(path: &Path) -> bool {
    !path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    // holds: C1
    #[test]
    fn local_file_is_used_only_without_default_file() {
        let dir = TempDir::new();
        let (default, local) = (dir.path("etc.yaml"), dir.path("local.yaml"));
        assert_eq!(unnamed(&default, &local), default);
        dir.write("local.yaml", b"");
        assert_eq!(unnamed(&default, &local), local);
        // Even a default file that is a broken link takes precedence, so that drainit reports the
        // broken link.
        assert!(std::os::unix::fs::symlink("nowhere", &default).is_ok());
        assert_eq!(unnamed(&default, &local), default);
    }
}
