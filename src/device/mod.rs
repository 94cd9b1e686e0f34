//! Devices: memory that kernels work on, and the launch of a kernel by name.
//!
//! | device | what runs a kernel |
//! |---|---|
//! | [`cuda::Cuda`] | an NVIDIA GPU, through the driver, loaded when it is asked for |
//! | `emulator::Emulator` (feature `emulator`) | the CPU, from the same source files |
//! | [`watched::Watched`] | another device, which it tells of |
//!
//! Everything above this floor is written once over [`Device`]. Memory is
//! bytes: what they mean is between a kernel and the operation that launches it.
//! Work on a device happens in the order in which it was asked for; [`Device::launch`]
//! may return before the kernel has run, the copies to the host wait for it. Work that
//! is the same each time is recorded once and replayed ([`Device::begin_record`]): a GPU
//! then starts hundreds of kernels with one call.

pub mod cuda;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod image;
pub mod tensor_map;
pub mod watched;

use std::borrow::Cow;
use std::fmt;
use std::ops::{DerefMut, Range};
use std::sync::Arc;

use bytemuck::NoUninit;

use self::tensor_map::TensorMap;
use crate::error::{Error, Result};

/// Memory of a device, freed when dropped.
pub trait Memory: Send + Sync + fmt::Debug {
    /// Its size in bytes.
    fn bytes(&self) -> usize;

    /// Its address on the device, for tables of pointers and tensor maps that kernels read.
    fn address(&self) -> u64;
}

/// A place where kernels run.
pub trait Device: Send + Sync {
    /// Its memory.
    type Buffer: Memory;
    /// A place in the order of work, with its time.
    type Mark: Send;
    /// Bytes on their way to the host.
    type Download: Send;
    /// Memory of the host that the device reads by itself: page-locked on a GPU.
    type Host: DerefMut<Target = [u8]> + Send + 'static;
    /// Bytes on their way to the device.
    type Upload: Send;
    /// Work that was recorded, to be done again and again. It keeps the memory that it works on.
    type Graph: Send;

    /// What it is and what it has.
    fn properties(&self) -> &Properties;

    /// `bytes` of memory with unspecified content, aligned to at least 16 bytes.
    fn alloc(&self, bytes: usize) -> Result<Self::Buffer>;

    /// Copies `from` to `to`, starting at byte `offset` of `to`.
    fn upload(&self, from: &[u8], to: &mut Self::Buffer, offset: usize) -> Result<()>;

    /// Copies from byte `offset` of `from` on, once all work before is done, until `to` is full.
    fn download(&self, from: &Self::Buffer, offset: usize, to: &mut [u8]) -> Result<()>;

    /// Starts to copy `bytes` bytes from byte `offset` of `from` on, and does not wait.
    fn download_later(&self, from: &Self::Buffer, offset: usize, bytes: usize) -> Result<Self::Download>;

    /// Waits for a copy to the host.
    fn await_download(&self, download: Self::Download) -> Result<Vec<u8>>;

    /// What allocates zeroed memory of the host; for other threads, that fill it.
    fn host_memory(&self) -> HostMemory<Self::Host>;

    /// Starts to copy the first `bytes` bytes of `from` to `to`, beside the work asked for later; it begins
    /// when the work asked for earlier is done. Both are given back by [`Device::await_upload`].
    fn upload_later(&self, from: Self::Host, bytes: usize, to: Self::Buffer) -> Result<Self::Upload>;

    /// Waits for a copy to the device.
    fn await_upload(&self, upload: Self::Upload) -> Result<(Self::Host, Self::Buffer)>;

    /// Copies the bytes `range` of `from` to `to`, starting at byte `offset` of `to`.
    fn copy(&self, from: &Self::Buffer, range: Range<usize>, to: &mut Self::Buffer, offset: usize) -> Result<()>;

    /// Sets the bytes `range` of `to` to `value`.
    fn fill(&self, to: &mut Self::Buffer, range: Range<usize>, value: u8) -> Result<()>;

    /// Whether there is such a kernel: some are for one generation of GPUs alone.
    fn has(&self, kernel: &str) -> bool;

