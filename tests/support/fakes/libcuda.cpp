// A CUDA driver without a GPU, for the tests of the device layer.
//
// What is put into a stream is done only when somebody waits for it, as late as CUDA allows: whoever forgets to wait,
// or changes an array too early, reads wrong numbers. "Device" memory is host memory at addresses of its own, which
// only copies may touch. Calls without a current context, with handles that are not open, with memory that is too
// short, and calls that cannot be recorded fail as CUDA's do. fake_live() tells what has not been given back.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

enum Status { kOk = 0, kInvalidValue = 1, kOutOfMemory = 2, kNoDevice = 100, kInvalidDevice = 101, kInvalidContext = 201,
              kInvalidHandle = 400, kNotPermitted = 800, kCaptureUnsupported = 900, kCaptureInvalidated = 901 };

using Operation = std::function<void()>;

struct Stream {
    std::vector<Operation> waiting;
    bool recording = false, spoilt = false;
    std::vector<Operation> recorded;
};
struct Graph { std::vector<Operation> operations; };

std::recursive_mutex gate;
int devices = 0;
long long room = 1LL << 30;
int retained = 0;
char context;
thread_local std::vector<void*> stack;
std::map<uintptr_t, size_t> memory, pinned;
std::set<void*> streams, graphs, executables, modules;
std::set<std::string> symbols;
int (*launcher)(const char*, const unsigned*, const unsigned*, void**, void*) = nullptr;
std::map<std::string, int> calls;

using Lock = std::lock_guard<std::recursive_mutex>;

bool current() { return !stack.empty() && stack.back() == &context && retained > 0; }

bool within(const std::map<uintptr_t, size_t>& all, uintptr_t address, size_t size) {
    auto next = all.upper_bound(address);
    if (next == all.begin()) return false;
    --next;
    return address + size <= next->first + next->second;
}

Stream* open_stream(void* handle) { return streams.count(handle) ? static_cast<Stream*>(handle) : nullptr; }

int put(void* handle, Operation operation) {
    Stream* stream = open_stream(handle);
    if (!current()) return kInvalidContext;
    if (!stream) return kInvalidHandle;
    (stream->recording ? stream->recorded : stream->waiting).push_back(std::move(operation));
    return kOk;
}

bool anything_recording() {
    for (void* each : streams)
        if (static_cast<Stream*>(each)->recording) return true;
    return false;
}

int allocate(std::map<uintptr_t, size_t>& all, void** out, size_t size) {
    if (!current()) return kInvalidContext;
    if (anything_recording()) return kCaptureUnsupported;
    if (!size) return kInvalidValue;
    if (static_cast<long long>(size) > room) return kOutOfMemory;
    *out = malloc(size);
    memset(*out, 0xA5, size);  // nothing is zero by itself
    all[reinterpret_cast<uintptr_t>(*out)] = size;
    return kOk;
}

int give_back(std::map<uintptr_t, size_t>& all, uintptr_t address) {
    if (!current()) return kInvalidContext;
    if (!all.erase(address)) return kInvalidValue;
    free(reinterpret_cast<void*>(address));
    return kOk;
}

}  // namespace

#define API extern "C" int

extern "C" void fake_reset(int count, long long most) { Lock lock(gate); devices = count; room = most; calls.clear(); }
extern "C" long long fake_live() {
    Lock lock(gate);
    return retained + memory.size() + pinned.size() + streams.size() + graphs.size() + executables.size() + modules.size() + stack.size();
}
// Whoever is called at each launch with the symbol of the kernel, its grid and block, its arguments and the stream.
extern "C" void fake_launcher(decltype(launcher) function) { Lock lock(gate); launcher = function; }
extern "C" int fake_calls(const char* name) { Lock lock(gate); return calls[name]; }
#define CALLED Lock lock(gate); ++calls[__func__]

