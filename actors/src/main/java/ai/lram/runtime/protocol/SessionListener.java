package ai.lram.runtime.protocol;

/**
 * What a session tells its connection. Calls come from the runtime's threads, one at a time per session, and must not block:
 * other robots wait meanwhile.
 */
public interface SessionListener {
    /** The session was not opened. No other call follows. */
    void refused(OpenRefusal reason, String message);

    /** The session is open: observations may be sent. */
    void opened(RobotSession session);

    /** Answers one observation. */
    void replied(ActionReply reply);

    /** An episode is over and, if it was recorded, on disk. */
    void episodeEnded(EpisodeReport report);

    /** The session is over. No other call follows. */
    void closed(CloseReason reason, String message);
}
