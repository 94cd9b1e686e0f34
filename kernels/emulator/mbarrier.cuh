// Twin of include/ptx/mbarrier.cuh: counts arrivals and lets the scheduler ask for the phase.
#pragma once

struct __align__(8) mbarrier {
  int32_t bytes;  // of bulk copies, expected and not there yet; below 0 where they came first
  uint16_t pending;
  uint16_t arrivals : 15, phase : 1;
};

inline void mbarrier_init(mbarrier& barrier, unsigned arrivals, emulator::Place place = emulator::Place::here()) {
  if (arrivals == 0 || arrivals > 1024) zfnet_emulator_fail("mbarrier_init: not 1 to 1024 arrivals", &place);
  barrier = {0, uint16_t(arrivals), uint16_t(arrivals), 0};
}

namespace emulator {
// Fresh shared memory is no barrier.
inline void check(const mbarrier& barrier, const Place& place) {
  if (barrier.arrivals > 1024) zfnet_emulator_fail("mbarrier: used before mbarrier_init", &place);
}

struct Phase {
  const mbarrier* barrier;
  unsigned parity;
  static bool complete(const void* state) {
    const auto& phase = *static_cast<const Phase*>(state);
    return phase.barrier->phase != phase.parity;
  }
};

inline void end_phase(mbarrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  barrier.pending = barrier.arrivals;
  barrier.phase ^= 1;
}

// Bytes of a bulk copy have come.
inline void complete(void* barrier, uint32_t bytes) {
  auto& arrived = *static_cast<mbarrier*>(barrier);
  arrived.bytes -= int32_t(bytes);
  end_phase(arrived);
}
}  // namespace emulator

inline void mbarrier_arrive_expecting(mbarrier& barrier, unsigned bytes,
                                      emulator::Place place = emulator::Place::here()) {
  emulator::check(barrier, place);
  barrier.bytes += int32_t(bytes);
  barrier.pending--;
  emulator::end_phase(barrier);
}

inline void mbarrier_arrive(mbarrier& barrier, emulator::Place place = emulator::Place::here()) {
  mbarrier_arrive_expecting(barrier, 0, place);
}

inline void mbarrier_wait(mbarrier& barrier, unsigned parity, emulator::Place place = emulator::Place::here()) {
  emulator::check(barrier, place);
  const emulator::Phase phase{&barrier, parity};
  zfnet_emulator_wait(emulator::Phase::complete, &phase, "a phase of an mbarrier", &place);
}
