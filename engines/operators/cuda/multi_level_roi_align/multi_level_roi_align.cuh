// Code shared by the two kernels of multi-level RoIAlign: arguments, and sample positions along an axis.
#pragma once

#include "multi_level_roi_align/multi_level_roi_align.h"
#include "common/numbers.cuh"

namespace nasion {

constexpr int kThreads = 256;
constexpr int kMostBins = 32;  // per block; bounds its tables
// Shared memory of a block for columns (planes only), in addition to 32 KB for values to be normalised. The total with
// the tables is below 48 KB.
constexpr int kColumnBytes = 8 * 1024;

struct Level {
    const void* data;
    int channels, height, width;
    float scale;
    int first_channel;  // in the output
    int first_block;    // of the blocks for one region
    int across, down;   // bins of a block; for channels last `across` bins in memory order, and 1
    int at_once;        // number of these bins processed, and kept in shared memory, at a time
    int lanes;          // threads per bin, for channels last
};

// Passed by value, so that no table must be copied to the device before the launch.
struct RoiAlignInputs {
    Level levels[NASION_MOST_LEVELS];
    int level_count;
    int batch, size, channels;
    bool normalize;
    float epsilon;
    const float* rois;
};

// A sample along one axis lies between a cell and the next one.
struct Tap {
    int first;         // the cell; for a sample outside, the nearest cell
    float here, next;  // weights of the two
};

__device__ __forceinline__ Tap tap(float low, float high, int sample, int steps, float scale, int cells) {
    // rounded after each step, as in the reference: a fused multiply-add would move samples exactly one cell outside
    const float side = __fadd_rn(high, -low), length = side < 0.0f ? 0.0f : side;  // NaN stays NaN
    const float place = __fadd_rn(low, __fmul_rn(length, (sample + 0.5f) / steps));
    const float cell = __fadd_rn(__fmul_rn(__fadd_rn(place, 0.5f), scale), -0.5f);
    const float inside = fminf(fmaxf(cell, 0.0f), cells - 1.0f);
    const int first = min(static_cast<int>(inside), max(cells - 2, 0));  // the last cell is always a next cell
    if (!(cell > -1.0f && cell < cells)) return {first, 0.0f, 0.0f};  // too far outside, or NaN
    const float part = inside - first;
    return {first, 1.0f - part, part};
}

// The cells of one axis that contribute to a bin, each once. Cells of weight 0 are left out.
template <int SAMPLING>
struct Cells {
    int count;
    int at[2 * SAMPLING];
    float weight[2 * SAMPLING];

    __device__ void gather(float low, float high, int bin, int bins, float scale, int cells) {
        count = 0;
        for (int i = 0; i < SAMPLING; ++i) {
            const Tap found = tap(low, high, bin * SAMPLING + i, bins * SAMPLING, scale, cells);
            add(found.first, found.here * (1.0f / SAMPLING));
            add(found.first + 1, found.next * (1.0f / SAMPLING));
        }
    }

    __device__ void add(int cell, float part) {
        if (part == 0.0f) return;
        int i = 0;
        while (i < count && at[i] != cell) ++i;
        if (i == count) {
            at[count++] = cell;
            weight[i] = 0.0f;
        }
        weight[i] += part;
    }
};

// Exact a / b of small numbers (0 <= a < 4096, 0 < b <= 256): adding a half keeps rounding errors away from integers.
__device__ __forceinline__ int quotient(int a, int b) {
    return static_cast<int>(__fdividef(a + 0.5f, static_cast<float>(b)));
}

__device__ __forceinline__ const Level& level_of_block(const RoiAlignInputs& inputs) {
    int i = 0;
    while (i + 1 < inputs.level_count && static_cast<int>(blockIdx.x) >= inputs.levels[i + 1].first_block) ++i;
    return inputs.levels[i];
}

// Image index of a region, or -1 if it is invalid.
__device__ __forceinline__ int image_of(const RoiAlignInputs& inputs, const float* roi) {
    return roi[0] >= 0.0f && roi[0] < inputs.batch ? static_cast<int>(roi[0]) : -1;
}

template <typename T>
__device__ __forceinline__ const T* map_of(const Level& level, int image) {
    const std::size_t elements = static_cast<std::size_t>(level.channels) * level.height * level.width;
    return static_cast<const T*>(level.data) + (image < 0 ? 0 : image) * elements;
}

// Factor for the values of a bin, given the sum of their squares.
__device__ __forceinline__ float factor_of(const RoiAlignInputs& inputs, float squares) {
    return 1.0f / fmaxf(sqrtf(squares), inputs.epsilon);
}

}  // namespace nasion
