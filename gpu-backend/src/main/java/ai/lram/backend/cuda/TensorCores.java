package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import java.util.List;

/**
 * Launches {@code mlstm_forward.cu} and {@code mlstm_backward.cu} in fp32 (products as three TF32 ones), for one chunk from the fresh state:
 * up to 160 tokens forward, 96 backward, head sizes a multiple of 4. They read and write the same denominators as {@code mlstm_cell.cu}, so
 * one direction may be theirs and the other not.
 */
final class TensorCores {
    /**
     * {@code auto} uses these kernels forward, where they fit; {@code fast} backward too, where gradients of the gates lose a digit (7e-6 of the
     * largest, on a golden file whose tolerance is 2.4e-6); {@code general} never.
     */
    static final String PROPERTY = "lram.cuda.mlstm";

    private static final int FORWARD_WARPS = 5;
    private static final int FORWARD_GROUPS = 10;
    private static final int FORWARD_STAGES = 2;
    private static final int BACKWARD_GROUPS = 6;

    /** Bytes of a row of a tile, and columns of a slice in fp32: as in {@code mlstm_common.cuh}. */
    private static final int ROW = 128;

    private static final int WIDTH = ROW / Float.BYTES;
    private static final int VECTOR = 4;
    private static final int GROUP = 16;

    private static final int FORWARD_SHARED = FORWARD_STAGES * (GROUP * FORWARD_WARPS + GROUP * FORWARD_GROUPS) * ROW
            + (2 * FORWARD_WARPS + 2) * Double.BYTES
            + 6 * GROUP * FORWARD_GROUPS * Float.BYTES;

    private static final int BACKWARD_SHARED =
            (4 + 2 * ((GROUP * BACKWARD_GROUPS + WIDTH - 1) / WIDTH)) * GROUP * BACKWARD_GROUPS * ROW
                    + BACKWARD_GROUPS * GROUP * ROW
                    + (2 * BACKWARD_GROUPS + 2) * Double.BYTES
                    + 7 * GROUP * BACKWARD_GROUPS * Float.BYTES;

    private final Engine engine;
    private final Kernel forward;
    private final Kernel backward;

    private TensorCores(Engine engine, Kernel forward, Kernel backward) {
        this.engine = engine;
        this.forward = forward;
        this.backward = backward;
    }

    /** Null where they cannot or shall not be used. */
    static TensorCores load(Engine engine) {
        String wanted = System.getProperty(PROPERTY, "auto");
        if (!List.of("auto", "fast", "general").contains(wanted)) {
            throw new IllegalArgumentException(
                    "-D" + PROPERTY + "=" + wanted + " is none of auto, fast and general; choose one of these");
        }
        if (wanted.equals("general")
                || !engine.compiler().canCompile(KernelSource.load("mlstm_forward"))
                || engine.device().sharedBytes() < FORWARD_SHARED) {
            return null;
        }
        Kernel forward = new KernelModule(engine, "mlstm_forward", "LRAM_FP32", "LRAM_STAGES=" + FORWARD_STAGES)
                .kernel("mlstm_forward", FORWARD_SHARED);
        Kernel backward = !wanted.equals("fast") || engine.device().sharedBytes() < BACKWARD_SHARED
                ? null
                : new KernelModule(engine, "mlstm_backward", "LRAM_FP32").kernel("mlstm_backward", BACKWARD_SHARED);
        return new TensorCores(engine, forward, backward);
    }

    /** Rows and addresses are whole 16-byte vectors. */
    private static boolean aligned(MlstmDims d, Tensor... tensors) {
        boolean ok = d.dimQk() % VECTOR == 0 && d.dimHv() % VECTOR == 0;
        for (Tensor t : tensors) {
            ok &= t.address() % (VECTOR * Float.BYTES) == 0;
        }
        return ok;
    }

    boolean forwardFits(MlstmDims d, Tensor q, Tensor k, Tensor v, Tensor h) {
        return d.tokens() <= GROUP * FORWARD_GROUPS && aligned(d, q, k, v, h);
    }

    boolean backwardFits(MlstmDims d, Tensor q, Tensor k, Tensor v, Tensor dh, Tensor dq, Tensor dk, Tensor dv) {
        return backward != null && d.tokens() <= GROUP * BACKWARD_GROUPS && aligned(d, q, k, v, dh, dq, dk, dv);
    }

    private static float scale(MlstmDims d) {
        return (float) (1 / Math.sqrt(d.dimQk()));
    }

    /** @param denominators (B NH, S), may be null */
    void forward(
            MlstmDims d,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            Tensor h,
            Tensor denominators) {
        Engine.Launch launch =
                engine.launch(forward).put(q).put(k).put(v).put(i).put(f).put(h).put(denominators);
        for (int state = 0; state < 3; state++) {
            launch.put(0L); // states between chunks: one fresh chunk has none
        }
        long tiles = (d.tokens() + GROUP * FORWARD_WARPS - 1L) / (GROUP * FORWARD_WARPS);
        launch.put(d.tokens())
                .put(d.heads())
                .put(d.dimQk())
                .put(d.dimHv())
                .put(d.tokens())
                .put(1)
                .put(scale(d))
                .put(spec.eps())
                .put(spec.inputGate() == MlstmSpec.InputGate.SIGMOID)
                .put(spec.normalize())
                .run((long) d.batch() * d.heads() * tiles, 1, 1, 32 * FORWARD_WARPS, FORWARD_SHARED);
    }

    void backward(
            MlstmDims d,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            Tensor denominators,
            Tensor dh,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor di,
            Tensor df) {
        Engine.Launch launch = engine.launch(backward)
                .put(q)
                .put(k)
                .put(v)
                .put(i)
                .put(f)
                .put(denominators)
                .put(dh)
                .put(dq)
                .put(dk)
                .put(dv)
                .put(di)
                .put(df)
                .put(d.tokens())
                .put(d.heads())
                .put(d.dimQk())
                .put(d.dimHv())
                .put(scale(d))
                .put(spec.eps())
                .put(spec.inputGate() == MlstmSpec.InputGate.SIGMOID)
                .put(spec.normalize())
                .put(spec.exactGradient() && spec.normalize())
                .put(d.tokens())
                .put(1);
        for (int state = 0; state < 9; state++) {
            launch.put(0L); // what chunks with states need: a window is one without
        }
        launch.run((long) d.batch() * d.heads(), 1, 1, 32 * BACKWARD_GROUPS, BACKWARD_SHARED);
    }
}
