package ai.lram.backend.cuda;

import ai.lram.backend.Replay;

/** A CUDA graph, launched as one. */
final class CudaReplay implements Replay {
    private final Engine engine;
    private final long executable;

    CudaReplay(Engine engine, long executable) {
        this.engine = engine;
        this.executable = executable;
        engine.opened(this);
    }

    @Override
    public void run() {
        engine.enter("replaying kernels");
        try {
            engine.requireOpen(this);
            engine.requireNotRecording("replaying kernels");
            engine.check(engine.driver().launchGraph(executable, engine.stream()), "replaying kernels");
        } finally {
            engine.leave();
        }
    }

    @Override
    public void close() {
        engine.destroy(this);
    }

    long executable() {
        return executable;
    }
}
