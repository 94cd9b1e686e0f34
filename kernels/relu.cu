// ReLU on the way down, in place: src/ops/relu/mod.rs has the three rules.
//
//   signal[i] = 0 where y[i] <= 0 (gradient, guided) or signal[i] <= 0 (deconvnet, guided)
//
// Not where it fails to be > 0: a NaN travels on to where somebody looks for it. y is read only by the
// rules that ask for it.
//
//   relu_backward_1  a thread per element
//   relu_backward_2  16 bytes a thread; _f32, _bf16

#include "geometry/relu.cuh"
#include "numbers.cuh"
#include "vector.cuh"

// ---------------------------------------------------------------------------
// 1: a thread per element

extern "C" __global__ void relu_backward_1(Relu relu,
                                           const float* __restrict__ y,   // (len)
                                           float* __restrict__ signal) {  // (len)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= relu.len) return;
  if ((relu.by_output && y[i] <= 0.0f) || (relu.by_signal && signal[i] <= 0.0f)) signal[i] = 0.0f;
}

// ---------------------------------------------------------------------------
// 2: n elements a thread

template <int n, class T>
__device__ __forceinline__ void stop(const Relu& relu, const T* __restrict__ y, T* __restrict__ signal) {
  Vector<T, n> passed = load<n>(signal);
  if (relu.by_signal) {
#pragma unroll
    for (int j = 0; j < n; j++) {
      if (to_f32(passed.v[j]) <= 0.0f) passed.v[j] = from_f32<T>(0.0f);
    }
  }
  if (relu.by_output) {
    const Vector<T, n> output = load<n>(y);
#pragma unroll
    for (int j = 0; j < n; j++) {
      if (to_f32(output.v[j]) <= 0.0f) passed.v[j] = from_f32<T>(0.0f);
    }
  }
  store(signal, passed);
}

template <class T>
__device__ __forceinline__ void relu_backward_2(const Relu& relu, const T* __restrict__ y, T* __restrict__ signal) {
  constexpr int n = kVector<T>;
  const size_t first = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * n;
  if (first + n <= relu.len) {
    stop<n>(relu, y + first, signal + first);
  } else {  // The last elements, or none.
    for (size_t i = first; i < relu.len; i++) stop<1>(relu, y + i, signal + i);
  }
}

extern "C" __global__ void relu_backward_2_f32(Relu relu,
                                               const float* __restrict__ y,   // (len)
                                               float* __restrict__ signal) {  // (len)
  relu_backward_2(relu, y, signal);
}

extern "C" __global__ void relu_backward_2_bf16(Relu relu,
                                                const bf16* __restrict__ y,   // (len)
                                                bf16* __restrict__ signal) {  // (len)
  relu_backward_2(relu, y, signal);
}
