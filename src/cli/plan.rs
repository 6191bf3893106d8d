//! `drainit plan`: shows start order and longest shutdown of a config.

use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::config_files::ConfigFiles;
use crate::cli::{control_address, fail, print, reload, tools};
use crate::load;
use crate::load::{Environment, Loaded};
use crate::plan::{Plan, text};
use crate::types::exit_code;

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    files: ConfigFiles,
    /// Ask the running drainit what a reload would do [default: with the files of its start]
    #[arg(long)]
    reload: bool,
    /// drainit's control socket, a path or @NAME, for --reload
    #[arg(long, value_name = "SOCKET", requires = "reload")]
    socket: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For a terminal
    #[default]
    Text,
    /// For programs
    #[value(hide = tools::ARE_HIDDEN)]
    Json,
    /// A picture of the shutdown
    #[value(hide = tools::ARE_HIDDEN)]
    Svg,
}

/// Prints the plan, and the problems of the config on stderr.
pub(super) fn plan(args: &PlanArgs) -> u8 {
    if args.reload {
        return plan_reload(args);
    }
    // Dropping it would only take time before the exit.
    let loaded =
        ManuallyDrop::new(load::load_to_show(&args.files.paths(), &Environment::from_process()));
    let (problems, plan) = match &*loaded {
        Ok(Loaded { config, graph, warnings, .. }) => {
            (warnings, Some(ManuallyDrop::new(Plan::new(config, graph))))
        }
        Err(problems) => (problems, None),
    };
    // Best effort: the reader may have closed the pipe.
    for problem in problems {
        let _ = writeln!(io::stderr(), "{problem}");
    }
    let Some(plan) = plan else { return exit_code::CONFIG };
    let shown = match args.format {
        Format::Text => Ok(text::text(&plan)),
        Format::Json => tools::json(&plan),
        Format::Svg => tools::svg(&plan),
    };
    let shown = match shown {
        Ok(shown) => shown,
        Err(code) => return code,
    };
    print((shown.trim_end().to_owned() + "\n").as_bytes());
    exit_code::OK
}

fn plan_reload(args: &PlanArgs) -> u8 {
    let is_json = match args.format {
        Format::Text => false,
        Format::Json => true,
        Format::Svg => {
            return fail("a reload is shown as text or JSON", exit_code::USAGE);
        }
    };
    match control_address::of_operator_at(&args.files, args.socket.clone()) {
        Ok(found) => reload::plan(&found, args.files.named(), is_json),
        Err(reason) => fail(&reason, exit_code::CONFIG),
    }
}
