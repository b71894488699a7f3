// The crop kernel by its arguments, as a driver launches it, for tests of engines/operators/compiled_crop.py.
#include "common/launch.cuh"
#include "crop/crop.cuh"

using namespace nasion;
using namespace nasion::cropping;

template <Source SOURCE, typename T>
static int run(const unsigned* grid, const unsigned* block, const CropInputs& inputs, void* output) {
    const dim3 blocks(grid[0], grid[1], grid[2]), threads(block[0], block[1], block[2]);
    return launch(crops<SOURCE, T>, blocks, threads, 0, nullptr, inputs, static_cast<T*>(output));
}

// The source as in the enumeration; the block must be the one that the kernel is written for.
extern "C" __attribute__((visibility("default"))) int nasion_emulated_crop(
    int source, int half, const unsigned* grid, const unsigned* block, const CropInputs* inputs, void* output) {
    if (block[0] != kColumns || block[1] != kRows || block[2] != 1) return 1;
    switch (2 * source + half) {
        case 0: return run<Source::bgr_bytes, float>(grid, block, *inputs, output);
        case 1: return run<Source::bgr_bytes, __half>(grid, block, *inputs, output);
        case 2: return run<Source::bgr_words, float>(grid, block, *inputs, output);
        case 3: return run<Source::bgr_words, __half>(grid, block, *inputs, output);
        case 4: return run<Source::nv12, float>(grid, block, *inputs, output);
        default: return run<Source::nv12, __half>(grid, block, *inputs, output);
    }
}

extern "C" __attribute__((visibility("default"))) unsigned nasion_emulated_crop_bytes() { return sizeof(CropInputs); }
