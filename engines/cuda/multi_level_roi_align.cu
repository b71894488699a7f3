// Multi-level RoIAlign: all levels of all regions in one launch, L2 normalisation and concatenation included.
//
// What binds it. An output value needs 4 x sampling^2 reads of a map (16 with two samples a side), nearly all of them
// hits of the L1 cache, one write, and as many multiply-adds as reads: it is bound by L1 wavefronts, then by the
// arithmetic units, never by the 4 or 2 bytes that it writes. Hence:
// - where a sample lies is worked out once per bin, not once per value, and weights and offsets of a bin sit in
//   registers while a thread goes through channels;
// - the sum is separable: 4 products along x for each of 4 rows, then 4 along y, and nothing is read twice;
// - two cells that lie side by side have one address between them, and from one channel to the next all addresses move
//   by the same step: without that, working out 16 addresses of 64 bits would take longer than the 16 reads;
// - with the channels last, a thread reads 16 bytes at once: a wavefront brings 128 bytes that are all wanted. With
//   whole planes it can only be had that neighbouring threads are neighbouring bins, which mostly share a cache line;
// - what is to be normalised waits in shared memory, as float32, so that maps are sampled once and float16 is rounded
//   once. The number of bins of a block is chosen so that 40 KB do, which needs no opt-in on any GPU.
#include "checks.h"
#include "launch.cuh"
#include "numbers.cuh"

namespace nasion {
namespace {

constexpr int kThreads = 256;
constexpr int kMostBins = 32;             // of a block; bounds the table of taps
constexpr int kSharedBytes = 40 * 1024;   // for values; with the tables below it stays under 48 KB

struct Level {
    const void* data;
    int channels, height, width;
    float scale;
    int first_channel;  // in the output
    int first_block;    // of those that work on one region
    int bins;           // of a block, each with `lanes` threads (channels last) or one thread a channel (planes)
    int lanes;
};

// Passed by value, so that no table has to be copied to the device before the launch.
struct Work {
    Level levels[NASION_MOST_LEVELS];
    int level_count;
    int batch, size, channels;
    bool normalize;
    float epsilon;
    const float* rois;
};

// A sample along one axis lies between a cell and the next one.
struct Tap {
    int first;  // elements from the start of the map
    float here, next;  // weights of the two
};

template <int SAMPLING>
struct Taps {
    Tap x[SAMPLING], y[SAMPLING];
};

__device__ Tap tap(float low, float high, int sample, int steps, float scale, int cells, int stride) {
    const float place = low + fmaxf(high - low, 0.0f) * ((sample + 0.5f) / steps);
    const float cell = (place + 0.5f) * scale - 0.5f;
    if (!(cell > -1.0f && cell < cells)) return {0, 0.0f, 0.0f};  // too far outside, or not a number
    const float inside = fminf(fmaxf(cell, 0.0f), cells - 1.0f);
    const int first = min(static_cast<int>(inside), max(cells - 2, 0));  // the last cell is one that comes next
    const float part = inside - first;
    return {first * stride, 1.0f - part, part};
}

// The whole block fills the table for its bins.
template <int SAMPLING>
__device__ void fill(Taps<SAMPLING>* table, const Work& work, const Level& level, const float* roi, int first_bin, int bins,
                     int column_stride) {
    const int steps = work.size * SAMPLING;
    for (int i = threadIdx.x; i < bins * 2 * SAMPLING; i += kThreads) {
        const int bin = i / (2 * SAMPLING), which = i % SAMPLING;
        const bool down = i % (2 * SAMPLING) >= SAMPLING;
        const int cell = first_bin + bin;
        const int sample = (down ? cell / work.size : cell % work.size) * SAMPLING + which;
        Tap found = down ? tap(roi[2], roi[4], sample, steps, level.scale, level.height, level.width * column_stride)
                         : tap(roi[1], roi[3], sample, steps, level.scale, level.width, column_stride);
        found.here *= 1.0f / SAMPLING;
        found.next *= 1.0f / SAMPLING;
        (down ? table[bin].y : table[bin].x)[which] = found;
    }
}

// What a thread keeps of a bin while it goes through channels.
template <int SAMPLING>
struct Bin {
    unsigned at[2 * SAMPLING][SAMPLING];  // in each row, the left one of two cells
    float across[2 * SAMPLING], down[2 * SAMPLING];

