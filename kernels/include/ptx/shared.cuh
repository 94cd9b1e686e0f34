// Shared memory and barriers of a part of a block. Twin: kernels/emulator/shared.cuh.
#pragma once

// The block's shared memory laid out as T, a struct of arrays that starts unwritten.
// The same T names the same memory; its size is known when the kernel is compiled.
template <class T>
__device__ __forceinline__ T& shared() {
  __shared__ __align__(128) unsigned char storage[sizeof(T)];
  return *reinterpret_cast<T*>(storage);
}

// The memory whose size the launch gives; at most 227 KiB on Hopper, 163 KiB on Ampere's A100.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char dynamic_storage[];
  return reinterpret_cast<T*>(dynamic_storage);
}

// A barrier of `threads` threads of the block, whole warps; id 1 to 15 (__syncthreads is 0).
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
