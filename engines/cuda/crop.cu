// Crops of a frame: cut out, turned, scaled, converted to BGR or RGB and normalised in one launch for all of them.
//
// What binds it. At 64 crops of 128 pixels 3 million values are written once (12.6 MB as float32: 2.6 us of an H200's
// memory), while the frame itself is small and comes from the L2 cache. A pixel needs four of the frame's, two
// neighbours in each of two rows; byte by byte those are twelve reads, and the reads would be what is waited for.
// Hence:
// - two neighbouring BGR pixels are six bytes, and come as two aligned words (three for one place in four), which a
//   funnel shift puts right: four or five reads instead of twelve;
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

constexpr int kColumns = 32, kRows = 8;  // of a block

// Passed by value. A plane's address is kept as bytes.
struct Work {
    const unsigned char *first, *second;
    int first_pitch, second_pitch;
    int frame_width, frame_height;
    float colour[12];
    const float* transforms;
    int height, width;
    float mean[3], scale[3];  // in the order blue, green, red
    bool rgb;
};

// Blue, green, red or Y, U, V, weighted; and how much of the weight lay within the frame.
struct Sum {
    float a, b, c, inside;
};

enum class Source { bgr_bytes, bgr_words, nv12 };

__device__ __forceinline__ float byte(unsigned word, int which) { return __byte_perm(word, 0, 0x4440 + which); }

// Adds the pixels (x, y) and (x + 1, y), both within the frame.
template <Source SOURCE>
__device__ __forceinline__ void add_pair(const Work& work, int y, int x, float left, float right, Sum& sum) {
    const unsigned char* row = work.first + static_cast<std::size_t>(y) * work.first_pitch;
    sum.inside += left + right;
    if constexpr (SOURCE == Source::bgr_words) {
        const auto address = reinterpret_cast<std::uintptr_t>(row) + 3 * x;
        const auto* words = reinterpret_cast<const unsigned*>(address & ~std::uintptr_t{3});
        const unsigned shift = static_cast<unsigned>(address & 3) * 8;
        const unsigned w0 = __ldg(words), w1 = __ldg(words + 1);
        const unsigned w2 = shift == 24 ? __ldg(words + 2) : 0;  // else it may lie behind the row
        const unsigned low = __funnelshift_r(w0, w1, shift), high = __funnelshift_r(w1, w2, shift);
        sum.a += left * byte(low, 0) + right * byte(low, 3);
        sum.b += left * byte(low, 1) + right * byte(high, 0);
        sum.c += left * byte(low, 2) + right * byte(high, 1);
    } else if constexpr (SOURCE == Source::bgr_bytes) {
        const unsigned char* p = row + 3 * x;
        sum.a += left * __ldg(p) + right * __ldg(p + 3);
        sum.b += left * __ldg(p + 1) + right * __ldg(p + 4);
        sum.c += left * __ldg(p + 2) + right * __ldg(p + 5);
    } else {
        const auto* chroma = reinterpret_cast<const uchar2*>(work.second + static_cast<std::size_t>(y / 2) * work.second_pitch);
        const uchar2 uv = __ldg(chroma + x / 2), next = __ldg(chroma + (x + 1) / 2);
        sum.a += left * __ldg(row + x) + right * __ldg(row + x + 1);
        sum.b += left * uv.x + right * next.x;
        sum.c += left * uv.y + right * next.y;
    }
}

// Along one axis: the two blocks of pixels around a place, and what a pixel of each counts. A block of a frame that is
// not halved is one pixel. Blocks outside of the frame count nothing.
struct Axis {
    int start;  // first pixel of the first block
    float near, far;

    __device__ Axis(float place, int block, int pixels) : start(-2 * block), near(0.0f), far(0.0f) {
        const float cell = (place + 0.5f) / block - 0.5f;
        // anywhere outside is as good as -2; what is no number is there, too
        if (!(cell >= -1.0f && cell < pixels)) return;
        const float low = floorf(cell);
        start = static_cast<int>(low) * block;
        near = start >= 0 && start < pixels ? (1.0f - (cell - low)) / min(block, pixels - start) : 0.0f;
        far = start + block < pixels ? (cell - low) / min(block, pixels - start - block) : 0.0f;
    }

