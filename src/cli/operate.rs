//! `drainit stop`, `start` and `restart` of single processes.

use std::time::Duration;

use clap::Args;
use hyper::Method;

use crate::cli::ask::{ask, query, run};
use crate::cli::control_address::{Whom, of_operator};
use crate::cli::fail;
use crate::core::event::Request;
use crate::report::messages::request_name;
use crate::types::exit_code;

const MAX_ANSWER: usize = 64 * 1024;

/// Options of `stop`, `start` and `restart`.
#[derive(Debug, Args)]
pub struct OperateArgs {
    #[command(flatten)]
    whom: Whom,
    /// The processes; `app-*` means all whose names begin with `app-`
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Returns 0 when it is done. An interrupted command does not interrupt the operation.
pub(super) fn operate(request: Request, args: &OperateArgs) -> u8 {
    let found = match of_operator(&args.whom) {
        Ok(found) => found,
        Err(reason) => return fail(&reason, exit_code::CONFIG),
    };
    run(async {
        let path = format!("/v1/{}?{}", request_name(request), query(&args.names)?.join("&"));
        // As long as a drain and a stop may take: drainit bounds both.
        ask(&found, Method::POST, &path, Duration::MAX, MAX_ANSWER).await.map(drop)
    })
}
