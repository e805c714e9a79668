package ai.lram.backend.cuda;

import ai.lram.backend.Replay;

/** A CUDA graph, launched as one. */
final class CudaReplay implements Replay {
    private static final String WHAT = "replaying kernels";

    private final Engine engine;
    private final long executable;
    private final int decides;
    private final boolean tells;

    /** Of what the engine has just recorded, still between its enter and leave. */
    CudaReplay(Engine engine, long executable) {
        this.engine = engine;
        this.executable = executable;
        decides = engine.decided().recorded();
        tells = engine.decided().endsRecording();
        engine.opened(this);
    }

    @Override
    public void run() {
        engine.enter(WHAT);
        try {
            launch();
        } finally {
            engine.leave();
        }
    }

    @Override
    public void finish() {
        engine.enter(WHAT);
        try {
            launch();
            engine.spin(tells);
        } finally {
            engine.leave();
        }
    }

    private void launch() {
        engine.requireOpen(this);
        engine.requireNotRecording(WHAT);
        engine.check(engine.driver().launchGraph(executable, engine.stream()), WHAT);
        engine.decided().replayed(decides);
    }

    @Override
    public void close() {
        engine.destroy(this);
    }

    long executable() {
        return executable;
    }
}
