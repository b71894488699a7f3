// RoIAlign of several maps at once: pooled, L2-normalised over the channels of each map, and concatenated.
// Definition: docs/plugins.md and engines/operators/reference.py, which is the specification.
#pragma once

#include "common/abi.h"

enum { NASION_MOST_LEVELS = 16, NASION_MOST_BINS = 64, NASION_MOST_SAMPLES = 4, NASION_MOST_REGIONS = 65535 };
enum { NASION_MOST_CHANNELS = 8192 };  // per level; limited by the values of a bin in the shared memory of a block

typedef struct {
    const void* data;  // (batch, channels, height, width), or (batch, height, width, channels)
    int channels, height, width;
    float scale;  // cells per pixel of the image, e.g. 1/16
} nasion_level;

typedef struct {
    const nasion_level* levels;  // the table itself is in host memory
    int level_count;
    int batch;
    const float* rois;  // (regions, 5): image index, x0, y0, x1, y1 in pixels of the image
    int regions;
    int size;      // bins along each side
    int sampling;  // samples along each side of a bin
    int normalize;
    float epsilon;      // lower limit of the norm
    int half;           // maps and output hold float16, else float32
    int channels_last;  // layout of maps and output
    void* output;       // (regions, sum of channels, size, size), or channels last
} nasion_roi_align;

// Launches one kernel on the stream. Never waits, allocates or copies. All data in device memory.
NASION_API int nasion_multi_level_roi_align(const nasion_roi_align* arguments, cudaStream_t stream);

// The plain C++ reference; all data in host memory.
NASION_API int nasion_multi_level_roi_align_reference(const nasion_roi_align* arguments);
