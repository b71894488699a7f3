// Location reweighting: score maps to points and confidence in one pass.
//
// Limiting factor: memory bandwidth, because every cell is read once from device memory and hardly anything is written.
// Hence one block per map, 16 bytes per thread and load, and four loads in flight before the first is used: with 256
// threads that is 16 KB per block, and some 25 KB in flight per multiprocessor keep the memory of an H200 busy. Only cells
// that reach the threshold add to the sums, which is rare, so coordinates are computed for these cells only. The order of
// additions is fixed: the result is the same in every run, alone or in a batch.
#include "common/checks.h"
#include "common/launch.cuh"
#include "common/numbers.cuh"

namespace nasion {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kAhead = 4;  // loads in flight

struct Found {
    float peak;
    int highest;  // the first cell that holds the peak
    float total, x, y;
};

__device__ void merge(Found& mine, const Found& other) {
    if (other.peak > mine.peak || (other.peak == mine.peak && other.highest < mine.highest)) {
        mine.peak = other.peak;
        mine.highest = other.highest;
    }
    mine.total += other.total;
    mine.x += other.x;
    mine.y += other.y;
}

__device__ Found from_lane_below(const Found& mine, int distance) {
    constexpr unsigned kAll = 0xffffffffu;
    return {__shfl_down_sync(kAll, mine.peak, distance), __shfl_down_sync(kAll, mine.highest, distance),
            __shfl_down_sync(kAll, mine.total, distance), __shfl_down_sync(kAll, mine.x, distance),
            __shfl_down_sync(kAll, mine.y, distance)};
}

template <typename T, int N>
__device__ void look_at(const Pack<T, N>& pack, int first, int width, float threshold, Found& found) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
        const float value = widen(pack.items[n]);
        if (value > found.peak) {
            found.peak = value;
            found.highest = first + n;
        }
        if (value >= threshold) {
            found.total += value;
            found.x += value * ((first + n) % width);
            found.y += value * ((first + n) / width);
        }
    }
}

// Shift of a quarter of a cell towards the higher neighbour along an axis; 0 at the edge of the map or between equals.
template <typename T>
__device__ float lean(const T* map, int place, int position, int cells, int step) {
    if (position == 0 || position == cells - 1) return 0.0f;
    const float before = widen(map[place - step]), after = widen(map[place + step]);
    return after > before ? 0.25f : after < before ? -0.25f : 0.0f;
}

template <typename T>
__device__ float2 place_of(const Found& found, const T* map, int height, int width, float threshold) {
    if (found.peak >= threshold) {
        const float total = fmaxf(found.total, 1e-6f);
        return make_float2(found.x / total, found.y / total);
    }
    const int column = found.highest % width, row = found.highest / width;
    return make_float2(column + lean(map, found.highest, column, width, 1),
                       row + lean(map, found.highest, row, height, width));
}

// N: elements per load, a divisor of the number of cells of a map.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads) reweight(const T* maps, int height, int width, float threshold, float2* places,
                                                     float* confidence) {
    const int packs = height * width / N;
    const T* map = maps + static_cast<std::size_t>(blockIdx.x) * height * width;
    Found found = {-INFINITY, 0, 0.0f, 0.0f, 0.0f};
    for (int first = threadIdx.x; first < packs; first += kAhead * kThreads) {
        Pack<T, N> ahead[kAhead];
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
            const int place = first + i * kThreads;
            if (place < packs) ahead[i] = load<T, N>(map + place * N);
        }
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
            const int place = first + i * kThreads;
            if (place < packs) look_at<T, N>(ahead[i], place * N, width, threshold, found);
        }
    }
    // a thread without cells reports cell 0 at -infinity, which no map has, unless all of its cells are -infinity
    __shared__ Found of_warps[kWarps];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) merge(found, from_lane_below(found, distance));
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = found;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int i = 1; i < kWarps; ++i) merge(found, of_warps[i]);
    places[blockIdx.x] = place_of(found, map, height, width, threshold);
    confidence[blockIdx.x] = found.peak;
}

template <typename T>
int run(const nasion_reweight& arguments, cudaStream_t stream) {
    const bool whole = arguments.height * arguments.width % kPack<T> == 0 && aligned(arguments.maps, 16);
    auto* kernel = whole ? reweight<T, kPack<T>> : reweight<T, 1>;
    const dim3 grid(static_cast<unsigned>(arguments.regions * arguments.points));
    return launch(kernel, grid, dim3(kThreads), 0, stream, static_cast<const T*>(arguments.maps), arguments.height,
                  arguments.width, arguments.threshold, reinterpret_cast<float2*>(arguments.places), arguments.confidence);
}

}  // namespace
}  // namespace nasion

int nasion_location_reweight(const nasion_reweight* arguments, cudaStream_t stream) {
    using namespace nasion;
    if (const int status = check(*arguments)) return status;
    if (arguments->regions == 0 || arguments->points == 0) return NASION_OK;
    return arguments->half ? run<__half>(*arguments, stream) : run<float>(*arguments, stream);
}
