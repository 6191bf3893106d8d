//! Tests the behaviour with a real Envoy, above all that no request fails in a rollout.

mod control_plane;
mod crash_paths;
mod direction;
mod drain_end;
mod epochs;
mod facts;
mod lost_admin;
mod new_connections;
mod preflight;
mod report_counts;
pub(crate) mod rollout;
mod sizes;
mod unready_delay;
