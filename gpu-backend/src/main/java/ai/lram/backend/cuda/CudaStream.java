package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.Replay;
import ai.lram.backend.Stream;

/** The engine's stream. What is recorded becomes a CUDA graph. */
final class CudaStream implements Stream {
    /** Capture concerns this thread's calls only: memory may be taken elsewhere meanwhile. */
    private static final int THREAD_LOCAL = 1;

    private final Backend backend;
    private final Engine engine;

    CudaStream(Backend backend, Engine engine) {
        this.backend = backend;
        this.engine = engine;
    }

    @Override
    public Backend backend() {
        return backend;
    }

    @Override
    public void synchronize() {
        engine.synchronize();
    }

    @Override
    public boolean records() {
        return true;
    }

    @Override
    public Replay record(Runnable work) {
        Driver driver = engine.driver();
        engine.enter("recording kernels");
        try {
            engine.requireNotRecording("recording kernels");
            engine.check(driver.beginCapture(engine.stream(), THREAD_LOCAL), "beginning to record kernels");
            long[] graph = new long[1];
            boolean whole = false;
            engine.recording(true);
            try {
                work.run();
                whole = true;
            } finally {
                engine.recording(false);
                int ended = driver.endCapture(graph, engine.stream());
                if (!whole && ended == Driver.SUCCESS) {
                    driver.destroyGraph(graph[0]);
                } else if (whole) {
                    engine.check(ended, "ending to record kernels");
                }
            }
            long[] executable = new long[1];
            int status = driver.instantiate(executable, graph[0]);
            driver.destroyGraph(graph[0]);
            engine.check(status, "building a graph of recorded kernels");
            return new CudaReplay(engine, executable[0]);
        } finally {
            engine.leave();
        }
    }
}
