//! The number types that `Cpu<T>` computes in, and their SIMD vectors.

use pulp::Simd;

/// f32 or f64, with the vector operations that the hot loops need.
///
/// The vector type belongs to a `pulp::Simd` token, which exists only on a
/// machine that has the instructions: AVX-512, AVX2 + FMA, NEON, or plain code.
pub trait Real:
    bytemuck::Pod
    + Default
    + PartialOrd
    + Send
    + Sync
    + std::fmt::Debug
    + std::fmt::Display
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
    + std::ops::MulAssign
    + std::iter::Sum
    + 'static
{
    /// `f32` or `f64`.
    const NAME: &'static str;
    /// 0.
    const ZERO: Self;
    /// The nearest value to `v`.
    fn of(v: f64) -> Self;
    /// Widened to f64, exactly.
    fn f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// `self` to the power `e`.
    fn powf(self, e: Self) -> Self;
    /// Whether this is not a number.
    fn is_nan(self) -> bool;

    /// A vector of as many values as the instruction set of `S` holds.
    type Lanes<S: Simd>: Copy + bytemuck::Pod + Send + Sync;
    /// The same value in every lane.
    fn splat<S: Simd>(simd: S, v: Self) -> Self::Lanes<S>;
    /// a b + c, rounded once.
    fn mul_add<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>, c: Self::Lanes<S>) -> Self::Lanes<S>;
    /// a + b.
    fn vadd<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// The larger of a and b in each lane; b where either is NaN.
    fn vmax<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// Whole vectors at the front, the remaining values behind.
    fn as_lanes<S: Simd>(v: &[Self]) -> (&[Self::Lanes<S>], &[Self]);
    /// Whole vectors at the front, the remaining values behind.
    fn as_lanes_mut<S: Simd>(v: &mut [Self]) -> (&mut [Self::Lanes<S>], &mut [Self]);
}

macro_rules! real {
    ($t:ident, $lanes:ident, $splat:ident, $mul_add:ident, $add:ident, $max:ident, $as_simd:ident, $as_mut_simd:ident) => {
        impl Real for $t {
            const NAME: &'static str = stringify!($t);
            const ZERO: Self = 0.0;
            #[inline(always)]
            fn of(v: f64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn powf(self, e: Self) -> Self {
                $t::powf(self, e)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }

            type Lanes<S: Simd> = S::$lanes;
            #[inline(always)]
            fn splat<S: Simd>(simd: S, v: Self) -> S::$lanes {
                simd.$splat(v)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes, c: S::$lanes) -> S::$lanes {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn vadd<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes) -> S::$lanes {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn vmax<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes) -> S::$lanes {
                simd.$max(a, b)
            }
            #[inline(always)]
            fn as_lanes<S: Simd>(v: &[Self]) -> (&[S::$lanes], &[Self]) {
                S::$as_simd(v)
            }
            #[inline(always)]
            fn as_lanes_mut<S: Simd>(v: &mut [Self]) -> (&mut [S::$lanes], &mut [Self]) {
                S::$as_mut_simd(v)
            }
        }
    };
}

real!(f32, f32s, splat_f32s, mul_add_f32s, add_f32s, max_f32s, as_simd_f32s, as_mut_simd_f32s);
real!(f64, f64s, splat_f64s, mul_add_f64s, add_f64s, max_f64s, as_simd_f64s, as_mut_simd_f64s);
