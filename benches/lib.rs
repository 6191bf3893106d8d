//! The parts that the load benches `rollout` and `replace` share: the clients, the server, the order
//! of the measurements, and the results.

pub mod bars;
pub mod jobs;
pub mod load;
pub mod result;
pub mod server;
