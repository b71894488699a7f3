// Crops of a frame: cut out, turned, scaled, converted to BGR or RGB and normalised in one launch for all of them.
//
// Limiting factor: a pixel of a crop costs 12 bytes written (6 as float16) and some 80 instructions, half of them to
// unpack four pixels of the frame; the frame itself is small and is read from the L2 cache. An H100 is therefore limited
// by memory for float32, and by instruction issue for float16. Hence:
// - Two neighbouring BGR pixels are six bytes. They are read as two aligned words (three for one position in four) and
//   aligned by a funnel shift: four or five reads instead of twelve.
// - A pixel whose four neighbours are all inside the frame, the most common case, needs no further checks and no
//   division.
// - A thread computes several pixels in a column and shares the values that hold for the whole crop.
// - A warp computes a row of 32 pixels of a crop: each channel is written as one run of 128 (or 64) bytes, and the reads
//   hit few cache lines.
// - A crop that shrinks the frame is not sampled from a smaller copy, which would take a launch per halving and a pass
//   through memory. Instead the mean of a halved pixel is computed while sampling. Most pixels are then read only once,
//   since a crop samples the halved frame at more than one and a quarter of its pixels.
//
// Compiled by nvcc as part of crop.cu, and by NVRTC at run time (engines/operators/compiled_crop.py): it includes no
// header of the host.
#pragma once

#include "common/numbers.cuh"

namespace nasion {
namespace cropping {

constexpr int kColumns = 32, kRows = 8;  // threads of a block
constexpr int kDeep = 4;                 // pixels per thread, kRows apart

// Passed by value. The address of a plane is a byte pointer.
struct CropInputs {
    const unsigned char *first, *second;
    int first_pitch, second_pitch;
    int frame_width, frame_height;
    float right, bottom;  // the last pixels of the frame
    float colour[12];
    const float* transforms;
    int height, width;
    float scale[3], shift[3];  // in the order blue, green, red
    bool rgb;
};

// Weighted sums of blue, green, red or Y, U, V, and the part of the weight inside the frame.
struct Sum {
    float a, b, c, inside;

    __device__ void add(float weight, float x, float y, float z) {
        a += weight * x;
        b += weight * y;
        c += weight * z;
    }
};

enum class Source { bgr_bytes, bgr_words, nv12 };

// Converts a byte through the mantissa of 2^23, which is then subtracted: a GPU adds at twice the rate of conversions.
__device__ __forceinline__ float byte(unsigned word, int which) {
    return __uint_as_float(__byte_perm(word, 0x4b000000, 0x7440 + which)) - 8388608.0f;
}

// Adds the pixels (x, y) and (x + 1, y), both inside the frame, without updating the weight inside.
template <Source SOURCE>
__device__ __forceinline__ void add_pair(const CropInputs& inputs, int y, int x, float left, float right, Sum& sum) {
    const unsigned char* row = inputs.first + static_cast<std::size_t>(y) * inputs.first_pitch;
    if constexpr (SOURCE == Source::bgr_words) {
        const auto* words = reinterpret_cast<const unsigned*>(row + (3 * x & ~3));
        const unsigned shift = (3 * x & 3) * 8;  // the same in every row, because all rows start at a word boundary
        const unsigned w0 = __ldg(words), w1 = __ldg(words + 1);
        const unsigned w2 = shift == 24 ? __ldg(words + 2) : 0;  // otherwise it may be beyond the end of the row
        const unsigned low = __funnelshift_r(w0, w1, shift), high = __funnelshift_r(w1, w2, shift);
        sum.add(left, byte(low, 0), byte(low, 1), byte(low, 2));
        sum.add(right, byte(low, 3), byte(high, 0), byte(high, 1));
    } else if constexpr (SOURCE == Source::bgr_bytes) {
        const unsigned char* p = row + 3 * x;
        sum.add(left, __ldg(p), __ldg(p + 1), __ldg(p + 2));
        sum.add(right, __ldg(p + 3), __ldg(p + 4), __ldg(p + 5));
    } else {
        const unsigned char* below = inputs.second + static_cast<std::size_t>(y / 2) * inputs.second_pitch;
        const auto* chroma = reinterpret_cast<const unsigned short*>(below);
        const unsigned uv = __ldg(chroma + x / 2), next = __ldg(chroma + (x + 1) / 2);
        sum.add(left, byte(__ldg(row + x), 0), byte(uv, 0), byte(uv, 1));
        sum.add(right, byte(__ldg(row + x + 1), 0), byte(next, 0), byte(next, 1));
    }
}

// The two blocks of pixels around a position along one axis, and the weight of a pixel of each. A block of a frame that
// is not halved is one pixel. Blocks outside the frame have weight 0.
struct Axis {
    int start;  // first pixel of the first block
    float near, far;

