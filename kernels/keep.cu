// What a projection starts from, as src/ops/keep/mod.rs says.
//
//   signal[n,p,q,k] = y[n,p,q,k] where (p, q, k) matches unit n, 0 elsewhere; -1 matches all
//
//   keep_1  a thread per element
//   keep_2  a block per position (n, p, q), which reads y only where its position matches; _f32, _bf16

#include "geometry/keep.cuh"
#include "numbers.cuh"

// ---------------------------------------------------------------------------
// Helpers

__device__ __forceinline__ bool matches(int unit, int i) { return unit == -1 || unit == i; }

// ---------------------------------------------------------------------------
// 1: a thread per element

extern "C" __global__ void keep_1(Keep keep,
                                  const float* __restrict__ y,    // (N, P, Q, K)
                                  const int* __restrict__ units,  // (N, 3): p, q, k
                                  float* __restrict__ signal) {   // (N, P, Q, K)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const size_t image = size_t(keep.P) * keep.Q * keep.K;
  if (i >= image * keep.N) return;
  const int k = i % keep.K, q = i / keep.K % keep.Q, p = i / keep.K / keep.Q % keep.P;
  const int* unit = units + 3 * (i / image);
  const bool kept = matches(unit[0], p) && matches(unit[1], q) && matches(unit[2], k);
  signal[i] = kept ? y[i] : 0.0f;
}

// ---------------------------------------------------------------------------
// 2: a block per position

template <class T>
__device__ __forceinline__ void keep_2(const Keep& keep, const T* __restrict__ y, const int* __restrict__ units,
                                       T* __restrict__ signal) {
  const int q = blockIdx.x % keep.Q, p = blockIdx.x / keep.Q % keep.P;
  const int* unit = units + 3 * size_t(blockIdx.x / keep.Q / keep.P);
  const bool here = matches(unit[0], p) && matches(unit[1], q);
  const size_t first = size_t(blockIdx.x) * keep.K;
  for (int k = threadIdx.x; k < keep.K; k += blockDim.x) {
    signal[first + k] = here && matches(unit[2], k) ? y[first + k] : from_f32<T>(0.0f);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    keep_2_f32(Keep keep,
               const float* __restrict__ y,    // (N, P, Q, K)
               const int* __restrict__ units,  // (N, 3): p, q, k
               float* __restrict__ signal) {   // (N, P, Q, K)
  keep_2(keep, y, units, signal);
}

extern "C" __global__ void __launch_bounds__(256)
    keep_2_bf16(Keep keep,
                const bf16* __restrict__ y,     // (N, P, Q, K)
                const int* __restrict__ units,  // (N, 3): p, q, k
                bf16* __restrict__ signal) {    // (N, P, Q, K)
  keep_2(keep, y, units, signal);
}
