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
//
// Grids of 2 and 3: x the tiles of 128 x 128, y the parities or parts, z the groups.

#include "conv/gather.cuh"
#include "product/matrix.cuh"
#include "product/multiply_fma.cuh"
#include "product/multiply_mma.cuh"
#include "product/product.cuh"

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

template <class Core, class T>
__device__ __forceinline__ void conv_fprop(const Conv& conv, const T* __restrict__ x, const T* __restrict__ w,
                                           const float* __restrict__ bias, T* __restrict__ y) {
  const int group = blockIdx.z, k0 = group * conv.group_K;
  const int pixels = conv.N * conv.by_PQ.value, depths = conv.R * conv.by_SC.value;
  const bool wide = conv.group_C % kVector<T> == 0;
  const FpropImage<T> a{conv, pixels, depths, x + group * conv.group_C, wide};
  const Matrix<T, false> b{w + size_t(k0) * depths, conv.group_K, depths, depths, depths % kVector<T> == 0};
  const Corner at = corner(conv.group_K);
  const Results& results = product<Core>(a, b, at, 0, (depths + kDepth<T> - 1) / kDepth<T>, Ignore());
  store<Core, T>(results, at, conv.group_K, conv.group_K % kVector<T> == 0, {bias + k0, conv.relu != 0}, [&](int row) {
    return row < pixels ? y + size_t(row) * conv.K + k0 : nullptr;
  });
}

template <class Core, class T>
__device__ __forceinline__ void conv_dgrad(const Conv& conv, const T* __restrict__ dy, const T* __restrict__ w,
                                           T* __restrict__ dx) {
  const int group = blockIdx.z, k0 = group * conv.group_K, c0 = group * conv.group_C;
  const Parities parity(conv, blockIdx.y);
  const int pixels = conv.N * conv.by_parity_HW.value, depths = parity.depths(conv);
  const bool wide = conv.group_C % kVector<T> == 0;
  const DgradImage<T> a{conv, parity, pixels, depths, dy + k0, conv.group_K % kVector<T> == 0};
  const DgradFilter<T> b{conv, parity, conv.group_C, depths, w + size_t(k0) * conv.R * conv.by_SC.value, wide};
  const Corner at = corner(conv.group_C);
  // Without a tap there is no step, and dx is 0.
  const int steps = (depths + kDepth<T> - 1) / kDepth<T>;
  const Results& results = product<Core>(a, b, at, 0, steps, Ignore());
  store<Core, T>(results, at, conv.group_C, wide, {nullptr, false}, [&](int row) -> T* {
    if (row >= pixels) return nullptr;
    const ParityRow index = parity_row(conv, row);
    const int h = parity.h.first + index.i * conv.stride, column = parity.w.first + index.j * conv.stride;
    if (h >= conv.H || column >= conv.W) return nullptr;
    return dx + ((size_t(index.n) * conv.H + h) * conv.W + column) * conv.C + c0;
  });
}

