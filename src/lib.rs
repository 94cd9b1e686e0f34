//! ZFNet from scratch: training with hand-derived gradients, and a deconvnet inside.
//!
//! The house, from the ground up. Each floor uses only what lies below it.
//!
//! | floor | folder | what is there |
//! |---|---|---|
//! | check | [`check`] | gradients of operations and network, against differences and f64 |
//! | paper | [`paper`] | the paper's tables, and ours beside them |
//! | bench | [`mod@bench`] | times of the network and its operations, against the machine's roof |
//! | report | [`report`] | figures |
//! | understand | [`understand`] | strongest activations, and their projections to pixels |
//! | transfer | [`transfer`] | frozen features, softmax and linear-SVM probes; what data sets share |
//! | train | [`train`] | loop, schedule, checkpoints, metrics |
//! | net | [`net`] | network description, presets, forward and backward walk |
//! | ops | [`ops`] | one folder per operation: formula, sizes, implementations |
//! | data | [`data`] | decoding, packed data sets, loader, augmentation |
//! | device | [`device`] | memory and kernel launch: CUDA driver, emulator |
//! | ground | [`tensor`], [`philox`], [`section`], [`error`], `lock` | extents, random numbers, typed TOML, errors, lock files |
//!
//! ```
//! use zfnet::net::Plan;
//! use zfnet::train::Config;
//!
//! let config = Config::preset("zfnet")?;
//! let plan = Plan::new(&config.net, 1000)?;
//! assert_eq!(plan.total_params(), 62_357_608);
//! assert_eq!(plan.total_macs(), 1_168_032_896);
//! # Ok::<(), zfnet::error::Error>(())
//! ```
//!
//! The `zfnet` program in `src/bin/zfnet/` stands on top: one file a subcommand.
#![deny(missing_docs)]
#![warn(clippy::unwrap_used, clippy::expect_used)]
// Shapes are capitals (N, H, W, C, K, R, S, P, Q), indices the same letters small.
#![allow(non_snake_case)]
// A convolution has sizes and five arrays, and each is named where it is passed.
#![allow(clippy::too_many_arguments, clippy::ptr_arg)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod bench;
pub mod check;
pub mod data;
pub mod device;
pub mod error;
mod lock;
pub mod net;
pub mod ops;
pub mod paper;
pub mod philox;
pub mod report;
pub mod section;
pub mod tensor;
pub mod train;
pub mod transfer;
pub mod understand;
