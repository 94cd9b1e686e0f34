//! How batches of images lie on a GPU.
//!
//! Kernels copy 16 bytes at a time, or 8. The three channels of a pixel are neither, so the pixels
//! of images ([`Storage::alloc_images`](crate::ops::Storage::alloc_images)) lie a multiple of 4
//! elements apart, with zeros behind their channels. Everything above a backend sees (N, H, W, C).
//! A convolution of such images is one of `pitch` channels, whose filters are 0 behind theirs:
//! what lies there counts for nothing as long as it is finite.

use bytemuck::Zeroable;

use crate::device::{Arg, Memory};
use crate::error::{Error, Result};
use crate::ops::GpuBuf;
use crate::tensor::Extent;

/// The pixels of a buffer of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pixels {
    /// Channels.
    pub C: usize,
    /// Elements from one pixel to the next, more than `C`; those behind the channels are 0.
    pub pitch: usize,
}

impl Pixels {
    /// Pixels of `C` channels; `None` where they need no padding.
    pub fn padded(C: usize) -> Option<Self> {
        let pitch = C.next_multiple_of(4);
        (pitch > C).then_some(Pixels { C, pitch })
    }

    /// Elements that hold the pixels of `len` values, the last of which may lack channels.
    pub fn elements(&self, len: usize) -> usize {
        len.div_ceil(self.C) * self.pitch
    }

    /// Puts zeros behind the channels.
    pub fn pad<T: Copy + Zeroable>(
        &self,
        values: &[T], // (pixels, C)
    ) -> Result<Vec<T>> {
        let Pixels { C, pitch } = *self;
        if !values.len().is_multiple_of(C) {
            let given = values.len();
            return Err(Error::shape("copy", format!("{given} values are no whole pixels of {C} channels")));
        }
        let mut padded = vec![T::zeroed(); self.elements(values.len())];
        padded.chunks_exact_mut(pitch).zip(values.chunks_exact(C)).for_each(|(to, from)| to[..C].copy_from_slice(from));
        Ok(padded)
    }

    /// Leaves out what is behind the channels.
    pub fn strip<T: Copy>(
        &self,
        padded: &[T],     // (pixels, pitch)
        values: &mut [T], // (pixels, C); of the last pixel perhaps fewer
    ) {
        let pixels = values.chunks_mut(self.C).zip(padded.chunks_exact(self.pitch));
        pixels.for_each(|(to, from)| to.copy_from_slice(&from[..to.len()]));
    }
}

/// What a buffer is to a launch that knows how images lie.
impl<M: Memory> GpuBuf<M> {
    /// Elements from one pixel of `C` channels to the next.
    pub(crate) fn pitch(&self, C: usize) -> usize {
        self.pixels.map_or(C, |pixels| pixels.pitch)
    }

    /// The first `N` images, to be read, which operation `op` calls `name`.
    pub(crate) fn read_images(&self, op: &'static str, name: &str, N: usize, image: Extent) -> Result<Arg<'_, M>> {
        self.check_images(op, name, N, image)?;
        Ok(Arg::input(&self.memory))
    }

    /// The first `N` images, to be written, the zeros behind the channels too.
    pub(crate) fn write_images(&mut self, op: &'static str, name: &str, N: usize, image: Extent) -> Result<Arg<'_, M>> {
        self.check_images(op, name, N, image)?;
        Ok(Arg::output(&mut self.memory))
    }

    fn check_images(&self, op: &'static str, name: &str, N: usize, image: Extent) -> Result<()> {
        if let Some(pixels) = self.pixels.filter(|pixels| pixels.C != image.C) {
            return Err(Error::shape(
                op,
                format!("{name} holds images of {} channels, not of {image}: allocate it for those", pixels.C),
            ));
        }
        self.check_len(op, name, N * image.len())
    }
}
