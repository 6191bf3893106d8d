//! `drainit report`: draws the report of a shutdown that has happened.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use clap::Args;

use crate::Refused;
use crate::drawing::{read, report};
use crate::types::{exit_code, harmless};

/// At most this many bytes of the input are used. A report of thousands of processes has a few MiB.
const MAX_INPUT: u64 = 16 * 1024 * 1024;

/// Options of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The file of `shutdown.report`, or a complete log in JSON; `-` reads standard input
    file: PathBuf,
}

/// Reads the report and draws it.
pub(crate) fn run(args: &ReportArgs) -> Result<String, Refused> {
    let name = args.file.display().to_string();
    let name = if name == "-" { "standard input" } else { &name };
    let read = content(args).and_then(|content| read::find(&content));
    let refused = |error: String| Refused {
        why: format!("error: {}", harmless(&format!("{name}: {error}"))),
        code: exit_code::CONFIG,
    };
    read.map(|report| report::svg(&report)).map_err(refused)
}

/// Reads the input. Reads only the end of a file that is longer than [`MAX_INPUT`], and refuses
/// standard input that is longer. A log may have bytes that are not UTF-8, because processes have
/// written them; such bytes are replaced.
fn content(args: &ReportArgs) -> Result<String, String> {
    let mut content = Vec::new();
    let mut read = |input: &mut dyn Read| input.take(MAX_INPUT + 1).read_to_end(&mut content);
    let read = if args.file.as_os_str() == "-" {
        read(&mut io::stdin().lock())
    } else {
        File::open(&args.file).and_then(|mut file| {
            let length = file.metadata()?.len();
            if length > MAX_INPUT {
                file.seek(SeekFrom::Start(length - MAX_INPUT))?;
            }
            read(&mut file)
        })
    };
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            "no such file; name the file of `shutdown.report`, or `-` for standard input".to_owned()
        }
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    })?;
    if content.len() as u64 > MAX_INPUT {
        let most = MAX_INPUT / (1024 * 1024);
        return Err(format!(
            "longer than {most} MiB; the last 100 lines of a log are enough, `drainit report -` reads them"
        ));
    }
    Ok(String::from_utf8_lossy(&content).into_owned())
}
