package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;

/** Shape checks of the CUDA kernels, made before anything is queued. */
final class Check {
    private Check() {}

    /** {@code t} is live device memory of {@code dtype} with {@code size} elements. */
    static void size(String kernel, String name, Tensor t, DType dtype, long size) {
        if (t == null) {
            throw new ShapeMismatchException(
                    kernel + ": " + name + " is missing", "null was passed", "pass a tensor of " + size + " elements");
        }
        if (t.dtype() != dtype || t.size() != size || t.isHost()) {
            throw new ShapeMismatchException(
                    kernel + ": " + name + " is " + t + (t.isHost() ? " in host memory" : ""),
                    "the other arguments need " + size + " elements of " + dtype + " on the device",
                    "pass tensors of this engine whose sizes belong together");
        }
        t.requireAlive();
    }

    static void f32(String kernel, String name, Tensor t, long size) {
        size(kernel, name, t, DType.F32, size);
    }

    /** An F32 tensor of any size. @return its size */
    static long f32(String kernel, String name, Tensor t) {
        f32(kernel, name, t, t == null ? 1 : t.size());
        return t.size();
    }

    static void optional(String kernel, String name, Tensor t, long size) {
        if (t != null) {
            f32(kernel, name, t, size);
        }
    }

    /** An F32 tensor of at least {@code size} elements. */
    static void f32AtLeast(String kernel, String name, Tensor t, long size) {
        atLeast(kernel, name, t, size);
        f32(kernel, name, t, t.size());
    }

    /** At least {@code size} floats. */
    static void atLeast(String kernel, String name, Tensor t, long size) {
        if (!(t != null && !t.isHost() && t.bytes() >= 4 * size)) {
            throw mismatch(
                    kernel + ": " + name + " is " + t,
                    size + " floats on the device are needed",
                    "allocate what the kernel's size formula says");
        }
        t.requireAlive();
    }

    /** Made only where it is thrown: the texts cost more than a launch. */
    static ShapeMismatchException mismatch(String what, String why, String fix) {
        return new ShapeMismatchException(what, why, fix);
    }

    /** Size of the other dimension of {@code t} when one of them is {@code known}. */
    static int other(String kernel, String name, Tensor t, long known) {
        f32(kernel, name, t);
        if (!(known > 0 && t.size() % known == 0 && t.size() / known <= Integer.MAX_VALUE)) {
            throw mismatch(
                    kernel + ": " + name + " is " + t,
                    "its size is no multiple of " + known + ", which the other arguments ask for",
                    "pass tensors whose sizes belong together");
        }
        return (int) (t.size() / known);
    }

    static void bf16(String kernel, String name, Tensor t, long size) {
        size(kernel, name, t, DType.BF16, size);
    }

    /** A BF16 tensor of any size. @return its size */
    static long bf16(String kernel, String name, Tensor t) {
        bf16(kernel, name, t, t == null ? 1 : t.size());
        return t.size();
    }
}
