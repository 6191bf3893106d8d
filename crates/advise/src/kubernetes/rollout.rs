//! Whether some pod of a workload serves at every moment of its rollout, as far as the manifest shows.

use crate::kubernetes::manifest::{Workload, text};
use crate::language::yaml::node::{Node, get};

/// The value of `maxSurge` and `maxUnavailable` if the manifest has none.
const DEFAULT: Share = Share::Percent(25);

/// Whether a pod serves between the old pods and the new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Between {
    Served,
    /// With what decides it.
    Unknown(&'static str),
    /// With the reason.
    Nobody(String),
}

/// A number of pods in a rollout: `25%` or `1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Percent(u32),
    Pods(u64),
}

impl Share {
    fn read(node: &Node, path: &[&str]) -> Option<Self> {
        if get(node, path).is_none() {
            return Some(DEFAULT);
        }
        let word = text(node, path)?;
        match word.text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().map(Self::Percent),
            None => word.text.parse().ok().map(Self::Pods),
        }
    }

    /// This share of so many pods. The controller of a Deployment rounds `maxUnavailable` down, and
    /// `maxSurge` up; that of a StatefulSet rounds up.
    fn of(self, replicas: u64, rounds_up: bool) -> u64 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) if rounds_up => {
                replicas.saturating_mul(percent.into()).div_ceil(100)
            }
            Self::Percent(percent) => replicas.saturating_mul(percent.into()) / 100,
        }
    }
}

/// Whether a pod serves between the old pods of this workload and the new ones. Source: the
/// references of Kubernetes for the strategies of Deployment, StatefulSet and DaemonSet.
pub(super) fn between(workload: &Workload) -> Between {
    let node = &*workload.node;
    let replicas = text(node, &["spec", "replicas"]);
    let replicas = replicas.map(|word| word.text.parse::<u64>().ok());
    match &*workload.kind {
        "Deployment" => of_deployment(node, "rollingUpdate", replicas),
        "DeploymentConfig" => of_deployment(node, "rollingParams", replicas),
        "StatefulSet" => {
            let path = &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"];
            let at_once = if get(node, path).is_some() {
                Share::read(node, path)
            } else {
                Some(Share::Pods(1))
            };
            match (replicas, at_once) {
                (Some(Some(1)), _) => {
                    Between::Nobody("its only pod ends before the next one starts".to_owned())
                }
                (Some(Some(replicas)), Some(share)) if share.of(replicas, true) < replicas => {
                    Between::Served
                }
                (Some(Some(1..)), Some(_)) => {
                    Between::Nobody("`maxUnavailable` lets all pods end at once".to_owned())
                }
                _ => Between::Unknown("the number of its pods"),
            }
        }
        "DaemonSet" => {
            let surge = text(node, &["spec", "updateStrategy", "rollingUpdate", "maxSurge"]);
            match surge.is_some_and(|surge| !matches!(&*surge.text, "0" | "0%")) {
                true => Between::Served,
                false => Between::Unknown("whether other nodes serve while its pod is replaced"),
            }
        }
        "Rollout" => Between::Unknown("its strategy"),
        _ => Between::Unknown("what replaces its pods"),
    }
}

/// `replicas` is `None` if the manifest does not say it, and `Some(None)` if it is not a number.
fn of_deployment(node: &Node, rolling: &str, replicas: Option<Option<u64>>) -> Between {
    let of = |key| Share::read(node, &["spec", "strategy", rolling, key]);
    if text(node, &["spec", "strategy", "type"]).is_some_and(|it| it.text == "Recreate") {
        let why = "with the strategy `Recreate`, all pods end before the first new one starts";
        return Between::Nobody(why.to_owned());
    }
    let (Some(unavailable), Some(surge)) = (of("maxUnavailable"), of("maxSurge")) else {
        return Between::Unknown("its strategy");
    };
    let serves = |replicas: u64| {
        let unavailable = match unavailable.of(replicas, false) {
            // If both are zero, the controller ends one pod at a time.
            0 => u64::from(surge.of(replicas, true) == 0),
            unavailable => unavailable,
        };
        unavailable < replicas
    };
    match replicas {
        Some(Some(replicas @ 1..)) if serves(replicas) => Between::Served,
        Some(Some(1..)) => Between::Nobody("`maxUnavailable` lets all pods end at once".to_owned()),
        // An autoscaler may set the number. The rule holds for two pods if it holds for one.
        None if serves(1) => Between::Served,
        _ => Between::Unknown("the number of its pods"),
    }
}
