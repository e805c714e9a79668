package ai.lram.runtime.session;

import ai.lram.runtime.protocol.CloseReason;
import ai.lram.runtime.protocol.OpenRefusal;
import ai.lram.runtime.protocol.SessionListener;

/**
 * How a session ended. Its listener hears it from who counts the sessions, when this one is counted no more: a robot that has heard it may
 * open its next one at once, if only one is allowed. Written by the session's thread, told when that actor has stopped; where the whole
 * runtime is torn down, when all its actors have.
 */
public final class SessionEnd {
    private final SessionListener listener;
    private boolean opened;
    private CloseReason reason = CloseReason.FAILURE;
    private String message = "the session stopped unexpectedly";

    public SessionEnd(SessionListener listener) {
        this.listener = listener;
    }

    SessionListener listener() {
        return listener;
    }

    boolean opened() {
        return opened;
    }

    void open() {
        opened = true;
    }

    void because(CloseReason why, String text) {
        reason = why;
        message = text;
    }

    /** The listener's last call. */
    public void tell() {
        if (opened) {
            listener.closed(reason, message);
        } else {
            listener.refused(
                    reason == CloseReason.SHUTDOWN ? OpenRefusal.SHUTTING_DOWN : OpenRefusal.POLICY_DOWN, message);
        }
    }
}
