package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.SlstmOps;

/** One set of inputs and outputs of an sLSTM layer on the device: fp32, fresh state. Inputs are {@link Noise}, r is scaled. */
final class SlstmProblem implements AutoCloseable {
    private final Backend engine;
    private final int heads;
    private final Tensor saved;
    private final Tensor scratch;
    private final float scale;
    private final Noise[] noiseX = new Noise[SlstmWindow.GATES];
    private final Noise noiseR;
    private final Noise noiseBias;
    final Noise noiseDy;
    private final Tensor[] x = new Tensor[SlstmWindow.GATES];
    private final Tensor r;
    private final Tensor bias;
    private final Tensor dy;
    final Tensor[] dx = new Tensor[SlstmWindow.GATES];
    final Tensor y;
    final Tensor dr;
    final Tensor dbias;

    SlstmProblem(Backend engine, TensorArena arena, int batch, int tokens, int heads, int headDim, long seed) {
        this.engine = engine;
        this.heads = heads;
        int width = heads * headDim;
        for (int g = 0; g < x.length; g++) {
            noiseX[g] = new Noise(DType.F32, 10 * seed + g);
            x[g] = noiseX[g].fill(engine, arena.f32(batch, tokens, width));
            dx[g] = arena.f32(batch, tokens, width);
        }
        noiseR = new Noise(DType.F32, 10 * seed + 4);
        noiseBias = new Noise(DType.F32, 10 * seed + 5);
        noiseDy = new Noise(DType.F32, 10 * seed + 6);
        // y has no more than unit length a unit: its part of a gate stays below that of x.
        scale = (float) (0.5 / Math.sqrt(headDim));
        r = noiseR.fill(engine, arena.f32(heads, headDim, SlstmWindow.GATES, headDim));
        engine.ops().elementwise().scale(engine.stream(), scale, r, r);
        bias = noiseBias.fill(engine, arena.f32(SlstmWindow.GATES, width));
        dy = noiseDy.fill(engine, arena.f32(batch, tokens, width));
        y = arena.f32(batch, tokens, width);
        dr = arena.f32(heads, headDim, SlstmWindow.GATES, headDim);
        dbias = arena.f32(SlstmWindow.GATES, width);
        SlstmOps ops = engine.ops().slstm();
        saved = arena.f32(Math.toIntExact(ops.savedFloats(batch, tokens, heads, headDim)));
        scratch = arena.f32(Math.toIntExact(ops.scratchFloats(batch, tokens, heads, headDim)));
    }

    double x(int gate, long j) {
        return noiseX[gate].at(j);
    }

    double r(long j) {
        return (float) noiseR.at(j) * scale;
    }

    double bias(long j) {
        return noiseBias.at(j);
    }

    /** @param keep what a backward pass needs */
    void forward(boolean keep) {
        engine.ops()
                .slstm()
                .forward(
                        engine.stream(),
                        heads,
                        x[0],
                        x[1],
                        x[2],
                        x[3],
                        r,
                        bias,
                        null,
                        y,
                        null,
                        keep ? saved : null,
                        scratch);
    }

    /** Adds to dr and dbias. */
    void backward() {
        engine.ops()
                .slstm()
                .backward(
                        engine.stream(),
                        heads,
                        r,
                        null,
                        y,
                        saved,
                        dy,
                        null,
                        dx[0],
                        dx[1],
                        dx[2],
                        dx[3],
                        null,
                        dr,
                        dbias,
                        scratch);
    }

    /** Ends what lies on the host. */
    @Override
    public void close() {
        for (Noise n : noiseX) {
            n.close();
        }
        noiseR.close();
        noiseBias.close();
        noiseDy.close();
    }
}
