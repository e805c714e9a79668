package ai.lram.bench.latency;

import ai.lram.bench.BenchException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A control rate as people write it: {@code 500}, {@code 500Hz}, {@code 1.5 kHz}. */
public final class Rate {
    private static final Pattern TEXT =
            Pattern.compile("\\s*(\\d+(?:\\.\\d+)?)\\s*(k?)(?:hz)?\\s*", Pattern.CASE_INSENSITIVE);
    private static final double HIGHEST_HZ = 100_000;

    private Rate() {}

    /** @throws BenchException if {@code text} is no rate above 0 and up to 100 kHz */
    public static double parse(String text) {
        Matcher m = TEXT.matcher(text);
        double hz = m.matches() ? Double.parseDouble(m.group(1)) * (m.group(2).isEmpty() ? 1 : 1000) : Double.NaN;
        if (!(hz > 0) || hz > HIGHEST_HZ) {
            throw new BenchException(
                    "a rate of " + text,
                    Double.isNaN(hz) ? "that is no rate" : "it lies above 0 and up to 100 kHz",
                    "give what the robot runs at, e.g. 500Hz");
        }
        return hz;
    }
}
