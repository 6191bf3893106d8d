//! Nothing: the programs of the examples are a crate of their own, so that a build of drainit does
//! not compile what only they need.
