package ai.lram.agent.policy;

import ai.lram.backend.Replay;
import ai.lram.backend.Stream;

/**
 * Kernels of a step for one number of rows, which depend on tensors alone. On an engine that records, the first run queues them one by one, so
 * that libraries choose their algorithms, and from the second run on they are one recording; elsewhere they are queued each time. Never are
 * they run but when {@link #run} or {@link #finish} is called. Single thread.
 */
public final class StepRecording implements AutoCloseable {
    /** Numbers of rows that {@link Policy#warmUp} prepares at most; each keeps a recording, or one with images and one without. */
    public static final int MOST_PREPARED = 256;

    private final Stream stream;
    private final Runnable kernels;
    private final boolean records;
    private boolean queued;
    private Replay replay;

    /** @param kernels queues them on {@code stream} */
    public StepRecording(Stream stream, Runnable kernels) {
        this.stream = stream;
        this.kernels = kernels;
        records = stream.records();
    }

    /** Queues the kernels and returns. */
    public void run() {
        if (ready()) {
            replay.run();
        } else {
            kernels.run();
            queued = true;
        }
    }

    /** Queues the kernels and waits for them and all before. */
    public void finish() {
        if (ready()) {
            replay.finish();
        } else {
            kernels.run();
            queued = true;
            stream.synchronize();
        }
    }

    /** Runs the kernels over rows that change no session until they are recorded, where the engine records. */
    public void warmUp(StepExchange.Rows io) {
        while (!recorded()) {
            io.fillIdle();
            finish();
        }
    }

    /** Whether the next run has nothing to prepare. */
    boolean recorded() {
        return replay != null || !records;
    }

    private boolean ready() {
        if (replay == null && records && queued) {
            replay = stream.record(kernels);
        }
        return replay != null;
    }

    @Override
    public void close() {
        if (replay != null) {
            replay.close();
        }
    }
}
