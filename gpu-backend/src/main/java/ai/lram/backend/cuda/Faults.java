package ai.lram.backend.cuda;

import ai.lram.backend.ShapeMismatchException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Where kernels report indices out of range, which the host cannot check without waiting for the device. The first offender claims a word in
 * device memory, which later kernels that use indices look at and then do nothing, and writes a record into page-locked host memory, which
 * costs nothing to look at after a synchronisation.
 */
final class Faults {
    /** What can be wrong; the numbers are those of {@code lram_common.cuh}. */
    enum Kind {
        NONE("", "", ""),
        ID("embedding: id", "the table has rows 0..%d", "check the tokeniser or the table's size"),
        TARGET("cross-entropy: target", "a counted row's target lies in 0..%d", "check the labels and the mask"),
        SLOT("session step: slot", "the pool has slots 0..%d", "name slots of the pool"),
        COUNT("session step: token count", "a step brings 0..%d tokens", "name at most L tokens"),
        DUPLICATE(
                "session step: slot",
                "another row of the %d names it, and a slot's state can advance once per call",
                "use distinct slots");

        private final String what;
        private final String why;
        private final String fix;

        Kind(String what, String why, String fix) {
            this.what = what;
            this.why = why;
            this.fix = fix;
        }
    }

    private static final int RECORD = 4 * Integer.BYTES;
    private static final Kind[] KINDS = Kind.values();

    private final Engine engine;
    private final long claimed;
    private final MemorySegment record;
    private final long recordOnDevice;

    Faults(Engine engine) {
        this.engine = engine;
        claimed = engine.takeForLife(RECORD);
        record = engine.pinned(RECORD);
        recordOnDevice = engine.onDevice(record.address());
    }

    long device() {
        return claimed;
    }

    long host() {
        return recordOnDevice;
    }

    /** After the stream has been waited for. @throws ShapeMismatchException naming the first index out of range */
    void report() {
        int kind = record.get(ValueLayout.JAVA_INT, 0);
        if (kind == 0) {
            return;
        }
        int row = record.get(ValueLayout.JAVA_INT, 4);
        int value = record.get(ValueLayout.JAVA_INT, 8);
        int limit = record.get(ValueLayout.JAVA_INT, 12);
        record.fill((byte) 0);
        engine.check(
                engine.driver().fillBytes(claimed, (byte) 0, RECORD, engine.stream()), "clearing the record of faults");
        Kind k = KINDS[kind < KINDS.length ? kind : 0];
        throw new ShapeMismatchException(
                k.what + " " + value + " at row " + row,
                String.format(k.why, limit) + " (found by the device; what was queued after it is void)",
                k.fix);
    }
}
