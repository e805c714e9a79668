package ai.lram.bench;

import java.util.ArrayDeque;
import java.util.Deque;

/** What is closed together: all of it, the last first, whatever fails. Single thread. */
public final class Closing implements AutoCloseable {
    private final Deque<AutoCloseable> parts = new ArrayDeque<>();

    /** Takes a part over. */
    public <T extends AutoCloseable> T add(T part) {
        parts.push(part);
        return part;
    }

    /** Throws the first failure, with the further ones suppressed in it; a checked one becomes a {@link BenchException}. */
    @Override
    public void close() {
        RuntimeException first = null;
        while (!parts.isEmpty()) {
            try {
                parts.pop().close();
            } catch (Exception e) {
                RuntimeException failure = e instanceof RuntimeException r ? r : failed(e);
                if (first == null) {
                    first = failure;
                } else {
                    first.addSuppressed(failure);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }

    private static BenchException failed(Exception e) {
        if (e instanceof InterruptedException) {
            Thread.currentThread().interrupt();
        }
        return new BenchException("a part of the benchmark does not close", e.toString(), "see the log", e);
    }
}
