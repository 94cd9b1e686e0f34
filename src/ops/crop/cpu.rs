//! The input stage on the CPU: an image is a task.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Crop, CropOp};
use crate::error::{Error, Result};
use crate::ops::cpu::{lead, lead_mut};
use crate::ops::{Cpu, Real};

impl<T: Real> CropOp for Cpu<T> {
    fn crop_forward(
        &mut self,
        crop: &Crop,
        N: usize,
        images: &Vec<u8>,   // (N, record, record, C)
        windows: &Vec<i32>, // (N, 3): top, left, 1 if flipped
        mean: &Vec<T>,      // (record, record, C)
        y: &mut Vec<T>,     // (N, H, W, C)
    ) -> Result<()> {
        let (record, output) = (crop.input().len(), crop.output.len());
        let images = lead("crop", "images", images, N * record)?;
        let windows = lead("crop", "windows", windows, N * 3)?;
        let mean = lead("crop", "mean", mean, record)?;
        let y = lead_mut("crop", "y", y, N * output)?;
        let windows =
            windows.chunks_exact(3).map(|w| Window::new(crop, w[0], w[1], w[2])).collect::<Result<Vec<_>>>()?;
        let arch = self.arch;
        let tasks = y.par_chunks_mut(output.max(1)).zip(images.par_chunks(record.max(1))).zip(windows);
        tasks.for_each(|((y, image), window)| arch.dispatch(Cut { crop, window, image, mean, y }));
        Ok(())
    }
}

/// A crop's place in its record.
struct Window {
    top: usize,
    left: usize,
    flipped: bool,
}

impl Window {
    /// Refuses a window that reaches outside the record.
    fn new(crop: &Crop, top: i32, left: i32, flipped: i32) -> Result<Self> {
        let inside = |at: i32, size: usize| usize::try_from(at).ok().filter(|at| at + size <= crop.record);
        match (inside(top, crop.output.H), inside(left, crop.output.W)) {
            (Some(top), Some(left)) => Ok(Window { top, left, flipped: flipped != 0 }),
            _ => Err(Error::shape(
                "crop",
                format!(
                    "a {} x {} window at row {top}, column {left} is not inside a record of side {}",
                    crop.output.H, crop.output.W, crop.record
                ),
            )),
        }
    }
}

/// One image.
struct Cut<'a, T> {
    crop: &'a Crop,
    window: Window,
    image: &'a [u8], // (record, record, C)
    mean: &'a [T],   // (record, record, C)
    y: &'a mut [T],  // (H, W, C)
}

impl<T: Real> WithSimd for Cut<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Cut { crop, window: Window { top, left, flipped }, image, mean, y } = self;
        let C = crop.output.C;
        let row = crop.output.W * C;
        for (h, y) in y.chunks_exact_mut(row).enumerate() {
            let at = ((top + h) * crop.record + left) * C;
            let (image, mean) = (&image[at..at + row], &mean[at..at + row]);
            if flipped {
                let pixels = image.chunks_exact(C).zip(mean.chunks_exact(C)).rev();
                y.chunks_exact_mut(C).zip(pixels).for_each(|(y, (image, mean))| subtract(image, mean, y));
            } else {
                subtract(image, mean, y);
            }
        }
    }
}

/// y = image - mean, element by element.
#[inline(always)]
fn subtract<T: Real>(image: &[u8], mean: &[T], y: &mut [T]) {
    for ((y, &v), &m) in y.iter_mut().zip(image).zip(mean) {
        *y = T::of(f64::from(v)) - m;
    }
}
