package ai.lram.bench.suite;

import ai.lram.bench.Better;
import ai.lram.bench.Distribution;
import ai.lram.bench.Result;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Results as rows of text, for terminals and pages. */
public final class ResultTable {
    /** Of {@link #row}. */
    public static final List<String> HEADER =
            List.of("case", "value", "unit", "spread", "floor", "of floor", "peer", "against it", "samples");
    /** Of {@link #percentiles}. */
    public static final List<String> PERCENTILES =
            List.of("case, ms", "p50", "p90", "p99", "p99.9", "p99.99", "max", "samples");

    private ResultTable() {}

    public static List<String> row(Result r) {
        double spread = (r.high() - r.low()) / 2 / r.value();
        return List.of(
                r.caseName(),
                number(r.value()),
                r.unit() + (r.better() == Better.HIGHER ? ", more is better" : ""),
                Double.isFinite(spread) ? String.format(Locale.ROOT, "+-%.0f %%", 100 * spread) : "",
                number(r.floor()),
                number(r.ratio()),
                number(r.peer()),
                Double.isNaN(r.advantage()) ? "" : number(r.advantage()) + "x",
                String.valueOf(r.samples()));
    }

    /** The percentiles of a distribution that its samples can tell apart. */
    public static List<String> percentiles(Distribution d) {
        List<String> row = new ArrayList<>(List.of(d.caseName(), number(d.ms(50))));
        for (Distribution.Tail tail : Distribution.TAILS) {
            row.add(d.samples() >= tail.samples() ? number(d.ms(tail.percentile())) : "");
        }
        row.add(String.valueOf(d.samples()));
        return row;
    }

    /** Three significant digits or so; empty for NaN. */
    public static String number(double v) {
        double a = Math.abs(v);
        if (Double.isNaN(v)) {
            return "";
        }
        if (a >= 1e6 || a > 0 && a < 1e-4) {
            return String.format(Locale.ROOT, "%.2e", v);
        }
        return String.format(Locale.ROOT, a >= 100 ? "%.0f" : a >= 10 ? "%.1f" : a >= 1 || a == 0 ? "%.2f" : "%.4f", v);
    }
}
