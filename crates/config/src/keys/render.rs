//! `render:` of a process: templates that are written to files before each start.

use std::path::PathBuf;

use crate::keys::forms::{Permissions, leaf};
use crate::keys::key::{Shape, Table};
use crate::keys::reader::{Fields, Reader};
use crate::keys::values;
use crate::language::diagnostics::rule::Rule;
use crate::language::invalid::Invalid;
use drainit_os::same_path::is_same;

/// One entry of `render:`: a template that is written to a file before each start.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(settle = Self)]
pub struct Render {
    /// The template: a regular file of UTF-8 text, at most 4 MiB. <!-- C282 -->
    /// Example: `from: /etc/app.conf.tmpl`
    #[key(required = "write `{from: TEMPLATE, to: PATH}`")]
    pub from: PathBuf,
    /// The file, which drainit replaces as a whole. <!-- C283 --> `to` cannot be the template
    /// itself. <!-- C524 --> The directory of `to` must exist. <!-- C608 --> If `to` is a device, a
    /// pipe or a mounted file, the start fails. <!-- C630 --> Example: `to: /run/app.conf`
    #[key(form = Target, required = "write `{from: TEMPLATE, to: PATH}`")]
    pub to: PathBuf,
    /// The permissions of the file, which belongs to the `user` of the process. <!-- C284 --> By
    /// default no other user can read the file, because it may contain a secret. <!-- C631 -->
    /// Example: `mode: "0640"`
    #[key(form = Permissions, default = "0600")]
    pub mode: u32,
}

impl Render {
    /// Resolves the path of the template from the directory of the config.
    fn settle(mut self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self> {
        self.from = reader.resolve_path(fields.value("from"), &self.from);
        if is_same(&self.from, &self.to) {
            let message = "`from` and `to` are the same file: the template would be overwritten";
            reader
                .problems
                .error(Rule::ConflictingKeys, fields.value("to"), message)
                .help("write another path to `to`");
        }
        Some(self)
    }
}

leaf! {
    /// The path of a file that drainit writes. A path that can only be a directory is refused.
    struct Target => PathBuf: Shape::Filled("path"), target;
}

fn target(text: &str) -> Result<PathBuf, Invalid> {
    let path = values::path(text)?;
    match path.file_name() {
        Some(_) if !text.ends_with('/') => Ok(path),
        _ => Err(Invalid::new("not the path of a file", "end it with the name of the file")),
    }
}
