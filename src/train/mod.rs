//! Training: loop, schedule, checkpoints, metrics.

pub mod config;
pub mod recipe;
pub mod schedule;

pub use config::{Config, TrainConfig, TrainEdit};
pub use recipe::{Init, Recipe};
pub use schedule::Schedule;
