//! All pairs of thumbnails, through the engine's matrix product.
//!
//! A block of rows of A and a block of rows of B are a linear layer without
//! bias: N = rows of A, out = rows of B, in = 1024. What exceeds the first threshold is
//! picked out on the host. The product is copied back whole, 4 bytes a pair,
//! which on a GPU takes longer than the product (2048 operations a pair) but is
//! no reason for a kernel of its own: 5.2e10 pairs are 208 GB, half a minute.

use std::time::Instant;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::linear::Linear;
use crate::ops::{Backend, Role};
use crate::transfer::duplicates::thumbnails::{PIXELS, Thumbnails};

/// Rows of A in a block.
const A_ROWS: usize = 256;
/// Rows of B in a block.
const B_ROWS: usize = 2048;
/// More candidates than this are no duplicates but a threshold that is too low.
const MOST: usize = 10_000_000;

/// A pair of pictures whose thumbnails are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Picture of A.
    pub a: u32,
    /// Picture of B.
    pub b: u32,
    /// Whether it is like the mirror image of `b`.
    pub mirrored: bool,
}

/// What is compared with what.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// The rows.
    pub a: &'a Thumbnails,
    /// The columns; `None` to compare A with itself, each pair once.
    pub b: Option<&'a Thumbnails>,
    /// Whether B is also compared mirrored.
    pub mirrored: bool,
}

impl Comparison<'_> {
    /// Pairs that are compared; each costs 2 x 1024 floating-point operations.
    pub fn pairs(a: usize, b: Option<usize>, mirrored: bool) -> u64 {
        let pairs = match b {
            Some(b) => a as u64 * b as u64,
            None => a as u64 * (a as u64).saturating_sub(1) / 2,
        };
        pairs * (1 + u64::from(mirrored))
    }

    /// The pairs whose thumbnails correlate with at least `first`, in ascending order; `done`
    /// hears how many pairs have been compared.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are absurdly many; those of the backend.
    pub fn candidates<B: Backend>(
        &self,
        backend: &mut B,
        first: f32,
        done: &mut dyn FnMut(u64),
    ) -> Result<Vec<Candidate>> {
        let b = self.b.unwrap_or(self.a);
        let mut product = Product::new(backend)?;
        let (mut found, mut compared) = (Vec::new(), 0);
        for columns in blocks(b.len(), B_ROWS) {
            for &mirrored in &[false, true][..1 + usize::from(self.mirrored)] {
                product.columns(b, columns.clone(), mirrored)?;
                for rows in blocks(self.a.len(), A_ROWS) {
                    // Against itself: only what lies above the diagonal.
                    if self.b.is_none() && rows.start >= columns.end {
                        break;
                    }
                    let r = product.rows(self.a, rows.clone())?; // (rows, columns)
                    let lines = r.par_chunks_exact(columns.len()).zip(rows.clone());
                    found.par_extend(lines.flat_map_iter(|(r, i)| {
                        let from = if self.b.is_none() { (i + 1).saturating_sub(columns.start) } else { 0 };
                        let like = r.iter().enumerate().skip(from).filter(|(_, r)| **r >= first);
                        let (a, columns) = (self.a.picture(i), columns.clone());
                        like.map(move |(j, _)| Candidate { a, b: b.picture(columns.start + j), mirrored })
                    }));
                    compared += rows.map(|i| self.compared(i, &columns)).sum::<u64>();
                    done(compared);
                }
            }
            if found.len() > MOST {
                return Err(Error::Usage(format!(
                    "more than {MOST} pairs of thumbnails correlate with {first:.3} or more: raise the threshold"
                )));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Columns that row `i` is compared with.
    fn compared(&self, i: usize, columns: &std::ops::Range<usize>) -> u64 {
        let from = if self.b.is_none() { columns.start.max(i + 1) } else { columns.start };
        columns.end.saturating_sub(from) as u64
    }
}

/// Pairs a second of `backend`, copying and picking out included, from one full block.
///
/// # Errors
/// Those of the backend.
pub fn measure<B: Backend>(backend: &mut B) -> Result<f64> {
    // Any thumbnails do: a ramp whose slope differs from row to row.
    let ramp = |row: usize| (0..PIXELS).map(move |p| ((row + 1) * p % 251) as u8);
    let thumbnails = Thumbnails::sample(B_ROWS, ramp);
    let comparison = Comparison { a: &thumbnails, b: Some(&thumbnails), mirrored: false };
    let mut seconds = 0.0;
    // The first time touches the memory.
    for _ in 0..2 {
        let start = Instant::now();
        comparison.candidates(backend, 2.0, &mut |_| ())?;
        seconds = start.elapsed().as_secs_f64();
    }
    Ok((B_ROWS * B_ROWS) as f64 / seconds)
}

/// Bytes of a block's buffers, on the device and on the host.
pub fn block_bytes() -> u64 {
    (2 * (A_ROWS * PIXELS + B_ROWS * PIXELS + A_ROWS * B_ROWS) * size_of::<f32>()) as u64
}

/// `n` rows in blocks of up to `size`.
fn blocks(n: usize, size: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..n).step_by(size).map(move |start| start..(start + size).min(n))
}

/// The product of a block of A and a block of B.
struct Product<'a, B: Backend> {
    backend: &'a mut B,
    x: B::Buf,      // (A_ROWS, PIXELS)
    w: B::Buf,      // (B_ROWS, PIXELS)
    bias: B::Buf,   // (B_ROWS), zeros
    y: B::Buf,      // (A_ROWS, B_ROWS)
    unit: Vec<f32>, // (A_ROWS or B_ROWS, PIXELS)
    r: Vec<f32>,    // (A_ROWS, B_ROWS)
    columns: usize,
}

impl<'a, B: Backend> Product<'a, B> {
    fn new(backend: &'a mut B) -> Result<Self> {
        let x = backend.alloc(Role::Activation, A_ROWS * PIXELS)?;
        let w = backend.alloc(Role::Weight, B_ROWS * PIXELS)?;
        let bias = backend.alloc(Role::Full, B_ROWS)?;
        let y = backend.alloc(Role::Activation, A_ROWS * B_ROWS)?;
        let (unit, r) = (vec![0.0; B_ROWS.max(A_ROWS) * PIXELS], vec![0.0; A_ROWS * B_ROWS]);
        Ok(Product { backend, x, w, bias, y, unit, r, columns: 0 })
    }

    /// Takes a block of B.
    fn columns(&mut self, b: &Thumbnails, columns: std::ops::Range<usize>, mirrored: bool) -> Result<()> {
        self.columns = columns.len();
        let unit = &mut self.unit[..columns.len() * PIXELS];
        b.unit(columns, mirrored, unit);
        self.backend.upload(unit, &mut self.w)
    }

    /// Correlations of a block of A with the block of B: (rows, columns).
    fn rows(&mut self, a: &Thumbnails, rows: std::ops::Range<usize>) -> Result<&[f32]> {
        let N = rows.len();
        let unit = &mut self.unit[..N * PIXELS];
        a.unit(rows, false, unit);
        self.backend.upload(unit, &mut self.x)?;
        let linear = Linear::new(PIXELS, self.columns)?;
        self.backend.linear_fprop(&linear, N, &self.x, &self.w, &self.bias, false, &mut self.y)?;
        let r = &mut self.r[..N * self.columns];
        self.backend.download(&self.y, r)?;
        Ok(r)
    }
}
