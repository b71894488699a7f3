// Loads and stores of float16 and float32 in kernels: 16 bytes at a time, with all arithmetic in float32.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

namespace nasion {

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }

template <typename T>
__device__ __forceinline__ T narrow(float value);
template <>
__device__ __forceinline__ float narrow<float>(float value) { return value; }
template <>
__device__ __forceinline__ __half narrow<__half>(float value) { return __float2half_rn(value); }

// N elements loaded by one instruction: 16 bytes if the layout allows it, else a single element.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
    T items[N];
};

template <typename T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));

// Loads through the read-only cache; kernels never write their inputs.
template <typename T, int N>
__device__ __forceinline__ Pack<T, N> load(const T* address) {
    Pack<T, N> pack;
    if constexpr (sizeof(pack) == 16) {
        const uint4 bits = __ldg(reinterpret_cast<const uint4*>(address));
        memcpy(&pack, &bits, sizeof(bits));
    } else {
        pack.items[0] = __ldg(address);
    }
    return pack;
}

}  // namespace nasion