    /// Runs a kernel. `args` are its parameters in order; a mistake in their number,
    /// kind or size is undefined on a GPU and an error on the emulator.
    fn launch(&self, launch: &Launch, args: &[Arg<'_, Self::Buffer>]) -> Result<()>;

    /// From here to [`Device::end_record`] launches, fills and copies on the device are
    /// written down and not done; copies from and to the host are refused.
    fn begin_record(&self) -> Result<()>;

    /// Ends what [`Device::begin_record`] began.
    fn end_record(&self) -> Result<Self::Graph>;

    /// Does recorded work, with the same arguments and on the same memory.
    fn replay(&self, graph: &Self::Graph) -> Result<()>;

    /// The place behind everything asked for so far.
    fn mark(&self) -> Result<Self::Mark>;

    /// Seconds from one place to a later one; waits until it is reached.
    fn seconds_between(&self, from: &Self::Mark, to: &Self::Mark) -> Result<f64>;

    /// Bytes of memory that nobody uses.
    fn free_bytes(&self) -> Result<u64>;

    /// Waits until everything asked for is done, and reports what went wrong in it.
    fn synchronise(&self) -> Result<()>;
}

/// Allocates memory of the host, in bytes.
pub type HostMemory<H> = Arc<dyn Fn(usize) -> Result<H> + Send + Sync>;

/// What a device is and has.
#[derive(Clone, Debug)]
pub struct Properties {
    /// As the command line names it: `cuda:0`, `emulator`.
    pub name: String,
    /// What it is, e.g. `NVIDIA H100 80GB HBM3`.
    pub model: String,
    /// The driver, by what it supports: `CUDA 13.0`; `no driver` on the emulator.
    pub driver: String,
    /// Compute capability: (9, 0) for Hopper.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of shared memory that one block may have.
    pub shared_bytes: usize,
    /// Bytes of memory.
    pub memory_bytes: usize,
    /// Bytes of second-level cache.
    pub cache_bytes: usize,
}

/// Which kernel, and how many threads run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The kernel's name, `<op>_<direction>_<version>`.
    pub kernel: &'static str,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of each block.
    pub shared: usize,
}

impl Launch {
    /// `blocks` blocks of `threads` threads in a row, without dynamic shared memory.
    pub fn linear(kernel: &'static str, blocks: u32, threads: u32) -> Self {
        Launch { kernel, grid: [blocks, 1, 1], block: [threads, 1, 1], shared: 0 }
    }

    /// One thread for each of `elements`, `threads` to a block; an error if that is more than a grid holds.
    pub fn elementwise(kernel: &'static str, elements: usize, threads: u32) -> Result<Self> {
        let blocks = u32::try_from(elements.div_ceil(threads as usize))
            .map_err(|_| Error::device(kernel, format!("{elements} elements are more than one grid covers")))?;
        Ok(Launch::linear(kernel, blocks, threads))
    }