template <class Core, class T>
__device__ __forceinline__ void conv_wgrad(const Conv& conv, const T* __restrict__ x, const T* __restrict__ dy,
                                           float* __restrict__ dw, float* __restrict__ dbias,
                                           float* __restrict__ sums) {
  const int group = blockIdx.z, split = blockIdx.y, k0 = group * conv.group_K, columns = conv.R * conv.by_SC.value;
  const int pixels = conv.N * conv.by_PQ.value;
  const Matrix<T, true> a{dy + k0, conv.group_K, pixels, conv.K, conv.group_K % kVector<T> == 0};
  const WgradImage<T> b{conv, columns, pixels, x + group * conv.group_C, conv.group_C % kVector<T> == 0};
  const Corner at = corner(columns);
  const int step0 = split * conv.split_steps, all = (pixels + kDepth<T> - 1) / kDepth<T>;
  const int steps = min(conv.split_steps, all - step0);
  if (conv.splits > 1) {
    dw = sums + size_t(split) * conv.split_pitch;
    dbias = dw + size_t(conv.K) * columns;
  }
  LineSum<T> sum{at.column == 0};
  const Results& results = product<Core>(a, b, at, step0 * kDepth<T>, steps, sum);
  store<Core, float>(results, at, columns, columns % kVector<float> == 0, {nullptr, false}, [&](int row) {
    return row < conv.group_K ? dw + size_t(k0 + row) * columns : nullptr;
  });
  sum.store(dbias + k0, at.row, conv.group_K);
}

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) conv_fprop_2_f32(
    Conv conv,
    const float* __restrict__ x,     // (N, H, W, C)
    const float* __restrict__ w,     // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    float* __restrict__ y) {         // (N, P, Q, K)
  conv_fprop<Fma>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) conv_dgrad_2_f32(
    Conv conv,
    const float* __restrict__ dy,  // (N, P, Q, K)
    const float* __restrict__ w,   // (K, R, S, C/groups)
    float* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Fma>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) conv_wgrad_2_f32(
    Conv conv,
    const float* __restrict__ x,   // (N, H, W, C)
    const float* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,        // (K, R, S, C/groups)
    float* __restrict__ dbias,     // (K)
    float* __restrict__ sums) {    // (splits, split_pitch): dw, then dbias
  conv_wgrad<Fma>(conv, x, dy, dw, dbias, sums);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) conv_fprop_3_tf32(
    Conv conv,
    const float* __restrict__ x,     // (N, H, W, C)
    const float* __restrict__ w,     // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    float* __restrict__ y) {         // (N, P, Q, K)
  conv_fprop<Mma<float>>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) conv_dgrad_3_tf32(
    Conv conv,
    const float* __restrict__ dy,  // (N, P, Q, K)
    const float* __restrict__ w,   // (K, R, S, C/groups)
    float* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Mma<float>>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) conv_wgrad_3_tf32(
    Conv conv,
    const float* __restrict__ x,   // (N, H, W, C)
    const float* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,        // (K, R, S, C/groups)
    float* __restrict__ dbias,     // (K)
    float* __restrict__ sums) {    // (splits, split_pitch): dw, then dbias
  conv_wgrad<Mma<float>>(conv, x, dy, dw, dbias, sums);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) conv_fprop_3_bf16(
    Conv conv,
    const bf16* __restrict__ x,      // (N, H, W, C)
    const bf16* __restrict__ w,      // (K, R, S, C/groups)
    const float* __restrict__ bias,  // (K)
    bf16* __restrict__ y) {          // (N, P, Q, K)
  conv_fprop<Mma<bf16>>(conv, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) conv_dgrad_3_bf16(
    Conv conv,
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    const bf16* __restrict__ w,   // (K, R, S, C/groups)
    bf16* __restrict__ dx) {      // (N, H, W, C)
  conv_dgrad<Mma<bf16>>(conv, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) conv_wgrad_3_bf16(
    Conv conv,
    const bf16* __restrict__ x,   // (N, H, W, C)
    const bf16* __restrict__ dy,  // (N, P, Q, K)
    float* __restrict__ dw,       // (K, R, S, C/groups)
    float* __restrict__ dbias,    // (K)
    float* __restrict__ sums) {   // (splits, split_pitch): dw, then dbias
  conv_wgrad<Mma<bf16>>(conv, x, dy, dw, dbias, sums);
}

// dw and dbias from the parts, in order: the same bits every time.
extern "C" __global__ void conv_wgrad_sum_2(Conv conv,
                                            const float* __restrict__ sums,  // (splits, split_pitch): dw, then dbias
                                            float* __restrict__ dw,          // (K, R, S, C/groups)
                                            float* __restrict__ dbias) {     // (K)
  const int i = blockIdx.x * blockDim.x + threadIdx.x, weights = conv.K * conv.R * conv.by_SC.value;
  if (i >= weights + conv.K) return;
  float sum = 0.0f;
#pragma unroll 4
  for (int split = 0; split < conv.splits; split++) sum += sums[size_t(split) * conv.split_pitch + i];
  (i < weights ? dw[i] : dbias[i - weights]) = sum;
}
