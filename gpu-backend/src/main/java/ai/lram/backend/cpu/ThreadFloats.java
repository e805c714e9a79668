package ai.lram.backend.cpu;

/**
 * Heap scratch of the calling thread that grows to the largest size asked for and is then reused, so that a warm kernel
 * allocates nothing. The contents are whatever the last user of the slot left.
 */
final class ThreadFloats {
    /**
     * Used by a kernel's entry method; its loop bodies read it on other threads and take {@link #BODY} for their own.
     */
    static final int CALL = 0;

    static final int BODY = 1;

    private static final ThreadLocal<float[][]> SLOTS = ThreadLocal.withInitial(() -> new float[2][0]);

    private ThreadFloats() {}

    /** At least {@code n} floats, valid until this thread asks for the same slot again. */
    static float[] get(int slot, int n) {
        float[][] slots = SLOTS.get();
        if (slots[slot].length < n) {
            slots[slot] = new float[n];
        }
        return slots[slot];
    }
}
