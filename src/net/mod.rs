//! The network: its description, its sizes, and the walk through it.

pub mod config;
pub mod field;
pub mod fuse;
pub mod init;
mod inspect;
#[allow(clippy::module_inception)]
pub mod net;
pub mod occlude;
pub mod param;
pub mod plan;
pub mod preset;
pub mod reverse;
mod size;
pub mod walk;

pub use config::NetConfig;
pub use field::Field;
pub use net::Net;
pub use param::{Param, Part, Training};
pub use plan::{Layer, LayerOp, MemoryEstimate, ParamKind, Plan};
pub use reverse::{Keep, Reverse};
pub use walk::{Pass, Update};
