package ai.lram.backend.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.SizeTPointer;

/** The CUDA driver through the JavaCPP bindings. Loading this class loads the bindings: ask {@link Discovery} first. */
final class JavaCppDriver implements Driver {
    private static final int PROGRAMMATIC_STREAM_SERIALIZATION = 6;
    private static final int COOPERATIVE = 2;

    /** Where the header's structures hold what, in bytes. */
    private static final int CONFIG_STREAM = 32;

    private static final int CONFIG_ATTRIBUTES = 40;
    private static final int CONFIG_COUNT = 48;
    private static final int CONFIG_BYTES = 56;
    private static final int ATTRIBUTE_VALUE = 8;
    private static final int ATTRIBUTE_BYTES = 72;

    private final Handles.Function launchFunction = new Handles.Function();
    private final Handles.Stream launchStream = new Handles.Stream();
    private final Handles.Stream graphStream = new Handles.Stream();
    private final Handles.Executable graph = new Handles.Executable();

    /** The array of argument addresses of a launch: one element. */
    private final MemorySegment arguments = Arena.ofAuto().allocate(ValueLayout.JAVA_LONG);

    private final Handles.Addresses argumentsPointer = new Handles.Addresses(arguments);

    /** CUlaunchConfig, its launch's attributes the first of: the kernel may begin early, and its blocks are there together. */
    private final MemorySegment config = Arena.ofAuto().allocate(CONFIG_BYTES, 8);

    private final MemorySegment attributes = Arena.ofAuto().allocate(2 * ATTRIBUTE_BYTES, 8);
    private final Handles.LaunchConfig configPointer = new Handles.LaunchConfig(config);

    JavaCppDriver() {
        attributes.set(ValueLayout.JAVA_INT, 0, PROGRAMMATIC_STREAM_SERIALIZATION);
        attributes.set(ValueLayout.JAVA_INT, ATTRIBUTE_VALUE, 1);
        attributes.set(ValueLayout.JAVA_INT, ATTRIBUTE_BYTES, COOPERATIVE);
        attributes.set(ValueLayout.JAVA_INT, ATTRIBUTE_BYTES + ATTRIBUTE_VALUE, 1);
        config.set(ValueLayout.ADDRESS, CONFIG_ATTRIBUTES, attributes);
    }

    private static Handles.Stream stream(long address) {
        return new Handles.Stream().at(address);
    }

    private static Handles.Memory memory(long address) {
        return new Handles.Memory().at(address);
    }

    @Override
    public int init() {
        return cudart.cuInit(0);
    }

    @Override
    public int driverVersion(int[] version) {
        return cudart.cuDriverGetVersion(version);
    }

    @Override
    public int deviceCount(int[] count) {
        return cudart.cuDeviceGetCount(count);
    }

    @Override
    public int device(int[] device, int ordinal) {
        return cudart.cuDeviceGet(device, ordinal);
    }

    @Override
    public int deviceName(byte[] name, int device) {
        return cudart.cuDeviceGetName(name, name.length, device);
    }

    @Override
    public int deviceAttribute(int[] value, int attribute, int device) {
        return cudart.cuDeviceGetAttribute(value, attribute, device);
    }

    @Override
    public int totalMemory(long[] bytes, int device) {
        try (SizeTPointer out = new SizeTPointer(1)) {
            int status = cudart.cuDeviceTotalMem(out, device);
            bytes[0] = out.get();
            return status;
        }
    }

    @Override
    public int retainPrimaryContext(long[] context, int device) {
        Handles.Context out = new Handles.Context();
        int status = cudart.cuDevicePrimaryCtxRetain(out, device);
        context[0] = out.address();
        return status;
    }

    @Override
    public int releasePrimaryContext(int device) {
        return cudart.cuDevicePrimaryCtxRelease(device);
    }

    @Override
    public int setCurrentContext(long context) {
        return cudart.cuCtxSetCurrent(new Handles.Context().at(context));
    }

