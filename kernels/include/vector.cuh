// Values side by side, moved 16 bytes an instruction.
#pragma once

#include "numbers.cuh"

template <class T, int n>
struct alignas(n * sizeof(T) < 16 ? n * sizeof(T) : 16) Vector {
  T v[n];
};

// Elements of T in 16 bytes.
template <class T>
constexpr int kVector = 16 / sizeof(T);

// Both take a pointer aligned as the vector is.
template <int n, class T>
__device__ __forceinline__ Vector<T, n> load(const T* from) {
  return *reinterpret_cast<const Vector<T, n>*>(from);
}

template <int n, class T>
__device__ __forceinline__ void store(T* to, const Vector<T, n>& vector) {
  *reinterpret_cast<Vector<T, n>*>(to) = vector;
}

// Each rounded to the nearest T.
template <class T, int n>
__device__ __forceinline__ Vector<T, n> from_f32(const Vector<float, n>& vector) {
  Vector<T, n> rounded;
#pragma unroll
  for (int j = 0; j < n; j++) rounded.v[j] = from_f32<T>(vector.v[j]);
  return rounded;
}
