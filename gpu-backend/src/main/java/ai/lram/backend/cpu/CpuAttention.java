package ai.lram.backend.cpu;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.AttentionOps;
import ai.lram.backend.ops.ComposedSteps;
import ai.lram.backend.ops.Ops;
import ai.lram.backend.ops.TransformerBlockMemory;
import ai.lram.backend.ops.TransformerLayer;
import java.lang.foreign.MemorySegment;
import java.util.List;

/** Attention of the CPU engine: checks shapes and splits the work over heads. */
final class CpuAttention implements AttentionOps {
    /** Floats of cached keys below which a session step stays on the calling thread. */
    private static final long SMALL = 1 << 17;

    private final Ops ops;
    private final Workers workers;

    CpuAttention(Ops ops, Workers workers) {
        this.ops = ops;
        this.workers = workers;
    }

    @Override
    public void causal(Stream s, Tensor q, Tensor k, Tensor v, Tensor y, Tensor lse) {
        String kernel = "causal attention";
        checkSequence(kernel, q);
        Check.f32(kernel, "k", k, q.size());
        Check.f32(kernel, "v", v, q.size());
        Check.f32(kernel, "y", y, q.size());
        Check.optional(kernel, "lse", lse, (long) q.dim(0) * q.dim(1) * q.dim(2));
        Attention attention = new Attention(q.dim(1), q.dim(2), q.dim(3));
        MemorySegment mq = q.segment();
        MemorySegment mk = k.segment();
        MemorySegment mv = v.segment();
        MemorySegment my = y.segment();
        MemorySegment ml = lse == null ? null : lse.segment();
        workers.forRange(q.dim(0) * q.dim(2), 1, (from, to) -> attention.forward(mq, mk, mv, my, ml, from, to));
    }

    @Override
    public void causalBackward(
            Stream s, Tensor q, Tensor k, Tensor v, Tensor y, Tensor lse, Tensor dy, Tensor dq, Tensor dk, Tensor dv) {
        String kernel = "causal attention backward";
        checkSequence(kernel, q);
        Check.f32(kernel, "k", k, q.size());
        Check.f32(kernel, "v", v, q.size());
        Check.f32(kernel, "y", y, q.size());
        Check.f32(kernel, "lse", lse, (long) q.dim(0) * q.dim(1) * q.dim(2));
        Check.f32(kernel, "dy", dy, q.size());
        Check.f32(kernel, "dq", dq, q.size());
        Check.f32(kernel, "dk", dk, q.size());
        Check.f32(kernel, "dv", dv, q.size());
        Attention attention = new Attention(q.dim(1), q.dim(2), q.dim(3));
        MemorySegment mq = q.segment();
        MemorySegment mk = k.segment();
        MemorySegment mv = v.segment();
        MemorySegment my = y.segment();
        MemorySegment ml = lse.segment();
        MemorySegment gy = dy.segment();
        MemorySegment gq = dq.segment();
        MemorySegment gk = dk.segment();
        MemorySegment gv = dv.segment();
        workers.forRange(
                q.dim(0) * q.dim(2), 1, (from, to) -> attention.backward(mq, mk, mv, my, ml, gy, gq, gk, gv, from, to));
    }

    private static void checkSequence(String kernel, Tensor q) {
        Check.f32(kernel, "q", q, q == null ? 0 : q.size());
        Check.that(
                q.rank() == 4 && q.size() > 0 && Attention.scratch(q.dim(1), q.dim(3)) < Integer.MAX_VALUE,
                kernel + ": q is " + q,
                "(B, S, NH, D) of at least one element is needed, and one head of one sequence must fit into "
                        + Integer.MAX_VALUE + " floats of scratch",
                "reshape, or cut the sequence");
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
        long work = checkStep(slots, counts, q, k, v, keys, values, length, y);
        int batch = q.dim(0);
        int heads = q.dim(2);
        if (work <= SMALL || workers.threads() == 1) {
            step(slots, counts, q, k, v, keys, values, length, y, 0, batch * heads);
        } else {
            parallelStep(slots, counts, q, k, v, keys, values, length, y, batch * heads);
        }
        int capacity = keys.dim(1);
        for (int b = 0; b < batch; b++) {
            int slot = slots.getInt(b);
            length.setInt(slot, advance(length.getInt(slot), counts.getInt(b), capacity));
        }
    }

