package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;

/** One set of inputs and outputs of an mLSTM layer on the device: operands in bf16, fresh state. Inputs are {@link Noise}. */
final class MlstmProblem implements AutoCloseable {
    private final Backend engine;
    private final MlstmDims dims;
    private final MlstmSpec spec = MlstmSpec.exponential();
    private final Tensor saved;
    private final Tensor scratch;
    final Noise noiseQ;
    final Noise noiseK;
    final Noise noiseV;
    final Noise noiseDh;
    final Noise noiseI;
    final Noise noiseF;
    final Tensor q;
    final Tensor k;
    final Tensor v;
    final Tensor i;
    final Tensor f;
    final Tensor h;
    final Tensor dh;
    final Tensor dq;
    final Tensor dk;
    final Tensor dv;
    final Tensor di;
    final Tensor df;

    /** @param scratch of {@link #scratch}; may be shared */
    MlstmProblem(Backend engine, TensorArena arena, MlstmDims dims, Tensor scratch, long seed) {
        this.engine = engine;
        this.dims = dims;
        this.scratch = scratch;
        noiseQ = new Noise(DType.BF16, 10 * seed);
        noiseK = new Noise(DType.BF16, 10 * seed + 1);
        noiseV = new Noise(DType.BF16, 10 * seed + 2);
        noiseDh = new Noise(DType.BF16, 10 * seed + 3);
        noiseI = new Noise(DType.F32, 10 * seed + 4);
        noiseF = new Noise(DType.F32, 10 * seed + 5);
        q = noiseQ.fill(engine, operand(arena, dims.dimQk()));
        k = noiseK.fill(engine, operand(arena, dims.dimQk()));
        v = noiseV.fill(engine, operand(arena, dims.dimHv()));
        dh = noiseDh.fill(engine, operand(arena, dims.dimHv()));
        i = noiseI.fill(engine, gate(arena));
        f = noiseF.fill(engine, gate(arena));
        h = operand(arena, dims.dimHv());
        dq = operand(arena, dims.dimQk());
        dk = operand(arena, dims.dimQk());
        dv = operand(arena, dims.dimHv());
        di = gate(arena);
        df = gate(arena);
        saved = arena.f32(Math.toIntExact(engine.ops().mlstm().savedFloats(dims, spec, DType.BF16, false)));
    }

    static Tensor scratch(Backend engine, TensorArena arena, MlstmDims dims) {
        long floats = engine.ops().mlstm().scratchFloats(dims, MlstmSpec.exponential(), DType.BF16, false);
        return arena.f32(Math.toIntExact(Math.max(1, floats)));
    }

    private Tensor operand(TensorArena arena, int width) {
        return arena.allocate(DType.BF16, dims.batch(), dims.tokens(), dims.heads(), width);
    }

    private Tensor gate(TensorArena arena) {
        return arena.f32(dims.batch(), dims.tokens(), dims.heads());
    }

    /** @param keep what a backward pass needs */
    void forward(boolean keep) {
        engine.ops()
                .mlstm()
                .forward(engine.stream(), dims, spec, q, k, v, i, f, null, h, null, keep ? saved : null, scratch);
    }

    void backward() {
        engine.ops()
                .mlstm()
                .backward(
                        engine.stream(),
                        dims,
                        spec,
                        q,
                        k,
                        v,
                        i,
                        f,
                        null,
                        h,
                        saved,
                        dh,
                        null,
                        dq,
                        dk,
                        dv,
                        di,
                        df,
                        null,
                        scratch);
    }

    /** Device memory of this set with the scratch it uses. */
    long bytes() {
        return bytesOfInputsAndOutputs() + saved.bytes() + scratch.bytes();
    }

    long bytesOfInputsAndOutputs() {
        long bytes = 0;
        for (Tensor t : new Tensor[] {q, k, v, i, f, h, dh, dq, dk, dv, di, df}) {
            bytes += t.bytes();
        }
        return bytes;
    }

    /** Ends what lies on the host. */
    @Override
    public void close() {
        for (Noise n : new Noise[] {noiseQ, noiseK, noiseV, noiseDh, noiseI, noiseF}) {
            n.close();
        }
    }
}
