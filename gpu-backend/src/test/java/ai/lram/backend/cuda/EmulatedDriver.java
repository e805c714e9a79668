package ai.lram.backend.cuda;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A driver whose modules are shared libraries made by {@link EmulatedNvrtc} and whose launches run at once, on the caller's thread. While a
 * stream is captured they are kept instead, with their arguments as of then.
 */
@SuppressWarnings("restricted")
final class EmulatedDriver extends ScriptedDriver {
    /** What the driver answers when a kernel cannot be run to its end. */
    static final int LAUNCH_FAILED = 719;

    private static final int MOST_ARGUMENT_BYTES = 4096;

    private record Module(Arena arena, SymbolLookup symbols, MethodHandle emulate) {}

    private record Function(Module module, MemorySegment symbol, String name) {}

    private final Map<Long, Module> modules = new HashMap<>();
    private final Map<Long, Function> functions = new HashMap<>();
    private final Map<Long, List<Runnable>> graphs = new HashMap<>();
    private final Deque<List<Runnable>> waiting = new ArrayDeque<>();
    private List<Runnable> capture;

    /** Whether graphs wait: a look at the stream runs one and finds it at work. */
    boolean slow;

    /** Names of the kernels run, in order. */
    final List<String> launches = new ArrayList<>();

    /** The library's products run. */
    int products;

    /** Those of them whose operands are fp16. */
    int fp16Products;

    /** Why the last launch failed: as the emulator's enumeration of errors. */
    int emulatorError;

    EmulatedDriver() {
        name = "Emulated GPU";
        multiprocessors = 12; // a grid of a block for each takes its time here
        cooperative = false; // its blocks run one after the other
    }

    /** Runs now, or as part of the graph that is being captured. */
    void queue(Runnable work) {
        if (capture != null) {
            capture.add(work);
        } else {
            work.run();
        }
    }

    @Override
    public int loadModule(long[] module, MemorySegment image) {
        int status = super.loadModule(module, image);
        try {
            Path file = Files.createTempFile("lram-module", ".so");
            Files.write(file, image.toArray(ValueLayout.JAVA_BYTE));
            Arena arena = Arena.ofShared();
            SymbolLookup symbols = SymbolLookup.libraryLookup(file, arena);
            Files.delete(file); // it stays mapped
            MethodHandle emulate = Linker.nativeLinker()
                    .downcallHandle(
                            symbols.findOrThrow("lram_emulate"),
                            FunctionDescriptor.of(
                                    ValueLayout.JAVA_INT,
                                    ValueLayout.ADDRESS,
                                    ValueLayout.JAVA_INT,
                                    ValueLayout.JAVA_INT,
                                    ValueLayout.JAVA_INT,
                                    ValueLayout.JAVA_INT,
                                    ValueLayout.JAVA_INT,
                                    ValueLayout.ADDRESS));
            modules.put(module[0], new Module(arena, symbols, emulate));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return status;
    }

    @Override
    public int unloadModule(long module) {
        modules.remove(module).arena.close();
        return super.unloadModule(module);
    }

    @Override
    public int function(long[] function, long module, String name) {
        int status = super.function(function, module, name);
        Module m = modules.get(module);
        Optional<MemorySegment> symbol = m.symbols.find(name);
        if (symbol.isEmpty()) {
            return 500;
        }
        functions.put(function[0], new Function(m, symbol.get(), name));
        return status;
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
        int status = answer("launch");
        if (status != SUCCESS) {
            return status;
        }
        Function f = functions.get(function);
        MemorySegment now = MemorySegment.ofAddress(argument).reinterpret(MOST_ARGUMENT_BYTES);
        if (capture == null) {
            return run(f, gridX, gridY, gridZ, blockX, sharedBytes, now);
        }
        MemorySegment kept = Arena.ofAuto().allocate(MOST_ARGUMENT_BYTES, 64).copyFrom(now);
        capture.add(() -> {
            if (run(f, gridX, gridY, gridZ, blockX, sharedBytes, kept) != SUCCESS) {
                answers.put("synchronizeStream", LAUNCH_FAILED);
                answers.put("queryStream", LAUNCH_FAILED);
            }
        });
        return SUCCESS;
    }

    @Override
    public int launchEarly(
            long function, int gridX, int gridY, int gridZ, int threads, int sharedBytes, long stream, long argument) {
        return launch(function, gridX, gridY, gridZ, threads, 1, 1, sharedBytes, stream, argument);
    }

    private int run(Function f, int gridX, int gridY, int gridZ, int threads, int sharedBytes, MemorySegment argument) {
        launches.add(f.name);
        try {
            emulatorError =
                    (int) f.module.emulate.invokeExact(f.symbol, gridX, gridY, gridZ, threads, sharedBytes, argument);
        } catch (Throwable e) {
            throw new IllegalStateException(f.name, e);
        }
        return emulatorError == 0 ? SUCCESS : LAUNCH_FAILED;
    }

    @Override
    public int copyOnDevice(long to, long from, long bytes, long stream) {
        queue(() -> MemorySegment.ofAddress(to)
                .reinterpret(bytes)
                .copyFrom(MemorySegment.ofAddress(from).reinterpret(bytes)));
        return answer("copyOnDevice");
    }

    @Override
    public int fillBytes(long device, byte value, long bytes, long stream) {
        queue(() -> MemorySegment.ofAddress(device).reinterpret(bytes).fill(value));
        return answer("fillBytes");
    }

    @Override
    public int beginCapture(long stream, int mode) {
        capture = new ArrayList<>();
        return super.beginCapture(stream, mode);
    }

    @Override
    public int endCapture(long[] graph, long stream) {
        int status = super.endCapture(graph, stream);
        graphs.put(graph[0], capture);
        capture = null;
        return status;
    }

    @Override
    public int instantiate(long[] executable, long graph) {
        int status = super.instantiate(executable, graph);
        graphs.put(executable[0], graphs.get(graph));
        return status;
    }

    @Override
    public int launchGraph(long executable, long stream) {
        if (slow) {
            waiting.add(graphs.get(executable));
        } else {
            graphs.get(executable).forEach(Runnable::run);
        }
        return super.launchGraph(executable, stream);
    }

    @Override
    public int queryStream(long stream) {
        int status = super.queryStream(stream);
        if (status != SUCCESS || waiting.isEmpty()) {
            return status;
        }
        waiting.remove().forEach(Runnable::run);
        return NOT_READY;
    }

    @Override
    public int synchronizeStream(long stream) {
        while (!waiting.isEmpty()) {
            waiting.remove().forEach(Runnable::run);
        }
        return super.synchronizeStream(stream);
    }
}
