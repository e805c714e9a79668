package ai.lram.agent.autodiff;

import ai.lram.backend.Backend;
import ai.lram.backend.Replay;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Ops;
import java.util.List;

/**
 * A recording with every value placed in one slab: replayed with {@link #run}, it allocates nothing and its addresses are stable. Single
 * thread: the one that queues on the backend's stream.
 */
public final class Plan implements AutoCloseable {
    private final Ops ops;
    private final Stream stream;
    private final Tape.Step[] steps;
    private final TensorArena arena;
    private final Tensor slab;
    private boolean warm;
    private Replay replay;

    Plan(Backend backend, List<Tape.Step> steps, TensorArena arena, Tensor slab) {
        this.ops = backend.ops();
        this.stream = backend.stream();
        this.steps = steps.toArray(Tape.Step[]::new);
        this.arena = arena;
        this.slab = slab;
    }

    /**
     * Queues every recorded kernel in order. The first run queues them one by one, so that the engine prepares what it needs for these
     * shapes; from the second on they are one recording of the stream, on a device a single graph launch.
     */
    public void run() {
        if (!warm) {
            warm = true;
            launch();
            return;
        }
        if (replay == null) {
            replay = stream.record(this::launch);
        }
        replay.run();
    }

    private void launch() {
        for (Tape.Step step : steps) {
            step.launch().run(ops, stream);
        }
    }

    /** Queues every kernel and adds each one's wall time to {@code profile}; waits after each, so only for looking. */
    public void run(Profile profile) {
        for (Tape.Step step : steps) {
            long t = System.nanoTime();
            step.launch().run(ops, stream);
            stream.synchronize();
            profile.add(step.kernel(), System.nanoTime() - t);
        }
    }

    /** Bytes of all values that live in the slab. */
    public long slabBytes() {
        return slab.bytes();
    }

    /** Number of kernels per replay. */
    public int kernels() {
        return steps.length;
    }

    @Override
    public void close() {
        if (replay != null) {
            replay.close();
        }
        arena.close();
    }
}
