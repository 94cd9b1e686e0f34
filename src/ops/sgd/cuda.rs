//! Parameter updates on a GPU: kernels/sgd.cu.
//!
//! One launch updates all tensors. What its blocks do stands in a table in the
//! device's memory, made when the list of tensors is first seen, so that the steps
//! after it launch a kernel and nothing else.

use bytemuck::NoUninit;

use super::{SgdOp, SgdTensor};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{GpuBuf, Version, int};

/// Elements that a block updates of a tensor whose rows are not clipped.
const CHUNK: usize = 4096;

/// kernels/include/geometry/sgd.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Segment {
    g: u64,
    v: u64,
    w: u64,
    copy: u64,
    radius: f64,
    len: i32,
    decays: i32,
}

/// What the segments of a tensor follow from.
#[derive(Clone, Copy, PartialEq)]
struct Tensor {
    K: usize,
    M: usize,
    decays: bool,
    rms_clip: Option<f64>,
    g: u64,
    v: u64,
    w: u64,
    copy: u64,
}

impl Tensor {
    fn new<D: Device>(tensor: &SgdTensor<'_, GpuBuf<D::Buffer>>) -> Result<Self> {
        let &SgdTensor { K, M, decays, rms_clip, .. } = tensor;
        for (name, buffer) in [("g", tensor.g), ("v", &*tensor.v), ("w", &*tensor.w)] {
            buffer.read("sgd", name, K * M)?;
        }
        let [g, v] = [tensor.g, &*tensor.v].map(|buffer| buffer.addresses()[0]);
        let [w, copy] = tensor.w.addresses();
        Ok(Tensor { K, M, decays, rms_clip, g, v, w, copy })
    }

    /// A row each if rows are clipped, else chunks.
    fn segments(&self) -> Result<Vec<Segment>> {
        let all = self.K * self.M;
        let len = if self.rms_clip.is_some() { self.M } else { CHUNK };
        int("sgd", "a row", len)?;
        let segment = |first: usize| {
            // f32 four bytes, bf16 two.
            let [g, v, w] = [self.g, self.v, self.w].map(|address| address + 4 * first as u64);
            let copy = if self.copy == 0 { 0 } else { self.copy + 2 * first as u64 };
            let radius = self.rms_clip.unwrap_or(f64::INFINITY);
            Segment { g, v, w, copy, radius, len: len.min(all - first) as i32, decays: self.decays.into() }
        };
        Ok((0..all).step_by(len.max(1)).map(segment).collect())
    }
}

/// The segments of a list of tensors, in the device's memory.
pub(crate) struct Table<D: Device> {
    tensors: Vec<Tensor>,
    segments: D::Buffer, // (blocks) `Segment`
    blocks: u32,
}

impl<D: Device> Table<D> {
    fn new(device: &D, tensors: Vec<Tensor>) -> Result<Self> {
        let segments = tensors.iter().map(Tensor::segments).collect::<Result<Vec<_>>>()?.concat();
        let bytes: &[u8] = bytemuck::cast_slice(&segments);
        let mut buffer = device.alloc(bytes.len())?;
        device.upload(bytes, &mut buffer, 0)?;
        let blocks = int("sgd", "the number of segments", segments.len())? as u32;
        Ok(Table { tensors, segments: buffer, blocks })
    }
}

impl<D: Device> SgdOp for Gpu<D> {
    fn sgd_step(&mut self, scalars: &D::Buffer, tensors: &mut [SgdTensor<'_, Self::Buf>]) -> Result<()> {
        let tensors = tensors.iter().map(Tensor::new::<D>).collect::<Result<Vec<_>>>()?;
        let table = match self.sgd.take().filter(|table| table.tensors == tensors) {
            Some(table) => table,
            None => Table::new(&self.device, tensors)?,
        };
        let table = self.sgd.insert(table);
        if table.blocks == 0 {
            return Ok(());
        }
        let kernel = if self.version == Version::Naive { "sgd_step_1" } else { "sgd_step_2" };
        // The table's pointers lead to buffers that `tensors` borrows, g to be read, v and w to be written.
        let args = [Arg::input(&table.segments), Arg::input(scalars)];
        self.device.launch(&Launch::linear(kernel, table.blocks, 256), &args)
    }
}
