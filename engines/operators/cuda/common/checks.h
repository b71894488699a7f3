// Validation of arguments, shared by kernels and references so that both reject the same arguments.
#pragma once

#include <climits>
#include <cmath>
#include <cstdint>

#include "crop/crop.h"
#include "location_reweight/location_reweight.h"
#include "multi_level_roi_align/multi_level_roi_align.h"

namespace nasion {

inline bool aligned(const void* address, std::uintptr_t bytes) {
    return reinterpret_cast<std::uintptr_t>(address) % bytes == 0;
}

inline bool positive(float value) { return std::isfinite(value) && value > 0; }

inline bool fits(long long a, long long b, long long c) { return a * b <= INT_MAX && a * b * c <= INT_MAX; }

inline int check_level(const nasion_level& level, const nasion_roi_align& arguments) {
    const int vector = arguments.half ? 8 : 4;
    if (level.channels < 1 || level.channels > NASION_MOST_CHANNELS) return NASION_BAD_COUNT;
    if (level.height < 1 || level.width < 1) return NASION_BAD_SIZE;
    if (!positive(level.scale)) return NASION_BAD_NUMBER;
    if (!fits(level.height, level.width, level.channels)) return NASION_TOO_LARGE;
    if (arguments.channels_last && level.channels % vector) return NASION_BAD_CHANNELS;
    if (arguments.regions == 0) return NASION_OK;
    if (!level.data) return NASION_NO_DATA;
    const int bytes = arguments.channels_last ? 16 : arguments.half ? 2 : 4;
    return aligned(level.data, bytes) ? NASION_OK : NASION_BAD_ALIGNMENT;
}

inline int check(const nasion_roi_align& arguments) {
    if (!arguments.levels) return NASION_NO_DATA;
    if (arguments.level_count < 1 || arguments.level_count > NASION_MOST_LEVELS) return NASION_BAD_COUNT;
    if (arguments.regions < 0 || arguments.regions > NASION_MOST_REGIONS) return NASION_BAD_COUNT;
    if (arguments.batch < (arguments.regions ? 1 : 0)) return NASION_BAD_COUNT;
    if (arguments.size < 1 || arguments.size > NASION_MOST_BINS) return NASION_BAD_SIZE;
    if (arguments.sampling < 1 || arguments.sampling > NASION_MOST_SAMPLES) return NASION_BAD_SAMPLING;
    if (arguments.normalize && !positive(arguments.epsilon)) return NASION_BAD_NUMBER;
    for (int i = 0; i < arguments.level_count; ++i) {
        if (const int status = check_level(arguments.levels[i], arguments)) return status;
    }
    if (arguments.regions == 0) return NASION_OK;
    if (!arguments.rois || !arguments.output) return NASION_NO_DATA;
    const int bytes = arguments.channels_last ? 16 : arguments.half ? 2 : 4;
    return aligned(arguments.output, bytes) ? NASION_OK : NASION_BAD_ALIGNMENT;
}

inline int check(const nasion_reweight& arguments) {
    if (arguments.regions < 0 || arguments.points < 0) return NASION_BAD_COUNT;
    if (arguments.height < 1 || arguments.width < 1) return NASION_BAD_SIZE;
    if (!fits(arguments.height, arguments.width, 1) || !fits(arguments.regions, arguments.points, 1)) {
        return NASION_TOO_LARGE;
    }
    if (!positive(arguments.threshold)) return NASION_BAD_NUMBER;
    if (arguments.regions == 0 || arguments.points == 0) return NASION_OK;
    if (!arguments.maps || !arguments.places || !arguments.confidence) return NASION_NO_DATA;
    // a landmark (x, y) is written by one store
    return aligned(arguments.maps, arguments.half ? 2 : 4) && aligned(arguments.places, 8) ? NASION_OK : NASION_BAD_ALIGNMENT;
}

inline int check(const nasion_frame& frame) {
    const bool nv12 = frame.format == NASION_NV12;
    if (!nv12 && frame.format != NASION_BGR) return NASION_BAD_NUMBER;
    if (frame.width < 2 || frame.height < 2) return NASION_BAD_SIZE;
    if (frame.width > NASION_MOST_PIXELS || frame.height > NASION_MOST_PIXELS) return NASION_BAD_SIZE;
    if (!frame.planes[0] || (nv12 && !frame.planes[1])) return NASION_NO_DATA;
    if (frame.pitches[0] < (nv12 ? frame.width : 3 * frame.width)) return NASION_BAD_SIZE;
    if (!nv12) return NASION_OK;
    if (frame.width % 2 || frame.height % 2 || frame.pitches[1] < frame.width) return NASION_BAD_SIZE;
    // a pair (U, V) is read by one load
    return frame.pitches[1] % 2 == 0 && aligned(frame.planes[1], 2) ? NASION_OK : NASION_BAD_ALIGNMENT;
}

inline int check(const nasion_crops& arguments) {
    if (arguments.count < 0 || arguments.count > NASION_MOST_CROPS) return NASION_BAD_COUNT;
    if (arguments.height < 1 || arguments.width < 1) return NASION_BAD_SIZE;
    if (arguments.height > NASION_MOST_PIXELS || arguments.width > NASION_MOST_PIXELS) return NASION_BAD_SIZE;
    if (!fits(arguments.height, arguments.width, 3)) return NASION_TOO_LARGE;
    for (int i = 0; i < 3; ++i) {
        if (!std::isfinite(arguments.mean[i]) || !positive(arguments.scale[i])) return NASION_BAD_NUMBER;
    }
    if (arguments.count == 0) return NASION_OK;
    if (const int status = check(arguments.frame)) return status;
    if (!arguments.transforms || !arguments.output) return NASION_NO_DATA;
    return aligned(arguments.output, arguments.half ? 2 : 4) ? NASION_OK : NASION_BAD_ALIGNMENT;
}

}  // namespace nasion
