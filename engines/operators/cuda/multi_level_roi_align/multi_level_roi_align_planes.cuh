// Multi-level RoIAlign of planes (batch, channels, height, width).
#pragma once

#include <algorithm>

#include "multi_level_roi_align/multi_level_roi_align.cuh"

namespace nasion {

// Blocks per multiprocessor: the maximum without spilling registers.
template <int SAMPLING>
constexpr int kPlaneBlocks = SAMPLING > 3 ? 1 : SAMPLING > 2 ? 2 : 4;

// Sums ROWS cells of a column, of every `at_once`th channel of `channels`.
template <int ROWS, typename T>
__device__ __forceinline__ void sum_rows(const T*& map, std::size_t step, const unsigned* at, const float* weight,
                                         float* sum, int sums, int first, int channels, int at_once) {
#pragma unroll 2
    for (int c = first; c < channels; c += at_once, map += step, sum += at_once * sums) {
        float cell[ROWS], found = 0.0f;  // all reads are in flight before the first is used
#pragma unroll
        for (int j = 0; j < ROWS; ++j) cell[j] = widen(__ldg(map + at[j]));
#pragma unroll
        for (int j = 0; j < ROWS; ++j) found += weight[j] * cell[j];
        *sum = found;
    }
}

// A block processes a rectangle of bins of one level of one region. Channels pass through shared memory in chunks, in two
// steps. First, threads map to columns of cells x rows of bins x channels and sum each column for a row of bins. Then
// threads map to bins x channels and sum over columns. Consecutive threads thus read adjacent cells and write adjacent
// bins.
template <typename T, int SAMPLING, bool NORMALIZE>
__global__ void __launch_bounds__(kThreads, kPlaneBlocks<SAMPLING>) planes(const RoiAlignInputs inputs, T* output) {
    constexpr int TAPS = 2 * SAMPLING;
    extern __shared__ __align__(16) float values[];
    __shared__ Cells<SAMPLING> rows[kMostBins], columns[kMostBins];
    __shared__ int column_cells[kMostBins * TAPS];
    __shared__ float squares[kThreads];
    const Level& level = level_of_block(inputs);
    const int size = inputs.size, thread = threadIdx.x;
    const int blocks_across = quotient(size + level.across - 1, level.across), block = blockIdx.x - level.first_block;
    const int block_row = quotient(block, blocks_across), block_column = block - block_row * blocks_across;
    const int first_row = block_row * level.down, first_column = block_column * level.across;
    const int down = min(level.down, size - first_row), across = min(level.across, size - first_column);
    const float* roi = inputs.rois + 5 * blockIdx.y;
    const int image = image_of(inputs, roi);

    // all columns from the first to the last needed one; if bins are further apart than that, only the needed columns
    const int steps = size * SAMPLING;
    const int left = tap(roi[1], roi[3], first_column * SAMPLING, steps, level.scale, level.width).first;
    const int right = tap(roi[1], roi[3], (first_column + across) * SAMPLING - 1, steps, level.scale, level.width).first + 1;
    const bool all = right - left < TAPS * across;
    const int width = all ? right - left + 1 : TAPS * across;
    if (all && thread < width) column_cells[thread] = min(left + thread, level.width - 1);
    if (thread < down) rows[thread].gather(roi[2], roi[4], first_row + thread, size, level.scale, level.height);
    if (thread >= kThreads - across) {
        const int bin = kThreads - 1 - thread;
        Cells<SAMPLING>& own = columns[bin];
        own.gather(roi[1], roi[3], first_column + bin, size, level.scale, level.width);
        for (int i = 0; i < TAPS; ++i) {
            const int cell = i < own.count ? own.at[i] : 0;
            own.at[i] = all ? cell - left : TAPS * bin + i;
            if (!all) column_cells[own.at[i]] = cell;
        }
    }
    __syncthreads();

    // first step: the cells that this thread sums, `at_once` channels of the block at a time
    const int sums = down * width, at_once = quotient(kThreads, sums);
    const int own_channel = quotient(thread, sums), own_sum = thread - own_channel * sums, row = quotient(own_sum, width);
    const bool busy = own_channel < at_once;
    const int chunk = quotient(quotient(kColumnBytes / sizeof(float), sums), at_once) * at_once;  // channels
    const int count = busy && image >= 0 ? rows[row].count : 0, column = column_cells[own_sum - row * width];
    int most = 0;  // maximum rows of a bin: all threads read this many, so that all reads are unconditional
    for (int i = 0; i < down && image >= 0; ++i) most = max(most, rows[i].count);
    // each channel and row starts with another cell, because the size of a plane is often a multiple of all cache banks
    int turned = count ? own_channel + row - quotient(own_channel + row, count) * count : 0;
    unsigned at[TAPS];
    float weight[TAPS];
#pragma unroll
    for (int j = 0; j < TAPS; ++j) {
        at[j] = j < count ? rows[row].at[turned] * level.width + column : j ? at[0] : 0;  // repeated read of weight 0
        weight[j] = j < count ? rows[row].weight[turned] : 0.0f;
        if (++turned >= count) turned = 0;
    }
    const std::size_t plane = static_cast<std::size_t>(level.height) * level.width, step = at_once * plane;
    const T* map = map_of<T>(level, image) + own_channel * plane;

    // second step: the columns that this thread sums
    const int bins = down * across, bins_at_once = quotient(kThreads, bins);
    const int bin_channel = quotient(thread, bins), bin = thread - bin_channel * bins;
    const int bin_row = quotient(bin, across), bin_column = bin - bin_row * across;
    const bool bin_busy = bin_channel < bins_at_once;
    const int bin_count = columns[bin_column].count;
    int from[TAPS];
    float share[TAPS];
#pragma unroll
    for (int i = 0; i < TAPS; ++i) {
        from[i] = bin_row * width + (i < bin_count ? columns[bin_column].at[i] : 0);
        share[i] = i < bin_count ? columns[bin_column].weight[i] : 0.0f;
    }
    const int area = size * size;
    const std::size_t first_channel = static_cast<std::size_t>(blockIdx.y) * inputs.channels + level.first_channel;
    T* const out = output + (first_channel + bin_channel) * area + (first_row + bin_row) * size + first_column + bin_column;
    float* const column_sums = values + (NORMALIZE ? level.channels * bins : 0);
    float total = 0.0f;

    for (int first = 0; first < level.channels; first += chunk) {
        const int channels = min(chunk, level.channels - first);
        if (busy) {
            float* const sum = column_sums + thread;  // of its first channel
            if (most == 0) {
                for (int c = own_channel; c < channels; c += at_once) column_sums[c * sums + own_sum] = 0.0f;
            } else if (TAPS > 2 && most == 3) {
                sum_rows<TAPS < 3 ? TAPS : 3>(map, step, at, weight, sum, sums, own_channel, channels, at_once);
            } else if (TAPS > 2 && most > 3) {
                sum_rows<TAPS>(map, step, at, weight, sum, sums, own_channel, channels, at_once);
            } else {
                sum_rows<2>(map, step, at, weight, sum, sums, own_channel, channels, at_once);
            }
        }
        __syncthreads();
        if (bin_busy) {
            const float* sum = column_sums + bin_channel * sums;
            float* kept = values + first * bins + thread;
            T* written = out + first * area;
            for (int c = bin_channel; c < channels; c += bins_at_once, sum += bins_at_once * sums) {
                float value = 0.0f;
#pragma unroll
                for (int i = 0; i < TAPS; ++i) {
                    if (i < bin_count) value += share[i] * sum[from[i]];
                }
                if (NORMALIZE) {
                    *kept = value;
                    kept += bins_at_once * bins;
                    total += value * value;
                } else {
                    *written = narrow<T>(value);
                    written += bins_at_once * area;
                }
            }
        }
        __syncthreads();
    }
    if (!NORMALIZE) return;

    squares[thread] = total;
    __syncthreads();
    total = 0.0f;
    for (int i = 0; i < bins_at_once; ++i) total += squares[i * bins + bin];
    const float factor = factor_of(inputs, total);
    const float* kept = values + thread;
    T* written = out;
    for (int c = bin_channel; bin_busy && c < level.channels; c += bins_at_once) {
        *written = narrow<T>(*kept * factor);
        kept += bins_at_once * bins;
        written += bins_at_once * area;
    }
}

// Distributes the bins of a level among blocks: whole rows of bins if they fit, else parts of a row.
inline int share_out_planes(Level& level, const nasion_roi_align& arguments) {
    const int size = arguments.size;
    int most = kMostBins;
    if (arguments.normalize) most = std::min(most, NASION_MOST_CHANNELS / level.channels);  // at least 1
    const auto evenly = [](int count, int limit) {
        const int parts = (count + limit - 1) / limit;
        return (count + parts - 1) / parts;
    };
    level.across = evenly(size, most);
    level.down = most >= size ? evenly(size, most / size) : 1;
    level.at_once = level.across * level.down;
    return ((size + level.across - 1) / level.across) * ((size + level.down - 1) / level.down);
}

}  // namespace nasion
