// Multi-level RoIAlign for channels last (batch, height, width, channels).
#pragma once

#include <algorithm>

#include "multi_level_roi_align/multi_level_roi_align.cuh"

namespace nasion {

// Blocks per multiprocessor, for up to two samples per side: the maximum without spilling registers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kInterleavedBlocks = 2;
#else
constexpr int kInterleavedBlocks = 3;
#endif

// A bin is processed by `lanes` neighbouring threads of one warp, each with 16 bytes of channels at a time: reads and
// writes are whole cache lines, and the norm is a shuffle. A block processes several bins per group of lanes, one after the
// other, so that values computed once per block are reused. Values in shared memory are read by the thread that wrote them.
template <typename T, int SAMPLING>
__global__ void __launch_bounds__(kThreads, SAMPLING > 2 ? 1 : kInterleavedBlocks) interleaved(const RoiAlignInputs inputs, T* output) {
    constexpr int N = kPack<T>, TAPS = 2 * SAMPLING;
    extern __shared__ __align__(16) float values[];
    __shared__ Cells<SAMPLING> rows[kMostBins], columns[kMostBins];
    const Level& level = level_of_block(inputs);
    const int size = inputs.size, area = size * size, thread = threadIdx.x;
    const int first_bin = (blockIdx.x - level.first_block) * level.across;
    const int bins = min(level.across, area - first_bin);
    const float* roi = inputs.rois + 5 * blockIdx.y;
    const int image = image_of(inputs, roi);
    if (thread < bins) {
        rows[thread].gather(roi[2], roi[4], quotient(first_bin + thread, size), size, level.scale, level.height);
    } else if (thread >= kThreads - bins) {
        const int last = kThreads - 1 - thread;
        const int column = first_bin + last - quotient(first_bin + last, size) * size;
        columns[last].gather(roi[1], roi[3], column, size, level.scale, level.width);
    }
    __syncthreads();

    const int group = quotient(thread, level.lanes), lane = thread & (level.lanes - 1);
    const int turned = N == 8 ? lane >> 2 & 1 : 0;  // start of a thread in its kept values: avoids bank conflicts
    float4* const kept = reinterpret_cast<float4*>(values) + group * level.channels / 4;
    const T* const maps = map_of<T>(level, image);
    T* const out = output + (static_cast<std::size_t>(blockIdx.y) * area + first_bin) * inputs.channels + level.first_channel;
#pragma unroll 1
    for (int first = 0; first < bins; first += level.at_once) {
        const int bin = first + group;
        const bool busy = group < level.at_once && bin < bins;
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
        float sum = 0.0f;
#pragma unroll 1
        for (int c = lane * N; busy && c < level.channels; c += level.lanes * N) {
            const T* const map = maps + c;
            float pooled[N] = {};
#pragma unroll
            for (int j = 0; j < TAPS; ++j) {
                if (j >= row_count) continue;
                uint4 cell[TAPS];  // cells that are not read stay undefined and are not used
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
            if (inputs.normalize) {
#pragma unroll
                for (int n = 0; n < N; ++n) sum += pooled[n] * pooled[n];
#pragma unroll
                for (int n = 0; n < N; n += 4) {
                    kept[(c + n) / 4 ^ turned] = make_float4(pooled[n], pooled[n + 1], pooled[n + 2], pooled[n + 3]);
                }
            } else {
                Pack<T, N> pack;
#pragma unroll
                for (int n = 0; n < N; ++n) pack.items[n] = narrow<T>(pooled[n]);
                *reinterpret_cast<Pack<T, N>*>(out + static_cast<std::size_t>(bin) * inputs.channels + c) = pack;
            }
        }
        if (!inputs.normalize) continue;

        // every thread of the warp takes part; threads without a bin contribute zero
        for (int d = level.lanes / 2; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
        const float factor = factor_of(inputs, sum);
        for (int c = lane * N; busy && c < level.channels; c += level.lanes * N) {
            Pack<T, N> pack;
#pragma unroll
            for (int n = 0; n < N; n += 4) {
                const float4 four = kept[(c + n) / 4 ^ turned];
                pack.items[n] = narrow<T>(four.x * factor);
                pack.items[n + 1] = narrow<T>(four.y * factor);
                pack.items[n + 2] = narrow<T>(four.z * factor);
                pack.items[n + 3] = narrow<T>(four.w * factor);
            }
            *reinterpret_cast<Pack<T, N>*>(out + static_cast<std::size_t>(bin) * inputs.channels + c) = pack;
        }
    }
}

// Distributes the bins of a level among blocks, and the threads of a block among bins.
template <typename T>
int share_out_interleaved(Level& level, const nasion_roi_align& arguments) {
    const int area = arguments.size * arguments.size, packs = level.channels / kPack<T>;
    level.lanes = 1;
    while (level.lanes < 32 && level.lanes < packs) level.lanes *= 2;
    level.at_once = std::min(kMostBins, kThreads / level.lanes);
    if (arguments.normalize) level.at_once = std::min(level.at_once, NASION_MOST_CHANNELS / level.channels);  // at least 1
    level.across = kMostBins / level.at_once * level.at_once;
    return (area + level.across - 1) / level.across;
}

}  // namespace nasion
