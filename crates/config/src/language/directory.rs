//! A config in pieces: a directory with several files. Each file is merged over the files before
//! it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::language::source::Unreadable;
use drainit_os::trusted_path::{DATA, Revisions};

/// A directory may have at most this many files of a config.
const MOST_FILES: usize = 100;

/// The `*.yaml` and `*.yml` files of a directory, sorted by the bytes of their names. `None` if
/// `path` is not a directory. Subdirectories and hidden entries are skipped: editors make hidden
/// files, and Kubernetes puts hidden directories beside the files of a ConfigMap.
///
/// # Errors
/// Fails if the directory cannot be read, has no such file, or has too many of these files.
pub fn files(path: &Path, revisions: &Revisions) -> Option<Result<Vec<PathBuf>, Unreadable>> {
    path.is_dir().then(|| match list(path, revisions) {
        Ok(files) if files.is_empty() => Err(Unreadable::new(
            "is a directory without a `*.yaml` or `*.yml` file",
            "put the config there, or name another place with -c",
        )),
        Ok(files) if files.len() > MOST_FILES => Err(Unreadable::new(
            format!("is a directory with more than {MOST_FILES} `*.yaml` and `*.yml` files"),
            "is this the right directory?",
        )),
        Ok(files) => Ok(files),
        Err(error) => Err(Unreadable::new(
            format!("is a directory that cannot be read: {error}"),
            "make it readable for the user that runs drainit",
        )),
    })
}

fn list(path: &Path, revisions: &Revisions) -> io::Result<Vec<PathBuf>> {
    let directory = revisions.path(path).unwrap_or_else(|| path.to_owned());
    let revision = revisions.path(&directory.join(DATA)).and_then(|revision| names(&revision).ok());
    let mut names = names(&directory)?;
    if let Some(revision) = revision {
        // The kubelet adds and removes the links beside `..data` after it has turned `..data`.
        let is_own = |name: &OsString| {
            fs::read_link(directory.join(name)).is_ok_and(|target| target.starts_with(DATA))
        };
        names.retain(|name| !is_own(name));
        names.extend(revision);
    }
    names.sort_unstable();
    names.dedup();
    let found = |name: OsString| match directory.join(&name).symlink_metadata() {
        Ok(_) => path.join(name),
        Err(_) => path.join(DATA).join(name),
    };
    Ok(names.into_iter().map(found).collect())
}

/// The names of files of a config in a directory, but not many more than are permitted.
fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        // `is_dir` follows symbolic links, so a link to a directory is skipped, too.
        if names.len() <= MOST_FILES && is_config(&name) && !entry.path().is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_config(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    let is_yaml = extension.is_some_and(|extension| extension == "yaml" || extension == "yml");
    is_yaml && !name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    fn names(dir: &TempDir) -> Result<Vec<String>, String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let found = files(dir.root(), &Revisions::default()).unwrap();
        found.map(|found| found.into_iter().map(name).collect()).map_err(|why| why.message)
    }

    // holds: C451, C452
    #[test]
    fn the_files_come_in_the_order_of_their_names() {
        let dir = TempDir::new();
        assert!(names(&dir).unwrap_err().starts_with("is a directory without a"));
        for name in ["20-b.yml", "10-a.yaml", "9.yaml", "B.yaml", ".10-a.yaml.swp", ".h.yaml"] {
            dir.write(name, b"");
        }
        for name in ["README.md", "a.yaml~", "a.yaml.bak", "yaml"] {
            dir.write(name, b"");
        }
        std::fs::create_dir(dir.path("old.yaml")).unwrap();
        std::os::unix::fs::symlink("old.yaml", dir.path("link.yaml")).unwrap();
        assert_eq!(names(&dir).unwrap(), ["10-a.yaml", "20-b.yml", "9.yaml", "B.yaml"]);
        assert!(files(&dir.path("9.yaml"), &Revisions::default()).is_none());
        assert!(files(&dir.path("none"), &Revisions::default()).is_none());
    }

    // holds: C451
    #[test]
    fn too_many_files_are_refused() {
        let dir = TempDir::new();
        (0..MOST_FILES).for_each(|number| drop(dir.write(&format!("{number}.yaml"), b"")));
        assert_eq!(names(&dir).unwrap().len(), MOST_FILES);
        dir.write("more.yml", b"");
        assert!(names(&dir).unwrap_err().contains("more than 100"));
    }
}
