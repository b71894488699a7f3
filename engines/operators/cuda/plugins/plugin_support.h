// Code shared by both plugins: attributes, messages to TensorRT's logger, and common parts of the interfaces.
#pragma once

#include <NvInferRuntime.h>

#include <string>
#include <vector>

namespace nasion {

constexpr char const* kNamespace = "nasion";
constexpr char const* kVersion = "1";

// Sets the target of messages: the logger given by TensorRT, else the standard error stream.
void set_logger_finder(nvinfer1::ILoggerFinder* finder);

// Logs an error with the name of the plugin. Always returns -1, which ends the build.
int refuse(char const* plugin, std::string const& message) noexcept;

// Text for messages.
std::string name_of(nvinfer1::DataType type);
std::string text_of(float value);
std::string text_of(std::vector<float> const& values);

// Attributes of a plugin, from a node of the ONNX file or from a plan.
class Attributes {
public:
    Attributes(char const* plugin, nvinfer1::PluginFieldCollection const* fields) : plugin_(plugin), fields_(fields) {}

    // Each function reads one attribute and returns true if it is valid; a missing attribute keeps its value.
    bool read(char const* name, int& value, int least, int most) const;
    bool read(char const* name, float& value) const;
    // The number of values must be 1 to `most`.
    bool read(char const* name, std::vector<float>& values, int most) const;

private:
    nvinfer1::PluginField const* find(char const* name) const;
    char const* plugin_;
    nvinfer1::PluginFieldCollection const* fields_;
};

// Parts of the three interfaces that are the same for all of our plugins.
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
    // All attributes: plugins with the same attributes may share their timings.
    char const* getTimingCacheID() noexcept final { return description_.c_str(); }
    char const* getMetadataString() noexcept final { return description_.c_str(); }

protected:
    virtual std::vector<nvinfer1::PluginField> fields() const = 0;
    std::string description_;

private:
    // Result of the last query; each clone has its own.
    std::vector<nvinfer1::PluginField> kept_;
    nvinfer1::PluginFieldCollection collection_{};
};

// Creator of a plugin, given its name, the names of its attributes and a function that creates it from them.
template <typename Made>
class Creator final : public nvinfer1::IPluginCreatorV3One {
public:
    Creator() : fields_(Made::attributes()), collection_{static_cast<int32_t>(fields_.size()), fields_.data()} {}
    nvinfer1::IPluginV3* createPlugin(char const*, nvinfer1::PluginFieldCollection const* given,
                                      nvinfer1::TensorRTPhase) noexcept override {
        // exceptions must not propagate out of a plugin
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
