// Multi-level RoIAlign: all levels of all regions in one launch, L2 normalisation and concatenation included.
//
// Limiting factor: an output value is a sum over up to 4 x sampling^2 cells of a map (16 with two samples per side),
// nearly all of them in the L1 cache, and one write. The kernel is limited by the cache, by instructions or, once these
// are reduced, by the memory bandwidth of the output. Hence:
// - Sample positions are computed once per bin, not once per value, and weights and offsets stay in registers while a
//   thread iterates over channels. All addresses advance by the same step from channel to channel; otherwise, computing
//   64-bit addresses would take longer than the reads.
// - For channels last, a thread reads 16 bytes at once: an access to the cache returns 128 bytes that are all used.
// - Cells shared by several samples of a bin are read once.
// - Planes are pooled along each axis in turn, down first: the sum of a column for a row of bins is computed once and kept
//   in shared memory for every bin over that column.
// - Values to be normalised are kept in shared memory as float32, so that maps are sampled once and float16 is rounded
//   once. The number of bins per block is chosen so that 40 KB are enough, which needs no opt-in on any GPU.
#include <algorithm>

#include "common/checks.h"
#include "common/launch.cuh"
#include "multi_level_roi_align/multi_level_roi_align_interleaved.cuh"
#include "multi_level_roi_align/multi_level_roi_align_planes.cuh"

namespace nasion {
namespace {

template <typename T, int SAMPLING>
int run(const RoiAlignInputs& inputs, const nasion_roi_align& arguments, dim3 grid, std::size_t shared, cudaStream_t stream) {
    auto* kernel = arguments.channels_last ? interleaved<T, SAMPLING>
                   : arguments.normalize   ? planes<T, SAMPLING, true>
                                           : planes<T, SAMPLING, false>;
    return launch(kernel, grid, dim3(kThreads), shared, stream, inputs, static_cast<T*>(arguments.output));
}

template <typename T>
int run(const nasion_roi_align& arguments, cudaStream_t stream) {
    RoiAlignInputs inputs = {};
    inputs.level_count = arguments.level_count;
    inputs.batch = arguments.batch;
    inputs.size = arguments.size;
    inputs.normalize = arguments.normalize != 0;
    inputs.epsilon = arguments.epsilon;
    inputs.rois = arguments.rois;
    int blocks = 0, most = 0;
    for (int i = 0; i < inputs.level_count; ++i) {
        const nasion_level& given = arguments.levels[i];
        Level& level = inputs.levels[i];
        level = {given.data, given.channels, given.height, given.width, given.scale, inputs.channels, blocks, 1, 1, 1, 1};
        blocks += arguments.channels_last ? share_out_interleaved<T>(level, arguments) : share_out_planes(level, arguments);
        inputs.channels += given.channels;
        most = std::max(most, given.channels * level.at_once);
    }
    const std::size_t shared = (inputs.normalize ? sizeof(float) * most : 0) + (arguments.channels_last ? 0 : kColumnBytes);
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.regions));
    switch (arguments.sampling) {
        case 1: return run<T, 1>(inputs, arguments, grid, shared, stream);
        case 2: return run<T, 2>(inputs, arguments, grid, shared, stream);
        case 3: return run<T, 3>(inputs, arguments, grid, shared, stream);
        default: return run<T, 4>(inputs, arguments, grid, shared, stream);
    }
}

}  // namespace
}  // namespace nasion

int nasion_multi_level_roi_align(const nasion_roi_align* arguments, cudaStream_t stream) {
    using namespace nasion;
    if (const int status = check(*arguments)) return status;
    if (arguments->regions == 0) return NASION_OK;
    return arguments->half ? run<__half>(*arguments, stream) : run<float>(*arguments, stream);
}
