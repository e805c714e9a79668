package ai.lram.backend.cpu;

import java.lang.foreign.MemorySegment;

/** Block-diagonal products: blocks of four in lanes of a vector, larger ones as one product each. */
final class Headwise {
    private Headwise() {}

    private static boolean inLanes(int out, int in) {
        return in == HeadwiseLanes.BLOCK && out == HeadwiseLanes.BLOCK && HeadwiseLanes.SUPPORTED;
    }

    /** First element of a group's block. */
    private static long block(int g, int out, int in) {
        return (long) g * out * in;
    }

    static void forward(
            Workers workers,
            int groups,
            int out,
            int in,
            int m,
            MemorySegment x,
            MemorySegment w,
            MemorySegment bias,
            MemorySegment y) {
        if (inLanes(out, in)) {
            HeadwiseLanes.multiply(workers, groups, m, x, w, false, bias, false, y);
        } else if (m <= CpuMatmul.FEW_ROWS) {
            forwardFewRows(groups, out, in, m, x, w, bias, y);
        } else {
            for (int g = 0; g < groups; g++) {
                MemorySegment b = bias == null ? null : bias.asSlice((long) g * out * Float.BYTES);
                Gemm.multiply(
                        workers,
                        m,
                        out,
                        in,
                        input(groups, in, x, g),
                        new Gemm.Matrix(w, block(g, out, in), in, true),
                        b,
                        false,
                        output(groups, out, y, g));
            }
        }
    }

    private static void forwardFewRows(
            int groups, int out, int in, int m, MemorySegment x, MemorySegment w, MemorySegment bias, MemorySegment y) {
        int blocks = (out + FewRows.BLOCK - 1) / FewRows.BLOCK;
        for (int g = 0; g < groups; g++) {
            long from = (long) g * in;
            long into = (long) g * out;
            FewRows.multiply(
                    m,
                    out,
                    in,
                    x,
                    from,
                    (long) groups * in,
                    w,
                    block(g, out, in),
                    bias,
                    into,
                    y,
                    into,
                    (long) groups * out,
                    0,
                    blocks);
        }
    }

    private static Gemm.Matrix input(int groups, int in, MemorySegment x, int g) {
        return new Gemm.Matrix(x, (long) g * in, (long) groups * in, false);
    }

    private static Gemm.Matrix output(int groups, int out, MemorySegment y, int g) {
        return new Gemm.Matrix(y, (long) g * out, (long) groups * out, false);
    }

    static void backwardInput(
            Workers workers,
            int groups,
            int out,
            int in,
            int m,
            MemorySegment dy,
            MemorySegment w,
            boolean accumulate,
            MemorySegment dx) {
        if (inLanes(out, in)) {
            HeadwiseLanes.multiply(workers, groups, m, dy, w, true, null, accumulate, dx);
            return;
        }
        for (int g = 0; g < groups; g++) {
            Gemm.multiply(
                    workers,
                    m,
                    in,
                    out,
                    output(groups, out, dy, g),
                    new Gemm.Matrix(w, block(g, out, in), in, false),
                    null,
                    accumulate,
                    input(groups, in, dx, g));
        }
    }

    static void backwardWeight(
            Workers workers, int groups, int out, int in, int m, MemorySegment dy, MemorySegment x, MemorySegment dw) {
        if (inLanes(out, in)) {
            HeadwiseLanes.weightGradient(workers, groups, m, dy, x, dw);
            return;
        }
        for (int g = 0; g < groups; g++) {
            Gemm.multiply(
                    workers,
                    out,
                    in,
                    m,
                    new Gemm.Matrix(dy, (long) g * out, (long) groups * out, true),
                    input(groups, in, x, g),
                    null,
                    true,
                    new Gemm.Matrix(dw, block(g, out, in), in, false));
        }
    }
}
