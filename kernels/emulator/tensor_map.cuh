// Twin of include/ptx/tensor_map.cuh. Loads are read at once and come between then and the end of their
// phase, stores read between their issue and the wait, as the seed decides.
#pragma once

#include "mbarrier.cuh"
#include "numbers.cuh"

// As src/device/emulator/tensor_map.rs writes it.
struct __align__(64) tensor_map {
  using is_tensor_map = void;
  unsigned char* address;
  unsigned long long strides[3];  // of all but the innermost, in bytes
  int sizes[4], sides[4];
  int lower[2], upper[2], step, pixels;  // pixels: 0 for boxes
  int rank, element_bytes, row_bytes, round;
  unsigned long long unused[3];
};
static_assert(sizeof(tensor_map) == 128, "as the driver's");

namespace emulator {

// Byte `i` of a box in shared memory: boxes begin where the pattern of the swizzle does.
inline size_t swizzled(const tensor_map& map, size_t i) {
  return i ^ (map.row_bytes == 64 ? (i >> 7 & 3) << 4 : (i >> 7 & 7) << 4);
}

// The address of an element, null outside the array.
inline unsigned char* place(const tensor_map& map, const int (&at)[4]) {
  size_t offset = size_t(at[0]) * map.element_bytes;
  for (int d = 0; d < 4; d++) {
    if (at[d] < 0 || at[d] >= map.sizes[d]) return nullptr;
    if (d > 0) offset += size_t(at[d]) * map.strides[d - 1];
  }
  return map.address + offset;
}

inline void read(const tensor_map& map, const int (&at)[4], unsigned char* box, size_t i) {
  const unsigned char* from = place(map, at);
  unsigned char* to = box + swizzled(map, i);
  if (!from) {
    std::memset(to, 0, map.element_bytes);
  } else if (map.round) {
    float value;
    std::memcpy(&value, from, 4);
    const unsigned bits = to_tf32(value);
    std::memcpy(to, &bits, 4);
  } else {
    std::memcpy(to, from, map.element_bytes);
  }
}

// Coordinates of a box's corner, or of the first pixel and its shift.
struct Copy {
  const tensor_map* map;
  int corner[4], shift[2];
};

// Visits the elements of a box in order: each(coordinates, its byte in the box).
template <class Each>
void walk(const tensor_map& map, const int (&corner)[4], Each each) {
  size_t i = 0;
  for (int c3 = 0; c3 < map.sides[3]; c3++) {
    for (int c2 = 0; c2 < map.sides[2]; c2++) {
      for (int c1 = 0; c1 < map.sides[1]; c1++) {
        for (int c0 = 0; c0 < map.sides[0]; c0++, i += map.element_bytes) {
          const int at[4] = {corner[0] + c0, corner[1] + c1, corner[2] + c2, corner[3] + c3};
          each(at, i);
        }
      }
    }
  }
}

inline void fill_box(unsigned char* box, const void* state) {
  const Copy& copy = *static_cast<const Copy*>(state);
  walk(*copy.map, copy.corner, [&](const int (&at)[4], size_t i) { read(*copy.map, at, box, i); });
}

// Pixels in order: w steps to the last of its row, then h, then n.
inline void fill_pixels(unsigned char* box, const void* state) {
  const Copy& copy = *static_cast<const Copy*>(state);
  const tensor_map& map = *copy.map;
  const int last_w = map.sizes[1] - 1 + map.upper[0], last_h = map.sizes[2] - 1 + map.upper[1];
  int w = copy.corner[1], h = copy.corner[2], n = copy.corner[3];
  size_t i = 0;
  for (int pixel = 0; pixel < map.pixels; pixel++) {
    for (int c = 0; c < map.sides[0]; c++, i += map.element_bytes) {
      const int at[4] = {copy.corner[0] + c, w + copy.shift[0], h + copy.shift[1], n};
      read(map, at, box, i);
    }
    w += map.step;
    if (w <= last_w) continue;
    w = map.lower[0], h += map.step;
    if (h <= last_h) continue;
    h = map.lower[1], n++;
  }
}

// Both ends of what a copy will touch, while a fault still belongs to a thread.
inline void touch(const void* from, size_t bytes) {
  const volatile unsigned char* at = static_cast<const volatile unsigned char*>(from);
  (void)at[0], (void)at[bytes - 1];
}

inline void check_box(const tensor_map& map, const void* shared, const Place& place) {
  if (map.rank < 3 || map.rank > 4) zfnet_emulator_fail("tensor copy: the argument is no tensor map", &place);
  if (reinterpret_cast<uintptr_t>(shared) % (8 * map.row_bytes)) {
    zfnet_emulator_fail("tensor copy: a box does not begin where its swizzle does", &place);
  }
}

inline void load(void* to, const Copy& copy, mbarrier& barrier, bool pixels, const Place& place) {
  const tensor_map& map = *copy.map;
  check_box(map, to, place);
  check(barrier, place);
  if (pixels != (map.pixels > 0)) zfnet_emulator_fail("tensor copy: the map is of the other kind", &place);
  const size_t rows = pixels ? map.pixels : size_t(map.sides[1]) * map.sides[2] * map.sides[3];
  const unsigned bytes = unsigned(rows * map.row_bytes);
  if (pixels && (copy.shift[0] < 0 || copy.shift[0] > 255 || copy.shift[1] < 0 || copy.shift[1] > 255)) {
    zfnet_emulator_fail("tensor copy: pixels are shifted by 0 to 255", &place);
  }
  touch(to, bytes);
  zfnet_emulator_bulk_load(to, bytes, pixels ? fill_pixels : fill_box, &copy, complete, &barrier);
}

// What a store has to do, by itself.
struct Store {
  tensor_map map;
  int corner[4];
  const unsigned char* from;
  static void perform(const void* state) {
    Store store;
    std::memcpy(&store, state, sizeof store);
    walk(store.map, store.corner, [&](const int (&at)[4], size_t i) {
      unsigned char* to = place(store.map, at);
      if (to) std::memcpy(to, store.from + swizzled(store.map, i), store.map.element_bytes);
    });
  }
};

}  // namespace emulator

