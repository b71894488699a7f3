#include "plugins/plugin_support.h"

#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>

namespace nasion {

using namespace nvinfer1;

namespace {

std::atomic<ILoggerFinder*> the_finder{nullptr};

std::string name_of(PluginFieldType type) {
    switch (type) {
        case PluginFieldType::kFLOAT16: return "float16";
        case PluginFieldType::kFLOAT32: return "float32";
        case PluginFieldType::kFLOAT64: return "float64";
        case PluginFieldType::kINT32: return "int32";
        case PluginFieldType::kINT64: return "int64";
        case PluginFieldType::kCHAR: return "text";
        default: return "type " + std::to_string(static_cast<int>(type));
    }
}

std::string found(PluginField const& field) {
    return std::to_string(field.length) + " x " + name_of(field.type);
}

}  // namespace

void set_logger_finder(ILoggerFinder* finder) { the_finder = finder; }

int refuse(char const* plugin, std::string const& message) noexcept {
    try {
        const std::string text = std::string("nasion::") + plugin + ": " + message;
        ILoggerFinder* finder = the_finder;
        ILogger* logger = finder ? finder->findLogger() : nullptr;
        if (logger) {
            logger->log(ILogger::Severity::kERROR, text.c_str());
        } else {
            std::fprintf(stderr, "%s\n", text.c_str());
        }
    } catch (std::exception const&) {
        std::fputs("nasion: a plugin refused its arguments, and had no memory left to say why\n", stderr);
    }
    return -1;
}

std::string name_of(DataType type) {
    switch (type) {
        case DataType::kFLOAT: return "float32";
        case DataType::kHALF: return "float16";
        case DataType::kBF16: return "bfloat16";
        case DataType::kINT8: return "int8";
        case DataType::kINT32: return "int32";
        case DataType::kINT64: return "int64";
        case DataType::kBOOL: return "bool";
        case DataType::kUINT8: return "uint8";
        case DataType::kFP8: return "float8";
        default: return "type " + std::to_string(static_cast<int>(type));
    }
}

std::string text_of(float value) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.9g", static_cast<double>(value));
    return text;
}

std::string text_of(std::vector<float> const& values) {
    std::string text;
    for (const float value : values) text += (text.empty() ? "" : " ") + text_of(value);
    return text;
}

PluginField const* Attributes::find(char const* name) const {
    for (int i = 0; fields_ && i < fields_->nbFields; ++i) {
        if (std::strcmp(fields_->fields[i].name, name) == 0 && fields_->fields[i].data) return &fields_->fields[i];
    }
    return nullptr;
}

bool Attributes::read(char const* name, int& value, int least, int most) const {
    PluginField const* field = find(name);
    if (field && (field->type != PluginFieldType::kINT32 || field->length != 1)) {
        refuse(plugin_, std::string("attribute ") + name + " is " + found(*field) + "; give one int");
        return false;
    }
    if (field) std::memcpy(&value, field->data, sizeof(value));
    if (value >= least && value <= most) return true;
    refuse(plugin_, std::string("attribute ") + name + " is " + (field ? std::to_string(value) : "missing") +
                        "; allowed: " + std::to_string(least) + " to " + std::to_string(most));
    return false;
}

bool Attributes::read(char const* name, float& value) const {
    std::vector<float> values{value};
    if (!read(name, values, 1)) return false;
    value = values.front();
    return true;
}

bool Attributes::read(char const* name, std::vector<float>& values, int most) const {
    PluginField const* field = find(name);
    if (field && (field->type != PluginFieldType::kFLOAT32 || field->length < 1 || field->length > most)) {
        const std::string many = most == 1 ? "one float" : "1 to " + std::to_string(most) + " floats";
        refuse(plugin_, std::string("attribute ") + name + " is " + found(*field) + "; give " + many);
        return false;
    }
    if (field) {
        auto const* data = static_cast<float const*>(field->data);
        values.assign(data, data + field->length);
    }
    for (const float value : values) {
        if (value > 0 && value <= 3.0e38f) continue;
        refuse(plugin_, std::string("attribute ") + name + " has " + text_of(value) + "; allowed: above 0, finite");
        return false;
    }
    if (!values.empty()) return true;
    refuse(plugin_, std::string("attribute ") + name + " is missing");
    return false;
}

IPluginCapability* Plugin::getCapabilityInterface(PluginCapabilityType type) noexcept {
    switch (type) {
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

PluginFieldCollection const* Plugin::getFieldsToSerialize() noexcept {
    try {
        kept_ = fields();
    } catch (std::exception const&) {
        return nullptr;
    }
    collection_ = {static_cast<int32_t>(kept_.size()), kept_.data()};
    return &collection_;
}

}  // namespace nasion
