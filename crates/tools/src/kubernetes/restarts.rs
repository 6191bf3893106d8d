//! Checks `restartPolicyRules` (KEP-5307) and their action RestartAllContainers (KEP-5532).

use std::rc::Rc;

use crate::kubernetes::manifest::{items, text, words};
use crate::kubernetes::{Context, Severity};
use crate::types::exit_code;

pub(super) fn check(ctx: &mut Context<'_>) {
    let pod = Rc::clone(&ctx.workload.pod);
    for container in ["initContainers", "containers"].iter().flat_map(|list| items(&pod, &[list])) {
        let is_own = Rc::ptr_eq(container, &ctx.container.node);
        for rule in items(container, &["restartPolicyRules"]) {
            let Some(action) = text(rule, &["action"]) else { continue };
            let exits = text(rule, &["exitCodes", "operator"]);
            let codes = words(rule, &["exitCodes", "values"]);
            match &*action.text {
                // The kubelet kills them without `preStop` and without a grace period.
                "RestartAllContainers" if ctx.takes_traffic_away() => {
                    let message = "this ends every container of the pod at once, without `preStop`, SIGTERM and a grace \
                                   period: nothing is drained";
                    ctx.add(Severity::Warning, action.span, message)
                        .help("restart only the container: `action: Restart`");
                }
                "Restart" if is_own && exits.is_some_and(|operator| operator.text == "In") => {
                    let wrong = [exit_code::USAGE, exit_code::CONFIG].map(|code| code.to_string());
                    if let Some(code) = codes.iter().find(|code| wrong.contains(&code.text)) {
                        let message = "drainit exits with this code if its config or its \
                                       arguments are wrong, which a restart does not mend";
                        ctx.add(Severity::Warning, code.span, message)
                            .help("remove the code from the rule, so that the pod fails visibly");
                    }
                }
                _ => {}
            }
        }
    }
}
