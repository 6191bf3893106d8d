//! `drainit install`: copies the running drainit to a path. An init container thus brings drainit
//! into a pod whose image is not rebuilt.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::{fs, io};

use crate::cli::{fail, print};
use crate::commands::InstallArgs;
use crate::os::replace_file;
use crate::types::{exit_code, harmless};

/// The name of the copy if the given path is a directory.
const NAME: &str = "drainit";
/// Everybody may run the copy, but only its owner may write to it.
const MODE: u32 = 0o755;

/// Copies this program. A file with the same content and mode is left alone.
pub(super) fn install(args: &InstallArgs) -> u8 {
    let is_directory = args.path.is_dir() || args.path.as_os_str().as_bytes().ends_with(b"/");
    let path = if is_directory { args.path.join(NAME) } else { args.path.clone() };
    let shown = path.display();
    let said = match copy(&path, args.force) {
        Ok(true) => format!("drainit {} is installed as {shown}", env!("CARGO_PKG_VERSION")),
        Ok(false) => format!("{shown} is this drainit already"),
        Err(error) => return fail(&format!("cannot install {shown}: {error}"), 1),
    };
    print(format!("{}\n", harmless(&said)).as_bytes());
    exit_code::OK
}

/// Returns whether the file was written.
fn copy(path: &std::path::Path, force: bool) -> io::Result<bool> {
    // This path leads to the running program, wherever the program was started from.
    let own = fs::read("/proc/self/exe").map_err(|error| {
        io::Error::new(error.kind(), format!("cannot read this program: {error}"))
    })?;
    replace_file::tidy(path);
    // If the target is not a regular file, `replace` refuses the target. Nothing is read from such
    // a target here, because reading a pipe could hang.
    if let Some(file) = fs::metadata(path).ok().filter(fs::Metadata::is_file) {
        match fs::read(path) {
            Ok(found) if found != own && !force => {
                return Err(io::Error::other("another file is there; --force replaces it"));
            }
            Ok(found) if found == own && file.mode() & 0o7777 == MODE => return Ok(false),
            Err(error) if !force => return Err(error),
            _ => {}
        }
    } else if path.is_symlink() && !path.exists() && !force {
        return Err(io::Error::other("a link to nothing is there; --force replaces it"));
    }
    replace_file::replace(path, &own, MODE, None)?;
    Ok(true)
}
