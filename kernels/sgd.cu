// Gradient descent with momentum over all tensors in one launch, with the RMS clip of filters:
// src/ops/sgd/mod.rs has the formulas.
//
//   v <- mu v + (g + wd w),  w <- w - lr v,  then for a clipped filter of len weights
//   w <- w radius / rms  if  rms = sqrt(sum w^2 / len) > radius
//
// A block takes one entry of a table of segments that the host made once. The rates are read from memory, so
// that a launch that was recorded once runs with those of its step. The RMS is summed in f64 as on the CPU,
// for the same reason: a filter exactly at the radius keeps its bits.
//
//   sgd_step_1  a block per segment; f32 alone
//   sgd_step_2  like 1, but 16 bytes a load where the segment is aligned, squares summed on the way, and the
//               copy in bf16

#include "geometry/sgd.cuh"
#include "numbers.cuh"
#include "reduce.cuh"
#include "sgd.cuh"
#include "vector.cuh"

// ---------------------------------------------------------------------------
// Helpers

// What a filter is scaled by: 1 if it lies within the radius, or holds a NaN.
__device__ __forceinline__ double clip_factor(const SgdSegment& segment, double squares) {
  const double rms = sqrt(squares / segment.len);
  return rms > segment.radius ? segment.radius / rms : 1.0;
}

// ---------------------------------------------------------------------------
// 1: a block per segment

extern "C" __global__ void sgd_step_1(const SgdSegment* __restrict__ segments,  // (blocks)
                                      const Scalars* __restrict__ scalars) {    // (1)
  const SgdSegment segment = segments[blockIdx.x];
  const float decay = segment.decays ? scalars->weight_decay : 0.0f;
  for (int i = threadIdx.x; i < segment.len; i += blockDim.x) {
    descend(*scalars, decay, segment.g[i], segment.v[i], segment.w[i]);
  }
  if (segment.radius == INFINITY) return;
  __syncthreads();
  double squares = 0.0;
  for (int i = 0; i < segment.len; i++) squares += double(segment.w[i]) * segment.w[i];
  const double factor = clip_factor(segment, squares);
  __syncthreads();  // All have read what the next lines change.
  if (factor == 1.0) return;
  for (int i = threadIdx.x; i < segment.len; i += blockDim.x) segment.w[i] = segment.w[i] * factor;
}

// ---------------------------------------------------------------------------
// 2: n elements at once

// Updates elements i to i + n; the sum of their squares if the segment is clipped.
template <int n>
__device__ __forceinline__ double update(const SgdSegment& segment, const Scalars& scalars, float decay, int i) {
  const Vector<float, n> g = load<n>(segment.g + i);
  Vector<float, n> v = load<n>(segment.v + i), w = load<n>(segment.w + i);
  descend(scalars, decay, g, v, w);
  store(segment.v + i, v);
  store(segment.w + i, w);
  if (segment.copy != nullptr) store(segment.copy + i, from_f32<bf16>(w));
  double squares = 0.0;
  if (segment.radius < INFINITY) {
#pragma unroll
    for (int j = 0; j < n; j++) squares += double(w.v[j]) * w.v[j];
  }
  return squares;
}

extern "C" __global__ void __launch_bounds__(256)
    sgd_step_2(const SgdSegment* __restrict__ segments,  // (blocks)
               const Scalars* __restrict__ scalars) {    // (1)
  const SgdSegment segment = segments[blockIdx.x];
  const Scalars step = *scalars;
  const float decay = segment.decays ? step.weight_decay : 0.0f;
  // g, v and w start at the same element of buffers that are all aligned: one speaks for the others.
  const bool aligned = reinterpret_cast<size_t>(segment.w) % 16 == 0;
  const int vectors = aligned ? segment.len / 4 : 0;
  double squares = 0.0;
  for (int i = threadIdx.x; i < vectors; i += blockDim.x) squares += update<4>(segment, step, decay, 4 * i);
  for (int i = 4 * vectors + threadIdx.x; i < segment.len; i += blockDim.x) {
    squares += update<1>(segment, step, decay, i);
  }
  if (segment.radius == INFINITY) return;
  const double factor = clip_factor(segment, block_reduce(squares, Sum()));
  if (factor == 1.0) return;
  for (int i = threadIdx.x; i < segment.len; i += blockDim.x) {
    const float w = segment.w[i] * factor;
    segment.w[i] = w;
    if (segment.copy != nullptr) segment.copy[i] = from_f32<bf16>(w);
  }
}
