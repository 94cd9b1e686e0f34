// Linear layers on Hopper: linear.cu's products in bf16, by warpgroups.
// architectures: sm_90a
//
//   linear_*_4_bf16_n<N>   a block computes 128 x N outputs (kernels/include/product/multiply_wgmma.cuh)
//
// Grids as those of linear.cu, by tiles of 128 x N; linear_*_sum_2_bf16 adds up the parts.

#include "linear/products.cuh"
#include "product/multiply_wgmma.cuh"

// ---------------------------------------------------------------------------
// N = 96

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_fprop_4_bf16_n96(
    Linear linear,
    const bf16* __restrict__ x,      // (N, in)
    const bf16* __restrict__ w,      // (out, in)
    const float* __restrict__ bias,  // (out)
    bf16* __restrict__ y,            // (N, out)
    float* __restrict__ sums) {      // (splits, N, out)
  linear_fprop<Wgmma<96>>(linear, x, w, bias, y, sums);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_dgrad_4_bf16_n96(
    Linear linear,
    const bf16* __restrict__ dy,  // (N, out)
    const bf16* __restrict__ w,   // (out, in)
    bf16* __restrict__ dx,        // (N, in)
    float* __restrict__ sums) {   // (splits, N, in)
  linear_dgrad<Wgmma<96>>(linear, dy, w, dx, sums);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_wgrad_4_bf16_n96(
    Linear linear,
    const bf16* __restrict__ x,   // (N, in)
    const bf16* __restrict__ dy,  // (N, out)
    float* __restrict__ dw,       // (out, in)
    float* __restrict__ dbias) {  // (out)
  linear_wgrad<Wgmma<96>>(linear, x, dy, dw, dbias);
}

// ---------------------------------------------------------------------------
// N = 128

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_fprop_4_bf16_n128(
    Linear linear,
    const bf16* __restrict__ x,      // (N, in)
    const bf16* __restrict__ w,      // (out, in)
    const float* __restrict__ bias,  // (out)
    bf16* __restrict__ y,            // (N, out)
    float* __restrict__ sums) {      // (splits, N, out)
  linear_fprop<Wgmma<128>>(linear, x, w, bias, y, sums);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_dgrad_4_bf16_n128(
    Linear linear,
    const bf16* __restrict__ dy,  // (N, out)
    const bf16* __restrict__ w,   // (out, in)
    bf16* __restrict__ dx,        // (N, in)
    float* __restrict__ sums) {   // (splits, N, in)
  linear_dgrad<Wgmma<128>>(linear, dy, w, dx, sums);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_wgrad_4_bf16_n128(
    Linear linear,
    const bf16* __restrict__ x,   // (N, in)
    const bf16* __restrict__ dy,  // (N, out)
    float* __restrict__ dw,       // (out, in)
    float* __restrict__ dbias) {  // (out)
  linear_wgrad<Wgmma<128>>(linear, x, dy, dw, dbias);
}

// ---------------------------------------------------------------------------
// N = 192

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_fprop_4_bf16_n192(
    Linear linear,
    const bf16* __restrict__ x,      // (N, in)
    const bf16* __restrict__ w,      // (out, in)
    const float* __restrict__ bias,  // (out)
    bf16* __restrict__ y,            // (N, out)
    float* __restrict__ sums) {      // (splits, N, out)
  linear_fprop<Wgmma<192>>(linear, x, w, bias, y, sums);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_dgrad_4_bf16_n192(
    Linear linear,
    const bf16* __restrict__ dy,  // (N, out)
    const bf16* __restrict__ w,   // (out, in)
    bf16* __restrict__ dx,        // (N, in)
    float* __restrict__ sums) {   // (splits, N, in)
  linear_dgrad<Wgmma<192>>(linear, dy, w, dx, sums);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_wgrad_4_bf16_n192(
    Linear linear,
    const bf16* __restrict__ x,   // (N, in)
    const bf16* __restrict__ dy,  // (N, out)
    float* __restrict__ dw,       // (out, in)
    float* __restrict__ dbias) {  // (out)
  linear_wgrad<Wgmma<192>>(linear, x, dy, dw, dbias);
}

// ---------------------------------------------------------------------------
// N = 256

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_fprop_4_bf16_n256(
    Linear linear,
    const bf16* __restrict__ x,      // (N, in)
    const bf16* __restrict__ w,      // (out, in)
    const float* __restrict__ bias,  // (out)
    bf16* __restrict__ y,            // (N, out)
    float* __restrict__ sums) {      // (splits, N, out)
  linear_fprop<Wgmma<256>>(linear, x, w, bias, y, sums);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_dgrad_4_bf16_n256(
    Linear linear,
    const bf16* __restrict__ dy,  // (N, out)
    const bf16* __restrict__ w,   // (out, in)
    bf16* __restrict__ dx,        // (N, in)
    float* __restrict__ sums) {   // (splits, N, in)
  linear_dgrad<Wgmma<256>>(linear, dy, w, dx, sums);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_wgrad_4_bf16_n256(
    Linear linear,
    const bf16* __restrict__ x,   // (N, in)
    const bf16* __restrict__ dy,  // (N, out)
    float* __restrict__ dw,       // (out, in)
    float* __restrict__ dbias) {  // (out)
  linear_wgrad<Wgmma<256>>(linear, x, dy, dw, dbias);
}
