package ai.lram.agent.autodiff;

import ai.lram.backend.Tensor;

/**
 * A trainable tensor under its checkpoint name. Value and gradient are slices of the buffers of its {@link ParameterSet}; reading them
 * before {@link ParameterSet#allocate} is an error.
 */
public final class Parameter {
    private final String name;
    private final int[] shape;
    private final boolean decay;
    private final Init init;
    private final Parameter whole;
    private final int firstRow;
    private Tensor value;
    private Tensor grad;
    private Tensor firstMoment;
    private Tensor secondMoment;
    private Tensor narrow;

    Parameter(String name, boolean decay, Init init, int... shape) {
        this(name, decay, init, null, 0, shape);
    }

    private Parameter(String name, boolean decay, Init init, Parameter whole, int firstRow, int... shape) {
        this.name = name;
        this.shape = shape.clone();
        this.decay = decay;
        this.init = init;
        this.whole = whole;
        this.firstRow = firstRow;
    }

    public String name() {
        return name;
    }

    public int[] shape() {
        return shape.clone();
    }

    public int dim(int i) {
        return shape[i];
    }

    /** True if weight decay applies. */
    public boolean decay() {
        return decay;
    }

    Init init() {
        return init;
    }

    /** Number of elements. */
    public int size() {
        return Math.toIntExact(Tensor.sizeOf(shape));
    }

    /** A view of rows of the first dimension; shares value and gradient. */
    public Parameter rows(int start, int count) {
        int[] s = shape.clone();
        s[0] = count;
        return new Parameter(name + "[" + start + ":" + (start + count) + "]", decay, init, this, start, s);
    }

    void bind(Tensor newValue, Tensor newGrad, Tensor newFirst, Tensor newSecond) {
        value = newValue;
        grad = newGrad;
        firstMoment = newFirst;
        secondMoment = newSecond;
    }

    void bindNarrow(Tensor newNarrow) {
        narrow = newNarrow;
    }

    public Tensor value() {
        if (value == null && whole != null) {
            value = whole.value().slice(firstRow, shape[0]);
        }
        return require(value);
    }

    /** Gradient; kernels add to it. Present in training only. */
    public Tensor grad() {
        if (grad == null && whole != null) {
            grad = whole.grad().slice(firstRow, shape[0]);
        }
        return require(grad);
    }

    /** AdamW's mean of gradients; present in training only. */
    public Tensor firstMoment() {
        return require(firstMoment);
    }

    /** AdamW's mean of squared gradients; present in training only. */
    public Tensor secondMoment() {
        return require(secondMoment);
    }

    /** The value in BF16, kept up to date by whatever writes the value; present in mixed precision only. */
    public Tensor narrow() {
        if (narrow == null && whole != null) {
            narrow = whole.narrow().slice(firstRow, shape[0]);
        }
        return require(narrow);
    }

    private Tensor require(Tensor t) {
        if (t == null) {
            throw new IllegalStateException("parameter " + name
                    + " has no such memory; why: its set was not allocated, or not for training, or not in that precision;"
                    + " fix: call ParameterSet.allocate first");
        }
        return t;
    }
}
