//! Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel
//! random numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A draw is a pure function of `(seed, stream, step, index)`: nothing is
//! carried from one draw to the next, so any thread, on any device, in any
//! order, gets the same number, and a resumed run needs no generator state
//! beyond the seed and the step.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// One block of four 32-bit words from a 128-bit counter and a 64-bit key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// What a random number is used for. Draws for different uses are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Initial weights; the lane is the parameter tensor's index.
    Init = 1,
    /// Dropout masks; the lane is the layer's index.
    Dropout = 2,
    /// The order in which a data set is visited; the step is the epoch.
    Shuffle = 3,
    /// Crop positions and flips.
    Augment = 4,
    /// Drawing of synthetic images.
    Synthetic = 5,
    /// Tests and gradient checks.
    Test = 6,
    /// The maps that a figure shows.
    Maps = 7,
    /// Places of an image that a figure looks at.
    Places = 8,
    /// Which images a protocol learns from; the lane is the fold.
    Protocol = 9,
}

/// A family of draws that share seed, purpose and lane.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
    tag: u32,
}

impl Stream {
    /// The stream of `seed` for `purpose`; `lane` (below 2^24) tells apart
    /// several uses of the same purpose.
    pub fn new(seed: u64, purpose: Purpose, lane: u32) -> Self {
        Stream { key: [seed as u32, (seed >> 32) as u32], tag: (purpose as u32) << 24 | (lane & 0x00FF_FFFF) }
    }

    /// What kernels draw the same numbers from: kernels/include/philox.cuh.
    pub(crate) fn key_and_tag(&self) -> ([u32; 2], u32) {
        (self.key, self.tag)
    }

    /// Four words: block `block` of step `step` (the low 32 bits of each count).
    pub fn block(&self, step: u64, block: u64) -> [u32; 4] {
        philox4x32([block as u32, (block >> 32) as u32 ^ (step >> 32) as u32, step as u32, self.tag], self.key)
    }

    /// Word `index` of step `step`: element `index % 4` of block `index / 4`.
    pub fn word(&self, step: u64, index: u64) -> u32 {
        self.block(step, index / 4)[(index % 4) as usize]
    }

    /// Uniform in [0, 1) with 24 bits.
    pub fn uniform(&self, step: u64, index: u64) -> f32 {
        unit(self.word(step, index))
    }

    /// Uniform integer in `0..bound` (bound > 0), by multiply-shift; the bias
    /// is below bound / 2^32.
    pub fn below(&self, step: u64, index: u64, bound: u32) -> u32 {
        ((u64::from(self.word(step, index)) * u64::from(bound)) >> 32) as u32
    }

    /// Standard normal draw `index` of step `step` (Box-Muller in f64, two
    /// draws a block).
    pub fn normal(&self, step: u64, index: u64) -> f64 {
        let words = self.block(step, index / 2);
        let half = 2 * (index % 2) as usize;
        let u = (f64::from(words[half]) + 0.5) / 4_294_967_296.0;
        let v = f64::from(words[half + 1]) / 4_294_967_296.0;
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// A 32-bit word as a number in [0, 1): its upper 24 bits, which f32 holds exactly.
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers distributed with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn normal_has_unit_variance() {
        let stream = Stream::new(7, Purpose::Test, 0);
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|i| stream.normal(3, i)).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let var = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n as f64;
        // Standard errors: 1/sqrt(n) = 0.0032 and sqrt(2/n) = 0.0045; four of each.
        assert!(mean.abs() < 0.0127, "mean {mean}");
        assert!((var - 1.0).abs() < 0.018, "variance {var}");
    }
}
