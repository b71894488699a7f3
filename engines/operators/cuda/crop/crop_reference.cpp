// Plain C++ reference of the crop kernel: one pixel at a time, with the kernel's arithmetic.
#include <algorithm>
#include <cmath>

#include "common/checks.h"
#include "common/half.h"

namespace {

// Weighted sums of blue, green, red or Y, U, V, and the part of the weight inside the frame.
struct Sum {
    float values[3] = {0.0f, 0.0f, 0.0f};
    float inside = 0.0f;
};

void add(const nasion_frame& frame, int y, int x, float weight, Sum& sum) {
    const auto* first = static_cast<const unsigned char*>(frame.planes[0]) + static_cast<std::ptrdiff_t>(y) * frame.pitches[0];
    sum.inside += weight;
    if (frame.format == NASION_BGR) {
        for (int i = 0; i < 3; ++i) sum.values[i] += weight * static_cast<float>(first[3 * x + i]);
        return;
    }
    const auto* second = static_cast<const unsigned char*>(frame.planes[1]) + static_cast<std::ptrdiff_t>(y / 2) * frame.pitches[1];
    sum.values[0] += weight * static_cast<float>(first[x]);
    sum.values[1] += weight * static_cast<float>(second[x / 2 * 2]);
    sum.values[2] += weight * static_cast<float>(second[x / 2 * 2 + 1]);
}

// Number of times the frame is halved before it is sampled for this crop.
int halvings(const nasion_crops& arguments, const float* transform) {
    float square = transform[0] * transform[0] + transform[3] * transform[3];  // of the pixels of the frame per pixel of the crop
    int width = arguments.frame.width, height = arguments.frame.height, count = 0;
    while (square > 6.25f && width >= 2 * arguments.width && height >= 2 * arguments.height) {
        square /= 4;
        width = (width + 1) / 2;
        height = (height + 1) / 2;
        ++count;
    }
    return count;
}

// Weight of one pixel along an axis, from the two blocks of pixels around a position.
struct Axis {
    int first, block, pixels;  // first block, pixels in a block and along the frame
    float part;                // from the centre of the first block towards that of the second

    Axis(float place, int block_, int pixels_) : first(-2), block(block_), pixels(pixels_), part(0.0f) {
        const float cell = (place + 0.5f) / static_cast<float>(block) - 0.5f;
        // all positions outside are equivalent to -2, and so is NaN
        if (!(cell >= -1.0f && cell < static_cast<float>(pixels))) return;
        first = static_cast<int>(std::floor(cell));
        part = cell - static_cast<float>(first);
    }

    float weight(int pixel) const {
        if (pixel < 0 || pixel >= pixels) return 0.0f;
        const int start = pixel / block * block;
        const int members = std::min(start + block, pixels) - start;  // of a block that may be cut by the border of the frame
        return (pixel / block == first ? 1.0f - part : part) / static_cast<float>(members);
    }
};

Sum sample(const nasion_crops& arguments, const float* t, int row, int column) {
    const auto u = static_cast<float>(column), v = static_cast<float>(row);
    const int block = 1 << halvings(arguments, t);
    const Axis x(t[0] * u + t[1] * v + t[2], block, arguments.frame.width);
    const Axis y(t[3] * u + t[4] * v + t[5], block, arguments.frame.height);
    Sum sum;
    for (int j = y.first * block; j < (y.first + 2) * block; ++j) {
        for (int i = x.first * block; i < (x.first + 2) * block; ++i) {
            const float weight = y.weight(j) * x.weight(i);
            if (weight > 0) add(arguments.frame, j, i, weight, sum);
        }
    }
    return sum;
}

// Blue, green or red in 0..255.
float colour(const nasion_frame& frame, const Sum& sum, int channel) {
    if (frame.format == NASION_BGR) return sum.values[channel];
    const float* row = frame.colour + 4 * channel;
    const float value = row[0] * sum.values[0] + row[1] * sum.values[1] + row[2] * sum.values[2] + row[3] * sum.inside;
    return std::min(std::max(value, 0.0f), 255.0f);
}

}  // namespace

int nasion_crop_reference(const nasion_crops* arguments) {
    if (const int status = nasion::check(*arguments)) return status;
    const int height = arguments->height, width = arguments->width;
    std::size_t place = 0;
    for (std::size_t crop = 0; crop < static_cast<std::size_t>(arguments->count); ++crop) {
        for (int channel = 0; channel < 3; ++channel) {
            const int source = arguments->rgb ? 2 - channel : channel;
            for (int i = 0; i < height * width; ++i, ++place) {
                const Sum sum = sample(*arguments, arguments->transforms + 6 * crop, i / width, i % width);
                const float value = (colour(arguments->frame, sum, source) - arguments->mean[channel]) * arguments->scale[channel];
                if (arguments->half) {
                    static_cast<std::uint16_t*>(arguments->output)[place] = nasion::to_half(value);
                } else {
                    static_cast<float*>(arguments->output)[place] = value;
                }
            }
        }
    }
    return NASION_OK;
}
