package ai.lram.backend.ops;

import java.util.Locale;

/**
 * How a device runs the mLSTM blocks of a control step. The answer is the same but for rounding; where a form does not take a shape, an engine
 * takes the next one.
 */
public enum StepForm {
    /** All blocks that follow each other in one launch. */
    RESIDENT,
    /** Three launches a block. */
    PHASES,
    /** The kernels of many sessions: products of a library, and what lies between them. */
    MANY,
    /** A kernel for each part of a block; takes every shape. */
    PLAIN;

    /** As tables, properties and case names have it. */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