    @Override
    public int memoryInfo(long[] freeAndTotal) {
        try (SizeTPointer free = new SizeTPointer(1);
                SizeTPointer total = new SizeTPointer(1)) {
            int status = cudart.cuMemGetInfo(free, total);
            freeAndTotal[0] = free.get();
            freeAndTotal[1] = total.get();
            return status;
        }
    }

    @Override
    public int allocate(long[] address, long bytes) {
        return cudart.cuMemAlloc(address, bytes);
    }

    @Override
    public int free(long address) {
        return cudart.cuMemFree(address);
    }

    @Override
    public int allocatePinned(long[] address, long bytes, int flags) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
            int status = cudart.cuMemHostAlloc(new Handles.Addresses(out), bytes, flags);
            address[0] = out.get(ValueLayout.JAVA_LONG, 0);
            return status;
        }
    }

    @Override
    public int freePinned(long address) {
        return cudart.cuMemFreeHost(memory(address));
    }

    @Override
    public int deviceAddressOfPinned(long[] device, long host) {
        return cudart.cuMemHostGetDevicePointer(device, memory(host), 0);
    }

    @Override
    public int copyToDevice(long device, long host, long bytes, long stream) {
        return cudart.cuMemcpyHtoDAsync(device, memory(host), bytes, stream(stream));
    }

    @Override
    public int copyToHost(long host, long device, long bytes, long stream) {
        return cudart.cuMemcpyDtoHAsync(memory(host), device, bytes, stream(stream));
    }

    @Override
    public int copyOnDevice(long to, long from, long bytes, long stream) {
        return cudart.cuMemcpyDtoDAsync(to, from, bytes, stream(stream));
    }

    @Override
    public int fillBytes(long device, byte value, long bytes, long stream) {
        return cudart.cuMemsetD8Async(device, value, bytes, stream(stream));
    }

    @Override
    public int createStream(long[] stream, int flags) {
        Handles.Stream out = new Handles.Stream();
        int status = cudart.cuStreamCreate(out, flags);
        stream[0] = out.address();
        return status;
    }

    @Override
    public int synchronizeStream(long stream) {
        return cudart.cuStreamSynchronize(graphStream.at(stream));
    }

    @Override
    public int queryStream(long stream) {
        return cudart.cuStreamQuery(graphStream.at(stream));
    }

    @Override
    public int destroyStream(long stream) {
        return cudart.cuStreamDestroy(stream(stream));
    }

    @Override
    public int createEvent(long[] event, int flags) {
        Handles.Event out = new Handles.Event();
        int status = cudart.cuEventCreate(out, flags);
        event[0] = out.address();
        return status;
    }

    @Override
    public int recordEvent(long event, long stream) {
        return cudart.cuEventRecord(new Handles.Event().at(event), stream(stream));
    }

    @Override
    public int synchronizeEvent(long event) {
        return cudart.cuEventSynchronize(new Handles.Event().at(event));
    }

    @Override
    public int elapsed(float[] milliseconds, long from, long to) {
        return cudart.cuEventElapsedTime(milliseconds, new Handles.Event().at(from), new Handles.Event().at(to));
    }

    @Override
    public int destroyEvent(long event) {
        return cudart.cuEventDestroy(new Handles.Event().at(event));
    }

    @Override
    public int loadModule(long[] module, MemorySegment image) {
        Handles.Module out = new Handles.Module();
        int status = cudart.cuModuleLoadData(out, Handles.Memory.of(image));
        module[0] = out.address();
        return status;
    }

    @Override
    public int unloadModule(long module) {
        return cudart.cuModuleUnload(new Handles.Module().at(module));
    }

    @Override
    public int function(long[] function, long module, String name) {
        Handles.Function out = new Handles.Function();
        int status = cudart.cuModuleGetFunction(out, new Handles.Module().at(module), name);
        function[0] = out.address();
        return status;
    }

    @Override
    public int setFunctionAttribute(long function, int attribute, int value) {
        return cudart.cuFuncSetAttribute(new Handles.Function().at(function), attribute, value);
    }

    @Override
    public int launch(
            long function,
            int gridX,
            int gridY,
            int gridZ,
            int blockX,
            int blockY,
            int blockZ,
            int sharedBytes,
            long stream,
            long argument) {
        arguments.set(ValueLayout.JAVA_LONG, 0, argument);
        return cudart.cuLaunchKernel(
                launchFunction.at(function),
                gridX,
                gridY,
                gridZ,
                blockX,
                blockY,
                blockZ,
                sharedBytes,
                launchStream.at(stream),
                argumentsPointer,
                (Handles.Addresses) null);
    }

    @Override
    public int launchEarly(
            long function, int gridX, int gridY, int gridZ, int threads, int sharedBytes, long stream, long argument) {
        return launch(1, function, gridX, gridY, gridZ, threads, sharedBytes, stream, argument);
    }

    private int launch(
            int attributes,
            long function,
            int gridX,
            int gridY,
            int gridZ,
            int threads,
            int sharedBytes,
            long stream,
            long argument) {
        arguments.set(ValueLayout.JAVA_LONG, 0, argument);
        config.set(ValueLayout.JAVA_INT, CONFIG_COUNT, attributes);
        config.setAtIndex(ValueLayout.JAVA_INT, 0, gridX);
        config.setAtIndex(ValueLayout.JAVA_INT, 1, gridY);
        config.setAtIndex(ValueLayout.JAVA_INT, 2, gridZ);
        config.setAtIndex(ValueLayout.JAVA_INT, 3, threads);
        config.setAtIndex(ValueLayout.JAVA_INT, 4, 1);
        config.setAtIndex(ValueLayout.JAVA_INT, 5, 1);
        config.setAtIndex(ValueLayout.JAVA_INT, 6, sharedBytes);
        config.set(ValueLayout.JAVA_LONG, CONFIG_STREAM, stream);
        return cudart.cuLaunchKernelEx(
                configPointer, launchFunction.at(function), argumentsPointer, (Handles.Addresses) null);
    }

    @Override
    public int launchTogether(
            long function, int blocks, int threads, int sharedBytes, boolean early, long stream, long argument) {
        if (early) {
            return launch(2, function, blocks, 1, 1, threads, sharedBytes, stream, argument);
        }
        arguments.set(ValueLayout.JAVA_LONG, 0, argument);
        return cudart.cuLaunchCooperativeKernel(
                launchFunction.at(function),
                blocks,
                1,
                1,
                threads,
                1,
                1,
                sharedBytes,
                launchStream.at(stream),
                argumentsPointer);
    }

    @Override
    public int beginCapture(long stream, int mode) {
        return cudart.cuStreamBeginCapture(stream(stream), mode);
    }

    @Override
    public int endCapture(long[] graph, long stream) {
        Handles.Graph out = new Handles.Graph();
        int status = cudart.cuStreamEndCapture(stream(stream), out);
        graph[0] = out.address();
        return status;
    }

    @Override
    public int instantiate(long[] executable, long graph) {
        Handles.Executable out = new Handles.Executable();
        int status = cudart.cuGraphInstantiate(out, new Handles.Graph().at(graph), 0);
        executable[0] = out.address();
        return status;
    }

    @Override
    public int launchGraph(long executable, long stream) {
        return cudart.cuGraphLaunch(graph.at(executable), graphStream.at(stream));
    }

    @Override
    public int destroyExecutable(long executable) {
        return cudart.cuGraphExecDestroy(new Handles.Executable().at(executable));
    }

    @Override
    public int destroyGraph(long graph) {
        return cudart.cuGraphDestroy(new Handles.Graph().at(graph));
    }

    @Override
    public String statusName(int status) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            if (cudart.cuGetErrorName(status, new Handles.Addresses(out)) != SUCCESS) {
                return "status " + status;
            }
            return new BytePointer(memory(out.get(ValueLayout.JAVA_LONG, 0))).getString();
        }
    }
}
