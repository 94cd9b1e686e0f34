//! The second look: candidates at full size, and what to leave out.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::Result;
use crate::transfer::duplicates::grey::correlation;
use crate::transfer::duplicates::pictures::{Pictures, View};
use crate::transfer::duplicates::search::Candidate;

/// Candidates that are looked at between two reports.
const CHUNK: usize = 1024;

/// Two pictures that are nearly the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Match {
    /// Picture of A.
    pub a: u32,
    /// Picture of B.
    pub b: u32,
    /// Whether `b` is mirrored.
    pub mirrored: bool,
    /// Normalised correlation at the size of the smaller one.
    pub correlation: f64,
}

/// The candidates (in ascending order) whose pictures correlate with at least `threshold` at
/// the size of the smaller one, in the same order; `done` hears how many have been looked at.
///
/// # Errors
/// Those of [`Pictures::grey`].
pub fn confirm(
    a: &Pictures,
    b: &Pictures,
    view: View,
    candidates: &[Candidate],
    threshold: f64,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Match>> {
    let mut matches = Vec::new();
    let mut looked_at = 0;
    for chunk in candidates.chunks(CHUNK) {
        // A picture with many candidates is decoded once.
        let groups: Vec<&[Candidate]> = chunk.chunk_by(|p, q| p.a == q.a).collect();
        let found: Vec<Vec<Match>> = groups
            .into_par_iter()
            .map(|group| {
                let x = a.grey(group[0].a as usize, view)?;
                let compare = |&Candidate { a, b: j, mirrored }: &Candidate| {
                    let y = b.grey(j as usize, view)?;
                    let y = if mirrored { y.mirrored() } else { y };
                    let r = correlation(&x, &y)?.filter(|r| *r >= threshold);
                    Ok(r.map(|correlation| Match { a, b: j, mirrored, correlation }))
                };
                group.iter().filter_map(|candidate| compare(candidate).transpose()).collect::<Result<Vec<_>>>()
            })
            .collect::<Result<_>>()?;
        matches.extend(found.into_iter().flatten());
        looked_at += chunk.len();
        done(looked_at);
    }
    Ok(matches)
}

/// The pictures of B that are in A too, in ascending order. Where A is B, a match
/// names the earlier picture first, so that what is left keeps one of each.
pub fn repeated(matches: &[Match]) -> Vec<usize> {
    let unique: BTreeSet<u32> = matches.iter().map(|m| m.b).collect();
    unique.into_iter().map(|b| b as usize).collect()
}
