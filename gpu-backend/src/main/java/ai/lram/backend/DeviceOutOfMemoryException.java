package ai.lram.backend;

/** Memory of an engine is exhausted; nothing was allocated. */
public final class DeviceOutOfMemoryException extends BackendException {
    private static final long serialVersionUID = 1L;

    public DeviceOutOfMemoryException(String what, String why, String fix) {
        this(what, why, fix, null);
    }

    public DeviceOutOfMemoryException(String what, String why, String fix, Throwable cause) {
        super(Severity.DEGRADE, what, why, fix, cause);
    }
}
