// Crops of a frame: cut out, turned, scaled, converted to BGR or RGB and normalised in one launch for all of them.
//
// What binds it. A pixel of a crop costs 12 bytes written (6 as float16) and some 80 instructions, half of them to take
// four pixels of the frame apart; the frame itself is small and comes from the L2 cache. So an H100 waits for its memory
// with float32, and for its schedulers with float16. Hence:
// - two neighbouring BGR pixels are six bytes, and come as two aligned words (three for one place in four), which a
//   funnel shift puts right: four or five reads instead of twelve;
// - a pixel whose four neighbours all lie within the frame, as nearly all do, is asked nothing else; and nothing is
//   divided for it;
// - a thread makes several pixels, one below the other: what holds for the whole crop is worked out once for them;
// - a warp makes a row of 32 pixels of a crop: a channel of it is written as one run of 128 (or 64) bytes, and what it
//   reads lies within few cache lines;
// - a crop that shrinks the frame is not sampled from a smaller copy, which would be a launch for each halving and a
//   pass through memory: the mean of a halved pixel is taken while sampling. Of the pixels read in this way most are
//   needed once only, since a crop samples the halved frame at more than one and a quarter of its pixels.
#include "checks.h"
#include "launch.cuh"
#include "numbers.cuh"

namespace nasion {
namespace {

constexpr int kColumns = 32, kRows = 8;  // threads of a block
constexpr int kDeep = 4;                 // pixels of a thread, kRows apart

// Passed by value. A plane's address is kept as bytes.
struct Work {
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

// Blue, green, red or Y, U, V, weighted; and how much of the weight lay within the frame.
struct Sum {
    float a, b, c, inside;

    __device__ void add(float weight, float x, float y, float z) {
        a += weight * x;
        b += weight * y;
        c += weight * z;
    }
};

enum class Source { bgr_bytes, bgr_words, nv12 };

// As the last digits of 2^23, which is then taken off: a GPU converts at half the rate at which it adds.
__device__ __forceinline__ float byte(unsigned word, int which) {
    return __uint_as_float(__byte_perm(word, 0x4b000000, 0x7440 + which)) - 8388608.0f;
}

// Adds the pixels (x, y) and (x + 1, y), both within the frame, but not that they are.
template <Source SOURCE>
__device__ __forceinline__ void add_pair(const Work& work, int y, int x, float left, float right, Sum& sum) {
    const unsigned char* row = work.first + static_cast<std::size_t>(y) * work.first_pitch;
    if constexpr (SOURCE == Source::bgr_words) {
        const auto* words = reinterpret_cast<const unsigned*>(row + (3 * x & ~3));
        const unsigned shift = (3 * x & 3) * 8;  // the same in every row, since all begin with a whole word
        const unsigned w0 = __ldg(words), w1 = __ldg(words + 1);
        const unsigned w2 = shift == 24 ? __ldg(words + 2) : 0;  // else it may lie behind the row
        const unsigned low = __funnelshift_r(w0, w1, shift), high = __funnelshift_r(w1, w2, shift);
        sum.add(left, byte(low, 0), byte(low, 1), byte(low, 2));
        sum.add(right, byte(low, 3), byte(high, 0), byte(high, 1));
    } else if constexpr (SOURCE == Source::bgr_bytes) {
        const unsigned char* p = row + 3 * x;
        sum.add(left, __ldg(p), __ldg(p + 1), __ldg(p + 2));
        sum.add(right, __ldg(p + 3), __ldg(p + 4), __ldg(p + 5));
    } else {
        const unsigned char* below = work.second + static_cast<std::size_t>(y / 2) * work.second_pitch;
        const auto* chroma = reinterpret_cast<const unsigned short*>(below);
        const unsigned uv = __ldg(chroma + x / 2), next = __ldg(chroma + (x + 1) / 2);
        sum.add(left, byte(__ldg(row + x), 0), byte(uv, 0), byte(uv, 1));
        sum.add(right, byte(__ldg(row + x + 1), 0), byte(next, 0), byte(next, 1));
    }
}

// Along one axis: the two blocks of pixels around a place, and what a pixel of each counts. A block of a frame that is
// not halved is one pixel. Blocks outside of the frame count nothing.
struct Axis {
    int start;  // first pixel of the first block
    float near, far;

