package ai.lram.bench;

/** A benchmark that cannot be run as asked, or results that cannot be read. The message says what, why and fix. */
public final class BenchException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public BenchException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }

    public BenchException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }
}
