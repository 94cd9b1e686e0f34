//! Measuring: how fast a network runs here, and how near that is to what the machine can do.
//!
//! | module | what is there |
//! |---|---|
//! | [`workload`] | a network on random records: the forward pass and the training step that are timed |
//! | [`clock`] | warm-up, repetition, median |
//! | [`recorder`] | a backend that times every operation of another one |
//! | [`profile`] | those times by layer and operation, against the roof |
//! | [`convs`] | convolutions by themselves, verified, beside another library's |
//! | [`tune`] | every kernel that could compute a layer's products, for the table of tiles |
//! | [`cudnn`] | cuDNN as that library |
//! | [`cost`] | arithmetic and memory traffic of each operation |
//! | [`process`] | peak memory and processor time |
//!
//! Operations are timed where they run, inside the training step: with the
//! caches as their neighbours leave them, and with times that add up to the step's.

pub mod clock;
pub mod convs;
pub mod cost;
pub mod cudnn;
mod layer;
pub mod process;
pub mod profile;
pub mod recorder;
pub mod tune;
pub mod workload;

pub use clock::Timing;
pub use cost::Cost;
pub use profile::{Entry, Profile};
pub use recorder::Recorder;
pub use workload::Workload;
