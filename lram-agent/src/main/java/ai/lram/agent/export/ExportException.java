package ai.lram.agent.export;

/** A model that cannot be written in the form asked for, or a file that could not be written; nothing was changed. */
public final class ExportException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public ExportException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }

    public ExportException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }
}
