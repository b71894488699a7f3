// float16 for compilers that have none. The toolkit's own type serves the kernels; this one serves the references.
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

// The nearest float16, of two equally near the even one.
inline std::uint16_t to_half(float value) {
    const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const float size = std::fabs(value);
    if (std::isnan(value)) return sign | 0x7e00;
    if (size >= 65520.0f) return sign | 0x7c00;  // halfway between the greatest and the next that would be
    int exponent = -14;
    if (size > 0) std::frexp(size, &exponent);  // size = m * 2^exponent, m in 0.5..1
    const int step = exponent > -13 ? exponent - 11 : -24;  // binary place of the last digit that is kept
    const int units = static_cast<int>(std::nearbyint(std::ldexp(size, -step)));
    // a carry out of the fraction runs into the exponent, which is where it belongs
    return sign | static_cast<std::uint16_t>(((step + 24) << 10) + units);
}

}  // namespace nasion
