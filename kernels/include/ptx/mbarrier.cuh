// Barriers in shared memory that threads and copies arrive at without waiting (sm_80).
// Twin: kernels/emulator/mbarrier.cuh.
//
// A phase completes when the last expected thread arrives; the next one begins at once.
// Phases are told apart by parity, 0 for the first.
#pragma once

struct __align__(8) mbarrier {
  unsigned long long state;
};

__device__ __forceinline__ unsigned mbarrier_address(mbarrier& barrier) {
  return static_cast<unsigned>(__cvta_generic_to_shared(&barrier));
}

// One thread, before a __syncthreads: each phase takes `arrivals` arrivals.
__device__ __forceinline__ void mbarrier_init(mbarrier& barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(mbarrier_address(barrier)), "r"(arrivals) : "memory");
}

// What this thread wrote before is seen by those whom the phase lets go.
__device__ __forceinline__ void mbarrier_arrive(mbarrier& barrier) {
  asm volatile("{\n.reg .b64 phase;\nmbarrier.arrive.shared.b64 phase, [%0];\n}" ::"r"(mbarrier_address(barrier))
               : "memory");
}

// The same, and the phase takes `bytes` of bulk copies (tensor_map.cuh) as well (sm_90).
__device__ __forceinline__ void mbarrier_arrive_expecting(mbarrier& barrier, unsigned bytes) {
  asm volatile("{\n.reg .b64 phase;\nmbarrier.arrive.expect_tx.shared.b64 phase, [%0], %1;\n}" ::"r"(
                   mbarrier_address(barrier)),
               "r"(bytes)
               : "memory");
}

// Waits until the phase of this parity is complete.
__device__ __forceinline__ void mbarrier_wait(mbarrier& barrier, unsigned parity) {
  unsigned complete;
  do {
    asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(complete)
                 : "r"(mbarrier_address(barrier)), "r"(parity)
                 : "memory");
  } while (!complete);
}
