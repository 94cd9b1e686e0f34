//! The GPU backend: every operation as a launch of the kernels of `kernels/`.
//!
//! Written once over [`Device`], so that what a GPU is asked to do is what the
//! emulator executes in the tests. The launches of operation `op` stand in
//! `src/ops/<op>/cuda.rs`.
//!
//! | precision | activations | products | parameters, their gradients, momentum |
//! |---|---|---|---|
//! | `f32` | f32 | f32 on CUDA cores | f32 |
//! | `tf32` | f32 | tensor cores: f32 rounded to 11 bits, summed in f32 | f32 |
//! | `bf16` | bf16 | tensor cores, summed in f32 | f32, with a copy of the weights in bf16 |

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytemuck::{NoUninit, Zeroable};
use half::bf16;

use crate::device::tensor_map::TensorMap;
use crate::device::{Arg, Device, HostMemory, Launch, Memory};
use crate::error::{Error, Result};
use crate::ops::pixels::Pixels;
use crate::ops::sgd::cuda::Table;
use crate::ops::tile_table::TileTable;
use crate::ops::{Role, StepScalars, Storage};
use crate::tensor::Extent;

/// What a network computes in on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// f32 everywhere: for validation.
    #[default]
    F32,
    /// Products on tensor cores from f32 rounded to tf32; all else as `F32`.
    Tf32,
    /// Activations and products in bf16, sums and parameters in f32.
    Bf16,
}

impl Precision {
    /// By how much the operands of products are rounded, relative to them: half a unit in the last of
    /// tf32's 11 or bf16's 8 bits; 0 for f32, which they have already.
    pub fn operand_roundoff(self) -> f64 {
        match self {
            Precision::F32 => 0.0,
            Precision::Tf32 => 2f64.powi(-11),
            Precision::Bf16 => 2f64.powi(-8),
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Precision::F32),
            "tf32" => Ok(Precision::Tf32),
            "bf16" => Ok(Precision::Bf16),
            other => Err(Error::Usage(format!("precision {other}: expected f32, tf32 or bf16"))),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

/// Which of an operation's kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Version 1 of each: a thread per output, the formula as it is written. f32 alone.
    Naive,
    /// The fastest of those that run on every GPU from sm_80 on.
    Portable,
    /// The fastest of those that gather their operands themselves.
    Gathering,
    /// The fastest.
    Fast,
}

/// The type of a buffer's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    F32,
    Bf16,
}

impl Number {
    pub fn bytes(self) -> usize {
        match self {
            Number::F32 => 4,
            Number::Bf16 => 2,
        }
    }

    /// Channels that one thread moves at once: 16 bytes of them, or one where that does not divide C.
    pub fn vector(self, C: usize) -> usize {
        let widest = 16 / self.bytes();
        if C.is_multiple_of(widest) { widest } else { 1 }
    }
}

/// Runs every operation on device `D`.
pub struct Gpu<D: Device> {
    pub(crate) device: D,
    pub(crate) precision: Precision,
    pub(crate) version: Version,
    pub(crate) workspace: Workspace<D>,
    /// Filters in the order in which a product reads them, where that is not theirs.
    pub(crate) turned: Workspace<D>,
    /// Measured tiles, instead of those of the library.
    pub(crate) tiles: Option<Arc<TileTable>>,
    /// What the blocks of an update do, once an update was asked for.
    pub(crate) sgd: Option<Table<D>>,
}

/// Floating-point memory of a device.
pub struct GpuBuf<M> {
    pub(super) memory: M, // (len)
    number: Number,
    /// How the pixels of images lie, where not side by side.
    pub(super) pixels: Option<Pixels>,
    /// The same values rounded to bf16, kept up to date by whatever writes `memory`.
    copy: Option<M>, // (len)
}

/// Memory that an operation needs while it runs, grown once and kept. Work on a device
/// happens in order, so operations can share it.
pub(crate) struct Workspace<D: Device>(Option<D::Buffer>);

impl<D: Device> Workspace<D> {
    /// At least `bytes` of it, with unspecified content.
    pub fn room(&mut self, device: &D, bytes: usize) -> Result<&mut D::Buffer> {
        if self.0.as_ref().is_none_or(|buffer| buffer.bytes() < bytes) {
            self.0 = None; // The old one's memory may be needed for the new one.
            self.0 = Some(device.alloc(bytes)?);
        }
        self.0.as_mut().ok_or_else(|| Error::Usage("a workspace that was just allocated is gone".into()))
    }
}

