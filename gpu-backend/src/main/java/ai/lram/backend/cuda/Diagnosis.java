package ai.lram.backend.cuda;

import java.util.List;

/**
 * What discovery found: an engine can be opened, or the one cause that stands in the way.
 *
 * @param cause {@link Cause#NONE} when the device can be used
 * @param why the cause in one sentence with its values; empty when there is none
 * @param fix what to do about it
 * @param facts everything that was found on the way, name and value, for {@code lram doctor}
 * @param device null unless it can be used
 * @param release gives the device's context back, once an engine holds it; does nothing the second time
 */
record Diagnosis(Cause cause, String why, String fix, List<Fact> facts, Device device, Runnable release) {
    record Fact(String name, String value) {}

    enum Cause {
        NONE,
        NOT_LINUX,
        NO_DRIVER,
        DRIVER_TOO_OLD,
        DRIVER_MISMATCH,
        DRIVER_NOT_READY,
        NO_DEVICE,
        DEVICES_HIDDEN,
        NO_SUCH_DEVICE,
        NO_PERMISSION,
        LIBRARY_MISSING,
        LIBRARY_VERSION,
        LIBRARY_TOO_OLD,
        BINDINGS,
        DEVICE_TOO_OLD,
        DEVICE_TOO_NEW,
        NO_MEMORY,
        DRIVER_FAILED
    }

    Diagnosis {
        facts = List.copyOf(facts);
    }

    boolean usable() {
        return cause == Cause.NONE;
    }

    /** Cause and remedy in one sentence. */
    String sentence() {
        return why + "; fix: " + fix;
    }
}
