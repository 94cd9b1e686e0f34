//! The network: its description, its sizes, and the walk through it.

pub mod plan;

pub use plan::{Layer, LayerOp, Plan};
