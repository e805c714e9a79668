package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.gpu.GpuRun.Work;
import java.util.ArrayList;
import java.util.List;

/**
 * The mLSTM cell with the exponential gate, forward alone and forward with all gradients.
 *
 * @param size of the model, as names show it
 * @param publishedForwardMs fastest published kernel, of either gate
 * @param publishedBothMs the same forward and backward
 * @param publishedBytes its peak in that
 */
record MlstmCase(String size, MlstmDims dims, double publishedForwardMs, double publishedBothMs, double publishedBytes)
        implements GpuCase {
    /** Where the published numbers come from. */
    static final String PUBLISHED =
            "mlstm_kernels 2.0.2 (Triton 3.6, torch 2.11, CUDA 13.0), its fastest kernel for the shape (xl_chunk with the sigmoid gate), on an"
                    + " H100 80GB, not measured in this run; its windows are padded to 192 tokens";

    private static final String PEER = "peer: published, on an H100, not in this run";
    private static final int SETS = 4;

    /** Tokens of a chunk in the FLOP that are counted. */
    private static final int CHUNK = 128;

    private static final int LONGEST_WINDOW = 160;

    /** Tokens before and after those compared: with gates of N(0,1) what lies farther weighs less than e^-100. */
    private static final int CONTEXT = 160;

    private static final int COMPARED = 64;

    /** Of the largest value: a denominator that cancels magnifies the rounding of operands. */
    private static final double TOLERANCE = 5e-2;

    static List<GpuCase> usual() {
        return List.of(
                new MlstmCase("lram16m", new MlstmDims(128, 150, 4, 256, 256), 0.5593, 2.4799, 1.4810e9),
                new MlstmCase("lram206m", new MlstmDims(128, 150, 4, 640, 640), 2.7814, 9.8397, 7.7253e9),
                new MlstmCase("7b-s8192", new MlstmDims(8, 8192, 8, 256, 512), 4.3061, 14.7919, 7.6012e9),
                new MlstmCase("7b-s65536", new MlstmDims(1, 65_536, 8, 256, 512), 4.6252, 15.3865, 7.5424e9));
    }

    @Override
    public String name() {
        return "mlstm-fwbw-" + size;
    }

    @Override
    public void measure(GpuRun run) {
        Backend engine = run.engine();
        List<MlstmProblem> sets = new ArrayList<>();
        try (TensorArena arena = engine.arena(name())) {
            Tensor scratch = MlstmProblem.scratch(engine, arena, dims);
            for (int s = 0; s < SETS; s++) {
                run.progress(name() + " inputs " + (s + 1) + "/" + SETS);
                sets.add(new MlstmProblem(engine, arena, dims, scratch, s + 1L));
            }
            run.progress(name() + " against fp64");
            MlstmProblem first = sets.getFirst();
            first.forward(true);
            first.backward();
            check(engine, first);
            run.progress(name() + " forward");
            DeviceTimer.Times forward =
                    DeviceTimer.time(engine, () -> sets.forEach(p -> p.forward(false)), SETS, run.quick());
            run.progress(name());
            DeviceTimer.Times both = DeviceTimer.time(
                    engine,
                    () -> sets.forEach(p -> {
                        p.forward(true);
                        p.backward();
                    }),
                    SETS,
                    run.quick());
            double floor = run.floorMs(forwardWork());
            run.time("mlstm-fw-" + size, forward, forwardWork(), floor, publishedForwardMs, PEER);
            run.time(
                    name(),
                    both,
                    forwardWork().and(backwardWork()),
                    floor + run.floorMs(backwardWork()),
                    publishedBothMs,
                    PEER);
            run.memory(
                    name() + "-memory",
                    first.bytes(),
                    first.bytesOfInputsAndOutputs(),
                    publishedBytes,
                    PEER
                            + "; ours: inputs, outputs, what forward leaves for backward, scratch; floor: inputs and outputs");
        } finally {
            sets.forEach(MlstmProblem::close);
        }
    }

    private double tokens() {
        return (double) dims.batch() * dims.tokens() * dims.heads();
    }

    private boolean window() {
        return dims.tokens() <= LONGEST_WINDOW;
    }

    /** q, k, v and two gates read, h written; both triangles, and with several chunks the states and their product with q. */
    Work forwardWork() {
        double wide = dims.dimQk() + dims.dimHv();
        double states = window() ? 0 : 4.0 * dims.dimQk() * dims.dimHv();
        return new Work(tokens() * (2 * 2 * wide + 8), tokens() * ((window() ? dims.tokens() : CHUNK) * wide + states));
    }

    /** q, k, v, dh, gates and denominators read, dq, dk, dv and the gates' gradients written; five triangles, four products with states. */
    Work backwardWork() {
        double states = window() ? 0 : 8.0 * dims.dimQk() * dims.dimHv();
        double inside = (window() ? dims.tokens() : CHUNK) * (3.0 * dims.dimQk() + 2.0 * dims.dimHv());
        return new Work(
                tokens() * (2 * (4.0 * dims.dimQk() + 3.0 * dims.dimHv()) + 8 + 8 + 4), tokens() * (inside + states));
    }

    private void check(Backend engine, MlstmProblem p) {
        int s = dims.tokens();
        if (s <= 2 * CONTEXT) {
            compare(engine, p, 0, 0, 0, s, 0, s);
            compare(engine, p, dims.batch() - 1, dims.heads() - 1, 0, s, 0, s);
            return;
        }
        int middle = s / 2 - COMPARED / 2; // across the border of two chunks
        compare(engine, p, 0, 0, 0, COMPARED + CONTEXT, 0, COMPARED);
        compare(
                engine,
                p,
                dims.batch() - 1,
                dims.heads() - 1,
                middle - CONTEXT,
                middle + COMPARED + CONTEXT,
                middle,
                middle + COMPARED);
        compare(engine, p, dims.batch() / 2, 1, s - COMPARED - CONTEXT, s, s - COMPARED, s);
    }

    /** Compares tokens from..to of one head with a window begin..end in fp64. */
    private void compare(Backend engine, MlstmProblem p, int batch, int head, int begin, int end, int from, int to) {
        MlstmWindow w = new MlstmWindow(end - begin, dims.dimQk(), dims.dimHv());
        for (int t = 0; t < end - begin; t++) {
            long token = ((long) batch * dims.tokens() + begin + t) * dims.heads() + head;
            for (int x = 0; x < dims.dimQk(); x++) {
                w.q[t * dims.dimQk() + x] = p.noiseQ.at(token * dims.dimQk() + x);
                w.k[t * dims.dimQk() + x] = p.noiseK.at(token * dims.dimQk() + x);
            }
            for (int x = 0; x < dims.dimHv(); x++) {
                w.v[t * dims.dimHv() + x] = p.noiseV.at(token * dims.dimHv() + x);
                w.dh[t * dims.dimHv() + x] = p.noiseDh.at(token * dims.dimHv() + x);
            }
            w.i[t] = p.noiseI.at(token);
            w.f[t] = p.noiseF.at(token);
        }
        w.run();
        Tensor[] got = {p.h, p.dq, p.dk, p.dv, p.di, p.df};
        double[][] want = {w.h, w.dq, w.dk, w.dv, w.di, w.df};
        String[] names = {"h", "dq", "dk", "dv", "di", "df"};
        for (int n = 0; n < got.length; n++) {
            int width = want[n].length / w.tokens;
            double worst = 0;
            double largest = 0;
            for (int t = from; t < to; t++) {
                long token = ((long) batch * dims.tokens() + t) * dims.heads() + head;
                double[] row = Device.read(engine, got[n].view(token * width, width));
                for (int x = 0; x < width; x++) {
                    double expected = want[n][(t - begin) * width + x];
                    double difference = Math.abs(row[x] - expected);
                    worst = difference <= worst ? worst : difference; // NaN stays
                    largest = Math.max(largest, Math.abs(expected));
                }
            }
            if (!(worst <= TOLERANCE * largest)) {
                throw new WrongAnswerException(
                        name() + " computes a wrong " + names[n],
                        "in batch row " + batch + ", head " + head + ", tokens " + from + ".." + to + " it is off by "
                                + worst + " where the largest is " + largest,
                        "do not trust this build or device; run lram test");
            }
        }
    }
}
