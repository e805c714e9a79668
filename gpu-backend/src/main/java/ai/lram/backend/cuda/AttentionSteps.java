package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.StepWeight;
import java.util.HashMap;
import java.util.Map;

/** Launches {@code attention_step.cu}: new tokens over a cache, whose runs many blocks share. */
final class AttentionSteps {
    /** Blocks of a grid in its second and third direction. */
    private static final int MOST_OF_A_GRID = 65_535;

    private static final int MOST_TOKENS = 4;
    private static final int NARROWEST = 8;

    /** Of a head, as in the source. */
    private static final int MOST_RUNS = 32;
    /** Tokens of a run, as in the source. */
    private static final int LEAST = 32;

    /** Blocks that a multiprocessor has room for; of four tokens one, which makes the runs of a cache finer than they need be. */
    private static final int RESIDENT = 2;

    /** Heads of all rows that are counted. */
    private static final int MOST_HEADS = 4096;

    private final Engine engine;
    private final boolean off;
    private final long arrived;
    private final Map<Sizes, Kernel> kernels = new HashMap<>();

    /** What the kernel is compiled for. */
    private record Sizes(int dim, int tokens) {}

    /** A step's arguments, as {@link ai.lram.backend.ops.AttentionOps#cachedStep} names them. */
    record Call(
            Tensor slots,
            Tensor counts,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor keys,
            Tensor values,
            Tensor length,
            Tensor y) {
        int rows() {
            return q.dim(0);
        }

        int tokens() {
            return q.dim(1);
        }

        int heads() {
            return q.dim(2);
        }

        int dim() {
            return q.dim(3);
        }

        int capacity() {
            return keys.dim(1);
        }

        float scale() {
            return (float) (1 / Math.sqrt(dim()));
        }
    }

    AttentionSteps(Engine engine) {
        this.engine = engine;
        off = StepForms.off();
        arrived = engine.lasting((long) Integer.BYTES * MOST_HEADS);
    }

    /** Compiles on the first use of a shape, as {@link BlockSteps} does. */
    private Kernel kernel(Call c) {
        return kernels.computeIfAbsent(new Sizes(c.dim(), c.tokens()), z -> new KernelModule(
                        engine, "attention_step", "ATTENTION_DIM=" + z.dim(), "ATTENTION_TOKENS=" + z.tokens())
                .kernel("attention_step"));
    }

    /** Whether the kernel takes these sizes; others have the plain one. */
    boolean takes(Call c) {
        int dim = c.dim();
        return !off
                && c.tokens() >= 1
                && c.tokens() <= MOST_TOKENS
                && c.rows() <= MOST_OF_A_GRID
                && c.heads() <= MOST_OF_A_GRID
                && dim >= NARROWEST
                && dim <= CudaAttention.WIDEST_HEAD
                && Integer.bitCount(dim) == 1
                && (c.q().address()
                                        | c.k().address()
                                        | c.v().address()
                                        | c.keys().address()
                                        | c.values().address())
                                % 16
                        == 0;
    }

    /** Blocks that share a head: as many as the device holds, where the cache has tokens for them. */
    private int runs(Call c) {
        long heads = (long) c.rows() * c.heads();
        long part = (long) Float.BYTES * c.tokens() * (c.dim() + 2);
        long most = Math.min(
                (long) RESIDENT * engine.device().multiprocessors() / heads,
                ((long) c.capacity() + c.tokens() + LEAST - 1) / LEAST);
        most = Math.min(most, Engine.WORKSPACE / (heads * part));
        return heads > MOST_HEADS ? 1 : Math.clamp(most, 1, MOST_RUNS);
    }

    /**
     * One launch, which leaves the length as it is; {@link #takes} must have said yes, and slots and counts are checked.
     *
     * @param next a weight that is read soon; may be null
     */
    void run(Call c, StepWeight next) {
        int runs = runs(c);
        Engine.Launch launch = engine.launch(kernel(c))
                .put(c.slots())
                .put(c.counts())
                .put(c.q())
                .put(c.k())
                .put(c.v())
                .put(c.keys())
                .put(c.values())
                .put(c.length())
                .put(c.y())
                .put(engine.partials())
                .put(runs > 1 ? arrived : 0L);
        TransformerSteps.fetch(launch, next, null, null)
                .put(c.keys().dim(0))
                .put(c.heads())
                .put(c.capacity())
                .put(1f / runs)
                .put(c.scale())
                .faults()
                .early(runs, c.heads(), c.rows(), Engine.THREADS, 0);
    }
}
