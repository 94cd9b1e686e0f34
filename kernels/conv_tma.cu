// Convolution and its gradients on Hopper by bulk copies: conv.cu's products by blocks that stay.
// architectures: sm_90a
//
//   conv_*_5_<type>_n<N>      tiles of 128 x N: one thread copies boxes, pixels by taps among them, two
//                             warpgroups multiply with wgmma and store behind their own backs
//                             (kernels/include/product/multiply_tma.cuh, conv/by_tma.cuh)
//   conv_*_sum_5_<type>       the tiles whose depth was cut, from their parts
//   conv_filters_across_5     w turned to (C, R, S, K/groups), as dgrad reads it in tf32
//
// tf32: wgmma reads it along the depth alone, so there is no wgrad. Grids of the products: as many blocks as
// there are multiprocessors; of the others, a thread an element.

#include "conv/by_tma.cuh"

extern "C" __global__ void conv_fprop_sum_5_bf16(
    Conv conv, ConvTiles tiles,
    const float* __restrict__ sums,  // (parts, 128, N)
    const float* __restrict__ bias,  // (K)
    bf16* __restrict__ y) {          // (N, P, Q, K)
  sum_parts(conv, tiles, sums, conv.N * conv.by_PQ.value, conv.group_K, bias, conv.relu != 0, y);
}
extern "C" __global__ void conv_fprop_sum_5_f32(
    Conv conv, ConvTiles tiles,
    const float* __restrict__ sums,  // (parts, 128, N)
    const float* __restrict__ bias,  // (K)
    float* __restrict__ y) {         // (N, P, Q, K)
  sum_parts(conv, tiles, sums, conv.N * conv.by_PQ.value, conv.group_K, bias, conv.relu != 0, y);
}
extern "C" __global__ void conv_dgrad_sum_5_bf16(
    Conv conv, ConvTiles tiles,
    const float* __restrict__ sums,  // (parts, 128, N)
    bf16* __restrict__ dx) {         // (N, H, W, C)
  sum_parts(conv, tiles, sums, conv.N * conv.by_parity_HW.value, conv.group_C, nullptr, false, dx);
}
extern "C" __global__ void conv_dgrad_sum_5_f32(
    Conv conv, ConvTiles tiles,
    const float* __restrict__ sums,  // (parts, 128, N)
    float* __restrict__ dx) {        // (N, H, W, C)
  sum_parts(conv, tiles, sums, conv.N * conv.by_parity_HW.value, conv.group_C, nullptr, false, dx);
}

// Small beside any product: 14 to 1300 thousand elements.
extern "C" __global__ void conv_filters_across_5(Conv conv,
                                                 const float* __restrict__ w,  // (K, R, S, C/groups)
                                                 float* __restrict__ turned) { // (C, R, S, K/groups)
  const int i = blockIdx.x * blockDim.x + threadIdx.x, taps = conv.R * conv.S;
  if (i >= conv.C * taps * conv.group_K) return;
  const int k = i % conv.group_K, tap = i / conv.group_K % taps, c = i / conv.group_K / taps;
  const int group = c / conv.group_C;
  turned[i] = w[(size_t(group * conv.group_K + k) * taps + tap) * conv.group_C + c % conv.group_C];
}

