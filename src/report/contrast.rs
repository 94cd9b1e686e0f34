//! Signed values as colours.

/// The share of magnitudes that the range of colours covers. The few beyond it are
/// drawn at full strength; otherwise one bright pixel would leave a tile grey.
const COVERED: f64 = 0.995;

/// Grey, drawn for 0.
const GREY: f32 = 128.0;

/// `values` stretched symmetrically about grey: 0 is 128, the 99.5th percentile of the
/// magnitudes 255, its negative 1. Where that percentile is 0 the largest takes its place.
pub fn symmetric(values: &[f32]) -> Vec<u8> {
    let mut magnitudes: Vec<f32> = values.iter().map(|v| v.abs()).collect();
    let scale = match magnitudes.len() {
        0 => 0.0,
        len => *magnitudes.select_nth_unstable_by(((len - 1) as f64 * COVERED) as usize, f32::total_cmp).1,
    };
    let scale = if scale > 0.0 { scale } else { magnitudes.iter().copied().fold(0.0, f32::max) };
    let factor = if scale > 0.0 { 127.0 / scale } else { 0.0 };
    // The cast saturates, but 127 to each side keeps black and white equally far from grey.
    values.iter().map(|v| (GREY + (v * factor).clamp(-127.0, 127.0)).round() as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::symmetric;

    #[test]
    fn stretches_about_grey() {
        assert_eq!(symmetric(&[0.0, 2.0, -2.0, 1.0]), [128, 255, 1, 192]);
        assert_eq!(symmetric(&[0.0; 5]), [128; 5]);
        assert!(symmetric(&[]).is_empty());
        // One of a thousand is cut, and one alone is not lost among zeros.
        let mut values = vec![1.0; 1000];
        values[17] = -50.0;
        assert_eq!(symmetric(&values)[16..18], [255, 1]);
        values.fill(0.0);
        values[3] = -1e-6;
        assert_eq!(symmetric(&values)[2..4], [128, 1]);
    }
}
