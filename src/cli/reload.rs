//! `drainit reload`, and `drainit plan --reload`.

use std::time::Duration;

use hyper::Method;

use crate::cli::ask::{ask, run};
use crate::cli::control_address::Found;
use crate::cli::{operate, print};
use crate::commands::Whom;
use crate::types::harmless_lines;

/// Returns 0 when every process is as the config says. Interrupting the command does not interrupt
/// the reload.
pub(super) fn reload(whom: &Whom) -> u8 {
    run(whom, async |found: Found| {
        // There is no limit here, because drainit itself limits drains, stops and starts.
        let request = ask(&found, Method::POST, "/v1/reload", Duration::MAX);
        operate::tell(&found, &[], request).await
    })
}

/// Prints what a reload would do.
pub(super) fn plan(whom: &Whom) -> u8 {
    run(whom, async |found: Found| {
        // There is no limit here, because drainit itself limits how long it waits for the files.
        let plan = ask(&found, Method::GET, "/v1/reload", Duration::MAX).await?;
        print(harmless_lines(&String::from_utf8_lossy(&plan)).as_bytes());
        Ok(())
    })
}
