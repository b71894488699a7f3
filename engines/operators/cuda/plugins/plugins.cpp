// The two entry points by which TensorRT, its lean and dispatch runtimes and TensorRT-RTX load a plugin library.
// `getPluginCreators` is the name for V2 plugins; with it, no creator would be found.
#include "common/abi.h"
#include "plugins/plugin_support.h"

NASION_API void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { nasion::set_logger_finder(finder); }

NASION_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static nvinfer1::IPluginCreatorInterface* const creators[] = {nasion::multi_level_roi_align_creator(),
                                                                  nasion::location_reweight_creator()};
    count = 2;
    return creators;
}
