package ai.lram.agent.card;

/** What a session sends when no fresh, safe action is there in time. */
public enum Fallback {
    /** Repeat the last action that was sent; before the first one, {@link TaskCard#safeAction()}. */
    HOLD,
    /** Send {@link TaskCard#safeAction()}. */
    SAFE
}
