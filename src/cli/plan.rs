//! `drainit plan`: shows the start order and the longest shutdown of a config.

use std::mem::ManuallyDrop;

use crate::check::own_work;
use crate::cli::config_files;
use crate::cli::width::{WHOLE, wrap};
use crate::cli::{fail, print, reload, say};
use crate::commands::{PlanArgs, PlanFormat};
use crate::load::{self, Environment, Loaded};
use crate::os::sys;
use crate::plan::{Plan, json, mermaid, text};
use crate::types::{exit_code, harmless};

const OF_THE_RUNNING: &str = "`-c` only finds the socket of the running drainit; the plan compares \
    the files that this drainit was started with";

/// Prints the plan, and the problems of the config on stderr.
pub(super) fn plan(args: &PlanArgs) -> u8 {
    let format = if args.json { PlanFormat::Json } else { args.format };
    if args.reload {
        if !args.whom.files.config.is_empty() {
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
    let loaded = ManuallyDrop::new(load::load(
        &config_files::paths(&args.whom.files),
        &Environment::from_process(),
    ));
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
            let paths = config_files::paths(&args.whom.files);
            let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
            mermaid::mermaid(&plan, &harmless(&names.join(", ")))
        }
    };
    print((shown.trim_end().to_owned() + "\n").as_bytes());
    exit_code::OK
}
