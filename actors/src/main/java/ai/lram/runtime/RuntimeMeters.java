package ai.lram.runtime;

import ai.lram.runtime.inference.InferenceMeter;
import ai.lram.runtime.recording.RecordingMemory;
import ai.lram.runtime.session.SessionMeter;
import ai.lram.runtime.session.SessionStats;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** Collects the meters of everything that runs. Written by the guardian, read by any thread. */
final class RuntimeMeters {
    private final InferenceMeter inference = new InferenceMeter();
    private final RecordingMemory recording;
    private final Map<Long, SessionMeter> open = new LinkedHashMap<>();
    private final Deque<SessionStats> closed = new ArrayDeque<>();
    private final List<Consumer<Boolean>> healthListeners = new ArrayList<>();
    private boolean healthy;
    private long opened;
    private long refused;
    private long restarts;

    RuntimeMeters(RecordingMemory recording) {
        this.recording = recording;
    }

    InferenceMeter inference() {
        return inference;
    }

    RecordingMemory recording() {
        return recording;
    }

    synchronized void healthy(boolean nowHealthy) {
        healthy = nowHealthy;
        healthListeners.forEach(listener -> listener.accept(nowHealthy));
    }

    synchronized void onHealth(Consumer<Boolean> listener) {
        healthListeners.add(listener);
        listener.accept(healthy);
    }

    synchronized boolean healthy() {
        return healthy;
    }

    synchronized void opened(SessionMeter meter) {
        opened++;
        open.put(meter.id(), meter);
    }

    synchronized void closed(long id) {
        closed.addFirst(open.remove(id).stats());
        if (closed.size() > Snapshot.CLOSED_KEPT) {
            closed.removeLast();
        }
    }

    synchronized void refused() {
        refused++;
    }

    synchronized void restarted() {
        restarts++;
    }

    /** While no session is open; the inference thread forgets for itself. */
    synchronized void forget() {
        closed.clear();
        opened = 0;
        refused = 0;
        restarts = 0;
    }

    synchronized Snapshot snapshot() {
        List<SessionStats> sessions = new ArrayList<>();
        open.values().forEach(meter -> sessions.add(meter.stats()));
        sessions.addAll(closed);
        return new Snapshot(
                healthy, open.size(), opened, refused, restarts, inference.stats(), recording.stats(), sessions);
    }
}
