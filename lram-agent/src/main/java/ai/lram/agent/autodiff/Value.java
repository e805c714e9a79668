package ai.lram.agent.autodiff;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import java.util.Arrays;

/** A tensor-to-be of a {@link Tape}: shape and dtype now, memory once the plan is made. */
public final class Value {
    private final String name;
    private final DType dtype;
    private final int[] shape;
    private final boolean needsGrad;
    /** Set for memory that is not the plan's: parameters, carried states. */
    private Tensor tensor;

    private final boolean external;
    boolean keep;
    int firstUse = -1;
    int lastUse = -1;

    Value(String name, DType dtype, boolean needsGrad, Tensor external, int... shape) {
        this.name = name;
        this.dtype = dtype;
        this.shape = shape.clone();
        this.needsGrad = needsGrad;
        this.tensor = external;
        this.external = external != null;
    }

    public String name() {
        return name;
    }

    public DType dtype() {
        return dtype;
    }

    public int[] shape() {
        return shape.clone();
    }

    public int dim(int i) {
        return shape[i < 0 ? shape.length + i : i];
    }

    public long size() {
        return Tensor.sizeOf(shape);
    }

    boolean needsGrad() {
        return needsGrad;
    }

    boolean external() {
        return external;
    }

    void place(Tensor t) {
        tensor = t;
    }

    /** The memory; readable once the plan is made. Inputs and kept values are stable between replays, others are overwritten. */
    public Tensor tensor() {
        if (tensor == null) {
            throw new IllegalStateException(
                    "value " + name + " has no memory yet; why: the tape has no plan; fix: call Tape.plan first");
        }
        return tensor;
    }

    @Override
    public String toString() {
        return name + " " + dtype + Arrays.toString(shape);
    }
}
