package ai.lram.bench.report;

/** A report that could not be drawn or written; a file that was there before is untouched. The message says what, why and fix. */
public final class ReportException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public ReportException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }
}
