// Copies from global to shared memory that run while the thread computes (sm_80).
// Twin: kernels/emulator/cp_async.cuh.
//
// A copy is seen by its own thread after a wait, by the block after a barrier as well.
#pragma once

#include "mbarrier.cuh"

// Copies `bytes` = 4, 8 or 16 bytes, or writes that many zeros and reads nothing if not `valid`.
// Both addresses are multiples of `bytes`.
template <int bytes>
__device__ __forceinline__ void cp_async(void* shared, const void* global, bool valid = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async moves 4, 8 or 16 bytes");
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  const int read = valid ? bytes : 0;
  if constexpr (bytes == 16) {  // Past L1: no other thread of the multiprocessor reads these bytes.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(read) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(global), "n"(bytes), "r"(read)
                 : "memory");
  }
}

// Closes a group: this thread's copies since the last one.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most the `groups` newest groups are under way.
template <int groups>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

// Arrives at the barrier once all copies that this thread has issued are there.
__device__ __forceinline__ void cp_async_arrive(mbarrier& barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(mbarrier_address(barrier)) : "memory");
}
