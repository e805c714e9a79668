package ai.lram.agent.train;

import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.backend.Backend;
import ai.lram.backend.TensorArena;
import java.util.ArrayList;
import java.util.List;

/**
 * Memory for whole batches beside a recorded pass over a part of their rows: what enters and leaves the pass is copied on the device, so
 * that all parts can be one recording. With a single part the pass's own values serve. Single thread.
 */
final class BatchParts implements AutoCloseable {
    /** A batch in one part. */
    static final BatchParts ONE = new BatchParts(null, null, 1);

    private final Backend backend;
    private final Tape tape;
    private final int count;
    private final TensorArena arena;
    private final List<Pair> inputs = new ArrayList<>();
    private final List<Pair> outputs = new ArrayList<>();

    private record Pair(Value whole, Value part) {}

    /** @param count parts of a batch, all of the same size */
    BatchParts(Backend backend, Tape tape, int count) {
        this.backend = backend;
        this.tape = tape;
        this.count = count;
        arena = count == 1 ? null : backend.arena("whole batch");
    }

    int count() {
        return count;
    }

    /** The whole batch's memory for an input of the pass, rows outermost. */
    Value input(Value part) {
        return pair(part, inputs);
    }

    /** Room for what every part leaves in {@code part}, parts outermost. */
    Value output(Value part) {
        return pair(part, outputs);
    }

    private Value pair(Value part, List<Pair> list) {
        if (count == 1) {
            return part;
        }
        int[] shape = part.shape();
        shape[0] = Math.multiplyExact(shape[0], count);
        Value whole = tape.external(part.name(), arena.allocate(part.dtype(), shape));
        list.add(new Pair(whole, part));
        return whole;
    }

    /** Queues the copies into the pass. */
    void enter(int k) {
        for (Pair p : inputs) {
            backend.copy(backend.stream(), p.part.tensor(), p.whole.tensor().view(k * p.part.size(), p.part.shape()));
        }
    }

    /** Queues the copies out of the pass. */
    void leave(int k) {
        for (Pair p : outputs) {
            backend.copy(backend.stream(), p.whole.tensor().view(k * p.part.size(), p.part.shape()), p.part.tensor());
        }
    }

    @Override
    public void close() {
        if (arena != null) {
            arena.close();
        }
    }
}
