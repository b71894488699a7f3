// TensorRT plugin MultiLevelRoIAlign. Inputs: the maps, in the order of `scales`, then the rois.
#include <new>

#include "multi_level_roi_align/multi_level_roi_align.h"
#include "plugins/plugin_support.h"

namespace nasion {
namespace {

using namespace nvinfer1;

class MultiLevelRoIAlign final : public Plugin {
public:
    static constexpr char const* kName = "MultiLevelRoIAlign";

    static std::vector<PluginField> attributes() {
        return {{"scales", nullptr, PluginFieldType::kFLOAT32, 1},       {"output_size", nullptr, PluginFieldType::kINT32, 1},
                {"sampling_ratio", nullptr, PluginFieldType::kINT32, 1}, {"normalize", nullptr, PluginFieldType::kINT32, 1},
                {"epsilon", nullptr, PluginFieldType::kFLOAT32, 1}};
    }

    static Plugin* create(PluginFieldCollection const* given) {
        MultiLevelRoIAlign made;
        const Attributes read(kName, given);
        if (!read.read("scales", made.scales_, NASION_MOST_LEVELS) ||
            !read.read("output_size", made.size_, 1, NASION_MOST_BINS) ||
            !read.read("sampling_ratio", made.sampling_, 1, NASION_MOST_SAMPLES) ||
            !read.read("normalize", made.normalize_, 0, 1) || !read.read("epsilon", made.epsilon_)) {
            return nullptr;
        }
        made.description_ = "scales " + text_of(made.scales_) + " output_size " + std::to_string(made.size_) +
                            " sampling_ratio " + std::to_string(made.sampling_) + " normalize " +
                            std::to_string(made.normalize_) + " epsilon " + text_of(made.epsilon_);
        return new MultiLevelRoIAlign(made);
    }

    char const* getPluginName() const noexcept override { return kName; }
    IPluginV3* clone() noexcept override { return new (std::nothrow) MultiLevelRoIAlign(*this); }
    int32_t getNbOutputs() const noexcept override { return 1; }

    int32_t getOutputDataTypes(DataType* outputs, int32_t, DataType const* inputs, int32_t count) const noexcept override {
        if (count != levels() + 1) return wrong_count(count);
        for (int i = 0; i < levels(); ++i) {
            if (inputs[i] == DataType::kFLOAT || inputs[i] == DataType::kHALF) {
                if (inputs[i] == inputs[0]) continue;
                return refuse(kName, "map " + std::to_string(i) + " holds " + name_of(inputs[i]) + " and map 0 " +
                                         name_of(inputs[0]) + "; all maps must hold the same");
            }
            return refuse(kName, "map " + std::to_string(i) + " holds " + name_of(inputs[i]) + "; allowed: float32, float16");
        }
        if (inputs[levels()] != DataType::kFLOAT) {
            // pixel coordinates of a large image exceed the precision of float16
            return refuse(kName, "rois hold " + name_of(inputs[levels()]) + "; allowed: float32");
        }
        outputs[0] = inputs[0];
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t count, DimsExprs const*, int32_t, DimsExprs* outputs, int32_t,
                            IExprBuilder& build) noexcept override {
        if (count != levels() + 1) return wrong_count(count);
        IDimensionExpr const* channels = build.constant(0);
        for (int i = 0; i < levels(); ++i) {
            if (inputs[i].nbDims != 4) return wrong_rank("map " + std::to_string(i), inputs[i].nbDims, "4: batch, channels, height, width");
            channels = build.operation(DimensionOperation::kSUM, *channels, *inputs[i].d[1]);
        }
        DimsExprs const& rois = inputs[levels()];
        if (rois.nbDims != 2) return wrong_rank("rois", rois.nbDims, "2: regions, 5");
        if (rois.d[1]->isConstant() && rois.d[1]->getConstantValue() != 5) {
            return refuse(kName, "rois have " + std::to_string(rois.d[1]->getConstantValue()) +
                                     " columns; give 5: image index, x0, y0, x1, y1");
        }
        outputs[0].nbDims = 4;
        outputs[0].d[0] = rois.d[0];
        outputs[0].d[1] = channels;
        outputs[0].d[2] = outputs[0].d[3] = build.constant(size_);
        return 0;
    }