// ---------------------------------------------------------------------------
// N = 96

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_fprop_5_bf16_n96(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,  // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    const float* __restrict__ bias,        // (K)
    const __grid_constant__ tensor_map y,  // boxes of (N P Q, groups, K/groups)
    float* __restrict__ sums) {            // (parts, 128, N)
  FpropWork<96, bf16> work(conv, tiles, sums, x, w, bias, &y, nullptr);
  ByTma<96, FpropWork<96, bf16>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_dgrad_5_bf16_n96(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map dy0,  // pixels of (N, P, Q, K), of each parity
    const __grid_constant__ tensor_map dy1,
    const __grid_constant__ tensor_map dy2,
    const __grid_constant__ tensor_map dy3,
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    bf16* __restrict__ dx,                 // (N, H, W, C)
    float* __restrict__ sums) {            // (parts, 128, N)
  DgradWork<96, bf16> work(conv, tiles, sums, {dy0, dy1, dy2, dy3}, w, dx);
  ByTma<96, DgradWork<96, bf16>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_wgrad_5_bf16_n96(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,   // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map dy,  // boxes of (N P Q, groups, K/groups)
    float* __restrict__ dw,                 // (K, R, S, C/groups)
    float* __restrict__ dbias,              // (K)
    float* __restrict__ sums) {             // (splits, split_pitch): dw, then dbias
  WgradWork<96> work{conv, tiles, x, dy, dw, dbias, sums};
  ByTma<96, WgradWork<96>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_fprop_5_tf32_n96(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,  // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    const float* __restrict__ bias,        // (K)
    float* __restrict__ y,                 // (N, P, Q, K)
    float* __restrict__ sums) {            // (parts, 128, N)
  FpropWork<96, float> work(conv, tiles, sums, x, w, bias, nullptr, y);
  ByTma<96, FpropWork<96, float>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_dgrad_5_tf32_n96(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map dy0,  // pixels of (N, P, Q, K), of each parity
    const __grid_constant__ tensor_map dy1,
    const __grid_constant__ tensor_map dy2,
    const __grid_constant__ tensor_map dy3,
    const __grid_constant__ tensor_map w,  // boxes of (C, R, S, K/groups)
    float* __restrict__ dx,                // (N, H, W, C)
    float* __restrict__ sums) {            // (parts, 128, N)
  DgradWork<96, float> work(conv, tiles, sums, {dy0, dy1, dy2, dy3}, w, dx);
  ByTma<96, DgradWork<96, float>>::run(work);
}

// ---------------------------------------------------------------------------
// N = 128

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_fprop_5_bf16_n128(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,  // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    const float* __restrict__ bias,        // (K)
    const __grid_constant__ tensor_map y,  // boxes of (N P Q, groups, K/groups)
    float* __restrict__ sums) {            // (parts, 128, N)
  FpropWork<128, bf16> work(conv, tiles, sums, x, w, bias, &y, nullptr);
  ByTma<128, FpropWork<128, bf16>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_dgrad_5_bf16_n128(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map dy0,  // pixels of (N, P, Q, K), of each parity
    const __grid_constant__ tensor_map dy1,
    const __grid_constant__ tensor_map dy2,
    const __grid_constant__ tensor_map dy3,
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    bf16* __restrict__ dx,                 // (N, H, W, C)
    float* __restrict__ sums) {            // (parts, 128, N)
  DgradWork<128, bf16> work(conv, tiles, sums, {dy0, dy1, dy2, dy3}, w, dx);
  ByTma<128, DgradWork<128, bf16>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_wgrad_5_bf16_n128(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,   // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map dy,  // boxes of (N P Q, groups, K/groups)
    float* __restrict__ dw,                 // (K, R, S, C/groups)
    float* __restrict__ dbias,              // (K)
    float* __restrict__ sums) {             // (splits, split_pitch): dw, then dbias
  WgradWork<128> work{conv, tiles, x, dy, dw, dbias, sums};
  ByTma<128, WgradWork<128>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_fprop_5_tf32_n128(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,  // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    const float* __restrict__ bias,        // (K)
    float* __restrict__ y,                 // (N, P, Q, K)
    float* __restrict__ sums) {            // (parts, 128, N)
  FpropWork<128, float> work(conv, tiles, sums, x, w, bias, nullptr, y);
  ByTma<128, FpropWork<128, float>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_dgrad_5_tf32_n128(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map dy0,  // pixels of (N, P, Q, K), of each parity
    const __grid_constant__ tensor_map dy1,
    const __grid_constant__ tensor_map dy2,
    const __grid_constant__ tensor_map dy3,
    const __grid_constant__ tensor_map w,  // boxes of (C, R, S, K/groups)
    float* __restrict__ dx,                // (N, H, W, C)
    float* __restrict__ sums) {            // (parts, 128, N)
  DgradWork<128, float> work(conv, tiles, sums, {dy0, dy1, dy2, dy3}, w, dx);
  ByTma<128, DgradWork<128, float>>::run(work);
}

// ---------------------------------------------------------------------------
// N = 192

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_fprop_5_bf16_n192(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,  // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    const float* __restrict__ bias,        // (K)
    const __grid_constant__ tensor_map y,  // boxes of (N P Q, groups, K/groups)
    float* __restrict__ sums) {            // (parts, 128, N)
  FpropWork<192, bf16> work(conv, tiles, sums, x, w, bias, &y, nullptr);
  ByTma<192, FpropWork<192, bf16>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_dgrad_5_bf16_n192(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map dy0,  // pixels of (N, P, Q, K), of each parity
    const __grid_constant__ tensor_map dy1,
    const __grid_constant__ tensor_map dy2,
    const __grid_constant__ tensor_map dy3,
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    bf16* __restrict__ dx,                 // (N, H, W, C)
    float* __restrict__ sums) {            // (parts, 128, N)
  DgradWork<192, bf16> work(conv, tiles, sums, {dy0, dy1, dy2, dy3}, w, dx);
  ByTma<192, DgradWork<192, bf16>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_wgrad_5_bf16_n192(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,   // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map dy,  // boxes of (N P Q, groups, K/groups)
    float* __restrict__ dw,                 // (K, R, S, C/groups)
    float* __restrict__ dbias,              // (K)
    float* __restrict__ sums) {             // (splits, split_pitch): dw, then dbias
  WgradWork<192> work{conv, tiles, x, dy, dw, dbias, sums};
  ByTma<192, WgradWork<192>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_fprop_5_tf32_n192(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,  // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    const float* __restrict__ bias,        // (K)
    float* __restrict__ y,                 // (N, P, Q, K)
    float* __restrict__ sums) {            // (parts, 128, N)
  FpropWork<192, float> work(conv, tiles, sums, x, w, bias, nullptr, y);
  ByTma<192, FpropWork<192, float>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_dgrad_5_tf32_n192(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map dy0,  // pixels of (N, P, Q, K), of each parity
    const __grid_constant__ tensor_map dy1,
    const __grid_constant__ tensor_map dy2,
    const __grid_constant__ tensor_map dy3,
    const __grid_constant__ tensor_map w,  // boxes of (C, R, S, K/groups)
    float* __restrict__ dx,                // (N, H, W, C)
    float* __restrict__ sums) {            // (parts, 128, N)
  DgradWork<192, float> work(conv, tiles, sums, {dy0, dy1, dy2, dy3}, w, dx);
  ByTma<192, DgradWork<192, float>>::run(work);
}

// ---------------------------------------------------------------------------
// N = 256

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_fprop_5_bf16_n256(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,  // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    const float* __restrict__ bias,        // (K)
    const __grid_constant__ tensor_map y,  // boxes of (N P Q, groups, K/groups)
    float* __restrict__ sums) {            // (parts, 128, N)
  FpropWork<256, bf16> work(conv, tiles, sums, x, w, bias, &y, nullptr);
  ByTma<256, FpropWork<256, bf16>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_dgrad_5_bf16_n256(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map dy0,  // pixels of (N, P, Q, K), of each parity
    const __grid_constant__ tensor_map dy1,
    const __grid_constant__ tensor_map dy2,
    const __grid_constant__ tensor_map dy3,
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    bf16* __restrict__ dx,                 // (N, H, W, C)
    float* __restrict__ sums) {            // (parts, 128, N)
  DgradWork<256, bf16> work(conv, tiles, sums, {dy0, dy1, dy2, dy3}, w, dx);
  ByTma<256, DgradWork<256, bf16>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_wgrad_5_bf16_n256(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,   // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map dy,  // boxes of (N P Q, groups, K/groups)
    float* __restrict__ dw,                 // (K, R, S, C/groups)
    float* __restrict__ dbias,              // (K)
    float* __restrict__ sums) {             // (splits, split_pitch): dw, then dbias
  WgradWork<256> work{conv, tiles, x, dy, dw, dbias, sums};
  ByTma<256, WgradWork<256>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_fprop_5_tf32_n256(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map x,  // pixels of (N, H, W, C)
    const __grid_constant__ tensor_map w,  // boxes of (K, R, S, C/groups)
    const float* __restrict__ bias,        // (K)
    float* __restrict__ y,                 // (N, P, Q, K)
    float* __restrict__ sums) {            // (parts, 128, N)
  FpropWork<256, float> work(conv, tiles, sums, x, w, bias, nullptr, y);
  ByTma<256, FpropWork<256, float>>::run(work);
}

extern "C" __global__ void __launch_bounds__(kTmaThreads, 1) conv_dgrad_5_tf32_n256(
    Conv conv, ConvTiles tiles,
    const __grid_constant__ tensor_map dy0,  // pixels of (N, P, Q, K), of each parity
    const __grid_constant__ tensor_map dy1,
    const __grid_constant__ tensor_map dy2,
    const __grid_constant__ tensor_map dy3,
    const __grid_constant__ tensor_map w,  // boxes of (C, R, S, K/groups)
    float* __restrict__ dx,                // (N, H, W, C)
    float* __restrict__ sums) {            // (parts, 128, N)
  DgradWork<256, float> work(conv, tiles, sums, {dy0, dy1, dy2, dy3}, w, dx);
  ByTma<256, DgradWork<256, float>>::run(work);
}
