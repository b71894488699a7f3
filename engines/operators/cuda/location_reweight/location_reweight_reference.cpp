// Plain C++ reference of location reweighting: one cell at a time.
#include <algorithm>
#include <cmath>

#include "common/checks.h"
#include "common/half.h"

namespace {

// One score map, in either type.
struct Map {
    const void* cells;
    std::size_t first;
    bool half;

    float at(int place) const {
        const std::size_t i = first + static_cast<std::size_t>(place);
        return half ? nasion::from_half(static_cast<const std::uint16_t*>(cells)[i]) : static_cast<const float*>(cells)[i];
    }
};

// Shift of a quarter of a cell towards the higher neighbour along an axis; 0 at the edge of the map or between equals.
float lean(const Map& map, int place, int position, int cells, int step) {
    if (position == 0 || position == cells - 1) return 0.0f;
    const float before = map.at(place - step), after = map.at(place + step);
    return after > before ? 0.25f : after < before ? -0.25f : 0.0f;
}

void locate(const Map& map, const nasion_reweight& arguments, float* place, float* confidence) {
    const int width = arguments.width, height = arguments.height;
    float peak = -INFINITY, total = 0.0f, x = 0.0f, y = 0.0f;
    int highest = 0;
    for (int i = 0; i < width * height; ++i) {
        const float value = map.at(i);
        if (value > peak) {  // the first of equals
            peak = value;
            highest = i;
        }
        if (value >= arguments.threshold) {
            total += value;
            x += value * static_cast<float>(i % width);
            y += value * static_cast<float>(i / width);
        }
    }
    if (peak >= arguments.threshold) {
        place[0] = x / std::max(total, 1e-6f);
        place[1] = y / std::max(total, 1e-6f);
    } else {
        const int column = highest % width, row = highest / width;
        place[0] = static_cast<float>(column) + lean(map, highest, column, width, 1);
        place[1] = static_cast<float>(row) + lean(map, highest, row, height, width);
    }
    *confidence = peak;
}

}  // namespace

int nasion_location_reweight_reference(const nasion_reweight* arguments) {
    if (const int status = nasion::check(*arguments)) return status;
    const auto maps = static_cast<std::size_t>(arguments->regions) * static_cast<std::size_t>(arguments->points);
    const auto cells = static_cast<std::size_t>(arguments->height) * static_cast<std::size_t>(arguments->width);
    for (std::size_t i = 0; i < maps; ++i) {
        const Map map{arguments->maps, i * cells, arguments->half != 0};
        locate(map, *arguments, arguments->places + 2 * i, arguments->confidence + i);
    }
    return NASION_OK;
}
