// Landmarks from score maps: the mean of the cells that reach a threshold, weighted by their values.
// Definition: docs/plugins.md and engines/operators/reference.py, which is the specification.
#pragma once

#include "common/abi.h"

typedef struct {
    const void* maps;  // (regions, points, height, width)
    int regions, points, height, width;
    float threshold;
    int half;           // maps hold float16, else float32
    float* places;      // (regions, points, 2): x, y in cells
    float* confidence;  // (regions, points): the highest value
} nasion_reweight;

// Launches one kernel on the stream. Never waits, allocates or copies. All data in device memory.
NASION_API int nasion_location_reweight(const nasion_reweight* arguments, cudaStream_t stream);

// The plain C++ reference; all data in host memory.
NASION_API int nasion_location_reweight_reference(const nasion_reweight* arguments);
