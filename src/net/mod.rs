//! The network: its description, its sizes, and the walk through it.

pub mod config;
pub mod init;
#[allow(clippy::module_inception)]
pub mod net;
pub mod plan;
pub mod preset;
pub mod section;
mod size;

pub use config::NetConfig;
pub use net::{Net, Param, Part, Pass, Training, Update};
pub use plan::{Layer, LayerOp, MemoryEstimate, ParamKind, Plan};
