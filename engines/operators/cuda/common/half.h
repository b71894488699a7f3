// float16 for compilers without it. Used by the references; the kernels use the type of the CUDA toolkit.
#pragma once

#include <cmath>
#include <cstdint>

namespace nasion {

inline float from_half(std::uint16_t bits) {
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    const int exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
    if (exponent < 31) return sign * std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    return fraction ? NAN : sign * INFINITY;
}

// Returns the nearest float16, with ties to even.
inline std::uint16_t to_half(float value) {
    const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const float size = std::fabs(value);
    if (std::isnan(value)) return sign | 0x7e00;
    if (size >= 65520.0f) return sign | 0x7c00;  // halfway between the largest float16 and the next value
    int exponent = -14;
    if (size > 0) std::frexp(size, &exponent);  // size = m * 2^exponent, m in 0.5..1
    const int step = exponent > -13 ? exponent - 11 : -24;  // exponent of the last bit that is kept
    const int units = static_cast<int>(std::nearbyint(std::ldexp(size, -step)));
    // a carry out of the fraction increments the exponent, as intended
    return sign | static_cast<std::uint16_t>(((step + 24) << 10) + units);
}

}  // namespace nasion
