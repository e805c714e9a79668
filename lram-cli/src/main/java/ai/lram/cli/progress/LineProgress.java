package ai.lram.cli.progress;

import java.io.PrintStream;
import java.util.Locale;
import java.util.function.LongSupplier;

/** Lines for logs and pipes: the first state, one per interval, the last. */
final class LineProgress implements Progress {
    /** Below this share an estimate of the rest is a guess. */
    private static final double FORESEEABLE = 0.01;

    private final String job;
    private final PrintStream out;
    private final long intervalNs;
    private final LongSupplier nanoTime;
    private final long begin;
    private long printed;
    private String last = "";
    private String shown = "";

    LineProgress(String job, PrintStream out, long intervalNs, LongSupplier nanoTime) {
        this.job = job;
        this.out = out;
        this.intervalNs = intervalNs;
        this.nanoTime = nanoTime;
        begin = nanoTime.getAsLong();
        printed = begin - intervalNs;
    }

    @Override
    public void update(double fraction, String message) {
        long now = nanoTime.getAsLong();
        double seconds = (now - begin) / 1e9;
        String left = fraction >= FORESEEABLE
                ? String.format(Locale.ROOT, ", %s left", time(seconds / fraction - seconds))
                : "";
        String percent = fraction >= 0 ? String.format(Locale.ROOT, "%3.0f%%, ", 100 * fraction) : "";
        last = String.format(
                Locale.ROOT,
                "%s: %s%s%s%s",
                job,
                percent,
                time(seconds),
                left,
                message.isEmpty() ? "" : ", " + message);
        if (now - printed >= intervalNs) {
            print(now);
        }
    }

    private void print(long now) {
        out.println(last);
        shown = last;
        printed = now;
    }

    private static String time(double seconds) {
        long s = Math.max(0, Math.round(seconds));
        return String.format(Locale.ROOT, "%d:%02d", s / 60, s % 60);
    }

    @Override
    public void close() {
        if (!last.equals(shown)) {
            print(nanoTime.getAsLong());
        }
    }
}
