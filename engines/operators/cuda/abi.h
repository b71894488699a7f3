// What every entry of the C ABI shares. Nothing here needs the CUDA toolkit or TensorRT.
#pragma once

#if defined(_WIN32)
#define NASION_API extern "C" __declspec(dllexport)
#else
#define NASION_API extern "C" __attribute__((visibility("default")))
#endif

// As CUDA itself declares it, so that this header and CUDA's may stand side by side.
typedef struct CUstream_st* cudaStream_t;

// What an entry returns: 0, one of these, or (positive) a cudaError_t of the launch.
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

// What a status means, for a person. Never null, never to be freed.
NASION_API const char* nasion_status_text(int status);