    /** Number of tokens so far, kept from overflowing by whole turns of the ring. */
    private static int advance(int length, int count, int capacity) {
        long n = (long) length + count;
        return (int) (n < Integer.MAX_VALUE / 2 ? n : n - (n / capacity - 1) * capacity);
    }

    private void parallelStep(
            Tensor slots,
            Tensor counts,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor keys,
            Tensor values,
            Tensor length,
            Tensor y,
            int units) {
        workers.forRange(units, 1, (from, to) -> step(slots, counts, q, k, v, keys, values, length, y, from, to));
    }

    private static void step(
            Tensor slots,
            Tensor counts,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor keys,
            Tensor values,
            Tensor length,
            Tensor y,
            int from,
            int to) {
        int tokens = q.dim(1);
        int heads = q.dim(2);
        int dim = q.dim(3);
        int capacity = keys.dim(1);
        long pitch = 4L * heads * dim;
        for (int unit = from; unit < to; unit++) {
            int b = unit / heads;
            int slot = slots.getInt(b);
            int count = counts.getInt(b);
            long head = 4L * (unit % heads) * dim;
            CachedAttention.step(
                    q.segment(),
                    k.segment(),
                    v.segment(),
                    y.segment(),
                    ((long) b * tokens + tokens - count) * pitch + head,
                    keys.segment(),
                    values.segment(),
                    (long) slot * capacity * pitch + head,
                    pitch,
                    dim,
                    length.getInt(slot),
                    count,
                    capacity);
        }
    }

    @Override
    public void transformerBlocks(
            Stream s,
            List<TransformerLayer> layers,
            Tensor slots,
            Tensor counts,
            TransformerBlockMemory memory,
            Tensor x) {
        for (int l = 0; l < layers.size(); l++) {
            ComposedSteps.transformerBlock(ops, s, layers.get(l), slots, counts, memory, x);
        }
    }

    /** Floats of keys that the step will read. */
    private static long checkStep(
            Tensor slots,
            Tensor counts,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor keys,
            Tensor values,
            Tensor length,
            Tensor y) {
        String kernel = "cachedStep";
        Check.f32(kernel, "q", q, q == null ? 0 : q.size());
        Check.f32(kernel, "keys", keys, keys == null ? 0 : keys.size());
        if (q.rank() != 4
                || keys.rank() != 4
                || keys.dim(1) < 1
                || keys.dim(2) != q.dim(2)
                || keys.dim(3) != q.dim(3)) {
            Check.that(
                    false,
                    kernel + ": q is " + q + ", keys is " + keys,
                    "q (B, L, NH, D) and keys (slots, capacity, NH, D) must agree in heads and width",
                    "pass the cache of this layer");
        }
        Check.f32(kernel, "k", k, q.size());
        Check.f32(kernel, "v", v, q.size());
        Check.f32(kernel, "y", y, q.size());
        Check.f32(kernel, "values", values, keys.size());
        Check.size(kernel, "slots", slots, DType.I32, q.dim(0));
        Check.size(kernel, "counts", counts, DType.I32, q.dim(0));
        Check.size(kernel, "length", length, DType.I32, keys.dim(0));
        long work = 0;
        for (int b = 0; b < q.dim(0); b++) {
            int slot = slots.getInt(b);
            int count = counts.getInt(b);
            if (slot < 0 || slot >= keys.dim(0) || count < 0 || count > q.dim(1) || length.getInt(slot) < 0) {
                Check.that(
                        false,
                        kernel + ": row " + b + " names slot " + slot + " and " + count + " tokens",
                        "there are " + keys.dim(0) + " slots and at most " + q.dim(1)
                                + " tokens a row, and lengths are not negative",
                        "pass slots and counts within these");
            }
            work += Math.min((long) length.getInt(slot) + count, keys.dim(1)) * count * q.dim(2) * q.dim(3);
        }
        return work;
    }
}
