#pragma once

#include "common/half.h"

struct __half {
    std::uint16_t bits;
};
inline float __half2float(__half value) { return nasion::from_half(value.bits); }
inline __half __float2half_rn(float value) { return {nasion::to_half(value)}; }
