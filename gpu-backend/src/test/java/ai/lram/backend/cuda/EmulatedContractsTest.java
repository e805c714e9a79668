package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

/**
 * The CUDA engine's own kernels run by the host, thread by thread: everything but speed and what only concurrency shows, on a machine without
 * a GPU. Products of cuBLASLt are plain loops here.
 */
class EmulatedContractsTest extends ContractsOfAnEngine {
    private static Backend engine;

    @BeforeAll
    static void open() {
        Emulator.requireCompiler();
        engine = Emulator.open();
    }

    @AfterAll
    static void close() {
        if (engine != null) {
            engine.close();
        }
    }

    @Override
    Backend engine() {
        return engine;
    }
}
