package ai.lram.backend.cpu;

import java.lang.foreign.MemorySegment;

/** Block-diagonal products: blocks of four in lanes of a vector, larger ones as one product each. */
final class Headwise {
    private Headwise() {}

    private static boolean inLanes(HeadwiseShape h) {
        return h.dimIn() == HeadwiseLanes.BLOCK && h.dimOut() == HeadwiseLanes.BLOCK && HeadwiseLanes.SUPPORTED;
    }

    static void forward(
            Workers workers, HeadwiseShape h, int m, MemorySegment x, MemorySegment w, MemorySegment bias, MemorySegment y) {
        if (inLanes(h)) {
            HeadwiseLanes.multiply(workers, h.groups(), m, x, w, false, bias, false, y);
        } else if (m <= CpuMatmul.FEW_ROWS) {
            forwardFewRows(h, m, x, w, bias, y);
        } else {
            for (int g = 0; g < h.groups(); g++) {
                MemorySegment b = bias == null ? null : bias.asSlice((long) g * h.dimOut() * Float.BYTES);
                Gemm.multiply(
                        workers, m, h.dimOut(), h.dimIn(), input(h, x, g), new Gemm.Matrix(w, g * h.block(), h.dimIn(), true), b,
                        false, output(h, y, g));
            }
        }
    }

    private static void forwardFewRows(
            HeadwiseShape h, int m, MemorySegment x, MemorySegment w, MemorySegment bias, MemorySegment y) {
        int blocks = (h.dimOut() + FewRows.BLOCK - 1) / FewRows.BLOCK;
        for (int g = 0; g < h.groups(); g++) {
            long in = (long) g * h.dimIn();
            long out = (long) g * h.dimOut();
            FewRows.multiply(
                    m, h.dimOut(), h.dimIn(), x, in, h.in(), w, g * h.block(), bias, out, y, out, h.out(), 0, blocks);
        }
    }

    private static Gemm.Matrix input(HeadwiseShape h, MemorySegment x, int g) {
        return new Gemm.Matrix(x, (long) g * h.dimIn(), h.in(), false);
    }

    private static Gemm.Matrix output(HeadwiseShape h, MemorySegment y, int g) {
        return new Gemm.Matrix(y, (long) g * h.dimOut(), h.out(), false);
    }

    static void backwardInput(
            Workers workers, HeadwiseShape h, int m, MemorySegment dy, MemorySegment w, boolean accumulate, MemorySegment dx) {
        if (inLanes(h)) {
            HeadwiseLanes.multiply(workers, h.groups(), m, dy, w, true, null, accumulate, dx);
            return;
        }
        for (int g = 0; g < h.groups(); g++) {
            Gemm.multiply(
                    workers, m, h.dimIn(), h.dimOut(), output(h, dy, g), new Gemm.Matrix(w, g * h.block(), h.dimIn(), false), null,
                    accumulate, input(h, dx, g));
        }
    }

    static void backwardWeight(Workers workers, HeadwiseShape h, int m, MemorySegment dy, MemorySegment x, MemorySegment dw) {
        if (inLanes(h)) {
            HeadwiseLanes.weightGradient(workers, h.groups(), m, dy, x, dw);
            return;
        }
        for (int g = 0; g < h.groups(); g++) {
            Gemm.multiply(
                    workers, h.dimOut(), h.dimIn(), m, new Gemm.Matrix(dy, (long) g * h.dimOut(), h.out(), true), input(h, x, g),
                    null, true, new Gemm.Matrix(dw, g * h.block(), h.dimIn(), false));
        }
    }
}
