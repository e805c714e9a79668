package ai.lram.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.VarHandle;

/**
 * The steps that {@code step_head.cu} has decided: its last block counts them in device memory and says the number in a word of page-locked
 * memory, which the host sees before the driver says that the kernel, and the graph around it, have ended. The host counts those that it has
 * queued. Numbers only rise, so what an earlier step says, however late, is not taken for a later one's. Between the engine's enter and leave.
 */
final class DecidedSteps {
    private static final VarHandle INT = ValueLayout.JAVA_INT.varHandle();

    private final long counts;
    private final MemorySegment word;
    private final long wordOnDevice;
    private int queued;
    private int recorded;
    private boolean last;

    /** On the device thread. */
    DecidedSteps(Engine engine) {
        counts = engine.takeForLife(2L * Integer.BYTES);
        word = engine.pinned(Integer.BYTES);
        wordOnDevice = engine.onDevice(word.address());
    }

    /** Blocks that have decided in the launch under way, and steps. */
    long counts() {
        return counts;
    }

    /** Where the device sees the word. */
    long word() {
        return wordOnDevice;
    }

    /** A recording begins. */
    void record() {
        recorded = 0;
        last = false;
    }

    /** A step's last kernel was queued, or recorded. */
    void launched(boolean recording) {
        if (recording) {
            recorded++;
        } else {
            queued++;
        }
        last = true;
    }

    /** Something else follows. */
    void followed() {
        last = false;
    }

    /** Steps that the recording just made decides. */
    int recorded() {
        return recorded;
    }

    /** Whether its last kernel is a step's, so that all of it is done when the step is decided. */
    boolean endsRecording() {
        return last;
    }

    /** A recording of so many steps was queued. */
    void replayed(int steps) {
        queued += steps;
    }

    /** Whether all steps queued are decided: what they have written, and all before them, the host sees. */
    boolean all() {
        return said() - queued >= 0;
    }

    /** The number in the word. */
    int said() {
        return (int) INT.getAcquire(word, 0L);
    }
}
