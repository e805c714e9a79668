package ai.lram.backend.ops;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;

/**
 * How {@link SessionOps#decide} makes numbers of the logits of a batch's B rows, V for each of A action dimensions. Of each dimension the largest
 * logit in the range of the row's slot is chosen, of equal ones the first. Where the range holds one that is not finite, or is empty or not
 * within 0..V, nothing is chosen: -1 and NaN, which are that dimension's alone.
 *
 * @param slots (B) I32
 * @param ranges (P, 2) I32: the logits that a slot's task allows in every dimension, first and behind the last
 * @param values (V) F32: what each logit stands for
 * @param mean whether the number is the mean of the values under the softmax over the range, summed in fp64, or the value of the chosen one
 * @param chosen (B, A) I32, the result; may be memory that the host sees
 * @param numbers (B, A) F32, likewise
 */
public record StepChoice(Tensor slots, Tensor ranges, Tensor values, boolean mean, Tensor chosen, Tensor numbers) {
    public StepChoice {
        require(slots.dtype() == DType.I32 && slots.rank() == 1, "slots", slots, "(B) I32");
        require(
                ranges.dtype() == DType.I32 && ranges.rank() == 2 && ranges.dim(1) == 2,
                "ranges",
                ranges,
                "(P, 2) I32");
        require(values.dtype() == DType.F32 && values.rank() == 1 && values.dim(0) > 0, "values", values, "(V) F32");
        require(fits(chosen, DType.I32, slots), "what was chosen", chosen, "(B, A) I32");
        require(
                fits(numbers, DType.F32, slots) && numbers.dim(1) == chosen.dim(1),
                "numbers",
                numbers,
                "(B, A) F32, as what was chosen");
    }

    private static boolean fits(Tensor t, DType type, Tensor slots) {
        return t.dtype() == type && t.rank() == 2 && t.dim(0) == slots.dim(0) && t.dim(1) > 0;
    }

    private static void require(boolean fits, String name, Tensor t, String shape) {
        if (!fits) {
            throw new ShapeMismatchException(
                    "a step's choice: " + name + " " + t, "it is " + shape, "give the tensors of one batch");
        }
    }

    /** B. */
    public int rows() {
        return slots.dim(0);
    }

    /** A. */
    public int dims() {
        return chosen.dim(1);
    }

    /** V. */
    public int logits() {
        return values.dim(0);
    }

    /** P. */
    public int pool() {
        return ranges.dim(0);
    }
}
