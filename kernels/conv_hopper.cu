// Convolution and its gradients on Hopper: conv.cu's products in bf16, by warpgroups.
// architectures: sm_90a
//
//   conv_*_4_bf16_n<N>   a block computes 128 x N outputs: one warpgroup gathers with cp.async into
//                        swizzled tiles, two multiply with wgmma (kernels/include/product/multiply_wgmma.cuh)
//
// Grids as those of conv.cu, by tiles of 128 x N.

#include "conv/products.cuh"
#include "product/multiply_wgmma.cuh"

// ---------------------------------------------------------------------------
// N = 96

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_fprop_4_bf16_n96(
    Conv conv,
    const bf16* __restrict__ x,      // (N, H, W, C)
    const bf16* __restrict__ w,      // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    bf16* __restrict__ y) {          // (N, P, Q, K)
  conv_fprop<Wgmma<96>>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_dgrad_4_bf16_n96(
    Conv conv,
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    const bf16* __restrict__ w,   // (K, R, S, C/groups)
    bf16* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Wgmma<96>>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_wgrad_4_bf16_n96(
    Conv conv,
    const bf16* __restrict__ x,   // (N, H, W, C)
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,       // (K, R, S, C/groups)
    float* __restrict__ dbias,    // (K)
    float* __restrict__ sums) {   // (splits, split_pitch): dw, then dbias
  conv_wgrad<Wgmma<96>>(conv, x, dy, dw, dbias, sums);
}

// ---------------------------------------------------------------------------
// N = 128

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_fprop_4_bf16_n128(
    Conv conv,
    const bf16* __restrict__ x,      // (N, H, W, C)
    const bf16* __restrict__ w,      // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    bf16* __restrict__ y) {          // (N, P, Q, K)
  conv_fprop<Wgmma<128>>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_dgrad_4_bf16_n128(
    Conv conv,
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    const bf16* __restrict__ w,   // (K, R, S, C/groups)
    bf16* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Wgmma<128>>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_wgrad_4_bf16_n128(
    Conv conv,
    const bf16* __restrict__ x,   // (N, H, W, C)
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,       // (K, R, S, C/groups)
    float* __restrict__ dbias,    // (K)
    float* __restrict__ sums) {   // (splits, split_pitch): dw, then dbias
  conv_wgrad<Wgmma<128>>(conv, x, dy, dw, dbias, sums);
}

// ---------------------------------------------------------------------------
// N = 192

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_fprop_4_bf16_n192(
    Conv conv,
    const bf16* __restrict__ x,      // (N, H, W, C)
    const bf16* __restrict__ w,      // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    bf16* __restrict__ y) {          // (N, P, Q, K)
  conv_fprop<Wgmma<192>>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_dgrad_4_bf16_n192(
    Conv conv,
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    const bf16* __restrict__ w,   // (K, R, S, C/groups)
    bf16* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Wgmma<192>>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_wgrad_4_bf16_n192(
    Conv conv,
    const bf16* __restrict__ x,   // (N, H, W, C)
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,       // (K, R, S, C/groups)
    float* __restrict__ dbias,    // (K)
    float* __restrict__ sums) {   // (splits, split_pitch): dw, then dbias
  conv_wgrad<Wgmma<192>>(conv, x, dy, dw, dbias, sums);
}

// ---------------------------------------------------------------------------
// N = 256

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_fprop_4_bf16_n256(
    Conv conv,
    const bf16* __restrict__ x,      // (N, H, W, C)
    const bf16* __restrict__ w,      // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    bf16* __restrict__ y) {          // (N, P, Q, K)
  conv_fprop<Wgmma<256>>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_dgrad_4_bf16_n256(
    Conv conv,
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    const bf16* __restrict__ w,   // (K, R, S, C/groups)
    bf16* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Wgmma<256>>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_wgrad_4_bf16_n256(
    Conv conv,
    const bf16* __restrict__ x,   // (N, H, W, C)
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,       // (K, R, S, C/groups)
    float* __restrict__ dbias,    // (K)
    float* __restrict__ sums) {   // (splits, split_pitch): dw, then dbias
  conv_wgrad<Wgmma<256>>(conv, x, dy, dw, dbias, sums);
}
