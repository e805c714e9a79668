package ai.lram.backend;

/** The wanted engine cannot be opened on this machine; the message names the cause and the remedy. */
public final class BackendUnavailableException extends BackendException {
    private static final long serialVersionUID = 1L;

    public BackendUnavailableException(String what, String why, String fix) {
        this(what, why, fix, null);
    }

    public BackendUnavailableException(String what, String why, String fix, Throwable cause) {
        super(Severity.STOP, what, why, fix, cause);
    }
}
