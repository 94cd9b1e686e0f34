// Convolution and its gradients: src/ops/conv/mod.rs has the derivation.
//
//   conv_fprop_1, conv_dgrad_1, conv_wgrad_1   f32, a thread per output: the definition
//   conv_*_2_f32        implicit matrix products: a block computes 128 x 128 outputs from tiles in
//                       shared memory that cp.async gathers from the images themselves, three steps
//                       ahead; no column matrix. 8 x 8 outputs a thread. dgrad is one product for each
//                       parity of (h, w), all in one launch; wgrad's sum over the pixels is cut into
//                       parts, which conv_wgrad_sum_2 adds up in order
//   conv_*_3_tf32       like 2, on tensor cores: f32 in memory, rounded to tf32 on the way
//   conv_*_3_bf16       the same in bf16; dw and db are f32
//   conv_pad_filters_1  filters for images of padded pixels, before fprop; what is behind their channels in
//                       dw is left out by conv_wgrad_sum_2
//
// Grids of 2 and 3: x the tiles of 128 x 128, y the parities or parts, z the groups.

#include "conv/products.cuh"
#include "product/multiply_fma.cuh"
#include "product/multiply_mma.cuh"

// ---------------------------------------------------------------------------
// 1: a thread per output

extern "C" __global__ void conv_fprop_1(Conv conv,
                                        const float* __restrict__ x,     // (N, H, W, C)
                                        const float* __restrict__ w,     // (K, R, S, C/groups)
                                        const float* __restrict__ bias,  // (K)
                                        float* __restrict__ y) {         // (N, P, Q, K)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size_t(conv.N) * conv.P * conv.Q * conv.K) return;
  const int k = i % conv.K, q = i / conv.K % conv.Q, p = i / conv.K / conv.Q % conv.P;
  const int n = i / conv.K / conv.Q / conv.P, group = k / conv.group_K;
  float sum = 0.0f;
  for (int r = 0; r < conv.R; r++) {
    for (int s = 0; s < conv.S; s++) {
      const int h = p * conv.stride - conv.pad + r, column = q * conv.stride - conv.pad + s;
      if (h < 0 || h >= conv.H || column < 0 || column >= conv.W) continue;
      const float* x_nhw = x + ((size_t(n) * conv.H + h) * conv.W + column) * conv.C + group * conv.group_C;
      const float* w_krs = w + ((size_t(k) * conv.R + r) * conv.S + s) * conv.group_C;
      for (int c = 0; c < conv.group_C; c++) sum += x_nhw[c] * w_krs[c];
    }
  }
  y[i] = conv.relu ? rectify(sum + bias[k]) : sum + bias[k];
}

extern "C" __global__ void conv_dgrad_1(Conv conv,
                                        const float* __restrict__ dy,  // (N, P, Q, K)
                                        const float* __restrict__ w,   // (K, R, S, C/groups)
                                        float* __restrict__ dx) {      // (N, H, W, C)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size_t(conv.N) * conv.H * conv.W * conv.C) return;
  const int c = i % conv.C, column = i / conv.C % conv.W, h = i / conv.C / conv.W % conv.H;
  const int n = i / conv.C / conv.W / conv.H, group = c / conv.group_C;
  float sum = 0.0f;
  for (int r = 0; r < conv.R; r++) {
    for (int s = 0; s < conv.S; s++) {
      const int pt = h + conv.pad - r, qt = column + conv.pad - s;
      if (pt < 0 || qt < 0 || pt % conv.stride || qt % conv.stride) continue;
      const int p = pt / conv.stride, q = qt / conv.stride;
      if (p >= conv.P || q >= conv.Q) continue;
      const float* dy_npq = dy + ((size_t(n) * conv.P + p) * conv.Q + q) * conv.K;
      for (int k = group * conv.group_K; k < (group + 1) * conv.group_K; k++) {
        sum += dy_npq[k] * w[((size_t(k) * conv.R + r) * conv.S + s) * conv.group_C + c % conv.group_C];
      }
    }
  }
  dx[i] = sum;
}

extern "C" __global__ void conv_wgrad_1(Conv conv,
                                        const float* __restrict__ x,   // (N, H, W, C)
                                        const float* __restrict__ dy,  // (N, P, Q, K)
                                        float* __restrict__ dw,        // (K, R, S, C/groups)
                                        float* __restrict__ dbias) {   // (K)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const size_t weights = size_t(conv.K) * conv.R * conv.S * conv.group_C;
  if (i >= weights + conv.K) return;
  const bool of_bias = i >= weights;
  const int c = i % conv.group_C, s = i / conv.group_C % conv.S, r = i / conv.group_C / conv.S % conv.R;
  const int k = of_bias ? i - weights : i / conv.group_C / conv.S / conv.R;
  float sum = 0.0f;
  for (int n = 0; n < conv.N; n++) {
    for (int p = 0; p < conv.P; p++) {
      for (int q = 0; q < conv.Q; q++) {
        const float g = dy[((size_t(n) * conv.P + p) * conv.Q + q) * conv.K + k];
        const int h = p * conv.stride - conv.pad + r, column = q * conv.stride - conv.pad + s;
        if (of_bias) {
          sum += g;
        } else if (h >= 0 && h < conv.H && column >= 0 && column < conv.W) {
          const int channel = k / conv.group_K * conv.group_C + c;
          sum += g * x[((size_t(n) * conv.H + h) * conv.W + column) * conv.C + channel];
        }
      }
    }
  }
  (of_bias ? dbias[k] : dw[i]) = sum;
}