    __device__ Axis(float place, int block, int pixels) : start(-2 * block), near(0.0f), far(0.0f) {
        const float cell = (place + 0.5f) * (1.0f / block) - 0.5f;  // a power of two: nothing is rounded
        // anywhere outside is as good as -2; what is no number is there, too
        if (!(cell >= -1.0f && cell < pixels)) return;
        const float low = floorf(cell);
        start = static_cast<int>(low) * block;
        near = start >= 0 && start < pixels ? (1.0f - (cell - low)) / min(block, pixels - start) : 0.0f;
        far = start + block < pixels ? (cell - low) / min(block, pixels - start - block) : 0.0f;
    }

    __device__ bool misses() const { return near == 0.0f && far == 0.0f; }
};

// The frame as it is, at a place between four of its pixels.
template <Source SOURCE>
__device__ __forceinline__ Sum between(const Work& work, float x, float y) {
    const int column = __float2int_rd(x), row = __float2int_rd(y);
    const float right = x - column, lower = y - row, corner = right * lower;
    Sum sum = {0.0f, 0.0f, 0.0f, 1.0f};
    add_pair<SOURCE>(work, row, column, (1.0f - right) - (lower - corner), right - corner, sum);
    add_pair<SOURCE>(work, row + 1, column, lower - corner, corner, sum);
    return sum;
}

// The frame as it is, at its border: of the four pixels some are outside.
template <Source SOURCE>
__device__ Sum at_border(const Work& work, const Axis& x, const Axis& y) {
    Sum sum = {};
    if (x.misses() || y.misses()) return sum;
    // a pair that begins before the frame, or ends behind it, moves by one, and its weights move with it
    const int column = min(max(x.start, 0), work.frame_width - 2);
    const float left = column == x.start ? x.near : column > x.start ? x.far : 0.0f;
    const float right = column == x.start ? x.far : column > x.start ? 0.0f : x.near;
    // a row outside has no weight; any other will do in its place
    const int upper = max(y.start, 0), lower = min(y.start + 1, work.frame_height - 1);
    add_pair<SOURCE>(work, upper, column, y.near * left, y.near * right, sum);
    add_pair<SOURCE>(work, lower, column, y.far * left, y.far * right, sum);
    sum.inside = (y.near + y.far) * (left + right);
    return sum;
}

// The frame as if halved until `block` pixels are one: all pixels of the four blocks, pair by pair.
template <Source SOURCE>
__device__ Sum averaged(const Work& work, const Axis& x, const Axis& y, int block) {
    Sum sum = {};
    if (x.misses() || y.misses()) return sum;
    const int bottom = min(y.start + 2 * block, work.frame_height), end = min(x.start + 2 * block, work.frame_width);
    for (int row = max(y.start, 0); row < bottom; ++row) {
        const float down = row < y.start + block ? y.near : y.far;
        for (int pixel = max(x.start, 0); pixel < end; pixel += 2) {  // blocks are even, so a pair lies in one of them
            const float weight = down * (pixel < x.start + block ? x.near : x.far);
            if (pixel + 1 < end) {
                add_pair<SOURCE>(work, row, pixel, weight, weight, sum);
                sum.inside += 2.0f * weight;
            } else {
                add_pair<SOURCE>(work, row, pixel - 1, 0.0f, weight, sum);
                sum.inside += weight;
            }
        }
    }
    return sum;
}

// How often the frame is halved before a crop is taken from it.
__device__ int halvings(const Work& work, const float* transform) {
    float square = transform[0] * transform[0] + transform[3] * transform[3];  // of the frame's pixels in one of the crop
    int width = work.frame_width, height = work.frame_height, count = 0;
    while (square > 6.25f && width >= 2 * work.width && height >= 2 * work.height) {
        square *= 0.25f;
        width = (width + 1) / 2;
        height = (height + 1) / 2;
        ++count;
    }
    return count;
}

template <Source SOURCE>
__device__ float3 colour_of(const Work& work, const Sum& sum) {
    if constexpr (SOURCE != Source::nv12) return make_float3(sum.a, sum.b, sum.c);
    const auto channel = [&](const float* row) {
        return fminf(fmaxf(row[0] * sum.a + row[1] * sum.b + row[2] * sum.c + row[3] * sum.inside, 0.0f), 255.0f);
    };
    return make_float3(channel(work.colour), channel(work.colour + 4), channel(work.colour + 8));
}

template <Source SOURCE>
__device__ __forceinline__ Sum sample(const Work& work, float x, float y, int halved) {
    if (halved) {
        const int block = 1 << halved;
        return averaged<SOURCE>(work, Axis(x, block, work.frame_width), Axis(y, block, work.frame_height), block);
    }
    // in this way no comparison holds of what is not a number
    if (x >= 0.0f && x < work.right && y >= 0.0f && y < work.bottom) return between<SOURCE>(work, x, y);
    return at_border<SOURCE>(work, Axis(x, 1, work.frame_width), Axis(y, 1, work.frame_height));
}

template <Source SOURCE, typename T>
__global__ void __launch_bounds__(kColumns* kRows) crops(const Work work, T* output) {
    const int column = blockIdx.x * kColumns + threadIdx.x, first = blockIdx.y * kRows * kDeep + threadIdx.y;
    if (column >= work.width) return;
    float t[6];
#pragma unroll
    for (int i = 0; i < 6; ++i) t[i] = __ldg(work.transforms + 6 * blockIdx.z + i);
    const int halved = halvings(work, t);  // the same for the whole crop, so that no warp takes both ways
    const float left = t[0] * column + t[2], top = t[3] * column + t[5];
    const int plane = work.height * work.width, rows = min((work.height - first + kRows - 1) / kRows, kDeep);
    T* green = output + (3 * static_cast<std::size_t>(blockIdx.z) + 1) * plane + first * work.width + column;
    T *blue = green + (work.rgb ? plane : -plane), *red = green + (work.rgb ? -plane : plane);
    const int step = kRows * work.width;
    for (int i = 0; i < rows; ++i, blue += step, green += step, red += step) {
        const int row = first + i * kRows;
        const float3 colour = colour_of<SOURCE>(work, sample<SOURCE>(work, t[1] * row + left, t[4] * row + top, halved));
        *blue = narrow<T>(colour.x * work.scale[0] + work.shift[0]);
        *green = narrow<T>(colour.y * work.scale[1] + work.shift[1]);
        *red = narrow<T>(colour.z * work.scale[2] + work.shift[2]);
    }
}

template <typename T>
int run(const Work& work, const nasion_crops& arguments, cudaStream_t stream) {
    const bool words = aligned(work.first, 4) && work.first_pitch % 4 == 0;
    auto* kernel = arguments.frame.format == NASION_NV12 ? crops<Source::nv12, T>
                   : words                               ? crops<Source::bgr_words, T>
                                                         : crops<Source::bgr_bytes, T>;
    constexpr int deep = kRows * kDeep;
    const dim3 grid((work.width + kColumns - 1) / kColumns, (work.height + deep - 1) / deep, arguments.count);
    return launch(kernel, grid, dim3(kColumns, kRows), 0, stream, work, static_cast<T*>(arguments.output));
}

}  // namespace
}  // namespace nasion

int nasion_crop(const nasion_crops* arguments, cudaStream_t stream) {
    using namespace nasion;
    if (const int status = check(*arguments)) return status;
    if (arguments->count == 0) return NASION_OK;
    const nasion_frame& frame = arguments->frame;
    Work work = {};
    work.first = static_cast<const unsigned char*>(frame.planes[0]);
    work.second = static_cast<const unsigned char*>(frame.planes[1]);
    work.first_pitch = frame.pitches[0];
    work.second_pitch = frame.pitches[1];
    work.frame_width = frame.width;
    work.frame_height = frame.height;
    work.right = static_cast<float>(frame.width - 1);
    work.bottom = static_cast<float>(frame.height - 1);
    for (int i = 0; i < 12; ++i) work.colour[i] = frame.colour[i];
    work.transforms = arguments->transforms;
    work.height = arguments->height;
    work.width = arguments->width;
    work.rgb = arguments->rgb != 0;
    for (int i = 0; i < 3; ++i) {
        const int channel = work.rgb ? 2 - i : i;
        work.scale[i] = arguments->scale[channel];
        work.shift[i] = -arguments->mean[channel] * arguments->scale[channel];
    }
    return arguments->half ? run<__half>(work, *arguments, stream) : run<float>(work, *arguments, stream);
}