impl<D: Device> Gpu<D> {
    /// A backend on `device`.
    pub fn new(device: D, precision: Precision) -> Self {
        Gpu {
            device,
            precision,
            version: Version::Fast,
            workspace: Workspace(None),
            turned: Workspace(None),
            tiles: None,
            sgd: None,
        }
    }

    /// A backend in f32 on the naive kernels: the readable ones, against which the fast ones are held.
    pub fn naive(device: D) -> Self {
        Gpu { version: Version::Naive, ..Gpu::new(device, Precision::F32) }
    }

    /// A backend without the kernels of one generation of GPUs, against which those are held.
    pub fn portable(device: D, precision: Precision) -> Self {
        Gpu { version: Version::Portable, ..Gpu::new(device, precision) }
    }

    /// A backend without bulk copies, against which those are held.
    pub fn gathering(device: D, precision: Precision) -> Self {
        Gpu { version: Version::Gathering, ..Gpu::new(device, precision) }
    }

    /// The same with measured tiles instead of those that the library was built with.
    pub fn with_tiles(self, tiles: TileTable) -> Self {
        Gpu { tiles: Some(Arc::new(tiles)), ..self }
    }

    /// What it computes in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Which kernels it runs.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The type of activations.
    pub(crate) fn number(&self) -> Number {
        match self.precision {
            Precision::F32 | Precision::Tf32 => Number::F32,
            Precision::Bf16 => Number::Bf16,
        }
    }

    /// The one of an operation's kernels (see [`versions`]) that this backend runs.
    pub(crate) fn choose(&self, versions: [&'static str; 3]) -> &'static str {
        match (self.version, self.number()) {
            (Version::Naive, _) => versions[0],
            (_, Number::F32) => versions[1],
            (_, Number::Bf16) => versions[2],
        }
    }

    /// What products see of the first `dst.len()` elements of a weight: in bf16 its copy, else itself.
    pub fn download_rounded(&self, src: &GpuBuf<D::Buffer>, dst: &mut [f32]) -> Result<()> {
        src.check_len("copy", "the source", dst.len())?;
        match &src.copy {
            Some(copy) => self.download_numbers(copy, self.number(), dst),
            None => self.download_numbers(&src.memory, src.number, dst),
        }
    }

    fn download_numbers(&self, src: &D::Buffer, number: Number, dst: &mut [f32]) -> Result<()> {
        match number {
            Number::F32 => self.device.download(src, 0, bytemuck::cast_slice_mut(dst)),
            Number::Bf16 => {
                let mut rounded = vec![bf16::zeroed(); dst.len()];
                self.device.download(src, 0, bytemuck::cast_slice_mut(&mut rounded))?;
                dst.iter_mut().zip(rounded).for_each(|(d, v)| *d = v.to_f32());
                Ok(())
            }
        }
    }

    fn upload_slice<T: NoUninit>(&self, src: &[T], dst: &mut D::Buffer) -> Result<()> {
        self.device.upload(bytemuck::cast_slice(src), dst, 0)
    }
}

/// The kernels of an operation that moves memory: naive, fast on f32, fast on bf16.
macro_rules! versions {
    ($direction:literal) => {
        [concat!($direction, "_1"), concat!($direction, "_2_f32"), concat!($direction, "_2_bf16")]
    };
}
pub(crate) use versions;

/// A size as the `int` of a geometry struct.
pub(crate) fn int(op: &'static str, name: &str, size: usize) -> Result<i32> {
    i32::try_from(size)
        .map_err(|_| Error::shape(op, format!("{name} is {size}, more than a kernel counts to; use a smaller batch")))
}

/// A block for each of `rows`, whose threads share its `items`: at most 256 of them, and as many as
/// keep them busy to the last turn.
pub(crate) fn launch_rows(op: &'static str, kernel: &'static str, rows: usize, items: usize) -> Result<Launch> {
    let blocks = int(op, "the number of rows", rows)?;
    let turns = items.div_ceil(256).max(1);
    let threads = items.div_ceil(turns).next_multiple_of(32).clamp(32, 256);
    Ok(Launch::linear(kernel, blocks as u32, threads as u32))
}

/// What a buffer is to a launch.
impl<M: Memory> GpuBuf<M> {
    /// Refuses what has not `len` elements side by side.
    fn check(&self, op: &'static str, name: &str, len: usize) -> Result<()> {
        if let Some(Pixels { C, pitch }) = self.pixels {
            return Err(Error::shape(
                op,
                format!("{name} holds images, whose pixels of {C} lie {pitch} apart: allocate it for activations"),
            ));
        }
        self.check_len(op, name, len)
    }

    /// Refuses what has not `len` elements, however they lie.
    pub(super) fn check_len(&self, op: &'static str, name: &str, len: usize) -> Result<()> {
        let elements = self.memory.bytes() / self.number.bytes();
        let given = self.pixels.map_or(elements, |pixels| elements / pixels.pitch * pixels.C);
        if len <= given {
            return Ok(());
        }
        Err(Error::shape(op, format!("{name} needs {len} elements but its buffer holds {given}; allocate it larger")))
    }

    /// The first `len` elements, to be read, which operation `op` calls `name`.
    pub(crate) fn read(&self, op: &'static str, name: &str, len: usize) -> Result<Arg<'_, M>> {
        self.check(op, name, len)?;
        Ok(Arg::input(&self.memory))
    }

    /// The first `len` elements, to be written.
    pub(crate) fn write(&mut self, op: &'static str, name: &str, len: usize) -> Result<Arg<'_, M>> {
        self.check(op, name, len)?;
        Ok(Arg::output(&mut self.memory))
    }

    /// The first `len` elements, to be read in boxes, of a weight those in the type of the activations.
    pub(crate) fn read_boxes<'a>(
        &'a self,
        op: &'static str,
        name: &str,
        len: usize,
        map: &'a TensorMap,
    ) -> Result<Arg<'a, M>> {
        self.check(op, name, len)?;
        Ok(Arg::MapIn(self.copy.as_ref().unwrap_or(&self.memory), map))
    }

    /// The first `len` elements, to be written in boxes.
    pub(crate) fn write_boxes<'a>(
        &'a mut self,
        op: &'static str,
        name: &str,
        len: usize,
        map: &'a TensorMap,
    ) -> Result<Arg<'a, M>> {
        self.check(op, name, len)?;
        Ok(Arg::MapOut(&mut self.memory, map))
    }

