// Twin of include/ptx/wgmma.cuh: each thread multiplies for its own sums, from shared memory.
//
// Half of the warps do it when they are asked, the others when they wait: a GPU may do either, so a
// product of what is not there yet, or of what is overwritten too early, is found. Products of bf16
// are exact in f64; the sum of 16 is rounded once.
#pragma once

#include "tensor_map.cuh"

struct wgmma_operand {
  const unsigned char* start;
  unsigned next_block;
  unsigned row_bytes;

  wgmma_operand at(int bytes) const { return {start + bytes, next_block, row_bytes}; }
};

namespace emulator {

struct Product {
  wgmma_operand a, b;
  bool a_across, b_across;
  int depths, element_bytes;
};

// The products of a warpgroup that are still to do.
struct Products {
  static constexpr int kMost = 32;
  Product queue[kMost];
  int issued = 0, closed = 0, groups = 0;
  int group_size[kMost];
};

// Element (line, depth) of an operand, the swizzle by address. The tensor cores cut what tf32 has no bits for.
inline double element(const wgmma_operand& from, bool across, int line, int depth, int bytes) {
  const int row = int(from.row_bytes), lines = row / bytes;
  const size_t offset = across ? line / lines * size_t(from.next_block) + depth * row + line % lines * bytes
                               : line * row + depth * bytes;
  const uintptr_t address = reinterpret_cast<uintptr_t>(from.start) + offset;
  const uintptr_t swizzle = row == 128 ? (address >> 7 & 7) << 4 : (address >> 7 & 3) << 4;
  unsigned bits = 0;
  std::memcpy(&bits, reinterpret_cast<const void*>(address ^ swizzle), bytes);
  return __uint_as_float(bytes == 2 ? bits << 16 : bits & ~0x1fffu);
}

struct WgmmaLane {
  wgmma_operand a, b;
};
inline const char* same_operands(void* const* lanes, uint32_t) {
  const auto& first = *static_cast<WgmmaLane*>(lanes[0]);
  for (int i = 1; i < 32; i++) {
    const auto& lane = *static_cast<WgmmaLane*>(lanes[i]);
    if (lane.a.start != first.a.start || lane.b.start != first.b.start) return "lanes multiply different operands";
  }
  return nullptr;
}
inline constexpr Collective wgmma = {"wgmma", same_operands};
// A warp waits together: when one lane goes on, the products of all are done.
inline constexpr Collective waited = {"wgmma_wait", nothing};

}  // namespace emulator

template <int N>
struct WgmmaSums {
  float c[N / 2] = {};
  emulator::Products products;
};

namespace emulator {

template <int N>
void multiply(WgmmaSums<N>& sums, const Product& product) {
  const int lane = threadIdx.x % 32, row0 = threadIdx.x / 32 % 4 * 16 + lane / 4, column0 = lane % 4 * 2;
  const int depths = product.depths, bytes = product.element_bytes;
  double a[2][16];
  for (int half = 0; half < 2; half++) {
    for (int k = 0; k < depths; k++) a[half][k] = element(product.a, product.a_across, row0 + 8 * half, k, bytes);
  }
  for (int j = 0; j < N / 8; j++) {
    for (int e = 0; e < 2; e++) {
      double sum[2] = {sums.c[4 * j + e], sums.c[4 * j + 2 + e]};
      for (int k = 0; k < depths; k++) {
        const double b = element(product.b, product.b_across, 8 * j + column0 + e, k, bytes);
        sum[0] += a[0][k] * b, sum[1] += a[1][k] * b;
      }
      sums.c[4 * j + e] = float(sum[0]), sums.c[4 * j + 2 + e] = float(sum[1]);
    }
  }
}

// Does the oldest products, `n` of them.
template <int N>
void catch_up(WgmmaSums<N>& sums, int n) {
  Products& all = sums.products;
  for (int i = 0; i < n; i++) multiply(sums, all.queue[i]);
  for (int i = n; i < all.issued; i++) all.queue[i - n] = all.queue[i];
  all.issued -= n;
}

inline wgmma_operand operand(const void* tile, int next_block, int row_bytes, const Place& place) {
  if (row_bytes != 64 && row_bytes != 128) zfnet_emulator_fail("wgmma: rows have 64 or 128 bytes", &place);
  if (reinterpret_cast<uintptr_t>(tile) % (8 * row_bytes)) {
    zfnet_emulator_fail("wgmma: a tile does not begin at a multiple of 8 rows", &place);
  }
  return {static_cast<const unsigned char*>(tile), unsigned(next_block), unsigned(row_bytes)};
}

}  // namespace emulator

inline wgmma_operand wgmma_along(const void* tile, int row_bytes = 128,
                                 emulator::Place place = emulator::Place::here()) {
  return emulator::operand(tile, 0, row_bytes, place);
}
inline wgmma_operand wgmma_across(const void* tile, int block, int row_bytes = 128,
                                  emulator::Place place = emulator::Place::here()) {
  return emulator::operand(tile, block, row_bytes, place);
}

template <int N>
void wgmma_fence(WgmmaSums<N>&) {}

template <int N>
void wgmma_commit(WgmmaSums<N>& sums) {
  auto& all = sums.products;
  all.group_size[all.groups++] = all.issued - all.closed;
  all.closed = all.issued;
}

template <int groups, int N>
void wgmma_wait(WgmmaSums<N>& sums, emulator::Place place = emulator::Place::here()) {
  auto& all = sums.products;
  while (all.groups > groups) {
    const int size = all.group_size[0];
    emulator::catch_up(sums, size);
    all.closed -= size;
    for (int i = 1; i < all.groups; i++) all.group_size[i - 1] = all.group_size[i];
    all.groups--;
  }
  zfnet_emulator_meet(&emulator::waited, 0xffffffffu, nullptr, &place);
}

template <int n>
void registers_release() {}
template <int n>
void registers_claim() {}

namespace emulator {
template <int N>
void issue(WgmmaSums<N>& sums, const Product& product, const Place& place) {
  emulator::WgmmaLane lane{product.a, product.b};
  zfnet_emulator_meet(&emulator::wgmma, 0xffffffffu, &lane, &place);
  auto& all = sums.products;
  if (all.groups + 1 >= emulator::Products::kMost || all.issued >= emulator::Products::kMost) {
    zfnet_emulator_fail("wgmma: more products under way than the emulator holds", &place);
  }
  all.queue[all.issued++] = product;
  if (threadIdx.x / 32 % 2) {  // At once, and all before it.
    emulator::catch_up(sums, all.issued);
    all.closed = 0;
    for (int i = 0; i < all.groups; i++) all.group_size[i] = 0;
  }
}
}  // namespace emulator

template <bool a_across, bool b_across, int N>
void wgmma_k16_bf16(WgmmaSums<N>& sums, wgmma_operand a, wgmma_operand b,
                    emulator::Place place = emulator::Place::here()) {
  emulator::issue(sums, {a, b, a_across, b_across, 16, 2}, place);
}

template <int N>
void wgmma_k8_tf32(WgmmaSums<N>& sums, wgmma_operand a, wgmma_operand b,
                   emulator::Place place = emulator::Place::here()) {
  emulator::issue(sums, {a, b, false, false, 8, 4}, place);
}
