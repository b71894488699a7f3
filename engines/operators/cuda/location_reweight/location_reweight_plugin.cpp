// TensorRT plugin LocationReweight. Input: score maps. Outputs: landmarks in cells, and confidence.
#include <new>

#include "location_reweight/location_reweight.h"
#include "plugins/plugin_support.h"

namespace nasion {
namespace {

using namespace nvinfer1;

class LocationReweight final : public Plugin {
public:
    static constexpr char const* kName = "LocationReweight";

    static std::vector<PluginField> attributes() { return {{"threshold", nullptr, PluginFieldType::kFLOAT32, 1}}; }

    static Plugin* create(PluginFieldCollection const* given) {
        LocationReweight made;
        if (!Attributes(kName, given).read("threshold", made.threshold_)) return nullptr;
        made.description_ = "threshold " + text_of(made.threshold_);
        return new LocationReweight(made);
    }

    char const* getPluginName() const noexcept override { return kName; }
    IPluginV3* clone() noexcept override { return new (std::nothrow) LocationReweight(*this); }
    int32_t getNbOutputs() const noexcept override { return 2; }

    int32_t getOutputDataTypes(DataType* outputs, int32_t, DataType const* inputs, int32_t count) const noexcept override {
        if (count != 1) return refuse(kName, std::to_string(count) + " inputs; give the score maps alone");
        if (inputs[0] != DataType::kFLOAT && inputs[0] != DataType::kHALF) {
            return refuse(kName, "maps hold " + name_of(inputs[0]) + "; allowed: float32, float16");
        }
        outputs[0] = outputs[1] = DataType::kFLOAT;  // float16 cannot represent half cells beyond 1024
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t count, DimsExprs const*, int32_t, DimsExprs* outputs, int32_t,
                            IExprBuilder& build) noexcept override {
        if (count != 1) return refuse(kName, std::to_string(count) + " inputs; give the score maps alone");
        if (inputs[0].nbDims != 4) {
            return refuse(kName, "maps have rank " + std::to_string(inputs[0].nbDims) + "; give 4: regions, points, height, width");
        }
        outputs[0].nbDims = 3;
        outputs[1].nbDims = 2;
        for (int i = 0; i < 2; ++i) {
            outputs[i].d[0] = inputs[0].d[0];
            outputs[i].d[1] = inputs[0].d[1];
        }
        outputs[0].d[2] = build.constant(2);
        return 0;
    }

    bool supportsFormatCombination(int32_t place, DynamicPluginTensorDesc const* tensors, int32_t, int32_t) noexcept override {
        PluginTensorDesc const& asked = tensors[place].desc;
        const bool right = asked.type == DataType::kFLOAT || (place == 0 && asked.type == DataType::kHALF);
        return right && asked.format == TensorFormat::kLINEAR;
    }

    int32_t onShapeChange(PluginTensorDesc const*, int32_t, PluginTensorDesc const*, int32_t) noexcept override { return 0; }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs, void* const* outputs,
                    void*, cudaStream_t stream) noexcept override {
        auto const& d = in[0].dims.d;
        const nasion_reweight call{inputs[0],
                                   static_cast<int>(d[0]),
                                   static_cast<int>(d[1]),
                                   static_cast<int>(d[2]),
                                   static_cast<int>(d[3]),
                                   threshold_,
                                   in[0].type == DataType::kHALF,
                                   static_cast<float*>(outputs[0]),
                                   static_cast<float*>(outputs[1])};
        const int status = nasion_location_reweight(&call, stream);
        return status ? refuse(kName, nasion_status_text(status)) : 0;
    }

protected:
    std::vector<PluginField> fields() const override {
        return {{"threshold", &threshold_, PluginFieldType::kFLOAT32, 1}};
    }

private:
    float threshold_ = 0.5f;
};

}  // namespace

nvinfer1::IPluginCreatorV3One* location_reweight_creator() {
    static Creator<LocationReweight> creator;
    return &creator;
}

}  // namespace nasion
