// Launch of the crop kernel in crop.cuh behind the C ABI. engines/operators/compiled_crop.py launches it in the same way.
#include "common/checks.h"
#include "common/launch.cuh"
#include "crop/crop.cuh"

namespace nasion {
namespace {

using namespace cropping;

template <typename T>
int run(const CropInputs& inputs, const nasion_crops& arguments, cudaStream_t stream) {
    const bool words = aligned(inputs.first, 4) && inputs.first_pitch % 4 == 0;
    auto* kernel = arguments.frame.format == NASION_NV12 ? crops<Source::nv12, T>
                   : words                               ? crops<Source::bgr_words, T>
                                                         : crops<Source::bgr_bytes, T>;
    constexpr int deep = kRows * kDeep;
    const dim3 grid((inputs.width + kColumns - 1) / kColumns, (inputs.height + deep - 1) / deep, arguments.count);
    return launch(kernel, grid, dim3(kColumns, kRows), 0, stream, inputs, static_cast<T*>(arguments.output));
}

}  // namespace
}  // namespace nasion

int nasion_crop(const nasion_crops* arguments, cudaStream_t stream) {
    using namespace nasion;
    if (const int status = check(*arguments)) return status;
    if (arguments->count == 0) return NASION_OK;
    const nasion_frame& frame = arguments->frame;
    CropInputs inputs = {};
    inputs.first = static_cast<const unsigned char*>(frame.planes[0]);
    inputs.second = static_cast<const unsigned char*>(frame.planes[1]);
    inputs.first_pitch = frame.pitches[0];
    inputs.second_pitch = frame.pitches[1];
    inputs.frame_width = frame.width;
    inputs.frame_height = frame.height;
    inputs.right = static_cast<float>(frame.width - 1);
    inputs.bottom = static_cast<float>(frame.height - 1);
    for (int i = 0; i < 12; ++i) inputs.colour[i] = frame.colour[i];
    inputs.transforms = arguments->transforms;
    inputs.height = arguments->height;
    inputs.width = arguments->width;
    inputs.rgb = arguments->rgb != 0;
    for (int i = 0; i < 3; ++i) {
        const int channel = inputs.rgb ? 2 - i : i;
        inputs.scale[i] = arguments->scale[channel];
        inputs.shift[i] = -arguments->mean[channel] * arguments->scale[channel];
    }
    return arguments->half ? run<__half>(inputs, *arguments, stream) : run<float>(inputs, *arguments, stream);
}
