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
//! | a bulk copy that nobody waits for | it is under way when the block ends |
//! | arguments that are not the kernel's | compared with its C++ signature |
//! | a race | threads and blocks run in an order that the seed decides, and warps rest for a while: results differ between seeds |
//!
//! Not found: an access that lands in another buffer, reads of the up to 15 odd bytes
//! behind a buffer (they yield NaN), and a kernel that waits for another block (it hangs).

mod block;
mod bulk;
mod copies;
mod fiber;
mod hooks;
mod kernel;
mod meeting;
mod memory;
mod record;
mod sanitizer;
mod tensor_map;
mod trap;
mod turns;

use std::borrow::Cow;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rayon::prelude::*;

use self::block::{Argument, Grid};
use self::memory::Guarded;
use self::record::{Arguments, Recording, Step};
use self::turns::Turns;
use super::{Arg, Device, HostMemory, Launch, Memory, Packed, Properties, check_range, first};
use crate::error::{Error, Result};

pub use self::kernel::{Emulated, Entry, Parameter};
pub use self::record::Graph;

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
    recording: Recording,
}

/// Memory of the emulator, between guard pages.
#[derive(Debug)]
pub struct EmulatorBuffer(Arc<Guarded>);

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
            driver: "no driver".into(),
            capability: (9, 0),
            // Small, so that a grid of a few blocks already takes several waves.
            multiprocessors: 3,
            shared_bytes: 227 * 1024,
            memory_bytes: 1 << 34,
            cache_bytes: 1 << 20,
        };
        trap::install();
        Emulator {
            properties,
            kernels: table::emulated(),
            seed,
            launches: AtomicU64::new(0),
            recording: Recording::default(),
        }
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

    fn refuse_recording(&self, verb: &str) -> Result<()> {
        if self.recording.is_on() {
            return Err(self.error(format!("cannot {verb} while work is being recorded")));
        }
        Ok(())
    }

    /// Does `step`, or writes it down if work is being recorded.
    fn ask(&self, step: Step) -> Result<()> {
        self.recording.take(step).map_or(Ok(()), |step| self.run(&step))
    }

    fn run(&self, step: &Step) -> Result<()> {
        match step {
            Step::Copy { from, range, to, offset } => to.write(*offset, &from.as_bytes()[range.clone()]),
            Step::Fill { to, range, value } => to.write(range.start, &vec![*value; range.len()]),
            Step::Launch { kernel, launch, arguments } => return self.run_grid(kernel, launch, arguments),
        }
        Ok(())
    }

    fn run_grid(&self, kernel: &Emulated, launch: &Launch, arguments: &Arguments) -> Result<()> {
        let pointer = |(word, bytes): (&u64, &Option<Vec<u64>>)| match bytes {
            Some(words) => words.as_ptr().cast_mut().cast::<c_void>(),
            None => std::ptr::from_ref(word).cast_mut().cast(),
        };
        let pointers: Vec<_> = arguments.words.iter().zip(&arguments.structs).map(pointer).collect();
        let buffers = arguments.buffers.iter().map(|(index, memory)| Argument { index: *index, memory }).collect();
        let turn = self.launches.fetch_add(1, Ordering::Relaxed);
        let turns = Turns::new(self.seed, turn);
        let grid = Grid { kernel, launch, arguments: &pointers, buffers, turns: &turns };
        let blocks = turns.order(launch.grid.iter().map(|&side| side as usize).product());
        blocks.par_iter().try_for_each(|&block| block::run(&grid, block))
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
    type Mark = Instant;
    type Download = Vec<u8>;
    type Host = Vec<u8>;
    type Upload = (Vec<u8>, EmulatorBuffer);
    type Graph = Graph;

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn alloc(&self, bytes: usize) -> Result<EmulatorBuffer> {
        Guarded::new(bytes)
            .map(|memory| EmulatorBuffer(Arc::new(memory)))
            .map_err(|e| self.error(format!("cannot allocate {bytes} bytes between guard pages: {e}")))
    }

    fn upload(&self, from: &[u8], to: &mut EmulatorBuffer, offset: usize) -> Result<()> {
        check_range(&self.properties, "upload to", to, offset..offset + from.len())?;
        self.refuse_recording("upload")?;
        to.0.write(offset, from);
        Ok(())
    }

    fn download(&self, from: &EmulatorBuffer, offset: usize, to: &mut [u8]) -> Result<()> {
        check_range(&self.properties, "download", from, offset..offset + to.len())?;
        self.refuse_recording("download")?;
        to.copy_from_slice(&from.0.as_bytes()[offset..][..to.len()]);
        Ok(())
    }

    fn download_later(&self, from: &EmulatorBuffer, offset: usize, bytes: usize) -> Result<Vec<u8>> {
        let mut copy = vec![0; bytes];
        self.download(from, offset, &mut copy)?;
        Ok(copy)
    }

    fn await_download(&self, download: Vec<u8>) -> Result<Vec<u8>> {
        Ok(download)
    }

    fn host_memory(&self) -> HostMemory<Vec<u8>> {
        Arc::new(|bytes| Ok(vec![0; bytes]))
    }

    fn upload_later(&self, from: Vec<u8>, bytes: usize, mut to: EmulatorBuffer) -> Result<(Vec<u8>, EmulatorBuffer)> {
        self.upload(first(&self.properties, &from, bytes)?, &mut to, 0)?;
        Ok((from, to))
    }

    fn await_upload(&self, upload: (Vec<u8>, EmulatorBuffer)) -> Result<(Vec<u8>, EmulatorBuffer)> {
        Ok(upload)
    }

    fn copy(&self, from: &EmulatorBuffer, range: Range<usize>, to: &mut EmulatorBuffer, offset: usize) -> Result<()> {
        check_range(&self.properties, "copy from", from, range.clone())?;
        check_range(&self.properties, "copy to", to, offset..offset + range.len())?;
        self.ask(Step::Copy { from: from.0.clone(), range, to: to.0.clone(), offset })
    }

    fn fill(&self, to: &mut EmulatorBuffer, range: Range<usize>, value: u8) -> Result<()> {
        check_range(&self.properties, "fill", to, range.clone())?;
        self.ask(Step::Fill { to: to.0.clone(), range, value })
    }

    fn has(&self, kernel: &str) -> bool {
        self.kernels.iter().any(|k| k.name == kernel)
    }

    fn launch(&self, launch: &Launch, args: &[Arg<'_, EmulatorBuffer>]) -> Result<()> {
        launch.check(&self.properties)?;
        let kernel = *self
            .kernels
            .iter()
            .find(|k| k.name == launch.kernel)
            .ok_or_else(|| self.error(format!("no kernel is called {}", launch.kernel)))?;
        self.check_arguments(&kernel, args)?;
        let packed = Packed::new(&self.properties, launch, args, |map, address| Ok(tensor_map::encode(map, address)))?;
        let buffers = args.iter().enumerate().filter_map(|(i, arg)| Some((i, arg.buffer()?.0.clone())));
        let arguments =
            Arguments { words: packed.words, structs: whole_words(packed.structs), buffers: buffers.collect() };
        self.ask(Step::Launch { kernel, launch: *launch, arguments })
    }

    fn begin_record(&self) -> Result<()> {
        self.recording.begin();
        Ok(())
    }

    fn end_record(&self) -> Result<Graph> {
        Ok(self.recording.end())
    }

    fn replay(&self, graph: &Graph) -> Result<()> {
        graph.0.iter().try_for_each(|step| self.run(step))
    }

    fn mark(&self) -> Result<Instant> {
        Ok(Instant::now())
    }

    fn seconds_between(&self, from: &Instant, to: &Instant) -> Result<f64> {
        Ok(to.duration_since(*from).as_secs_f64())
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(self.properties.memory_bytes as u64)
    }

    fn synchronise(&self) -> Result<()> {
        Ok(())
    }
}

/// Copies of structs, aligned to a word as a GPU aligns parameters.
fn whole_words(structs: Vec<Option<Cow<'_, [u8]>>>) -> Vec<Option<Vec<u64>>> {
    let aligned = |bytes: &[u8]| {
        let mut words = vec![0; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        words
    };
    structs.into_iter().map(|bytes| bytes.map(|bytes| aligned(&bytes))).collect()
}