// ---------------------------------------------------------------------------
// 2 and 3: implicit matrix products (kernels/include/product)

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) conv_fprop_2_f32(
    Conv conv,
    const float* __restrict__ x,     // (N, H, W, C)
    const float* __restrict__ w,     // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    float* __restrict__ y) {         // (N, P, Q, K)
  conv_fprop<Tiled<Fma>>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) conv_dgrad_2_f32(
    Conv conv,
    const float* __restrict__ dy,  // (N, P, Q, K)
    const float* __restrict__ w,   // (K, R, S, C/groups)
    float* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Tiled<Fma>>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) conv_wgrad_2_f32(
    Conv conv,
    const float* __restrict__ x,   // (N, H, W, C)
    const float* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,        // (K, R, S, C/groups)
    float* __restrict__ dbias,     // (K)
    float* __restrict__ sums) {    // (splits, split_pitch): dw, then dbias
  conv_wgrad<Tiled<Fma>>(conv, x, dy, dw, dbias, sums);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) conv_fprop_3_tf32(
    Conv conv,
    const float* __restrict__ x,     // (N, H, W, C)
    const float* __restrict__ w,     // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    float* __restrict__ y) {         // (N, P, Q, K)
  conv_fprop<Tiled<Mma<float>>>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) conv_dgrad_3_tf32(
    Conv conv,
    const float* __restrict__ dy,  // (N, P, Q, K)
    const float* __restrict__ w,   // (K, R, S, C/groups)
    float* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Tiled<Mma<float>>>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) conv_wgrad_3_tf32(
    Conv conv,
    const float* __restrict__ x,   // (N, H, W, C)
    const float* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,        // (K, R, S, C/groups)
    float* __restrict__ dbias,     // (K)
    float* __restrict__ sums) {    // (splits, split_pitch): dw, then dbias
  conv_wgrad<Tiled<Mma<float>>>(conv, x, dy, dw, dbias, sums);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) conv_fprop_3_bf16(
    Conv conv,
    const bf16* __restrict__ x,      // (N, H, W, C)
    const bf16* __restrict__ w,      // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    bf16* __restrict__ y) {          // (N, P, Q, K)
  conv_fprop<Tiled<Mma<bf16>>>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) conv_dgrad_3_bf16(
    Conv conv,
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    const bf16* __restrict__ w,   // (K, R, S, C/groups)
    bf16* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Tiled<Mma<bf16>>>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) conv_wgrad_3_bf16(
    Conv conv,
    const bf16* __restrict__ x,   // (N, H, W, C)
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,       // (K, R, S, C/groups)
    float* __restrict__ dbias,    // (K)
    float* __restrict__ sums) {   // (splits, split_pitch): dw, then dbias
  conv_wgrad<Tiled<Mma<bf16>>>(conv, x, dy, dw, dbias, sums);
}

// dw and dbias from the parts, in order: the same bits every time. Of a padded tap, its channels.
extern "C" __global__ void conv_wgrad_sum_2(Conv conv,
                                            const float* __restrict__ sums,  // (splits, split_pitch): dw, then dbias
                                            float* __restrict__ dw,          // (K, R, S, filter_C)
                                            float* __restrict__ dbias) {     // (K)
  const int i = blockIdx.x * blockDim.x + threadIdx.x, taps = conv.K * conv.R * conv.S;
  const int weights = taps * conv.filter_C;
  if (i >= weights + conv.K) return;
  const int tap = i / conv.filter_C, c = i - tap * conv.filter_C;
  sums += i < weights ? tap * conv.group_C + c : taps * conv.group_C + i - weights;
  float sum = 0.0f;
// Loads in flight: conv1 has some 56 blocks and hundreds of parts, so they alone hide the waits.
#pragma unroll 16
  for (int split = 0; split < conv.splits; split++) sum += sums[size_t(split) * conv.split_pitch];
  (i < weights ? dw[i] : dbias[i - weights]) = sum;
}

// ---------------------------------------------------------------------------
// Filters for images of padded pixels

// Zeros behind the channels of each tap, and from one filter to the next up to a multiple of 16 bytes.
template <class T>
__device__ __forceinline__ void conv_pad_filters(const Conv& conv, const T* __restrict__ w, T* __restrict__ padded) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= conv.K * conv.filter_pitch) return;
  const int k = i / conv.filter_pitch, element = i % conv.filter_pitch;
  const int tap = element / conv.C, c = element % conv.C, taps = conv.R * conv.S;
  const bool there = tap < taps && c < conv.filter_C;
  padded[i] = there ? w[(k * taps + tap) * conv.filter_C + c] : from_f32<T>(0.0f);
}

extern "C" __global__ void conv_pad_filters_1_f32(Conv conv,
                                                  const float* __restrict__ w,     // (K, R, S, filter_C)
                                                  float* __restrict__ padded) {    // (K, filter_pitch)
  conv_pad_filters(conv, w, padded);
}

extern "C" __global__ void conv_pad_filters_1_bf16(Conv conv,
                                                   const bf16* __restrict__ w,     // (K, R, S, filter_C)
                                                   bf16* __restrict__ padded) {    // (K, filter_pitch)
  conv_pad_filters(conv, w, padded);
}
