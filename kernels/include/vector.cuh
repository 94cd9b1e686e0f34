// Values side by side that one instruction moves, 16 bytes at most.
#pragma once

template <class T, int n>
struct alignas(n * sizeof(T)) Vector {
  static_assert(n * sizeof(T) <= 16, "a thread moves at most 16 bytes at once");
  T v[n];
};

// Elements of T in 16 bytes.
template <class T>
constexpr int kVector = 16 / sizeof(T);

// Both take a pointer aligned to the whole vector.
template <int n, class T>
__device__ __forceinline__ Vector<T, n> load(const T* from) {
  return *reinterpret_cast<const Vector<T, n>*>(from);
}

template <int n, class T>
__device__ __forceinline__ void store(T* to, const Vector<T, n>& vector) {
  *reinterpret_cast<Vector<T, n>*>(to) = vector;
}
