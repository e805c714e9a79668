package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.AttentionOps;
import ai.lram.backend.ops.ComposedSteps;
import ai.lram.backend.ops.Ops;
import ai.lram.backend.ops.TransformerBlockMemory;
import ai.lram.backend.ops.TransformerLayer;
import java.util.List;

/** Launches {@code attention.cu}; {@link AttentionSteps} and {@link TransformerSteps} take the steps that they can. */
final class CudaAttention implements AttentionOps {
    static final int WIDEST_HEAD = 256;

    private static final int WARPS = Engine.THREADS / 32;

    private final Ops ops;
    private final Engine engine;
    private final Rows rows;
    private final AttentionSteps steps;
    private final TransformerSteps blocks;
    private final Kernel forward;
    private final Kernel delta;
    private final Kernel queryGradient;
    private final Kernel keyGradient;
    private final Kernel cachedStep;
    private final Kernel cachedAdvance;

    CudaAttention(Ops ops, Engine engine, Rows rows) {
        this.ops = ops;
        this.engine = engine;
        this.rows = rows;
        steps = new AttentionSteps(engine);
        blocks = new TransformerSteps(engine, rows, steps);
        KernelModule module = new KernelModule(engine, "attention");
        forward = module.kernel("attention_forward");
        delta = module.kernel("attention_delta");
        queryGradient = module.kernel("attention_query_gradient");
        keyGradient = module.kernel("attention_key_gradient");
        cachedStep = module.kernel("cached_step");
        cachedAdvance = module.kernel("cached_advance");
    }

    private static void requireHead(String kernel, int dim) {
        if (dim > WIDEST_HEAD) {
            throw new UnsupportedKernelException(
                    kernel + " on CUDA: heads of " + dim + " columns",
                    "the kernel takes up to " + WIDEST_HEAD,
                    "use more heads, or choose device=cpu");
        }
    }

    /** @return (batch, head, token) units */
    private static long sequence(String kernel, Tensor q) {
        Check.f32(kernel, "q", q);
        if (!(q.rank() == 4 && q.size() > 0)) {
            throw Check.mismatch(kernel + ": q is " + q, "(B, S, NH, D) of at least one element is needed", "reshape");
        }
        requireHead(kernel, q.dim(3));
        return q.size() / q.dim(3);
    }

    private static float scale(Tensor q) {
        return (float) (1 / Math.sqrt(q.dim(3)));
    }

    private static long blocks(long units) {
        return (units + WARPS - 1) / WARPS;
    }

    @Override
    public void causal(Stream s, Tensor q, Tensor k, Tensor v, Tensor y, Tensor lse) {
        String kernel = "causal";
        long units = sequence(kernel, q);
        Check.f32(kernel, "k", k, q.size());
        Check.f32(kernel, "v", v, q.size());
        Check.f32(kernel, "y", y, q.size());
        Check.optional(kernel, "lse", lse, units);
        engine.launch(forward)
                .put(q)
                .put(k)
                .put(v)
                .put(y)
                .put(lse)
                .put(units)
                .put(q.dim(1))
                .put(q.dim(2))
                .put(q.dim(3))
                .put(scale(q))
                .run(blocks(units));
    }

