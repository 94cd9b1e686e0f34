//! The network: its description, its sizes, and the walk through it.

pub mod config;
pub mod plan;
pub mod preset;
pub mod section;
mod size;

pub use config::NetConfig;
pub use plan::{Layer, LayerOp, MemoryEstimate, Param, ParamKind, Plan};