    /// The first `len` elements of a weight, to be read, in the type of the activations.
    pub(crate) fn read_rounded(&self, op: &'static str, name: &str, len: usize) -> Result<Arg<'_, M>> {
        self.check(op, name, len)?;
        Ok(Arg::input(self.copy.as_ref().unwrap_or(&self.memory)))
    }

    /// The first `len` elements of a weight, to be written, and its copy in bf16 where it has one.
    pub(crate) fn write_both(
        &mut self,
        op: &'static str,
        name: &str,
        len: usize,
    ) -> Result<(Arg<'_, M>, Option<Arg<'_, M>>)> {
        self.check(op, name, len)?;
        Ok((Arg::output(&mut self.memory), self.copy.as_mut().map(Arg::output)))
    }

    /// Where it lies, and its copy in bf16 (0 for none), for tables that kernels read.
    pub(crate) fn addresses(&self) -> [u64; 2] {
        [self.memory.address(), self.copy.as_ref().map_or(0, Memory::address)]
    }
}

/// Bytes of a device that an operation reads or writes.
pub(crate) fn check_bytes(op: &'static str, name: &str, memory: &impl Memory, bytes: usize) -> Result<()> {
    if bytes <= memory.bytes() {
        return Ok(());
    }
    let given = memory.bytes();
    Err(Error::shape(op, format!("{name} needs {bytes} bytes but its buffer holds {given}; allocate it larger")))
}

/// [`StepScalars`] as kernels read them: kernels/include/geometry/scalars.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Scalars {
    step: u64,
    lr: f32,
    momentum: f32,
    weight_decay: f32,
    unused: u32,
}

impl<D: Device> Storage for Gpu<D> {
    type Buf = GpuBuf<D::Buffer>;
    type Bytes = D::Buffer;
    type Ints = D::Buffer; // i32
    type Scalars = D::Buffer; // one `Scalars`
    type Mark = D::Mark;
    type Host = D::Host;
    type Sent = D::Upload;
    type Recorded = D::Graph;

    fn alloc(&self, role: Role, len: usize) -> Result<Self::Buf> {
        let zeros = |number: Number| self.alloc_bytes(len * number.bytes());
        let number = if role == Role::Activation { self.number() } else { Number::F32 };
        let copied = role == Role::Weight && self.number() != Number::F32;
        let copy = if copied { Some(zeros(self.number())?) } else { None };
        Ok(GpuBuf { memory: zeros(number)?, number, pixels: None, copy })
    }

