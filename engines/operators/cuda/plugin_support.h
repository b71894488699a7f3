// What both plugins need: attributes read and kept, messages that reach TensorRT's logger, and what never differs.
#pragma once

#include <NvInferRuntime.h>

#include <string>
#include <vector>

namespace nasion {

constexpr char const* kNamespace = "nasion";
constexpr char const* kVersion = "1";

// Where messages go: the logger that TensorRT names, else the standard error stream.
void set_logger_finder(nvinfer1::ILoggerFinder* finder);

// Says what is wrong, under the name of the plugin; always returns -1, which ends the build.
int refuse(char const* plugin, std::string const& message) noexcept;

// For messages.
std::string name_of(nvinfer1::DataType type);
std::string text_of(float value);
std::string text_of(std::vector<float> const& values);

// The attributes that a plugin is created with, from a node of the ONNX file or from a plan.
class Attributes {
public:
    Attributes(char const* plugin, nvinfer1::PluginFieldCollection const* fields) : plugin_(plugin), fields_(fields) {}

    // Each reads one attribute and returns whether there was nothing wrong with it; a missing one keeps its value.
    bool read(char const* name, int& value, int least, int most) const;
    bool read(char const* name, float& value) const;
    // There must be between 1 and `most`.
    bool read(char const* name, std::vector<float>& values, int most) const;

private:
    nvinfer1::PluginField const* find(char const* name) const;
    char const* plugin_;
    nvinfer1::PluginFieldCollection const* fields_;
};

// The parts of the three interfaces that are the same for every plugin of ours.
class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime {
public:
    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept final;
    char const* getPluginVersion() const noexcept final { return kVersion; }
    char const* getPluginNamespace() const noexcept final { return kNamespace; }

    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const*, int32_t, nvinfer1::DynamicPluginTensorDesc const*,
                            int32_t) noexcept final {
        return 0;
    }
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept final { return clone(); }
    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept final;
    // All attributes: timings of one plugin may serve for another that has the same.
    char const* getTimingCacheID() noexcept final { return description_.c_str(); }
    char const* getMetadataString() noexcept final { return description_.c_str(); }

protected:
    virtual std::vector<nvinfer1::PluginField> fields() const = 0;
    std::string description_;

private:
    // What was last asked for; each clone has its own.
    std::vector<nvinfer1::PluginField> kept_;
    nvinfer1::PluginFieldCollection collection_{};
};

// A creator needs a name, the attributes' names and a way to make the plugin from them.
template <typename Made>
class Creator final : public nvinfer1::IPluginCreatorV3One {
public:
    Creator() : fields_(Made::attributes()), collection_{static_cast<int32_t>(fields_.size()), fields_.data()} {}
    nvinfer1::IPluginV3* createPlugin(char const*, nvinfer1::PluginFieldCollection const* given,
                                      nvinfer1::TensorRTPhase) noexcept override {
        // no exception may leave a plugin
        try {
            return Made::create(given);
        } catch (std::exception const& error) {
            refuse(Made::kName, error.what());
            return nullptr;
        }
    }
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }
    char const* getPluginName() const noexcept override { return Made::kName; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }

private:
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_;
};

nvinfer1::IPluginCreatorV3One* multi_level_roi_align_creator();
nvinfer1::IPluginCreatorV3One* location_reweight_creator();

}  // namespace nasion
