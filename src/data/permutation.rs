//! The order in which an epoch visits a data set: a pseudo-random permutation
//! that is computed element by element and never stored.
//!
//! A Feistel network over the smallest power of two that holds `len` is a
//! bijection whatever its round function is; here the rounds are Philox blocks
//! keyed by (seed, lane). Values that fall outside `0..len` are sent through
//! again until they land inside ("cycle walking"), which restricts the
//! bijection to `0..len`; as the power of two is below `2 * len`, that takes
//! two passes on average at most.
//!
//! So a run can start at any (epoch, step) without replaying what came before,
//! and a million-image order costs no memory.

use crate::philox::{Purpose, Stream};

/// Enough for every element of the smallest domains to reach every place;
/// more rounds change no statistic that the tests can see.
const ROUNDS: u32 = 6;

/// A permutation of `0..len`, a pure function of `(seed, epoch)`.
#[derive(Clone, Debug)]
pub struct Permutation {
    rounds: [Stream; ROUNDS as usize],
    epoch: u64,
    len: u64,
    /// Bits of the upper and of the lower half of the Feistel block.
    bits: [u32; 2],
}

impl Permutation {
    /// The order of epoch `epoch` of a data set of `len` images.
    pub fn new(seed: u64, epoch: u64, len: usize) -> Self {
        let rounds = std::array::from_fn(|round| Stream::new(seed, Purpose::Shuffle, round as u32));
        // At least one bit a half, or a round would have nothing to mix.
        let bits = (usize::BITS - len.saturating_sub(1).leading_zeros()).max(2);
        Permutation { rounds, epoch, len: len as u64, bits: [bits / 2, bits - bits / 2] }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True if there is nothing to permute.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The element at place `i`, which must be below [`Permutation::len`].
    pub fn at(&self, i: usize) -> usize {
        debug_assert!((i as u64) < self.len, "place {i} of a permutation of {}", self.len);
        let mut x = self.feistel(i as u64);
        while x >= self.len {
            x = self.feistel(x);
        }
        x as usize
    }

    /// One pass of the network over the power-of-two domain. The halves change
    /// places, and with them their widths, after every round.
    fn feistel(&self, x: u64) -> u64 {
        let [mut upper_bits, mut lower_bits] = self.bits;
        let (mut upper, mut lower) = (x >> lower_bits, x & mask(lower_bits));
        for stream in &self.rounds {
            let words = stream.block(self.epoch, lower);
            let noise = u64::from(words[0]) | u64::from(words[1]) << 32;
            (upper, lower) = (lower, upper ^ (noise & mask(upper_bits)));
            (upper_bits, lower_bits) = (lower_bits, upper_bits);
        }
        upper << lower_bits | lower
    }
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}
