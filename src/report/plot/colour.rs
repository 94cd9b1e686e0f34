//! Colours that mean amounts, and colours that mean kinds.

/// Red, green, blue.
pub type Colour = [u8; 3];

/// Text and axes.
pub const INK: Colour = [51, 51, 51];
/// Marks that must not draw the eye.
pub const FAINT: Colour = [221, 221, 221];
/// The ground of a chart where there is no value.
pub const EMPTY: Colour = [240, 240, 240];
/// Categories beyond [`CATEGORIES`].
pub const OTHER: Colour = [200, 200, 200];

/// Viridis in nine equal steps (van der Walt and Smith, 2015): equal steps of the value are
/// equal steps to the eye, and lightness alone, which every eye sees, tells the order.
const VIRIDIS: [Colour; 10] = [
    [0x44, 0x01, 0x54],
    [0x48, 0x28, 0x78],
    [0x3e, 0x4a, 0x89],
    [0x31, 0x68, 0x8e],
    [0x26, 0x82, 0x8e],
    [0x1f, 0x9e, 0x89],
    [0x35, 0xb7, 0x79],
    [0x6d, 0xcd, 0x59],
    [0xb4, 0xde, 0x2c],
    [0xfd, 0xe7, 0x25],
];

/// Colours of kinds (Okabe and Ito, 2008), in the order in which they are given out: the
/// first few differ most, in lightness too.
pub const CATEGORIES: [Colour; 8] = [
    [0x00, 0x72, 0xb2], // blue
    [0xe6, 0x9f, 0x00], // orange
    [0x00, 0x9e, 0x73], // bluish green
    [0xcc, 0x79, 0xa7], // reddish purple
    [0x56, 0xb4, 0xe9], // sky blue
    [0xd5, 0x5e, 0x00], // vermilion
    [0xf0, 0xe4, 0x42], // yellow
    [0x00, 0x00, 0x00], // black
];

/// The colour of an amount: 0 dark violet, 1 bright yellow. What lies outside is drawn as
/// the nearest end, what is no number as [`EMPTY`].
pub fn amount(share: f64) -> Colour {
    if share.is_nan() {
        return EMPTY;
    }
    let steps = VIRIDIS.len() - 1;
    let place = share.clamp(0.0, 1.0) * steps as f64;
    let below = (place as usize).min(steps - 1);
    let (from, to, way) = (VIRIDIS[below], VIRIDIS[below + 1], place - below as f64);
    std::array::from_fn(|c| (f64::from(from[c]) + way * (f64::from(to[c]) - f64::from(from[c]))).round() as u8)
}

/// `#rrggbb`.
pub fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of an sRGB colour.
    fn luminance(colour: Colour) -> f64 {
        let linear = colour.map(|c| (f64::from(c) / 255.0).powf(2.2));
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    #[test]
    fn a_larger_amount_is_lighter() {
        let colours: Vec<f64> = (0..=100).map(|i| luminance(amount(f64::from(i) / 100.0))).collect();
        assert!(colours.is_sorted_by(|a, b| a < b), "{colours:?}");
        assert_eq!((amount(-3.0), amount(7.0)), (VIRIDIS[0], VIRIDIS[9]));
        assert_eq!(amount(f64::NAN), EMPTY);
    }

    #[test]
    fn kinds_can_be_told_apart() {
        let all = [&CATEGORIES[..], &[OTHER]].concat();
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                let apart: i32 = (0..3).map(|c| (i32::from(a[c]) - i32::from(b[c])).abs()).sum();
                assert!(apart > 64, "{} and {}", hex(*a), hex(*b));
            }
        }
    }
}
