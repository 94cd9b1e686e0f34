//! In which order threads and blocks run: a function of the seed and the launch.

use std::cell::Cell;

/// Numbers of one launch. Seed 0 stands for the natural order.
pub(super) struct Turns {
    seed: u64,
    launch: u64,
}

impl Turns {
    pub fn new(seed: u64, launch: u64) -> Self {
        Turns { seed, launch }
    }

    /// 0..n, shuffled.
    pub fn order(&self, n: usize) -> Vec<u32> {
        self.stream(u64::MAX).order(n)
    }

    /// The numbers that block `block` draws.
    pub fn stream(&self, block: u64) -> Stream {
        let state = mix(mix(self.seed ^ mix(self.launch)) ^ block);
        Stream { natural: self.seed == 0, state: Cell::new(state) }
    }
}

/// A sequence of random numbers.
pub(super) struct Stream {
    natural: bool,
    state: Cell<u64>,
}

impl Stream {
    /// The next number below `n`.
    fn below(&self, n: usize) -> usize {
        self.state.set(self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        // The high word of a 64 by 64 bit product: no division, and a bias below 2^-32.
        ((u128::from(mix(self.state.get())) * n as u128) >> 64) as usize
    }

    /// True half of the time; never in the natural order.
    pub fn coin(&self) -> bool {
        !self.natural && self.below(2) == 1
    }

    /// True half of the time, and always in the natural order.
    pub fn soon(&self) -> bool {
        self.natural || self.coin()
    }

    /// Rounds that a warp still rests, after another one; now and then it begins a rest of up to 24
    /// rounds, longer than a shuffled reduction takes. Never in the natural order.
    pub fn rest(&self, left: u32) -> u32 {
        match left {
            0 if !self.natural && self.below(16) == 0 => 1 + self.below(24) as u32,
            left => left.saturating_sub(1),
        }
    }

    pub fn order(&self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        self.shuffle(&mut order);
        order
    }

    pub fn shuffle(&self, order: &mut [u32]) {
        if self.natural {
            return;
        }
        for i in (1..order.len()).rev() {
            order.swap(i, self.below(i + 1));
        }
    }
}

/// SplitMix64's finalizer (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
