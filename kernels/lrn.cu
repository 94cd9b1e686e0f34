// Local response normalisation across channels: src/ops/lrn/mod.rs has the derivation.
//
//   s[c] = k + scale sum_{j in N(c)} a[j]^2,  N(c) = c - below ..= c + above, clipped to 0..C
//   b[c] = a[c] s[c]^-beta
//   da[i] = db[i] s[i]^-beta - 2 scale beta a[i] sum_{j in M(i)} db[j] b[j] / s[j]
//   M(i) = i - above ..= i + below, clipped: the windows that hold i
//
// A row is one pixel's C channels; rows = N H W.
//
//   lrn_forward_1, lrn_backward_1   a thread per element; each neighbour's s afresh in backward, n^2 loads
//   lrn_forward_2, lrn_backward_2   a warp per row; the row and its terms in shared memory, one load and one
//                                   power each; _f32, _bf16

#include "lrn.cuh"
#include "numbers.cuh"
#include "shared.cuh"

// ---------------------------------------------------------------------------
// 1: a thread per element

extern "C" __global__ void lrn_forward_1(Lrn lrn,
                                         const float* __restrict__ a,  // (rows, C)
                                         float* __restrict__ b) {      // (rows, C)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size_t(lrn.rows) * lrn.C) return;
  const int c = i % lrn.C;
  b[i] = a[i] * power(normaliser(lrn, a + i - c, c), lrn.beta);
}

extern "C" __global__ void lrn_backward_1(Lrn lrn,
                                          const float* __restrict__ a,   // (rows, C)
                                          const float* __restrict__ db,  // (rows, C)
                                          float* __restrict__ da) {      // (rows, C)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size_t(lrn.rows) * lrn.C) return;
  const int c = i % lrn.C;
  const float* a_row = a + i - c;
  const float* db_row = db + i - c;
  float sum = 0.0f;
  for (int j = max(c - lrn.above, 0); j <= min(c + lrn.below, lrn.C - 1); j++) {
    const float s = normaliser(lrn, a_row, j);
    sum += db_row[j] * a_row[j] * power(s, lrn.beta) / s;
  }
  const float direct = db[i] * power(normaliser(lrn, a_row, c), lrn.beta);
  da[i] = direct - 2.0f * lrn.scale * lrn.beta * a[i] * sum;
}

// ---------------------------------------------------------------------------
// 2: like 1, but a warp per row, which it reads once

// Dynamic shared memory: lrn_forward_2 one row a warp, lrn_backward_2 three.

template <class T>
__device__ __forceinline__ void lrn_forward_2(const Lrn& lrn, const T* __restrict__ a, T* __restrict__ b) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row = blockIdx.x * (blockDim.x / 32) + warp;
  if (row >= lrn.rows) return;  // the whole warp
  const size_t first = size_t(row) * lrn.C;
  float* a_row = dynamic_shared<float>() + warp * lrn.C;
  for (int c = lane; c < lrn.C; c += 32) a_row[c] = to_f32(a[first + c]);
  __syncwarp();
  lrn_forward_row(lrn, a_row, b + first);
}

template <class T>
__device__ __forceinline__ void lrn_backward_2(const Lrn& lrn, const T* __restrict__ a, const T* __restrict__ db,
                                               T* __restrict__ da) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row = blockIdx.x * (blockDim.x / 32) + warp;
  if (row >= lrn.rows) return;
  const size_t first = size_t(row) * lrn.C;
  float* a_row = dynamic_shared<float>() + warp * 3 * lrn.C;
  for (int c = lane; c < lrn.C; c += 32) a_row[c] = to_f32(a[first + c]);
  __syncwarp();
  lrn_backward_row(lrn, a_row, db + first, da + first, a_row + lrn.C);
}

extern "C" __global__ void lrn_forward_2_f32(Lrn lrn,
                                             const float* __restrict__ a,  // (rows, C)
                                             float* __restrict__ b) {      // (rows, C)
  lrn_forward_2(lrn, a, b);
}

extern "C" __global__ void lrn_forward_2_bf16(Lrn lrn,
                                              const bf16* __restrict__ a,  // (rows, C)
                                              bf16* __restrict__ b) {      // (rows, C)
  lrn_forward_2(lrn, a, b);
}

extern "C" __global__ void lrn_backward_2_f32(Lrn lrn,
                                              const float* __restrict__ a,   // (rows, C)
                                              const float* __restrict__ db,  // (rows, C)
                                              float* __restrict__ da) {      // (rows, C)
  lrn_backward_2(lrn, a, db, da);
}

extern "C" __global__ void lrn_backward_2_bf16(Lrn lrn,
                                               const bf16* __restrict__ a,   // (rows, C)
                                               const bf16* __restrict__ db,  // (rows, C)
                                               bf16* __restrict__ da) {      // (rows, C)
  lrn_backward_2(lrn, a, db, da);
}
