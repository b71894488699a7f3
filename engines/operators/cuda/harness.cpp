// Calls a plugin as TensorRT would, without TensorRT: loads the library, creates the plugin for the build phase, makes the
// queries of a builder, serialises the plugin, creates it again for the run phase and, if there is a GPU, runs it, also
// from a CUDA graph.
//
//   nasion_harness LIBRARY PLUGIN [ATTRIBUTE=VALUE...] -- TENSOR... [--run FOLDER]
//
// A value is an int (14), a list of floats (0.25,0.125; one float with a point or e: 0.5) or text. A tensor is
// TYPE:SIZES[:FORMAT], e.g. float16:2x64x56x56:hwc8; types float32 float16 int32, formats linear hwc8 hwc.
// --run reads input0.bin ... from the folder and writes output0.bin ... there.
//
// Prints the answers of the plugin, one per line. Messages of the plugin go to the standard error stream.
#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace nvinfer1;

[[noreturn]] void fail(std::string const& what) { throw std::runtime_error(what); }

// --- TensorRT's side of the interfaces ----------------------------------------------------------

class Logger final : public ILogger {
    void log(Severity, char const* text) noexcept override { std::fprintf(stderr, "%s\n", text); }
};

class Finder final : public ILoggerFinder {
public:
    ILogger* findLogger() override { return &logger_; }

private:
    Logger logger_;
};

class Dimension final : public IDimensionExpr, public apiv::VDimensionExpr {
public:
    explicit Dimension(std::int64_t value) : value_(value) { mImpl = this; }
    bool isConstant() const override { return true; }
    std::int64_t getConstantValue() const override { return value_; }
    bool isSizeTensor() const override { return false; }

private:
    std::int64_t value_;
};

class Builder final : public IExprBuilder, public apiv::VExprBuilder {
public:
    Builder() { mImpl = this; }
    IDimensionExpr const* constant(std::int64_t value) override { return &made_.emplace_back(value); }
    IDimensionExpr const* operation(DimensionOperation what, IDimensionExpr const& a, IDimensionExpr const& b) override {
        if (what != DimensionOperation::kSUM) fail("the harness can only add dimensions");
        return constant(a.getConstantValue() + b.getConstantValue());
    }
    IDimensionExpr const* declareSizeTensor(std::int32_t, IDimensionExpr const&, IDimensionExpr const&) override {
        fail("the harness has no size tensors");
    }

private:
    std::deque<Dimension> made_;  // keeps addresses
};

// --- the command line ---------------------------------------------------------------------------

struct Tensor {
    PluginTensorDesc desc{};

    std::size_t bytes() const {
        std::size_t count = desc.type == DataType::kHALF ? 2 : 4;
        for (int i = 0; i < desc.dims.nbDims; ++i) count *= static_cast<std::size_t>(desc.dims.d[i]);
        return count;
    }
};

std::vector<std::string> split(std::string const& text, char at) {
    std::vector<std::string> parts;
    std::stringstream stream(text);
    for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
    return parts;
}

std::string text_of(DataType type) {
    return type == DataType::kHALF ? "float16" : type == DataType::kFLOAT ? "float32" : "int32";
}

Tensor parse_tensor(std::string const& text) {
    const auto parts = split(text, ':');
    if (parts.size() < 2) fail("a tensor is TYPE:SIZES[:FORMAT], not " + text);
    Tensor tensor;
    tensor.desc.type = parts[0] == "float16" ? DataType::kHALF : parts[0] == "float32" ? DataType::kFLOAT : DataType::kINT32;
    tensor.desc.format = TensorFormat::kLINEAR;
    if (parts.size() > 2 && parts[2] == "hwc8") tensor.desc.format = TensorFormat::kHWC8;
    if (parts.size() > 2 && parts[2] == "hwc") tensor.desc.format = TensorFormat::kHWC;
    tensor.desc.scale = 1.0f;
    for (auto const& size : split(parts[1], 'x')) tensor.desc.dims.d[tensor.desc.dims.nbDims++] = std::stoll(size);
    return tensor;
}

