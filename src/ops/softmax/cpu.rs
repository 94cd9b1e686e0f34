//! Softmax with cross-entropy on the CPU: an image is a task, computed in f64
//! for either T (C logits are few; the sum of their exponentials is not the
//! place to lose bits). The batch is summed in order.

use rayon::prelude::*;

use super::{LossSums, SoftmaxOp};
use crate::error::{Error, Result};
use crate::ops::cpu::{lead, lead_mut};
use crate::ops::{Cpu, Real};

impl<T: Real> SoftmaxOp for Cpu<T> {
    type Tally = LossSums;
    type Posted = LossSums;

    fn alloc_tally(&self) -> Result<LossSums> {
        Ok(LossSums::default())
    }

    fn post_tally(&mut self, tally: &LossSums) -> Result<LossSums> {
        Ok(*tally)
    }

    fn read_tally(&mut self, posted: LossSums) -> Result<LossSums> {
        Ok(posted)
    }

    fn softmax_loss(
        &mut self,
        N: usize,
        C: usize,
        z: &Vec<T>,              // (N, C)
        labels: &Vec<i32>,       // (N)
        dz: Option<&mut Vec<T>>, // (N, C)
        tally: &mut LossSums,
    ) -> Result<()> {
        let z = lead("softmax", "z", z, N * C)?;
        let labels = lead("softmax", "labels", labels, N)?;
        if let Some((n, label)) = labels.iter().enumerate().find(|(_, t)| !(0..C as i64).contains(&i64::from(**t))) {
            return Err(Error::shape(
                "softmax",
                format!("label {label} of image {n} is not in 0..{C}; the network needs as many outputs as classes"),
            ));
        }
        let images: Vec<LossSums> = match dz {
            None => z.par_chunks(C.max(1)).zip(labels).map(|(z, &t)| Row::new(z).loss(t as usize)).collect(),
            Some(dz) => {
                let dz = lead_mut("softmax", "dz", dz, N * C)?;
                let rows = dz.par_chunks_mut(C.max(1)).zip(z.par_chunks(C.max(1))).zip(labels);
                rows.map(|((dz, z), &t)| {
                    let row = Row::new(z);
                    row.gradient(t as usize, N, dz);
                    row.loss(t as usize)
                })
                .collect()
            }
        };
        *tally = images.iter().fold(LossSums::default(), |sums, image| LossSums {
            loss: sums.loss + image.loss,
            top1: sums.top1 + image.top1,
            top5: sums.top5 + image.top5,
        });
        Ok(())
    }

    fn softmax(
        &mut self,
        N: usize,
        C: usize,
        z: &Vec<T>,     // (N, C)
        p: &mut Vec<T>, // (N, C)
    ) -> Result<()> {
        let z = lead("softmax", "z", z, N * C)?;
        let p = lead_mut("softmax", "p", p, N * C)?;
        p.par_chunks_mut(C.max(1)).zip(z.par_chunks(C.max(1))).for_each(|(p, z)| {
            let row = Row::new(z);
            p.iter_mut().zip(z).for_each(|(p, z)| *p = T::of(row.probability(*z)));
        });
        Ok(())
    }
}

/// The logits of one image, with what its probabilities share.
struct Row<'a, T> {
    z: &'a [T], // (C)
    /// The largest logit, m.
    largest: f64,
    /// ln sum exp(z - m), L. NaN if a logit is NaN or infinity.
    log_sum: f64,
}

impl<'a, T: Real> Row<'a, T> {
    fn new(z: &'a [T]) -> Self {
        // f64::max passes over NaN; the sum does not.
        let largest = z.iter().fold(f64::NEG_INFINITY, |m, z| m.max(z.f64()));
        let log_sum = z.iter().map(|z| (z.f64() - largest).exp()).sum::<f64>().ln();
        Row { z, largest, log_sum }
    }

    fn probability(&self, z: T) -> f64 {
        (z.f64() - self.largest - self.log_sum).exp()
    }

    /// Loss, and the place of label `t` among the logits. An image whose loss is
    /// NaN counts as wrong: its logits have no order.
    fn loss(&self, t: usize) -> LossSums {
        let own = self.z[t];
        let loss = self.log_sum - (own.f64() - self.largest);
        let ahead = self.z.iter().enumerate().filter(|(k, z)| **z > own || (**z == own && *k < t)).count();
        let within = |places: usize| usize::from(!loss.is_nan() && ahead < places);
        LossSums { loss, top1: within(1), top5: within(5) }
    }

    /// dz = (p - [k = t]) / N.
    fn gradient(&self, t: usize, N: usize, dz: &mut [T]) {
        for (k, (dz, z)) in dz.iter_mut().zip(self.z).enumerate() {
            let own = if k == t { 1.0 } else { 0.0 };
            *dz = T::of((self.probability(*z) - own) / N as f64);
        }
    }
}
