// CUDA's words for a C++ compiler: the part of nvcc's implicit headers that kernels
// here use. build.rs includes it before every kernel file.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "emulator.h"

// ---------------------------------------------------------------------------
// Qualifiers

#define __global__
#define __device__
#define __host__
#define __constant__ const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __grid_constant__
// All fibers of a block run on one thread. Such memory is neither guarded nor refilled
// between blocks: shared<T>() of shared.cuh is both.
#define __shared__ static thread_local

// ---------------------------------------------------------------------------
// Vectors

#define ZFNET_VECTOR(type, scalar)                                                              \
  struct __align__(2 * sizeof(scalar)) type##2 { scalar x, y; };                                \
  struct __align__(4 * sizeof(scalar)) type##4 { scalar x, y, z, w; };                          \
  inline type##2 make_##type##2(scalar x, scalar y) { return {x, y}; }                          \
  inline type##4 make_##type##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
ZFNET_VECTOR(float, float)
ZFNET_VECTOR(int, int)
ZFNET_VECTOR(uint, unsigned)
ZFNET_VECTOR(uchar, unsigned char)
#undef ZFNET_VECTOR

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

// ---------------------------------------------------------------------------
// Who a thread is

#define threadIdx (zfnet_emulator_identity()->thread)
#define blockIdx (zfnet_emulator_identity()->block)
#define blockDim (zfnet_emulator_identity()->block_size)
#define gridDim (zfnet_emulator_identity()->grid_size)
constexpr int warpSize = 32;

// ---------------------------------------------------------------------------
// Barriers

inline void __syncthreads(emulator::Place place = emulator::Place::here()) {
  const uint3 size = blockDim;
  zfnet_emulator_barrier(0, size.x * size.y * size.z, &place);
}

inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() {}

namespace emulator {
inline const char* nothing(void* const*, uint32_t) { return nullptr; }
inline constexpr Collective syncwarp = {"__syncwarp", nothing};
}  // namespace emulator

inline void __syncwarp(unsigned mask = 0xffffffffu, emulator::Place place = emulator::Place::here()) {
  zfnet_emulator_meet(&emulator::syncwarp, mask, nullptr, &place);
}

// ---------------------------------------------------------------------------
// Shuffles and votes

namespace emulator {

enum class Shuffle { index, up, down, exclusive_or };

template <class T>
struct ShuffleLane {
  T value, result;
  unsigned operand;
  int width;
};

// PTX's rule for shfl: the lane that lane `self` reads, its own where the rule leaves the segment.
inline unsigned source(Shuffle kind, unsigned self, unsigned operand, unsigned width) {
  const unsigned first = self & ~(width - 1), end = first + width;
  switch (kind) {
    case Shuffle::index: return first | (operand & (width - 1));
    case Shuffle::up: return self >= first + operand ? self - operand : self;
    case Shuffle::down: return self + operand < end ? self + operand : self;
    case Shuffle::exclusive_or: return (self ^ operand) < end ? self ^ operand : self;
  }
  return self;
}

template <Shuffle kind, class T>
const char* shuffle(void* const* lanes, uint32_t mask) {
  for (unsigned self = 0; self < 32; self++) {
    if (!(mask >> self & 1)) continue;
    auto& lane = *static_cast<ShuffleLane<T>*>(lanes[self]);
    const unsigned width = unsigned(lane.width);
    if (width == 0 || width > 32 || (width & (width - 1))) return "the width is not a power of two up to 32";
    const unsigned from = source(kind, self, lane.operand, width);
    if (from > 31 || !(mask >> from & 1)) return "a lane reads from a lane outside the mask";
    lane.result = static_cast<ShuffleLane<T>*>(lanes[from])->value;
  }
  return nullptr;
}

template <Shuffle kind, class T>
T shuffled(const Collective& collective, unsigned mask, T value, unsigned operand, int width, const Place& place) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
  ShuffleLane<T> lane{value, value, operand, width};
  zfnet_emulator_meet(&collective, mask, &lane, &place);
  return lane.result;
}

template <Shuffle kind, class T>
inline constexpr Collective shuffle_of = {
    kind == Shuffle::index ? "__shfl_sync"
    : kind == Shuffle::up  ? "__shfl_up_sync"
    : kind == Shuffle::down ? "__shfl_down_sync"
                            : "__shfl_xor_sync",
    shuffle<kind, T>};

}  // namespace emulator

