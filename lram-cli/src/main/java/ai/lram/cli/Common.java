package ai.lram.cli;

import ai.lram.cli.config.InputException;
import java.nio.file.Path;

/** Checks and texts that several commands share. */
final class Common {
    private static final int MAX_THREADS = 1024;

    private Common() {}

    static void requireThreads(int threads) {
        if (threads < 0 || threads > MAX_THREADS) {
            throw new InputException(
                    "--threads " + threads,
                    "the number of worker threads lies in 0.." + MAX_THREADS,
                    "use 0 for all processors");
        }
    }

    static void requireAtLeast(String option, long value, long min) {
        if (value < min) {
            throw new InputException(option + " " + value, "it must be at least " + min, "give a larger number");
        }
    }

    /** A path as a shell takes it. */
    static String quote(Path path) {
        String s = path.toString();
        return s.matches("[A-Za-z0-9_./+:@%-]+") ? s : "'" + s.replace("'", "'\\''") + "'";
    }
}
