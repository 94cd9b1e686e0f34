//! The integration tests: one module for each stem of `src/`.
#![allow(non_snake_case)]

mod common;

mod bench;
mod checkpoint;
mod config;
mod conv;
mod correspondence;
mod crop;
mod decode;
mod device;
mod diagnose;
mod dropout;
mod emulator;
mod eval;
mod evolution;
mod fixture;
mod gradcheck;
mod info;
mod invariance;
mod linear;
mod loader;
mod lrn;
mod net;
mod occlusion;
mod pack;
mod packed;
mod philox;
mod pool;
mod pool_lrn;
mod predict;
mod preset;
mod relu;
mod report;
mod resume;
mod reverse;
mod roof;
mod run;
mod schedule;
mod score;
mod sgd;
mod softmax;
mod synthetic;
mod top;
mod train;
mod trajectory;
