// Declarations shared by all functions of the C ABI. Independent of the CUDA toolkit and TensorRT.
#pragma once

#if defined(_WIN32)
#define NASION_API extern "C" __declspec(dllexport)
#else
#define NASION_API extern "C" __attribute__((visibility("default")))
#endif

// Identical to CUDA's own declaration, so that both headers can be included together.
typedef struct CUstream_st* cudaStream_t;

// Return values: 0, one of these, or (positive) the cudaError_t of the launch.
enum nasion_status {
    NASION_OK = 0,
    NASION_BAD_COUNT = -1,
    NASION_BAD_SIZE = -2,
    NASION_BAD_SAMPLING = -3,
    NASION_BAD_NUMBER = -4,
    NASION_NO_DATA = -5,
    NASION_TOO_LARGE = -6,
    NASION_BAD_CHANNELS = -7,
    NASION_BAD_ALIGNMENT = -8,
};

// Returns the text of a status. Never null; must not be freed.
NASION_API const char* nasion_status_text(int status);
