package ai.lram.agent.card;

/** A model card that cannot be used, or a robot that does not match it. The message says what, why and how to fix it. */
public final class CardException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public CardException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }

    public CardException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }
}
