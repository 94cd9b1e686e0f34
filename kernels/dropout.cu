// Dropout in place, forward and backward alike: src/ops/dropout/mod.rs has the rule.
//
//   x[e] = x[e] scale where word(step, e) >= threshold, else 0
//
// Four elements share a block of random words. The step is read from memory, so that a launch that was
// recorded once draws a new mask each time.
//
//   dropout_apply_1  a thread per element, which keeps one word of its block
//   dropout_apply_2  a thread per block; _f32, _bf16

#include "geometry/dropout.cuh"
#include "geometry/scalars.cuh"
#include "numbers.cuh"
#include "vector.cuh"

// ---------------------------------------------------------------------------
// 1: a thread per element

extern "C" __global__ void dropout_apply_1(Dropout dropout,
                                           const Scalars* __restrict__ scalars,  // (1)
                                           float* __restrict__ x) {              // (len)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= dropout.len) return;
  const uint4 block = stream_block(dropout.stream, scalars->step, i / 4);
  const unsigned words[4] = {block.x, block.y, block.z, block.w};
  x[i] = words[i % 4] >= dropout.threshold ? x[i] * dropout.scale : 0.0f;
}

// ---------------------------------------------------------------------------
// 2: a thread per block of random words

template <class T>
__device__ __forceinline__ T kept(const Dropout& dropout, unsigned word, T x) {
  return from_f32<T>(word >= dropout.threshold ? to_f32(x) * dropout.scale : 0.0f);
}

template <class T>
__device__ __forceinline__ void dropout_apply_2(const Dropout& dropout, const Scalars* __restrict__ scalars,
                                                T* __restrict__ x) {
  const size_t block = size_t(blockIdx.x) * blockDim.x + threadIdx.x, first = 4 * block;
  if (first >= dropout.len) return;
  const uint4 drawn = stream_block(dropout.stream, scalars->step, block);
  const unsigned words[4] = {drawn.x, drawn.y, drawn.z, drawn.w};
  if (first + 4 <= dropout.len) {
    Vector<T, 4> values = load<4>(x + first);
#pragma unroll
    for (int j = 0; j < 4; j++) values.v[j] = kept(dropout, words[j], values.v[j]);
    store(x + first, values);
  } else {
#pragma unroll
    for (int j = 0; j < 3; j++) {
      if (first + j < dropout.len) x[first + j] = kept(dropout, words[j], x[first + j]);
    }
  }
}

extern "C" __global__ void dropout_apply_2_f32(Dropout dropout,
                                               const Scalars* __restrict__ scalars,  // (1)
                                               float* __restrict__ x) {              // (len)
  dropout_apply_2(dropout, scalars, x);
}

extern "C" __global__ void dropout_apply_2_bf16(Dropout dropout,
                                                const Scalars* __restrict__ scalars,  // (1)
                                                bf16* __restrict__ x) {               // (len)
  dropout_apply_2(dropout, scalars, x);
}
