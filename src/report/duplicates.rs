//! Duplicates as a contact sheet and as a table: a person has the last word.

use std::path::Path;

use crate::data::resize::centre_square;
use crate::error::Result;
use crate::report::csv::quoted;
use crate::report::grid::Grid;
use crate::train::replace::replace_file;
use crate::transfer::duplicates::{Match, Pictures};

/// Pairs in a row.
const PAIRS: usize = 4;
/// Most rows of a sheet.
const ROWS: usize = 60;
/// Side of a picture on it.
const SIDE: usize = 96;

/// Draws matches side by side, the least alike first, for these are the doubtful ones: the
/// centred squares of A's and B's picture, `PAIRS` pairs a row, each row with the number of
/// its first pair. Gives the number of pairs that found room.
///
/// # Errors
/// What is wrong with a picture; [`Error::Io`](crate::error::Error::Io).
pub fn sheet(path: &Path, a: &Pictures, b: &Pictures, matches: &[Match]) -> Result<usize> {
    let mut order: Vec<&Match> = matches.iter().collect();
    order.sort_by(|p, q| p.correlation.total_cmp(&q.correlation));
    order.truncate(PAIRS * ROWS);
    let labels: Vec<usize> = (0..order.len().div_ceil(PAIRS)).map(|row| row * PAIRS + 1).collect();
    let mut grid = Grid::new(&labels, PAIRS, 2, SIDE)?;
    let mut tile = vec![0; SIDE * SIDE * 3];
    for (i, m) in order.iter().enumerate() {
        for (side, (pictures, picture)) in [(a, m.a), (b, m.b)].into_iter().enumerate() {
            centre_square(&pictures.rgb(picture as usize)?, SIDE, &mut tile)?;
            grid.place(i / PAIRS, i % PAIRS * 2 + side, (0, 0), SIDE, &tile);
        }
    }
    grid.save(path)?;
    Ok(order.len())
}

/// Writes `a,b,correlation,mirrored`, a line for each match.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io)
pub fn csv(path: &Path, a: &Pictures, b: &Pictures, matches: &[Match]) -> Result<()> {
    replace_file(path, |out| {
        writeln!(out, "a,b,correlation,mirrored")?;
        for m in matches {
            let (a, b) = (quoted(&a.name(m.a as usize)), quoted(&b.name(m.b as usize)));
            writeln!(out, "{a},{b},{:.6},{}", m.correlation, m.mirrored)?;
        }
        Ok(())
    })
}
