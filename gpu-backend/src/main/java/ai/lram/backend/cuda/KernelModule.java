package ai.lram.backend.cuda;

import java.util.List;

/** The kernels of one source, compiled for the engine's device and loaded. */
final class KernelModule {
    private final Engine engine;
    private final long module;

    /** @param defines macros as NAME or NAME=VALUE */
    KernelModule(Engine engine, String source, String... defines) {
        this.engine = engine;
        module = engine.load(source, engine.compiler().compile(KernelSource.load(source), List.of(defines)));
    }

    /** A macro that is 1 or 0. */
    static String define(String name, boolean on) {
        return name + "=" + (on ? 1 : 0);
    }

    Kernel kernel(String name) {
        return engine.kernel(module, name, 0);
    }

    /** @param sharedBytes the most dynamic shared memory that a launch will ask for */
    Kernel kernel(String name, int sharedBytes) {
        return engine.kernel(module, name, sharedBytes);
    }
}