// An attribute in the form of NVIDIA's ONNX parser: ints as int32, text with its terminating zero.
struct Attribute {
    std::string name, text;
    std::vector<float> floats;
    std::int32_t number = 0;
    PluginField field{};
};

void parse_value(Attribute& attribute, std::string const& value) {
    char* end = nullptr;
    attribute.number = static_cast<std::int32_t>(std::strtol(value.c_str(), &end, 10));
    attribute.field.name = attribute.name.c_str();
    if (!value.empty() && *end == 0) {
        attribute.field = {attribute.name.c_str(), &attribute.number, PluginFieldType::kINT32, 1};
        return;
    }
    for (auto const& part : split(value, ',')) attribute.floats.push_back(std::strtof(part.c_str(), &end));
    if (!value.empty() && *end == 0) {
        attribute.field = {attribute.name.c_str(), attribute.floats.data(), PluginFieldType::kFLOAT32,
                           static_cast<std::int32_t>(attribute.floats.size())};
        return;
    }
    attribute.text = value;
    attribute.field = {attribute.name.c_str(), attribute.text.c_str(), PluginFieldType::kCHAR,
                       static_cast<std::int32_t>(value.size() + 1)};
}

struct Call {
    std::string library, plugin, folder;
    std::deque<Attribute> attributes;
    std::vector<Tensor> inputs;
};

Call parse(int count, char** words) {
    Call call;
    bool tensors = false;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        const auto equals = word.find('=');
        if (word == "--run" && i + 1 < count) call.folder = words[++i];
        else if (word == "--") tensors = true;
        else if (tensors) call.inputs.push_back(parse_tensor(word));
        else if (call.library.empty()) call.library = word;
        else if (call.plugin.empty()) call.plugin = word;
        else if (equals != std::string::npos) {
            call.attributes.emplace_back().name = word.substr(0, equals);
            parse_value(call.attributes.back(), word.substr(equals + 1));
        } else fail("not understood: " + word);
    }
    if (call.plugin.empty() || call.inputs.empty()) fail("usage: nasion_harness LIBRARY PLUGIN [NAME=VALUE...] -- TENSOR... [--run FOLDER]");
    return call;
}

// --- the library --------------------------------------------------------------------------------

template <typename Function>
Function* entry(void* library, char const* name) {
    void* found = dlsym(library, name);
    if (!found) fail(std::string("the library does not export ") + name);
    return reinterpret_cast<Function*>(found);
}

IPluginCreatorV3One* creator_of(std::string const& path, std::string const& plugin) {
    static Finder finder;
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // NOW: an undefined symbol is an error here
    if (!library) fail(dlerror());
    entry<void(ILoggerFinder*)>(library, "setLoggerFinder")(&finder);
    std::int32_t count = 0;
    IPluginCreatorInterface* const* creators = entry<IPluginCreatorInterface* const*(std::int32_t&)>(library, "getCreators")(count);
    for (int i = 0; i < count; ++i) {
        auto* creator = static_cast<IPluginCreatorV3One*>(creators[i]);
        std::cout << "creator " << creator->getPluginNamespace() << "::" << creator->getPluginName() << " version "
                  << creator->getPluginVersion() << "\n";
        if (plugin == creator->getPluginName()) return creator;
    }
    fail("the library has no plugin " + plugin);
}

template <typename Capability>
Capability& capability(IPluginV3& plugin, PluginCapabilityType type) {
    auto* found = plugin.getCapabilityInterface(type);
    if (!found) fail("the plugin lacks one of its interfaces");
    return *static_cast<Capability*>(found);
}

std::unique_ptr<IPluginV3> create(IPluginCreatorV3One& creator, PluginFieldCollection const& fields, TensorRTPhase phase) {
    std::unique_ptr<IPluginV3> made(creator.createPlugin("harness", &fields, phase));
    if (!made) fail("the plugin was not created");
    return made;
}

// --- the build phase ----------------------------------------------------------------------------