API cuInit(unsigned) { CALLED; return devices ? kOk : kNoDevice; }
API cuGetErrorName(int status, const char** out) {
    static const std::map<int, const char*> names = {
        {kInvalidValue, "CUDA_ERROR_INVALID_VALUE"}, {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
        {kNoDevice, "CUDA_ERROR_NO_DEVICE"}, {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE"},
        {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT"}, {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE"},
        {kNotPermitted, "CUDA_ERROR_NOT_PERMITTED"}, {kCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
        {kCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"}};
    *out = names.at(status);
    return kOk;
}
API cuGetErrorString(int, const char** out) { *out = "said by the fake driver"; return kOk; }
API cuDriverGetVersion(int* out) { *out = 13000; return kOk; }
API cuDeviceGetCount(int* out) { CALLED; *out = devices; return kOk; }
API cuDeviceGet(int* out, int number) { CALLED; *out = number; return number < devices ? kOk : kInvalidDevice; }
API cuDeviceGetName(char* out, int size, int number) {
    strncpy(out, number ? "Second Fake" : "Fake GPU", size);
    return kOk;
}
API cuDeviceGetAttribute(int* out, int attribute, int) {
    // compute capability, kHz, multiprocessors, bytes of L2
    static const std::map<int, int> known = {{75, 8}, {76, 9}, {13, 1500000}, {16, 10}, {38, 4 << 20}};
    *out = known.count(attribute) ? known.at(attribute) : 0;
    return kOk;
}
API cuDeviceTotalMem_v2(size_t* out, int) { *out = room; return kOk; }

API cuDevicePrimaryCtxSetFlags_v2(int, unsigned flags) { CALLED; return flags == 4 ? kOk : kInvalidValue; }
API cuDevicePrimaryCtxRetain(void** out, int) { CALLED; ++retained; *out = &context; return kOk; }
API cuDevicePrimaryCtxRelease_v2(int) { CALLED; if (!retained) return kInvalidContext; --retained; return kOk; }
API cuCtxPushCurrent_v2(void* handle) { CALLED; stack.push_back(handle); return kOk; }
API cuCtxPopCurrent_v2(void** out) {
    CALLED;
    if (stack.empty()) return kInvalidContext;
    *out = stack.back();
    stack.pop_back();
    return kOk;
}
API cuCtxGetCurrent(void** out) { *out = stack.empty() ? nullptr : stack.back(); return kOk; }

API cuMemAlloc_v2(void** out, size_t size) { CALLED; return allocate(memory, out, size); }
API cuMemFree_v2(uintptr_t address) { CALLED; return give_back(memory, address); }
API cuMemHostAlloc(void** out, size_t size, unsigned) { CALLED; return allocate(pinned, out, size); }
API cuMemFreeHost(uintptr_t address) { CALLED; return give_back(pinned, address); }

API cuStreamCreate(void** out, unsigned) {
    CALLED;
    if (!current()) return kInvalidContext;
    streams.insert(*out = new Stream);
    return kOk;
}
API cuStreamDestroy_v2(void* handle) {
    CALLED;
    if (!current()) return kInvalidContext;
    Stream* stream = open_stream(handle);
    if (!stream) return kInvalidHandle;
    streams.erase(handle);
    delete stream;
    return kOk;
}
API cuStreamSynchronize(void* handle) {
    CALLED;
    if (!handle) return current() ? kOk : kInvalidContext;  // the default stream: others use it, we only wait for it
    Stream* stream = open_stream(handle);
    if (!stream) return kInvalidHandle;
    if (stream->recording) { stream->spoilt = true; return kCaptureUnsupported; }
    std::vector<Operation> now;
    now.swap(stream->waiting);
    for (auto& operation : now) operation();
    return kOk;
}

static int copy(uintptr_t to, uintptr_t from, size_t size, void* stream) {
    return put(stream, [=] { memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), size); });
}
API cuMemcpyHtoDAsync_v2(uintptr_t to, uintptr_t from, size_t size, void* stream) {
    CALLED;
    if (!within(memory, to, size) || !within(pinned, from, size)) return kInvalidValue;  // pageable memory is a mistake
    return copy(to, from, size, stream);
}
API cuMemcpyDtoHAsync_v2(uintptr_t to, uintptr_t from, size_t size, void* stream) {
    CALLED;
    if (!within(pinned, to, size) || !within(memory, from, size)) return kInvalidValue;
    return copy(to, from, size, stream);
}
API cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t size, void* stream) {
    CALLED;
    if (!within(memory, to, size) || !within(memory, from, size)) return kInvalidValue;
    return copy(to, from, size, stream);
}

API cuLaunchHostFunc(void* stream, void (*function)(void*), void* data) {
    CALLED;
    return put(stream, [=] { function(data); });
}

API cuModuleLoadData(void** out, const char* image) {
    CALLED;
    if (!current()) return kInvalidContext;
    if (!image) return kInvalidValue;
    modules.insert(*out = new char);
    return kOk;
}
API cuModuleGetFunction(void** out, void* module, const char* symbol) {
    CALLED;
    if (!modules.count(module)) return kInvalidHandle;
    *out = const_cast<char*>(symbols.insert(symbol).first->c_str());
    return kOk;
}
API cuModuleUnload(void* module) {
    CALLED;
    if (!modules.erase(module)) return kInvalidHandle;
    delete static_cast<char*>(module);
    return kOk;
}
API cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned, void* stream, void** arguments, void**) {
    CALLED;
    if (!current()) return kInvalidContext;
    const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
    return launcher ? launcher(static_cast<const char*>(function), grid, block, arguments, stream) : kOk;
}

API cuStreamBeginCapture_v2(void* handle, int) {
    CALLED;
    Stream* stream = open_stream(handle);
    if (!stream) return kInvalidHandle;
    stream->recording = true;
    stream->spoilt = false;
    stream->recorded.clear();
    return kOk;
}
API cuStreamEndCapture(void* handle, void** out) {
    CALLED;
    Stream* stream = open_stream(handle);
    if (!stream) return kInvalidHandle;
    if (!stream->recording) return kInvalidValue;
    stream->recording = false;
    *out = nullptr;
    if (stream->spoilt) return kCaptureInvalidated;
    graphs.insert(*out = new Graph{std::move(stream->recorded)});
    return kOk;
}
API cuGraphInstantiateWithFlags(void** out, void* graph, uint64_t) {
    CALLED;
    if (!graphs.count(graph)) return kInvalidHandle;
    executables.insert(*out = new Graph(*static_cast<Graph*>(graph)));
    return kOk;
}
API cuGraphLaunch(void* graph, void* stream) {
    CALLED;
    if (!executables.count(graph)) return kInvalidHandle;
    for (auto& operation : static_cast<Graph*>(graph)->operations)
        if (int status = put(stream, operation)) return status;
    return kOk;
}
static int destroy(std::set<void*>& all, void* handle) {
    if (!all.erase(handle)) return kInvalidHandle;
    delete static_cast<Graph*>(handle);
    return kOk;
}
API cuGraphExecDestroy(void* graph) { CALLED; return destroy(executables, graph); }
API cuGraphDestroy(void* graph) { CALLED; return destroy(graphs, graph); }