inline void tensor_load(void* to, const tensor_map& map, int c0, int c1, int c2, mbarrier& barrier,
                        emulator::Place place = emulator::Place::here()) {
  if (map.rank != 3) zfnet_emulator_fail("tensor_load: three coordinates for a map of another rank", &place);
  emulator::load(to, {&map, {c0, c1, c2, 0}, {0, 0}}, barrier, false, place);
}
inline void tensor_load(void* to, const tensor_map& map, int c0, int c1, int c2, int c3,
                        mbarrier& barrier, emulator::Place place = emulator::Place::here()) {
  if (map.rank != 4) zfnet_emulator_fail("tensor_load: four coordinates for a map of another rank", &place);
  emulator::load(to, {&map, {c0, c1, c2, c3}, {0, 0}}, barrier, false, place);
}
inline void tensor_load_pixels(void* to, const tensor_map& map, int c, int w, int h, int n, int s, int r,
                               mbarrier& barrier, emulator::Place place = emulator::Place::here()) {
  emulator::load(to, {&map, {c, w, h, n}, {s, r}}, barrier, true, place);
}

inline void tensor_store(const tensor_map& map, const void* from, int c0, int c1, int c2,
                         emulator::Place place = emulator::Place::here()) {
  emulator::check_box(map, from, place);
  if (map.rank != 3 || map.pixels > 0) zfnet_emulator_fail("tensor_store: the map is not of boxes of rank 3", &place);
  emulator::touch(from, size_t(map.sides[1]) * map.sides[2] * map.row_bytes);
  const emulator::Store store{map, {c0, c1, c2, 0}, static_cast<const unsigned char*>(from)};
  zfnet_emulator_bulk_store(emulator::Store::perform, &store, sizeof store);
}

inline void bulk_commit() { zfnet_emulator_bulk_commit(); }

template <int groups>
void bulk_wait_read() {
  zfnet_emulator_bulk_wait(groups);
}

inline void fence_barriers() {}
inline void fence_async() {}
