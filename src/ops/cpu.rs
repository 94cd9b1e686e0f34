//! The CPU backend: plain Rust over `Vec<T>`, work spread by rayon.

use std::sync::Arc;
use std::time::Instant;

use pulp::{Simd, WithSimd};

use crate::device::HostMemory;
use crate::error::{Error, Result};
use crate::ops::{Real, Role, StepScalars, Storage, tile};

/// Runs every operation on the CPU in T = f32 (fast) or f64 (the oracle of the tests).
pub struct Cpu<T> {
    /// Which instruction set the hot loops use, found at run time.
    pub(crate) arch: pulp::Arch,
    /// Room for padded inputs and packed filters, grown once and kept.
    pub(crate) scratch: Scratch<T>,
}

/// Named working buffers of the operations.
#[derive(Default)]
pub(crate) struct Scratch<T> {
    /// Input images with their zero border.
    pub padded: Vec<T>,
    /// Filters, reordered for the inner loop.
    pub packed: Vec<T>,
    /// The right operand of a product as panels: columns that a vector holds side by side.
    pub panels: Vec<T>,
    /// Sums of a linear layer, in the order in which they are computed.
    pub sums: Vec<T>,
}

/// Elements that one task of an element-wise operation takes: 64 KB of f32, half of
/// a core's cache, and thousands of tasks in a large layer.
pub(crate) const CHUNK: usize = 1 << 14;

impl<T: Real> Cpu<T> {
    /// A backend that uses the current rayon thread pool and the widest vectors there are.
    pub fn new() -> Self {
        Self::on(pulp::Arch::new())
    }

    /// A backend on instruction set `arch`: the tests run them all.
    pub fn on(arch: pulp::Arch) -> Self {
        Cpu { arch, scratch: Scratch::default() }
    }
}

impl<T: Real> Cpu<T> {
    /// Columns of a panel on this machine: see [`tile`].
    pub(crate) fn panel_width(&self) -> usize {
        struct Width<T>(std::marker::PhantomData<T>);
        impl<T: Real> WithSimd for Width<T> {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                tile::panel_width::<T, S>()
            }
        }
        self.arch.dispatch(Width::<T>(std::marker::PhantomData))
    }
}

impl<T: Real> Default for Cpu<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The first `len` elements of a working buffer, which grows as needed. What
/// stands in them is left over from earlier use.
pub(crate) fn room<T: Real>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::ZERO);
    }
    &mut buffer[..len]
}

/// The first `len` elements of `buffer`, which operation `op` calls `name`.
pub(crate) fn lead<'a, E>(op: &'static str, name: &str, buffer: &'a [E], len: usize) -> Result<&'a [E]> {
    buffer.get(..len).ok_or_else(|| short(op, name, buffer.len(), len))
}

/// The first `len` elements of `buffer`, which operation `op` calls `name`.
pub(crate) fn lead_mut<'a, E>(op: &'static str, name: &str, buffer: &'a mut [E], len: usize) -> Result<&'a mut [E]> {
    let given = buffer.len();
    buffer.get_mut(..len).ok_or_else(|| short(op, name, given, len))
}

fn short(op: &'static str, name: &str, given: usize, needed: usize) -> Error {
    Error::shape(op, format!("{name} needs {needed} elements but its buffer holds {given}; allocate it larger"))
}

fn zeros<E: Clone + Default>(len: usize) -> Result<Vec<E>> {
    let mut v = Vec::new();
    v.try_reserve_exact(len).map_err(|_| {
        Error::Usage(format!(
            "out of memory: {} MB for one buffer were refused; use a smaller batch",
            len * std::mem::size_of::<E>() / 1_000_000
        ))
    })?;
    v.resize(len, E::default());
    Ok(v)
}

fn fits<A, B>(src: &[A], dst: &[B]) -> Result<()> {
    if src.len() > dst.len() {
        return Err(Error::shape("copy", format!("{} elements into a buffer of {}", src.len(), dst.len())));
    }
    Ok(())
}

impl<T: Real> Storage for Cpu<T> {
    type Buf = Vec<T>;
    type Bytes = Vec<u8>;
    type Ints = Vec<i32>;
    type Scalars = StepScalars;
    type Mark = Instant;
    type Host = Vec<u8>;
    type Sent = (Vec<u8>, Vec<u8>);
    type Recorded = ();

    fn alloc(&self, _: Role, len: usize) -> Result<Vec<T>> {
        zeros(len)
    }

    fn alloc_scalars(&self) -> Result<StepScalars> {
        Ok(StepScalars::default())
    }

    fn alloc_bytes(&self, len: usize) -> Result<Vec<u8>> {
        zeros(len)
    }

    fn alloc_ints(&self, len: usize) -> Result<Vec<i32>> {
        zeros(len)
    }

    fn upload(&mut self, src: &[f32], dst: &mut Vec<T>) -> Result<()> {
        fits(src, dst)?;
        dst.iter_mut().zip(src).for_each(|(d, s)| *d = T::of(f64::from(*s)));
        Ok(())
    }

    fn upload_bytes(&mut self, src: &[u8], dst: &mut Vec<u8>) -> Result<()> {
        fits(src, dst)?;
        dst[..src.len()].copy_from_slice(src);
        Ok(())
    }

    fn host_memory(&self) -> HostMemory<Vec<u8>> {
        Arc::new(zeros)
    }

    fn send(&mut self, src: Vec<u8>, len: usize, mut dst: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>)> {
        self.upload_bytes(lead("copy", "the source", &src, len)?, &mut dst)?;
        Ok((src, dst))
    }

    fn receive(&mut self, sent: (Vec<u8>, Vec<u8>)) -> Result<(Vec<u8>, Vec<u8>)> {
        Ok(sent)
    }

    fn upload_ints(&mut self, src: &[i32], dst: &mut Vec<i32>) -> Result<()> {
        fits(src, dst)?;
        dst[..src.len()].copy_from_slice(src);
        Ok(())
    }

    fn set_scalars(&mut self, src: &StepScalars, dst: &mut StepScalars) -> Result<()> {
        *dst = *src;
        Ok(())
    }

    fn download(&mut self, src: &Vec<T>, dst: &mut [f32]) -> Result<()> {
        fits(dst, src)?;
        dst.iter_mut().zip(src).for_each(|(d, s)| *d = s.f64() as f32);
        Ok(())
    }

    fn download_bytes(&mut self, src: &Vec<u8>, dst: &mut [u8]) -> Result<()> {
        fits(dst, src)?;
        dst.copy_from_slice(&src[..dst.len()]);
        Ok(())
    }

    fn begin_record(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn end_record(&mut self) -> Result<()> {
        Ok(())
    }

    fn replay(&mut self, _: &()) -> Result<()> {
        Err(Error::Usage("the CPU records nothing, so nothing can be replayed".into()))
    }

    fn mark(&self) -> Result<Instant> {
        Ok(Instant::now())
    }

    fn seconds_between(&self, from: &Instant, to: &Instant) -> Result<f64> {
        Ok(to.duration_since(*from).as_secs_f64())
    }

    fn synchronise(&mut self) -> Result<()> {
        Ok(())
    }

    fn element_bytes(&self, _: Role) -> usize {
        std::mem::size_of::<T>()
    }

    /// `MemAvailable` of /proc/meminfo: without a look at it a batch that is too large
    /// ends in the kernel's out-of-memory killer, which explains nothing.
    fn available_bytes(&self) -> Option<u64> {
        let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    fn describe(&self) -> String {
        format!("cpu, {}, {} threads", T::NAME, rayon::current_num_threads())
    }
}
