//! Images with a border of zeros, so that the inner loops need no check for the edge.

use rayon::prelude::*;

use crate::ops::Real;

/// A zero-padded image: the plain one with `top` rows and `left` columns of zeros before it.
#[derive(Clone, Copy, Debug)]
pub struct Padded {
    pub H: usize,
    pub W: usize,
    pub C: usize,
    pub top: usize,
    pub left: usize,
    /// Height and width with the borders.
    pub full_H: usize,
    pub full_W: usize,
}

impl Padded {
    /// Elements of one padded image.
    pub fn len(&self) -> usize {
        self.full_H * self.full_W * self.C
    }

    /// Whether there is any border.
    pub fn is_plain(&self) -> bool {
        (self.full_H, self.full_W) == (self.H, self.W)
    }

    /// Copies `images` (N, H, W, C) into `padded` (N, full_H, full_W, C).
    pub fn fill<T: Real>(&self, images: &[T], padded: &mut [T]) {
        let (line, full_line) = (self.W * self.C, self.full_W * self.C);
        padded.par_chunks_mut(self.len()).zip(images.par_chunks(self.H * line)).for_each(|(padded, image)| {
            let (above, rest) = padded.split_at_mut(self.top * full_line);
            let (body, below) = rest.split_at_mut(self.H * full_line);
            above.fill(T::ZERO);
            below.fill(T::ZERO);
            for (to, from) in body.chunks_exact_mut(full_line).zip(image.chunks_exact(line)) {
                let (before, rest) = to.split_at_mut(self.left * self.C);
                let (middle, after) = rest.split_at_mut(line);
                before.fill(T::ZERO);
                middle.copy_from_slice(from);
                after.fill(T::ZERO);
            }
        });
    }
}
