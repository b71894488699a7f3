// Multi-level RoIAlign with the channels last (batch, height, width, channels).
#pragma once

#include <algorithm>

#include "multi_level_roi_align.cuh"

namespace nasion {

// A bin belongs to `lanes` neighbouring threads of one warp, each of which has 16 bytes of channels at a time: reads and
// writes are whole cache lines, and the norm is a shuffle.
template <typename T, int SAMPLING>
__global__ void __launch_bounds__(kThreads, least_blocks(SAMPLING, 3)) interleaved(const Work work, T* output) {
    constexpr int N = kPack<T>, TAPS = 2 * SAMPLING;
    extern __shared__ __align__(16) float values[];
    __shared__ Cells<SAMPLING> rows[kMostBins], columns[kMostBins];
    const Level& level = level_of_block(work);
    const int size = work.size, area = size * size, thread = threadIdx.x;
    const int first_bin = (blockIdx.x - level.first_block) * level.across;
    const int bins = min(level.across, area - first_bin);
    const float* roi = work.rois + 5 * blockIdx.y;
    const int image = image_of(work, roi);
    if (thread < bins) {
        rows[thread].gather(roi[2], roi[4], quotient(first_bin + thread, size), size, level.scale, level.height);
    } else if (thread >= kThreads - bins) {
        const int last = kThreads - 1 - thread;
        const int column = first_bin + last - quotient(first_bin + last, size) * size;
        columns[last].gather(roi[1], roi[3], column, size, level.scale, level.width);
    }
    __syncthreads();

    const int bin = quotient(thread, level.lanes), lane = thread & (level.lanes - 1);
    const bool busy = bin < bins;
    const int row_count = busy && image >= 0 ? rows[bin].count : 0, column_count = busy ? columns[bin].count : 0;
    unsigned row_at[TAPS], column_at[TAPS];
    float row_weight[TAPS], column_weight[TAPS];
#pragma unroll
    for (int i = 0; i < TAPS; ++i) {
        row_at[i] = i < row_count ? rows[bin].at[i] * level.width * level.channels : 0;
        column_at[i] = i < column_count ? columns[bin].at[i] * level.channels : 0;
        row_weight[i] = i < row_count ? rows[bin].weight[i] : 0.0f;
        column_weight[i] = i < column_count ? columns[bin].weight[i] : 0.0f;
    }
    const T* map = map_of<T>(level, image) + lane * N;
    T* out = output + (static_cast<std::size_t>(blockIdx.y) * area + first_bin + bin) * work.channels + level.first_channel;
    const int turned = N == 8 ? lane >> 2 & 1 : 0;  // where a thread begins with what it keeps: no two in one bank
    float sum = 0.0f;
    for (int c = lane * N; busy && c < level.channels; c += level.lanes * N, map += level.lanes * N) {
        float pooled[N] = {};
#pragma unroll
        for (int j = 0; j < TAPS; ++j) {
            if (j >= row_count) continue;
            uint4 cell[TAPS];  // those that are not read stay undefined, and are not looked at
            float row[N] = {};
#pragma unroll
            for (int i = 0; i < TAPS; ++i) {
                if (i < column_count) cell[i] = __ldg(reinterpret_cast<const uint4*>(map + (row_at[j] + column_at[i])));
            }
#pragma unroll
            for (int i = 0; i < TAPS; ++i) {
                if (i >= column_count) continue;
                Pack<T, N> pack;
                memcpy(&pack, &cell[i], sizeof(pack));
#pragma unroll
                for (int n = 0; n < N; ++n) row[n] += column_weight[i] * widen(pack.items[n]);
            }
#pragma unroll
            for (int n = 0; n < N; ++n) pooled[n] += row_weight[j] * row[n];
        }
        Pack<T, N> pack;
#pragma unroll
        for (int n = 0; n < N; ++n) {
            sum += pooled[n] * pooled[n];
            pack.items[n] = narrow<T>(pooled[n]);
        }
        if (work.normalize) {
            float4* kept = reinterpret_cast<float4*>(values + bin * level.channels + c);
#pragma unroll
            for (int n = 0; n < N; n += 4) {
                kept[n / 4 ^ turned] = make_float4(pooled[n], pooled[n + 1], pooled[n + 2], pooled[n + 3]);
            }
        } else {
            *reinterpret_cast<Pack<T, N>*>(out + c) = pack;
        }
    }
    if (!work.normalize) return;

    // every thread of the warp takes part, those without a bin with nothing
    for (int d = level.lanes / 2; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    const float factor = factor_of(work, sum);
    for (int c = lane * N; busy && c < level.channels; c += level.lanes * N) {
        const float4* kept = reinterpret_cast<const float4*>(values + bin * level.channels + c);
        Pack<T, N> pack;
#pragma unroll
        for (int n = 0; n < N; n += 4) {
            const float4 four = kept[n / 4 ^ turned];
            pack.items[n] = narrow<T>(four.x * factor);
            pack.items[n + 1] = narrow<T>(four.y * factor);
            pack.items[n + 2] = narrow<T>(four.z * factor);
            pack.items[n + 3] = narrow<T>(four.w * factor);
        }
        *reinterpret_cast<Pack<T, N>*>(out + c) = pack;
    }
}

// How the bins of a level are shared out among blocks, and the threads of a block among bins.
template <typename T>
int share_out_interleaved(Level& level, const nasion_roi_align& arguments) {
    const int area = arguments.size * arguments.size, packs = level.channels / kPack<T>;
    level.lanes = 1;
    while (level.lanes < 32 && level.lanes < packs) level.lanes *= 2;
    int most = std::min(kMostBins, kThreads / level.lanes);
    if (arguments.normalize) most = std::min(most, NASION_MOST_CHANNELS / level.channels);  // at least 1
    const int blocks = (area + most - 1) / most;
    level.across = (area + blocks - 1) / blocks;  // all blocks alike, rather than a small last one
    return (area + level.across - 1) / level.across;
}

}  // namespace nasion
