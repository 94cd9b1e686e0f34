//! What the tests share: golden vectors, finite differences, comparisons, values.

pub mod compare;
pub mod device;
pub mod finite_difference;
pub mod goldens;
pub mod gpu;
pub mod layout;
pub mod values;

/// Registers a test `fn name<T: Real>()` for every type that [`zfnet::ops::Cpu`] computes in.
macro_rules! on_cpu {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn f32() {
                super::$name::<f32>();
            }
            #[test]
            fn f64() {
                super::$name::<f64>();
            }
        }
    )+};
}
pub(crate) use on_cpu;
