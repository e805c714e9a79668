package ai.lram.bench.latency;

import java.util.ArrayDeque;
import java.util.Deque;

/** Closes several things, the last one first, every one of them even where one fails. Single thread. */
final class Closing implements AutoCloseable {
    private final Deque<Runnable> open = new ArrayDeque<>();

    void add(Runnable close) {
        open.push(close);
    }

    /** Throws the first failure; further ones are added to it. Calling it again does nothing. */
    @Override
    public void close() {
        RuntimeException first = null;
        for (Runnable close = open.poll(); close != null; close = open.poll()) {
            try {
                close.run();
            } catch (RuntimeException failure) {
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
}
