// Twin of include/ptx/cp_async.cuh. A copy lands at once or only at the wait, as the
// seed decides: both are allowed, so a kernel that reads too early or overwrites too
// early is found.
#pragma once

#include "mbarrier.cuh"

template <int bytes>
void cp_async(void* shared, const void* global, bool valid = true, emulator::Place place = emulator::Place::here()) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async moves 4, 8 or 16 bytes");
  if (reinterpret_cast<uintptr_t>(shared) % bytes) zfnet_emulator_fail("cp.async: misaligned shared address", &place);
  if (reinterpret_cast<uintptr_t>(global) % bytes) zfnet_emulator_fail("cp.async: misaligned global address", &place);
  zfnet_emulator_async_copy(shared, global, bytes, valid ? bytes : 0);
}

inline void cp_async_commit() { zfnet_emulator_async_commit(); }

template <int groups>
void cp_async_wait() {
  zfnet_emulator_async_wait(groups);
}

inline void cp_async_arrive(mbarrier& barrier, emulator::Place place = emulator::Place::here()) {
  zfnet_emulator_async_commit();
  zfnet_emulator_async_wait(0);
  mbarrier_arrive(barrier, place);
}