    /// Checks the limits that all supported GPUs share, and `device`'s shared memory.
    pub fn check(&self, device: &Properties) -> Result<()> {
        let Launch { kernel, grid, block, shared } = self;
        let refuse = |reason: String| Err(Error::device(&device.name, format!("kernel {kernel}: {reason}")));
        if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 65_535 || grid[2] > 65_535 {
            return refuse(format!("a grid of {grid:?} blocks; each side is 1 to 2147483647, 65535, 65535"));
        }
        let threads: u64 = block.iter().map(|&side| u64::from(side)).product();
        if threads == 0 || threads > 1024 || block[2] > 64 {
            return refuse(format!("a block of {block:?} threads; it holds 1 to 1024, at most 64 in z"));
        }
        if *shared > device.shared_bytes {
            let most = device.shared_bytes;
            return refuse(format!("{shared} bytes of shared memory, more than the {most} that a block may have"));
        }
        Ok(())
    }
}

/// One parameter of a kernel.
pub enum Arg<'a, B> {
    /// `const T*`: a buffer that is read, from a byte offset on.
    In(&'a B, usize),
    /// `T*`: a buffer that is written, from a byte offset on.
    Out(&'a mut B, usize),
    /// `int`.
    I32(i32),
    /// `unsigned`.
    U32(u32),
    /// `unsigned long long`.
    U64(u64),
    /// `float`.
    F32(f32),
    /// A struct, passed by value: the bytes of its `#[repr(C)]` twin.
    Struct(&'a [u8]),
    /// `const __grid_constant__ tensor_map`: a buffer that is read in boxes.
    MapIn(&'a B, &'a TensorMap),
    /// The same of a buffer that is written.
    MapOut(&'a mut B, &'a TensorMap),
}

impl<'a, B: Memory> Arg<'a, B> {
    /// A whole buffer that the kernel reads.
    pub fn input(buffer: &'a B) -> Self {
        Arg::In(buffer, 0)
    }

    /// A whole buffer that the kernel writes.
    pub fn output(buffer: &'a mut B) -> Self {
        Arg::Out(buffer, 0)
    }

    /// The buffer, if it is one.
    fn buffer(&self) -> Option<&B> {
        match self {
            Arg::In(buffer, _) | Arg::MapIn(buffer, _) => Some(buffer),
            Arg::Out(buffer, _) | Arg::MapOut(buffer, _) => Some(buffer),
            _ => None,
        }
    }

    /// A `#[repr(C)]` struct without padding, the kernel's geometry.
    pub fn geometry<T: NoUninit>(geometry: &'a T) -> Self {
        Arg::Struct(bytemuck::bytes_of(geometry))
    }
}

/// The arguments of a launch as cuLaunchKernel takes them: an array of pointers to values.
struct Packed<'a> {
    /// One word an argument; structs stay where they are, tensor maps become structs.
    words: Vec<u64>,
    structs: Vec<Option<Cow<'a, [u8]>>>,
}

impl<'a> Packed<'a> {
    /// `encode` makes of a map of the buffer at an address what kernels of this device take.
    fn new<B: Memory>(
        device: &Properties,
        launch: &Launch,
        args: &'a [Arg<'_, B>],
        encode: impl Fn(&TensorMap, u64) -> Result<[u64; 16]>,
    ) -> Result<Self> {
        let mut packed = Packed { words: Vec::with_capacity(args.len()), structs: Vec::with_capacity(args.len()) };
        for (i, arg) in args.iter().enumerate() {
            let pointer = |buffer: &B, offset: usize| {
                if offset <= buffer.bytes() {
                    return Ok(buffer.address() + offset as u64);
                }
                let (kernel, bytes) = (launch.kernel, buffer.bytes());
                let reason =
                    format!("kernel {kernel}: argument {i} starts at byte {offset} of a buffer of {bytes} bytes");
                Err(Error::device(&device.name, reason))
            };
            let map = |buffer: &B, map: &TensorMap| {
                map.check()?;
                if map.end() > buffer.bytes() {
                    let (kernel, end, bytes) = (launch.kernel, map.end(), buffer.bytes());
                    let reason = format!("kernel {kernel}: argument {i} maps {end} bytes of a buffer of {bytes}");
                    return Err(Error::device(&device.name, reason));
                }
                let words = encode(map, buffer.address() + map.offset as u64)?;
                Ok(Some(Cow::Owned(bytemuck::cast_slice(&words).to_vec())))
            };
            let (word, bytes) = match arg {
                Arg::In(buffer, offset) => (pointer(buffer, *offset)?, None),
                Arg::Out(buffer, offset) => (pointer(buffer, *offset)?, None),
                // Little-endian on every machine that has an NVIDIA GPU: the value's bytes come first.
                Arg::I32(value) => (u64::from(*value as u32), None),
                Arg::U32(value) => (u64::from(*value), None),
                Arg::U64(value) => (*value, None),
                Arg::F32(value) => (u64::from(value.to_bits()), None),
                Arg::Struct(bytes) => (0, Some(Cow::Borrowed(*bytes))),
                Arg::MapIn(buffer, of) => (0, map(buffer, of)?),
                Arg::MapOut(buffer, of) => (0, map(buffer, of)?),
            };
            packed.words.push(word);
            packed.structs.push(bytes);
        }
        Ok(packed)
    }

    /// Pointers to the values; they hold while `self` stands unchanged.
    fn pointers(&self) -> Vec<*mut std::ffi::c_void> {
        let pointer = |(word, bytes): (&u64, &Option<Cow<'_, [u8]>>)| match bytes {
            Some(bytes) => bytes.as_ptr().cast_mut().cast(),
            None => std::ptr::from_ref(word).cast_mut().cast(),
        };
        self.words.iter().zip(&self.structs).map(pointer).collect()
    }
}

/// Checks that the bytes `range` lie in `buffer`; `verb` and the sizes go into the message.
fn check_range(device: &Properties, verb: &str, buffer: &impl Memory, range: Range<usize>) -> Result<()> {
    if range.start <= range.end && range.end <= buffer.bytes() {
        return Ok(());
    }
    let bytes = buffer.bytes();
    Err(Error::device(&device.name, format!("cannot {verb} bytes {range:?} of a buffer of {bytes} bytes")))
}

/// The first `bytes` of memory of the host.
fn first<'a>(device: &Properties, memory: &'a [u8], bytes: usize) -> Result<&'a [u8]> {
    let given = memory.len();
    memory
        .get(..bytes)
        .ok_or_else(|| Error::device(&device.name, format!("cannot upload {bytes} bytes from {given} on the host")))
}
