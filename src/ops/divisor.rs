//! Division in kernels by numbers that the host knows.

use bytemuck::{Pod, Zeroable};

/// kernels/include/division.cuh: what a kernel divides by with a multiplication and a shift.
///
/// With 2^(s-1) < d <= 2^s and m = floor(2^32 (2^s - d) / d) + 1, which is below 2^32,
///
/// ```text
/// (2^32 + m) d = 2^(32+s) + e,  0 < e <= d <= 2^s
/// (2^32 + m) n / 2^(32+s) = n/d + n e / (d 2^(32+s)) < n/d + 1/d  for n < 2^32
/// ```
///
/// which is too little more to reach the next whole number, so floor(n / d) is
/// (floor(m n / 2^32) + n) >> s. That sum fits 32 bits for n < 2^31.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Divisor {
    value: i32,
    multiplier: u32,
    shift: i32,
}

impl Divisor {
    /// Division by `value` >= 1.
    pub fn new(value: i32) -> Self {
        let d = u64::from(value.max(1) as u32);
        let shift = d.next_power_of_two().trailing_zeros();
        let multiplier = ((1 << 32) * ((1 << shift) - d) / d + 1) as u32;
        Divisor { value: d as i32, multiplier, shift: shift as i32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernels do it.
    fn divide(n: u32, d: &Divisor) -> u32 {
        (((u64::from(n) * u64::from(d.multiplier)) >> 32) as u32 + n) >> d.shift
    }

    #[test]
    fn a_divisor_divides() {
        let most = i32::MAX;
        let divisors = (1..200).chain([361, 12_100, 65_535, 65_536, 65_537, 1 << 30, (1 << 30) + 1, most - 1, most]);
        for d in divisors {
            let divisor = Divisor::new(d);
            let d = d as u32;
            // Around every kind of multiple, the last one below 2^31 among them.
            let multiples = (0..64).chain([most as u32 / d / 3, most as u32 / d]).map(|i| i.min(most as u32 / d) * d);
            for n in multiples.flat_map(|m| [m.saturating_sub(1), m, m.saturating_add(d - 1).min(most as u32)]) {
                assert_eq!(divide(n, &divisor), n / d, "{n} / {d}");
            }
        }
    }
}
