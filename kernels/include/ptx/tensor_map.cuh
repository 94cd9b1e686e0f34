// Copies of whole boxes of an array by one thread (TMA, sm_90), while all threads go on.
// Twin: kernels/emulator/tensor_map.cuh.
//
// A map comes as a parameter `const __grid_constant__ tensor_map`; src/device/tensor_map.rs says what it
// knows. Coordinates begin with the innermost. In shared memory a box is rows of 64 or 128 bytes, whose
// 16 bytes number i of row r lie at i ^ (r / 2 % 4) or i ^ (r % 8): it begins at a multiple of 512 or 1024.
#pragma once

#include "mbarrier.cuh"

struct __align__(64) tensor_map {
  unsigned long long opaque[16];
};

__device__ __forceinline__ unsigned tensor_shared(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// A box whose corner has these coordinates; 0 outside the array. All its bytes count at the barrier, which
// is told to expect them.
__device__ __forceinline__ void tensor_load(void* to, const tensor_map& map, int c0, int c1, int c2,
                                            mbarrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(
          tensor_shared(to)),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(mbarrier_address(barrier))
      : "memory");
}
__device__ __forceinline__ void tensor_load(void* to, const tensor_map& map, int c0, int c1, int c2, int c3,
                                            mbarrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(
          tensor_shared(to)),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(mbarrier_address(barrier))
      : "memory");
}

// Pixels from (w, h) of image n on, their channels from c on, all shifted by (s, r), 0 to 255 each.
__device__ __forceinline__ void tensor_load_pixels(void* to, const tensor_map& map, int c, int w, int h, int n,
                                                   int s, int r, mbarrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(tensor_shared(to)),
      "l"(&map), "r"(c), "r"(w), "r"(h), "r"(n), "r"(mbarrier_address(barrier)), "h"(static_cast<unsigned short>(s)),
      "h"(static_cast<unsigned short>(r))
      : "memory");
}

// Writes a box; what lies outside the array is left out. What was written to `from` before a fence_async
// is there.
__device__ __forceinline__ void tensor_store(const tensor_map& map, const void* from, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(&map),
               "r"(tensor_shared(from)), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}

// Closes a group: this thread's stores since the last one.
__device__ __forceinline__ void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Waits until at most the `groups` newest groups still read shared memory.
template <int groups>
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(groups) : "memory");
}

// Barriers that this thread has made are there for bulk copies.
__device__ __forceinline__ void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// What this thread has seen and written in shared memory is there for bulk copies and products too.
__device__ __forceinline__ void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