    @Override
    public void causalBackward(
            Stream s, Tensor q, Tensor k, Tensor v, Tensor y, Tensor lse, Tensor dy, Tensor dq, Tensor dk, Tensor dv) {
        String kernel = "causalBackward";
        long units = sequence(kernel, q);
        Check.f32(kernel, "k", k, q.size());
        Check.f32(kernel, "v", v, q.size());
        Check.f32(kernel, "y", y, q.size());
        Check.f32(kernel, "lse", lse, units);
        Check.f32(kernel, "dy", dy, q.size());
        Check.f32(kernel, "dq", dq, q.size());
        Check.f32(kernel, "dk", dk, q.size());
        Check.f32(kernel, "dv", dv, q.size());
        if (4 * units > Engine.WORKSPACE) {
            throw new UnsupportedKernelException(
                    kernel + " on CUDA: " + units + " queries",
                    "the work space holds " + Engine.WORKSPACE / 4,
                    "use a smaller batch");
        }
        engine.launch(delta)
                .put(y)
                .put(dy)
                .put(engine.partials())
                .put(units)
                .put(q.dim(1))
                .put(q.dim(2))
                .put(q.dim(3))
                .run(blocks(units));
        for (Kernel gradient : new Kernel[] {queryGradient, keyGradient}) {
            engine.launch(gradient)
                    .put(q)
                    .put(k)
                    .put(v)
                    .put(lse)
                    .put(dy)
                    .put(engine.partials())
                    .put(dq)
                    .put(dk)
                    .put(dv)
                    .put(units)
                    .put(q.dim(1))
                    .put(q.dim(2))
                    .put(q.dim(3))
                    .put(scale(q))
                    .run(blocks(units));
        }
    }

    @Override
    public void cachedStep(
            Stream s,
            Tensor slots,
            Tensor counts,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor keys,
            Tensor values,
            Tensor length,
            Tensor y) {
        AttentionSteps.Call call = new AttentionSteps.Call(slots, counts, q, k, v, keys, values, length, y);
        check("cachedStep", call);
        int batch = call.rows();
        if (batch == 0) {
            return;
        }
        rows.check(slots, counts, batch, keys.dim(0), q.dim(1));
        if (steps.takes(call)) {
            steps.run(call, null);
        } else {
            engine.launch(cachedStep)
                    .put(slots)
                    .put(counts)
                    .put(q)
                    .put(k)
                    .put(v)
                    .put(keys)
                    .put(values)
                    .put(length)
                    .put(y)
                    .put(batch)
                    .put(q.dim(1))
                    .put(q.dim(2))
                    .put(q.dim(3))
                    .put(keys.dim(1))
                    .put(call.scale())
                    .faults()
                    .run((long) batch * q.dim(2));
        }
        engine.launch(cachedAdvance)
                .put(slots)
                .put(counts)
                .put(length)
                .put(batch)
                .put(keys.dim(1))
                .faults()
                .run(engine.blocks(batch));
    }

    /** Before anything is queued. */
    static void check(String kernel, AttentionSteps.Call c) {
        Tensor q = c.q();
        Tensor keys = c.keys();
        Check.f32(kernel, "q", q);
        Check.f32(kernel, "keys", keys);
        if (!(q.rank() == 4
                && keys.rank() == 4
                && keys.dim(1) >= 1
                && keys.dim(2) == q.dim(2)
                && keys.dim(3) == q.dim(3))) {
            throw Check.mismatch(
                    kernel + ": q is " + q + ", keys is " + keys,
                    "q (B, L, NH, D) and keys (slots, capacity, NH, D) must agree in heads and width",
                    "pass the cache of this layer");
        }
        requireHead(kernel, q.dim(3));
        Check.f32(kernel, "k", c.k(), q.size());
        Check.f32(kernel, "v", c.v(), q.size());
        Check.f32(kernel, "y", c.y(), q.size());
        Check.f32(kernel, "values", c.values(), keys.size());
        Check.size(kernel, "slots", c.slots(), DType.I32, q.dim(0));
        Check.size(kernel, "counts", c.counts(), DType.I32, q.dim(0));
        Check.size(kernel, "length", c.length(), DType.I32, keys.dim(0));
    }

    @Override
    public void transformerBlocks(
            Stream s,
            List<TransformerLayer> layers,
            Tensor slots,
            Tensor counts,
            TransformerBlockMemory memory,
            Tensor x) {
        if (x.dim(0) == 0) {
            return;
        }
        if (blocks.take(layers, slots, counts, memory, x)) {
            blocks.run(layers, slots, counts, memory, x);
        } else {
            for (TransformerLayer layer : layers) {
                ComposedSteps.transformerBlock(ops, s, layer, slots, counts, memory, x);
            }
        }
    }
}