std::vector<Tensor> ask_outputs(IPluginV3OneBuild& build, std::vector<Tensor> const& inputs) {
    const int count = build.getNbOutputs(), given = static_cast<int>(inputs.size());
    std::vector<DataType> types(static_cast<std::size_t>(count)), given_types;
    std::vector<DimsExprs> shapes(static_cast<std::size_t>(count)), given_shapes;
    Builder builder;
    for (auto const& input : inputs) {
        given_types.push_back(input.desc.type);
        DimsExprs& shape = given_shapes.emplace_back();
        shape.nbDims = input.desc.dims.nbDims;
        for (int i = 0; i < shape.nbDims; ++i) shape.d[i] = builder.constant(input.desc.dims.d[i]);
    }
    if (build.getOutputDataTypes(types.data(), count, given_types.data(), given)) fail("the types were refused");
    if (build.getOutputShapes(given_shapes.data(), given, nullptr, 0, shapes.data(), count, builder)) fail("the shapes were refused");
    std::vector<Tensor> outputs;
    for (std::size_t i = 0; i < types.size(); ++i) {
        Tensor& output = outputs.emplace_back();
        output.desc.type = types[i];
        output.desc.format = i == 0 && given_shapes[0].nbDims == 4 && shapes[0].nbDims == 4 ? inputs[0].desc.format : TensorFormat::kLINEAR;
        output.desc.scale = 1.0f;
        output.desc.dims.nbDims = shapes[i].nbDims;
        for (int d = 0; d < shapes[i].nbDims; ++d) output.desc.dims.d[d] = shapes[i].d[d]->getConstantValue();
    }
    return outputs;
}

void ask_formats(IPluginV3OneBuild& build, std::vector<Tensor> const& inputs, std::vector<Tensor> const& outputs) {
    std::vector<DynamicPluginTensorDesc> all;
    for (auto const* tensors : {&inputs, &outputs}) {
        for (auto const& tensor : *tensors) all.push_back({tensor.desc, tensor.desc.dims, tensor.desc.dims, tensor.desc.dims});
    }
    const int given = static_cast<int>(inputs.size()), made = static_cast<int>(outputs.size());
    for (int i = 0; i < given + made; ++i) {
        if (!build.supportsFormatCombination(i, all.data(), given, made)) fail("the format of tensor " + std::to_string(i) + " was refused");
    }
    if (build.configurePlugin(all.data(), given, all.data() + given, made)) fail("configurePlugin failed");
    std::cout << "workspace " << build.getWorkspaceSize(all.data(), given, all.data() + given, made) << "\n";
}

void print(std::vector<Tensor> const& outputs) {
    for (auto const& output : outputs) {
        std::cout << "output " << text_of(output.desc.type) << ":";
        for (int d = 0; d < output.desc.dims.nbDims; ++d) std::cout << (d ? "x" : "") << output.desc.dims.d[d];
        std::cout << "\n";
    }
}

void print(PluginFieldCollection const& fields) {
    for (int i = 0; i < fields.nbFields; ++i) {
        PluginField const& field = fields.fields[i];
        std::cout << "field " << field.name;
        for (int n = 0; n < field.length; ++n) {
            if (field.type == PluginFieldType::kINT32) std::cout << " " << static_cast<std::int32_t const*>(field.data)[n];
            else std::cout << " " << static_cast<float const*>(field.data)[n];
        }
        std::cout << "\n";
    }
}

// --- the run phase ------------------------------------------------------------------------------

void expect(cudaError_t status) {
    if (status != cudaSuccess) fail(cudaGetErrorString(status));
}

std::vector<char> read(std::string const& path, std::size_t bytes) {
    std::vector<char> data(bytes);
    std::ifstream file(path, std::ios::binary);
    if (!file.read(data.data(), static_cast<std::streamsize>(bytes))) fail(path + " does not hold " + std::to_string(bytes) + " bytes");
    return data;
}

void* on_device(std::size_t bytes) {
    void* memory = nullptr;
    expect(cudaMalloc(&memory, bytes ? bytes : 1));
    expect(cudaMemset(memory, 0xff, bytes));  // NaN, so that values that are not written can be detected
    return memory;
}

