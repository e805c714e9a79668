package ai.lram.backend;

/** The device stopped answering; every tensor on it is gone. */
public final class DeviceLostException extends BackendException {
    private static final long serialVersionUID = 1L;

    public DeviceLostException(String what, String why, String fix) {
        this(what, why, fix, null);
    }

    public DeviceLostException(String what, String why, String fix, Throwable cause) {
        super(Severity.STOP, what, why, fix, cause);
    }
}
