// Plain C++ reference of multi-level RoIAlign: one value at a time, with the kernel's arithmetic.
#include <algorithm>
#include <cmath>
#include <vector>

#include "common/checks.h"
#include "common/half.h"

namespace {

using Arguments = nasion_roi_align;

// Position of a sample along one axis: the two cells around it, and their weights.
struct Sample {
    int first, second;
    float near, far;
};

Sample sample(float low, float high, int index, int steps, float scale, int cells) {
    const float place = low + std::max(high - low, 0.0f) * ((static_cast<float>(index) + 0.5f) / static_cast<float>(steps));
    float cell = (place + 0.5f) * scale - 0.5f;
    if (!(cell > -1.0f && cell < static_cast<float>(cells))) return {0, 0, 0.0f, 0.0f};
    cell = std::min(std::max(cell, 0.0f), static_cast<float>(cells - 1));
    const int first = static_cast<int>(cell);
    const float part = cell - static_cast<float>(first);
    return {first, std::min(first + 1, cells - 1), 1.0f - part, part};
}

// One level for one region: the map of its image, in either layout and type.
class Map {
public:
    Map(const Arguments& arguments, const nasion_level& level, int image)
        : level_(level), half_(arguments.half), image_(static_cast<std::size_t>(image)) {
        const auto c = static_cast<std::size_t>(level.channels), w = static_cast<std::size_t>(level.width);
        const auto h = static_cast<std::size_t>(level.height);
        size_ = c * h * w;
        channel_ = arguments.channels_last ? 1 : h * w;
        row_ = arguments.channels_last ? w * c : w;
        column_ = arguments.channels_last ? c : 1;
    }

    float at(int channel, int y, int x) const {
        const std::size_t place = image_ * size_ + static_cast<std::size_t>(channel) * channel_ +
                                  static_cast<std::size_t>(y) * row_ + static_cast<std::size_t>(x) * column_;
        if (half_) return nasion::from_half(static_cast<const std::uint16_t*>(level_.data)[place]);
        return static_cast<const float*>(level_.data)[place];
    }

    float between(int channel, const Sample& y, const Sample& x) const {
        const float upper = x.near * at(channel, y.first, x.first) + x.far * at(channel, y.first, x.second);
        const float lower = x.near * at(channel, y.second, x.first) + x.far * at(channel, y.second, x.second);
        return y.near * upper + y.far * lower;
    }

private:
    const nasion_level& level_;
    bool half_;
    std::size_t image_, size_, channel_, row_, column_;
};

// All channels of one bin of one level.
std::vector<float> bin(const Arguments& arguments, const nasion_level& level, const float* roi, int row, int column) {
    std::vector<float> values(static_cast<std::size_t>(level.channels), 0.0f);
    const bool known = roi[0] >= 0.0f && roi[0] < static_cast<float>(arguments.batch);
    const Map map(arguments, level, known ? static_cast<int>(roi[0]) : 0);
    const int sampling = arguments.sampling, steps = arguments.size * sampling;
    for (int i = 0; known && i < sampling * sampling; ++i) {
        const Sample y = sample(roi[2], roi[4], row * sampling + i / sampling, steps, level.scale, level.height);
        const Sample x = sample(roi[1], roi[3], column * sampling + i % sampling, steps, level.scale, level.width);
        for (int channel = 0; channel < level.channels; ++channel) {
            values[static_cast<std::size_t>(channel)] += map.between(channel, y, x) / static_cast<float>(sampling * sampling);
        }
    }
    if (arguments.normalize) {
        float squares = 0.0f;
        for (const float value : values) squares += value * value;
        const float norm = std::max(std::sqrt(squares), arguments.epsilon);
        for (float& value : values) value /= norm;
    }
    return values;
}

void put(const Arguments& arguments, std::size_t place, float value) {
    if (arguments.half) {
        static_cast<std::uint16_t*>(arguments.output)[place] = nasion::to_half(value);
    } else {
        static_cast<float*>(arguments.output)[place] = value;
    }
}

}  // namespace

int nasion_multi_level_roi_align_reference(const nasion_roi_align* arguments) {
    if (const int status = nasion::check(*arguments)) return status;
    const auto cells = static_cast<std::size_t>(arguments->size) * static_cast<std::size_t>(arguments->size);
    std::size_t channels = 0;
    for (int i = 0; i < arguments->level_count; ++i) channels += static_cast<std::size_t>(arguments->levels[i].channels);
    for (std::size_t region = 0; region < static_cast<std::size_t>(arguments->regions); ++region) {
        std::size_t first = 0;  // first channel of the level in the output
        for (int i = 0; i < arguments->level_count; ++i) {
            const nasion_level& level = arguments->levels[i];
            for (std::size_t cell = 0; cell < cells; ++cell) {
                const int row = static_cast<int>(cell) / arguments->size, column = static_cast<int>(cell) % arguments->size;
                const auto values = bin(*arguments, level, arguments->rois + 5 * region, row, column);
                for (std::size_t c = 0; c < values.size(); ++c) {
                    const std::size_t place = arguments->channels_last ? cell * channels + first + c : (first + c) * cells + cell;
                    put(*arguments, region * channels * cells + place, values[c]);
                }
            }
            first += static_cast<std::size_t>(level.channels);
        }
    }
    return NASION_OK;
}
