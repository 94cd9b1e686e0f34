//! The kernels on the CPU: the same source files, compiled as C++.
//!
//! Each thread of a block is a fiber that runs until it returns or has to wait for
//! others: at a barrier, a shuffle, a vote, an mma. A block runs on one thread of the
//! operating system from beginning to end; blocks spread over rayon's threads.
//!
//! What a GPU leaves undefined, this device refuses with the kernel, the block and the
//! thread in the message:
//!
//! | mistake | how it is found |
//! |---|---|
//! | access outside a buffer | guard pages on both sides, at the instruction itself |
//! | write to the odd bytes between a buffer and its guard page | looked at after each thread's turn |
//! | read of memory that no one wrote | it holds NaNs (all bits set, for integers a huge index) |
//! | misaligned access, index outside a fixed array, division by 0 | the compiler's checks |
//! | a barrier that some threads skip | no thread of the block can go on |
//! | a shuffle, vote or mma whose lanes disagree | the last lane to come compares |
//! | a wait for an mbarrier's phase that cannot complete | no thread of the block can go on |
//! | arguments that are not the kernel's | compared with its C++ signature |
//! | a race | threads and blocks run in an order that the seed decides: results differ between seeds |
//!
//! Not found: an access that lands in another buffer, reads of the up to 15 odd bytes
//! behind a buffer (they yield NaN), and a kernel that waits for another block (it hangs).

mod block;
mod copies;
mod fiber;
mod hooks;
mod kernel;
mod meeting;
mod memory;
mod sanitizer;
mod trap;
mod turns;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use self::block::{Argument, Grid};
use self::memory::Guarded;
use self::turns::Turns;
use super::{Arg, Device, Launch, Memory, Packed, Properties, check_range};
use crate::error::{Error, Result};

pub use self::kernel::{Emulated, Entry, Parameter};

mod table {
    use super::{Emulated, Entry};
    include!(concat!(env!("OUT_DIR"), "/emulated.rs"));
}

/// The CPU as a device that runs kernels thread by thread.
pub struct Emulator {
    properties: Properties,
    kernels: Vec<Emulated>,
    seed: u64,
    /// Launches so far: each has an order of its own.
    launches: AtomicU64,
}

/// Memory of the emulator, between guard pages.
#[derive(Debug)]
pub struct EmulatorBuffer(Guarded);

impl Memory for EmulatorBuffer {
    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn address(&self) -> u64 {
        self.0.address() as u64
    }
}

impl Emulator {
    /// A device that runs threads and blocks in the order that `seed` decides; 0 is the natural one.
    pub fn new(seed: u64) -> Self {
        let properties = Properties {
            name: "emulator".into(),
            model: "the CPU, running CUDA kernels thread by thread".into(),
            capability: (9, 0),
            // Small, so that a grid of a few blocks already takes several waves.
            multiprocessors: 3,
            shared_bytes: 227 * 1024,
            memory_bytes: 1 << 34,
            cache_bytes: 1 << 20,
        };
        trap::install();
        Emulator { properties, kernels: table::emulated(), seed, launches: AtomicU64::new(0) }
    }

    /// Adds kernels compiled elsewhere: those of the tests.
    pub fn with_kernels(mut self, kernels: Vec<Emulated>) -> Self {
        self.kernels.extend(kernels);
        self
    }

    /// The names of all kernels.
    pub fn kernels(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.kernels.iter().map(|k| k.name)
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::device(&self.properties.name, reason)
    }

    /// Compares the launch's arguments with the kernel's declaration.
    fn check_arguments<B>(&self, kernel: &Emulated, args: &[Arg<'_, B>]) -> Result<()> {
        let (name, parameters) = (kernel.name, kernel.parameters());
        if args.len() != parameters.len() {
            let (given, declared) = (args.len(), parameters.len());
            return Err(self.error(format!("kernel {name} takes {declared} arguments, the launch gives {given}")));
        }
        for (i, (arg, parameter)) in args.iter().zip(parameters).enumerate() {
            let given = Parameter::of(arg);
            if given != *parameter {
                return Err(
                    self.error(format!("kernel {name} declares argument {i} as {parameter}, the launch gives {given}"))
                );
            }
        }
        Ok(())
    }
}

impl Device for Emulator {
    type Buffer = EmulatorBuffer;

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn alloc(&self, bytes: usize) -> Result<EmulatorBuffer> {
        Guarded::new(bytes)
            .map(EmulatorBuffer)
            .map_err(|e| self.error(format!("cannot allocate {bytes} bytes between guard pages: {e}")))
    }

    fn upload(&self, from: &[u8], to: &mut EmulatorBuffer, offset: usize) -> Result<()> {
        check_range(&self.properties, "upload to", to, offset..offset + from.len())?;
        to.0.bytes_mut()[offset..][..from.len()].copy_from_slice(from);
        Ok(())
    }

    fn download(&self, from: &EmulatorBuffer, offset: usize, to: &mut [u8]) -> Result<()> {
        check_range(&self.properties, "download", from, offset..offset + to.len())?;
        to.copy_from_slice(&from.0.as_bytes()[offset..][..to.len()]);
        Ok(())
    }

    fn copy(&self, from: &EmulatorBuffer, range: Range<usize>, to: &mut EmulatorBuffer, offset: usize) -> Result<()> {
        check_range(&self.properties, "copy from", from, range.clone())?;
        check_range(&self.properties, "copy to", to, offset..offset + range.len())?;
        to.0.bytes_mut()[offset..][..range.len()].copy_from_slice(&from.0.as_bytes()[range]);
        Ok(())
    }

    fn fill(&self, to: &mut EmulatorBuffer, range: Range<usize>, value: u8) -> Result<()> {
        check_range(&self.properties, "fill", to, range.clone())?;
        to.0.bytes_mut()[range].fill(value);
        Ok(())
    }

    fn launch(&self, launch: &Launch, args: &[Arg<'_, EmulatorBuffer>]) -> Result<()> {
        launch.check(&self.properties)?;
        let kernel = self
            .kernels
            .iter()
            .find(|k| k.name == launch.kernel)
            .ok_or_else(|| self.error(format!("no kernel is called {}", launch.kernel)))?;
        self.check_arguments(kernel, args)?;
        let packed = Packed::new(&self.properties, launch, args)?;
        let pointers = packed.pointers();
        let buffers = args
            .iter()
            .enumerate()
            .filter_map(|(index, arg)| match arg {
                Arg::In(buffer, _) => Some(Argument { index, memory: &buffer.0 }),
                Arg::Out(buffer, _) => Some(Argument { index, memory: &buffer.0 }),
                _ => None,
            })
            .collect();
        let turn = self.launches.fetch_add(1, Ordering::Relaxed);
        let turns = Turns::new(self.seed, turn);
        let grid = Grid { kernel, launch, arguments: &pointers, buffers, turns: &turns };
        let blocks = turns.order(launch.grid.iter().map(|&side| side as usize).product());
        blocks.par_iter().try_for_each(|&block| block::run(&grid, block))
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(self.properties.memory_bytes as u64)
    }

    fn synchronise(&self) -> Result<()> {
        Ok(())
    }
}