// Runs once directly, which also loads the kernels, and once captured: a plugin that waits, allocates or copies fails.
void enqueue_twice(std::function<int(cudaStream_t)> const& enqueue) {
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    expect(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    if (enqueue(stream)) fail("enqueue failed");
    expect(cudaStreamSynchronize(stream));
    expect(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    const int status = enqueue(stream);
    expect(cudaStreamEndCapture(stream, &graph));
    if (status) fail("enqueue failed while it was captured");
    expect(cudaGraphInstantiate(&ready, graph, 0));
    expect(cudaGraphLaunch(ready, stream));
    expect(cudaStreamSynchronize(stream));
    expect(cudaGraphExecDestroy(ready));
    expect(cudaGraphDestroy(graph));
    expect(cudaStreamDestroy(stream));
}

void run(IPluginV3OneRuntime& runtime, Call const& call, std::vector<Tensor> const& outputs) {
    std::vector<PluginTensorDesc> in, out;
    std::vector<void*> from, to;
    for (std::size_t i = 0; i < call.inputs.size(); ++i) {
        Tensor const& input = call.inputs[i];
        const auto data = read(call.folder + "/input" + std::to_string(i) + ".bin", input.bytes());
        in.push_back(input.desc);
        from.push_back(on_device(input.bytes()));
        expect(cudaMemcpy(from.back(), data.data(), data.size(), cudaMemcpyHostToDevice));
    }
    for (auto const& output : outputs) {
        out.push_back(output.desc);
        to.push_back(on_device(output.bytes()));
    }
    enqueue_twice([&](cudaStream_t stream) {
        return runtime.enqueue(in.data(), out.data(), from.data(), to.data(), nullptr, stream);
    });
    for (std::size_t i = 0; i < to.size(); ++i) {
        std::vector<char> data(outputs[i].bytes());
        expect(cudaMemcpy(data.data(), to[i], data.size(), cudaMemcpyDeviceToHost));
        std::ofstream(call.folder + "/output" + std::to_string(i) + ".bin", std::ios::binary)
            .write(data.data(), static_cast<std::streamsize>(data.size()));
    }
    for (auto const* memory : {&from, &to}) {
        for (void* each : *memory) expect(cudaFree(each));
    }
    std::cout << "ran twice, the second time from a CUDA graph\n";
}

void all(Call const& call) {
    IPluginCreatorV3One& creator = *creator_of(call.library, call.plugin);
    std::vector<PluginField> fields;
    for (auto const& attribute : call.attributes) fields.push_back(attribute.field);
    const PluginFieldCollection given{static_cast<std::int32_t>(fields.size()), fields.data()};
    const auto built = create(creator, given, TensorRTPhase::kBUILD);
    auto& build = capability<IPluginV3OneBuild>(*built, PluginCapabilityType::kBUILD);
    const auto outputs = ask_outputs(build, call.inputs);
    print(outputs);
    ask_formats(build, call.inputs, outputs);
    std::cout << "timed as " << build.getTimingCacheID() << "\n";

    // serialised to a plan and back, then prepared like an execution context
    auto const* kept = capability<IPluginV3OneRuntime>(*built, PluginCapabilityType::kRUNTIME).getFieldsToSerialize();
    print(*kept);
    const auto loaded = create(creator, *kept, TensorRTPhase::kRUNTIME);
    const std::unique_ptr<IPluginV3> attached(
        capability<IPluginV3OneRuntime>(*loaded, PluginCapabilityType::kRUNTIME).attachToContext(nullptr));
    auto& runtime = capability<IPluginV3OneRuntime>(*attached, PluginCapabilityType::kRUNTIME);
    std::vector<PluginTensorDesc> in, out;
    for (auto const& tensor : call.inputs) in.push_back(tensor.desc);
    for (auto const& tensor : outputs) out.push_back(tensor.desc);
    if (runtime.onShapeChange(in.data(), static_cast<int>(in.size()), out.data(), static_cast<int>(out.size()))) fail("the sizes were refused");
    if (!call.folder.empty()) run(runtime, call, outputs);
}

}  // namespace

int main(int count, char** words) {
    try {
        all(parse(count, words));
        return 0;
    } catch (std::exception const& error) {
        std::fprintf(stderr, "nasion_harness: %s\n", error.what());
        return 1;
    }
}