    bool supportsFormatCombination(int32_t place, DynamicPluginTensorDesc const* tensors, int32_t inputs, int32_t) noexcept override {
        PluginTensorDesc const& asked = tensors[place].desc;
        if (place == inputs - 1) return asked.type == DataType::kFLOAT && asked.format == TensorFormat::kLINEAR;
        // maps and output have the same format; tensors after this position are not known yet
        if (place > 0 && (asked.type != tensors[0].desc.type || asked.format != tensors[0].desc.format)) return false;
        if (asked.type != DataType::kFLOAT && asked.type != DataType::kHALF) return false;
        if (asked.format == TensorFormat::kLINEAR) return true;
        return asked.format == channels_last(asked.type) && whole_packs(asked);
    }

    int32_t onShapeChange(PluginTensorDesc const* in, int32_t inputs, PluginTensorDesc const*, int32_t) noexcept override {
        const std::int64_t regions = in[inputs - 1].dims.d[0];
        if (regions <= NASION_MOST_REGIONS) return 0;
        return refuse(kName, std::to_string(regions) + " regions; at most " + std::to_string(NASION_MOST_REGIONS));
    }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs, void* const* outputs,
                    void*, cudaStream_t stream) noexcept override {
        nasion_level table[NASION_MOST_LEVELS];
        for (int i = 0; i < levels(); ++i) {
            auto const& d = in[i].dims.d;
            table[i] = {inputs[i], static_cast<int>(d[1]), static_cast<int>(d[2]), static_cast<int>(d[3]), scales_[static_cast<std::size_t>(i)]};
        }
        nasion_roi_align call{};
        call.levels = table;
        call.level_count = levels();
        call.batch = static_cast<int>(in[0].dims.d[0]);
        call.rois = static_cast<float const*>(inputs[levels()]);
        call.regions = static_cast<int>(in[levels()].dims.d[0]);
        call.size = size_;
        call.sampling = sampling_;
        call.normalize = normalize_;
        call.epsilon = epsilon_;
        call.half = in[0].type == DataType::kHALF;
        call.channels_last = in[0].format != TensorFormat::kLINEAR;
        call.output = outputs[0];
        const int status = nasion_multi_level_roi_align(&call, stream);
        return status ? refuse(kName, nasion_status_text(status)) : 0;
    }

protected:
    std::vector<PluginField> fields() const override {
        return {{"scales", scales_.data(), PluginFieldType::kFLOAT32, static_cast<int32_t>(scales_.size())},
                {"output_size", &size_, PluginFieldType::kINT32, 1},
                {"sampling_ratio", &sampling_, PluginFieldType::kINT32, 1},
                {"normalize", &normalize_, PluginFieldType::kINT32, 1},
                {"epsilon", &epsilon_, PluginFieldType::kFLOAT32, 1}};
    }

private:
    int levels() const { return static_cast<int>(scales_.size()); }

    // TensorRT's format for channels last: float16 in packs of 8, which must all be complete here.
    static TensorFormat channels_last(DataType type) { return type == DataType::kHALF ? TensorFormat::kHWC8 : TensorFormat::kHWC; }

    static bool whole_packs(PluginTensorDesc const& tensor) {
        const std::int64_t channels = tensor.dims.d[1];
        return channels > 0 && channels % (tensor.type == DataType::kHALF ? 8 : 4) == 0;
    }

    int wrong_count(int count) const noexcept {
        return refuse(kName, std::to_string(count) + " inputs for " + std::to_string(levels()) +
                                 " scales; give one map for each scale, then the rois");
    }

    static int wrong_rank(std::string const& what, int rank, char const* wanted) noexcept {
        return refuse(kName, what + " has rank " + std::to_string(rank) + "; give " + wanted);
    }

    std::vector<float> scales_;
    int size_ = 0;
    int sampling_ = 2;
    int normalize_ = 1;
    float epsilon_ = 1e-12f;
};

}  // namespace

nvinfer1::IPluginCreatorV3One* multi_level_roi_align_creator() {
    static Creator<MultiLevelRoIAlign> creator;
    return &creator;
}

}  // namespace nasion
