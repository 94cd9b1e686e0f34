//! Which frequencies a small picture is made of.
//!
//! The energy at frequency (u/M, v/M) cycles a pixel is `|sum x[h,w] e^(-2 pi i (u h + v w)/M)|^2`
//! of the picture padded with zeros to M x M, summed over the channels. By Parseval the M^2
//! energies sum to M^2 times the picture's own.

use std::cmp::Ordering;
use std::f64::consts::TAU;

/// Energies of the M x M frequencies of `picture`; M must be at least H and W.
pub fn energies(
    picture: &[f32], // (H, W, C)
    (W, C): (usize, usize),
    M: usize,
) -> Vec<f64> // (M, M)
{
    let H = picture.len() / (W * C);
    let turns: Vec<(f64, f64)> = (0..M).map(|i| (TAU * i as f64 / M as f64).sin_cos()).collect();
    let mut energies = vec![0.0; M * M];
    for c in 0..C {
        // Along each row, then along each column of what that gives: (H, M), real and imaginary.
        let mut rows = vec![(0.0, 0.0); H * M];
        for (h, row) in rows.chunks_exact_mut(M).enumerate() {
            for (v, sum) in row.iter_mut().enumerate() {
                for w in 0..W {
                    let (sin, cos) = turns[v * w % M];
                    let x = f64::from(picture[(h * W + w) * C + c]);
                    *sum = (sum.0 + x * cos, sum.1 - x * sin);
                }
            }
        }
        for (u, energies) in energies.chunks_exact_mut(M).enumerate() {
            for (v, energy) in energies.iter_mut().enumerate() {
                let (mut re, mut im) = (0.0, 0.0);
                for h in 0..H {
                    let ((sin, cos), (a, b)) = (turns[u * h % M], rows[h * M + v]);
                    (re, im) = (re + a * cos + b * sin, im + b * cos - a * sin);
                }
                *energy += re * re + im * im;
            }
        }
    }
    energies
}

/// Cycles a pixel of bin `u` of M, 0 to 1/2: the sign does not matter to a real picture.
pub fn frequency(u: usize, M: usize) -> f64 {
    u.min(M - u) as f64 / M as f64
}

/// How much of the energy of lines of pixels lies at the frequencies of a lattice of `stride`
/// pixels, i/stride for i = 1 .. stride - 1: (four times that in cores, that in cells). Cells
/// are 1/stride wide and tile the axis, a core is the middle quarter of its cell; rows and
/// columns are summed. M must be a multiple of eight strides: then the edge of a core goes
/// through the middle of a bin, which counts half.
///
/// Lines, and not the plane: a picture that ends at straight edges has its energy along the
/// axes of the plane, and a core there would look strong because of the edge.
pub fn lattice(
    energies: &[f64], // (M, M)
    M: usize,
    stride: usize,
) -> (f64, f64) {
    let step = M / stride;
    // Share of bin `u` that is in a core, if a frequency of the lattice other than 0 is nearest.
    let share = |u: usize| {
        let i = (2 * u + step) / (2 * step);
        let share = match (8 * u.abs_diff(i * step)).cmp(&step) {
            Ordering::Less => 1.0,
            Ordering::Equal => 0.5,
            Ordering::Greater => 0.0,
        };
        (!i.is_multiple_of(stride)).then_some(share)
    };
    let (mut cores, mut cells) = (0.0, 0.0);
    for (at, energy) in energies.iter().enumerate() {
        for share in [share(at / M), share(at % M)].into_iter().flatten() {
            cores += share * energy;
            cells += energy;
        }
    }
    (4.0 * cores, cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_has_one_frequency() {
        // cos(2 pi (3 h + 5 w) / 16): bins (3, 5) and (13, 11), a quarter of 16^4 each.
        let wave = |i: usize| (TAU * (3 * (i / 16) + 5 * (i % 16)) as f64 / 16.0).cos() as f32;
        let picture: Vec<f32> = (0..256).map(wave).collect();
        let found = energies(&picture, (16, 1), 16);
        for (at, energy) in found.iter().enumerate() {
            let expected = if [3 * 16 + 5, 13 * 16 + 11].contains(&at) { 16384.0 } else { 0.0 };
            assert!((energy - expected).abs() < 1e-2, "bin {at}: {energy}");
        }
        assert_eq!((frequency(3, 16), frequency(13, 16), frequency(8, 16)), (3.0 / 16.0, 3.0 / 16.0, 0.5));
    }

    #[test]
    fn energy_is_kept() {
        let picture: Vec<f32> = (0..5 * 7 * 3).map(|i| (i * i % 23) as f32 - 11.0).collect();
        let own: f64 = picture.iter().map(|v| f64::from(*v).powi(2)).sum();
        let sum: f64 = energies(&picture, (7, 3), 12).iter().sum();
        assert!((sum / (144.0 * own) - 1.0).abs() < 1e-12, "{sum}");
    }

    #[test]
    fn a_lattice_is_found() {
        // A dot every 4 pixels has all its energy at multiples of 1/4.
        let dots: Vec<f32> = (0..1024).map(|i| f32::from(i / 32 % 4 == 1 && i % 32 % 4 == 2)).collect();
        let (cores, cells) = lattice(&energies(&dots, (32, 1), 32), 32, 4);
        assert!((cores / cells - 4.0).abs() < 1e-9, "{cores} {cells}");
        // One dot is white: as much in a core as anywhere.
        let mut dot = vec![0f32; 1024];
        dot[77] = 1.0;
        for stride in [2, 4] {
            let (cores, cells) = lattice(&energies(&dot, (32, 1), 32), 32, stride);
            assert!((cores / cells - 1.0).abs() < 1e-9, "{cores} {cells}");
        }
    }
}