#define ZFNET_SHUFFLE(name, kind)                                                                  \
  template <class T>                                                                               \
  T name(unsigned mask, T value, unsigned operand, int width = 32,                                 \
         emulator::Place place = emulator::Place::here()) {                                        \
    return emulator::shuffled<emulator::Shuffle::kind, T>(                                         \
        emulator::shuffle_of<emulator::Shuffle::kind, T>, mask, value, operand, width, place);     \
  }
ZFNET_SHUFFLE(__shfl_sync, index)
ZFNET_SHUFFLE(__shfl_up_sync, up)
ZFNET_SHUFFLE(__shfl_down_sync, down)
ZFNET_SHUFFLE(__shfl_xor_sync, exclusive_or)
#undef ZFNET_SHUFFLE

namespace emulator {

struct VoteLane {
  bool predicate;
  uint32_t ballot;
};

inline const char* vote(void* const* lanes, uint32_t mask) {
  uint32_t ballot = 0;
  for (unsigned i = 0; i < 32; i++) {
    if (mask >> i & 1 && static_cast<VoteLane*>(lanes[i])->predicate) ballot |= 1u << i;
  }
  for (unsigned i = 0; i < 32; i++) {
    if (mask >> i & 1) static_cast<VoteLane*>(lanes[i])->ballot = ballot;
  }
  return nullptr;
}

inline constexpr Collective ballot = {"__ballot_sync", vote}, any = {"__any_sync", vote}, all = {"__all_sync", vote};

inline uint32_t voted(const Collective& collective, unsigned mask, bool predicate, const Place& place) {
  VoteLane lane{predicate, 0};
  zfnet_emulator_meet(&collective, mask, &lane, &place);
  return lane.ballot;
}

}  // namespace emulator

inline unsigned __ballot_sync(unsigned mask, int predicate, emulator::Place place = emulator::Place::here()) {
  return emulator::voted(emulator::ballot, mask, predicate != 0, place);
}
inline int __any_sync(unsigned mask, int predicate, emulator::Place place = emulator::Place::here()) {
  return emulator::voted(emulator::any, mask, predicate != 0, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, emulator::Place place = emulator::Place::here()) {
  return emulator::voted(emulator::all, mask, predicate != 0, place) == mask;
}

// ---------------------------------------------------------------------------
// Atomics: blocks run on several threads, so these are real ones. Each returns the old value.

template <class T>
T atomicCAS(T* address, T compare, T value) {
  __atomic_compare_exchange_n(address, &compare, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return compare;
}

template <class T>
T atomicExch(T* address, T value) {
  T old;
  __atomic_exchange(address, &value, &old, __ATOMIC_RELAXED);
  return old;
}

namespace emulator {
template <class T, class Update>
T atomic(T* address, Update update) {
  T old, next;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  do {
    next = update(old);
  } while (!__atomic_compare_exchange(address, &old, &next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
}  // namespace emulator

template <class T>
T atomicAdd(T* address, T value) {
  return emulator::atomic(address, [=](T old) { return old + value; });
}
template <class T>
T atomicMax(T* address, T value) {
  return emulator::atomic(address, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(T* address, T value) {
  return emulator::atomic(address, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicOr(T* address, T value) {
  return emulator::atomic(address, [=](T old) { return old | value; });
}
template <class T>
T atomicAnd(T* address, T value) {
  return emulator::atomic(address, [=](T old) { return old & value; });
}

// ---------------------------------------------------------------------------
// Loads, bits, arithmetic

template <class T>
T __ldg(const T* address) { return *address; }

inline unsigned __float_as_uint(float value) { unsigned bits; std::memcpy(&bits, &value, 4); return bits; }
inline int __float_as_int(float value) { int bits; std::memcpy(&bits, &value, 4); return bits; }
inline float __uint_as_float(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }
inline float __int_as_float(int bits) { float value; std::memcpy(&value, &bits, 4); return value; }

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(unsigned(bits)) : 32; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned __brev(unsigned bits) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; i++) reversed |= (bits >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }

template <class T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T>
constexpr T max(T a, T b) { return a < b ? b : a; }

// The GPU's fast versions err by a few units in the last place more than these.
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __frsqrt_rn(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
