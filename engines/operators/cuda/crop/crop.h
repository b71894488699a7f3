// Crops of a video frame as network input: rotated, scaled, normalised, planar.
// Definition: docs/plugins.md and engines/operators/reference.py, which is the specification.
#pragma once

#include "common/abi.h"

enum nasion_format { NASION_BGR = 0, NASION_NV12 = 1 };
enum { NASION_MOST_CROPS = 65535, NASION_MOST_PIXELS = 32768 };  // crops in a launch, pixels along a side

typedef struct {
    const void* planes[2];  // BGR: one of 3 bytes a pixel; NV12: luma, and chroma (U, V) for every 2 x 2 pixels
    int pitches[2];         // bytes from one row to the next
    int width, height;      // pixels; both even for NV12
    int format;             // nasion_format
    float colour[12];       // matrix (3, 4) from (Y, U, V, 1) to B, G, R; unused for BGR
} nasion_frame;

typedef struct {
    nasion_frame frame;
    const float* transforms;  // (count, 2, 3): from a pixel of the crop to a pixel of the frame
    int count;
    int height, width;        // size of a crop
    float mean[3], scale[3];  // per channel of the output: (value - mean) * scale, values in 0..255
    int rgb;                  // channels of the output are RGB, else BGR
    int half;                 // output is float16, else float32
    void* output;             // (count, 3, height, width)
} nasion_crops;

// Launches one kernel on the stream. Never waits, allocates or copies. Planes, transforms and output in device memory.
NASION_API int nasion_crop(const nasion_crops* arguments, cudaStream_t stream);

// The plain C++ reference; all data in host memory.
NASION_API int nasion_crop_reference(const nasion_crops* arguments);
