package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.backend.TensorArena;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.gpu.GpuRun.Work;
import java.util.List;

/**
 * The sLSTM cell in fp32, forward alone and forward with all gradients. Heads of up to 128 units are scanned by the kernel that keeps their
 * recurrent matrix on chip, wider ones by the one that reads it for every token.
 *
 * @param batch sequences
 * @param tokens of a sequence
 * @param headDim units of a head
 */
record SlstmCase(int batch, int tokens, int heads, int headDim) implements GpuCase {
    private static final String NOTE = "fp32; nobody has published a time of this cell at this size";

    /** Of the largest value. */
    private static final double TOLERANCE = 1e-3;

    /** Entries of the gradients of matrix and bias that are compared. */
    private static final int ENTRIES = 16;

    private static final String[] GATES = {"di", "df", "dz", "do"};

    static List<GpuCase> usual() {
        return List.of(new SlstmCase(128, 150, 4, 128), new SlstmCase(128, 150, 4, 320));
    }

    @Override
    public String name() {
        return "slstm-fwbw-h" + headDim;
    }

    @Override
    public void measure(GpuRun run) {
        Backend engine = run.engine();
        run.progress(name() + " inputs");
        try (TensorArena arena = engine.arena(name());
                SlstmProblem p = new SlstmProblem(engine, arena, batch, tokens, heads, headDim, 1)) {
            run.progress(name() + " against fp64");
            p.forward(true);
            p.backward();
            compare(engine, p, 0, 0);
            compare(engine, p, batch - 1, heads - 1);
            compareSums(engine, p, heads - 1);
            run.progress(name() + " forward");
            DeviceTimer.Times forward = DeviceTimer.time(engine, () -> p.forward(false), 1, run.quick());
            run.progress(name());
            DeviceTimer.Times both = DeviceTimer.time(
                    engine,
                    () -> {
                        p.forward(true);
                        p.backward();
                    },
                    1,
                    run.quick());
            double floor = run.floorMs(forwardWork());
            run.time("slstm-fw-h" + headDim, forward, forwardWork(), floor, Double.NaN, NOTE);
            run.time(
                    name(),
                    both,
                    forwardWork().and(backwardWork()),
                    floor + run.floorMs(backwardWork()),
                    Double.NaN,
                    NOTE);
        }
    }

    private double planeBytes() {
        return (double) batch * tokens * heads * headDim * Float.BYTES;
    }

    private double matrix() {
        return 4.0 * heads * headDim * headDim;
    }

    /** The four gates' inputs and the matrix read, y written; a product with the matrix. */
    Work forwardWork() {
        return new Work(5 * planeBytes() + matrix() * Float.BYTES, 2.0 * batch * tokens * matrix());
    }

    /** The four inputs, y, dy and the matrix read, the inputs' and the matrix's gradients written; a product for each of these. */
    Work backwardWork() {
        return new Work(10 * planeBytes() + 2 * matrix() * Float.BYTES, 4.0 * batch * tokens * matrix());
    }

    /** Element of a tensor (B, S, H). */
    private long at(int row, int token, int head, int unit) {
        return (((long) row * tokens + token) * heads + head) * headDim + unit;
    }

    /** One head of one sequence. */
    private void compare(Backend engine, SlstmProblem p, int row, int head) {
        SlstmWindow w = new SlstmWindow(tokens, headDim);
        int wide = SlstmWindow.GATES * headDim;
        for (int j = 0; j < w.r.length; j++) {
            w.r[j] = p.r((long) head * w.r.length + j);
        }
        for (int g = 0; g < SlstmWindow.GATES; g++) {
            for (int u = 0; u < headDim; u++) {
                w.bias[g * headDim + u] = p.bias(((long) g * heads + head) * headDim + u);
                for (int t = 0; t < tokens; t++) {
                    w.x[t * wide + g * headDim + u] = p.x(g, at(row, t, head, u));
                }
            }
        }
        for (int t = 0; t < tokens; t++) {
            for (int u = 0; u < headDim; u++) {
                w.dy[t * headDim + u] = p.noiseDy.at(at(row, t, head, u));
            }
        }
        w.run();
        String where = "sequence " + row + ", head " + head;
        Worst worst = new Worst();
        for (int t = 0; t < tokens; t++) {
            double[] got = Device.read(engine, p.y.view(at(row, t, head, 0), headDim));
            for (int u = 0; u < headDim; u++) {
                worst.add(got[u], w.y[t * headDim + u]);
            }
        }
        worst.require("y", where);
        for (int g = 0; g < SlstmWindow.GATES; g++) {
            worst = new Worst();
            for (int t = 0; t < tokens; t++) {
                double[] got = Device.read(engine, p.dx[g].view(at(row, t, head, 0), headDim));
                for (int u = 0; u < headDim; u++) {
                    worst.add(got[u], w.dx[t * wide + g * headDim + u]);
                }
            }
            worst.require(GATES[g], where);
        }
    }

    /** Some gradients of matrix and bias of a head, as sums over what the kernel answered for y and the inputs' gradients. */
    private void compareSums(Backend engine, SlstmProblem p, int head) {
        double[] y = Device.read(engine, p.y);
        double[] gotR = Device.read(engine, p.dr);
        double[] gotBias = Device.read(engine, p.dbias);
        Worst matrix = new Worst();
        Worst bias = new Worst();
        for (int g = 0; g < SlstmWindow.GATES; g++) {
            double[] dx = Device.read(engine, p.dx[g]);
            for (int e = 0; e < ENTRIES; e++) {
                int unit = e * 37 % headDim;
                int from = (e * 53 + 1) % headDim;
                double sum = 0;
                double sumBias = 0;
                for (int row = 0; row < batch; row++) {
                    for (int t = 0; t < tokens; t++) {
                        double gradient = dx[Math.toIntExact(at(row, t, head, unit))];
                        sumBias += gradient;
                        sum += t == 0 ? 0 : gradient * y[Math.toIntExact(at(row, t - 1, head, from))];
                    }
                }
                matrix.add(gotR[((head * headDim + from) * SlstmWindow.GATES + g) * headDim + unit], sum);
                bias.add(gotBias[(g * heads + head) * headDim + unit], sumBias);
            }
        }
        matrix.require("dr", "head " + head);
        bias.require("dbias", "head " + head);
    }

    /** The largest difference beside the largest value. */
    private final class Worst {
        private double difference;
        private double largest;

        void add(double got, double want) {
            double d = Math.abs(got - want);
            difference = d <= difference ? difference : d; // NaN stays
            largest = Math.max(largest, Math.abs(want));
        }

        void require(String what, String where) {
            if (!(difference <= TOLERANCE * largest)) {
                throw new WrongAnswerException(
                        name() + " computes a wrong " + what,
                        "in " + where + " it is off by " + difference + " where the largest is " + largest,
                        "do not trust this build or device; run lram test");
            }
        }
    }
}
