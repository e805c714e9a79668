package ai.lram.backend.cpu;

import ai.lram.backend.Tensor;

/** Sizes of a block-diagonal weight (G, DO, DI). */
record HeadwiseShape(int groups, int dimOut, int dimIn) {
    static HeadwiseShape of(String kernel, String name, Tensor w) {
        Check.f32(kernel, name, w, w == null ? 1 : w.size());
        Check.that(
                w.rank() == 3 && w.size() > 0,
                kernel + ": " + name + " is " + w,
                "a head-wise weight has the dimensions (groups, out, in), none of them empty",
                "give the tensor its shape");
        return new HeadwiseShape(w.dim(0), w.dim(1), w.dim(2));
    }

    /** Columns of the input. */
    long in() {
        return (long) groups * dimIn;
    }

    /** Columns of the output. */
    long out() {
        return (long) groups * dimOut;
    }

    /** Elements of one block. */
    long block() {
        return (long) dimOut * dimIn;
    }
}
