package ai.lram.backend.cpu;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;

/** Shape checks of the CPU kernels. */
final class Check {
    private Check() {}

    /** {@code t} is host memory of {@code dtype} with {@code size} elements. */
    static void size(String kernel, String name, Tensor t, DType dtype, long size) {
        if (t == null) {
            throw new ShapeMismatchException(
                    kernel + ": " + name + " is missing", "null was passed", "pass a tensor of " + size + " elements");
        }
        if (t.dtype() != dtype || t.size() != size || !t.isHost()) {
            throw new ShapeMismatchException(
                    kernel + ": " + name + " is " + t + (t.isHost() ? "" : " on a device"),
                    "the other arguments need " + size + " elements of " + dtype + " in host memory",
                    "pass tensors whose sizes belong together");
        }
    }

    static void f32(String kernel, String name, Tensor t, long size) {
        size(kernel, name, t, DType.F32, size);
    }

    static void optional(String kernel, String name, Tensor t, long size) {
        if (t != null) {
            f32(kernel, name, t, size);
        }
    }

    static void that(boolean ok, String what, String why, String fix) {
        if (!ok) {
            throw new ShapeMismatchException(what, why, fix);
        }
    }
}