    __device__ Bin(const Taps<SAMPLING>& taps, int next_row) {
#pragma unroll
        for (int j = 0; j < SAMPLING; ++j) {
            across[2 * j] = taps.x[j].here, across[2 * j + 1] = taps.x[j].next;
            down[2 * j] = taps.y[j].here, down[2 * j + 1] = taps.y[j].next;
#pragma unroll
            for (int i = 0; i < SAMPLING; ++i) {
                at[2 * j][i] = taps.y[j].first + taps.x[i].first;
                at[2 * j + 1][i] = at[2 * j][i] + next_row;
            }
        }
    }
};

__device__ const Level& level_of_block(const Work& work) {
    int i = 0;
    while (i + 1 < work.level_count && static_cast<int>(blockIdx.x) >= work.levels[i + 1].first_block) ++i;
    return work.levels[i];
}

// The image of a region, or -1 for a region of none.
__device__ int image_of(const Work& work, const float* roi) {
    return roi[0] >= 0.0f && roi[0] < work.batch ? static_cast<int>(roi[0]) : -1;
}

template <typename T>
__device__ const T* map_of(const Level& level, int image) {
    const std::size_t elements = static_cast<std::size_t>(level.channels) * level.height * level.width;
    return static_cast<const T*>(level.data) + (image < 0 ? 0 : image) * elements;
}

// N channels of a bin. `next` elements lie between a cell and its right neighbour.
template <typename T, int SAMPLING, int N>
__device__ __forceinline__ void pool(const T* map, const Bin<SAMPLING>& bin, int next, float (&values)[N]) {
#pragma unroll
    for (int n = 0; n < N; ++n) values[n] = 0.0f;
#pragma unroll
    for (int j = 0; j < 2 * SAMPLING; ++j) {
        float row[N] = {};
#pragma unroll
        for (int i = 0; i < 2 * SAMPLING; ++i) {
            const Pack<T, N> pack = load<T, N>(map + bin.at[j][i / 2] + i % 2 * next);
#pragma unroll
            for (int n = 0; n < N; ++n) row[n] += bin.across[i] * widen(pack.items[n]);
        }
#pragma unroll
        for (int n = 0; n < N; ++n) values[n] += bin.down[j] * row[n];
    }
}

// Planes (batch, channels, height, width). A block has some bins of one level of one region; its threads are
// bins x channels, bins fastest, so that a warp reads within few rows and writes runs of bins.
template <typename T, int SAMPLING>
__global__ void __launch_bounds__(kThreads) planes(const Work work, T* output) {
    extern __shared__ __align__(16) float values[];
    __shared__ Taps<SAMPLING> table[kMostBins];
    __shared__ float squares[kThreads];
    const Level& level = level_of_block(work);
    const int cells = work.size * work.size;
    const int first_bin = (blockIdx.x - level.first_block) * level.bins;
    const int bins = min(level.bins, cells - first_bin);
    const float* roi = work.rois + 5 * blockIdx.y;
    const int image = image_of(work, roi);
    fill<SAMPLING>(table, work, level, roi, first_bin, bins, 1);
    __syncthreads();

    const int bin = threadIdx.x % bins, first_channel = threadIdx.x / bins;
    const int at_once = kThreads / bins;  // channels that the block works on at a time
    const bool busy = first_channel < at_once;
    const int channels = busy ? level.channels : 0;
    const std::size_t plane = static_cast<std::size_t>(level.height) * level.width;
    const T* map = map_of<T>(level, image) + first_channel * plane;
    T* const out =
        output + (static_cast<std::size_t>(blockIdx.y) * work.channels + level.first_channel) * cells + first_bin + bin;
    const Bin<SAMPLING> taps(table[bin], level.height > 1 ? level.width : 0);
    float sum = 0.0f;
    // addresses are carried on from channel to channel: worked out anew they would take more time than all the rest
    for (int c = first_channel; c < channels; c += at_once, map += at_once * plane) {
        float value[1];
        if (level.width > 1) {
            pool<T, SAMPLING, 1>(map, taps, 1, value);  // a number that is known, and so part of the instruction
        } else {
            pool<T, SAMPLING, 1>(map, taps, 0, value);
        }
        if (image < 0) value[0] = 0.0f;
        if (work.normalize) {
            values[c * bins + bin] = value[0];  // read again by this very thread
            sum += value[0] * value[0];
        } else {
            out[c * cells] = narrow<T>(value[0]);
        }
    }
    if (!work.normalize) return;

    squares[threadIdx.x] = sum;
    __syncthreads();
    float total = 0.0f;
    for (int i = 0; i < at_once; ++i) total += squares[i * bins + bin];
    const float factor = 1.0f / fmaxf(sqrtf(total), work.epsilon);
    for (int c = first_channel; c < channels; c += at_once) {
        out[c * cells] = narrow<T>(values[c * bins + bin] * factor);
    }
}

// Channels last (batch, height, width, channels). A bin belongs to `lanes` neighbouring threads of one warp, each of
// which has 16 bytes of channels at a time: reads and writes are whole cache lines, and the norm is a shuffle.
template <typename T, int SAMPLING>
__global__ void __launch_bounds__(kThreads) interleaved(const Work work, T* output) {
    constexpr int N = kPack<T>;
    extern __shared__ __align__(16) float values[];
    __shared__ Taps<SAMPLING> table[kMostBins];
    const Level& level = level_of_block(work);
    const int cells = work.size * work.size;
    const int first_bin = (blockIdx.x - level.first_block) * level.bins;
    const int bins = min(level.bins, cells - first_bin);
    const float* roi = work.rois + 5 * blockIdx.y;
    const int image = image_of(work, roi);
    fill<SAMPLING>(table, work, level, roi, first_bin, bins, level.channels);
    __syncthreads();

    const int bin = threadIdx.x / level.lanes, lane = threadIdx.x % level.lanes;
    const bool busy = bin < bins;
    const T* map = map_of<T>(level, image) + lane * N;
    T* out = output + (static_cast<std::size_t>(blockIdx.y) * cells + first_bin + bin) * work.channels + level.first_channel;
    const Bin<SAMPLING> taps(table[busy ? bin : 0], level.height > 1 ? level.width * level.channels : 0);
    const int next = level.width > 1 ? level.channels : 0;
    float sum = 0.0f;
    for (int c = lane * N; busy && c < level.channels; c += level.lanes * N, map += level.lanes * N) {
        float pooled[N];
        pool<T, SAMPLING, N>(map, taps, next, pooled);
        Pack<T, N> pack;
#pragma unroll
        for (int n = 0; n < N; ++n) {
            if (image < 0) pooled[n] = 0.0f;
            sum += pooled[n] * pooled[n];
            pack.items[n] = narrow<T>(pooled[n]);
        }
        if (work.normalize) {
            float4* kept = reinterpret_cast<float4*>(values + bin * level.channels + c);
#pragma unroll
            for (int n = 0; n < N; n += 4) kept[n / 4] = make_float4(pooled[n], pooled[n + 1], pooled[n + 2], pooled[n + 3]);
        } else {
            *reinterpret_cast<Pack<T, N>*>(out + c) = pack;
        }
    }
    if (!work.normalize) return;

    // every thread of the warp takes part, those without a bin with nothing
    for (int d = level.lanes / 2; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    const float factor = 1.0f / fmaxf(sqrtf(sum), work.epsilon);
    for (int c = lane * N; busy && c < level.channels; c += level.lanes * N) {
        const float4* kept = reinterpret_cast<const float4*>(values + bin * level.channels + c);
        Pack<T, N> pack;
#pragma unroll
        for (int n = 0; n < N; n += 4) {
            const float4 four = kept[n / 4];
            pack.items[n] = narrow<T>(four.x * factor);
            pack.items[n + 1] = narrow<T>(four.y * factor);
            pack.items[n + 2] = narrow<T>(four.z * factor);
            pack.items[n + 3] = narrow<T>(four.w * factor);
        }
        *reinterpret_cast<Pack<T, N>*>(out + c) = pack;
    }
}

// How the bins of a level are shared out among blocks; returns the number of blocks.
int share_out(Level& level, const nasion_roi_align& arguments) {
    const int cells = arguments.size * arguments.size;
    int most = kMostBins;
    level.lanes = 1;
    if (arguments.channels_last) {
        const int packs = level.channels / (arguments.half ? kPack<__half> : kPack<float>);
        while (level.lanes < 32 && level.lanes < packs) level.lanes *= 2;
        most = kThreads / level.lanes < most ? kThreads / level.lanes : most;
    }
    if (arguments.normalize) {
        const int room = kSharedBytes / (4 * level.channels);  // at least 1: check() saw to it
        most = room < most ? room : most;
    }
    const int blocks = (cells + most - 1) / most;
    level.bins = (cells + blocks - 1) / blocks;  // all blocks alike, rather than a small last one
    return (cells + level.bins - 1) / level.bins;
}

template <typename T, int SAMPLING>
int run(const Work& work, const nasion_roi_align& arguments, dim3 grid, std::size_t shared, cudaStream_t stream) {
    auto* kernel = arguments.channels_last ? interleaved<T, SAMPLING> : planes<T, SAMPLING>;
    return launch(kernel, grid, dim3(kThreads), shared, stream, work, static_cast<T*>(arguments.output));
}

template <typename T>
int run(const Work& work, const nasion_roi_align& arguments, dim3 grid, std::size_t shared, cudaStream_t stream) {
    switch (arguments.sampling) {
        case 1: return run<T, 1>(work, arguments, grid, shared, stream);
        case 2: return run<T, 2>(work, arguments, grid, shared, stream);
        case 3: return run<T, 3>(work, arguments, grid, shared, stream);
        default: return run<T, 4>(work, arguments, grid, shared, stream);
    }
}

}  // namespace
}  // namespace nasion

int nasion_multi_level_roi_align(const nasion_roi_align* arguments, cudaStream_t stream) {
    using namespace nasion;
    if (const int status = check(*arguments)) return status;
    if (arguments->regions == 0) return NASION_OK;
    Work work = {};
    work.level_count = arguments->level_count;
    work.batch = arguments->batch;
    work.size = arguments->size;
    work.normalize = arguments->normalize != 0;
    work.epsilon = arguments->epsilon;
    work.rois = arguments->rois;
    int blocks = 0;
    std::size_t shared = 0;
    for (int i = 0; i < work.level_count; ++i) {
        const nasion_level& given = arguments->levels[i];
        Level& level = work.levels[i];
        level = {given.data, given.channels, given.height, given.width, given.scale, work.channels, blocks, 0, 0};
        blocks += share_out(level, *arguments);
        work.channels += given.channels;
        const std::size_t needed = work.normalize ? sizeof(float) * given.channels * level.bins : 0;
        shared = needed > shared ? needed : shared;
    }
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(arguments->regions));
    return arguments->half ? run<__half>(work, *arguments, grid, shared, stream)
                           : run<float>(work, *arguments, grid, shared, stream);
}