    __device__ Axis(float place, int block, int pixels) : start(-2 * block), near(0.0f), far(0.0f) {
        const float cell = (place + 0.5f) * (1.0f / block) - 0.5f;  // division by a power of two is exact
        // all positions outside are equivalent to -2, and so is NaN
        if (!(cell >= -1.0f && cell < pixels)) return;
        const float low = floorf(cell);
        start = static_cast<int>(low) * block;
        near = start >= 0 && start < pixels ? (1.0f - (cell - low)) / min(block, pixels - start) : 0.0f;
        far = start + block < pixels ? (cell - low) / min(block, pixels - start - block) : 0.0f;
    }

    __device__ bool misses() const { return near == 0.0f && far == 0.0f; }
};

// Samples the frame without halving, between four of its pixels.
template <Source SOURCE>
__device__ __forceinline__ Sum between(const CropInputs& inputs, float x, float y) {
    const int column = __float2int_rd(x), row = __float2int_rd(y);
    const float right = x - column, lower = y - row, corner = right * lower;
    Sum sum = {0.0f, 0.0f, 0.0f, 1.0f};
    add_pair<SOURCE>(inputs, row, column, (1.0f - right) - (lower - corner), right - corner, sum);
    add_pair<SOURCE>(inputs, row + 1, column, lower - corner, corner, sum);
    return sum;
}

// Samples the frame without halving at its border, where some of the four pixels are outside.
template <Source SOURCE>
__device__ Sum at_border(const CropInputs& inputs, const Axis& x, const Axis& y) {
    Sum sum = {};
    if (x.misses() || y.misses()) return sum;
    // a pair that starts before the frame, or ends after it, is shifted by one together with its weights
    const int column = min(max(x.start, 0), inputs.frame_width - 2);
    const float left = column == x.start ? x.near : column > x.start ? x.far : 0.0f;
    const float right = column == x.start ? x.far : column > x.start ? 0.0f : x.near;
    // a row outside has weight 0; any other row can be read instead
    const int upper = max(y.start, 0), lower = min(y.start + 1, inputs.frame_height - 1);
    add_pair<SOURCE>(inputs, upper, column, y.near * left, y.near * right, sum);
    add_pair<SOURCE>(inputs, lower, column, y.far * left, y.far * right, sum);
    sum.inside = (y.near + y.far) * (left + right);
    return sum;
}

// Samples the frame as if it was halved until `block` pixels are one: all pixels of the four blocks, pair by pair.
template <Source SOURCE>
__device__ Sum averaged(const CropInputs& inputs, const Axis& x, const Axis& y, int block) {
    Sum sum = {};
    if (x.misses() || y.misses()) return sum;
    const int bottom = min(y.start + 2 * block, inputs.frame_height), end = min(x.start + 2 * block, inputs.frame_width);
    for (int row = max(y.start, 0); row < bottom; ++row) {
        const float down = row < y.start + block ? y.near : y.far;
        for (int pixel = max(x.start, 0); pixel < end; pixel += 2) {  // block sizes are even, so a pair is in one block
            const float weight = down * (pixel < x.start + block ? x.near : x.far);
            if (pixel + 1 < end) {
                add_pair<SOURCE>(inputs, row, pixel, weight, weight, sum);
                sum.inside += 2.0f * weight;
            } else {
                add_pair<SOURCE>(inputs, row, pixel - 1, 0.0f, weight, sum);
                sum.inside += weight;
            }
        }
    }
    return sum;
}

// Number of times the frame is halved before it is sampled for a crop.
__device__ inline int halvings(const CropInputs& inputs, const float* transform) {
    float square = transform[0] * transform[0] + transform[3] * transform[3];  // of the pixels of the frame per pixel of the crop
    int width = inputs.frame_width, height = inputs.frame_height, count = 0;
    while (square > 6.25f && width >= 2 * inputs.width && height >= 2 * inputs.height) {
        square *= 0.25f;
        width = (width + 1) / 2;
        height = (height + 1) / 2;
        ++count;
    }
    return count;
}

template <Source SOURCE>
__device__ float3 colour_of(const CropInputs& inputs, const Sum& sum) {
    if constexpr (SOURCE != Source::nv12) return make_float3(sum.a, sum.b, sum.c);
    const auto channel = [&](const float* row) {
        return fminf(fmaxf(row[0] * sum.a + row[1] * sum.b + row[2] * sum.c + row[3] * sum.inside, 0.0f), 255.0f);
    };
    return make_float3(channel(inputs.colour), channel(inputs.colour + 4), channel(inputs.colour + 8));
}

template <Source SOURCE>
__device__ __forceinline__ Sum sample(const CropInputs& inputs, float x, float y, int halved) {
    if (halved) {
        const int block = 1 << halved;
        return averaged<SOURCE>(inputs, Axis(x, block, inputs.frame_width), Axis(y, block, inputs.frame_height), block);
    }
    // written so that every comparison with NaN is false
    if (x >= 0.0f && x < inputs.right && y >= 0.0f && y < inputs.bottom) return between<SOURCE>(inputs, x, y);
    return at_border<SOURCE>(inputs, Axis(x, 1, inputs.frame_width), Axis(y, 1, inputs.frame_height));
}

template <Source SOURCE, typename T>
__global__ void __launch_bounds__(kColumns* kRows) crops(const CropInputs inputs, T* output) {
    const int column = blockIdx.x * kColumns + threadIdx.x, first = blockIdx.y * kRows * kDeep + threadIdx.y;
    if (column >= inputs.width) return;
    float t[6];
#pragma unroll
    for (int i = 0; i < 6; ++i) t[i] = __ldg(inputs.transforms + 6 * blockIdx.z + i);
    const int halved = halvings(inputs, t);  // the same for the whole crop, so that no warp diverges
    const float left = t[0] * column + t[2], top = t[3] * column + t[5];
    const int plane = inputs.height * inputs.width, rows = min((inputs.height - first + kRows - 1) / kRows, kDeep);
    T* green = output + (3 * static_cast<std::size_t>(blockIdx.z) + 1) * plane + first * inputs.width + column;
    T *blue = green + (inputs.rgb ? plane : -plane), *red = green + (inputs.rgb ? -plane : plane);
    const int step = kRows * inputs.width;
    for (int i = 0; i < rows; ++i, blue += step, green += step, red += step) {
        const int row = first + i * kRows;
        const float3 colour = colour_of<SOURCE>(inputs, sample<SOURCE>(inputs, t[1] * row + left, t[4] * row + top, halved));
        *blue = narrow<T>(colour.x * inputs.scale[0] + inputs.shift[0]);
        *green = narrow<T>(colour.y * inputs.scale[1] + inputs.shift[1]);
        *red = narrow<T>(colour.z * inputs.scale[2] + inputs.shift[2]);
    }
}

}  // namespace cropping
}  // namespace nasion
