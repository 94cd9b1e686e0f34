//! The products that go over all features: on any backend, in f32, a chunk of features at a time.
//!
//! ```text
//! gram    G[i,j] = sum_k x'[i,k] x'[j,k]
//! combine w[c,k] = sum_i a[i,c] x'[i,k]
//! scores  z[i,c] = sum_k x'[i,k] w[c,k]
//! ```
//!
//! Features come from the mapped file chunk by chunk; within a chunk the backend sums in f32,
//! over the chunks the host sums in f64. The more chunks, the smaller what each of them rounds:
//! the Gram matrix of 1024 features, all in one chunk, is off by 3e-6, which is an image's own
//! direction of length 0.002 that is not there, and a classifier finds it; in 16 chunks it is
//! off by some 1e-8. The backend should compute in f32: in tf32 a chunk has three digits.

use crate::error::Result;
use crate::ops::linear::Linear;
use crate::ops::{Backend, Role, Storage};
use crate::transfer::features::Matrix;
use crate::transfer::scaling::Scaling;

/// Features in a chunk of `d`: a 32nd, but enough to keep a product busy, and no more than that.
fn chunk(d: usize) -> usize {
    (d / 32).clamp(64, 1024)
}

/// Scaled features of some images.
#[derive(Clone, Copy)]
pub struct Scaled<'a> {
    /// Features of all images.
    pub x: Matrix<'a>,
    /// Which images.
    pub rows: &'a [usize],
    /// How they are scaled.
    pub scaling: &'a Scaling,
}

impl Scaled<'_> {
    /// First column and values of each chunk: (rows, chunk).
    fn chunks(&self) -> impl Iterator<Item = (usize, usize, Vec<f32>)> + '_ {
        let chunk = chunk(self.x.d);
        (0..self.x.d).step_by(chunk).map(move |first| {
            let end = (first + chunk).min(self.x.d);
            (first, end - first, self.scaling.gather(self.x, self.rows, first..end))
        })
    }
}

/// x' x'^T: (n, n).
pub fn gram<B: Backend>(backend: &mut B, x: Scaled<'_>) -> Result<Vec<f64>> {
    let n = x.rows.len();
    let mut sums = vec![0f64; n * n];
    let (mut part, bias) = (vec![0f32; n * n], backend.alloc(Role::Full, n)?);
    let mut y = backend.alloc(Role::Activation, n * n)?;
    for (_, k, values) in x.chunks() {
        let a = uploaded(backend, Role::Activation, &values)?;
        let b = uploaded(backend, Role::Weight, &values)?;
        backend.linear_fprop(&Linear::new(k, n)?, n, &a, &b, &bias, false, &mut y)?;
        backend.download(&y, &mut part)?;
        sums.iter_mut().zip(&part).for_each(|(sum, &part)| *sum += f64::from(part));
    }
    Ok(sums)
}

/// a^T x': (C, d).
pub fn combine<B: Backend>(
    backend: &mut B,
    x: Scaled<'_>,
    a: &[f32], // (n, C)
    C: usize,
) -> Result<Vec<f32>> {
    let (n, d) = (x.rows.len(), x.x.d);
    let mut w = vec![0f32; C * d];
    let dy = uploaded(backend, Role::Activation, a)?;
    let (mut dw, mut dbias) = (backend.alloc(Role::Full, C * chunk(d).min(d))?, backend.alloc(Role::Full, C)?);
    let mut part = Vec::new();
    for (first, k, values) in x.chunks() {
        let x = uploaded(backend, Role::Activation, &values)?;
        backend.linear_wgrad(&Linear::new(k, C)?, n, &x, &dy, &mut dw, &mut dbias)?;
        part.resize(C * k, 0f32);
        backend.download(&dw, &mut part)?;
        w.chunks_exact_mut(d).zip(part.chunks_exact(k)).for_each(|(w, part)| w[first..first + k].copy_from_slice(part));
    }
    Ok(w)
}

/// x' w^T: (n, C).
pub fn scores<B: Backend>(
    backend: &mut B,
    x: Scaled<'_>,
    w: &[f32], // (C, d)
    C: usize,
) -> Result<Vec<f64>> {
    let (n, d) = (x.rows.len(), x.x.d);
    let mut sums = vec![0f64; n * C];
    let (mut part, bias) = (vec![0f32; n * C], backend.alloc(Role::Full, C)?);
    let mut y = backend.alloc(Role::Activation, n * C)?;
    for (first, k, values) in x.chunks() {
        let of_chunk: Vec<f32> = w.chunks_exact(d).flat_map(|w| &w[first..first + k]).copied().collect();
        let a = uploaded(backend, Role::Activation, &values)?;
        let b = uploaded(backend, Role::Weight, &of_chunk)?;
        backend.linear_fprop(&Linear::new(k, C)?, n, &a, &b, &bias, false, &mut y)?;
        backend.download(&y, &mut part)?;
        sums.iter_mut().zip(&part).for_each(|(sum, &part)| *sum += f64::from(part));
    }
    Ok(sums)
}

fn uploaded<B: Storage>(backend: &mut B, role: Role, values: &[f32]) -> Result<B::Buf> {
    let mut buffer = backend.alloc(role, values.len())?;
    backend.upload(values, &mut buffer)?;
    Ok(buffer)
}
