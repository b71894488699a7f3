// What emulated kernels read, for tests that count how it falls into the banks of a cache.
#include "cuda_runtime.h"

extern "C" __attribute__((visibility("default"))) void nasion_emulated_watch(int on) {
    emulated::watched = on != 0;
    emulated::reads.clear();
}

extern "C" __attribute__((visibility("default"))) std::uint64_t nasion_emulated_reads(const emulated::Read** first) {
    *first = emulated::reads.data();
    return emulated::reads.size();
}
