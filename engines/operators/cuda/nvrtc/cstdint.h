// What the kernels use of <cstdint> and <cstddef>, for NVRTC, which has no headers of the host.
#pragma once

namespace std {
using size_t = decltype(sizeof(0));
}
