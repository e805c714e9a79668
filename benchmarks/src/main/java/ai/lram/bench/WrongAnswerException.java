package ai.lram.bench;

/** What was to be timed gives wrong answers: nothing is reported of it. The message says what, why and fix. */
public final class WrongAnswerException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public WrongAnswerException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }
}
