//! `drainit plan`: shows the start order and the longest shutdown of a config.

use std::mem::ManuallyDrop;

use clap::{Args, ValueEnum};

use crate::check::own_work;
use crate::cli::control_address::Whom;
use crate::cli::width::{WHOLE, wrap};
use crate::cli::{fail, print, reload, say};
use crate::load;
use crate::load::{Environment, Loaded};
use crate::os::sys;
use crate::plan::{Plan, json, mermaid, text};
use crate::types::{exit_code, harmless};

const OF_THE_RUNNING: &str = "`-c` only finds the socket of the running drainit; the plan compares \
    the files that this drainit was started with";

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    whom: Whom,
    /// Show what `drainit reload` would change in the running container. The running drainit reads
    /// again the files with which it started; `-c` only finds its socket
    #[arg(long)]
    reload: bool,
    /// Output format
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t)]
    format: PlanFormat,
    /// Short for `--format json`
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PlanFormat {
    /// For a terminal
    #[default]
    Text,
    /// For programs
    Json,
    /// A chart that GitHub, GitLab and many wikis draw
    Mermaid,
}

/// Prints the plan, and the problems of the config on stderr.
pub(super) fn plan(args: &PlanArgs) -> u8 {
    let format = if args.json { PlanFormat::Json } else { args.format };
    if args.reload {
        if !args.whom.files.named().is_empty() {
            say(&format!("[drainit] {OF_THE_RUNNING}\n"));
        }
        return match format {
            PlanFormat::Text => reload::plan(&args.whom),
            PlanFormat::Json | PlanFormat::Mermaid => {
                fail("--reload is shown as text only", exit_code::USAGE)
            }
        };
    }
    if args.whom.socket.is_some() {
        return fail("--socket needs --reload", exit_code::USAGE);
    }
    // Freeing the memory would only take time before the exit.
    let loaded =
        ManuallyDrop::new(load::load(&args.whom.files.paths(), &Environment::from_process()));
    let (problems, plan) = match &*loaded {
        Ok(Loaded { config, graph, warnings, .. }) => {
            let plan = ManuallyDrop::new(Plan::new(config, graph));
            (warnings, Some((plan, own_work::in_plan(config, graph))))
        }
        Err(problems) => (problems, None),
    };
    for problem in problems {
        say(&format!("{problem}\n"));
    }
    let Some((plan, own_work)) = plan else { return exit_code::CONFIG };
    let width = sys::terminal_width(false);
    let shown = match format {
        PlanFormat::Text => {
            let mut text = text::text_within(&plan, width.unwrap_or(text::COLUMNS));
            text.extend(own_work.iter().map(|line| format!("\n  {line}\n")));
            text.lines().map(|line| wrap(line, width.unwrap_or(WHOLE), 4) + "\n").collect()
        }
        PlanFormat::Json => json::json(&plan),
        PlanFormat::Mermaid => {
            let paths = args.whom.files.paths();
            let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
            mermaid::mermaid(&plan, &harmless(&names.join(", ")))
        }
    };
    print((shown.trim_end().to_owned() + "\n").as_bytes());
    exit_code::OK
}
