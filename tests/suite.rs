//! The integration tests: one module for each stem of `src/`.
#![allow(non_snake_case)]

mod common;

mod config;
mod conv;
mod crop;
mod device;
mod dropout;
mod emulator;
mod info;
mod kernels;
mod linear;
mod lrn;
mod philox;
mod pool;
mod preset;
mod relu;
mod schedule;
mod sgd;
mod softmax;
