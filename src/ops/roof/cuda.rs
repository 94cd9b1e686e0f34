//! The limits of a GPU: kernels/roof.cu.
//!
//! For tensor cores it is the peak of mma.sync, which every GPU from sm_80 on has; Hopper's
//! wgmma reaches about half as much again.

use super::{ATTEMPTS, Roof, RoofOp};
use crate::device::{Arg, Device, Launch, Memory};
use crate::error::Result;
use crate::ops::{Gpu, Precision};

/// Threads of a block, and blocks for each multiprocessor: enough to hide every latency.
const THREADS: u32 = 256;
const BLOCKS: u32 = 4;

/// Sums of a thread (f32), or of a warp, of 16 x 8 each: kSums of the kernel.
const SUMS: u64 = 8;

/// An attempt that takes less says more about its beginning and end than about what is between.
const SECONDS: f64 = 2e-3;

/// Bytes of each array that is streamed: the largest second-level cache is a tenth of it.
const STREAMED: usize = 1 << 29;

impl<D: Device> Gpu<D> {
    /// Runs `launch`, again and again; the least seconds.
    fn least_seconds(&self, launch: &Launch, args: &[Arg<'_, D::Buffer>]) -> Result<f64> {
        let mut least = f64::INFINITY;
        for _ in 0..ATTEMPTS {
            let start = self.device.mark()?;
            self.device.launch(launch, args)?;
            let end = self.device.mark()?;
            least = least.min(self.device.seconds_between(&start, &end)?);
        }
        Ok(least)
    }

    fn arithmetic(&self) -> Result<f64> {
        let (kernel, flops_a_round) = match self.precision {
            Precision::F32 => ("roof_multiply_1_f32", SUMS * 2 * u64::from(THREADS)),
            Precision::Tf32 => ("roof_multiply_1_tf32", SUMS * 2 * (16 * 8 * 8) * u64::from(THREADS / 32)),
            Precision::Bf16 => ("roof_multiply_1_bf16", SUMS * 2 * (16 * 8 * 16) * u64::from(THREADS / 32)),
        };
        let blocks = BLOCKS * self.device.properties().multiprocessors;
        let mut out = self.device.alloc((blocks * THREADS) as usize * size_of::<f32>())?;
        let mut rounds: i32 = 16;
        loop {
            let launch = Launch::linear(kernel, blocks, THREADS);
            let seconds = self.least_seconds(&launch, &[Arg::I32(rounds), Arg::output(&mut out)])?;
            if seconds >= SECONDS || rounds > 1 << 24 {
                return Ok((u64::from(blocks) * flops_a_round * rounds as u64) as f64 / seconds);
            }
            rounds *= 4;
        }
    }

    fn streaming(&self) -> Result<f64> {
        let most = (self.device.free_bytes()? / 4) as usize;
        let mut bytes: usize = 1 << 20;
        loop {
            let (mut x, mut y) = (self.device.alloc(bytes)?, self.device.alloc(bytes)?);
            for buffer in [&mut x, &mut y] {
                self.device.fill(buffer, 0..bytes, 0)?;
            }
            let vectors = y.bytes() / 16;
            let launch = Launch::elementwise("roof_stream_1", vectors, THREADS)?;
            let args = [Arg::U64(vectors as u64), Arg::input(&x), Arg::output(&mut y)];
            let seconds = self.least_seconds(&launch, &args)?;
            if seconds >= SECONDS || bytes >= STREAMED.min(most) {
                return Ok(3.0 * bytes as f64 / seconds);
            }
            bytes *= 2;
        }
    }
}

impl<D: Device> RoofOp for Gpu<D> {
    fn roof(&mut self) -> Result<Roof> {
        Ok(Roof { flops: self.arithmetic()?, bandwidth: self.streaming()? })
    }
}