    fn alloc_images(&self, N: usize, image: Extent) -> Result<Self::Buf> {
        let len = N * image.len();
        let pixels = if self.version == Version::Naive { None } else { Pixels::padded(image.C) };
        let elements = pixels.map_or(len, |pixels| pixels.elements(len));
        Ok(GpuBuf { pixels, ..self.alloc(Role::Activation, elements)? })
    }

    fn alloc_scalars(&self) -> Result<D::Buffer> {
        self.alloc_bytes(size_of::<Scalars>())
    }

    fn alloc_bytes(&self, len: usize) -> Result<D::Buffer> {
        let mut buffer = self.device.alloc(len)?;
        self.device.fill(&mut buffer, 0..len, 0)?;
        Ok(buffer)
    }

    fn alloc_ints(&self, len: usize) -> Result<D::Buffer> {
        self.alloc_bytes(len * size_of::<i32>())
    }

    fn upload(&mut self, src: &[f32], dst: &mut Self::Buf) -> Result<()> {
        dst.check_len("copy", "the destination", src.len())?;
        let padded = dst.pixels.map(|pixels| pixels.pad(src)).transpose()?;
        let src = padded.as_deref().unwrap_or(src);
        let rounded = || src.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>();
        match dst.number {
            Number::F32 => self.upload_slice(src, &mut dst.memory)?,
            Number::Bf16 => self.upload_slice(&rounded(), &mut dst.memory)?,
        }
        match &mut dst.copy {
            Some(copy) => self.upload_slice(&rounded(), copy),
            None => Ok(()),
        }
    }

    fn upload_bytes(&mut self, src: &[u8], dst: &mut D::Buffer) -> Result<()> {
        self.device.upload(src, dst, 0)
    }

    fn host_memory(&self) -> HostMemory<D::Host> {
        self.device.host_memory()
    }

    fn send(&mut self, src: D::Host, len: usize, dst: D::Buffer) -> Result<D::Upload> {
        self.device.upload_later(src, len, dst)
    }

    fn receive(&mut self, sent: D::Upload) -> Result<(D::Host, D::Buffer)> {
        self.device.await_upload(sent)
    }

    fn upload_ints(&mut self, src: &[i32], dst: &mut D::Buffer) -> Result<()> {
        self.upload_slice(src, dst)
    }

    /// As the argument of a kernel that writes them down: a launch copies its arguments,
    /// so nothing waits.
    fn set_scalars(&mut self, src: &StepScalars, dst: &mut D::Buffer) -> Result<()> {
        let scalars = Scalars {
            step: src.step,
            lr: src.lr as f32,
            momentum: src.momentum as f32,
            weight_decay: src.weight_decay as f32,
            unused: 0,
        };
        self.device.launch(&Launch::linear("scalars_set_1", 1, 1), &[Arg::geometry(&scalars), Arg::output(dst)])
    }

    fn download(&mut self, src: &Self::Buf, dst: &mut [f32]) -> Result<()> {
        src.check_len("copy", "the source", dst.len())?;
        let Some(pixels) = src.pixels else { return self.download_numbers(&src.memory, src.number, dst) };
        let mut padded = vec![0.0; pixels.elements(dst.len())];
        self.download_numbers(&src.memory, src.number, &mut padded)?;
        pixels.strip(&padded, dst);
        Ok(())
    }

    fn download_bytes(&mut self, src: &D::Buffer, dst: &mut [u8]) -> Result<()> {
        self.device.download(src, 0, dst)
    }

    fn begin_record(&mut self) -> Result<bool> {
        self.device.begin_record().map(|()| true)
    }

    fn end_record(&mut self) -> Result<D::Graph> {
        self.device.end_record()
    }

    fn replay(&mut self, recorded: &D::Graph) -> Result<()> {
        self.device.replay(recorded)
    }

    fn mark(&self) -> Result<D::Mark> {
        self.device.mark()
    }

    fn seconds_between(&self, from: &D::Mark, to: &D::Mark) -> Result<f64> {
        self.device.seconds_between(from, to)
    }

    fn synchronise(&mut self) -> Result<()> {
        self.device.synchronise()
    }

    fn element_bytes(&self, role: Role) -> usize {
        match role {
            Role::Activation => self.number().bytes(),
            Role::Weight if self.number() == Number::Bf16 => Number::F32.bytes() + Number::Bf16.bytes(),
            Role::Weight | Role::Full => Number::F32.bytes(),
        }
    }

    fn available_bytes(&self) -> Option<u64> {
        self.device.free_bytes().ok()
    }

    fn describe(&self) -> String {
        let properties = self.device.properties();
        format!("{} ({}), {}", properties.name, properties.model, self.precision)
    }
}
