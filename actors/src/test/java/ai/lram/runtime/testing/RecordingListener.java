package ai.lram.runtime.testing;

import ai.lram.runtime.protocol.ActionReply;
import ai.lram.runtime.protocol.CloseReason;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.OpenRefusal;
import ai.lram.runtime.protocol.RobotSession;
import ai.lram.runtime.protocol.SessionListener;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Keeps what a session says until a test asks for it. */
public final class RecordingListener implements SessionListener {
    private static final long PATIENCE_S = 20;

    /** A refusal to open. */
    public record Refused(OpenRefusal reason, String message) {}

    /** The end of the session. */
    public record Closed(CloseReason reason, String message) {}

    private final LinkedBlockingQueue<Object> events = new LinkedBlockingQueue<>();
    /** Apart: a report may come from the recorder, and overtake the reply of the step that ended the episode. */
    private final LinkedBlockingQueue<Object> reports = new LinkedBlockingQueue<>();

    @Override
    public void refused(OpenRefusal reason, String message) {
        events.add(new Refused(reason, message));
    }

    @Override
    public void opened(RobotSession session) {
        events.add(session);
    }

    @Override
    public void replied(ActionReply reply) {
        events.add(reply);
    }

    @Override
    public void episodeEnded(EpisodeReport report) {
        reports.add(report);
    }

    @Override
    public void closed(CloseReason reason, String message) {
        events.add(new Closed(reason, message));
    }

    /** The next event, which must be of that type; the next report where a report is asked for. */
    public <T> T next(Class<T> type) {
        try {
            Object event = (type == EpisodeReport.class ? reports : events).poll(PATIENCE_S, TimeUnit.SECONDS);
            if (!type.isInstance(event)) {
                throw new AssertionError("expected " + type.getSimpleName() + ", got " + event);
            }
            return type.cast(event);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new AssertionError("interrupted while waiting for " + type.getSimpleName(), e);
        }
    }

    public ActionReply reply() {
        return next(ActionReply.class);
    }

    public boolean silent() {
        return events.isEmpty() && reports.isEmpty();
    }
}
