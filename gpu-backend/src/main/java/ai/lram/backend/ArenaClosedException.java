package ai.lram.backend;

/** Memory was asked from, or a tensor read after, the end of its arena. */
public final class ArenaClosedException extends BackendException {
    private static final long serialVersionUID = 1L;

    public ArenaClosedException(String what, String why, String fix) {
        this(what, why, fix, null);
    }

    public ArenaClosedException(String what, String why, String fix, Throwable cause) {
        super(Severity.STOP, what, why, fix, cause);
    }
}