    __device__ bool misses() const { return near == 0.0f && far == 0.0f; }
};

// The frame as it is: two pixels in each of two rows.
template <Source SOURCE>
__device__ Sum sample(const Work& work, const Axis& x, const Axis& y) {
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
    return sum;
}

// The frame as if halved until `block` pixels are one: all pixels of the four blocks, pair by pair.
template <Source SOURCE>
__device__ Sum sample(const Work& work, const Axis& x, const Axis& y, int block) {
    Sum sum = {};
    if (x.misses() || y.misses()) return sum;
    const int bottom = min(y.start + 2 * block, work.frame_height), end = min(x.start + 2 * block, work.frame_width);
    for (int row = max(y.start, 0); row < bottom; ++row) {
        const float down = row < y.start + block ? y.near : y.far;
        for (int pixel = max(x.start, 0); pixel < end; pixel += 2) {  // blocks are even, so a pair lies in one of them
            const float weight = down * (pixel < x.start + block ? x.near : x.far);
            if (pixel + 1 < end) {
                add_pair<SOURCE>(work, row, pixel, weight, weight, sum);
            } else {
                add_pair<SOURCE>(work, row, pixel - 1, 0.0f, weight, sum);
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

template <Source SOURCE, typename T>
__global__ void __launch_bounds__(kColumns* kRows) crops(const Work work, T* output) {
    const int column = blockIdx.x * kColumns + threadIdx.x, row = blockIdx.y * kRows + threadIdx.y;
    if (column >= work.width || row >= work.height) return;
    float t[6];
#pragma unroll
    for (int i = 0; i < 6; ++i) t[i] = __ldg(work.transforms + 6 * blockIdx.z + i);
    const float x = t[0] * column + t[1] * row + t[2], y = t[3] * column + t[4] * row + t[5];
    const int block = 1 << halvings(work, t);  // the same for the whole crop, so that no warp takes both ways
    const Axis across(x, block, work.frame_width), down(y, block, work.frame_height);
    const Sum sum = block == 1 ? sample<SOURCE>(work, across, down) : sample<SOURCE>(work, across, down, block);
    const float3 colour = colour_of<SOURCE>(work, sum);
    const std::size_t plane = static_cast<std::size_t>(work.height) * work.width;
    T* out = output + 3 * plane * blockIdx.z + static_cast<std::size_t>(row) * work.width + column;
    const float blue = (colour.x - work.mean[0]) * work.scale[0], green = (colour.y - work.mean[1]) * work.scale[1];
    const float red = (colour.z - work.mean[2]) * work.scale[2];
    out[0] = narrow<T>(work.rgb ? red : blue);
    out[plane] = narrow<T>(green);
    out[2 * plane] = narrow<T>(work.rgb ? blue : red);
}

template <typename T>
int run(const Work& work, const nasion_crops& arguments, cudaStream_t stream) {
    const bool words = aligned(work.first, 4) && work.first_pitch % 4 == 0;
    auto* kernel = arguments.frame.format == NASION_NV12 ? crops<Source::nv12, T>
                   : words                               ? crops<Source::bgr_words, T>
                                                         : crops<Source::bgr_bytes, T>;
    const dim3 grid((work.width + kColumns - 1) / kColumns, (work.height + kRows - 1) / kRows, arguments.count);
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
    for (int i = 0; i < 12; ++i) work.colour[i] = frame.colour[i];
    work.transforms = arguments->transforms;
    work.height = arguments->height;
    work.width = arguments->width;
    work.rgb = arguments->rgb != 0;
    for (int i = 0; i < 3; ++i) {
        const int channel = work.rgb ? 2 - i : i;
        work.mean[i] = arguments->mean[channel];
        work.scale[i] = arguments->scale[channel];
    }
    return arguments->half ? run<__half>(work, *arguments, stream) : run<float>(work, *arguments, stream);
}
