// Products of a warpgroup: 128 threads, both operands in shared memory (sm_90a).
// Twin: kernels/emulator/wgmma.cuh.
//
// The sums are (64, N) f32: with w = thread / 32 % 4, g = lane / 4 and t = lane % 4, a thread holds
//   c[4j], c[4j + 1]:      row 16w + g,      columns 8j + 2t, 8j + 2t + 1
//   c[4j + 2], c[4j + 3]:  row 16w + g + 8,  the same columns
//
// Products run while the thread goes on. Between wgmma_fence and wgmma_wait nobody touches the sums,
// and until the wait nobody writes what is multiplied.
#pragma once

#include "tensor_map.cuh"

template <int N>
struct WgmmaSums {
  float c[N / 2] = {};
};

// Where an operand lies: in rows of 128 bytes, whose 16 bytes number i of row r lie at i ^ (r % 8), from
// an address that is a multiple of 1024 on; or in rows of 64 bytes, i ^ (r / 2 % 4), from a multiple of 512.
struct wgmma_operand {
  unsigned long long bits;

  // `bytes` further: 32 are the depths of a product along the rows.
  __device__ __forceinline__ wgmma_operand at(int bytes) const { return {bits + (unsigned(bytes) >> 4)}; }
};

__device__ __forceinline__ wgmma_operand wgmma_rows(const void* tile, unsigned next_block, unsigned row_bytes) {
  const unsigned long long address = static_cast<unsigned>(__cvta_generic_to_shared(tile));
  // Address, from one block of lines to the next, from one group of 8 rows to the next, all in 16 bytes;
  // the swizzle, 1 for 128 bytes and 2 for 64.
  return {(address & 0x3ffff) >> 4 | static_cast<unsigned long long>(next_block >> 4) << 16 |
          static_cast<unsigned long long>(8 * row_bytes >> 4) << 32 |
          static_cast<unsigned long long>(row_bytes == 128 ? 1 : 2) << 62};
}

// Rows are lines of 64 or 128 bytes of depth.
__device__ __forceinline__ wgmma_operand wgmma_along(const void* tile, int row_bytes = 128) {
  return wgmma_rows(tile, 16, row_bytes);
}
// Rows are depths, 32 or 64 lines of bf16 each; the next lines follow after `block` bytes.
__device__ __forceinline__ wgmma_operand wgmma_across(const void* tile, int block, int row_bytes = 128) {
  return wgmma_rows(tile, block, row_bytes);
}

// Keeps the compiler from touching the sums across this place.
template <int N>
__device__ __forceinline__ void wgmma_pin(WgmmaSums<N>& sums) {
#pragma unroll
  for (int i = 0; i < N / 2; i++) asm volatile("" : "+f"(sums.c[i])::"memory");
}

// Before the first product, and after the sums were touched.
template <int N>
__device__ __forceinline__ void wgmma_fence(WgmmaSums<N>& sums) {
  wgmma_pin(sums);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Closes a group: the products since the last one.
template <int N>
__device__ __forceinline__ void wgmma_commit(WgmmaSums<N>&) {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most the `groups` newest groups run.
template <int groups, int N>
__device__ __forceinline__ void wgmma_wait(WgmmaSums<N>& sums) {
  wgmma_pin(sums);
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups) : "memory");
  wgmma_pin(sums);
}

// The block's threads share its registers out anew: a warpgroup gives back all but n a thread, or
// takes as many as make n. Multiples of 8.
template <int n>
__device__ __forceinline__ void registers_release() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}
template <int n>
__device__ __forceinline__ void registers_claim() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}

// wgmma_k16_bf16<a_across, b_across>(sums, a, b): sums += a b for a (64, 16) and b (16, N) in bf16,
// N = 96, 128, 192 or 256. The sums were 0 or are added to; `across` says whose rows are depths.
// wgmma_k8_tf32(sums, a, b): the same for (64, 8) and (8, N) in tf32, whose rows are lines.
// clang-format off
#define ZFNET_SUMS_0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define ZFNET_SUMS_1 ZFNET_SUMS_0 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define ZFNET_SUMS_2 ZFNET_SUMS_1 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define ZFNET_SUMS_3 ZFNET_SUMS_2 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define ZFNET_SUMS_4 ZFNET_SUMS_3 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define ZFNET_SUMS_5 ZFNET_SUMS_4 ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define ZFNET_SUMS_6 ZFNET_SUMS_5 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define ZFNET_SUMS_7 ZFNET_SUMS_6 ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define ZFNET_OUT_4(i) "+f"(sums.c[i]), "+f"(sums.c[i + 1]), "+f"(sums.c[i + 2]), "+f"(sums.c[i + 3])
#define ZFNET_OUT_16(i) ZFNET_OUT_4(i), ZFNET_OUT_4(i + 4), ZFNET_OUT_4(i + 8), ZFNET_OUT_4(i + 12)
#define ZFNET_OUT_48 ZFNET_OUT_16(0), ZFNET_OUT_16(16), ZFNET_OUT_16(32)
#define ZFNET_OUT_64 ZFNET_OUT_48, ZFNET_OUT_16(48)
#define ZFNET_OUT_96 ZFNET_OUT_64, ZFNET_OUT_16(64), ZFNET_OUT_16(80)
#define ZFNET_OUT_128 ZFNET_OUT_96, ZFNET_OUT_16(96), ZFNET_OUT_16(112)
// The sums' numbers in the text, then those of a, b, and whether each is across.
#define ZFNET_WGMMA(n, SUMS, OUT, a, b, ta, tb)                                                            \
  template <bool a_across, bool b_across>                                                                  \
  __device__ __forceinline__ void wgmma_k16_bf16(WgmmaSums<n>& sums, wgmma_operand left, wgmma_operand right) { \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" SUMS "}, "                   \
                 "%" #a ", %" #b ", 1, 1, 1, %" #ta ", %" #tb ";"                                          \
                 : OUT                                                                                     \
                 : "l"(left.bits), "l"(right.bits), "n"(int(a_across)), "n"(int(b_across)));               \
  }                                                                                                        \
  __device__ __forceinline__ void wgmma_k8_tf32(WgmmaSums<n>& sums, wgmma_operand left, wgmma_operand right) { \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k8.f32.tf32.tf32 {" SUMS "}, "                    \
                 "%" #a ", %" #b ", 1, 1, 1;"                                                              \
                 : OUT                                                                                     \
                 : "l"(left.bits), "l"(right.bits));                                                       \
  }
ZFNET_WGMMA(96, ZFNET_SUMS_2, ZFNET_OUT_48, 48, 49, 50, 51)
ZFNET_WGMMA(128, ZFNET_SUMS_3, ZFNET_OUT_64, 64, 65, 66, 67)
ZFNET_WGMMA(192, ZFNET_SUMS_5, ZFNET_OUT_96, 96, 97, 98, 99)
ZFNET_WGMMA(256, ZFNET_SUMS_7, ZFNET_OUT_128, 128, 129, 130, 131)
#undef ZFNET_WGMMA
#undef ZFNET_OUT_128
#undef ZFNET_OUT_96
#undef ZFNET_OUT_64
#undef ZFNET_OUT_48
#undef ZFNET_OUT_16
#undef ZFNET_OUT_4
#undef ZFNET_SUMS_7
#undef ZFNET_SUMS_6
#undef ZFNET_SUMS_5
#undef ZFNET_SUMS_4
#undef ZFNET_SUMS_3
#undef ZFNET_SUMS_2
#undef ZFNET_SUMS_1
#undef ZFNET_SUMS_0
// clang-format on
