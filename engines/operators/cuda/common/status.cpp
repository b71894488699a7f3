#include "common/abi.h"

#ifdef NASION_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

const char* nasion_status_text(int status) {
    switch (status) {
        case NASION_OK: return "done";
        case NASION_BAD_COUNT: return "a count is negative, zero where at least one is required, or above its limit";
        case NASION_BAD_SIZE: return "a height, width, pitch or output size is out of range";
        case NASION_BAD_SAMPLING: return "sampling_ratio is not 1, 2, 3 or 4";
        case NASION_BAD_NUMBER: return "a scale, epsilon, threshold, mean or std is not a valid number";
        case NASION_NO_DATA: return "a required address is null";
        case NASION_TOO_LARGE: return "one image of a map has 2^31 elements or more";
        case NASION_BAD_CHANNELS: return "for channels last, the channels of a cell must be a multiple of 16 bytes";
        case NASION_BAD_ALIGNMENT: return "an address is not aligned to its elements, or to 16 bytes for channels last";
        default: break;
    }
#ifdef NASION_WITH_CUDA
    if (status > 0) return cudaGetErrorString(static_cast<cudaError_t>(status));
#endif
    return "unknown status";
}
