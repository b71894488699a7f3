// As much of CUDA as our kernels use, on a CPU, so that they are tested where there is no GPU: blocks one after the
// other, the threads of a block as fibers that run until they finish or meet a barrier. Slow, and blind to races within
// a warp; but indices, bounds, barriers and shuffles are the kernels' own.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static  // blocks never overlap
#define __forceinline__ inline
#define __launch_bounds__(...)

typedef struct CUstream_st* cudaStream_t;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(2) uchar2 { unsigned char x, y; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

using std::max;
using std::min;

namespace emulated {

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool done;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<char> shared;
    std::vector<std::uint64_t> exchange;  // a value of each thread, for shuffles
    ucontext_t scheduler;
    std::function<void()> body;
    unsigned current = 0;
};

// A read of device memory, in the order in which its thread made them.
struct Read {
    std::uint64_t block, thread, address;
};

inline Block block;
inline std::uint64_t blocks = 0;  // begun so far
inline std::vector<Read> reads;
inline bool watched = false;  // whether reads are kept
inline dim3 thread_place, block_place;

inline void begin() {
    block.body();
    block.fibers[block.current].done = true;
    swapcontext(&block.fibers[block.current].context, &block.scheduler);
}

// Every thread that is not done must come here before any goes on.
inline void barrier() {
    const unsigned self = block.current;
    const dim3 place = thread_place;
    swapcontext(&block.fibers[self].context, &block.scheduler);
    thread_place = place;
}

inline void run_block(dim3 threads) {
    const unsigned count = threads.x * threads.y * threads.z;
    block.fibers.resize(count);
    block.exchange.resize(count);
    for (auto& fiber : block.fibers) {
        fiber.stack.resize(64 * 1024);
        fiber.done = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &block.scheduler;
        makecontext(&fiber.context, begin, 0);
    }
    for (bool busy = true; busy;) {
        busy = false;
        unsigned waiting = 0, finished = 0;
        for (unsigned i = 0; i < count; ++i) {
            if (block.fibers[i].done) continue;
            block.current = i;
            thread_place = dim3(i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y);
            swapcontext(&block.scheduler, &block.fibers[i].context);
            (block.fibers[i].done ? finished : waiting) += 1;
        }
        // on a GPU some would wait for others that never come
        if (waiting && finished) {
            std::fprintf(stderr, "emulated CUDA: a barrier that not all threads of a block reach\n");
            std::abort();
        }
        busy = waiting > 0;
    }
}

template <typename T>
T shuffle(T value, unsigned from) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    std::memcpy(&block.exchange[block.current], &value, sizeof(T));
    barrier();
    T found;
    std::memcpy(&found, &block.exchange[from], sizeof(T));
    barrier();
    return found;
}

inline float* dynamic_shared() {
    auto address = reinterpret_cast<std::uintptr_t>(block.shared.data());
    return reinterpret_cast<float*>((address + 15) / 16 * 16);
}

}  // namespace emulated

#define threadIdx (emulated::thread_place)
#define blockIdx (emulated::block_place)

inline void __syncthreads() { emulated::barrier(); }

// Within the warp of 32; a lane beyond it gives its own value back.
template <typename T>
T __shfl_down_sync(unsigned, T value, int distance) {
    const unsigned self = emulated::block.current, lane = self % 32;
    return emulated::shuffle(value, lane + distance < 32 ? self + distance : self);
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return emulated::shuffle(value, emulated::block.current ^ static_cast<unsigned>(mask));
}

template <typename T>
T __ldg(const T* address) {
    using namespace emulated;
    if (watched) reads.push_back({blocks, block.current, reinterpret_cast<std::uint64_t>(address)});
    return *address;
}

inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(high) << 32 | low;
    unsigned out = 0;
    for (int i = 0; i < 4; ++i) out |= static_cast<unsigned>(bytes >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
    return out;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdividef(float a, float b) { return a / b; }
inline int __float2int_rd(float value) { return static_cast<int>(std::floor(value)); }
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) >> (shift & 31));
}

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes;
    cudaStream_t stream;
};

template <typename... Parameters, typename... Arguments>
int cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments... arguments) {
    using namespace emulated;
    const dim3 grid = config->gridDim, threads = config->blockDim;
    if (threads.x * threads.y * threads.z > 1024 || config->dynamicSmemBytes > 48 * 1024) return 1;
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535) return 1;
    block.body = [&] { kernel(arguments...); };
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                block_place = dim3(x, y, z);
                ++blocks;
                block.shared.assign(config->dynamicSmemBytes + 16, '\xff');  // what is read unwritten is not a number
                run_block(threads);
            }
        }
    }
    return 0;
}
