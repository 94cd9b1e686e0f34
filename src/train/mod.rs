//! Training: loop, schedule, checkpoints, metrics.
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | the settings of a run, from TOML |
//! | [`recipe`] | initialisation, decay and schedule that go together |
//! | [`schedule`] | the learning rate over a run |
//! | [`trainer`] | the loop over epochs and steps |
//! | [`observer`] | what the loop tells whoever watches it |
//! | [`evaluate`] | probabilities of one network or several |
//! | [`score`] | from probabilities to scores |
//! | [`checkpoint`] | a run's state in one file |
//! | [`model`] | a trained network from that file |
//! | [`run`] | the folder of a run |
//! | [`metrics`] | a line per epoch |
//! | [`average_precision`] | precision and recall of a class's scores, as PASCAL VOC measures them |
//! | [`replace`] | files replaced whole or not at all |
//! | [`device`] | which machine it all runs on |

pub mod average_precision;
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod evaluate;
pub mod metrics;
pub mod model;
pub mod observer;
pub mod recipe;
pub mod replace;
pub mod run;
pub mod schedule;
pub mod score;
pub mod trainer;

pub use config::{Config, TrainConfig, TrainEdit};
pub use recipe::{Init, Recipe};
pub use schedule::Schedule;
